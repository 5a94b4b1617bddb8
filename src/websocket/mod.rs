//! One session of Zeek's WebSocket API (v1 JSON), as a client or as a server (`PROTOCOL.md`, section 10).
//!
//! This module does no I/O and reads no clock. The caller passes bytes and the time, and receives bytes and events.
//! [`WebSocket`] documents the order of calls.

mod access;
mod closing;
mod config;
mod dialect;
mod encode;
mod error;
mod fragments;
mod frame;
mod handshake;
mod http;
mod input;
mod liveness;
mod logs;
mod read;
mod recorded;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;

pub use access::{Access, Credentials, Denied, InvalidToken, Token, Tokens};
pub use config::{ClientConfig, ServerConfig};
pub(crate) use encode::encode;
#[cfg(feature = "net")]
pub(crate) use encode::first_length;
pub use logs::receives_logs;
pub use recorded::Part;
pub(crate) use recorded::{Cut, Opening, PartReader, opening};

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};

use crate::data::{EndpointId, Filter};
use crate::peering::{self, CloseReason, Event, Output, SendError, after};
use crate::wire::Envelope;
pub use crate::zeek::v1::BinaryText;
pub(crate) use crate::zeek::v1::Dialect;
use closing::Leaving;
use dialect::mask;
use error::Error;
use fragments::Fragments;
use frame::{Opcode, put_control};
use http::Head;
use liveness::{Action, Liveness};

/// The state machine of one session. The order of calls is that of [`Peering`](crate::peering::Peering).
///
/// The events are those of a peering. The protocol has no endpoint ids, so the peer has the id in the configuration.
/// [`Event::Established`] has these filters:
///
/// - as a server, the client's subscriptions;
/// - as a client, a filter that matches every topic, because Zeek accepts every topic.
///
/// A client cannot change its subscriptions. If [`WebSocket::set_filter`] sets a filter that the server does not cover
/// already, the session ends, and a new session must be opened.
#[derive(Debug)]
pub struct WebSocket {
    role: Role,
    state: State,
    head: Head,
    fragments: Fragments,
    out: Output,
    /// The number of bytes that [`WebSocket::poll_transmit`] has returned.
    polled: u64,
    /// How many of these bytes are not written yet.
    unwritten: usize,
    events: VecDeque<Event>,
    /// The subscriptions that a client has sent.
    announced: Filter,
    peer_name: Option<Arc<str>>,
    peer_version: Option<Arc<str>>,
    token: Option<Arc<str>>,
}

/// The side of the session and its configuration.
#[derive(Debug)]
enum Role {
    Client(ClientConfig),
    Server(ServerConfig),
}

#[derive(Debug)]
enum State {
    /// Waiting for the head of the HTTP request or response.
    Head { deadline: Instant },
    /// Waiting for the first message.
    First { deadline: Instant },
    /// Waiting for [`WebSocket::admit`] or [`WebSocket::refuse_redundant`]. `filter` is for [`Event::Established`].
    Introduced { filter: Filter, deadline: Instant, since: Instant },
    /// Messages are exchanged.
    Established { liveness: Liveness, leaving: Option<Leaving> },
    /// This side has sent a close frame because of `reason`, and waits for the close frame of the peer. Other input is discarded.
    /// `in_sync`: the input can be split into frames.
    Closing { reason: CloseReason, deadline: Instant, in_sync: bool },
    /// The session has ended.
    Closed,
}

impl WebSocket {
    /// Encoded messages up to this length in bytes are copied into the output buffer.
    #[cfg(feature = "net")]
    pub(crate) const COPIED: usize = peering::COPIED;

    /// Returns the state of a new connection of a client, on which nothing has been sent or received.
    #[must_use]
    pub fn client(config: ClientConfig, now: Instant) -> Self {
        let mut session = Self::new(Role::Client(config), now);
        session.send_request();
        session
    }

    /// Returns the state of a new connection of a server, on which nothing has been sent or received.
    #[must_use]
    pub fn server(config: ServerConfig, now: Instant) -> Self {
        Self::new(Role::Server(config), now)
    }

    fn new(role: Role, now: Instant) -> Self {
        let mut session = WebSocket {
            role,
            state: State::Closed,
            head: Head::default(),
            fragments: Fragments::default(),
            out: Output::default(),
            polled: 0,
            unwritten: 0,
            events: VecDeque::new(),
            announced: Filter::new(),
            peer_name: None,
            peer_version: None,
            token: None,
        };
        session.state = State::Head { deadline: after(now, session.common().handshake_timeout) };
        session
    }

    fn common(&self) -> &peering::Config {
        match &self.role {
            Role::Client(config) => &config.common,
            Role::Server(config) => &config.common,
        }
    }

    fn peer_id(&self) -> EndpointId {
        match &self.role {
            Role::Client(config) => config.peer_id,
            Role::Server(config) => config.peer_id,
        }
    }

