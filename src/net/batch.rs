//! Batches of messages, which are passed from one layer to the next.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

#[cfg(feature = "bridge")]
use super::memory::SHARED_BUFFER;
use super::memory::copied;
use super::original::{Original, Originals};
use crate::data::EndpointId;
#[cfg(feature = "bridge")]
use crate::data::Topic;
use crate::wire::Envelope;
use crate::zeromq::EventFormat;

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
    /// How the messages were published, if they are from a ZeroMQ cluster. Consecutive messages of one sender in one format have one
    /// entry.
    published: VecDeque<Run>,
    /// The frames of the messages as they were received. Only connections of ZeroMQ clusters have some, so it is boxed: each connection
    /// has a batch, and must stay small.
    originals: Option<Box<Originals>>,
    /// When the messages were received, if their latency is measured. The time is passed on with the messages to the
    /// connection that writes them.
    received: Option<Instant>,
}

/// How the messages of a ZeroMQ cluster were published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    /// The exact text of the sender, if it is known and this endpoint is the proxy of the cluster.
    pub(crate) text: Option<Bytes>,
    pub(crate) format: EventFormat,
}

/// Consecutive messages of one sender in one format.
#[derive(Debug)]
struct Run {
    sender: EndpointId,
    /// The number of messages that [`Batch::pop`] has not returned yet.
    messages: usize,
    published: Published,
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
        last.frame_length() <= SHARED_BUFFER
            && (self.originals().is_some_and(Originals::is_complete)
                || self.copied.saturating_add(copied(envelope)) <= SHARED_BUFFER)
    }

    pub(crate) fn push(&mut self, envelope: Envelope) {
        self.push_original(envelope, None);
    }

    /// Adds a message, with its frames as they were received.
    pub(crate) fn push_original(&mut self, envelope: Envelope, original: Option<Original<'_>>) {
        if original.is_some() || self.originals.is_some() {
            let originals = self.originals.get_or_insert_default();
            originals.push(original, self.messages.len(), self.messages.capacity());
        }
        self.copied = self.copied.saturating_add(copied(&envelope));
        self.messages.push_back(envelope);
    }

    /// Adds a message from a ZeroMQ cluster, in the format in which it was published. `text` returns the exact text of its sender. It
    /// is called only for the first of consecutive messages of one sender in one format. All messages of a batch are added either
    /// with this method or with the other ones.
    pub(crate) fn push_from(
        &mut self,
        envelope: Envelope,
        format: EventFormat,
        original: Option<Original<'_>>,
        text: impl FnOnce(EndpointId) -> Option<Bytes>,
    ) {
        let sender = envelope.sender;
        match self.published.back_mut() {
            Some(last) if last.sender == sender && last.published.format == format => {
                last.messages = last.messages.saturating_add(1);
            }
            _ => {
                let published = Published { text: text(sender), format };
                self.published.push_back(Run { sender, messages: 1, published });
            }
        }
        self.push_original(envelope, original);
    }

    /// Removes and returns the first message.
    #[cfg(feature = "bridge")]
    pub(crate) fn pop(&mut self) -> Option<Envelope> {
        let envelope = self.messages.pop_front()?;
        if let Some(originals) = &mut self.originals {
            originals.pop();
        }
        self.copied = self.copied.saturating_sub(copied(&envelope));
        // The entry of the message that was returned last is kept until now, for `published`.
        if self.published.front().is_some_and(|first| first.messages == 0) {
            self.published.pop_front();
        }
        if let Some(first) = self.published.front_mut() {
            first.messages = first.messages.saturating_sub(1);
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

    /// Returns how the message was published that [`Batch::pop`] has returned last, if it was added with [`Batch::push_from`].
    #[cfg(feature = "bridge")]
    pub(crate) fn published(&self) -> Option<&Published> {
        self.published.front().map(|first| &first.published)
    }

    /// Returns the frames of the message that [`Batch::pop`] has returned last.
    #[cfg(feature = "bridge")]
    pub(crate) fn original(&self) -> Option<Original<'_>> {
        self.originals()?.popped()
    }

    pub(super) fn originals(&self) -> Option<&Originals> {
        self.originals.as_deref()
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
        self.published.clear();
        if let Some(originals) = &mut self.originals {
            originals.clear();
        }
        self.copied = 0;
    }

    /// Frees the memory of an empty batch.
    pub(crate) fn shrink(&mut self) {
        if self.messages.is_empty() && self.messages.capacity() > 0 {
            self.messages = VecDeque::new();
            self.published = VecDeque::new();
            self.originals = None;
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
    fn each_message_keeps_the_text_of_its_sender_and_its_format() {
        use EventFormat::{Binary, Json};

        let id = |number| EndpointId::from_bytes([number; 16]);
        let text = |id: EndpointId| (id.as_bytes()[0] != 3).then(|| Bytes::copy_from_slice(id.as_bytes()));
        let formats = [Binary, Binary, Json, Json, Json, Binary, Json, Binary, Binary];
        let sent = || [1, 1, 2, 3, 3, 1, 1, 1, 2].into_iter().zip(formats);
        let mut batch = Batch::default();
        for (number, format) in sent() {
            let message = Envelope::data(id(number), Topic::from_static("/t"), &Value::None).unwrap();
            batch.push_from(message, format, None, text);
        }
        assert_eq!(batch.published.len(), 7, "one entry for consecutive messages");
        for (number, format) in sent() {
            assert_eq!(batch.pop().unwrap().sender, id(number));
            assert_eq!(batch.published(), Some(&Published { text: text(id(number)), format }));
        }
        batch.shrink();
        assert_eq!(batch.published(), None);
    }
}
