//! Frames that are ready to be written: made once, and shared by all who get them.

use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};

use super::memory::{self, PIECE};
use crate::data::EndpointId;
use crate::wire::{EncodeError, Envelope, LENGTH_FIELD};

/// What a frame is copied up to, and how much of frames that go together is put into one piece of memory. It is what one
/// read brings at most: a frame as large as that makes out a good part of the memory that it was read into
/// ([`Input`](super::input::Input) begins anew behind it), and is left where it is.
const TOGETHER: usize = PIECE;

/// Messages as the wire has them, from one sender, one behind the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frames {
    /// Whole frames, but for the payload of the last one, which may stand apart.
    bytes: Bytes,
    payload: Bytes,
    messages: usize,
    /// Where the memory begins that is kept by keeping this, and how much it is at most.
    keeps: (usize, usize),
    /// When they were heard, if their way through this process is measured.
    pub(crate) heard: Option<Instant>,
}

impl Frames {
    /// One message, in the name of `sender`.
    ///
    /// # Errors
    /// When it is too long for the wire.
    pub(crate) fn of(envelope: &Envelope, sender: EndpointId) -> Result<Self, EncodeError> {
        let mut writer = FramesWriter::default();
        writer.push(envelope, sender, 0)?;
        Ok(writer.take())
    }

    /// How many messages there are.
    pub(crate) fn messages(&self) -> usize {
        self.messages
    }

    /// How long they are together, length fields included.
    pub(crate) fn length(&self) -> usize {
        self.bytes.len().saturating_add(self.payload.len())
    }

    /// The bytes of their topics and payloads.
    pub(crate) fn content(&self) -> usize {
        self.length().saturating_sub(self.messages.saturating_mul(Envelope::BARE_FRAME))
    }

    /// In the order in which they are to be written.
    pub(crate) fn pieces(self) -> [Bytes; 2] {
        [self.bytes, self.payload]
    }

    /// Takes messages off the front: no more than so many, of so much [content](Frames::content). `None`: not even one.
    pub(crate) fn cut(&mut self, messages: usize, content: usize) -> Option<Self> {
        if self.messages == 0 {
            return None;
        }
        if self.messages <= messages && self.content() <= content {
            return Some(std::mem::take(self));
        }
        let (mut at, mut taken, mut left) = (0usize, 0usize, content);
        while taken < messages
            && let Some(length) = self.bytes.get(at..).and_then(<[u8]>::first_chunk::<LENGTH_FIELD>)
        {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            let length = length.saturating_add(LENGTH_FIELD);
            let Some(rest) = left.checked_sub(length.saturating_sub(Envelope::BARE_FRAME)) else { break };
            (at, taken, left) = (at.saturating_add(length), taken.saturating_add(1), rest);
        }
        match taken {
            0 => None,
            all if all == self.messages => Some(std::mem::take(self)),
            messages => {
                self.messages = self.messages.saturating_sub(messages);
                let bytes = self.bytes.split_to(at.min(self.bytes.len()));
                Some(Frames { bytes, messages, keeps: self.keeps, ..Frames::default() })
            }
        }
    }

    /// Which memory is kept by keeping this, and how much that is at most. Those that were put together one after the
    /// other may share it.
    pub(crate) fn keeps(&self) -> (usize, usize) {
        self.keeps
    }

    /// The same, in memory of its own if it makes out less than half of what it keeps otherwise.
    pub(crate) fn detached(self) -> Self {
        if self.keeps.1 / 2 <= self.length() {
            return self;
        }
        let bytes = Bytes::copy_from_slice(&self.bytes);
        Frames { keeps: (bytes.as_ptr().addr(), bytes.len()), bytes, ..self }
    }
}

/// Where they stand says nothing of them.
impl PartialEq for Frames {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.payload == other.payload && self.heard == other.heard
    }
}

/// Puts [`Frames`] together.
#[derive(Debug, Default)]
pub(crate) struct FramesWriter {
    buffer: BytesMut,
    payload: Bytes,
    messages: usize,
    keeps: (usize, usize),
}

impl FramesWriter {
    /// Whether a message still fits with what was put together.
    #[cfg(any(feature = "bridge", test))]
    pub(crate) fn has_room(&self, envelope: &Envelope) -> bool {
        let all = self.buffer.len().saturating_add(copied(envelope));
        self.messages == 0 || (self.payload.is_empty() && all <= TOGETHER)
    }

