//! Batches of messages, which are passed from one layer to the next.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

#[cfg(feature = "bridge")]
use super::memory::SHARED_BUFFER;
use super::memory::copied;
use crate::data::EndpointId;
#[cfg(feature = "bridge")]
use crate::data::Topic;
use crate::wire::Envelope;

/// A list of messages, in order.
///
/// A connection returns the messages of one read as one batch, and accepts batches to encode and write.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    messages: VecDeque<Envelope>,
    /// The number of bytes that are copied when the messages are encoded as Broker frames. JSON needs up to about thirty times
    /// as many.
    copied: usize,
    /// The approximate number of messages of this size that follow in later batches.
    following: usize,
    /// The exact texts of the senders, if the messages are those of a publisher of a ZeroMQ cluster. Consecutive messages of one
    /// sender have one entry. `None` if the text is not known.
    senders: VecDeque<(EndpointId, Option<Bytes>)>,
    /// When the messages were received, if their latency is measured. The time is passed on with the messages to the
    /// connection that writes them.
    received: Option<Instant>,
}

impl Batch {
    /// Returns a batch of one message.
    pub(crate) fn of(envelope: Envelope, received: Option<Instant>) -> Self {
        let mut batch = Batch { received, ..Batch::default() };
        batch.push(envelope);
        batch
    }

    /// Returns whether a message can be added. A batch is encoded into one buffer, so its size is limited. Nothing can be added
    /// after a message with a large payload.
    #[cfg(feature = "bridge")]
    pub(crate) fn has_room(&self, envelope: &Envelope) -> bool {
        let Some(last) = self.messages.back() else { return true };
        last.frame_length() <= SHARED_BUFFER && self.copied.saturating_add(copied(envelope)) <= SHARED_BUFFER
    }

    pub(crate) fn push(&mut self, envelope: Envelope) {
        self.copied = self.copied.saturating_add(copied(&envelope));
        self.messages.push_back(envelope);
    }

    /// Adds a message of a publisher of a ZeroMQ cluster. `text` returns the exact text of its sender. It is called only for the
    /// first of consecutive messages of one sender.
    pub(crate) fn push_from(&mut self, envelope: Envelope, text: impl FnOnce(EndpointId) -> Option<Bytes>) {
        let sender = envelope.sender;
        if self.senders.back().is_none_or(|(last, _)| *last != sender) {
            self.senders.push_back((sender, text(sender)));
        }
        self.push(envelope);
    }

    /// Removes and returns the first message.
    #[cfg(feature = "bridge")]
    pub(crate) fn pop(&mut self) -> Option<Envelope> {
        let envelope = self.messages.pop_front()?;
        self.copied = self.copied.saturating_sub(copied(&envelope));
        while self.senders.front().is_some_and(|(first, _)| *first != envelope.sender) {
            self.senders.pop_front();
        }
        Some(envelope)
    }

    /// Replaces the topic of all messages.
    #[cfg(feature = "bridge")]
    pub(crate) fn set_topic(&mut self, topic: &Topic) {
        self.copied = 0;
        for envelope in &mut self.messages {
            envelope.topic = topic.clone();
            self.copied = self.copied.saturating_add(copied(envelope));
        }
    }

    /// Returns the exact text of the sender of the message that [`Batch::pop`] has returned last, if it was added with
    /// [`Batch::push_from`].
    #[cfg(feature = "bridge")]
    pub(crate) fn sender_text(&self) -> Option<&Bytes> {
        self.senders.front()?.1.as_ref()
    }

    pub(crate) fn first(&self) -> Option<&Envelope> {
        self.messages.front()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Envelope> {
        self.messages.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Removes all messages. Keeps the memory.
    #[cfg(feature = "bridge")]
    pub(crate) fn clear(&mut self) {
        self.messages.clear();
        self.senders.clear();
        self.copied = 0;
    }

    /// Frees the memory of an empty batch.
    pub(crate) fn shrink(&mut self) {
        if self.messages.is_empty() && self.messages.capacity() > 0 {
            self.messages = VecDeque::new();
            self.senders = VecDeque::new();
        }
    }

    pub(crate) fn reserve(&mut self, messages: usize) {
        self.messages.reserve(messages);
    }

    pub(crate) fn received(&self) -> Option<Instant> {
        self.received
    }

    pub(crate) fn set_received(&mut self, received: Option<Instant>) {
        self.received = received;
    }

    /// Announces that about `messages` more messages follow in later batches. So one buffer for all of them is allocated at
    /// once.
    #[cfg(any(feature = "bridge", test))]
    pub(crate) fn set_following(&mut self, messages: usize) {
        self.following = messages;
    }

    pub(super) fn following(&self) -> usize {
        self.following
    }

    pub(super) fn copied(&self) -> usize {
        self.copied
    }
}

#[cfg(all(test, feature = "bridge"))]
mod tests {
    use super::*;
    use crate::data::{Topic, Value};

    #[test]
    fn each_message_keeps_the_text_of_its_sender() {
        let id = |number| EndpointId::from_bytes([number; 16]);
        let text = |id: EndpointId| (id.as_bytes()[0] != 3).then(|| Bytes::copy_from_slice(id.as_bytes()));
        let (mut batch, senders) = (Batch::default(), [1, 1, 2, 3, 3, 1, 2]);
        for number in senders {
            let message = Envelope::data(id(number), Topic::from_static("/t"), &Value::None).unwrap();
            batch.push_from(message, text);
        }
        assert_eq!(batch.senders.len(), 5, "one entry for consecutive messages");
        for number in senders {
            assert_eq!(batch.pop().unwrap().sender, id(number));
            assert_eq!(batch.sender_text().cloned(), text(id(number)));
        }
        batch.shrink();
        assert_eq!(batch.sender_text(), None);
    }
}
