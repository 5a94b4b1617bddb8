//! The end of a peering: this side leaves, refuses the peer, or closes because of an error.

use std::time::Instant;

#[cfg(doc)]
use super::Config;
use super::handshake::{self, WaitFor};
use super::output::Output;
use super::{CloseReason, Event, Peering, PeeringError, State, after};
use crate::wire::{ErrorCode, Handshake};

impl Peering {
    /// Ends the handshake after [`Event::Introduced`], because a peering with the same peer exists already.
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

    /// Starts to leave. In an established peering, BYE is queued after all messages, and input is handled until the peer
    /// confirms.
    ///
    /// A handshake ends at once, with one exception. If only the peer's last handshake message is missing, the peer may
    /// already consider the peering established. This side then waits for that message, for at most
    /// [`Config::leave_timeout`], and sends BYE.
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
    pub(super) fn drop_leaving(&mut self) {
        self.drop_conn(ErrorCode::SHUTTING_DOWN, "shutting down");
        self.close(CloseReason::Left);
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

    pub(super) fn close(&mut self, reason: impl Into<CloseReason>) {
        let reason = reason.into();
        self.state = State::Closed;
        if let Some((code, description)) = self.refusal(&reason) {
            self.drop_conn(code, description);
        }
        self.events.push(Event::Closed(reason));
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
}