    /// Adds a message for which there is [room](FramesWriter::has_room), in the name of `sender`; perhaps as many as
    /// `more` of about its size follow.
    ///
    /// # Errors
    /// When it is too long for the wire.
    pub(crate) fn push(
        &mut self,
        envelope: &Envelope,
        sender: EndpointId,
        more: usize,
    ) -> Result<(), EncodeError> {
        let copied = copied(envelope);
        if self.buffer.capacity().saturating_sub(self.buffer.len()) < copied {
            self.make_room(copied, copied.saturating_mul(more.saturating_add(1)).min(TOGETHER));
        }
        envelope.encode_header_as(sender, &mut self.buffer)?;
        if copied < envelope.frame_length() {
            self.payload = envelope.payload.clone();
        } else {
            self.buffer.put_slice(&envelope.payload);
        }
        self.messages = self.messages.saturating_add(1);
        Ok(())
    }

    /// Makes room for so much, and better for what is `wanted`: in memory that was used before, if that is much.
    fn make_room(&mut self, least: usize, wanted: usize) {
        if wanted < TOGETHER && self.buffer.len().saturating_add(least) < TOGETHER {
            self.buffer.reserve(wanted.max(least));
        } else {
            let begun = self.buffer.split();
            self.let_go();
            // A topic may be that long.
            self.buffer = if least > PIECE { BytesMut::with_capacity(least) } else { memory::take() };
            self.buffer.put_slice(&begun);
        }
        self.keeps = (self.buffer.as_ptr().addr(), self.buffer.capacity());
    }

    /// Lets others use the memory, when what was put together there is written.
    fn let_go(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        if self.keeps.1 >= PIECE {
            memory::give_back(buffer);
        }
    }

    /// What was put together, of which there is nothing then.
    pub(crate) fn take(&mut self) -> Frames {
        Frames {
            bytes: self.buffer.split().freeze(),
            payload: std::mem::take(&mut self.payload),
            messages: std::mem::take(&mut self.messages),
            keeps: self.keeps,
            heard: None,
        }
    }
}

impl Drop for FramesWriter {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// How much of a message's frame is copied: all, or what is before a large payload.
fn copied(envelope: &Envelope) -> usize {
    let length = envelope.frame_length();
    if length > TOGETHER { length.saturating_sub(envelope.payload.len()) } else { length }
}

/// The same message, fit to be kept: it holds on to a few times its own memory at most.
///
/// Frames share the memory that they were read into, up to 64 KiB at a time, so that one small message may hold on to
/// a thousand times its size; such are copied, which costs less than reading them did. A frame as large as a whole
/// read makes out a good part of its memory ([`Input`](super::input::Input) begins anew behind it), and is left where it is.
pub(crate) fn for_keeping(envelope: Envelope) -> Envelope {
    if envelope.frame_length() < TOGETHER { envelope.detached() } else { envelope }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Topic, Value};
    use crate::wire::cut_frame;

    const ID: EndpointId = EndpointId::from_bytes([7; 16]);

    fn message(length: usize) -> Envelope {
        let value = Value::String("x".repeat(length).into());
        Envelope::data(ID, Topic::from_static("/t"), &value).unwrap()
    }

    fn together(messages: &[Envelope]) -> Frames {
        let mut writer = FramesWriter::default();
        for (n, message) in messages.iter().enumerate() {
            assert!(writer.has_room(message));
            writer.push(message, ID, messages.len().saturating_sub(n).saturating_sub(1)).unwrap();
        }
        writer.take()
    }

    fn read(frames: Frames) -> Vec<Envelope> {
        let mut bytes = BytesMut::from(&*frames.pieces().concat());
        let read =
            || cut_frame(&mut bytes, usize::MAX).unwrap().map(|frame| Envelope::decode(&frame).unwrap());
        std::iter::from_fn(read).collect()
    }

    #[test]
    fn what_is_put_together_is_cut_at_any_message() {
        for last in [5, 2 * TOGETHER] {
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

    #[test]
    fn a_large_payload_stays_where_it_is_and_small_ones_share_memory() {
        let large = message(2 * TOGETHER);
        let [_, payload] = Frames::of(&large, ID).unwrap().pieces();
        assert_eq!(payload.as_ptr(), large.payload.as_ptr());
        let mut writer = FramesWriter::default();
        let [one, other] = [11, 0].map(|more| {
            writer.push(&message(10), ID, more).unwrap();
            writer.take()
        });
        assert_eq!(one.keeps(), other.keeps());
        let kept = one.clone().detached();
        assert_ne!(kept.keeps().0, one.keeps().0);
        assert_eq!(kept.keeps().1, one.length());
        assert_eq!(read(kept), read(one));
    }
}
