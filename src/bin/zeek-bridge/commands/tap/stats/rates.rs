//! Counts of messages by topic and event.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::terminal::Order;

/// Maximum number of rows. A peer can invent any number of topics and events.
const MAX_ROWS: usize = 1000;

/// Maximum number of bytes of a topic and of an event's name that distinguish rows.
const MAX_NAME: usize = 256;

/// The counts by topic and event.
#[derive(Debug)]
pub(super) struct Rates {
    started: Instant,
    interval: Span,
    rows: HashMap<String, Row>,
    max_rows: usize,
    /// The messages that have no row, because the maximum number of rows was reached.
    others: Tally,
    all: Tally,
    /// The key of the last row, kept to reuse its memory.
    key: String,
}

/// The counts of a topic and an event.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) topic: String,
    pub(super) event: String,
    pub(super) tally: Tally,
}

/// Counts of messages and bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) total: Amount,
    /// The amount in the last complete interval.
    pub(super) recent: Amount,
    /// The amount in the current interval.
    running: Amount,
    /// The time of the last message.
    pub(super) last: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// A period in which messages were counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) end: Instant,
    pub(super) length: Duration,
}

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Count,
    Rate,
    Bytes,
    Share,
    Last,
    Topic,
    Event,
}

impl Column {
    /// Returns the column that this key sorts by.
    pub(super) fn of_key(key: char) -> Option<Self> {
        Some(match key {
            'c' => Column::Count,
            'r' => Column::Rate,
            'b' => Column::Bytes,
            'l' => Column::Last,
            't' => Column::Topic,
            'e' => Column::Event,
            _ => return None,
        })
    }

    /// Returns whether the column contains names.
    pub(super) fn is_name(self) -> bool {
        matches!(self, Column::Topic | Column::Event)
    }
}

impl Default for Order<Column> {
    fn default() -> Self {
        Order::by(Column::Rate)
    }
}

impl Rates {
    pub(super) fn new(now: Instant) -> Self {
        Self::with_rows(now, MAX_ROWS)
    }

    fn with_rows(now: Instant, max_rows: usize) -> Self {
        Rates {
            started: now,
            interval: Span { end: now, length: Duration::ZERO },
            rows: HashMap::new(),
            max_rows,
            others: Tally::default(),
            all: Tally::default(),
            key: String::new(),
        }
    }

    /// Counts a message.
    pub(super) fn count(&mut self, topic: &str, event: &str, bytes: u64, now: Instant) {
        let (topic, event) = (shortened(topic), shortened(event));
        self.all.count(bytes, now);
        self.key.clear();
        // The key begins with the length of the topic, so that no two pairs of topic and event have the same key.
        self.key.push_str(&topic.len().to_string());
        self.key.push(' ');
        self.key.push_str(topic);
        self.key.push_str(event);
        if let Some(row) = self.rows.get_mut(&self.key) {
            row.tally.count(bytes, now);
        } else if self.rows.len() < self.max_rows {
            let mut row = Row { topic: topic.to_owned(), event: event.to_owned(), tally: Tally::default() };
            row.tally.count(bytes, now);
            self.rows.insert(self.key.clone(), row);
        } else {
            self.others.count(bytes, now);
        }
    }

    /// Ends the current interval and begins the next one.
    pub(super) fn end_interval(&mut self, now: Instant) {
        self.interval = Span { end: now, length: now.saturating_duration_since(self.interval.end) };
        for tally in self.rows.values_mut().map(|row| &mut row.tally).chain([&mut self.others, &mut self.all])
        {
            tally.recent = std::mem::take(&mut tally.running);
        }
    }

    /// Returns the last complete interval.
    pub(super) fn interval(&self) -> Span {
        self.interval
    }

    /// Returns the period from the start until `now`.
    pub(super) fn total_span(&self, now: Instant) -> Span {
        Span { end: now, length: now.saturating_duration_since(self.started) }
    }

    /// Returns the rows in this order; equal ones by total, topic and event.
    pub(super) fn rows(&self, order: Order<Column>) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.values().collect();
        rows.sort_by(|a, b| {
            let [(a_tally, b_tally), (a_recent, b_recent)] =
                [(a.tally.total, b.tally.total), (a.tally.recent, b.tally.recent)];
            let by_column = match order.column {
                Column::Count | Column::Share => b_tally.messages.cmp(&a_tally.messages),
                Column::Rate => b_recent.messages.cmp(&a_recent.messages),
                Column::Bytes => b_recent.bytes.cmp(&a_recent.bytes),
                Column::Last => b.tally.last.cmp(&a.tally.last),
                Column::Topic => a.topic.cmp(&b.topic),
                Column::Event => a.event.cmp(&b.event),
            };
            let by_column = if order.reversed { by_column.reverse() } else { by_column };
            by_column
                .then_with(|| b_tally.messages.cmp(&a_tally.messages))
                .then_with(|| (&a.topic, &a.event).cmp(&(&b.topic, &b.event)))
        });
        rows
    }

    /// Returns the counts of all messages.
    pub(super) fn all(&self) -> &Tally {
        &self.all
    }

    /// Returns the counts of messages that are in no row, if there are any.
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

