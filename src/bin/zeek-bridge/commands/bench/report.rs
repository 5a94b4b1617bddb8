//! The results, as text or JSON.

use std::fmt::Display;
use std::time::Duration;

use bytesize::ByteSize;
use comfy_table::{Table, presets};
use indicatif::HumanCount;

use super::process::{Cpu, Memory, Process};
use super::tally::Received;
use crate::output::{Object, printable};

/// Linux counts CPU time in units of 10 ms. If less CPU time than this was used, the time for each event is too inexact and not
/// reported.
const LEAST_CPU: Duration = Duration::from_millis(100);

/// The results and parameters of a measurement.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) publish_to: String,
    pub(super) subscribe_at: String,
    /// Whether the relay was started by this program.
    pub(super) own_relay: bool,
    pub(super) process: Option<Process>,
    pub(super) tls: &'static str,
    /// The TLS mode of the subscribers.
    pub(super) subscriber_tls: &'static str,
    pub(super) topic: String,
    /// The size of a Broker frame in bytes.
    pub(super) size: u64,
    /// The size of an event as JSON in bytes, if a side uses the WebSocket API.
    pub(super) json_size: Option<u64>,
    /// The size of a message that a subscriber receives in bytes.
    pub(super) received_size: u64,
    pub(super) subscribers: u64,
    pub(super) window: u64,
    pub(super) rate: Option<u64>,
    /// The time until all subscribers were established.
    pub(super) connecting: Duration,
    pub(super) throughput: Throughput,
    /// The duration of each round trip, sorted.
    pub(super) round_trips: Vec<Duration>,
    pub(super) published: u64,
    pub(super) received: Received,
    pub(super) interrupted: bool,
}

/// The results of publishing as fast as possible.
#[derive(Debug, Default)]
pub(super) struct Throughput {
    /// The number of messages that arrived at all subscribers.
    pub(super) messages: u64,
    pub(super) took: Duration,
    pub(super) relay: Option<Cpu>,
    pub(super) memory: Option<Memory>,
    pub(super) generator: Option<Cpu>,
}

impl Throughput {
    /// Returns the number per second.
    fn rate(&self) -> u64 {
        let in_a_second = u128::from(self.messages).saturating_mul(1_000_000_000);
        in_a_second.checked_div(self.took.as_nanos()).unwrap_or_default().try_into().unwrap_or(u64::MAX)
    }

    /// Returns the CPU time for each message in microseconds, or `None` if it is too small to divide.
    fn each(&self, cpu: Cpu) -> Option<[f64; 3]> {
        let each = |time: Duration| {
            let each = time.as_nanos().checked_div(self.messages.into()).unwrap_or_default();
            us(Duration::from_nanos(each.try_into().unwrap_or(u64::MAX)))
        };
        (cpu.total() >= LEAST_CPU).then(|| [cpu.total(), cpu.user, cpu.system].map(each))
    }
}

impl Report {
    /// Returns the number of messages that were lost.
    pub(super) fn lost(&self) -> u64 {
        self.published.saturating_mul(self.subscribers).saturating_sub(self.received.delivered)
    }

