//! The results, as text or JSON.

use std::fmt::Display;
use std::time::Duration;

use bytesize::ByteSize;
use comfy_table::{Table, presets};
use indicatif::HumanCount;
use serde::{Serialize, Serializer};

use super::process::{Cpu, Memory, Process};
use super::tally::Received;
use crate::output::{json_rate, printable};

/// Linux counts CPU time in units of 10 ms. If less CPU time than this was used, the time for each event is not reported, because it
/// is too inexact.
const MIN_CPU: Duration = Duration::from_millis(100);

/// The results and parameters of a measurement. The order of the fields is their order in JSON.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) publish_to: String,
    pub(super) subscribe_at: String,
    /// Whether the relay was started by this program.
    pub(super) own_relay: bool,
    pub(super) tls: &'static str,
    /// The TLS mode of the subscribers.
    pub(super) subscriber_tls: &'static str,
    pub(super) topic: String,
    /// The size of a Broker frame in bytes.
    pub(super) size: u64,
    /// The size of an event as JSON in bytes, if a side uses the WebSocket API.
    pub(super) json_size: Option<u64>,
    /// The size of an event with all its parts in bytes, if a side uses ZeroMQ.
    pub(super) zeromq_size: Option<u64>,
    pub(super) subscribers: u64,
    /// The number of further subscribers that never read.
    pub(super) stalled_subscribers: u64,
    pub(super) window: u64,
    pub(super) rate: Option<u64>,
    /// The time until all subscribers were established.
    #[serde(rename = "connecting_seconds", serialize_with = "seconds")]
    pub(super) connecting: Duration,
    pub(super) throughput: Throughput,
    pub(super) relay: Option<Relay>,
    /// The CPU time of this process.
    pub(super) generator: Option<CpuUse>,
    pub(super) round_trip: Option<RoundTrips>,
    pub(super) published: u64,
    pub(super) delivered: u64,
    /// The number of messages that did not arrive at a subscriber.
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
    pub(super) foreign: u64,
    pub(super) interrupted: bool,
}

/// The results of publishing as fast as possible.
#[derive(Debug, Default, Serialize)]
pub(super) struct Throughput {
    /// The number of messages that arrived at all subscribers.
    events: u64,
    #[serde(rename = "seconds", serialize_with = "seconds")]
    took: Duration,
    events_per_second: u64,
    bytes_per_second: u64,
}

impl Throughput {
    /// Returns the rates of messages of `size` bytes.
    pub(super) fn new(events: u64, took: Duration, size: u64) -> Self {
        let in_a_second = u128::from(events).saturating_mul(1_000_000_000);
        let rate =
            in_a_second.checked_div(took.as_nanos()).unwrap_or_default().try_into().unwrap_or(u64::MAX);
        Throughput { events, took, events_per_second: rate, bytes_per_second: rate.saturating_mul(size) }
    }

    /// Returns the events per second, with one decimal.
    pub(super) fn rate(&self) -> f64 {
        json_rate(self.events, self.took)
    }
}

/// The process of the relay.
#[derive(Debug, Serialize)]
pub(super) struct Relay {
    #[serde(flatten)]
    pub(super) process: Process,
    #[serde(flatten)]
    pub(super) cpu: Option<CpuUse>,
    #[serde(flatten)]
    pub(super) memory: Option<Memory>,
}

/// The CPU time that a process used for a number of messages.
#[derive(Debug, Serialize)]
pub(super) struct CpuUse {
    /// `None` if the time is too small to divide.
    pub(super) cpu_us_per_event: Option<f64>,
    #[serde(rename = "user_seconds", serialize_with = "seconds")]
    user: Duration,
    #[serde(rename = "system_seconds", serialize_with = "seconds")]
    system: Duration,
}

impl CpuUse {
    pub(super) fn new(cpu: Cpu, events: u64) -> Self {
        let cpu_us_per_event = (cpu.total() >= MIN_CPU).then(|| us_per_event(cpu.total(), events));
        CpuUse { cpu_us_per_event, user: cpu.user, system: cpu.system }
    }

    fn text(&self, throughput: &Throughput) -> String {
        let total = self.user.saturating_add(self.system);
        let Some(each) = self.cpu_us_per_event else {
            return format!(
                "{total:?} in total; too little to divide by events, as it is counted in units of 10 ms"
            );
        };
        let [user, system] = [self.user, self.system].map(|time| us_per_event(time, throughput.events));
        let percent = total.as_secs_f64() / throughput.took.as_secs_f64() * 100.0;
        format!("{each:.2} µs per event: {user:.2} user, {system:.2} system; {percent:.0} % of a core")
    }
}

