//! Encodes batches, once for each format that their recipients use.

use bytes::BytesMut;

use super::batch::Batch;
use super::frames::Frames;
use super::memory::{self, PIECE, SHARED_BUFFER};
use super::session::{Format, Losses, Sender};
use crate::wire::{EncodeError, Envelope};
use crate::zeek::events::LeftOut;

/// The maximum length in bytes of a buffer that is used for the next batch too.
const MAX_KEPT: usize = 2 * PIECE;

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
    /// The encoded current batch, and what it lacks. `None` until it is encoded.
    encoded: Option<(Result<Frames, EncodeError>, Losses)>,
}

impl Encoder {
    /// Begins a new batch.
    pub(crate) fn begin(&mut self) {
        for encoding in self.first.iter_mut().chain(&mut self.others) {
            encoding.encoded = None;
        }
    }

    /// Returns the encoded form of the current batch, and what it lacks. The first call for a format encodes the batch. Later
    /// calls must pass the same batch and senders, until [`Encoder::begin`].
    ///
    /// A message that cannot be encoded is left out, and is part of the losses.
    ///
    /// # Errors
    /// Fails if none of the messages can be encoded.
    pub(crate) fn frames<'s>(
        &mut self,
        format: &'static Format,
        batch: &Batch,
        sender: &impl Fn(&Envelope) -> Sender<'s>,
    ) -> (Result<&Frames, &EncodeError>, Losses) {
        let encoding = self.encoding(format);
        let (frames, losses) =
            encoding.encoded.get_or_insert_with(|| encoding.writer.encode(format, batch, sender));
        (frames.as_ref(), *losses)
    }

    fn encoding(&mut self, format: &'static Format) -> &mut Encoding {
        let new = || Encoding { format, writer: Writer::default(), encoded: None };
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

/// Returns the messages as they were received, if they return to the ZeroMQ cluster of their publisher and are adjacent in memory.
fn originals<'s>(
    format: &'static Format,
    batch: &Batch,
    sender: &impl Fn(&Envelope) -> Sender<'s>,
) -> Option<Frames> {
    sender(batch.first()?).text?;
    let (bytes, allocation) = batch.originals()?.joined()?;
    let (messages, received) = (batch.len(), batch.received());
    Some(Frames { format: Some(format), bytes, messages, allocation, received, ..Frames::default() })
}

/// A buffer that is filled batch by batch.
#[derive(Debug, Default)]
struct Writer {
    buffer: BytesMut,
    /// The start and the length of the buffer's memory.
    allocation: (usize, usize),
}

