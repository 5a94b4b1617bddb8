//! The end of a session: this side leaves, refuses the peer, or closes because of an error, or the peer closes.
//!
//! The protocol has no message for it. If the peer closes the connection, it may not have received everything. The clients of a
//! proxy leave by closing the connection between two messages. A proxy is not expected to leave, so the end of its connection is
//! reported as a loss.

use std::time::Instant;

use super::error::{Error, Stage};
use super::frame::FrameKind;
use super::liveness::{Action, PING};
use super::{State, ZeroMq};
#[cfg(doc)]
use crate::peering::Config;
use crate::peering::{CloseReason, Event, Side, after};

/// The state of a session that ends as soon as everything is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    since: Instant,
    /// The time at which the session ends even if something is not written.
    deadline: Instant,
}

impl ZeroMq {
    /// Ends the session after [`Event::Introduced`], because the peer is not allowed. The peer is never redundant, because its id
    /// is random.
    pub fn refuse_redundant(&mut self) {
        if let State::Handshake { stage: Stage::Admission, .. } = self.state {
            self.close(CloseReason::Redundant { peer: self.config.peer_id });
        }
    }

    /// Refuses the peer before anything was received from it. Nothing is sent.
    pub fn refuse(&mut self) {
        if let State::Handshake { stage: Stage::Greeting, .. } = self.state {
            self.out = Default::default();
            self.close(CloseReason::Left);
        }
    }

    /// Handles the end of the peer's stream.
    pub fn handle_eof(&mut self) {
        let reason = match self.state {
            State::Handshake { stage, .. } => {
                Error::ClosedInHandshake { stage, own: (&self.config.mechanism).into() }.into()
            }
            State::Established { leaving: Some(_) } if self.is_written() => CloseReason::Left,
            State::Established { leaving: Some(_) } => CloseReason::LeftUnconfirmed,
            State::Established { leaving: None } => {
                let is_client = self.config.common.side == Side::Listener;
                let is_complete = self.parts.is_empty() && !self.liveness.has_left();
                if is_client && is_complete { CloseReason::PeerLeft } else { CloseReason::Lost }
            }
            State::Closed => return,
        };
        self.close(reason);
    }

    /// Starts to leave. An established session ends when everything that is queued is written, or after
    /// [`Config::leave_timeout`]. Until then, input is handled. A handshake ends at once.
    pub fn leave(&mut self, now: Instant) {
        match &mut self.state {
            State::Established { leaving: leaving @ None } => {
                let deadline = after(now, self.config.common.leave_timeout);
                *leaving = Some(Leaving { since: now, deadline });
            }
            State::Handshake { .. } => self.close(CloseReason::Left),
            State::Established { leaving: Some(_) } | State::Closed => {}
        }
    }

    /// Handles the passing of time. Call it at the time that [`ZeroMq::poll_timeout`] returns; earlier calls have no effect.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.subscriptions.set_now(now);
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.state {
            State::Handshake { stage, .. } => self.close(Error::HandshakeTimeout { stage }),
            State::Established { leaving: None } => {
                let idle_timeout = self.config.common.idle_timeout;
                match self.liveness.handle_timeout(now, idle_timeout) {
                    // The timeout is for a change of the filter, which `poll_event` returns.
                    None => {}
                    Some(Action::SendPing) => self.send_ping(),
                    Some(Action::End) => self.close(Error::Silent),
                }
            }
            State::Established { .. } if self.is_written() => self.close(CloseReason::Left),
            State::Established { .. } => self.close(CloseReason::LeftUnconfirmed),
            State::Closed => {}
        }
    }

    /// Returns the time at which [`ZeroMq::handle_timeout`] must be called, unless other input arrives first. If this side is
    /// leaving and everything is written, the returned time is already in the past.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Handshake { deadline, .. } => Some(deadline),
            State::Established { leaving: Some(leaving) } if self.is_written() => Some(leaving.since),
            State::Established { leaving: Some(leaving) } => Some(leaving.deadline),
            State::Established { leaving: None } => {
                let idle = self.liveness.deadline(self.config.common.idle_timeout);
                idle.into_iter().chain(self.subscriptions.deadline()).min()
            }
            State::Closed => None,
        }
    }

    fn send_ping(&mut self) {
        if let Err(error) = self.security.send(FrameKind::Command, PING, &mut self.out) {
            self.close(error);
        }
    }

    pub(super) fn close(&mut self, reason: impl Into<CloseReason>) {
        self.state = State::Closed;
        self.events.push_back(Event::Closed(reason.into()));
    }
}
