//! One session of Zeek's WebSocket API (v1 JSON), as a client or as a server (`PROTOCOL.md`, section 10).
//!
//! This module does no I/O and reads no clock. The caller passes bytes and the time, and receives bytes and events.
//! [`WebSocket`] documents the order of calls.

#![allow(dead_code, reason = "the session is added by a later commit")]

mod access;
mod config;
mod encode;
mod error;
mod frame;

pub use access::{Access, Denied, InvalidToken, Token, Tokens};
pub use config::{BinaryText, ClientConfig, ServerConfig};
pub(crate) use encode::{Dialect, encode, first_length};

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::data::Filter;
use crate::peering::{CloseReason, Event, SendError};
use crate::wire::Envelope;
use error::Error;

/// The state machine of one session. The order of calls is that of [`Peering`](crate::peering::Peering).
#[derive(Debug)]
pub struct WebSocket {
    dialect: Dialect,
    events: VecDeque<Event>,
    closed: bool,
}

impl WebSocket {
    /// Encoded messages up to this length in bytes are copied into the output buffer.
    pub(crate) const COPIED: usize = 4096;

    /// Returns the state of a new connection of a client, on which nothing has been sent or received.
    #[must_use]
    pub fn client(_: ClientConfig, _: Instant) -> Self {
        Self::unfinished(Dialect::Client)
    }

    /// Returns the state of a new connection of a server, on which nothing has been sent or received.
    #[must_use]
    pub fn server(config: ServerConfig, _: Instant) -> Self {
        Self::unfinished(Dialect::Server(config.binary))
    }

    fn unfinished(dialect: Dialect) -> Self {
        let reason = CloseReason::from(Error::Unfit("the WebSocket API is not implemented yet"));
        WebSocket { dialect, events: VecDeque::from([Event::Closed(reason)]), closed: true }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Consumes input.
    pub fn handle_input(&mut self, _: Instant, input: &mut BytesMut) -> bool {
        input.clear();
        false
    }

    /// Handles the end of the peer's stream.
    pub fn handle_eof(&mut self) {}

    /// Handles the passing of time.
    pub fn handle_timeout(&mut self, _: Instant) {}

    /// Returns the time at which [`WebSocket::handle_timeout`] must be called, unless other input arrives first.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Returns the next event.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(crate) fn poll_message(&mut self) -> Option<Envelope> {
        None
    }

    pub(crate) fn pending_events(&self) -> usize {
        self.events.len()
    }

    /// Returns the next bytes to write to the peer.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        None
    }

    /// Returns the number of bytes that [`WebSocket::poll_transmit`] has not returned yet.
    #[must_use]
    pub fn unsent(&self) -> usize {
        0
    }

    /// Queues a message.
    ///
    /// # Errors
    /// Fails if the session is not established, or the message cannot be encoded.
    pub fn send(&mut self, _: &Envelope) -> Result<(), SendError> {
        Err(SendError::NotEstablished)
    }

    pub(crate) fn send_encoded(&mut self, _: [Bytes; 2]) -> Result<(), SendError> {
        Err(SendError::NotEstablished)
    }

    /// Replaces this endpoint's filter.
    pub fn set_filter(&mut self, _: Filter) {}

    /// Continues after [`Event::Introduced`].
    pub fn admit(&mut self) {}

    /// Ends the session after [`Event::Introduced`].
    pub fn refuse_redundant(&mut self) {}

    /// Refuses the peer before anything was received from it.
    pub fn refuse(&mut self) {}

    /// Leaves the peer after all queued messages are sent.
    pub fn leave(&mut self, _: Instant) {}

    /// Records that the caller stops or resumes reading from the peer.
    pub fn pause(&mut self, _: Instant, _: bool) {}

    /// Returns whether [`WebSocket::handle_input`] consumes input.
    #[must_use]
    pub fn takes_input(&self) -> bool {
        true
    }

    /// Returns whether the session has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Returns whether the session is established.
    #[must_use]
    pub fn is_established(&self) -> bool {
        false
    }

    pub(crate) fn shrink_buffers(&mut self) {}

    /// Returns the peer's name: as a client, the `endpoint` of the `ack`; as a server, the `X-Application-Name`.
    #[must_use]
    pub fn peer_name(&self) -> Option<Arc<str>> {
        None
    }

    /// Returns the name of the token with which the peer has authenticated itself.
    #[must_use]
    pub fn token(&self) -> Option<Arc<str>> {
        None
    }

    /// Returns the `version` of the `ack`, as a client.
    #[must_use]
    pub fn peer_version(&self) -> Option<Arc<str>> {
        None
    }
}
