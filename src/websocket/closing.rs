//! The end of a session (RFC 6455, section 7): this side leaves, or closes because of an error, or the peer closes.

use std::time::{Duration, Instant};

use super::dialect::mask;
use super::error::Error;
use super::frame::{self, FrameError, GOING_AWAY, INTERNAL, NO_CODE, NORMAL, POLICY, put_close};
use super::{Role, State, WebSocket, http};
use crate::data::one_line;
#[cfg(doc)]
use crate::peering::Config;
use crate::peering::{CloseReason, Event, after};

/// The maximum time to wait for the close frame of a peer that is still reading, as a multiple of [`Config::leave_timeout`].
const MAX_EXTENSION: u32 = 10;

/// This side has sent a close frame, and still receives the messages that the peer has sent before its own close frame.
#[derive(Debug)]
pub(super) struct Leaving {
    reason: LeavingReason,
    /// When to stop waiting.
    deadline: Deadline,
    /// When to stop waiting even if the peer is still reading.
    latest: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeavingReason {
    /// The caller leaves.
    Wanted,
    /// The subscriptions have changed.
    Resubscribe,
}

#[derive(Clone, Copy, Debug)]
enum Deadline {
    /// The timeout starts at the next call with a `now` argument. Until then, the deadline is this time, which has passed, so
    /// that the caller makes such a call immediately.
    StartsAfter(Instant),
    At(Instant),
}

impl Leaving {
    pub(super) fn deadline(&self) -> Instant {
        let (Deadline::StartsAfter(time) | Deadline::At(time)) = self.deadline;
        time
    }

    pub(super) fn is_new(&self) -> bool {
        matches!(self.deadline, Deadline::StartsAfter(_))
    }

    fn new(reason: LeavingReason, deadline: Deadline) -> Self {
        Leaving { reason, deadline, latest: None }
    }

    /// Starts the timeout.
    pub(super) fn start(&mut self, now: Instant, timeout: Duration) {
        self.deadline = Deadline::At(after(now, timeout));
        self.latest = Some(after(now, timeout.saturating_mul(MAX_EXTENSION)));
    }

    /// Starts the timeout again, because the peer has read some of the messages before the close frame.
    pub(super) fn extend(&mut self, now: Instant, timeout: Duration) {
        if let Some(latest) = self.latest {
            self.deadline = Deadline::At(after(now, timeout).min(latest));
        }
    }

    pub(super) fn has_expired(&self, now: Instant) -> bool {
        matches!(self.deadline, Deadline::At(deadline) if deadline <= now)
    }

    /// Returns whether the caller has asked for the end of the session.
    pub(super) fn is_wanted(&self) -> bool {
        self.reason == LeavingReason::Wanted
    }

    fn reason(&self) -> CloseReason {
        match self.reason {
            LeavingReason::Wanted => CloseReason::Left,
            LeavingReason::Resubscribe => Error::Resubscribe.into(),
        }
    }

    pub(super) fn reason_without_answer(&self) -> CloseReason {
        match self.reason {
            LeavingReason::Wanted => CloseReason::LeftUnconfirmed,
            LeavingReason::Resubscribe => Error::Resubscribe.into(),
        }
    }
}

impl WebSocket {
    /// Leaves the peer after all queued messages are sent. In an established session, sends a close frame, and handles input
    /// until the close frame of the peer arrives, for at most [`Config::leave_timeout`]. A handshake ends at once.
    ///
    /// As a client, this timeout starts again each time that a pong shows that the server is still reading the messages before
    /// the close frame. The total time is at most ten timeouts.
    pub fn leave(&mut self, now: Instant) {
        let timeout = self.common().leave_timeout;
        match &mut self.state {
            State::Established { leaving: Some(leaving), .. } => leaving.reason = LeavingReason::Wanted,
            State::Established { leaving, .. } => {
                let mut wanted = Leaving::new(LeavingReason::Wanted, Deadline::StartsAfter(now));
                wanted.start(now, timeout);
                *leaving = Some(wanted);
                self.put_leaving();
            }
            State::Head { .. } => self.close(CloseReason::Left),
            State::First { .. } | State::Introduced { .. } => {
                self.put_leaving();
                self.close(CloseReason::Left);
            }
            State::Closing { .. } | State::Closed => {}
        }
    }

    /// Sends the close frame of a side that leaves. A server sends the code and text of Zeek's server; a client sends code 1000.
    fn put_leaving(&mut self) {
        let (code, text) = if self.is_server() { (GOING_AWAY, "Terminating") } else { (NORMAL, "") };
        self.put_close(code, text);
    }

    /// Ends an established session of a client whose subscriptions have changed.
    pub(super) fn resubscribe(&mut self) {
        let State::Established { liveness, leaving: leaving @ None } = &mut self.state else { return };
        let deadline = Deadline::StartsAfter(liveness.since());
        *leaving = Some(Leaving::new(LeavingReason::Resubscribe, deadline));
        self.put_leaving();
    }

    /// Ends the session after [`Event::Introduced`], because the peer is not allowed. The peer is never redundant,
    /// because its id is random.
    pub fn refuse_redundant(&mut self) {
        if let State::Introduced { .. } = self.state {
            self.put_close(POLICY, "Not allowed");
            self.close(CloseReason::Redundant { peer: self.peer_id() });
        }
    }

