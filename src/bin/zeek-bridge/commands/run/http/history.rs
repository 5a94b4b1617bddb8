//! The rates of the last hour, in a ring buffer.
//!
//! The memory is bounded: 4 bytes for each sample of a series, so 2,880 bytes for each series, 7 series for each link, one for
//! each rule and reason, and 3 for the bridge. With the maximum number of links, rules and reasons, this is about 4.3 MB.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Serialize, Serializer};
use zeek_bridge::bridge::{Latency, LinkSnapshot, RuleSnapshot, Snapshot};

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
        Series(VecDeque::from(vec![f32::NAN; length]))
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
    /// The previous snapshot without its peers.
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
        now.links.iter_mut().for_each(|link| link.peers = Vec::new());
        now.nodes = Vec::new();
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
                denied(link),
            ];
            let [messages_in, messages_out, bytes_in, bytes_out, dropped, denied] = rates.map(rate);
            let sample = [messages_in, messages_out, bytes_in, bytes_out, dropped, denied, queued];
            (link.name.as_str(), sample)
        });
        self.add_links(links.take(LINKS));
        let reasons = counts.refused.iter().map(|(reason, count)| (reason.as_str(), rate(*count)));
        add_named(&mut self.denied, self.length, reasons.take(REASONS));
        let rules = counts.rules.iter().map(|rule| (rule.name.as_str(), rate(denied_by(rule))));
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

/// Returns the number of denied messages of a rule.
fn denied_by(rule: &RuleSnapshot) -> u64 {
    rule.refused.values().fold(0, |sum, count| sum.saturating_add(*count))
}

/// Returns the number of denied messages of a link.
fn denied(_link: &LinkSnapshot) -> u64 {
    0
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
