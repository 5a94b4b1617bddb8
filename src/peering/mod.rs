//! One peering between two endpoints, from the first byte to the last (protocol sections 2 and 4).
//!
//! No I/O and no clock: bytes and time go in, bytes and events come out. [`Peering`] says in which order
//! to call it.

#[cfg(feature = "net")]
mod bundled;
mod error;
mod handshake;
mod output;
mod peered;

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;

pub use error::{CloseReason, PeeringError};
#[cfg(feature = "net")]
pub(crate) use output::COPIED;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::data::{EndpointId, Filter};
use crate::wire::{DecodeError, EncodeError, Envelope, ErrorCode, Handshake, Limits, cut_frame};
use handshake::WaitFor;
use output::Output;
use peered::Peered;

/// Which side opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This endpoint connected; it says `hello` first.
    Connector,
    /// This endpoint was connected to; it says `probe` first.
    Listener,
}

/// Which side leads the handshake: the endpoint with the smaller id is the originator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// This endpoint leads.
    Originator,
    /// The peer leads.
    Responder,
}

/// What a [`Peering`] has to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// This endpoint's id.
    pub id: EndpointId,
    /// Which side opened the connection.
    pub side: Side,
    /// What this endpoint wants to hear.
    pub filter: Filter,
    /// What the peer may cost.
    pub limits: Limits,
    /// How long the handshake may take in all.
    pub handshake_timeout: Duration,
    /// How long a standing peering may be silent before the peer is pinged, and then again before
    /// it is given up. `None`: for ever, as the reference.
    pub idle_timeout: Option<Duration>,
    /// How long to wait for the confirmation of a BYE.
    pub leave_timeout: Duration,
}

impl Config {
    /// The default of [`Config::handshake_timeout`].
    pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
    /// The default of [`Config::idle_timeout`].
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
    /// The default of [`Config::leave_timeout`], and the reference's.
    pub const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);

    /// The defaults, for an endpoint with this id on this side.
    #[must_use]
    pub fn new(id: EndpointId, side: Side) -> Self {
        Config {
            id,
            side,
            filter: Filter::new(),
            limits: Limits::DEFAULT,
            handshake_timeout: Self::HANDSHAKE_TIMEOUT,
            idle_timeout: Some(Self::IDLE_TIMEOUT),
            leave_timeout: Self::LEAVE_TIMEOUT,
        }
    }
}

/// What a peering has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The peer has shown its id. Nothing goes on until [`Peering::admit`] or
    /// [`Peering::refuse_redundant`] is called; the handshake's timeout runs meanwhile.
    Introduced {
        /// The peer.
        peer: EndpointId,
        /// Which side leads. An originator that finds the connection redundant while another
        /// handshake with the same peer is under way should hold its answer back until that one
        /// is through, so that the peer does not get the refusal first.
        role: Role,
    },
    /// The peering stands.
    Established {
        /// The peer.
        peer: EndpointId,
        /// What the peer wants to hear.
        filter: Filter,
    },
    /// A data or command message. Its payload has not been looked at.
    Message(Envelope),
    /// The peer wants to hear something else from now on.
    FilterChanged(Filter),
    /// An envelope that could not be read was dropped; the peering goes on, as at the reference.
    Malformed(DecodeError),
    /// The peer has said BYE and will close the connection.
    PeerLeaving,
    /// The end, always the last event. What [`Peering::poll_transmit`] still has should be
    /// written before the connection is closed.
    Closed(CloseReason),
}

/// A message that cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The peering does not stand, or is being left.
    #[error("there is no standing peering")]
    NotEstablished,
    /// The message does not fit the wire.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// The state machine of one peering.
///
/// The order of calls, after every kind of input: [`handle_input`](Self::handle_input) (or
/// [`handle_eof`](Self::handle_eof), [`handle_timeout`](Self::handle_timeout),
/// [`send`](Self::send), ...), then [`poll_event`](Self::poll_event) until it has no more, then
/// [`poll_transmit`](Self::poll_transmit) until it has no more, then
/// [`poll_timeout`](Self::poll_timeout). After [`Event::Closed`] nothing changes any more.
///
/// Two of them in memory, where a program has a socket and another process:
///
#[doc = include_str!("example.md")]
#[derive(Clone, Debug)]
pub struct Peering {
    config: Config,
    state: State,
    out: Output,
    events: VecDeque<Event>,
    /// The filter was changed since the handshake may have announced it.
    filter_changed: bool,
    /// A `drop_conn` would not be understood any more (envelopes are spoken), or the peer has
    /// said one.
    no_drop_conn: bool,
    /// [`Peering::leave`] was called while the peer may already regard the peering as established.
    leave_once_established: bool,
}

