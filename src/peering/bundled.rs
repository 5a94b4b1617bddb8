//! Functions for batches of messages on the relay path.

use bytes::Bytes;

use super::{Event, Peering, SendError, State};
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

    /// Returns the next event if it is a message. If it is not, leaves it in the queue and returns `None`. Frees the memory
    /// of an empty queue, as [`Peering::poll_event`] does.
    pub(crate) fn poll_message(&mut self) -> Option<Envelope> {
        if self.events.front().is_some_and(|event| !matches!(event, Event::Message(_))) {
            return None;
        }
        match self.poll_event() {
            Some(Event::Message(envelope)) => Some(envelope),
            _ => None,
        }
    }

    /// Frees the memory of the output queue if it is empty, except for a small buffer.
    pub(crate) fn shrink_buffers(&mut self) {
        self.out.shrink();
    }

    /// Returns the number of queued events.
    pub(crate) fn pending_events(&self) -> usize {
        self.events.len()
    }
}
