//! Encodes batches, once for each format that their recipients use.

use bytes::BytesMut;

use super::batch::Batch;
use super::frames::Frames;
use super::memory::{self, PIECE, SHARED_BUFFER};
use super::session::Format;
use crate::data::EndpointId;
use crate::wire::{EncodeError, Envelope};

/// Encodes batches, one at a time. Consecutive batches share buffers.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    /// The first format that was used, and nearly always the only one. Stored inline to avoid an allocation.
    first: Option<Encoding>,
    others: Vec<Encoding>,
}

/// The state of one format.
#[derive(Debug)]
struct Encoding {
    format: &'static Format,
    writer: Writer,
    /// The encoded current batch. `None` until it is encoded.
    frames: Option<Result<Frames, EncodeError>>,
}

impl Encoder {
    /// Begins a new batch.
    pub(crate) fn begin(&mut self) {
        for encoding in self.first.iter_mut().chain(&mut self.others) {
            encoding.frames = None;
        }
    }

    /// Returns the encoded form of the current batch. The first call for a format encodes the batch. Later calls must pass
    /// the same batch and senders, until [`Encoder::begin`].
    ///
    /// A message that cannot be encoded is left out.
    ///
    /// # Errors
    /// Fails if none of the messages can be encoded.
    pub(crate) fn frames(
        &mut self,
        format: &'static Format,
        batch: &Batch,
        sender: &impl Fn(&Envelope) -> EndpointId,
    ) -> Result<&Frames, &EncodeError> {
        let encoding = self.encoding(format);
        let frames = encoding.frames.get_or_insert_with(|| encoding.writer.encode(format, batch, sender));
        frames.as_ref()
    }

    fn encoding(&mut self, format: &'static Format) -> &mut Encoding {
        let new = || Encoding { format, writer: Writer::default(), frames: None };
        let first = self.first.get_or_insert_with(new);
        if first.format.is(format) {
            return first;
        }
        let at = self.others.iter().position(|other| other.format.is(format));
        let at = at.unwrap_or_else(|| {
            self.others.push(new());
            self.others.len().saturating_sub(1)
        });
        // The index is always valid; the fallback to `first` avoids code that panics.
        self.others.get_mut(at).unwrap_or(first)
    }
}

/// A buffer that is filled batch by batch.
#[derive(Debug, Default)]
struct Writer {
    buffer: BytesMut,
    /// The start and the length of the buffer's memory.
    allocation: (usize, usize),
}

impl Writer {
    fn encode(
        &mut self,
        format: &'static Format,
        batch: &Batch,
        sender: &impl Fn(&Envelope) -> EndpointId,
    ) -> Result<Frames, EncodeError> {
        self.make_room(batch);
        let room = self.buffer.capacity();
        let mut frames = Frames { format: Some(format), received: batch.received(), ..Frames::default() };
        let mut failure = None;
        for envelope in batch.iter() {
            if !frames.payload.is_empty() {
                // Only the payload of the last message stays separate. This payload is not the last one, so it is copied.
                self.buffer.extend_from_slice(&std::mem::take(&mut frames.payload));
            }
            let before = self.buffer.len();
            match (format.encode)(envelope, sender(envelope), &mut self.buffer) {
                Ok(payload) => {
                    frames.messages = frames.messages.saturating_add(1);
                    frames.payload = payload.unwrap_or_default();
                }
                Err(error) => {
                    tracing::debug!("a message was not sent: {error}");
                    self.buffer.truncate(before);
                    failure = Some(error);
                }
            }
        }
        if self.buffer.len() > room {
            // The buffer was reallocated: the format needs more bytes than Broker frames, or a payload was copied.
            self.allocation = (self.buffer.as_ptr().addr(), self.buffer.capacity());
        }
        frames.bytes = self.buffer.split().freeze();
        frames.allocation = self.allocation;
        match failure {
            Some(error) if frames.messages == 0 => Err(error),
            _ => Ok(frames),
        }
    }

    /// Reserves capacity for a batch and, if possible, for the messages after it. If the capacity is [`SHARED_BUFFER`]
    /// or more, uses a buffer of the thread.
    fn make_room(&mut self, batch: &Batch) {
        let needed = batch.copied();
        if self.buffer.capacity().saturating_sub(self.buffer.len()) >= needed {
            return;
        }
        let each = needed.checked_div(batch.len()).unwrap_or_default();
        let expected = needed.saturating_add(each.saturating_mul(batch.following())).min(SHARED_BUFFER);
        if expected < SHARED_BUFFER && needed < SHARED_BUFFER {
            self.buffer.reserve(expected.max(needed));
        } else {
            self.release();
            // A single message with a long topic may need more than a buffer of the thread.
            self.buffer = if needed > PIECE { BytesMut::with_capacity(needed) } else { memory::take() };
        }
        self.allocation = (self.buffer.as_ptr().addr(), self.buffer.capacity());
    }

    /// Returns the buffer to the thread. It is reused after everything that was encoded in it has been written.
    fn release(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        if self.allocation.1 >= PIECE {
            memory::give_back(buffer);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.release();
    }
}