impl Writer {
    fn encode<'s>(
        &mut self,
        format: &'static Format,
        batch: &Batch,
        sender: &impl Fn(&Envelope) -> Sender<'s>,
    ) -> (Result<Frames, EncodeError>, Losses) {
        if let Some(frames) = originals(format, batch, sender) {
            return (Ok(frames), Losses::default());
        }
        self.make_room(format, batch);
        let room = self.buffer.capacity();
        let mut frames = Frames { format: Some(format), received: batch.received(), ..Frames::default() };
        let (mut failure, mut losses) = (None, Losses::default());
        for envelope in batch.iter() {
            if !frames.payload.is_empty() {
                // Only the payload of the last message stays separate. This payload is not the last one, so it is copied.
                self.buffer.extend_from_slice(&std::mem::take(&mut frames.payload));
            }
            let before = self.buffer.len();
            match (format.encode)(envelope, sender(envelope), &mut self.buffer, &mut losses) {
                Ok(payload) => {
                    frames.messages = frames.messages.saturating_add(1);
                    if let Some(payload) = payload {
                        frames.payload = payload;
                    }
                }
                Err(LeftOut { messages, error }) => {
                    tracing::debug!("a message was not sent: {error}");
                    losses.not_carried = losses.not_carried.saturating_add(messages);
                    self.buffer.truncate(before);
                    failure = Some(error);
                }
            }
        }
        if self.buffer.capacity() != room {
            // The buffer was reallocated: the format needs more bytes than Broker frames, or a payload was copied. The length
            // does not show this, because a message that cannot be encoded is removed again.
            self.allocation = (self.buffer.as_ptr().addr(), self.buffer.capacity());
        }
        frames.bytes = self.buffer.split().freeze();
        frames.allocation = self.allocation;
        if self.allocation.1 > MAX_KEPT {
            // The unused rest may be many megabytes, and the encoder of an idle peer would keep it.
            self.buffer = BytesMut::new();
            self.allocation = (0, 0);
        }
        let frames = match failure {
            Some(error) if frames.messages == 0 => Err(error),
            _ => Ok(frames),
        };
        (frames, losses)
    }

    /// Reserves capacity for a batch and, if possible, for the messages after it. If that is half a buffer of the thread or more, uses
    /// such a buffer.
    fn make_room(&mut self, format: &Format, batch: &Batch) {
        let needed = batch.copied().saturating_add(batch.len().saturating_mul(format.margin));
        if self.buffer.capacity().saturating_sub(self.buffer.len()) >= needed {
            return;
        }
        let each = needed.checked_div(batch.len()).unwrap_or_default();
        let expected = needed.saturating_add(each.saturating_mul(batch.following())).min(SHARED_BUFFER);
        if expected.max(needed) < SHARED_BUFFER / 2 {
            self.buffer.reserve(expected.max(needed));
        } else {
            self.release();
            // A single message with a long topic, or a full batch in ZeroMQ, may need more than a buffer of the thread.
            self.buffer = if needed > PIECE { BytesMut::with_capacity(needed) } else { memory::take() };
        }
        self.allocation = (self.buffer.as_ptr().addr(), self.buffer.capacity());
    }

    /// Returns the buffer to the thread, unless its size is not that of the buffers of the thread. It is reused after
    /// everything that was encoded in it has been written.
    fn release(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        if self.allocation.1 == PIECE {
            memory::give_back(buffer);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;
    use crate::data::{EndpointId, Topic, Value};
    use crate::net::BROKER;

    const ID: EndpointId = EndpointId::from_bytes([7; 16]);

    /// Needs a thousand times as many bytes as the payload. Cannot encode a payload that ends with `!`.
    static GROWING: Format = Format {
        overhead: 0,
        margin: 0,
        encode: |envelope, _, out, _| {
            for byte in &*envelope.payload {
                out.put_bytes(*byte, 1000);
            }
            if envelope.payload.ends_with(b"!") {
                return Err(EncodeError::NotCarried { what: "nothing" }.into());
            }
            Ok(None)
        },
        first_length: |frames| Some(frames.len()),
    };

    fn batch(value: &Value) -> Batch {
        Batch::of(Envelope::data(ID, Topic::from_static("/t"), value).unwrap(), None)
    }

    /// Encodes a batch, and passes the encoder on to a new peer of the thread.
    fn encode(format: &'static Format, batch: &Batch) -> Option<Frames> {
        Encoder::default().frames(format, batch, &|_| ID.into()).0.ok().cloned()
    }

    /// Fails if the thread keeps a buffer that is larger than one piece.
    fn assert_pieces() {
        let pieces: Vec<BytesMut> = (0..memory::MAX_KEPT).map(|_| memory::take()).collect();
        for piece in &pieces {
            assert_eq!((piece.len(), piece.capacity()), (0, PIECE));
        }
        pieces.into_iter().for_each(memory::give_back);
    }

    #[test]
    fn a_buffer_that_a_format_has_enlarged_is_not_kept_by_the_thread() {
        let text = |length: usize| Value::String("x".repeat(length).into());
        for length in [100, 1000, PIECE / 2, PIECE + 1, 2 * PIECE] {
            let batch = batch(&text(length));
            let frames = encode(&GROWING, &batch).unwrap();
            assert!(frames.length() > 1000 * length && frames.allocation().1 >= frames.length());
            drop(frames);
            assert_pieces();
        }
        let mut failing = batch(&Value::String(("x".repeat(1000) + "!").into()));
        failing.set_following(PIECE);
        assert_eq!(encode(&GROWING, &failing), None);
        assert_pieces();
    }

    #[test]
    fn the_rest_of_an_enlarged_buffer_is_freed() {
        let mut encoder = Encoder::default();
        let text = batch(&Value::String("x".repeat(500).into()));
        let frames = encoder.frames(&GROWING, &text, &|_| ID.into()).0.unwrap();
        assert!(frames.allocation().1 > MAX_KEPT);
        assert_eq!(encoder.first.as_ref().unwrap().writer.buffer.capacity(), 0);
    }

    #[test]
    fn a_buffer_of_the_thread_is_used_again() {
        let mut batch = batch(&Value::Boolean(true));
        batch.set_following(PIECE);
        let memory = || encode(&BROKER, &batch).unwrap().allocation();
        let first = memory();
        assert_eq!((first.1, memory()), (PIECE, first));
    }
}
