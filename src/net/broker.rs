//! Broker's peering as a session.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};

use super::memory::SHARED_BUFFER;
use super::session::{Format, Losses, Sender, Session, sealed};
use crate::data::Filter;
use crate::peering::{COPIED, Event, Peering, SendError};
use crate::wire::{EncodeError, Envelope, LENGTH_FIELD};
use crate::zeek::events::LeftOut;

/// Broker's frames (`PROTOCOL.md`, sections 1 and 4).
pub(crate) static BROKER: Format = Format { overhead: Envelope::BARE_FRAME, margin: 0, encode, first_length };

fn encode(
    envelope: &Envelope,
    sender: Sender<'_>,
    out: &mut BytesMut,
    _: &mut Losses,
) -> Result<Option<Bytes>, LeftOut> {
    envelope.encode_header_as(sender.id, out)?;
    if envelope.frame_length() > SHARED_BUFFER {
        return Ok(Some(envelope.payload.clone()));
    }
    out.put_slice(&envelope.payload);
    Ok(None)
}

fn first_length(frames: &[u8]) -> Option<usize> {
    let length = frames.first_chunk::<LENGTH_FIELD>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    Some(length.saturating_add(LENGTH_FIELD))
}

impl sealed::Sealed for Peering {}

/// Each method except `format` calls the method of [`Peering`] with the same name.
impl Session for Peering {
    const COPIED: usize = COPIED;

    fn format(&self) -> &'static Format {
        &BROKER
    }

    fn handle_input(&mut self, now: Instant, input: &mut BytesMut) -> bool {
        Peering::handle_input(self, now, input)
    }

    fn handle_eof(&mut self) {
        Peering::handle_eof(self);
    }

    fn handle_timeout(&mut self, now: Instant) {
        Peering::handle_timeout(self, now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Peering::poll_timeout(self)
    }

    fn poll_event(&mut self) -> Option<Event> {
        Peering::poll_event(self)
    }

    fn take_messages(&mut self) -> VecDeque<Envelope> {
        Peering::take_messages(self)
    }

    fn poll_transmit(&mut self) -> Option<Bytes> {
        Peering::poll_transmit(self)
    }

    fn unsent(&self) -> usize {
        Peering::unsent(self)
    }

    fn send_encoded(&mut self, pieces: [Bytes; 2]) -> Result<(), SendError> {
        Peering::send_encoded(self, pieces)
    }

    fn set_filter(&mut self, filter: Filter) -> Result<(), EncodeError> {
        Peering::set_filter(self, filter)
    }

    fn admit(&mut self) {
        Peering::admit(self);
    }

    fn refuse_redundant(&mut self) {
        Peering::refuse_redundant(self);
    }

    fn refuse(&mut self) {
        Peering::refuse(self);
    }

    fn leave(&mut self, now: Instant) {
        Peering::leave(self, now);
    }

    fn pause(&mut self, now: Instant, paused: bool) {
        Peering::pause(self, now, paused);
    }

    fn takes_input(&self) -> bool {
        Peering::takes_input(self)
    }

    fn is_closed(&self) -> bool {
        Peering::is_closed(self)
    }

    fn is_established(&self) -> bool {
        Peering::is_established(self)
    }

    fn shrink_buffers(&mut self) {
        Peering::shrink_buffers(self);
    }
}