/// Returns a part in thousandths.
pub(super) fn per_mille(part: u64, whole: u64) -> u16 {
    let share = u128::from(part).saturating_mul(1000).checked_div(whole.into());
    u16::try_from(share.unwrap_or(0)).unwrap_or(1000)
}

/// Returns at most [`MAX_NAME`] bytes of a name.
fn shortened(name: &str) -> &str {
    let end = (0..=MAX_NAME).rev().find(|end| name.is_char_boundary(*end));
    end.filter(|_| name.len() > MAX_NAME).and_then(|end| name.get(..end)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{per_second, rate};

    fn names(rows: &[&Row]) -> Vec<(String, String, u64)> {
        rows.iter().map(|row| (row.topic.clone(), row.event.clone(), row.tally.total.messages)).collect()
    }

    fn named(names: &[(&str, &str, u64)]) -> Vec<(String, String, u64)> {
        names.iter().map(|(topic, event, count)| (topic.to_string(), event.to_string(), *count)).collect()
    }

    #[test]
    fn a_rate_is_that_of_the_last_complete_interval() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut rates = Rates::new(start);
        for n in 0..30 {
            rates.count("/a", "e", 100, at(n * 10));
        }
        // Counts are reported when the interval ends.
        assert_eq!(rates.all().recent.messages, 0);
        rates.end_interval(at(2000));
        let recent = |rates: &Rates| {
            let recent = rates.rows(Order::default())[0].tally.recent;
            let interval = rates.interval();
            (rate(recent.messages, interval.length), per_second(recent.bytes, interval.length))
        };
        assert_eq!(recent(&rates), ("15.0".into(), 1500));
        rates.count("/a", "e", 7, at(2100));
        rates.end_interval(at(2500));
        assert_eq!(recent(&rates), ("2.0".into(), 14));
        rates.end_interval(at(3500));
        assert_eq!(recent(&rates), ("0.0".into(), 0));
        assert_eq!(rates.all().total, Amount { messages: 31, bytes: 3007 });
        assert_eq!(rates.all().last, Some(at(2100)));
        assert_eq!(rate(31, rates.total_span(at(31_000)).length), "1.0");
    }

    #[test]
    fn shares_are_rounded_and_do_not_divide_by_zero() {
        assert_eq!((per_mille(1, 3), per_mille(5, 0), per_mille(u64::MAX, u64::MAX)), (333, 0, 1000));
    }

    #[test]
    fn rows_are_sorted_by_rate_and_by_total_and_by_any_column() {
        let now = Instant::now();
        let mut rates = Rates::new(now);
        for (topic, event, times) in [("/a", "slow", 5), ("/b", "x", 2), ("/a", "x", 2)] {
            (0..times).for_each(|_| rates.count(topic, event, 1, now));
        }
        rates.end_interval(now);
        let by_total = named(&[("/a", "slow", 5), ("/a", "x", 2), ("/b", "x", 2)]);
        assert_eq!(names(&rates.rows(Order::default())), by_total);
        rates.count("/b", "x", 1, now);
        rates.end_interval(now);
        assert_eq!(
            names(&rates.rows(Order::default())),
            named(&[("/b", "x", 3), ("/a", "slow", 5), ("/a", "x", 2)])
        );
        assert_eq!(
            names(&rates.rows(Order::by(Column::Count))),
            named(&[("/a", "slow", 5), ("/b", "x", 3), ("/a", "x", 2)])
        );
        let mut by_event = Order::by(Column::Event);
        assert_eq!(names(&rates.rows(by_event))[0].1, "slow");
        by_event.select(Column::Event);
        assert_eq!(names(&rates.rows(by_event)), named(&[("/b", "x", 3), ("/a", "x", 2), ("/a", "slow", 5)]));
    }

    #[test]
    fn the_number_of_rows_is_bounded() {
        let now = Instant::now();
        let mut rates = Rates::with_rows(now, 2);
        assert!(rates.others().is_none());
        for topic in ["/a", "/b", "/c", "/d", "/a"] {
            rates.count(topic, "e", 10, now);
        }
        rates.end_interval(now);
        assert_eq!(names(&rates.rows(Order::default())), named(&[("/a", "e", 2), ("/b", "e", 1)]));
        assert_eq!(rates.others().unwrap().recent, Amount { messages: 2, bytes: 20 });
        assert_eq!(rates.all().total.messages, 5);
    }

    #[test]
    fn long_names_are_cut_and_pairs_are_distinct() {
        let now = Instant::now();
        let mut rates = Rates::new(now);
        let long = "ü".repeat(100_000);
        rates.count(&long, &long, 1, now);
        rates.count("ab", "c", 1, now);
        rates.count("a", "bc", 1, now);
        let rows = rates.rows(Order::default());
        assert_eq!(rows.len(), 3);
        assert!(rows.iter().all(|row| row.topic.len() <= 256 && row.event.len() <= 256));
        assert!(rates.key.capacity() < 4096);
    }
}
