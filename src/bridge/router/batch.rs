//! Messages that come and go together.

use std::sync::Arc;
use std::time::Instant;

use crate::bridge::link::{Exceptions, Whom};
use crate::bridge::router::core::Core;
use crate::bridge::router::links::{LinkSet, Target};
use crate::bridge::router::origin::{Instance, MessageId};
use crate::data::{EndpointId, Topic};
use crate::endpoint::{Forwarded, Peer, Routes};
use crate::net::{FramesWriter, for_keeping};
use crate::wire::Envelope;

/// How many topics are remembered to go to the same peers.
const MOST_ALIKE: usize = 16;

/// Messages from one peer that follow each other and go the same way: written once for each link, and handed on together.
pub(in crate::bridge) struct Batch<'a> {
    core: &'a Core,
    links: &'a LinkSet,
    from: &'a Peer,
    since: Option<Instant>,
    /// The first of them.
    first: Option<Envelope>,
    /// The bridge where all of them arrived first, if they have ids.
    instance: Option<Instance>,
    /// Topics that go where the first one's goes.
    alike: Vec<Topic>,
    count: usize,
    /// The links that they go to.
    to: Vec<Target>,
    /// By place in `to`.
    lanes: Vec<Lane>,
    /// By place in `to`, for other bridges and for the other peers. There may be more, of former times.
    writers: Vec<[FramesWriter; 2]>,
    /// What became of those that were sent.
    pub(in crate::bridge) forwarded: Forwarded,
}

/// How messages go to one link.
#[derive(Default)]
struct Lane {
    routes: Arc<Routes>,
    /// Whether anybody there is another bridge, and whether anybody is not.
    has_peers: [bool; 2],
    /// As in [`Exceptions`].
    standby: Option<Arc<[EndpointId]>>,
}

/// By place in [`Lane::has_peers`]: whether these are other bridges.
const BRIDGES: [bool; 2] = [true, false];

impl<'a> Batch<'a> {
    pub(in crate::bridge) fn new(
        core: &'a Core,
        links: &'a LinkSet,
        from: &'a Peer,
        since: Option<Instant>,
    ) -> Self {
        Batch {
            core,
            links,
            from,
            since,
            first: None,
            instance: None,
            alike: Vec::new(),
            count: 0,
            to: Vec::new(),
            lanes: Vec::new(),
            writers: Vec::new(),
            forwarded: Forwarded::default(),
        }
    }

    /// Adds a message, with its id if it has one; perhaps as many as `more` follow. What goes another way, or leaves no room,
    /// is sent first.
    pub(in crate::bridge) fn add(
        &mut self,
        envelope: Envelope,
        id: Option<MessageId>,
        to: &[Target],
        more: usize,
    ) {
        let instance = id.map(|id| id.origin);
        if self.instance != instance || !self.takes(&envelope, to) {
            self.send();
            self.begin(to, &envelope.topic);
            self.instance = instance;
        }
        self.count = self.count.saturating_add(1);
        // Without bridges there, it needs none.
        let mut id = id;
        let mut id = || *id.get_or_insert_with(|| self.core.origin.next_id());
        for ((target, lane), writers) in self.to.iter().zip(&self.lanes).zip(&mut self.writers) {
            let Some(link) = self.links.link(target.link) else { continue };
            if link.is_chaotic() {
                // Each has a fate of its own.
                let since = self.since.take();
                let whom = lane.whom(self.from, self.instance, &envelope, *target);
                let named = Envelope { sender: id().as_sender(), ..for_keeping(envelope.clone()) };
                self.forwarded.blocked.extend(link.send(&named, since, whom));
                continue;
            }
            for ((bridges, writer), has_peers) in BRIDGES.into_iter().zip(writers).zip(lane.has_peers) {
                if !has_peers || (target.bridges_only && !bridges) {
                    continue;
                }
                let sender = if bridges { id().as_sender() } else { link.endpoint.id() };
                if let Err(error) = writer.push(&envelope, sender, more) {
                    tracing::debug!(link = %link.config.name, "a message was not passed on: {error}");
                }
            }
        }
        self.first.get_or_insert(envelope);
    }

    /// Whether whoever gets the first one gets this.
    fn takes(&mut self, envelope: &Envelope, to: &[Target]) -> bool {
        let Some(first) = &self.first else { return false };
        // Where messages have ids, that is their sender.
        let same_origin = first.sender == envelope.sender || self.instance.is_some();
        let same = first.receiver == envelope.receiver && same_origin && self.to == to;
        if !same || !self.writers.iter().flatten().all(|writer| writer.has_room(envelope)) {
            return false;
        }
        let topic = &envelope.topic;
        if first.topic == *topic || self.alike.contains(topic) {
            return true;
        }
        let alike = self.lanes.iter().all(|lane| lane.routes.go_together(&first.topic, topic));
        if alike && self.alike.len() < MOST_ALIKE {
            self.alike.push(topic.clone());
        }
        alike
    }

    fn begin(&mut self, to: &[Target], topic: &Topic) {
        if self.to != to {
            self.to.clear();
            self.to.extend_from_slice(to);
            self.writers.resize_with(self.writers.len().max(to.len()), Default::default);
        }
        self.alike.clear();
        self.lanes.clear();
        let ids = to.iter().map(|target| target.link);
        self.lanes.extend(ids.clone().map(|id| {
            let Some(link) = self.links.link(id) else { return Lane::default() };
            // Before it is asked who is there: whoever is in the routes is counted by then.
            let routes = link.endpoint.routes();
            Lane { routes, has_peers: link.has_peers(), standby: link.standby(ids.clone(), topic) }
        }));
    }

    /// Sends what there is, to all who want it.
    pub(in crate::bridge) fn send(&mut self) {
        let (Some(first), count) = (self.first.take(), std::mem::take(&mut self.count)) else { return };
        for ((target, lane), writers) in self.to.iter().zip(&self.lanes).zip(&mut self.writers) {
            self.links.count_passed(target.rule, if target.bridges_only { 0 } else { count });
            let Some(link) = self.links.link(target.link) else { continue };
            let whom = lane.whom(self.from, self.instance, &first, *target);
            for (bridges, writer) in BRIDGES.into_iter().zip(writers) {
                let mut frames = writer.take();
                if frames.messages() > 0 {
                    frames.heard = self.since.take();
                    link.send_frames(&frames, bridges, &lane.routes, &first, &whom, &mut self.forwarded);
                }
            }
        }
    }
}

impl Lane {
    fn whom(&self, from: &Peer, first: Option<Instance>, envelope: &Envelope, target: Target) -> Whom {
        Whom::AllBut(Exceptions {
            origins: [from.id, envelope.sender],
            first,
            standby: self.standby.clone(),
            bridges_only: target.bridges_only,
        })
    }
}
