//! How much of what comes, and how fast.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How many pairs of a topic and an event are told apart. A peer can invent as many as it likes.
pub(super) const MOST_ROWS: usize = 1000;

/// How many bytes of a topic, and of an event's name, are looked at.
const LONGEST_NAME: usize = 256;

/// What is counted by topic and event.
#[derive(Debug)]
pub(super) struct Rates {
    started: Instant,
    interval: Span,
    rows: HashMap<String, Row>,
    most: usize,
    /// What came behind the most rows there may be.
    others: Tally,
    all: Tally,
    /// The key of a row that is looked for, kept for its memory.
    key: String,
}

/// A topic and an event.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) topic: String,
    pub(super) event: String,
    pub(super) tally: Tally,
}

/// Messages and their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) total: Amount,
    /// In the interval that ended last.
    pub(super) recent: Amount,
    /// In the one that runs.
    running: Amount,
    pub(super) last: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// A time over which something came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) end: Instant,
    pub(super) length: Duration,
}

impl Rates {
    pub(super) fn new(now: Instant) -> Self {
        Self::with_rows(now, MOST_ROWS)
    }

    fn with_rows(now: Instant, most: usize) -> Self {
        Rates {
            started: now,
            interval: Span { end: now, length: Duration::ZERO },
            rows: HashMap::new(),
            most,
            others: Tally::default(),
            all: Tally::default(),
            key: String::new(),
        }
    }

    /// So many bytes came.
    pub(super) fn count(&mut self, topic: &str, event: &str, bytes: u64, now: Instant) {
        let (topic, event) = (beginning(topic), beginning(event));
        self.all.count(bytes, now);
        self.key.clear();
        // Where the topic ends is in front, so that no two pairs have the same key.
        self.key.push_str(&topic.len().to_string());
        self.key.push(' ');
        self.key.push_str(topic);
        self.key.push_str(event);
        if let Some(row) = self.rows.get_mut(&self.key) {
            row.tally.count(bytes, now);
        } else if self.rows.len() < self.most {
            let mut row = Row { topic: topic.to_owned(), event: event.to_owned(), tally: Tally::default() };
            row.tally.count(bytes, now);
            self.rows.insert(self.key.clone(), row);
        } else {
            self.others.count(bytes, now);
        }
    }

    /// An interval ends, and the next one begins.
    pub(super) fn end_interval(&mut self, now: Instant) {
        self.interval = Span { end: now, length: now.saturating_duration_since(self.interval.end) };
        for tally in self.rows.values_mut().map(|row| &mut row.tally).chain([&mut self.others, &mut self.all])
        {
            tally.recent = std::mem::take(&mut tally.running);
        }
    }

    /// The interval that ended last.
    pub(super) fn interval(&self) -> Span {
        self.interval
    }

    /// From the beginning until now.
    pub(super) fn whole(&self, now: Instant) -> Span {
        Span { end: now, length: now.saturating_duration_since(self.started) }
    }

    /// By what came in the interval that ended last, and then by what came at all; most first.
    pub(super) fn rows(&self) -> Vec<&Row> {
        self.sorted(|tally| (tally.recent.messages, tally.total.messages))
    }

    /// By what came at all; most first.
    pub(super) fn rows_by_total(&self) -> Vec<&Row> {
        self.sorted(|tally| (tally.total.messages, 0))
    }

    fn sorted(&self, by: impl Fn(&Tally) -> (u64, u64)) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.values().collect();
        rows.sort_by(|a, b| {
            by(&b.tally).cmp(&by(&a.tally)).then_with(|| (&a.topic, &a.event).cmp(&(&b.topic, &b.event)))
        });
        rows
    }

    /// All together.
    pub(super) fn all(&self) -> &Tally {
        &self.all
    }

    /// What is in no row, if there is any.
    pub(super) fn others(&self) -> Option<&Tally> {
        Some(&self.others).filter(|others| others.last.is_some())
    }
}

impl Tally {
    fn count(&mut self, bytes: u64, now: Instant) {
        for amount in [&mut self.total, &mut self.running] {
            amount.messages = amount.messages.saturating_add(1);
            amount.bytes = amount.bytes.saturating_add(bytes);
        }
        self.last = Some(now);
    }
}

impl Span {
    /// How many come in ten seconds, if so many came in this time.
    pub(super) fn per_ten_seconds(self, count: u64) -> u64 {
        let nanos = self.length.as_nanos().max(1);
        let scaled = u128::from(count).saturating_mul(10 * 1_000_000_000);
        u64::try_from(scaled.checked_div(nanos).unwrap_or(0)).unwrap_or(u64::MAX)
    }

    /// How many come in a second.
    pub(super) fn per_second(self, count: u64) -> u64 {
        self.per_ten_seconds(count) / 10
    }
}

