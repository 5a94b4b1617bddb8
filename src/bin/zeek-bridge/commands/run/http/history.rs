//! The rates of the last hour, in a ring buffer.
//!
//! The memory is bounded: 4 bytes for each sample of a series, so 2,880 bytes for each series, 7 series for each link, one for
//! each rule and reason, and 3 for the bridge. With the maximum number of links, rules and reasons, this is about 4.3 MB.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Serialize, Serializer};
use zeek_bridge::bridge::{Latency, LinkSnapshot, Snapshot};

use crate::increase::increases;
use crate::latency::{Percentile, percentile};

/// The time between two samples.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);

/// The maximum number of samples: one hour.
const SAMPLES: usize = 720;

/// The maximum numbers of links, rules and reasons that have series. Those after them in a snapshot are left out.
const LINKS: usize = 128;
const RULES: usize = 512;
const REASONS: usize = 64;

/// The samples of one value, oldest first; NaN where there is no sample.
#[derive(Clone, Debug, Default)]
struct Series(VecDeque<f32>);

impl Series {
    /// Returns a series without values that is as long as the others.
    fn missing(length: usize) -> Self {
        let mut values = VecDeque::with_capacity(SAMPLES);
        values.resize(length, f32::NAN);
        Series(values)
    }

    fn push(&mut self, value: f32) {
        if self.0.len() >= SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }
}

/// The last samples of a series. NaN is `null` in JSON.
struct Last<'a>(&'a Series, usize);

impl Serialize for Last<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Last(Series(values), count) = self;
        serializer.collect_seq(values.iter().skip(values.len().saturating_sub(*count)))
    }
}

/// The series of one link.
#[derive(Clone, Debug)]
struct LinkSeries {
    name: String,
    values: [Series; LINK_VALUES],
}

const LINK_VALUES: usize = 7;

/// The values of a link in a sample: per second, except for `queued`.
type LinkSample = [f32; LINK_VALUES];

/// The series of one link in JSON. The order of [`LinkSample`] is that of these fields.
#[derive(Serialize)]
struct LinkHistory<'a> {
    name: &'a str,
    messages_in: Last<'a>,
    messages_out: Last<'a>,
    bytes_in: Last<'a>,
    bytes_out: Last<'a>,
    dropped: Last<'a>,
    denied: Last<'a>,
    queued: Last<'a>,
}

impl LinkSeries {
    fn last(&self, count: usize) -> LinkHistory<'_> {
        let [messages_in, messages_out, bytes_in, bytes_out, dropped, denied, queued] =
            self.values.each_ref().map(|series| Last(series, count));
        let name = &self.name;
        LinkHistory { name, messages_in, messages_out, bytes_in, bytes_out, dropped, denied, queued }
    }
}

/// The response of `/api/v1/history`, and the data of the event `sample`.
#[derive(Serialize)]
struct HistoryDocument<'a> {
    /// The time between two samples, in seconds.
    interval: u64,
    /// The time of the newest sample, in seconds since 1970.
    end: f64,
    links: Vec<LinkHistory<'a>>,
    /// The denied messages per second, by reason.
    denied: BTreeMap<&'a str, Last<'a>>,
    /// The denied messages per second, by rule.
    rules: BTreeMap<&'a str, Last<'a>>,
    latency_p50: Last<'a>,
    latency_p99: Last<'a>,
    in_flight: Last<'a>,
}

/// The samples of the last hour.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The counters of the previous snapshot.
    previous: Option<Snapshot>,
    /// The time of the newest sample, in seconds since 1970.
    end: f64,
    /// The length of every series.
    length: usize,
    links: Vec<LinkSeries>,
    denied: BTreeMap<String, Series>,
    rules: BTreeMap<String, Series>,
    latency_p50: Series,
    latency_p99: Series,
    in_flight: Series,
}

impl History {
    /// Adds a sample: the increase since the previous snapshot, `elapsed` ago. The first snapshot only starts the first interval.
    /// `time` is in seconds since 1970. Returns whether a sample was added.
    pub(super) fn add(&mut self, mut now: Snapshot, elapsed: Duration, time: f64) -> bool {
        let queued: Vec<f32> = now.links.iter().map(queued).collect();
        // Only counters are kept. The rest may need much memory.
        now.links.iter_mut().for_each(|link| link.peers = Vec::new());
        now = Snapshot {
            nodes: Vec::new(),
            requests: Vec::new(),
            busiest: Vec::new(),
            recent: Vec::new(),
            ..now
        };
        let previous = self.previous.replace(now.clone());
        let Some(previous) = previous.filter(|_| !elapsed.is_zero()) else { return false };
        let counts = increases(&previous, &now);
        let rate = |count: u64| single(double(count) / elapsed.as_secs_f64());
        let links = counts.links.iter().zip(queued).map(|(link, queued)| {
            let rates = [
                link.messages_in,
                link.messages_out,
                link.bytes_in,
                link.bytes_out,
                link.dropped,
                sum(&link.refused),
            ];
            let [messages_in, messages_out, bytes_in, bytes_out, dropped, denied] = rates.map(rate);
            let sample = [messages_in, messages_out, bytes_in, bytes_out, dropped, denied, queued];
            (link.name.as_str(), sample)
        });
        self.add_links(links.take(LINKS));
        let reasons = counts.refused.iter().map(|(reason, count)| (reason.as_str(), rate(*count)));
        add_named(&mut self.denied, self.length, reasons.take(REASONS));
        let rules = counts.rules.iter().map(|rule| (rule.name.as_str(), rate(sum(&rule.refused))));
        add_named(&mut self.rules, self.length, rules.take(RULES));
        self.latency_p50.push(bound(&counts.latency, 50));
        self.latency_p99.push(bound(&counts.latency, 99));
        self.in_flight.push(single(double(now.in_flight)));
        self.length = self.in_flight.0.len();
        self.end = time;
        true
    }