/// The durations of round trips in microseconds.
#[derive(Debug, Serialize)]
pub(super) struct RoundTrips {
    samples: usize,
    min_us: f64,
    pub(super) p50_us: f64,
    p90_us: f64,
    pub(super) p99_us: f64,
    max_us: f64,
}

impl RoundTrips {
    /// Returns `None` if there are no durations.
    pub(super) fn new(mut took: Vec<Duration>) -> Option<Self> {
        took.sort_unstable();
        let [min_us, p50_us, p90_us, p99_us, max_us] =
            [0, 50, 90, 99, 100].map(|percent| us(percentile(&took, percent)));
        let samples = took.len();
        (samples > 0).then_some(RoundTrips { samples, min_us, p50_us, p90_us, p99_us, max_us })
    }
}

impl Report {
    /// Sets the counts of messages.
    pub(super) fn count(&mut self, published: u64, received: Received) {
        self.published = published;
        self.lost = published.saturating_mul(self.subscribers).saturating_sub(received.delivered);
        Received {
            delivered: self.delivered,
            duplicated: self.duplicated,
            reordered: self.reordered,
            foreign: self.foreign,
        } = received;
    }

    pub(super) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        let mut row = |name: &str, text: String| _ = table.add_row([name.to_owned(), printable(&text)]);
        let Report { publish_to, subscribe_at, throughput, relay, .. } = self;
        let process = relay
            .as_ref()
            .map(|Relay { process: Process { pid, name }, .. }| format!(", process {pid} ({name})"));
        let owner = if self.own_relay { "own relay, " } else { "" };
        let addresses = if publish_to == subscribe_at {
            publish_to.clone()
        } else {
            format!("{publish_to} to {subscribe_at}")
        };
        let tls = if self.tls == self.subscriber_tls {
            self.tls.to_owned()
        } else {
            format!("{} to {}", self.tls, self.subscriber_tls)
        };
        row("relay", format!("{owner}{addresses}, TLS {tls}{}", process.unwrap_or_default()));
        row(
            "messages",
            format!(
                "{} bytes{}{}, to {}{}, at most {} in flight{}",
                self.size,
                self.json_size.map(|size| format!(" ({size} as JSON)")).unwrap_or_default(),
                self.zeromq_size.map(|size| format!(" ({size} in ZeroMQ)")).unwrap_or_default(),
                many(self.subscribers, "subscriber"),
                match self.stalled_subscribers {
                    0 => String::new(),
                    stalled => format!(", and {stalled} that do not read"),
                },
                HumanCount(self.window),
                self.rate.map(|rate| format!(", {} per second", HumanCount(rate))).unwrap_or_default()
            ),
        );
        row("connecting", format!("{:.1} ms for all subscribers", self.connecting.as_secs_f64() * 1e3));
        row(
            "throughput",
            format!(
                "{} events/s, {}/s ({} events in {:.2} s)",
                HumanCount(throughput.events_per_second),
                ByteSize::b(throughput.bytes_per_second).display().si(),
                HumanCount(throughput.events),
                throughput.took.as_secs_f64()
            ),
        );
        if let Some(cpu) = relay.as_ref().and_then(|relay| relay.cpu.as_ref()) {
            row("relay CPU", cpu.text(throughput));
        }
        if let Some(generator) = &self.generator {
            row("load CPU", generator.text(throughput));
        }
        if let Some(Memory { resident, peak }) = relay.as_ref().and_then(|relay| relay.memory) {
            row("relay memory", format!("{}, at most {}", bytes(resident), bytes(peak)));
        }
        if let Some(RoundTrips { samples, min_us, p50_us, p90_us, p99_us, max_us }) = &self.round_trip {
            let count = HumanCount((*samples).try_into().unwrap_or(u64::MAX));
            row(
                "round trip",
                format!(
                    "{p50_us:.1} µs median, p90 {p90_us:.1}, p99 {p99_us:.1}, all {min_us:.1} to {max_us:.1} ({count} one by one)"
                ),
            );
        }
        row(
            "lost",
            format!(
                "{} of {}; duplicated {}, reordered {}, from other publishers {}",
                HumanCount(self.lost),
                HumanCount(self.published.saturating_mul(self.subscribers)),
                HumanCount(self.duplicated),
                HumanCount(self.reordered),
                HumanCount(self.foreign)
            ),
        );
        table.column_iter_mut().for_each(|column| _ = column.set_padding((0, 2)));
        table.trim_fmt()
    }
}

fn seconds<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_secs_f64())
}

