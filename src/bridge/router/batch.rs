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
use crate::net::{Batch, Original, Published};
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
        batch.reserve(received.len());
        batch.set_received(received.received());
        OutgoingBatch {
            core,
            links,
            source,
            from,
            batch,
            sender: EndpointId::NIL,
            published: None,
            instance: None,
            same_topics: Vec::new(),
            to: Vec::new(),
            lanes: Vec::new(),
            forwarded: Forwarded::default(),
        }
    }

    /// Adds a message, with its id if it has one. If the message has different recipients than the batch, or the batch
    /// has no room for it, first sends the batch and begins a new one. `more` is the maximum number of messages that
    /// follow in the same call. `published` is [`Batch::published`], and `original` is [`Batch::original`].
    pub(in crate::bridge) fn add(
        &mut self,
        envelope: Envelope,
        id: Option<MessageId>,
        to: &[Target],
        more: usize,
        published: Option<&Published>,
        original: Option<Original<'_>>,
    ) {
        let instance = id.map(|id| id.origin);
        let format = |published: &Published| published.format;
        let same_format = self.published.as_ref().map(format) == published.map(format);
        if self.instance != instance || !same_format || !self.accepts(&envelope, to) {
            self.batch.set_following(more.saturating_add(1));
            self.send();
            self.begin(to, &envelope);
            self.instance = instance;
            self.published = published.cloned();
        }
        self.batch.set_following(more);
        // Only other bridges receive the id. It is the same on all links, so that these bridges recognize copies of the
        // message.
        let has_bridges = self.lanes().any(|lane| lane.route.has_bridges());
        let sender = match id {
            Some(id) => id.as_sender(),
            None if has_bridges => self.core.origin.next_id().as_sender(),
            None => EndpointId::NIL,
        };
        self.batch.push_original(Envelope { sender, ..envelope }, original);
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().take(self.to.len())
    }

    /// Returns whether a message has the same recipients as this batch, and the batch has room for the message.
    fn accepts(&mut self, envelope: &Envelope, to: &[Target]) -> bool {
        let Some(first) = self.batch.first() else { return false };
        // If the messages have ids, these ids are in the sender fields, which are therefore always different. The
        // caller compares `instance` instead.
        let same_origin = self.sender == envelope.sender || self.instance.is_some();
        let same = first.receiver == envelope.receiver && same_origin && self.to == to;
        if !same || !self.batch.has_room(envelope) {
            return false;
        }
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

    fn begin(&mut self, to: &[Target], envelope: &Envelope) {
        self.sender = envelope.sender;
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
    }

    /// Sends the messages that were added.
    pub(in crate::bridge) fn send(&mut self) {
        if self.batch.is_empty() {
            return;
        }
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
