//! What is done with a peer's messages.

use std::time::Instant;

use super::PeerConnection;
use crate::endpoint::blocked::Blocked;
use crate::endpoint::message::Message;
use crate::endpoint::queue::Refused;
use crate::endpoint::routing::Routes;
use crate::net::for_keeping;
use crate::wire::{DecodeError, Envelope, EnvelopeType};

/// Of so many messages, and those that came along with them, one is timed.
pub(super) const TIMED: usize = 64;

impl PeerConnection {
    /// Gives this message, and those behind it that were read with it, to the relay and to the subscribers that want
    /// them. What the relay does not take now stays where it is.
    pub(super) fn hear(&mut self, first: Envelope) {
        let Some((relay, peer)) = self.context.relay.clone().zip(self.peer.clone()) else {
            let routes = self.context.hub.routes.borrow().clone();
            let mut next = Some(first);
            while let Some(envelope) = next {
                self.receive(&routes, &envelope);
                next = self.connection.next_message();
            }
            return;
        };
        // While somebody is blocked here, nothing is heard but what still came before the connection's end. For
        // order's sake, what is blocked is then given up first.
        self.blocked.clear();
        let since = (self.untimed >= TIMED).then(Instant::now);
        if since.is_some() {
            self.untimed = 0;
        }
        let routes = self.context.hub.routes.borrow().clone();
        self.blocked =
            relay.heard(&peer, &mut Messages { first: Some(first), link: self, routes: &routes }, since);
    }

    /// Counts a message, and gives it to the subscribers; says whether it may be passed on.
    fn receive(&mut self, routes: &Routes, envelope: &Envelope) -> bool {
        let stats = &self.context.stats;
        stats.received.one();
        stats.received_bytes.add(envelope.frame_length());
        let local = envelope.topic.is_local();
        if !local {
            self.deliver(routes, envelope);
        }
        !local
    }

    /// Gives a message to the subscribers that want it. It is checked first, so that they need
    /// not expect what cannot be decoded.
    fn deliver(&mut self, routes: &Routes, envelope: &Envelope) {
        let for_us = envelope.receiver.is_nil() || envelope.receiver == self.context.id;
        if envelope.kind != EnvelopeType::Data || !for_us {
            return;
        }
        let mut subscribers = routes.subscribers(&envelope.topic).peekable();
        if subscribers.peek().is_none() {
            return;
        }
        if let Err(error) = envelope.check(&self.context.config.limits) {
            self.malformed(&error);
            return;
        }
        // The last hop is the one it came over, whatever it says.
        let sender = self.peer.as_ref().map_or(envelope.sender, |peer| peer.id);
        let envelope = Envelope { sender, ..for_keeping(envelope.clone()) };
        let limits = self.context.config.limits;
        let message = Message { envelope, limits, from: self.peer.clone() };
        let stats = &self.context.stats;
        for subscriber in subscribers {
            match subscriber.try_push(&message) {
                Ok(()) => stats.delivered.one(),
                Err(Refused::Ended) => {}
                Err(Refused::Full) => {
                    if stats.dropped.add(1) == 0 {
                        tracing::warn!("a subscriber is too slow: messages for it are dropped");
                    }
                }
            }
        }
    }

    pub(super) fn malformed(&mut self, error: &DecodeError) {
        self.context.stats.malformed.one();
        self.malformed = self.malformed.saturating_add(1);
        let (link, address) = (self.context.config.label.as_deref(), &self.address);
        let peer = self.peer.as_ref().map(|peer| tracing::field::display(peer.id));
        // Once for each peering, and not for each of many short ones.
        let suppressed =
            if self.malformed == 1 { self.context.limiter.pass("malformed", &self.owner) } else { None };
        match suppressed {
            Some(suppressed) => {
                tracing::warn!(
                    link, %address, peer, suppressed,
                    "dropped a malformed message: {error}; further ones of this peering are only counted"
                );
            }
            None => tracing::debug!(link, %address, peer, "dropped a malformed message: {error}"),
        }
    }

    /// Tries again to hand on what blocks this connection.
    pub(super) fn unblock(&mut self) {
        Blocked::retry_all(&mut self.blocked, &self.room);
        self.connection.pause(!self.blocked.is_empty());
    }
}

/// The messages at hand, each received as it is taken.
struct Messages<'a> {
    first: Option<Envelope>,
    link: &'a mut PeerConnection,
    routes: &'a Routes,
}

impl Iterator for Messages<'_> {
    type Item = Envelope;

    fn next(&mut self) -> Option<Envelope> {
        loop {
            let envelope = self.first.take().or_else(|| self.link.connection.next_message())?;
            if self.link.receive(self.routes, &envelope) {
                self.link.untimed = self.link.untimed.saturating_add(1);
                return Some(envelope);
            }
        }
    }

    /// At least none, and about as many as there are at hand.
    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.link.connection.messages_at_hand().saturating_add(self.first.iter().len())))
    }
}