fn us_per_event(time: Duration, events: u64) -> f64 {
    let each = time.as_nanos().checked_div(events.into()).unwrap_or_default();
    us(Duration::from_nanos(each.try_into().unwrap_or(u64::MAX)))
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
    use crate::output::to_line;

    fn report() -> Report {
        let cpu = |user, system| {
            let [user, system] = [user, system].map(Duration::from_millis);
            Some(CpuUse::new(Cpu { user, system }, 1_000_000))
        };
        let mut report = Report {
            publish_to: "a:1".into(),
            subscribe_at: "b:2".into(),
            tls: "off",
            subscriber_tls: "off",
            size: 223,
            subscribers: 2,
            window: 1000,
            connecting: Duration::from_micros(1500),
            throughput: Throughput::new(1_000_000, Duration::from_secs(4), 223),
            relay: Some(Relay {
                process: Process { pid: 7, name: "relay\u{1b}[2J".into() },
                cpu: cpu(5_000, 1_000),
                memory: Some(Memory { resident: 2048, peak: 4096 }),
            }),
            generator: cpu(40, 10),
            round_trip: RoundTrips::new((1..=1000).rev().map(Duration::from_micros).collect()),
            ..Report::default()
        };
        report.count(1_001_000, Received { delivered: 2_001_997, duplicated: 1, reordered: 2, foreign: 4 });
        report
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
        let line = |report: Report| String::from_utf8(to_line(&report)).unwrap();
        assert_eq!(
            line(report()),
            r#"{"publish_to":"a:1","subscribe_at":"b:2","own_relay":false,"tls":"off","subscriber_tls":"off","topic":"","size":223,"json_size":null,"zeromq_size":null,"subscribers":2,"stalled_subscribers":0,"window":1000,"rate":null,"connecting_seconds":0.0015,"throughput":{"events":1000000,"seconds":4.0,"events_per_second":250000,"bytes_per_second":55750000},"relay":{"pid":7,"name":"relay\u001b[2J","cpu_us_per_event":6.0,"user_seconds":5.0,"system_seconds":1.0,"resident_bytes":2048,"peak_resident_bytes":4096},"generator":{"cpu_us_per_event":null,"user_seconds":0.04,"system_seconds":0.01},"round_trip":{"samples":1000,"min_us":1.0,"p50_us":500.0,"p90_us":900.0,"p99_us":990.0,"max_us":1000.0},"published":1001000,"delivered":2001997,"lost":3,"duplicated":1,"reordered":2,"foreign":4,"interrupted":false}"#
        );
        let relay = report().relay.map(|relay| Relay { cpu: None, memory: None, ..relay });
        let ended = Report { relay, ..Report::default() };
        assert_eq!(
            line(ended),
            r#"{"publish_to":"","subscribe_at":"","own_relay":false,"tls":"","subscriber_tls":"","topic":"","size":0,"json_size":null,"zeromq_size":null,"subscribers":0,"stalled_subscribers":0,"window":0,"rate":null,"connecting_seconds":0.0,"throughput":{"events":0,"seconds":0.0,"events_per_second":0,"bytes_per_second":0},"relay":{"pid":7,"name":"relay\u001b[2J"},"generator":null,"round_trip":null,"published":0,"delivered":0,"lost":0,"duplicated":0,"reordered":0,"foreign":0,"interrupted":false}"#
        );
    }

    #[test]
    fn the_size_as_json_is_reported_if_a_side_uses_the_websocket_api() {
        let report = Report {
            subscribe_at: "wss://b:2".into(),
            subscriber_tls: "server",
            json_size: Some(458),
            throughput: Throughput::new(1_000_000, Duration::from_secs(4), 458),
            relay: None,
            ..report()
        };
        let table = report.table();
        for text in ["a:1 to wss://b:2, TLS off to server", "223 bytes (458 as JSON), to 2", "114.5 MB/s"] {
            assert!(table.contains(text), "{text}: {table}");
        }
        let json: serde_json::Value = serde_json::from_slice(&to_line(&report)).unwrap();
        assert_eq!(json["json_size"], 458);
        assert_eq!(json["throughput"]["bytes_per_second"], 250_000 * 458);
    }

    #[test]
    fn the_size_in_zeromq_and_stalled_subscribers_are_reported() {
        let report = Report { zeromq_size: Some(227), stalled_subscribers: 2, ..report() };
        let text = "223 bytes (227 in ZeroMQ), to 2 subscribers, and 2 that do not read, at most";
        assert!(report.table().contains(text), "{}", report.table());
        let json: serde_json::Value = serde_json::from_slice(&to_line(&report)).unwrap();
        assert_eq!((&json["zeromq_size"], &json["stalled_subscribers"]), (&227.into(), &2.into()));
    }

    #[test]
    fn missing_measurements_are_null() {
        let json =
            |report: Report| -> serde_json::Value { serde_json::from_slice(&to_line(&report)).unwrap() };
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
