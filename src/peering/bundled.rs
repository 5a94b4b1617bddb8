//! Many messages at once: what comes and goes together need not be handled one by one.

use bytes::Bytes;

use super::{Event, Peering, SendError, State};
use crate::wire::Envelope;

impl Peering {
    /// As [`Peering::send`], of frames that this endpoint has written already, in the order of their pieces.
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

    /// Takes the next event if it is a message.
    pub(crate) fn poll_message(&mut self) -> Option<Envelope> {
        if !matches!(self.events.front(), Some(Event::Message(_))) {
            return None;
        }
        match self.poll_event() {
            Some(Event::Message(envelope)) => Some(envelope),
            _ => None,
        }
    }

    /// Everything that was to be sent is written: what it took in memory is not kept.
    pub(crate) fn rest(&mut self) {
        self.out.rest();
    }

    /// How many events wait to be polled.
    pub(crate) fn untold(&self) -> usize {
        self.events.len()
    }
}