    /// Refuses the peer before anything was received from it. A server answers with the HTTP status 403, without reading the
    /// request. A client sends nothing.
    pub fn refuse(&mut self) {
        if let State::Head { .. } = self.state {
            self.out = Default::default();
            if self.is_server() {
                self.put(http::forbidden().as_bytes());
            }
            self.close(CloseReason::Left);
        }
    }

    /// Handles the end of the peer's stream.
    pub fn handle_eof(&mut self) {
        let tls = self.tls_before_upgrade();
        let closed = |expected| CloseReason::from(Error::ClosedInHandshake { expected, tls });
        let reason = match &self.state {
            State::Head { .. } => match (&self.role, self.head.status()) {
                (Role::Client(_), Some(status)) => status.into(),
                _ => closed(self.expected()),
            },
            State::First { .. } | State::Introduced { .. } => closed(self.expected()),
            State::Established { leaving: Some(leaving), .. } => leaving.reason_without_answer(),
            State::Established { leaving: None, .. } => CloseReason::Lost,
            State::Closing { reason, .. } => reason.clone(),
            State::Closed => return,
        };
        self.close(reason);
    }

    pub(super) fn handshake_timed_out(&mut self) {
        let (expected, tls) = (self.expected(), self.tls_before_upgrade());
        if !matches!(self.state, State::Head { .. }) {
            self.put_close(POLICY, "Handshake timeout");
        }
        self.close(Error::HandshakeTimeout { expected, tls });
    }

    /// Returns whether TLS is established. `None` after the upgrade to WebSocket.
    fn tls_before_upgrade(&self) -> Option<bool> {
        matches!(self.state, State::Head { .. }).then_some(self.common().tls)
    }

    /// Returns the expected input of a handshake.
    fn expected(&self) -> &'static str {
        match (&self.state, self.is_server()) {
            (State::Introduced { .. }, _) => "this side's answer",
            (State::Head { .. }, true) => "an HTTP request",
            (State::Head { .. }, false) => "the HTTP response",
            (_, true) => "the subscriptions",
            (_, false) => "the ack",
        }
    }

    /// Ends the session because a ping was not answered in time. Does not wait for the close frame of the peer.
    pub(super) fn ping_timed_out(&mut self) {
        self.put_close(INTERNAL, "Ping timeout");
        self.close(Error::Silent);
    }

    /// Ends the session because of a frame that violates the protocol. The input after this frame cannot be split into frames.
    pub(super) fn refuse_frame(&mut self, now: Instant, error: FrameError) {
        let (code, text) = error.close();
        self.end(now, code, text, Error::Frame(error).into());
        if let State::Closing { in_sync, .. } = &mut self.state {
            *in_sync = false;
        }
    }

    /// Sends a close frame, and waits for the close frame of the peer. If the connection were closed immediately while the peer
    /// is sending, the peer might not receive the earlier output.
    pub(super) fn end(&mut self, now: Instant, code: u16, text: &str, reason: CloseReason) {
        match self.state {
            State::Closing { .. } | State::Closed => return,
            // The peer has received a close frame already.
            State::Established { leaving: Some(_), .. } => {}
            _ => self.put_close(code, text),
        }
        let deadline = after(now, self.common().leave_timeout);
        self.state = State::Closing { reason, deadline, in_sync: true };
    }

    /// Handles a close frame of the peer.
    pub(super) fn handle_close(&mut self, now: Instant, payload: &[u8]) {
        let (code, text) = match frame::read_valid_close(payload) {
            Ok(close) => close,
            Err(error) => {
                return match &self.state {
                    State::Closing { reason, .. } => self.close(reason.clone()),
                    // Both sides have sent a close frame, so the session has ended.
                    State::Established { leaving: Some(_), .. } => self.close(Error::Frame(error)),
                    _ => self.refuse_frame(now, error),
                };
            }
        };
        let closed = || Error::Closed { code, reason: one_line(&String::from_utf8_lossy(text)) };
        let reason = match &self.state {
            State::Closing { reason, .. } => return self.close(reason.clone()),
            State::Established { leaving: Some(leaving), .. } => {
                // A different code is not an answer: the peer closed at the same time, and may not have read everything.
                let reason = match code {
                    NORMAL | NO_CODE => leaving.reason(),
                    GOING_AWAY if self.is_server() => leaving.reason(),
                    GOING_AWAY => CloseReason::PeerLeft,
                    _ => closed().into(),
                };
                return self.close(reason);
            }
            State::Established { .. } if matches!(code, NORMAL | GOING_AWAY | NO_CODE) => {
                CloseReason::PeerLeft
            }
            _ => closed().into(),
        };
        self.put_frame(frame::Opcode::Close, payload);
        self.close(reason);
    }

    fn put_close(&mut self, code: u16, text: &str) {
        let mask = mask(self.dialect());
        put_close(self.out.buffer(), mask, code, text);
    }

    pub(super) fn close(&mut self, reason: impl Into<CloseReason>) {
        self.state = State::Closed;
        self.events.push_back(Event::Closed(reason.into()));
    }
}
