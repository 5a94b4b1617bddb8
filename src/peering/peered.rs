//! The established state of a peering (`PROTOCOL.md`, section 4).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::events::Events;
use super::output::Output;
use super::{CloseReason, Config, Event, PeeringError, after};
use crate::data::EndpointId;
use crate::wire::{Envelope, EnvelopeType};

/// The first bytes of a BYE's payload. Eight bytes of the sender's choice follow.
const BYE: &[u8; 3] = b"BYE";
const BYE_LENGTH: usize = 11;

/// The interval of pings to a peer whose input is paused, so that the peer does not consider this side dead.
const PAUSED_PING_INTERVAL: Duration = Duration::from_secs(10);

/// The payload of the ping that is sent to a silent peer.
const KEEPALIVE: &[u8] = b"still there?";

#[derive(Clone, Debug)]
pub(super) struct Peered {
    peer: EndpointId,
    last_received: Instant,
    /// The time of a ping to a silent peer that the peer has not answered yet.
    pinged: Option<Instant>,
    /// If this side has sent BYE: the time until which it waits for the confirmation.
    leaving: Option<Instant>,
    /// The peer has sent BYE.
    peer_leaving: bool,
    /// Whether reading is paused. While it is, the peer's silence is ignored.
    paused: bool,
}

impl Peered {
    pub(super) const fn new(peer: EndpointId, now: Instant) -> Self {
        Peered { peer, last_received: now, pinged: None, leaving: None, peer_leaving: false, paused: false }
    }

    pub(super) const fn peer(&self) -> EndpointId {
        self.peer
    }

    pub(super) const fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Records that bytes were received from the peer.
    pub(super) const fn received(&mut self, now: Instant) {
        self.last_received = now;
        self.pinged = None;
    }

    /// Records that this side stops or resumes reading.
    pub(super) const fn pause(&mut self, now: Instant, paused: bool) {
        self.paused = paused;
        // The peer's bytes are not read while paused, so the idle timeout starts again after the pause.
        self.received(now);
    }

    /// Handles one frame, including its length field. A malformed envelope is dropped and reported. A filter, ping or pong for a
    /// different endpoint is ignored.
    #[inline]
    pub(super) fn handle_frame(
        &mut self,
        frame: Bytes,
        config: &Config,
        out: &mut Output,
        events: &mut Events,
    ) -> Result<(), CloseReason> {
        let envelope = match Envelope::from_whole_frame(frame) {
            Ok(envelope) => envelope,
            Err(error) => {
                events.push(Event::Malformed(error));
                return Ok(());
            }
        };
        let for_us = envelope.receiver.is_nil() || envelope.receiver == config.id;
        match envelope.kind {
            // The receiver of a message is not checked here, because the caller routes messages.
            EnvelopeType::Data | EnvelopeType::Command => events.push_message(envelope),
            _ if !for_us => {}
            EnvelopeType::RoutingUpdate => events.push(match envelope.filter(&config.limits) {
                Ok(filter) => Event::FilterChanged(filter),
                Err(error) => Event::Malformed(error),
            }),
            EnvelopeType::Ping => {
                if is_bye(&envelope.payload) && !self.peer_leaving {
                    self.peer_leaving = true;
                    events.push(Event::PeerLeaving);
                }
                // Cannot fail: the pong is as long as the ping.
                let _ = out.push(config.id, &Envelope::pong(config.id, envelope.sender, envelope.payload));
            }
            EnvelopeType::Pong => {
                if self.is_leaving() && envelope.payload == bye(config.id) {
                    return Err(CloseReason::Left);
                }
            }
        }
        Ok(())
    }

    pub(super) fn leave(&mut self, now: Instant, config: &Config, out: &mut Output) {
        if self.leaving.is_none() {
            self.leaving = Some(after(now, config.leave_timeout));
            let _ = out.push(config.id, &Envelope::ping(config.id, self.peer, bye(config.id)));
        }
    }

    pub(super) const fn eof(&self) -> CloseReason {
        if self.peer_leaving {
            CloseReason::PeerLeft
        } else if self.is_leaving() {
            CloseReason::LeftUnconfirmed
        } else {
            CloseReason::Lost
        }
    }

    pub(super) fn deadline(&self, config: &Config) -> Option<Instant> {
        let idle = match config.idle_timeout {
            _ if self.paused => Some(PAUSED_PING_INTERVAL),
            idle => idle,
        };
        let idle = idle.map(|idle| after(self.pinged.unwrap_or(self.last_received), idle));
        match (self.leaving, idle) {
            (Some(leaving), Some(idle)) => Some(leaving.min(idle)),
            (leaving, idle) => leaving.or(idle),
        }
    }

    /// Called at the time that [`Peered::deadline`] returns.
    pub(super) fn handle_timeout(
        mut self,
        now: Instant,
        config: &Config,
        out: &mut Output,
    ) -> Result<Self, CloseReason> {
        if self.leaving.is_some_and(|deadline| deadline <= now) {
            return Err(CloseReason::LeftUnconfirmed);
        }
        if self.pinged.is_some() {
            return Err(PeeringError::Silent.into());
        }
        if self.paused {
            self.received(now);
        } else {
            self.pinged = Some(now);
        }
        let ping = Envelope::ping(config.id, self.peer, Bytes::from_static(KEEPALIVE));
        let _ = out.push(config.id, &ping);
        Ok(self)
    }
}

fn is_bye(payload: &[u8]) -> bool {
    payload.len() == BYE_LENGTH && payload.starts_with(BYE)
}

/// Returns the payload of this endpoint's BYE. It contains the beginning of the endpoint id. This makes it unique, because
/// an endpoint sends only one BYE in each peering.
fn bye(id: EndpointId) -> Bytes {
    BYE.iter().chain(id.as_bytes()).copied().take(BYE_LENGTH).collect()
}
