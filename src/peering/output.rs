//! What is to be written to the peer.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use crate::data::{EndpointId, Filter};
use crate::wire::{EncodeError, Envelope, Handshake};

/// What is no longer than this is copied behind what goes out before it, so that small messages go out in one piece;
/// longer payloads and frames are handed on as they are.
pub(crate) const COPIED: usize = 4096;

/// What memory is kept for when there is nothing to be written.
#[cfg(feature = "net")]
const KEPT_PIECES: usize = 8;
#[cfg(feature = "net")]
const KEPT_BYTES: usize = 512;

/// Frames in their order: those in `pieces` before those in `buffer`.
#[derive(Clone, Debug, Default)]
pub(super) struct Output {
    pieces: VecDeque<Bytes>,
    pieces_bytes: usize,
    buffer: BytesMut,
}

impl Output {
    pub(super) fn say(&mut self, message: &Handshake) -> Result<(), EncodeError> {
        message.encode(&mut self.buffer)
    }

    /// Queues an envelope with its sender replaced.
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

    /// Queues whole frames.
    #[cfg(feature = "net")]
    pub(super) fn push_encoded(&mut self, frames: Bytes) {
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

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        if let Some(piece) = self.pieces.pop_front() {
            self.pieces_bytes = self.pieces_bytes.saturating_sub(piece.len());
            return Some(piece);
        }
        (!self.buffer.is_empty()).then(|| self.buffer.split().freeze())
    }

    /// Keeps no more memory than a small message takes, if there is nothing in it.
    #[cfg(feature = "net")]
    pub(super) fn rest(&mut self) {
        if self.pieces.is_empty() && self.pieces.capacity() > KEPT_PIECES {
            self.pieces = VecDeque::new();
        }
        // There is more behind the buffer than its capacity says: all that was split off and is written.
        if self.buffer.is_empty() && self.buffer.try_reclaim(KEPT_BYTES.saturating_add(1)) {
            self.buffer = BytesMut::new();
        }
    }

    /// The bytes that have not been popped.
    pub(super) fn len(&self) -> usize {
        self.pieces_bytes.saturating_add(self.buffer.len())
    }
}
