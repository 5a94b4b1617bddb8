//! The rules of a standing peering (protocol section 4).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::output::Output;
use super::{CloseReason, Config, Event, PeeringError, after};
use crate::data::EndpointId;
use crate::wire::{Envelope, EnvelopeType};

/// What a BYE's payload starts with; 8 bytes of the sender's choice follow.
const BYE: &[u8; 3] = b"BYE";
const BYE_LENGTH: usize = 11;

/// How often a peer that is not read from is told that this side is there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// The payload of the ping that asks a silent peer for a sign of life.
const STILL_THERE: &[u8] = b"still there?";

#[derive(Clone, Debug)]
pub(super) struct Peered {
    peer: EndpointId,
    last_heard: Instant,
    /// The peer was asked for a sign of life then.
    asked: Option<Instant>,
    /// This side has said BYE, and waits until then.
    leaving: Option<Instant>,
    /// The peer has said BYE.
    peer_leaving: bool,
    /// This side does not read, so that silence says nothing.
    paused: bool,
}

impl Peered {
    pub(super) const fn new(peer: EndpointId, now: Instant) -> Self {
        Peered { peer, last_heard: now, asked: None, leaving: None, peer_leaving: false, paused: false }
    }

    pub(super) const fn peer(&self) -> EndpointId {
        self.peer
    }

    pub(super) const fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Something came from the peer.
    pub(super) const fn heard(&mut self, now: Instant) {
        self.last_heard = now;
        self.asked = None;
    }

    /// The peer is not read from from now on, or again.
    pub(super) const fn pause(&mut self, now: Instant, paused: bool) {
        self.paused = paused;
        // What it says meanwhile cannot be heard, and had no time to be.
        self.heard(now);
    }

    /// One envelope. An envelope that cannot be read, or is for somebody else, is dropped.
    pub(super) fn handle_frame(
        &mut self,
        now: Instant,
        frame: &Bytes,
        config: &Config,
        out: &mut Output,
        events: &mut VecDeque<Event>,
    ) -> Result<(), CloseReason> {
        self.heard(now);
        let envelope = match Envelope::decode(frame) {
            Ok(envelope) => envelope,
            Err(error) => {
                events.push_back(Event::Malformed(error));
                return Ok(());
            }
        };
        let for_us = envelope.receiver.is_nil() || envelope.receiver == config.id;
        match envelope.kind {
            // Who a message is for is routing, and not decided here.
            EnvelopeType::Data | EnvelopeType::Command => events.push_back(Event::Message(envelope)),
            _ if !for_us => {}
            EnvelopeType::RoutingUpdate => events.push_back(match envelope.filter(&config.limits) {
                Ok(filter) => Event::FilterChanged(filter),
                Err(error) => Event::Malformed(error),
            }),
            EnvelopeType::Ping => {
                if is_bye(&envelope.payload) && !self.peer_leaving {
                    self.peer_leaving = true;
                    events.push_back(Event::PeerLeaving);
                }
                // A ping's bytes fitted a frame, and so does their echo.
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
            _ if self.paused => Some(SIGN_OF_LIFE),
            idle => idle,
        };
        let idle = idle.map(|idle| after(self.asked.unwrap_or(self.last_heard), idle));
        match (self.leaving, idle) {
            (Some(leaving), Some(idle)) => Some(leaving.min(idle)),
            (leaving, idle) => leaving.or(idle),
        }
    }

    /// The deadline has passed.
    pub(super) fn handle_timeout(
        mut self,
        now: Instant,
        config: &Config,
        out: &mut Output,
    ) -> Result<Self, CloseReason> {
        if self.leaving.is_some_and(|deadline| deadline <= now) {
            return Err(CloseReason::LeftUnconfirmed);
        }
        if self.asked.is_some() {
            return Err(PeeringError::Silent.into());
        }
        if self.paused {
            self.heard(now);
        } else {
            self.asked = Some(now);
        }
        let ping = Envelope::ping(config.id, self.peer, Bytes::from_static(STILL_THERE));
        let _ = out.push(config.id, &ping);
        Ok(self)
    }
}

fn is_bye(payload: &[u8]) -> bool {
    payload.len() == BYE_LENGTH && payload.starts_with(BYE)
}

/// The payload of this endpoint's BYE. One is said per peering, so the id makes it unique enough.
fn bye(id: EndpointId) -> Bytes {
    BYE.iter().chain(id.as_bytes()).copied().take(BYE_LENGTH).collect()
}
