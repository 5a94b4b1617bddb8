//! One peering between two endpoints, from the first byte to the last (`PROTOCOL.md`, sections 2 and 4).
//!
//! This module does no I/O and reads no clock: bytes and the time go in, bytes and events come out. [`Peering`] documents
//! the order of calls.

#[cfg(feature = "net")]
mod bundled;
mod error;
mod handshake;
mod output;
mod peered;
#[cfg(feature = "net")]
mod probe;
mod side;

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;

pub use error::{CloseReason, ErrorKind, PeeringError};
#[cfg(feature = "net")]
pub(crate) use output::COPIED;
pub use side::Side;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::data::{EndpointId, Filter};
use crate::wire::{DecodeError, EncodeError, Envelope, ErrorCode, Handshake, Limits, cut_frame};
use handshake::WaitFor;
use output::Output;
use peered::Peered;

/// The role in the handshake. The endpoint with the smaller id is the originator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// This endpoint is the originator: it selects the version and sends its filter first.
    Originator,
    /// The peer is the originator.
    Responder,
}

/// The configuration of a [`Peering`].
#[derive(Clone, Debug)]
pub struct Config {
    /// This endpoint's id.
    pub id: EndpointId,
    /// Which side opened the connection.
    pub side: Side,
    /// Whether the stream is TLS. Selects the hints in errors, nothing else.
    pub tls: bool,
    /// The topics that this endpoint subscribes to.
    pub filter: Filter,
    /// Limits on the peer's input.
    pub limits: Limits,
    /// The maximum duration of the complete handshake.
    pub handshake_timeout: Duration,
    /// How long an established peer may be silent before it is pinged. If it stays silent for the same time again, it is
    /// considered dead. `None`: no limit, as in Broker's C++ implementation.
    pub idle_timeout: Option<Duration>,
    /// How long to wait for the peer's answer to BYE.
    pub leave_timeout: Duration,
}

impl Config {
    /// The default of [`Config::handshake_timeout`].
    pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
    /// The default of [`Config::idle_timeout`].
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
    /// The default of [`Config::leave_timeout`], which is also that of Broker's C++ implementation.
    pub const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);

    /// Returns the default configuration for this endpoint id and side.
    #[must_use]
    pub fn new(id: EndpointId, side: Side) -> Self {
        Config {
            id,
            side,
            tls: false,
            filter: Filter::new(),
            limits: Limits::DEFAULT,
            handshake_timeout: Self::HANDSHAKE_TIMEOUT,
            idle_timeout: Some(Self::IDLE_TIMEOUT),
            leave_timeout: Self::LEAVE_TIMEOUT,
        }
    }
}

/// An event of a peering, returned by [`Peering::poll_event`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The peer has sent its id. The handshake continues when [`Peering::admit`] or [`Peering::refuse_redundant`] is called.
    /// The handshake timeout keeps running.
    Introduced {
        /// The peer's endpoint id.
        peer: EndpointId,
        /// This endpoint's role. An originator that finds the connection redundant while another handshake with the same
        /// peer is in progress should delay its refusal until that handshake is complete. Otherwise the peer may read the
        /// refusal first.
        role: Role,
    },
    /// The peering is established.
    Established {
        /// The peer's endpoint id.
        peer: EndpointId,
        /// The topics that the peer subscribes to.
        filter: Filter,
    },
    /// A data or command message was received. Its payload has not been checked.
    Message(Envelope),
    /// The peer has replaced its filter.
    FilterChanged(Filter),
    /// A malformed envelope was dropped. The peering continues, as in Broker's C++ implementation.
    Malformed(DecodeError),
    /// The peer has sent BYE and will close the connection.
    PeerLeaving,
    /// The peering has ended. This is always the last event. Write what [`Peering::poll_transmit`] returns before closing
    /// the connection.
    Closed(CloseReason),
}

/// Why a message cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The peering is not established, or this endpoint is leaving.
    #[error("the peering is not established")]
    NotEstablished,
    /// The message cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// The state machine of one peering.
