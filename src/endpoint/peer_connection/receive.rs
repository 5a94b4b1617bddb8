//! Handling of a peer's messages.

use std::time::Instant;

use super::PeerConnection;
use super::subscriptions::Member;
use crate::endpoint::blocked::Blocked;
use crate::endpoint::counters::Counters;
use crate::endpoint::message::Message;
use crate::endpoint::queue::Refused;
use crate::endpoint::routing::Routes;
use crate::net::{Session, for_keeping};
use crate::wire::{DecodeError, Envelope, EnvelopeType};
use crate::zeromq::EventFormat;

/// The latency of one batch is measured after this many messages.
pub(super) const SAMPLE_INTERVAL: usize = 64;

/// Received messages that the statistics do not contain yet. Other threads use the statistics too, so they are changed once for many
/// messages.
#[derive(Debug, Default)]
struct Uncounted {
    messages: usize,
    bytes: usize,
}

impl Uncounted {
    fn add(&mut self, envelope: &Envelope) {
        self.messages = self.messages.saturating_add(1);
        self.bytes = self.bytes.saturating_add(envelope.frame_length());
    }

    /// Adds the messages to the statistics.
    fn count(&mut self, stats: &Counters) {
        let Uncounted { messages, bytes } = std::mem::take(self);
        stats.received.add(messages);
        stats.received_bytes.add(bytes);
    }
}

impl<S: Session> PeerConnection<S> {
    /// Handles a message and the messages that were read together with it. Counts them, delivers them to subscribers, and
    /// hands them to the relay as one batch.
    pub(super) fn receive(&mut self, first: Envelope) {
        let sample = (self.unmeasured >= SAMPLE_INTERVAL).then(Instant::now);
        let routes = self.context.hub.routes.borrow().clone();
        let (mut uncounted, before) = (Uncounted::default(), self.inbox.len());
        let received = match self.connection.session().received_format() {
            None => self.receive_batch(&routes, first, &mut uncounted),
            Some(format) => self.receive_published(&routes, first, format, &mut uncounted),
        };
        uncounted.count(&self.context.stats);
        if let Some(counters) = &self.counters {
            counters.received.add(received);
        }
        let for_relay = self.inbox.len().saturating_sub(before);
        // If no message is for the relay, nothing is measured, and the time must not be used for the next batch.
        if for_relay > 0 {
            if sample.is_some() {
                self.unmeasured = 0;
                self.inbox.set_received(sample);
            }
            self.unmeasured = self.unmeasured.saturating_add(for_relay);
        }
        self.hand_to_relay();
    }

    /// Handles the messages of all protocols except ZeroMQ. Returns their number.
    fn receive_batch(&mut self, routes: &Routes, first: Envelope, uncounted: &mut Uncounted) -> usize {
        let mut messages = self.connection.take_messages();
        messages.push_front(first);
        let received = messages.len();
        messages.retain(|envelope| {
            uncounted.add(envelope);
            self.receive_one(routes, envelope, uncounted)
        });
        if self.context.relay.is_some() {
            self.inbox.append(messages);
        }
        received
    }

    /// Handles the messages of a peer in a ZeroMQ cluster. Returns their number. `format` is the format of the first one.
    fn receive_published(
        &mut self,
        routes: &Routes,
        first: Envelope,
        format: EventFormat,
        uncounted: &mut Uncounted,
    ) -> usize {
        if self.context.relay.is_some() {
            self.inbox.reserve(self.connection.pending_events().saturating_add(1));
        }
        let (mut next, mut received) = (Some((first, format)), 0usize);
        while let Some((envelope, format)) = next {
            received = received.saturating_add(1);
            uncounted.add(&envelope);
            self.context.cluster_format.note(format);
            if self.receive_one(routes, &envelope, uncounted) && self.context.relay.is_some() {
                let is_publisher = matches!(self.member, Some(Member::Publisher(_)));
                let session = self.connection.session();
                let text = |sender| if is_publisher { session.sender_text(sender) } else { None };
                let original = if is_publisher { self.connection.original() } else { None };
                self.inbox.push_from(envelope, format, original, text);
            }
            next = self.connection.next_message().zip(self.connection.session().received_format());
        }
        received
    }

    /// Delivers a message to subscribers. Returns whether it is also for the relay.
    fn receive_one(&mut self, routes: &Routes, envelope: &Envelope, uncounted: &mut Uncounted) -> bool {
        if envelope.topic.is_local() || self.receive_hello(envelope) {
            return false;
        }
        self.deliver(routes, envelope, uncounted);
        true
    }

    /// Hands the received messages to the relay until one is blocked. The messages after it stay in the inbox, so that
    /// order is preserved.
    pub(super) fn hand_to_relay(&mut self) {
        while self.blocked.is_empty() && !self.inbox.is_empty() {
            let Some((relay, peer)) = self.context.relay.as_deref().zip(self.peer.as_ref()) else { return };
            self.blocked = relay.on_messages(peer, &mut self.inbox);
            self.inbox.set_received(None);
        }
        self.inbox.shrink();
    }

    /// Hands all received messages to the relay after the connection has ended, for whatever reason.
    ///
    /// The connection cannot wait for room any more. Blocked messages are retried once. If there is still no room, they are
    /// dropped, and dropping them counts them. They are dropped before the messages after them are handed on, so that order
    /// is preserved.
    pub(super) fn hand_on_rest(&mut self) {
        Blocked::retry_all(&mut self.blocked, &self.room);
        self.blocked.clear();
        while !self.inbox.is_empty() && self.peer.is_some() && self.context.relay.is_some() {
            self.hand_to_relay();
            self.blocked.clear();
        }
    }

    /// Checks a message and delivers it to the subscribers of its topic. So subscribers never receive a message that cannot
    /// be decoded.
    fn deliver(&mut self, routes: &Routes, envelope: &Envelope, uncounted: &mut Uncounted) {
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
        // The sender is the peer of this connection, whatever the envelope contains.
        let name = self.connection.session().sender_name(envelope.sender);
        let sender = self.peer.as_ref().map_or(envelope.sender, |peer| peer.id);
        let envelope = Envelope { sender, ..for_keeping(envelope.clone()) };
        let limits = self.context.config.limits;
        let message = Message { envelope, limits, from: self.peer.clone(), sender: name };
        let stats = &self.context.stats;
        // A subscriber that has received a message finds it in the statistics.
        uncounted.count(stats);
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

    /// Counts a malformed message, and logs it. The level is debug for all but the first one of a peering, and if the peer's
    /// owner causes too many such lines.
    pub(super) fn malformed(&mut self, error: &DecodeError) {
        self.context.stats.malformed.one();
        self.malformed = self.malformed.saturating_add(1);
        let suppressed =
            if self.malformed == 1 { self.context.limiter.pass("malformed", &self.owner) } else { None };
        match suppressed {
            Some(suppressed) => tracing::warn!(
                suppressed,
                "dropped a malformed message: {error}; further ones of this peering are only counted"
            ),
            None => tracing::debug!("dropped a malformed message: {error}"),
        }
    }

    /// Retries the blocked messages. When all of them are queued, hands the messages in the inbox to the relay.
    ///
    /// `retry_all` registers `room` with the full queues. It must therefore run each time after the relay has returned
    /// blocked messages. Otherwise, nothing would wake this connection.
    pub(super) fn unblock(&mut self) {
        Blocked::retry_all(&mut self.blocked, &self.room);
        while self.blocked.is_empty() && !self.inbox.is_empty() {
            self.hand_to_relay();
            Blocked::retry_all(&mut self.blocked, &self.room);
        }
        self.connection.pause(!self.blocked.is_empty());
    }
}
