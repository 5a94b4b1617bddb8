//! Groups the messages of one peer into batches that are encoded and queued together.

use std::sync::Arc;

use super::core::Core;
use super::links::{LinkSet, Target, Translate};
use super::origin::{Instance, MessageId};
use crate::bridge::LinkId;
use crate::bridge::audience::{Audience, Exceptions};
use crate::bridge::outlet::Route;
use crate::data::{EndpointId, Topic};
use crate::endpoint::{Forwarded, Peer};
use crate::net::{Batch, Published, Room};
use crate::wire::Envelope;

/// The maximum length of `OutgoingBatch::same_topics`.
const MAX_SAME_TOPICS: usize = 16;

/// Consecutive messages from one peer that have the same recipients: encoded once for each link, and queued together.
pub(in crate::bridge) struct OutgoingBatch<'a> {
    core: &'a Core,
    links: &'a LinkSet,
    /// The link over which the messages were received.
    source: LinkId,
    from: &'a Peer,
    batch: Batch,
    /// The number of messages at the front of the received batch that were added. Their envelopes are already changed. They are moved
    /// to `batch` together.
    accepted: usize,
    room: Room,
    /// The sender in the envelope of the first message as it was received.
    sender: EndpointId,
    /// How the messages were published, if they are from a ZeroMQ cluster.
    published: Option<Published>,
    /// The first bridge on the path of the messages, if they have ids. It is the same for all messages of the batch.
    instance: Option<Instance>,
    /// More topics that have the same subscribers as the first topic of the batch.
    same_topics: Vec<Topic>,
    /// The links that the messages are sent to.
    to: Vec<Target>,
    /// One lane for each element of `to`. Additional lanes are unused, and are kept so that later batches can reuse
    /// their buffers.
    lanes: Vec<Lane>,
    /// Whether peers that are other bridges may receive the messages.
    has_bridges: bool,
    /// The result of sending.
    pub(in crate::bridge) forwarded: Forwarded,
}

/// The sending state for one link.
#[derive(Default)]
struct Lane {
    route: Route,
    /// See [`Exceptions::standby`].
    standby: Option<Arc<[EndpointId]>>,
    /// Translates topics for this link, if that is necessary.
    translate: Option<Translate>,
    /// The translated topic of the first message, if it is different. All messages of the batch have the same topic then.
    topic: Option<Topic>,
}

impl<'a> OutgoingBatch<'a> {
    /// Returns an empty batch for messages from the received batch.
    pub(in crate::bridge) fn new(
        core: &'a Core,
        links: &'a LinkSet,
        source: LinkId,
        from: &'a Peer,
        received: &Batch,
    ) -> Self {
        let mut batch = Batch::default();
        batch.set_received(received.received());
        OutgoingBatch {
            core,
            links,
            source,
            from,
            batch,
            accepted: 0,
            room: Room::NONE,
            sender: EndpointId::NIL,
            published: None,
            instance: None,
            same_topics: Vec::new(),
            to: Vec::new(),
            lanes: Vec::new(),
            has_bridges: false,
            forwarded: Forwarded::default(),
        }
    }

    /// Returns the index of the next message in the received batch. The messages before it were added.
    pub(in crate::bridge) fn next_index(&self) -> usize {
        self.accepted
    }

    /// Adds the next message of the received batch, with its id if it has one, and with a new ttl and receiver. If the message has
    /// different recipients than the batch, or the batch has no room for it, first sends the batch and begins a new one.
    pub(in crate::bridge) fn add(
        &mut self,
        received: &mut Batch,
        id: Option<MessageId>,
        ttl: u16,
        receiver: EndpointId,
        to: &[Target],
    ) {
        let Some(envelope) = received.get(self.accepted) else { return };
        let published = received.published(self.accepted);
        let instance = id.map(|id| id.origin);
        let format = |published: &Published| published.format;
        let same_format = self.published.as_ref().map(format) == published.map(format);
        if self.instance != instance || !same_format || !self.accepts(received, envelope, receiver, to) {
            self.send(received);
            let Some(first) = received.get(0) else { return };
            self.begin(to, first);
            self.instance = instance;
            self.published = received.published(0).cloned();
        }
        let sender = self.new_sender(id);
        if let Some(envelope) = received.get_mut(self.accepted) {
            (envelope.sender, envelope.ttl, envelope.receiver) = (sender, ttl, receiver);
        }
        self.accepted = self.accepted.saturating_add(1);
    }

    /// Adds the messages that follow the last one, at most `count`, as long as they have its sender and receiver, `is_same` returns true,
    /// and there is room. `is_same` must return false for a message that has an id, another topic or other recipients. Each ttl is decreased,
    /// and limited to `max_ttl`.
    pub(in crate::bridge) fn add_following(
        &mut self,
        received: &mut Batch,
        count: usize,
        max_ttl: u16,
        is_same: impl Fn(&Envelope) -> bool,
    ) {
        let Some(last) = self.accepted.checked_sub(1).and_then(|last| received.get(last)) else { return };
        let receiver = last.receiver;
        for envelope in received.iter_mut_from(self.accepted).take(count) {
            let same = envelope.sender == self.sender && envelope.receiver == receiver;
            if !same || !self.room.is_enough(envelope) || !is_same(envelope) {
                return;
            }
            self.room.take(envelope);
            envelope.sender = self.new_sender(None);
            envelope.ttl = envelope.ttl.saturating_sub(1).min(max_ttl);
            self.accepted = self.accepted.saturating_add(1);
        }
    }

