//! A bridge alternately with HAProxy: the medians of several measurements, and their ratios.

use comfy_table::{Table, presets};
use indicatif::HumanCount;
use serde::Serialize;

use super::report::Report;

/// The medians of one relay.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Medians {
    events_per_second: Option<f64>,
    /// `None` if a run needed too little CPU time to divide it.
    cpu_us_per_event: Option<f64>,
    round_trip_p50_us: Option<f64>,
    round_trip_p99_us: Option<f64>,
}

/// The medians of both relays, and those of the bridge divided by those of HAProxy.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    rounds: usize,
    bridge: Medians,
    haproxy: Medians,
    ratio: Medians,
}

impl Comparison {
    /// Compares the reports of the bridge with those of HAProxy.
    pub(super) fn new(bridge: &[Report], haproxy: &[Report]) -> Self {
        let rounds = bridge.len();
        let (bridge, haproxy) = (Medians::of(bridge), Medians::of(haproxy));
        let ratio = bridge.divided_by(&haproxy);
        Comparison { rounds, bridge, haproxy, ratio }
    }

    pub(super) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        let rounds = format!("medians of {}", self.rounds);
        table.add_row([rounds.as_str(), "bridge", "HAProxy", "ratio"]);
        let whole = |rate: f64| {
            format!("{rate:.0}").parse().map_or_else(|_| String::new(), |rate| HumanCount(rate).to_string())
        };
        let exact = |number: f64| format!("{number:.3} µs");
        let mut row = |name: &str, get: fn(&Medians) -> Option<f64>, text: &dyn Fn(f64) -> String| {
            let [bridge, haproxy] = [&self.bridge, &self.haproxy].map(|medians| get(medians).map(text));
            let ratio = get(&self.ratio).map(|ratio| format!("{ratio:.2}"));
            let cell = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
            table.add_row([name, &cell(bridge), &cell(haproxy), &cell(ratio)]);
        };
        row("events per second", |medians| medians.events_per_second, &whole);
        row("CPU time per event", |medians| medians.cpu_us_per_event, &exact);
        row("median round trip", |medians| medians.round_trip_p50_us, &exact);
        row("p99 round trip", |medians| medians.round_trip_p99_us, &exact);
        table.column_iter_mut().for_each(|column| _ = column.set_padding((0, 2)));
        table.trim_fmt()
    }
}

impl Medians {
    fn of(reports: &[Report]) -> Self {
        let of = |get: &dyn Fn(&Report) -> Option<f64>| {
            reports.iter().map(get).collect::<Option<_>>().and_then(median)
        };
        Medians {
            events_per_second: of(&|report| Some(report.throughput.rate())),
            cpu_us_per_event: of(&|report| report.relay.as_ref()?.cpu.as_ref()?.cpu_us_per_event),
            round_trip_p50_us: of(&|report| Some(report.round_trip.as_ref()?.p50_us)),
            round_trip_p99_us: of(&|report| Some(report.round_trip.as_ref()?.p99_us)),
        }
    }

    fn divided_by(&self, other: &Medians) -> Medians {
        let divide = |a: Option<f64>, b: Option<f64>| Some(a? / b.filter(|b| *b > 0.0)?);
        Medians {
            events_per_second: divide(self.events_per_second, other.events_per_second),
            cpu_us_per_event: divide(self.cpu_us_per_event, other.cpu_us_per_event),
            round_trip_p50_us: divide(self.round_trip_p50_us, other.round_trip_p50_us),
            round_trip_p99_us: divide(self.round_trip_p99_us, other.round_trip_p99_us),
        }
    }
}

/// Returns the median, or the lower one of the two in the middle.
fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers.get(numbers.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench::report::Throughput;
    use std::time::Duration;

    fn reports(rates: [u64; 3]) -> Vec<Report> {
        let report = |rate| Report {
            throughput: Throughput::new(rate, Duration::from_secs(1), 223),
            ..Report::default()
        };
        rates.map(report).into()
    }

    #[test]
    fn medians_are_compared_and_missing_ones_are_left_out() {
        let comparison = Comparison::new(&reports([3_000, 1_000, 2_000]), &reports([500, 10_000, 1_000]));
        let table = comparison.table();
        let lines: Vec<String> =
            table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let expected = [
            "medians of 3 bridge HAProxy ratio",
            "events per second 2,000 1,000 2.00",
            "CPU time per event - - -",
            "median round trip - - -",
            "p99 round trip - - -",
        ];
        assert_eq!(lines, expected);
        let json = serde_json::to_value(&comparison).unwrap();
        assert_eq!(json["ratio"]["events_per_second"], 2.0);
        assert!(json["ratio"]["cpu_us_per_event"].is_null());
    }
}
