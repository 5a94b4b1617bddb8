//! Encoded messages: encoded once, and shared by the queues of all peers that receive them.

use std::time::Instant;

use bytes::Bytes;

use super::session::Format;

/// Several encoded messages from one sender, in one format.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frames {
    /// The format. `None` only if there are no messages.
    pub(super) format: Option<&'static Format>,
    /// Complete messages. Only the payload of the last message may be separate, in `payload`.
    pub(super) bytes: Bytes,
    pub(super) payload: Bytes,
    pub(super) messages: usize,
    /// The start of the memory that these bytes keep allocated, and its length.
    pub(super) allocation: (usize, usize),
    /// When the messages were received, if their latency is measured.
    pub(super) received: Option<Instant>,
}

impl Frames {
    /// Returns the number of messages.
    pub(crate) fn messages(&self) -> usize {
        self.messages
    }

    /// Returns the length in bytes.
    pub(crate) fn length(&self) -> usize {
        self.bytes.len().saturating_add(self.payload.len())
    }

    /// Returns the length of the topics and payloads in bytes.
    pub(crate) fn content(&self) -> usize {
        self.length().saturating_sub(self.messages.saturating_mul(self.overhead()))
    }

    fn overhead(&self) -> usize {
        self.format.map_or(0, |format| format.overhead)
    }

    /// Returns the bytes in the order in which they are written.
    pub(crate) fn pieces(self) -> [Bytes; 2] {
        [self.bytes, self.payload]
    }

    /// Removes and returns messages at the front, at most `messages` with at most `content` bytes of
    /// [content](Frames::content). `None` if not even one message is within these limits.
    pub(crate) fn cut(&mut self, messages: usize, content: usize) -> Option<Self> {
        let format = self.format.filter(|_| self.messages > 0)?;
        if self.messages <= messages && self.content() <= content {
            return Some(std::mem::take(self));
        }
        let (mut at, mut count, mut left) = (0usize, 0usize, content);
        while count < messages
            && let Some(length) = self.bytes.get(at..).and_then(format.first_length)
        {
            let Some(rest) = left.checked_sub(length.saturating_sub(format.overhead)) else { break };
            (at, count, left) = (at.saturating_add(length), count.saturating_add(1), rest);
        }
        match count {
            0 => None,
            all if all == self.messages => Some(std::mem::take(self)),
            messages => {
                // `payload` belongs to the last message, which stays in `self`.
                self.messages = self.messages.saturating_sub(messages);
                let bytes = self.bytes.split_to(at.min(self.bytes.len()));
                Some(Frames {
                    format: self.format,
                    bytes,
                    messages,
                    allocation: self.allocation,
                    ..Frames::default()
                })
            }
        }
    }

    /// Returns the start and the length of the memory that these messages keep allocated. Messages that were encoded one
    /// after another may share it.
    pub(crate) fn allocation(&self) -> (usize, usize) {
        self.allocation
    }

    /// If these messages occupy less than half of the memory that they keep allocated, copies them into new memory.
    pub(crate) fn detached(self) -> Self {
        if self.allocation.1 / 2 <= self.length() {
            return self;
        }
        let bytes = Bytes::copy_from_slice(&self.bytes);
        Frames { allocation: (bytes.as_ptr().addr(), bytes.len()), bytes, ..self }
    }
}

/// Compares the content. The memory in which it is stored does not matter.
impl PartialEq for Frames {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.payload == other.payload && self.received == other.received
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::data::{EndpointId, Topic, Value};
    use crate::net::memory::SHARED_BUFFER;
    use crate::net::{BROKER, Batch, Encoder};
    use crate::wire::{Envelope, cut_frame};

    const ID: EndpointId = EndpointId::from_bytes([7; 16]);

    fn message(length: usize) -> Envelope {
        let value = Value::String("x".repeat(length).into());
        Envelope::data(ID, Topic::from_static("/t"), &value).unwrap()
    }

    fn encoded(encoder: &mut Encoder, batch: &Batch) -> Frames {
        encoder.begin();
        encoder.frames(&BROKER, batch, &|_| ID.into()).0.unwrap().clone()
    }

    fn together(messages: &[Envelope]) -> Frames {
        let mut batch = Batch::default();
        for message in messages {
            batch.push(message.clone());
        }
        encoded(&mut Encoder::default(), &batch)
    }

    fn read(frames: Frames) -> Vec<Envelope> {
        let mut bytes = BytesMut::from(&*frames.pieces().concat());
        let read =
            || cut_frame(&mut bytes, usize::MAX).unwrap().map(|frame| Envelope::decode(&frame).unwrap());
        std::iter::from_fn(read).collect()
    }

    #[test]
    fn a_batch_can_be_cut_after_any_message() {
        for last in [5, 2 * SHARED_BUFFER] {
            let messages = [message(1), message(0), message(300), message(last)];
            let all = together(&messages);
            let content = |messages: &[Envelope]| -> usize {
                messages.iter().map(|message| message.frame_length() - Envelope::BARE_FRAME).sum()
            };
            assert_eq!((all.messages(), all.content()), (4, content(&messages)));
            for n in 1..=4 {
                for (most, bytes) in [(n, usize::MAX), (usize::MAX, content(&messages[..n]))] {
                    let mut rest = all.clone();
                    let first = rest.cut(most, bytes).unwrap();
                    assert_eq!((first.messages(), rest.messages()), (n, 4 - n));
                    assert_eq!((read(first), read(rest)), (messages[..n].to_vec(), messages[n..].to_vec()));
                }
            }
            assert_eq!(all.clone().cut(0, usize::MAX), None);
            assert_eq!(all.clone().cut(4, content(&messages[..1]) - 1), None);
        }
        assert_eq!(Frames::default().cut(1, usize::MAX), None);
    }

    /// A batch normally ends with its large message: see `Room`.
    #[test]
    fn a_large_payload_is_kept_if_messages_follow() {
        let messages = [message(2 * SHARED_BUFFER), message(1), message(2 * SHARED_BUFFER), message(0)];
        let mut batch = Batch::default();
        messages.iter().for_each(|message| batch.push(message.clone()));
        let mut encoder = Encoder::default();
        let frames = encoded(&mut encoder, &batch);
        assert_eq!((frames.messages(), frames.allocation().1 >= frames.length()), (4, true));
        assert_eq!(read(frames), messages);
    }

    #[test]
    fn a_large_payload_is_not_copied_and_small_messages_share_memory() {
        let large = message(2 * SHARED_BUFFER);
        let [_, payload] = together(std::slice::from_ref(&large)).pieces();
        assert_eq!(payload.as_ptr(), large.payload.as_ptr());
        let mut encoder = Encoder::default();
        let [one, other] = [11, 0].map(|following| {
            let mut batch = Batch::of(message(10), None);
            batch.set_following(following);
            encoded(&mut encoder, &batch)
        });
        assert_eq!(one.allocation(), other.allocation());
        let kept = one.clone().detached();
        assert_ne!(kept.allocation().0, one.allocation().0);
        assert_eq!(kept.allocation().1, one.length());
        assert_eq!(read(kept), read(one));
    }
}