    /// Removes the next message from the received batch.
    pub(in crate::bridge) fn take(&mut self, received: &mut Batch) -> Option<Envelope> {
        self.collect(received);
        received.pop()
    }

    /// Moves the messages that were added out of the received batch.
    fn collect(&mut self, received: &mut Batch) {
        received.move_front(std::mem::take(&mut self.accepted), &mut self.batch);
    }

    /// Returns the sender of a message in this batch. Only other bridges receive the id. It is the same on all links, so that these bridges
    /// recognize copies of the message.
    fn new_sender(&self, id: Option<MessageId>) -> EndpointId {
        match id {
            Some(id) => id.as_sender(),
            None if self.has_bridges => self.core.origin.next_id().as_sender(),
            None => EndpointId::NIL,
        }
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().take(self.to.len())
    }

    /// Returns whether a message of the received batch has the same recipients as this batch, and the batch has room for the message.
    fn accepts(
        &mut self,
        received: &Batch,
        envelope: &Envelope,
        receiver: EndpointId,
        to: &[Target],
    ) -> bool {
        let Some(first) = self.batch.first().or_else(|| received.first().filter(|_| self.accepted > 0))
        else {
            return false;
        };
        // If the messages have ids, these ids are in the sender fields, which are therefore always different. The
        // caller compares `instance` instead.
        let same_origin = self.sender == envelope.sender || self.instance.is_some();
        let same = first.receiver == receiver && same_origin && self.to == to;
        // Messages that are sent as they were received are not copied, so they need no room.
        let is_copied = match self.accepted {
            0 => !self.batch.has_all_originals(),
            _ => !self.batch.is_empty() || !received.has_all_originals(),
        };
        if !same || (is_copied && !self.room.is_enough(envelope)) {
            return false;
        }
        self.room.take(envelope);
        let topic = &envelope.topic;
        if first.topic == *topic || self.same_topics.contains(topic) {
            return true;
        }
        if self.lanes().any(|lane| lane.translate.is_some()) {
            return false;
        }
        let same_subscribers =
            self.lanes().all(|lane| lane.route.routes.have_same_subscribers(&first.topic, topic));
        if same_subscribers && self.same_topics.len() < MAX_SAME_TOPICS {
            self.same_topics.push(topic.clone());
        }
        same_subscribers
    }

    /// Begins a batch with this message as the first one.
    fn begin(&mut self, to: &[Target], envelope: &Envelope) {
        self.sender = envelope.sender;
        self.room = Room::after(envelope);
        self.same_topics.clear();
        if self.to != to {
            self.to.clear();
            self.to.extend_from_slice(to);
            self.lanes.resize_with(self.lanes.len().max(to.len()), Lane::default);
        }
        let links = to.iter().map(|target| target.link);
        for (lane, target) in self.lanes.iter_mut().zip(to) {
            let encoders = std::mem::take(&mut lane.route.encoders);
            *lane = match self.links.link(target.link) {
                Some(link) => {
                    let translate = self.links.translation(self.source, target.link);
                    let topic = translate.and_then(|translate| translate(&envelope.topic));
                    let standby = link.standby(links.clone(), topic.as_ref().unwrap_or(&envelope.topic));
                    let route = link.route(encoders, target.bridges_only);
                    Lane { route, standby, translate, topic }
                }
                None => Lane::default(),
            };
        }
        let has_bridges = self.lanes().any(|lane| lane.route.has_bridges());
        self.has_bridges = has_bridges;
    }

    /// Sends the messages that were added from the received batch, and removes them from it.
    pub(in crate::bridge) fn send(&mut self, received: &mut Batch) {
        self.collect(received);
        if self.batch.is_empty() {
            return;
        }
        self.batch.set_following(received.len());
        for (target, lane) in self.to.iter().zip(&mut self.lanes) {
            let messages = if target.bridges_only { 0 } else { self.batch.len() };
            self.links.count_forwarded(target.rule, self.source, target.link, messages);
            let Some(link) = self.links.link(target.link) else { continue };
            let audience = Audience::AllExcept(Exceptions {
                origins: [self.from.id, self.from.last_hop(self.sender)],
                first: self.instance,
                standby: lane.standby.clone(),
                bridges_only: target.bridges_only,
                published: self.published.clone().filter(|_| target.link == self.source),
            });
            let before = self.forwarded.recipients();
            let original = lane.topic.as_ref().and_then(|topic| {
                let original = self.batch.first()?.topic.clone();
                self.batch.set_topic(topic);
                Some(original)
            });
            link.send_batch(&self.batch, &mut lane.route, &audience, &mut self.forwarded);
            if let Some(original) = original {
                self.batch.set_topic(&original);
            }
            // Take the sample of the latency on only one link: the first on which a peer receives the batch.
            if self.forwarded.recipients() > before {
                self.batch.set_received(None);
            }
        }
        self.batch.clear();
    }
}
