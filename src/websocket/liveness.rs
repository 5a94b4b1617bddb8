//! Pings and timeouts of an established session.

use std::time::{Duration, Instant};

use super::Role;
use super::config::ClientConfig;
use crate::peering::after;

/// The interval of pongs to a server while its input is not read. Zeek's server closes a connection if it receives no pong
/// within its ping interval, which is 5 s by default. It accepts pongs without a ping.
const PAUSED_PONG_INTERVAL: Duration = Duration::from_secs(1);

/// A ping is sent after this many bytes of messages, so that the pongs of a slow peer show how much it has read. A peer that
/// reads fewer bytes for each interval of pings may be considered dead.
pub(super) const PING_EVERY: u64 = 128 * 1024;

/// The maximum number of intervals in which the connection accepts no bytes.
const MAX_MISSED: u64 = 12;

/// The maximum number of intervals to wait for a pong to a ping that is written. It is for large messages, which the operating
/// system buffers, and before whose end no ping can be sent.
const MAX_MISSED_AHEAD: u64 = 60;

/// The state of the pings. A position is a number of bytes since the start of the output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Liveness {
    /// The start of the current interval: the time of the last timeout, the time at which the last ping was written or, as a
    /// client, the time of the last input.
    since: Instant,
    /// The unanswered ping.
    ping: Option<Ping>,
    /// The number of bytes of output that the peer has certainly read.
    confirmed: u64,
    /// As a client, the number of bytes that were written at the last input.
    heard_at: u64,
    /// The position of the last ping.
    last_ping: u64,
    /// Whether the peer has confirmed more bytes since the last timeout.
    confirming: bool,
    /// The number of written bytes at the last timeout, if the connection had not accepted all queued bytes at that time.
    blocked_at: Option<u64>,
    /// Whether part of a frame has arrived since the last timeout. A pong cannot be sent within a frame.
    receiving: bool,
    /// Whether reading is paused. While it is, the peer's silence is ignored.
    paused: bool,
}

/// A ping that is not answered.
#[derive(Clone, Copy, Debug)]
struct Ping {
    /// The number of bytes before the ping.
    position: u64,
    is_written: bool,
    /// The number of intervals without a sign that the peer reads.
    missed: u64,
}

/// The action after a timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    SendPing,
    SendPong,
    Wait,
    End,
}

impl Liveness {
    pub(super) fn new(now: Instant) -> Self {
        Liveness {
            since: now,
            ping: None,
            confirmed: 0,
            heard_at: 0,
            last_ping: 0,
            confirming: false,
            blocked_at: None,
            receiving: false,
            paused: false,
        }
    }

    /// Records that bytes were received when `written` bytes were written.
    pub(super) fn received(&mut self, now: Instant, role: &Role, written: u64) {
        self.receiving = true;
        // A client checks only that the server is not silent. A server needs a pong.
        if let Role::Client(_) = role {
            (self.since, self.ping, self.heard_at) = (now, None, written);
        }
    }

    /// Returns the start of the current interval.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Returns whether a ping is due, because of the bytes that were queued since the last one.
    pub(super) fn needs_ping(&self, queued: u64) -> bool {
        queued.saturating_sub(self.last_ping) >= PING_EVERY
    }

    /// Returns the payload of a ping at this position.
    pub(super) fn ping(&mut self, position: u64) -> [u8; 8] {
        self.last_ping = position;
        position.to_be_bytes()
    }

    /// Records a pong. Returns whether the pong confirms that the peer has read more bytes. A pong without a ping shows that the
    /// peer is not dead, but not how much it has read.
    pub(super) fn received_pong(&mut self, payload: &[u8]) -> bool {
        let position = payload.try_into().map_or(0, u64::from_be_bytes);
        let is_answer = (self.confirmed..=self.last_ping).contains(&position) && position > self.confirmed;
        if is_answer {
            (self.confirmed, self.confirming) = (position, true);
        }
        // A pong that is known to answer an earlier ping does not answer the current ping.
        if self.ping.is_some_and(|ping| !is_answer || ping.position <= position) {
            self.ping = None;
        }
        is_answer
    }

    pub(super) fn pause(&mut self, now: Instant, paused: bool) {
        let Liveness { confirmed, heard_at, last_ping, .. } = *self;
        *self = Liveness { confirmed, heard_at, last_ping, paused, ..Liveness::new(now) };
    }

    /// Records that no incomplete frame is buffered.
    pub(super) fn between_frames(&mut self) {
        self.receiving = false;
    }

    /// Records how many bytes are written. The peer's time to answer a ping begins when the ping is written.
    pub(super) fn note_written(&mut self, written: u64, now: impl FnOnce() -> Instant) {
        if let Some(ping) = self.ping.as_mut().filter(|ping| !ping.is_written && ping.position < written) {
            (ping.is_written, ping.missed) = (true, 0);
            self.since = now();
        }
    }

    pub(super) fn deadline(&self, role: &Role) -> Option<Instant> {
        let interval = match role {
            Role::Client(_) if self.paused => Some(PAUSED_PONG_INTERVAL),
            Role::Client(config) => {
                config.common.idle_timeout.map(|idle| idle.min(ClientConfig::PING_INTERVAL))
            }
            Role::Server(config) => Some(config.ping_interval),
        };
        interval.map(|interval| after(self.since, interval))
    }

    /// Called at the time that [`Liveness::deadline`] returns. `queued` and `written` are numbers of bytes since the start of
    /// the output.
    ///
    /// A slow peer that reads is not dead. These are signs of life: a pong confirms bytes, part of a frame has arrived, or the
    /// connection has accepted bytes after a timeout at which it accepted no more. Without a sign, the peer has an interval for
    /// each [`PING_EVERY`] bytes that it may have to read before the ping, up to [`MAX_MISSED_AHEAD`]; while the ping is not written,
    /// up to [`MAX_MISSED`].
    pub(super) fn handle_timeout(&mut self, now: Instant, role: &Role, queued: u64, written: u64) -> Action {
        self.since = now;
        let blocked_at = std::mem::replace(&mut self.blocked_at, (written < queued).then_some(written));
        let reads = std::mem::take(&mut self.confirming) || blocked_at.is_some_and(|before| before < written);
        let receiving = std::mem::take(&mut self.receiving);
        if self.paused {
            return if matches!(role, Role::Client(_)) { Action::SendPong } else { Action::SendPing };
        }
        let Some(ping) = &mut self.ping else {
            self.ping = Some(Ping { position: queued, is_written: false, missed: 0 });
            return Action::SendPing;
        };
        ping.missed = if reads || receiving { 0 } else { ping.missed.saturating_add(1) };
        let ahead = ping.position.saturating_sub(self.confirmed.max(self.heard_at));
        let allowed = if ping.position < written {
            (ahead / PING_EVERY).min(MAX_MISSED_AHEAD)
        } else {
            MAX_MISSED.saturating_sub(1)
        };
        if ping.missed > allowed { Action::End } else { Action::Wait }
    }
}