    fn is_server(&self) -> bool {
        matches!(self.role, Role::Server(_))
    }

    /// Returns the variant of v1 JSON that this side sends.
    pub(crate) fn dialect(&self) -> Dialect {
        match &self.role {
            Role::Client(_) => Dialect::Client,
            Role::Server(config) => Dialect::Server(config.binary),
        }
    }

    /// Handles the passing of time. Call it at the time that [`WebSocket::poll_timeout`] returns; earlier calls have no effect.
    pub fn handle_timeout(&mut self, now: Instant) {
        let (queued, written) = (self.queued(), self.written());
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return;
        }
        match &mut self.state {
            State::Head { .. } | State::First { .. } | State::Introduced { .. } => self.handshake_timed_out(),
            State::Established { leaving: Some(leaving), .. } if leaving.has_expired(now) => {
                let reason = leaving.reason_without_answer();
                self.close(reason);
            }
            State::Established { leaving: Some(leaving), .. } if leaving.is_new() => {
                let timeout = self.common().leave_timeout;
                if let State::Established { leaving: Some(leaving), .. } = &mut self.state {
                    leaving.start(now, timeout);
                }
            }
            State::Established { liveness, .. } => {
                match liveness.handle_timeout(now, &self.role, queued, written) {
                    Action::SendPing => self.send_ping(),
                    Action::SendPong => self.put_frame(Opcode::Pong, b""),
                    Action::Wait => {}
                    Action::End => self.ping_timed_out(),
                }
            }
            State::Closing { reason, .. } => {
                let reason = reason.clone();
                self.close(reason);
            }
            State::Closed => {}
        }
    }

    /// Returns the time at which [`WebSocket::handle_timeout`] must be called, unless other input arrives first.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Head { deadline }
            | State::First { deadline }
            | State::Introduced { deadline, .. }
            | State::Closing { deadline, .. } => Some(*deadline),
            State::Established { liveness, leaving } => {
                let leaving = leaving.as_ref().map(Leaving::deadline);
                let ping = liveness.deadline(&self.role);
                leaving.zip(ping).map(|(leaving, ping)| leaving.min(ping)).or(leaving).or(ping)
            }
            State::Closed => None,
        }
    }

    /// Returns the next event.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if event.is_none() && self.events.capacity() > 0 {
            self.events = VecDeque::new();
        }
        event
    }

    /// Removes and returns the messages before the first other event.
    #[cfg(feature = "net")]
    pub(crate) fn take_messages(&mut self) -> VecDeque<Envelope> {
        let is_message = |event: &&Event| matches!(event, Event::Message(_));
        let messages = self.events.iter().take_while(is_message).count();
        let message = |event| if let Event::Message(envelope) = event { Some(envelope) } else { None };
        self.events.drain(..messages).filter_map(message).collect()
    }

    /// Returns the next bytes to write to the peer.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        let bytes = self.out.pop()?;
        self.polled = self.polled.saturating_add(to_u64(bytes.len()));
        Some(bytes)
    }

    /// Records how many of the bytes that [`WebSocket::poll_transmit`] has returned are not written to the peer yet. Call it
    /// after each write: the peer's time to answer a ping begins when the ping is written, and a slow peer that reads is not
    /// considered dead. Without these calls, bytes count as written when [`WebSocket::poll_transmit`] returns them.
    pub fn handle_written(&mut self, now: Instant, unwritten: usize) {
        self.note_unwritten(unwritten, || now);
    }

    /// Like [`WebSocket::handle_written`]. Calls `now` only if the time is needed.
    pub(crate) fn note_unwritten(&mut self, unwritten: usize, now: impl FnOnce() -> Instant) {
        self.unwritten = unwritten;
        let written = self.written();
        if let State::Established { liveness, .. } = &mut self.state {
            liveness.note_written(written, now);
        }
    }

    /// Returns the number of bytes that were queued for the peer since the start.
    fn queued(&self) -> u64 {
        self.polled.saturating_add(to_u64(self.out.len()))
    }

    /// Returns how many of the queued bytes are written.
    fn written(&self) -> u64 {
        self.polled.saturating_sub(to_u64(self.unwritten))
    }

    /// Returns the number of bytes that [`WebSocket::poll_transmit`] has not returned yet.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.out.len()
    }

    /// Queues a message for the peer. The sender, the receiver and the ttl are lost, because the protocol has none. A batch of
    /// Zeek's messages is sent as its events. The messages of a batch that the protocol cannot carry are left out. This method
    /// does not check the peer's filter; the caller must do that.
    ///
    /// # Errors
    /// Fails if the session is not established, or if the protocol cannot carry the message: a data-store command, a log, an
    /// identifier update, a batch of such messages only, and, depending on [`BinaryText`], strings that are not UTF-8.
    pub fn send(&mut self, envelope: &Envelope) -> Result<(), SendError> {
        if !self.is_sending() {
            return Err(SendError::NotEstablished);
        }
        let dialect = self.dialect();
        encode(envelope, dialect, self.out.buffer()).map_err(|left_out| left_out.error)?;
        self.ping_between_messages();
        Ok(())
    }

    /// Like [`WebSocket::send`], for messages that are already encoded in this session's dialect.
    #[cfg(feature = "net")]
    pub(crate) fn send_encoded(&mut self, pieces: [Bytes; 2]) -> Result<(), SendError> {
        if !self.is_sending() {
            return Err(SendError::NotEstablished);
        }
        pieces.into_iter().for_each(|piece| self.out.push_encoded(piece));
        self.ping_between_messages();
        Ok(())
    }

    /// Sends a ping if many bytes were sent after the last one. See [`liveness::PING_EVERY`].
    fn ping_between_messages(&mut self) {
        let queued = self.queued();
        if let State::Established { liveness, .. } = &self.state
            && liveness.needs_ping(queued)
        {
            self.send_ping();
        }
    }

    fn send_ping(&mut self) {
        let position = self.queued();
        if let State::Established { liveness, .. } = &mut self.state {
            let payload = liveness.ping(position);
            self.put_frame(Opcode::Ping, &payload);
        }
    }

    fn is_sending(&self) -> bool {
        matches!(self.state, State::Established { leaving: None, .. })
    }

    /// Replaces this endpoint's filter. Before a client has sent its subscriptions, they are replaced. After that, a filter
    /// that the subscriptions cover changes nothing. Any other filter ends the session, because a server accepts subscriptions
    /// only once. The messages that were sent before are delivered. A server has no filter, so nothing changes.
    pub fn set_filter(&mut self, filter: Filter) {
        if let Role::Client(config) = &mut self.role {
            config.common.filter = filter;
            self.announce_filter();
        }
    }

    /// Ends an established session if the subscriptions that were sent do not cover the filter.
    fn announce_filter(&mut self) {
        let Role::Client(config) = &self.role else { return };
        let covered = config.common.filter.topics().iter().all(|topic| self.announced.matches(topic));
        if !covered {
            self.resubscribe();
        }
    }

    /// Records that the caller stops or resumes reading from the peer. While paused, the peer's silence is ignored. The peer
    /// receives pings and, as a server, pongs, so that it does not consider this side dead.
    pub fn pause(&mut self, now: Instant, paused: bool) {
        if let State::Established { liveness, .. } = &mut self.state {
            liveness.pause(now, paused);
        }
    }

    /// Returns whether [`WebSocket::handle_input`] consumes input: always, except between [`Event::Introduced`] and the call of
    /// [`WebSocket::admit`] or [`WebSocket::refuse_redundant`]. Read only a bounded amount from the connection during that time.
    #[must_use]
    pub fn takes_input(&self) -> bool {
        !matches!(self.state, State::Introduced { .. })
    }

    /// Returns whether the session has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Returns whether the session is established. This is still so after [`WebSocket::leave`], until the session has ended.
    #[must_use]
    pub fn is_established(&self) -> bool {
        match &self.state {
            State::Established { leaving, .. } => leaving.as_ref().is_none_or(Leaving::is_wanted),
            _ => false,
        }
    }

    /// Frees the memory of the output queue if it is empty, except for a small buffer.
    #[cfg(feature = "net")]
    pub(crate) fn shrink_buffers(&mut self) {
        self.out.shrink();
    }

    /// Returns the name that the peer has given itself: as a client, the `endpoint` of the `ack`; as a server, the
    /// `X-Application-Name`. It has at most 256 characters and no control characters. It is not an identity: nothing proves it.
    #[must_use]
    pub fn peer_name(&self) -> Option<Arc<str>> {
        self.peer_name.clone()
    }

    /// As a server, returns the name of the token with which the client has authenticated itself.
    #[must_use]
    pub fn token(&self) -> Option<Arc<str>> {
        self.token.clone()
    }

    /// As a client, returns the `version` of the `ack`. It has at most 256 characters and no control characters.
    #[must_use]
    pub fn peer_version(&self) -> Option<Arc<str>> {
        self.peer_version.clone()
    }

    /// Queues bytes that are not a frame.
    fn put(&mut self, bytes: &[u8]) {
        self.out.buffer().put_slice(bytes);
    }

    /// Queues a frame with a short payload.
    fn put_frame(&mut self, opcode: Opcode, payload: &[u8]) {
        let mask = mask(self.dialect());
        if opcode.is_control() {
            put_control(self.out.buffer(), mask, opcode, payload);
        } else {
            // Cannot fail, because the closure never fails.
            let _ = frame::put_message(self.out.buffer(), mask, |out: &mut BytesMut| {
                out.put_slice(payload);
                Ok(opcode)
            });
        }
    }
}

fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
