//! The output queue of a peering.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use crate::data::{EndpointId, Filter};
use crate::wire::{EncodeError, Envelope, Handshake};

/// Payloads and frames up to this size in bytes are copied into a common buffer, so that small messages are written with
/// one call. Larger payloads and frames are queued without a copy.
pub(crate) const COPIED: usize = 4096;

/// The capacities that are kept while the queue is empty.
#[cfg(feature = "net")]
const KEPT_PIECES: usize = 8;
#[cfg(feature = "net")]
const KEPT_BYTES: usize = 512;

/// The queued frames, in order: first `pieces`, then `buffer`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output {
    pieces: VecDeque<Bytes>,
    pieces_bytes: usize,
    buffer: BytesMut,
}

impl Output {
    /// Queues a handshake message.
    pub(super) fn handshake(&mut self, message: &Handshake) -> Result<(), EncodeError> {
        message.encode(&mut self.buffer)
    }

    /// Queues an envelope, with `sender` instead of the sender that it contains.
    pub(super) fn push(&mut self, sender: EndpointId, envelope: &Envelope) -> Result<(), EncodeError> {
        envelope.encode_header_as(sender, &mut self.buffer)?;
        if envelope.payload.len() <= COPIED {
            self.buffer.put_slice(&envelope.payload);
        } else {
            for piece in [self.buffer.split().freeze(), envelope.payload.clone()] {
                self.push_piece(piece);
            }
        }
        Ok(())
    }

    /// Queues complete, encoded frames.
    pub(crate) fn push_encoded(&mut self, frames: Bytes) {
        if frames.len() <= COPIED {
            self.buffer.put_slice(&frames);
        } else {
            if !self.buffer.is_empty() {
                let before = self.buffer.split().freeze();
                self.push_piece(before);
            }
            self.push_piece(frames);
        }
    }

    /// Returns the buffer to which short messages are appended.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    fn push_piece(&mut self, piece: Bytes) {
        self.pieces_bytes = self.pieces_bytes.saturating_add(piece.len());
        self.pieces.push_back(piece);
    }

    pub(super) fn routing_update(
        &mut self,
        sender: EndpointId,
        receiver: EndpointId,
        filter: &Filter,
    ) -> Result<(), EncodeError> {
        self.push(sender, &Envelope::routing_update(sender, receiver, filter)?)
    }

    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        if let Some(piece) = self.pieces.pop_front() {
            self.pieces_bytes = self.pieces_bytes.saturating_sub(piece.len());
            return Some(piece);
        }
        (!self.buffer.is_empty()).then(|| self.buffer.split().freeze())
    }

    /// Frees the memory of an empty queue, except for a small buffer.
    #[cfg(feature = "net")]
    pub(crate) fn shrink(&mut self) {
        if self.pieces.is_empty() && self.pieces.capacity() > KEPT_PIECES {
            self.pieces = VecDeque::new();
        }
        // The capacity does not include the part of the allocation that was split off and written. `try_reclaim` does.
        if self.buffer.is_empty() && self.buffer.try_reclaim(KEPT_BYTES.saturating_add(1)) {
            self.buffer = BytesMut::new();
        }
    }

    /// Returns the number of bytes that have not been popped.
    pub(crate) fn len(&self) -> usize {
        self.pieces_bytes.saturating_add(self.buffer.len())
    }
}

#[cfg(all(test, feature = "net"))]
mod tests {
    use super::*;

    /// Queues `pieces` pieces and a buffer of `bytes` bytes.
    fn filled(pieces: usize, bytes: usize) -> Output {
        let mut out = Output::default();
        for _ in 0..pieces {
            out.push_piece(Bytes::from_static(b"x"));
        }
        out.buffer.put_bytes(0, bytes);
        out
    }

    #[test]
    fn only_an_empty_queue_is_shrunk_and_it_keeps_a_small_buffer() {
        let mut out = filled(KEPT_PIECES + 1, KEPT_BYTES + 1);
        out.shrink();
        assert_eq!(out.len(), KEPT_PIECES + 1 + KEPT_BYTES + 1);
        while out.pop().is_some() {}
        out.shrink();
        assert_eq!(out.pieces.capacity(), 0);
        assert!(!out.buffer.try_reclaim(1));

        let mut out = filled(KEPT_PIECES, KEPT_BYTES);
        while out.pop().is_some() {}
        out.shrink();
        assert_eq!(out.pieces.capacity(), KEPT_PIECES);
        assert!(out.buffer.try_reclaim(KEPT_BYTES));
    }
}