///
/// Order of calls after each input: [`handle_input`](Self::handle_input) (or
/// [`handle_eof`](Self::handle_eof), [`handle_timeout`](Self::handle_timeout),
/// [`send`](Self::send), ...), then [`poll_event`](Self::poll_event) until it returns `None`, then
/// [`poll_transmit`](Self::poll_transmit) until it returns `None`, then
/// [`poll_timeout`](Self::poll_timeout). After [`Event::Closed`], nothing changes.
///
/// Two peerings connected in memory, in place of a socket and another process:
///
#[doc = include_str!("example.md")]
#[derive(Clone, Debug)]
pub struct Peering {
    config: Config,
    state: State,
    out: Output,
    events: VecDeque<Event>,
    /// The filter has changed since the handshake announced it.
    filter_changed: bool,
    /// No `drop_conn` may be sent: the peering is established, or the peer has sent a `drop_conn`.
    no_drop_conn: bool,
    /// [`Peering::leave`] was called while the peer may already regard the peering as established.
    leave_once_established: bool,
    /// Set for a probe, which is never established. Boxed, so that it does not increase the size of other peerings.
    #[cfg(feature = "net")]
    probe: Option<Box<probe::PeerInfo>>,
}

#[derive(Clone, Debug)]
enum State {
    /// Waiting for a handshake message.
    Handshake { wait: WaitFor, deadline: Instant },
    /// Waiting for [`Peering::admit`] or [`Peering::refuse_redundant`].
    Introduced { peer: EndpointId, role: Role, deadline: Instant },
    /// The peering is established: envelopes are exchanged.
    Peered(Peered),
    /// The peering has ended.
    Closed,
}

/// The maximum capacity that an empty event queue keeps.
const MAX_IDLE_EVENTS: usize = 4;

/// The maximum number of queued events. Further frames stay in the input.
const MAX_QUEUED_EVENTS: usize = 1024;

/// The maximum number of events to reserve capacity for at once.
const MAX_RESERVED_EVENTS: usize = 512;

impl Peering {
    /// Returns the state of a new connection on which nothing has been sent or received.
    #[must_use]
    pub fn new(config: Config, now: Instant) -> Self {
        let deadline = after(now, config.handshake_timeout);
        let (wait, first) = match config.side {
            Side::Connector => (WaitFor::HelloOrVersionSelect, handshake::hello(config.id)),
            Side::Listener => (WaitFor::Hello, Handshake::Probe),
        };
        let mut peering = Peering {
            state: State::Handshake { wait, deadline },
            out: Output::default(),
            events: VecDeque::new(),
            filter_changed: false,
            no_drop_conn: false,
            leave_once_established: false,
            #[cfg(feature = "net")]
            probe: None,
            config,
        };
        if let Err(reason) = peering.send_handshake(&first) {
            peering.close(reason);
        }
        peering
    }

    /// Consumes the complete frames at the front of `input`. Payloads are slices of its memory. The remaining bytes (an
    /// incomplete frame, or everything after an [`Event::Introduced`]) must be passed again at the next call.
    ///
    /// Returns `true` if it stopped early because many events are queued. Poll them and call it again.
    pub fn handle_input(&mut self, now: Instant, input: &mut BytesMut) -> bool {
        if let State::Peered(peered) = &mut self.state
            && !input.is_empty()
        {
            // The peer is alive even if it has sent only part of a large frame.
            peered.received(now);
            self.reserve_events(input);
        }
        #[cfg(feature = "net")]
        if let (Some(probe), State::Handshake { .. }) = (&mut self.probe, &self.state)
            && !probe.inspect(input)
        {
            return false;
        }
        loop {
            if self.events.len() >= MAX_QUEUED_EVENTS {
                return true;
            }
            let limit = match &self.state {
                State::Handshake { .. } => self.config.limits.max_handshake_frame,
                State::Peered(_) => self.config.limits.max_frame,
                State::Introduced { .. } => return false,
                State::Closed => {
                    input.clear();
                    return false;
                }
            };
            match cut_frame(input, limit) {
                Ok(Some(frame)) => self.handle_frame(now, &frame),
                Ok(None) => return false,
                Err(error) => self.close(PeeringError::from(error)),
            }
        }
    }

    /// Reserves capacity for the events of this input, assuming that all frames are as long as the first. This makes one
    /// allocation instead of several: an empty queue does not keep its capacity, so it would grow again for each input.
    fn reserve_events(&mut self, input: &[u8]) {
        let Some(length) = input.first_chunk().and_then(|length| u32::from_be_bytes(*length).try_into().ok())
        else {
            return;
        };
        let frames = input.len().checked_div(length).unwrap_or_default();
        self.events.reserve(frames.clamp(1, MAX_RESERVED_EVENTS));
    }

