//! The formats of the events in a session's queue.

use std::collections::VecDeque;

use super::config::EventFormat;

/// The formats of the queued events, in the order of the queue. The format is not a part of the event, because all other protocols
/// have only one.
#[derive(Debug, Default)]
pub(super) struct Formats {
    /// Consecutive events with one format have one entry, with their number.
    queued: VecDeque<(EventFormat, usize)>,
    /// The format of the event that was polled last.
    last: Option<EventFormat>,
}

impl Formats {
    /// Records the format of an event that is added to the queue.
    pub(super) fn push(&mut self, format: EventFormat) {
        match self.queued.back_mut() {
            Some((last, count)) if *last == format => *count = count.saturating_add(1),
            _ => self.queued.push_back((format, 1)),
        }
    }

    /// Records that the first event was removed from the queue.
    pub(super) fn pop(&mut self) {
        let Some((format, count)) = self.queued.front_mut() else { return };
        self.last = Some(*format);
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.queued.pop_front();
        }
    }

    /// Records the format of an event that was polled and is not in the queue.
    pub(super) fn set_last(&mut self, format: EventFormat) {
        self.last = Some(format);
    }

    /// Returns the format of the event that was polled last.
    pub(super) fn last(&self) -> Option<EventFormat> {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_keeps_its_format() {
        use EventFormat::{Binary, Json};

        let mut formats = Formats::default();
        assert_eq!(formats.last(), None);
        let events = [Binary, Binary, Json, Binary, Json, Json];
        events.iter().for_each(|format| formats.push(*format));
        assert_eq!(formats.queued.len(), 4, "one entry for consecutive events");
        for format in events {
            formats.pop();
            assert_eq!(formats.last(), Some(format));
        }
        assert!(formats.queued.is_empty());
    }
}
