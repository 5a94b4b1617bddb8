//! Pings and timeouts of an established session.

use std::time::{Duration, Instant};

use super::Role;
use crate::peering::after;

/// The interval of pongs to a server while its input is not read. Zeek's server closes a connection without a pong for its ping
/// interval, which is 5 s by default, and accepts pongs that it did not ask for.
const PAUSED_PONG_INTERVAL: Duration = Duration::from_secs(1);

/// The state of the pings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Liveness {
    /// The time of the last input; as a server, the time of the last ping.
    since: Instant,
    /// Whether a ping is unanswered.
    pinged: bool,
    /// Whether part of a frame has arrived since the last ping. A pong cannot be sent within a frame.
    receiving: bool,
    /// Whether reading is paused. While it is, the peer's silence is ignored.
    paused: bool,
}

/// What to do after a timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    SendPing,
    SendPong,
    End,
}

impl Liveness {
    pub(super) fn new(now: Instant) -> Self {
        Liveness { since: now, pinged: false, receiving: false, paused: false }
    }

    /// Records that bytes were received.
    pub(super) fn received(&mut self, now: Instant, role: &Role) {
        self.receiving = true;
        // A client checks only that the server is not silent. A server needs a pong.
        if let Role::Client(_) = role {
            (self.since, self.pinged) = (now, false);
        }
    }

    /// Returns the time of the last input or ping.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    pub(super) fn received_pong(&mut self) {
        self.pinged = false;
    }

    pub(super) fn pause(&mut self, now: Instant, paused: bool) {
        *self = Liveness { paused, ..Liveness::new(now) };
    }

    /// Records that the next frame is not incomplete.
    pub(super) fn between_frames(&mut self) {
        self.receiving = false;
    }

    pub(super) fn deadline(&self, role: &Role) -> Option<Instant> {
        let interval = match role {
            Role::Client(_) if self.paused => Some(PAUSED_PONG_INTERVAL),
            Role::Client(config) => config.common.idle_timeout,
            Role::Server(config) => Some(config.ping_interval),
        };
        interval.map(|interval| after(self.since, interval))
    }

    /// Called at the time that [`Liveness::deadline`] returns.
    pub(super) fn handle_timeout(&mut self, now: Instant, role: &Role) -> Action {
        self.since = now;
        let receiving = std::mem::take(&mut self.receiving);
        if self.paused {
            return if matches!(role, Role::Client(_)) { Action::SendPong } else { Action::SendPing };
        }
        if self.pinged && !receiving {
            return Action::End;
        }
        self.pinged = true;
        Action::SendPing
    }
}