    fn handle_frame(&mut self, now: Instant, frame: &Bytes) {
        if let State::Peered(peered) = &mut self.state {
            let (config, out, events) = (&self.config, &mut self.out, &mut self.events);
            if let Err(reason) = peered.handle_frame(now, frame, config, out, events) {
                self.close(reason);
            }
            return;
        }
        let next = match std::mem::replace(&mut self.state, State::Closed) {
            State::Handshake { wait, deadline } => self.handle_handshake(now, frame, wait, deadline),
            other => Ok(other),
        };
        match next {
            Ok(state) => self.state = state,
            Err(reason) => self.close(reason),
        }
    }

    /// Continues the handshake after [`Event::Introduced`]. Then call [`Peering::handle_input`] with the rest of the input.
    pub fn admit(&mut self) {
        if let State::Introduced { peer, role, deadline } = self.state {
            match self.begin(peer, role) {
                Ok(wait) => self.state = State::Handshake { wait, deadline },
                Err(reason) => self.close(reason),
            }
        }
    }

    /// Ends the handshake after [`Event::Introduced`], because a peering with this endpoint exists already.
    pub fn refuse_redundant(&mut self) {
        if let State::Introduced { peer, role, .. } = self.state {
            let (code, description) = handshake::redundant(role);
            self.drop_conn(code, description);
            self.close(CloseReason::Redundant { peer });
        }
    }

    /// Handles the end of the peer's stream.
    pub fn handle_eof(&mut self) {
        let tls = self.config.tls;
        let reason = match &self.state {
            State::Handshake { .. } if self.leave_once_established => CloseReason::Left,
            State::Handshake { wait, .. } => {
                PeeringError::ClosedInHandshake { expected: wait.expected(), tls }.into()
            }
            State::Introduced { .. } => {
                PeeringError::ClosedInHandshake { expected: "this side's answer", tls }.into()
            }
            State::Peered(peered) => peered.eof(),
            State::Closed => return,
        };
        self.close(reason);
    }