    /// Adds a sample to the series of each link. A new link gets series, and the series of links that are gone are dropped.
    fn add_links<'a>(&mut self, links: impl Iterator<Item = (&'a str, LinkSample)>) {
        let mut old = std::mem::take(&mut self.links);
        for (name, sample) in links {
            let known = old.iter().position(|link| link.name == name);
            let mut link = known.map(|at| old.swap_remove(at)).unwrap_or_else(|| LinkSeries {
                name: name.to_owned(),
                values: std::array::from_fn(|_| Series::missing(self.length)),
            });
            link.values.iter_mut().zip(sample).for_each(|(series, value)| series.push(value));
            self.links.push(link);
        }
    }

    /// Returns the last `count` samples in JSON.
    pub(super) fn json(&self, count: usize) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&HistoryDocument {
            interval: INTERVAL.as_secs(),
            end: self.end,
            links: self.links.iter().map(|link| link.last(count)).collect(),
            denied: last_of(&self.denied, count),
            rules: last_of(&self.rules, count),
            latency_p50: Last(&self.latency_p50, count),
            latency_p99: Last(&self.latency_p99, count),
            in_flight: Last(&self.in_flight, count),
        })
    }
}

/// Adds a sample to the series of each name. A new name gets a series, and the series of names that are gone are dropped.
fn add_named<'a>(
    series: &mut BTreeMap<String, Series>,
    length: usize,
    samples: impl Iterator<Item = (&'a str, f32)>,
) {
    let mut old = std::mem::take(series);
    for (name, value) in samples {
        let (name, mut values) =
            old.remove_entry(name).unwrap_or_else(|| (name.to_owned(), Series::missing(length)));
        values.push(value);
        series.insert(name, values);
    }
}

fn last_of(series: &BTreeMap<String, Series>, count: usize) -> BTreeMap<&str, Last<'_>> {
    series.iter().map(|(name, series)| (name.as_str(), Last(series, count))).collect()
}

/// Returns the number of messages in the queues of a link.
fn queued(link: &LinkSnapshot) -> f32 {
    single(double(link.peers.iter().fold(0, |sum: u64, peer| sum.saturating_add(peer.queued))))
}

/// Returns the number of denied messages.
fn sum(refused: &BTreeMap<String, u64>) -> u64 {
    refused.values().fold(0, |sum, count| sum.saturating_add(*count))
}

/// Returns a percentile in seconds: the upper bound of its bucket, or the largest bound for the last bucket.
fn bound(latency: &Latency, percent: u8) -> f32 {
    match percentile(latency, percent) {
        Some(Percentile::AtMost(seconds) | Percentile::MoreThan(seconds)) => single(seconds),
        None => f32::NAN,
    }
}

#[allow(clippy::as_conversions, reason = "a plot needs seven digits")]
fn single(value: f64) -> f32 {
    value as f32
}

