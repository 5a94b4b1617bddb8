//! One peering between two endpoints, from the first byte to the last (`PROTOCOL.md`, sections 2 and 4).
//!
//! This module does no I/O and reads no clock. The caller passes bytes and the time, and receives bytes and events.
//! [`Peering`] documents the order of calls.

#[cfg(feature = "net")]
mod bundled;
mod closing;
mod config;
mod error;
mod event;
mod events;
mod handshake;
mod notice;
mod output;
mod peered;
#[cfg(feature = "net")]
mod probe;
mod side;

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;

pub use config::Config;
pub use error::{CloseReason, ErrorKind, PeeringError, SessionError};
pub use event::{Event, SendError};
pub use notice::Notice;
pub(crate) use output::{COPIED, Output};
#[cfg(feature = "net")]
pub(crate) use probe::{FIRST_BYTES, is_incomplete_line};
pub use side::{Role, Side};

use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};

use crate::data::{EndpointId, Filter};
use crate::wire::{EncodeError, Envelope, Handshake, LENGTH_FIELD, cut_whole_frame};
use events::Events;
use handshake::WaitFor;
use peered::Peered;

/// The state machine of one peering.
///
/// Order of calls after each input: [`handle_input`](Self::handle_input) (or
/// [`handle_eof`](Self::handle_eof), [`handle_timeout`](Self::handle_timeout),
/// [`send`](Self::send), ...), then [`poll_event`](Self::poll_event) until it returns `None`, then
/// [`poll_transmit`](Self::poll_transmit) until it returns `None`, then
/// [`poll_timeout`](Self::poll_timeout). After [`Event::Closed`], nothing changes.
///
/// This example connects two peerings in memory, without sockets:
///
#[doc = include_str!("example.md")]
#[derive(Clone, Debug)]
pub struct Peering {
    config: Config,
    state: State,
    out: Output,
    events: Events,
    /// The filter has changed since it was announced in the handshake.
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

/// The maximum number of queued events. More frames stay in the input.
const MAX_QUEUED_EVENTS: usize = 1024;

/// The maximum number of messages to reserve capacity for at once.
const MAX_RESERVED_MESSAGES: usize = 512;

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
            events: Events::default(),
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

    /// Consumes the complete frames at the front of `input`. The payloads of messages are slices of its memory. Pass the
    /// remaining bytes again at the next call: an incomplete frame, or everything after an [`Event::Introduced`].
    ///
    /// Returns `true` if it stopped early because many events are queued. In that case, poll the events and call it again.
    pub fn handle_input(&mut self, now: Instant, input: &mut BytesMut) -> bool {
        if let State::Peered(peered) = &mut self.state
            && !input.is_empty()
        {
            // The peer is alive even if it has sent only part of a large frame.
            peered.received(now);
            self.reserve_messages(input);
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
            match cut_whole_frame(input, limit) {
                Ok(Some(frame)) => self.handle_frame(now, frame),
                Ok(None) => return false,
                Err(error) => self.close(PeeringError::from(error)),
            }
        }
    }

    /// Reserves capacity for the messages of this input, assuming that all frames are as long as the first. So there is only
    /// one allocation. Without the reservation, the queue would grow in several steps for each input, because an empty
    /// queue does not keep its capacity.
    fn reserve_messages(&mut self, input: &[u8]) {
        let Some(length) = input.first_chunk().and_then(|length| u32::from_be_bytes(*length).try_into().ok())
        else {
            return;
        };
        let frames = input.len().checked_div(length).unwrap_or_default();
        self.events.reserve(frames.clamp(1, MAX_RESERVED_MESSAGES));
    }

    /// Handles a frame, which includes its length field.
    fn handle_frame(&mut self, now: Instant, mut frame: Bytes) {
        if let State::Peered(peered) = &mut self.state {
            let (config, out, events) = (&self.config, &mut self.out, &mut self.events);
            if let Err(reason) = peered.handle_frame(frame, config, out, events) {
                self.close(reason);
            }
            return;
        }
        frame.advance(LENGTH_FIELD);
        let next = match std::mem::replace(&mut self.state, State::Closed) {
            State::Handshake { wait, deadline } => self.handle_handshake(now, &frame, wait, deadline),
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

    /// Returns the time at which [`Peering::handle_timeout`] must be called, unless other input arrives first.
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
        self.events.pop()
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

    /// Queues a message for the peer. The sender is replaced by this endpoint's id; the ttl and the receiver are not
    /// changed. This method does not check the peer's filter; the caller must do that.
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

    /// Replaces this endpoint's filter. An established peer is notified at once. During the handshake, the peer is notified
    /// at the end of the handshake.
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

    /// Records that the caller stops or resumes reading from the peer. While paused, the peer's silence is ignored. The
    /// peer is pinged every ten seconds, so that it does not consider this side dead.
    pub fn pause(&mut self, now: Instant, paused: bool) {
        if let State::Peered(peered) = &mut self.state {
            peered.pause(now, paused);
        }
    }

    /// Returns whether [`Peering::handle_input`] consumes input: always, except between [`Event::Introduced`] and the call of
    /// [`Peering::admit`] or [`Peering::refuse_redundant`]. Read only a bounded amount from the connection during that time.
    #[must_use]
    pub fn takes_input(&self) -> bool {
        !matches!(self.state, State::Introduced { .. })
    }

    /// Returns whether the peering has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Returns whether the peering is established. The result stays `true` after [`Peering::leave`], until the peering
    /// has ended.
    #[must_use]
    pub fn is_established(&self) -> bool {
        matches!(self.state, State::Peered(_))
    }

    fn send_handshake(&mut self, message: &Handshake) -> Result<(), CloseReason> {
        self.out.handshake(message).map_err(|_| PeeringError::FilterTooLarge.into())
    }
}

/// Returns `now + wait`. `wait` is limited to a century, so that the sum does not overflow.
pub(crate) fn after(now: Instant, wait: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    now.checked_add(wait.min(CENTURY)).unwrap_or(now)
}