/// How many of a thousand.
pub(super) fn per_mille(part: u64, whole: u64) -> u16 {
    let share = u128::from(part).saturating_mul(1000).checked_div(whole.into());
    u16::try_from(share.unwrap_or(0)).unwrap_or(1000)
}

/// As much of a name as is looked at.
fn beginning(name: &str) -> &str {
    let end = (0..=LONGEST_NAME).rev().find(|end| name.is_char_boundary(*end));
    end.filter(|_| name.len() > LONGEST_NAME).and_then(|end| name.get(..end)).unwrap_or(name)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "test code")]
mod tests {
    use super::*;

    fn names(rows: &[&Row]) -> Vec<(String, String, u64)> {
        rows.iter().map(|row| (row.topic.clone(), row.event.clone(), row.tally.total.messages)).collect()
    }

    fn named(names: &[(&str, &str, u64)]) -> Vec<(String, String, u64)> {
        names.iter().map(|(topic, event, count)| (topic.to_string(), event.to_string(), *count)).collect()
    }

    #[test]
    fn a_rate_is_that_of_the_interval_that_ended_last() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut rates = Rates::new(start);
        for n in 0..30 {
            rates.count("/a", "e", 100, at(n * 10));
        }
        // Not before the interval is over.
        assert_eq!(rates.all().recent.messages, 0);
        rates.end_interval(at(2000));
        let rate = |rates: &Rates| {
            let recent = rates.rows()[0].tally.recent;
            let interval = rates.interval();
            (interval.per_ten_seconds(recent.messages), interval.per_second(recent.bytes))
        };
        assert_eq!(rate(&rates), (150, 1500));
        rates.count("/a", "e", 7, at(2100));
        rates.end_interval(at(2500));
        assert_eq!(rate(&rates), (20, 14));
        rates.end_interval(at(3500));
        assert_eq!(rate(&rates), (0, 0));
        assert_eq!(rates.all().total, Amount { messages: 31, bytes: 3007 });
        assert_eq!(rates.all().last, Some(at(2100)));
        assert_eq!(rates.whole(at(31_000)).per_ten_seconds(31), 10);
    }

    #[test]
    fn no_time_is_no_fault() {
        let span = Span { end: Instant::now(), length: Duration::ZERO };
        assert_eq!(span.per_second(0), 0);
        assert_eq!(span.per_ten_seconds(u64::MAX), u64::MAX);
        assert_eq!((per_mille(1, 3), per_mille(5, 0), per_mille(u64::MAX, u64::MAX)), (333, 0, 1000));
    }

    #[test]
    fn what_is_fast_now_stands_first_and_in_the_end_what_came_most() {
        let now = Instant::now();
        let mut rates = Rates::new(now);
        for (topic, event, times) in [("/a", "slow", 5), ("/b", "x", 2), ("/a", "x", 2)] {
            (0..times).for_each(|_| rates.count(topic, event, 1, now));
        }
        rates.end_interval(now);
        let by_total = named(&[("/a", "slow", 5), ("/a", "x", 2), ("/b", "x", 2)]);
        assert_eq!(names(&rates.rows()), by_total);
        rates.count("/b", "x", 1, now);
        rates.end_interval(now);
        assert_eq!(names(&rates.rows()), named(&[("/b", "x", 3), ("/a", "slow", 5), ("/a", "x", 2)]));
        assert_eq!(
            names(&rates.rows_by_total()),
            named(&[("/a", "slow", 5), ("/b", "x", 3), ("/a", "x", 2)])
        );
    }

    #[test]
    fn no_peer_makes_more_rows_than_there_may_be() {
        let now = Instant::now();
        let mut rates = Rates::with_rows(now, 2);
        assert!(rates.others().is_none());
        for topic in ["/a", "/b", "/c", "/d", "/a"] {
            rates.count(topic, "e", 10, now);
        }
        rates.end_interval(now);
        assert_eq!(names(&rates.rows()), named(&[("/a", "e", 2), ("/b", "e", 1)]));
        assert_eq!(rates.others().unwrap().recent, Amount { messages: 2, bytes: 20 });
        assert_eq!(rates.all().total.messages, 5);
    }

    #[test]
    fn long_names_are_cut_and_pairs_are_not_mixed_up() {
        let now = Instant::now();
        let mut rates = Rates::new(now);
        let long = "ü".repeat(100_000);
        rates.count(&long, &long, 1, now);
        rates.count("ab", "c", 1, now);
        rates.count("a", "bc", 1, now);
        let rows = rates.rows();
        assert_eq!(rows.len(), 3);
        assert!(rows.iter().all(|row| row.topic.len() <= 256 && row.event.len() <= 256));
        assert!(rates.key.capacity() < 4096);
    }
}