    pub(super) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        let mut row = |name: &str, words: String| _ = table.add_row([name.to_owned(), printable(&words)]);
        let Report { publish_to, subscribe_at, throughput, received, .. } = self;
        let process = self.process.as_ref().map(|Process { pid, name }| format!(", process {pid} ({name})"));
        let whose = if self.own_relay { "own bridge, " } else { "" };
        let place = if publish_to == subscribe_at {
            publish_to.clone()
        } else {
            format!("{publish_to} to {subscribe_at}")
        };
        let tls = if self.tls == self.subscriber_tls {
            self.tls.to_owned()
        } else {
            format!("{} to {}", self.tls, self.subscriber_tls)
        };
        row("relay", format!("{whose}{place}, TLS {tls}{}", process.unwrap_or_default()));
        row(
            "messages",
            format!(
                "{} bytes{}, to {}, at most {} in flight{}",
                self.size,
                self.json_size.map(|size| format!(" ({size} as JSON)")).unwrap_or_default(),
                many(self.subscribers, "subscriber"),
                HumanCount(self.window),
                self.rate.map(|rate| format!(", {} per second", HumanCount(rate))).unwrap_or_default()
            ),
        );
        row("connecting", format!("{:.1} ms for all subscribers", self.connecting.as_secs_f64() * 1e3));
        row(
            "throughput",
            format!(
                "{} events/s, {}/s ({} events in {:.2} s)",
                HumanCount(throughput.rate()),
                ByteSize::b(throughput.rate().saturating_mul(self.received_size)).display().si(),
                HumanCount(throughput.messages),
                throughput.took.as_secs_f64()
            ),
        );
        let cpu = |cpu: Cpu| {
            let Some([total, user, system]) = throughput.each(cpu) else {
                return format!(
                    "{:?} in total; too little to divide by events, as it is counted in units of 10 ms",
                    cpu.total()
                );
            };
            let percent = cpu.total().as_secs_f64() / throughput.took.as_secs_f64() * 100.0;
            format!("{total:.2} µs per event: {user:.2} user, {system:.2} system; {percent:.0} % of a core")
        };
        if let Some(relay) = throughput.relay {
            row("relay CPU", cpu(relay));
        }
        if let Some(generator) = throughput.generator {
            row("load CPU", cpu(generator));
        }
        if let Some(Memory { resident, peak }) = throughput.memory {
            row("relay memory", format!("{}, at most {}", bytes(resident), bytes(peak)));
        }
        if !self.round_trips.is_empty() {
            let [least, p50, p90, p99, most] =
                [0, 50, 90, 99, 100].map(|percent| us(percentile(&self.round_trips, percent)));
            let count = HumanCount(self.round_trips.len().try_into().unwrap_or(u64::MAX));
            row(
                "round trip",
                format!(
                    "{p50:.1} µs median, p90 {p90:.1}, p99 {p99:.1}, all {least:.1} to {most:.1} ({count} one by one)"
                ),
            );
        }
        row(
            "lost",
            format!(
                "{} of {}; duplicated {}, reordered {}, from other publishers {}",
                HumanCount(self.lost()),
                HumanCount(self.published.saturating_mul(self.subscribers)),
                HumanCount(received.duplicated),
                HumanCount(received.reordered),
                HumanCount(received.foreign)
            ),
        );
        table.column_iter_mut().for_each(|column| _ = column.set_padding((0, 2)));
        table.trim_fmt()
    }

    pub(super) fn object(&self) -> Object {
        let Report { throughput, received, .. } = self;
        let rate = throughput.rate();
        let events = Object::new()
            .with("events", throughput.messages)
            .with("seconds", throughput.took.as_secs_f64())
            .with("events_per_second", rate)
            .with("bytes_per_second", rate.saturating_mul(self.received_size));
        let cpu = |to: Object, cpu: Cpu| {
            to.with("cpu_us_per_event", throughput.each(cpu).map(|[total, ..]| total))
                .with("user_seconds", cpu.user.as_secs_f64())
                .with("system_seconds", cpu.system.as_secs_f64())
        };
        let relay = self.process.as_ref().map(|Process { pid, name }| {
            let mut relay = Object::new().with("pid", *pid).with("name", name.as_str());
            if let Some(used) = throughput.relay {
                relay = cpu(relay, used);
            }
            if let Some(Memory { resident, peak }) = throughput.memory {
                relay = relay.with("resident_bytes", resident).with("peak_resident_bytes", peak);
            }
            relay
        });
        let generator = throughput.generator.map(|used| cpu(Object::new(), used));
        let round_trips = (!self.round_trips.is_empty()).then(|| {
            let at = |percent| us(percentile(&self.round_trips, percent));
            Object::new()
                .with("samples", self.round_trips.len())
                .with("min_us", at(0))
                .with("p50_us", at(50))
                .with("p90_us", at(90))
                .with("p99_us", at(99))
                .with("max_us", at(100))
        });
        let object = Object::new()
            .with("publish_to", self.publish_to.as_str())
            .with("subscribe_at", self.subscribe_at.as_str())
            .with("own_relay", self.own_relay)
            .with("tls", self.tls)
            .with("subscriber_tls", self.subscriber_tls)
            .with("topic", self.topic.as_str())
            .with("size", self.size)
            .with("json_size", self.json_size)
            .with("subscribers", self.subscribers)
            .with("window", self.window)
            .with("rate", self.rate)
            .with("connecting_seconds", self.connecting.as_secs_f64())
            .with_bytes("throughput", &events.into_line());
        let parts = [("relay", relay), ("generator", generator), ("round_trip", round_trips)];
        let object = parts.into_iter().fold(object, |object, (name, part)| match part {
            Some(part) => object.with_bytes(name, &part.into_line()),
            None => object.with(name, ()),
        });
        object
            .with("published", self.published)
            .with("delivered", received.delivered)
            .with("lost", self.lost())
            .with("duplicated", received.duplicated)
            .with("reordered", received.reordered)
            .with("foreign", received.foreign)
            .with("interrupted", self.interrupted)
    }
}

/// Converts to microseconds, with nanosecond precision.
fn us(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e9).round() / 1e3
}