    /// Handles the passing of time. Call it at the time that [`Peering::poll_timeout`] returns; earlier calls have no effect.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return;
        }
        let tls = self.config.tls;
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Handshake { .. } if self.leave_once_established => self.drop_leaving(),
            State::Handshake { wait, .. } => {
                self.close(PeeringError::HandshakeTimeout { expected: wait.expected(), tls });
            }
            State::Introduced { .. } => {
                self.close(PeeringError::HandshakeTimeout { expected: "this side's answer", tls });
            }
            State::Peered(peered) => match peered.handle_timeout(now, &self.config, &mut self.out) {
                Ok(peered) => self.state = State::Peered(peered),
                Err(reason) => self.close(reason),
            },
            State::Closed => {}
        }
    }

    /// Returns when [`Peering::handle_timeout`] must be called if there is no other input before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Handshake { deadline, .. } | State::Introduced { deadline, .. } => Some(*deadline),
            State::Peered(peered) => peered.deadline(&self.config),
            State::Closed => None,
        }
    }

    /// Returns the next event.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if event.is_none() && self.events.capacity() > MAX_IDLE_EVENTS {
            self.events = VecDeque::new();
        }
        event
    }

    /// Returns the next bytes to write to the peer. A large payload is not copied: it is the buffer that was passed to
    /// [`Peering::send`].
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.out.pop()
    }

    /// Returns the number of bytes that [`Peering::poll_transmit`] has not returned yet.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.out.len()
    }

    /// Queues a message for the peer. The sender is replaced by this endpoint's id; ttl and receiver are kept. The peer's
    /// filter is not applied here; that is up to the caller.
    ///
    /// # Errors
    /// Fails if the peering is not established, or the message cannot be encoded.
    pub fn send(&mut self, envelope: &Envelope) -> Result<(), SendError> {
        match &self.state {
            State::Peered(peered) if !peered.is_leaving() => {
                self.out.push(self.config.id, envelope)?;
                Ok(())
            }
            _ => Err(SendError::NotEstablished),
        }
    }

    /// Replaces this endpoint's filter. An established peer is notified at once, otherwise at the end of the handshake.
    ///
    /// # Errors
    /// Fails if the filter cannot be encoded. It is unchanged in that case.
    pub fn set_filter(&mut self, filter: Filter) -> Result<(), EncodeError> {
        if let State::Peered(peered) = &self.state {
            self.out.routing_update(self.config.id, peered.peer(), &filter)?;
        }
        self.config.filter = filter;
        self.filter_changed = true;
        Ok(())
    }

    /// Starts to leave. In an established peering, BYE is queued after all messages, and input is handled until the peer
    /// confirms.
    ///
    /// A handshake ends at once, except if only the peer's last handshake message is missing. In that case, the peer may already
    /// consider the peering established. This side then waits for that message, for at most [`Config::leave_timeout`], and
    /// sends BYE.
    pub fn leave(&mut self, now: Instant) {
        match &mut self.state {
            State::Peered(peered) => peered.leave(now, &self.config, &mut self.out),
            // A peer that has sent its originator_ack reads only envelopes. It would treat a drop_conn as a malformed
            // envelope, and the end of the stream as a lost connection.
            State::Handshake { wait: WaitFor::Ack(..), deadline } => {
                self.leave_once_established = true;
                *deadline = (*deadline).min(after(now, self.config.leave_timeout));
            }
            State::Handshake { .. } | State::Introduced { .. } => self.drop_leaving(),
            State::Closed => {}
        }
    }

    /// Ends a handshake that this side does not want to complete.
    fn drop_leaving(&mut self) {
        self.drop_conn(ErrorCode::SHUTTING_DOWN, "shutting down");
        self.close(CloseReason::Left);
    }

    /// Records that the caller stops or resumes reading from the peer. While paused, the peer's silence is ignored, and it is
    /// pinged every ten seconds so that it does not consider this side dead.
    pub fn pause(&mut self, now: Instant, paused: bool) {
        if let State::Peered(peered) = &mut self.state {
            peered.pause(now, paused);
        }
    }

    /// Refuses the peer before the handshake begins. Only a `drop_conn` is sent; the queued first message is discarded.
    pub fn refuse(&mut self) {
        if let State::Handshake { .. } = self.state {
            self.out = Output::default();
            if !self.is_probe() {
                self.drop_conn(ErrorCode::PEER_INVALID, "not allowed to peer here");
            }
            self.close(CloseReason::Left);
        }
    }

    /// Returns whether [`Peering::handle_input`] consumes input. It does not after [`Event::Introduced`] until
    /// [`Peering::admit`] or [`Peering::refuse_redundant`] is called; the caller should not read from the connection in that
    /// time.
    #[must_use]
    pub fn takes_input(&self) -> bool {
        !matches!(self.state, State::Introduced { .. })
    }

    /// Returns whether the peering has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Returns whether the peering is established. This includes the time while it is being left.
    #[must_use]
    pub fn is_established(&self) -> bool {
        matches!(self.state, State::Peered(_))
    }

    fn close(&mut self, reason: impl Into<CloseReason>) {
        let reason = reason.into();
        self.state = State::Closed;
        if let Some((code, description)) = self.refusal(&reason) {
            self.drop_conn(code, description);
        }
        self.events.push_back(Event::Closed(reason));
    }

    /// Returns the `drop_conn` that reports this reason to the peer.
    fn refusal(&self, reason: &CloseReason) -> Option<(ErrorCode, &'static str)> {
        #[cfg(feature = "net")]
        if let Some(probe) = &self.probe {
            return probe.refusal();
        }
        match reason {
            CloseReason::Failed(error) if !self.no_drop_conn => error.drop_conn(),
            _ => None,
        }
    }

    fn is_probe(&self) -> bool {
        #[cfg(feature = "net")]
        return self.probe.is_some();
        #[cfg(not(feature = "net"))]
        false
    }

    fn drop_conn(&mut self, code: ErrorCode, description: &'static str) {
        let sender = self.config.id;
        // Cannot fail: the descriptions are short.
        let _ = self.out.handshake(&Handshake::DropConn { sender, code, description: description.into() });
    }

    fn send_handshake(&mut self, message: &Handshake) -> Result<(), CloseReason> {
        self.out.handshake(message).map_err(|_| PeeringError::FilterTooLarge.into())
    }
}

/// Returns `now + wait`. `wait` is limited to a century, so that the sum does not overflow.
fn after(now: Instant, wait: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    now.checked_add(wait.min(CENTURY)).unwrap_or(now)
}
