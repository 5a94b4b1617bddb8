//! The WebSocket API as a session.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::session::{Format, Losses, Session, sealed};
use crate::data::Filter;
use crate::peering::{Event, SendError};
use crate::websocket::{BinaryText, Dialect, WebSocket, encode, first_length};
use crate::wire::{EncodeError, Envelope};
use crate::zeek::events::{Changes, LeftOut};

/// Messages to a server, with masked frames (`PROTOCOL.md`, section 10).
static CLIENT: Format = Format {
    overhead: 0,
    margin: 0,
    encode: |envelope, _, out, losses| append(envelope, Dialect::Client, out, losses),
    first_length,
};

/// Messages to a client, one format for each [`BinaryText`].
static ESCAPE: Format = Format {
    overhead: 0,
    margin: 0,
    encode: |envelope, _, out, losses| append(envelope, Dialect::Server(BinaryText::Escape), out, losses),
    first_length,
};
static REPLACE: Format = Format {
    overhead: 0,
    margin: 0,
    encode: |envelope, _, out, losses| append(envelope, Dialect::Server(BinaryText::Replace), out, losses),
    first_length,
};
static DROP: Format = Format {
    overhead: 0,
    margin: 0,
    encode: |envelope, _, out, losses| append(envelope, Dialect::Server(BinaryText::Drop), out, losses),
    first_length,
};

fn append(
    envelope: &Envelope,
    dialect: Dialect,
    out: &mut BytesMut,
    losses: &mut Losses,
) -> Result<Option<Bytes>, LeftOut> {
    let Changes { left_out, altered_strings } = encode(envelope, dialect, out)?;
    losses.altered_strings = losses.altered_strings.saturating_add(altered_strings);
    if let Some(LeftOut { messages, error }) = left_out {
        tracing::debug!(messages, "a part of a batch was not sent: {error}");
        losses.not_carried = losses.not_carried.saturating_add(messages);
    }
    Ok(None)
}

impl sealed::Sealed for WebSocket {}

/// Each method except `format` calls the method of [`WebSocket`] with the same name.
impl Session for WebSocket {
    const COPIED: usize = WebSocket::COPIED;

    fn format(&self) -> &'static Format {
        match self.dialect() {
            Dialect::Client => &CLIENT,
            Dialect::Server(BinaryText::Escape) => &ESCAPE,
            Dialect::Server(BinaryText::Replace) => &REPLACE,
            Dialect::Server(BinaryText::Drop) => &DROP,
        }
    }

    fn handle_input(&mut self, now: Instant, input: &mut BytesMut) -> bool {
        WebSocket::handle_input(self, now, input)
    }

    fn handle_eof(&mut self) {
        WebSocket::handle_eof(self);
    }

    fn handle_timeout(&mut self, now: Instant) {
        WebSocket::handle_timeout(self, now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        WebSocket::poll_timeout(self)
    }

    fn poll_event(&mut self) -> Option<Event> {
        WebSocket::poll_event(self)
    }

    fn take_messages(&mut self) -> VecDeque<Envelope> {
        WebSocket::take_messages(self)
    }

    fn poll_transmit(&mut self) -> Option<Bytes> {
        WebSocket::poll_transmit(self)
    }

    fn unsent(&self) -> usize {
        WebSocket::unsent(self)
    }

    fn note_unwritten(&mut self, unwritten: usize) {
        WebSocket::note_unwritten(self, unwritten, Instant::now);
    }

    fn send_encoded(&mut self, pieces: [Bytes; 2]) -> Result<(), SendError> {
        WebSocket::send_encoded(self, pieces)
    }

    fn set_filter(&mut self, filter: Filter) -> Result<(), EncodeError> {
        WebSocket::set_filter(self, filter);
        Ok(())
    }

    fn admit(&mut self) {
        WebSocket::admit(self);
    }

    fn refuse_redundant(&mut self) {
        WebSocket::refuse_redundant(self);
    }

    fn refuse(&mut self) {
        WebSocket::refuse(self);
    }

    fn leave(&mut self, now: Instant) {
        WebSocket::leave(self, now);
    }

    fn pause(&mut self, now: Instant, paused: bool) {
        WebSocket::pause(self, now, paused);
    }

    fn takes_input(&self) -> bool {
        WebSocket::takes_input(self)
    }

    fn is_closed(&self) -> bool {
        WebSocket::is_closed(self)
    }

    fn is_established(&self) -> bool {
        WebSocket::is_established(self)
    }

    fn shrink_buffers(&mut self) {
        WebSocket::shrink_buffers(self);
    }

    fn peer_name(&self) -> Option<Arc<str>> {
        WebSocket::peer_name(self)
    }

    fn token(&self) -> Option<Arc<str>> {
        WebSocket::token(self)
    }

    fn peer_version(&self) -> Option<Arc<str>> {
        WebSocket::peer_version(self)
    }
}
