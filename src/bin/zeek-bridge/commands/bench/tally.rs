//! Counts the messages of a subscriber by their numbers.

use std::collections::BTreeMap;

/// Counts messages from the number `first` on. Messages with lower numbers are ignored.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    first: Option<u64>,
    /// The highest received number plus one.
    next: u64,
    /// The ranges of missing numbers below `next`. A key is the first number of a range, and its value is the number after the last.
    missing: BTreeMap<u64, u64>,
    pub(super) received: Received,
}

/// The counts of received messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// The number of different messages that arrived.
    pub(super) delivered: u64,
    /// The number of duplicates.
    pub(super) duplicated: u64,
    /// The number of messages that arrived after a later one.
    pub(super) reordered: u64,
    /// The number of messages that were not published by this benchmark, but have the same topic.
    pub(super) foreign: u64,
}

impl Tally {
    /// Resets the tally. From now on, messages from number `first` on are counted.
    pub(super) fn begin(&mut self, first: u64) {
        *self = Tally { first: Some(first), next: first, ..Tally::default() };
    }

    /// Counts a message.
    pub(super) fn note(&mut self, number: u64) {
        if number == self.next && self.first.is_some() {
            self.next = number.saturating_add(1);
            self.received.delivered = self.received.delivered.saturating_add(1);
        } else if self.first.is_some_and(|first| number >= first) {
            self.note_unexpected(number);
        }
    }

    /// Counts a message whose number is not the next expected one.
    fn note_unexpected(&mut self, number: u64) {
        if number > self.next {
            self.missing.insert(self.next, number);
            self.next = number.saturating_add(1);
        } else {
            let range = self.missing.range(..=number).next_back().map(|(from, to)| (*from, *to));
            let Some((from, to)) = range.filter(|(_, to)| number < *to) else {
                self.received.duplicated = self.received.duplicated.saturating_add(1);
                return;
            };
            self.missing.remove(&from);
            let next = number.saturating_add(1);
            for (from, to) in [(from, number), (next, to)] {
                if from < to {
                    self.missing.insert(from, to);
                }
            }
            self.received.reordered = self.received.reordered.saturating_add(1);
        }
        self.received.delivered = self.received.delivered.saturating_add(1);
    }

    /// Counts a message that is not of this benchmark.
    pub(super) fn note_foreign(&mut self) {
        self.received.foreign = self.received.foreign.saturating_add(1);
    }
}

impl Received {
    /// Returns the sum of both counts.
    pub(super) fn and(self, other: Received) -> Received {
        Received {
            delivered: self.delivered.saturating_add(other.delivered),
            duplicated: self.duplicated.saturating_add(other.duplicated),
            reordered: self.reordered.saturating_add(other.reordered),
            foreign: self.foreign.saturating_add(other.foreign),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn tally(first: u64, numbers: &[u64]) -> Received {
        let mut tally = Tally::default();
        tally.note(first);
        tally.begin(first);
        numbers.iter().for_each(|number| tally.note(*number));
        tally.received
    }

    #[test]
    fn lost_duplicated_and_late_messages_are_distinguished() {
        let received =
            |delivered, duplicated, reordered| Received { delivered, duplicated, reordered, foreign: 0 };
        for (numbers, expected) in [
            (&[5, 6, 7][..], received(3, 0, 0)),
            (&[3, 4, 5], received(1, 0, 0)),
            (&[5, 7, 8], received(3, 0, 0)),
            (&[5, 5, 6, 5], received(2, 2, 0)),
            (&[5, 7, 6, 8], received(4, 0, 1)),
            (&[5, 9, 7, 7, 6, 8], received(5, 1, 3)),
        ] {
            assert_eq!(tally(5, numbers), expected, "{numbers:?}");
        }
    }

    proptest! {
        #[test]
        fn each_number_is_delivered_once(numbers in proptest::collection::vec(0u64..40, 0..80)) {
            let received = tally(5, &numbers);
            let counted: Vec<_> = numbers.iter().filter(|number| **number >= 5).collect();
            let different: HashSet<_> = counted.iter().collect();
            let count = |length: usize| u64::try_from(length).unwrap();
            prop_assert_eq!(received.delivered, count(different.len()));
            prop_assert_eq!(received.duplicated, count(counted.len().saturating_sub(different.len())));
        }
    }
}