#[allow(clippy::as_conversions, reason = "the rounding of a count above 2^53 is not visible in a plot")]
fn double(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use zeek_bridge::bridge::{PeerSnapshot, RuleSnapshot};

    use super::*;

    const FIVE_SECONDS: Duration = Duration::from_secs(5);

    /// Returns a link with these counters: received, sent, and queued messages.
    fn link(name: &str, id: &str, [messages_in, messages_out, queued]: [u64; 3]) -> LinkSnapshot {
        let peer = PeerSnapshot { queued, ..PeerSnapshot::default() };
        LinkSnapshot {
            name: name.into(),
            id: id.into(),
            messages_in,
            messages_out,
            refused: [("no_rule".to_owned(), messages_out), ("ttl".to_owned(), messages_in)].into(),
            peers: vec![peer.clone(), peer],
            ..LinkSnapshot::default()
        }
    }

    fn snapshot(links: &[LinkSnapshot]) -> Snapshot {
        Snapshot { links: links.to_vec(), ..Snapshot::default() }
    }

    /// Adds the snapshots at the interval, and returns the last `count` samples.
    fn history(snapshots: impl IntoIterator<Item = Snapshot>, count: usize) -> Value {
        let mut history = History::default();
        for (number, snapshot) in (0_u32..).zip(snapshots) {
            assert_eq!(history.add(snapshot, FIVE_SECONDS, 1000.5 + f64::from(number)), number > 0);
        }
        serde_json::from_slice(&history.json(count).unwrap()).unwrap()
    }

    #[test]
    fn samples_are_rates_and_values_oldest_first() {
        let counts = [[10, 0, 3], [20, 1, 4], [20, 6, 0]];
        let history = history(counts.map(|counts| snapshot(&[link("a", "1", counts)])), 10);
        assert_eq!((&history["interval"], &history["end"]), (&json!(5), &json!(1002.5)));
        let expected = json!([{
            "name": "a", "messages_in": [2.0, 0.0], "messages_out": [0.2, 1.0], "bytes_in": [0.0, 0.0], "bytes_out": [0.0, 0.0],
            "dropped": [0.0, 0.0], "denied": [2.2, 1.0], "queued": [8.0, 0.0],
        }]);
        assert_eq!(history["links"], expected);
        assert_eq!(history["latency_p50"], json!([null, null]));
        assert_eq!(history["in_flight"], json!([0.0, 0.0]));
    }

    #[test]
    fn a_link_that_was_restarted_counts_from_zero() {
        let after = [link("a", "1", [40, 0, 0]), link("b", "3", [80, 0, 0]), link("c", "9", [90, 0, 0])];
        let before = [link("a", "1", [50, 0, 0]), link("b", "2", [60, 0, 0]), link("c", "9", [60, 0, 0])];
        let history = history([snapshot(&before), snapshot(&after)], 10);
        let rates: Vec<&Value> =
            history["links"].as_array().unwrap().iter().map(|link| &link["messages_in"]).collect();
        assert_eq!(rates, [&json!([8.0]), &json!([16.0]), &json!([6.0])]);
    }

    #[test]
    fn links_rules_and_reasons_come_and_go() {
        let with = |links: &[&str], rule: &str, reason: &str, count| {
            let links: Vec<_> = links.iter().map(|name| link(name, name, [0, 0, 0])).collect();
            let refused: BTreeMap<_, _> = [(reason.to_owned(), count)].into();
            let rule =
                RuleSnapshot { name: rule.into(), refused: refused.clone(), ..RuleSnapshot::default() };
            Snapshot { rules: vec![rule], refused, ..snapshot(&links) }
        };
        let history = history(
            [
                with(&["a"], "r", "no_rule", 0),
                with(&["a"], "r", "no_rule", 5),
                with(&["b", "a"], "r", "no_rule", 15),
                with(&["b"], "s", "ttl", 25),
            ],
            10,
        );
        let links = history["links"].as_array().unwrap();
        assert_eq!((links.len(), &links[0]["name"]), (1, &json!("b")));
        assert_eq!(links[0]["messages_in"], json!([null, 0.0, 0.0]));
        assert_eq!(history["denied"], json!({ "ttl": [null, null, 5.0] }));
        assert_eq!(history["rules"], json!({ "s": [null, null, 5.0] }));
    }

    #[test]
    fn percentiles_are_those_of_each_interval() {
        let with = |counts: [u64; 3]| {
            let latency = Latency { bounds: vec![0.001, 0.01], counts: counts.into(), sum: 0.0 };
            Snapshot { latency, ..Snapshot::default() }
        };
        let counts = [[100, 0, 0], [100, 50, 1], [200, 50, 1], [200, 50, 1], [200, 50, 2]];
        let history = history(counts.map(with), 10);
        assert_eq!(history["latency_p50"].to_string(), "[0.01,0.001,null,0.01]");
        assert_eq!(history["latency_p99"].to_string(), "[0.01,0.001,null,0.01]");
    }

    #[test]
    fn the_size_is_bounded() {
        let links: Vec<_> =
            (0..LINKS + 10).map(|at| link(&at.to_string(), &at.to_string(), [0; 3])).collect();
        let rule = |at: usize| RuleSnapshot { name: at.to_string(), ..RuleSnapshot::default() };
        let refused: BTreeMap<_, _> = (0..REASONS + 10).map(|at| (at.to_string(), 1)).collect();
        let large = Snapshot { rules: (0..RULES + 10).map(rule).collect(), refused, ..snapshot(&links) };
        let mut history = History::default();
        for _ in 0..SAMPLES + 10 {
            history.add(large.clone(), FIVE_SECONDS, 0.0);
        }
        assert!(history.previous.as_ref().unwrap().links.iter().all(|link| link.peers.is_empty()));
        let series = (history.links.iter().flat_map(|link| &link.values))
            .chain(history.denied.values())
            .chain(history.rules.values())
            .chain([&history.latency_p50, &history.latency_p99, &history.in_flight]);
        let sizes: Vec<usize> = series.map(|Series(values)| values.capacity() * size_of::<f32>()).collect();
        assert_eq!(sizes.len(), LINKS * LINK_VALUES + REASONS + RULES + 3);
        assert!(sizes.iter().sum::<usize>() < 4_300_000, "{}", sizes.iter().sum::<usize>());
        let all: Value = serde_json::from_slice(&history.json(usize::MAX).unwrap()).unwrap();
        assert_eq!(all["links"][LINKS - 1]["queued"].as_array().unwrap().len(), SAMPLES);
    }
}