/// Returns the given percentile of sorted values.
fn percentile(took: &[Duration], percent: usize) -> Duration {
    let rank = took.len().saturating_mul(percent).div_ceil(100);
    took.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn many(count: u64, what: &str) -> String {
    format!("{} {what}{}", HumanCount(count), if count == 1 { "" } else { "s" })
}

fn bytes(count: u64) -> impl Display {
    ByteSize::b(count).display().iec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let cpu = |user, system| {
            Some(Cpu { user: Duration::from_millis(user), system: Duration::from_millis(system) })
        };
        Report {
            publish_to: "a:1".into(),
            subscribe_at: "b:2".into(),
            process: Some(Process { pid: 7, name: "relay\u{1b}[2J".into() }),
            tls: "off",
            subscriber_tls: "off",
            size: 223,
            received_size: 223,
            subscribers: 2,
            window: 1000,
            connecting: Duration::from_micros(1500),
            throughput: Throughput {
                messages: 1_000_000,
                took: Duration::from_secs(4),
                relay: cpu(5_000, 1_000),
                memory: Some(Memory { resident: 2048, peak: 4096 }),
                generator: cpu(40, 10),
            },
            round_trips: (1..=1000).map(Duration::from_micros).collect(),
            published: 1_001_000,
            received: Received { delivered: 2_001_997, duplicated: 1, reordered: 2, foreign: 4 },
            ..Report::default()
        }
    }

    #[test]
    fn a_report_is_a_table() {
        let table = report().table();
        let lines: Vec<String> =
            table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let expected = [
            r"relay a:1 to b:2, TLS off, process 7 (relay\u{1b}[2J)",
            "messages 223 bytes, to 2 subscribers, at most 1,000 in flight",
            "connecting 1.5 ms for all subscribers",
            "throughput 250,000 events/s, 55.8 MB/s (1,000,000 events in 4.00 s)",
            "relay CPU 6.00 µs per event: 5.00 user, 1.00 system; 150 % of a core",
            "load CPU 50ms in total; too little to divide by events, as it is counted in units of 10 ms",
            "relay memory 2.0 KiB, at most 4.0 KiB",
            "round trip 500.0 µs median, p90 900.0, p99 990.0, all 1.0 to 1000.0 (1,000 one by one)",
            "lost 3 of 2,002,000; duplicated 1, reordered 2, from other publishers 4",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_report_is_a_line_of_json() {
        let line = |report: Report| String::from_utf8(report.object().into_line()).unwrap();
        assert_eq!(
            line(report()),
            r#"{"publish_to":"a:1","subscribe_at":"b:2","own_relay":false,"tls":"off","subscriber_tls":"off","topic":"","size":223,"json_size":null,"subscribers":2,"window":1000,"rate":null,"connecting_seconds":0.0015,"throughput":{"events":1000000,"seconds":4.0,"events_per_second":250000,"bytes_per_second":55750000},"relay":{"pid":7,"name":"relay\u001b[2J","cpu_us_per_event":6.0,"user_seconds":5.0,"system_seconds":1.0,"resident_bytes":2048,"peak_resident_bytes":4096},"generator":{"cpu_us_per_event":null,"user_seconds":0.04,"system_seconds":0.01},"round_trip":{"samples":1000,"min_us":1.0,"p50_us":500.0,"p90_us":900.0,"p99_us":990.0,"max_us":1000.0},"published":1001000,"delivered":2001997,"lost":3,"duplicated":1,"reordered":2,"foreign":4,"interrupted":false}"#
        );
        let ended = Report { process: report().process, ..Report::default() };
        assert_eq!(
            line(ended),
            r#"{"publish_to":"","subscribe_at":"","own_relay":false,"tls":"","subscriber_tls":"","topic":"","size":0,"json_size":null,"subscribers":0,"window":0,"rate":null,"connecting_seconds":0.0,"throughput":{"events":0,"seconds":0.0,"events_per_second":0,"bytes_per_second":0},"relay":{"pid":7,"name":"relay\u001b[2J"},"generator":null,"round_trip":null,"published":0,"delivered":0,"lost":0,"duplicated":0,"reordered":0,"foreign":0,"interrupted":false}"#
        );
    }

    #[test]
    fn the_size_as_json_is_reported_if_a_side_uses_the_websocket_api() {
        let report = Report {
            subscribe_at: "wss://b:2".into(),
            subscriber_tls: "server",
            json_size: Some(458),
            received_size: 458,
            process: None,
            ..report()
        };
        let table = report.table();
        for words in ["a:1 to wss://b:2, TLS off to server", "223 bytes (458 as JSON), to 2", "114.5 MB/s"] {
            assert!(table.contains(words), "{words}: {table}");
        }
        let json: serde_json::Value = serde_json::from_slice(&report.object().into_line()).unwrap();
        assert_eq!(json["json_size"], 458);
        assert_eq!(json["throughput"]["bytes_per_second"], 250_000 * 458);
    }

    #[test]
    fn missing_measurements_are_null() {
        let json = |report: Report| -> serde_json::Value {
            serde_json::from_slice(&report.object().into_line()).unwrap()
        };
        let full = json(report());
        assert_eq!(full["relay"]["cpu_us_per_event"], 6.0);
        assert_eq!(full["generator"]["cpu_us_per_event"], serde_json::Value::Null);
        assert_eq!(full["round_trip"]["p99_us"], 990.0);
        assert_eq!((&full["lost"], &full["throughput"]["events_per_second"]), (&3.into(), &250_000.into()));
        let empty = json(Report::default());
        for name in ["relay", "generator", "round_trip", "rate"] {
            assert!(empty[name].is_null(), "{name}");
        }
        assert_eq!(empty["throughput"]["events_per_second"], 0);
        Report::default().table();
    }
}