#[derive(Clone, Debug)]
enum State {
    /// Waiting for a handshake message.
    Handshake { wait: WaitFor, deadline: Instant },
    /// Waiting for the word of [`Peering::admit`].
    Introduced { peer: EndpointId, role: Role, deadline: Instant },
    /// Envelopes go both ways.
    Peered(Peered),
    /// Over.
    Closed,
}

/// For how many events the memory is kept when none waits.
const KEPT_EVENTS: usize = 4;

/// How many events may wait to be polled. What else is in the input waits there.
const MOST_EVENTS: usize = 1024;

/// For how many events there is room made at once.
const MOST_EXPECTED: usize = 512;

impl Peering {
    /// A new connection, on which nothing has been said yet.
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
            config,
        };
        if let Err(reason) = peering.say(&first) {
            peering.close(reason);
        }
        peering
    }

    /// Takes the complete frames off the front of `input`; payloads stay parts of its memory. What
    /// is left in it (part of a frame, or all that follows an [`Event::Introduced`]) has to be there
    /// again at the next call.
    ///
    /// Stops early, and says so with `true`, when many events wait to be polled: it should be called
    /// again when they are.
    pub fn handle_input(&mut self, now: Instant, input: &mut BytesMut) -> bool {
        if let State::Peered(peered) = &mut self.state
            && !input.is_empty()
        {
            // Part of a large frame is a sign of life too.
            peered.heard(now);
            self.expect(input);
        }
        loop {
            if self.events.len() >= MOST_EVENTS {
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

    /// Makes room for as many events as there are frames, if all are as long as the first: at once, because it is not kept.
    fn expect(&mut self, input: &[u8]) {
        let Some(length) = input.first_chunk().and_then(|length| u32::from_be_bytes(*length).try_into().ok())
        else {
            return;
        };
        let frames = input.len().checked_div(length).unwrap_or_default();
        self.events.reserve(frames.clamp(1, MOST_EXPECTED));
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

    /// Goes on with a peer after [`Event::Introduced`]. Call [`Peering::handle_input`] afterwards
    /// with what was left of the input.
    pub fn admit(&mut self) {
        if let State::Introduced { peer, role, deadline } = self.state {
            match self.begin(peer, role) {
                Ok(wait) => self.state = State::Handshake { wait, deadline },
                Err(reason) => self.close(reason),
            }
        }
    }

    /// Ends the attempt after [`Event::Introduced`]: there is a peering with this endpoint already.
    pub fn refuse_redundant(&mut self) {
        if let State::Introduced { peer, role, .. } = self.state {
            let (code, words) = handshake::redundant(role);
            self.drop_conn(code, words);
            self.close(CloseReason::Redundant { peer });
        }
    }

    /// The peer has closed its side of the stream.
    pub fn handle_eof(&mut self) {
        let reason = match &self.state {
            State::Handshake { .. } if self.leave_once_established => CloseReason::Left,
            State::Handshake { wait, .. } => {
                PeeringError::ClosedInHandshake { expected: wait.expected() }.into()
            }
            State::Introduced { .. } => {
                PeeringError::ClosedInHandshake { expected: "this side's answer" }.into()
            }
            State::Peered(peered) => peered.eof(),
            State::Closed => return,
        };
        self.close(reason);
    }

    /// Time has passed. To be called when [`Peering::poll_timeout`] says, and harmless at other times.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return;
        }
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Handshake { .. } if self.leave_once_established => self.drop_leaving(),
            State::Handshake { wait, .. } => {
                self.close(PeeringError::HandshakeTimeout { expected: wait.expected() });
            }
            State::Introduced { .. } => {
                self.close(PeeringError::HandshakeTimeout { expected: "this side's answer" });
            }
            State::Peered(peered) => match peered.handle_timeout(now, &self.config, &mut self.out) {
                Ok(peered) => self.state = State::Peered(peered),
                Err(reason) => self.close(reason),
            },
            State::Closed => {}
        }
    }

    /// When [`Peering::handle_timeout`] has to be called, if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Handshake { deadline, .. } | State::Introduced { deadline, .. } => Some(*deadline),
            State::Peered(peered) => peered.deadline(&self.config),
            State::Closed => None,
        }
    }

    /// The next event, if there is one.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if event.is_none() && self.events.capacity() > KEPT_EVENTS {
            self.events = VecDeque::new();
        }
        event
    }

    /// The next bytes for the peer, if there are any. A large payload comes as it was given to
    /// [`Peering::send`], uncopied.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.out.pop()
    }

    /// How many bytes [`Peering::poll_transmit`] has to give.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.out.len()
    }

    /// Queues a message for the peer. Its ttl and receiver stay as they are; the sender becomes
    /// this endpoint. Whether the peer wants it is the caller's to know.
    ///
    /// # Errors
    /// When no peering stands, or the message does not fit the wire.
    pub fn send(&mut self, envelope: &Envelope) -> Result<(), SendError> {
        match &self.state {
            State::Peered(peered) if !peered.is_leaving() => {
                self.out.push(self.config.id, envelope)?;
                Ok(())
            }
            _ => Err(SendError::NotEstablished),
        }
    }

    /// What this endpoint wants to hear from now on. A standing peering tells the peer at once, a
    /// handshake when it is through.
    ///
    /// # Errors
    /// When the filter does not fit the wire; it is then not changed.
    pub fn set_filter(&mut self, filter: Filter) -> Result<(), EncodeError> {
        if let State::Peered(peered) = &self.state {
            self.out.routing_update(self.config.id, peered.peer(), &filter)?;
        }
        self.config.filter = filter;
        self.filter_changed = true;
        Ok(())
    }

    /// Leaves. An established peering sends BYE after everything that was sent before and reads on until the peer
    /// confirms. A handshake ends at once, unless only the peer's last handshake message is missing: then the peer may
    /// regard the peering as established, so this side waits for that message, at most
    /// [`Config::leave_timeout`], and sends BYE.
    pub fn leave(&mut self, now: Instant) {
        match &mut self.state {
            State::Peered(peered) => peered.leave(now, &self.config, &mut self.out),
            // A peer that has sent its originator_ack reads envelopes only. To such a peer, a drop_conn is a malformed
            // envelope and the end of the stream a loss.
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

    /// Input is held back from now on, or no more. A peer that is not heard meanwhile is not given up for its silence,
    /// and told every ten seconds that this side is there.
    pub fn pause(&mut self, now: Instant, paused: bool) {
        if let State::Peered(peered) = &mut self.state {
            peered.pause(now, paused);
        }
    }

    /// Ends the attempt before it begins: this peer may not peer. That is the first word then, and the only one.
    pub fn refuse(&mut self) {
        if let State::Handshake { .. } = self.state {
            self.out = Output::default();
            self.drop_conn(ErrorCode::PEER_INVALID, "not allowed to peer here");
            self.close(CloseReason::Left);
        }
    }

    /// Whether [`Peering::handle_input`] takes anything: not between an [`Event::Introduced`] and
    /// its answer. What arrives meanwhile had better stay where it is.
    #[must_use]
    pub fn takes_input(&self) -> bool {
        !matches!(self.state, State::Introduced { .. })
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Whether the peering stands, be it on its way out.
    #[must_use]
    pub fn is_established(&self) -> bool {
        matches!(self.state, State::Peered(_))
    }

    fn close(&mut self, reason: impl Into<CloseReason>) {
        let reason = reason.into();
        self.state = State::Closed;
        if let CloseReason::Failed(error) = &reason
            && let Some((code, words)) = error.drop_conn()
            && !self.no_drop_conn
        {
            self.drop_conn(code, words);
        }
        self.events.push_back(Event::Closed(reason));
    }

    fn drop_conn(&mut self, code: ErrorCode, words: &'static str) {
        let sender = self.config.id;
        // A drop_conn of a few words always fits.
        let _ = self.out.say(&Handshake::DropConn { sender, code, description: words.into() });
    }

    fn say(&mut self, message: &Handshake) -> Result<(), CloseReason> {
        self.out.say(message).map_err(|_| PeeringError::FilterTooLarge.into())
    }
}

/// A deadline; one too far for the clock to name is a century away.
fn after(now: Instant, wait: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    now.checked_add(wait.min(CENTURY)).unwrap_or(now)
}
