//! Pings to a silent peer. Zeek's sockets send no pings, but libzmq always answers them.

use std::time::{Duration, Instant};

use super::greeting::Version;
use crate::peering::after;

/// The body of a PING: the name, and a time to live of 0, with which the peer sets no timeout of its own.
pub(super) const PING: &[u8] = b"\x04PING\0\0";

/// The first version of ZMTP with pings.
const WITH_PINGS: Version = [3, 1];

/// The silence of the peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Liveness {
    last_received: Instant,
    /// The number of bytes that the last call of `handle_input` has left in the input.
    left: usize,
    /// The time at which a PING was sent, if nothing was received since then.
    pinged: Option<Instant>,
    /// Whether the peer answers pings.
    has_pings: bool,
    /// Whether reading is paused. While it is, the peer's silence is ignored.
    paused: bool,
}

/// The action after a timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    SendPing,
    End,
}

impl Liveness {
    pub(super) fn new(now: Instant) -> Self {
        Liveness { last_received: now, left: 0, pinged: None, has_pings: false, paused: false }
    }

    /// Records the version of the peer.
    pub(super) fn set_version(&mut self, version: Version) {
        self.has_pings = version >= WITH_PINGS;
    }

    /// Records the length of the input, with the bytes that were left before. Any new byte shows that the peer is not silent.
    pub(super) fn handle_input(&mut self, now: Instant, length: usize) {
        if length > self.left {
            (self.last_received, self.pinged) = (now, None);
        }
    }

    /// Records the number of bytes that are left in the input.
    pub(super) fn set_left(&mut self, left: usize) {
        self.left = left;
    }

    /// Returns whether bytes are left in the input: the beginning of a frame.
    pub(super) fn has_left(&self) -> bool {
        self.left > 0
    }

    /// Records that reading stops or resumes. The peer's time begins again.
    pub(super) fn pause(&mut self, now: Instant, paused: bool) {
        (self.paused, self.last_received, self.pinged) = (paused, now, None);
    }

    /// Returns the time of the next action. A PING is sent after half of the timeout, and the peer has the other half to answer.
    pub(super) fn deadline(&self, idle_timeout: Option<Duration>) -> Option<Instant> {
        let timeout = idle_timeout.filter(|_| self.has_pings && !self.paused)?;
        let half = timeout.checked_div(2).unwrap_or(timeout);
        Some(match self.pinged {
            None => after(self.last_received, half),
            Some(pinged) => after(pinged, timeout.saturating_sub(half)),
        })
    }

    /// Returns the action that is due.
    pub(super) fn handle_timeout(&mut self, now: Instant, idle_timeout: Option<Duration>) -> Option<Action> {
        self.deadline(idle_timeout).filter(|deadline| *deadline <= now)?;
        if self.pinged.is_some() {
            return Some(Action::End);
        }
        self.pinged = Some(now);
        Some(Action::SendPing)
    }
}
