//! Batches of messages, which are passed from one layer to the next.

use std::collections::VecDeque;
#[cfg(feature = "bridge")]
use std::ops::Range;
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
    /// The number of messages that are still in the batch.
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

    pub(crate) fn push(&mut self, envelope: Envelope) {
        self.push_original(envelope, None);
    }

    /// Adds a message, with its frames as they were received.
    pub(crate) fn push_original(&mut self, envelope: Envelope, original: Option<Original<'_>>) {
        if original.is_some() || self.originals.is_some() {
            let originals = self.originals.get_or_insert_default();
            originals.push(original, self.messages.len(), self.messages.capacity());
        }
        self.messages.push_back(envelope);
    }

    /// Adds messages that were not received from a ZeroMQ cluster.
    pub(crate) fn append(&mut self, mut messages: VecDeque<Envelope>) {
        if self.messages.is_empty() {
            self.messages = messages;
        } else {
            self.messages.append(&mut messages);
        }
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
        self.pop_with_frames().map(|(envelope, _)| envelope)
    }

    /// Removes the first message, and returns it with the position of its frames in [`Batch::originals`].
    #[cfg(feature = "bridge")]
    fn pop_with_frames(&mut self) -> Option<(Envelope, Option<Range<usize>>)> {
        let envelope = self.messages.pop_front()?;
        let frames = self.originals.as_mut().and_then(|originals| originals.pop());
        if let Some(first) = self.published.front_mut() {
            first.messages = first.messages.saturating_sub(1);
            if first.messages == 0 {
                self.published.pop_front();
            }
        }
        Some((envelope, frames))
    }

    /// Moves the first `count` messages to the end of another batch, with their frames as they were received.
    #[cfg(feature = "bridge")]
    pub(crate) fn move_front(&mut self, count: usize, to: &mut Batch) {
        if count == self.len() && to.is_empty() {
            std::mem::swap(&mut self.messages, &mut to.messages);
            std::mem::swap(&mut self.originals, &mut to.originals);
            return self.published.clear();
        }
        for _ in 0..count {
            let Some((envelope, frames)) = self.pop_with_frames() else { return };
            let original = self.originals().zip(frames).map(|(originals, frames)| originals.at(frames));
            to.push_original(envelope, original);
        }
    }

    /// Replaces the topic of all messages.
    #[cfg(feature = "bridge")]
    pub(crate) fn set_topic(&mut self, topic: &Topic) {
        for envelope in &mut self.messages {
            envelope.topic = topic.clone();
        }
    }

    /// Returns how a message was published, if it was added with [`Batch::push_from`].
    #[cfg(feature = "bridge")]
    pub(crate) fn published(&self, mut index: usize) -> Option<&Published> {
        let run = self.published.iter().find(|run| match index.checked_sub(run.messages) {
            Some(after) => {
                index = after;
                false
            }
            None => true,
        });
        run.map(|run| &run.published)
    }

    /// Returns whether the batch is sent in the memory that it was received in, if it returns to the cluster of its publisher.
    #[cfg(feature = "bridge")]
    pub(crate) fn has_all_originals(&self) -> bool {
        self.originals().is_some_and(Originals::is_complete)
    }

    pub(super) fn originals(&self) -> Option<&Originals> {
        self.originals.as_deref()
    }

    pub(crate) fn first(&self) -> Option<&Envelope> {
        self.messages.front()
    }

    #[cfg(feature = "bridge")]
    pub(crate) fn get(&self, index: usize) -> Option<&Envelope> {
        self.messages.get(index)
    }

    /// Returns the messages starting at `index`.
    #[cfg(feature = "bridge")]
    pub(crate) fn iter_mut_from(&mut self, index: usize) -> impl Iterator<Item = &mut Envelope> {
        self.messages.iter_mut().skip(index)
    }

    #[cfg(feature = "bridge")]
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Envelope> {
        self.messages.get_mut(index)
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

    /// Returns the number of messages from `index` that were published in the same way.
    #[cfg(feature = "bridge")]
    pub(crate) fn published_alike(&self, index: usize) -> usize {
        let mut end = 0usize;
        for run in &self.published {
            end = end.saturating_add(run.messages);
            if index < end {
                return end.saturating_sub(index);
            }
        }
        self.len().saturating_sub(index)
    }

    /// Removes all messages. Keeps the memory.
    #[cfg(feature = "bridge")]
    pub(crate) fn clear(&mut self) {
        self.messages.clear();
        self.published.clear();
        if let Some(originals) = &mut self.originals {
            originals.clear();
        }
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

    /// Returns the number of bytes that are copied when the messages are encoded as Broker frames. JSON needs up to about thirty
    /// times as many.
    pub(super) fn copied(&self) -> usize {
        self.messages.iter().map(copied).fold(0, usize::saturating_add)
    }
}

/// The room for messages in a batch, in bytes. A batch is encoded into one buffer, so its size is limited.
#[cfg(feature = "bridge")]
#[derive(Debug)]
pub(crate) struct Room(usize);

#[cfg(feature = "bridge")]
impl Room {
    pub(crate) const NONE: Room = Room(0);

    /// Returns the room of a batch with one message. Any message may be the first one.
    pub(crate) fn after(first: &Envelope) -> Self {
        let mut room = Room(SHARED_BUFFER);
        room.take(first);
        room
    }

    /// Returns whether there is room for a message.
    pub(crate) fn is_enough(&self, envelope: &Envelope) -> bool {
        copied(envelope) <= self.0
    }

    /// Adds a message. Nothing can be added after a message with a large payload.
    pub(crate) fn take(&mut self, envelope: &Envelope) {
        let is_large = envelope.frame_length() > SHARED_BUFFER;
        self.0 = if is_large { 0 } else { self.0.saturating_sub(copied(envelope)) };
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
        for (index, (number, format)) in sent().enumerate() {
            assert_eq!(batch.published(index), Some(&Published { text: text(id(number)), format }));
        }
        assert_eq!(batch.published(9), None);
        assert_eq!([0, 1, 2, 3, 4, 8].map(|index| batch.published_alike(index)), [2, 1, 1, 2, 1, 1]);
        for (number, format) in sent() {
            assert_eq!(batch.published(0), Some(&Published { text: text(id(number)), format }));
            assert_eq!(batch.pop().unwrap().sender, id(number));
        }
        batch.shrink();
        assert_eq!(batch.published(0), None);
    }
}
