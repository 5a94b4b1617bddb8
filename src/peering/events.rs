//! The events that the caller has not polled yet.

use std::collections::VecDeque;

use super::Event;
use crate::wire::Envelope;

/// Events, in order. Messages are stored separately, so that the caller can take many of them at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    messages: VecDeque<Envelope>,
    /// The number of messages before the first of the other events.
    before: usize,
    /// All other events, each with the number of messages between it and the next one.
    others: VecDeque<(Event, usize)>,
}

impl Events {
    pub(super) fn push(&mut self, event: Event) {
        match event {
            Event::Message(envelope) => self.push_message(envelope),
            other => self.others.push_back((other, 0)),
        }
    }

    pub(super) fn push_message(&mut self, envelope: Envelope) {
        let count = self.others.back_mut().map_or(&mut self.before, |(_, after)| after);
        *count = count.saturating_add(1);
        self.messages.push_back(envelope);
    }

    /// Removes and returns the first event. Frees the memory of an empty queue.
    pub(super) fn pop(&mut self) -> Option<Event> {
        if self.before > 0 {
            self.before = self.before.saturating_sub(1);
            return self.messages.pop_front().map(Event::Message);
        }
        let Some((event, after)) = self.others.pop_front() else {
            if self.messages.capacity() > 0 || self.others.capacity() > 0 {
                *self = Events::default();
            }
            return None;
        };
        self.before = after;
        Some(event)
    }

    /// Removes and returns the messages before the first of the other events.
    #[cfg(feature = "net")]
    pub(super) fn take_messages(&mut self) -> VecDeque<Envelope> {
        let before = std::mem::take(&mut self.before);
        if before == self.messages.len() {
            return std::mem::take(&mut self.messages);
        }
        self.messages.drain(..before).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len().saturating_add(self.others.len())
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.messages.capacity() + self.others.capacity()
    }

    /// Reserves capacity for messages.
    pub(super) fn reserve(&mut self, messages: usize) {
        self.messages.reserve(messages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{EndpointId, Topic, Value};

    fn message(number: u64) -> Envelope {
        Envelope::data(EndpointId::NIL, Topic::from_static("/t"), &Value::Count(number)).unwrap()
    }

    fn is_message(number: u64) -> Option<Event> {
        Some(Event::Message(message(number)))
    }

    /// Two messages, another event, one message, two other events, and one message.
    fn events() -> Events {
        let mut events = Events::default();
        for event in [1, 2, 0, 3, 0, 0, 4] {
            events.push(if event == 0 { Event::PeerLeaving } else { Event::Message(message(event)) });
        }
        assert_eq!(events.len(), 7);
        events
    }

    #[test]
    fn events_are_returned_in_order() {
        let mut events = events();
        let leaving = || Some(Event::PeerLeaving);
        let all =
            [is_message(1), is_message(2), leaving(), is_message(3), leaving(), leaving(), is_message(4)];
        for event in all {
            assert_eq!(events.pop(), event);
        }
        assert_eq!((events.pop(), events.len(), events.capacity()), (None, 0, 0));
    }

    #[cfg(feature = "net")]
    #[test]
    fn messages_are_taken_up_to_another_event() {
        let mut events = events();
        assert_eq!(events.pop(), is_message(1));
        for (numbers, leaving) in [(&[2][..], 1), (&[3], 2), (&[4], 0)] {
            let messages: Vec<Envelope> = numbers.iter().map(|number| message(*number)).collect();
            assert_eq!(Vec::from(events.take_messages()), messages);
            assert!(events.take_messages().is_empty());
            for _ in 0..leaving {
                assert_eq!(events.pop(), Some(Event::PeerLeaving));
            }
        }
        assert_eq!(events.pop(), None);
        events.push(Event::Message(message(5)));
        assert_eq!(events.pop(), is_message(5));
    }
}
