//! Messages that come and go together.

use std::sync::Arc;
use std::time::Instant;

use super::link::Whom;
use super::table::Table;
use crate::data::Topic;
use crate::endpoint::{Forwarded, Peer, Routes};
use crate::net::{FramesWriter, for_keeping};
use crate::wire::Envelope;

/// How many topics are remembered to go to the same peers.
const MOST_ALIKE: usize = 16;

/// Messages from one peer that follow each other and go the same way: written once for each link, and handed on together.
pub(super) struct Bundle<'a> {
    table: &'a Table,
    from: &'a Peer,
    since: Option<Instant>,
    /// The first of them.
    first: Option<Envelope>,
    /// Topics that go where the first one's goes.
    alike: Vec<Topic>,
    count: usize,
    /// The links that they go to, and the rules that say so.
    to: Vec<(usize, usize)>,
    /// By place in `to`, by what routes they go there.
    routes: Vec<Arc<Routes>>,
    /// By place in `to`. There may be more, of former times.
    writers: Vec<FramesWriter>,
    /// What became of those that were sent.
    pub(super) forwarded: Forwarded,
}

impl<'a> Bundle<'a> {
    pub(super) fn new(table: &'a Table, from: &'a Peer, since: Option<Instant>) -> Self {
        Bundle {
            table,
            from,
            since,
            first: None,
            alike: Vec::new(),
            count: 0,
            to: Vec::new(),
            routes: Vec::new(),
            writers: Vec::new(),
            forwarded: Forwarded::default(),
        }
    }

    /// Adds a message; perhaps as many as `more` follow. What goes another way, or leaves no room, is sent first.
    pub(super) fn add(&mut self, envelope: Envelope, to: &[(usize, usize)], more: usize) {
        if !self.takes(&envelope, to) {
            self.send();
            self.begin(to);
        }
        self.count = self.count.saturating_add(1);
        let whom = Whom::AllBut([self.from.id, envelope.sender]);
        for ((slot, _), writer) in self.to.iter().zip(&mut self.writers) {
            let Some(link) = self.table.link(*slot) else { continue };
            if link.is_chaotic() {
                // Each has a fate of its own.
                let since = self.since.take();
                self.forwarded.blocked.extend(link.send(&for_keeping(envelope.clone()), since, whom));
            } else if let Err(error) = writer.push(&envelope, link.endpoint.id(), more) {
                tracing::debug!(link = %link.config.name, "a message was not passed on: {error}");
            }
        }
        self.first.get_or_insert(envelope);
    }

    /// Whether whoever gets the first one gets this.
    fn takes(&mut self, envelope: &Envelope, to: &[(usize, usize)]) -> bool {
        let Some(first) = &self.first else { return false };
        let same = first.receiver == envelope.receiver && first.sender == envelope.sender && self.to == to;
        if !same || !self.writers.iter().all(|writer| writer.has_room(envelope)) {
            return false;
        }
        let topic = &envelope.topic;
        if first.topic == *topic || self.alike.contains(topic) {
            return true;
        }
        let alike = self.routes.iter().all(|routes| routes.go_together(&first.topic, topic));
        if alike && self.alike.len() < MOST_ALIKE {
            self.alike.push(topic.clone());
        }
        alike
    }

    fn begin(&mut self, to: &[(usize, usize)]) {
        if self.to != to {
            self.to.clear();
            self.to.extend_from_slice(to);
            self.writers.resize_with(self.writers.len().max(to.len()), FramesWriter::default);
        }
        self.alike.clear();
        self.routes.clear();
        let links = to.iter().map(|(slot, _)| self.table.link(*slot));
        self.routes.extend(links.map(|link| link.map(|link| link.endpoint.routes()).unwrap_or_default()));
    }

    /// Sends what there is, to all who want it.
    pub(super) fn send(&mut self) {
        let (Some(first), count) = (self.first.take(), std::mem::take(&mut self.count)) else { return };
        let whom = Whom::AllBut([self.from.id, first.sender]);
        for (((slot, rule), writer), routes) in self.to.iter().zip(&mut self.writers).zip(&self.routes) {
            let mut frames = writer.take();
            self.table.passed(*rule, count);
            let Some(link) = self.table.link(*slot) else { continue };
            if frames.messages() > 0 {
                frames.heard = self.since.take();
                link.send_frames(&frames, routes, &first, whom, &mut self.forwarded);
            }
        }
    }
}
