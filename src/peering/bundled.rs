//! Functions for batches of messages on the relay path.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Peering, SendError, State};
use crate::wire::Envelope;

impl Peering {
    /// Like [`Peering::send`], for encoded frames, in pieces that are written in order.
    pub(crate) fn send_encoded<const PIECES: usize>(
        &mut self,
        frames: [Bytes; PIECES],
    ) -> Result<(), SendError> {
        match &self.state {
            State::Peered(peered) if !peered.is_leaving() => {
                frames.into_iter().for_each(|piece| self.out.push_encoded(piece));
                Ok(())
            }
            _ => Err(SendError::NotEstablished),
        }
    }

    /// Removes and returns the messages before the first other event.
    pub(crate) fn take_messages(&mut self) -> VecDeque<Envelope> {
        self.events.take_messages()
    }

    /// Frees the memory of the output queue if it is empty, except for a small buffer.
    pub(crate) fn shrink_buffers(&mut self) {
        self.out.shrink();
    }
}
