//! Messages that come and go together.

use std::time::Instant;

use super::link::Whom;
use super::table::Table;
use crate::endpoint::{Forwarded, Peer};
use crate::net::{FramesWriter, for_keeping};
use crate::wire::Envelope;

/// Messages from one peer that follow each other and go the same way: written once for each link, and handed on together.
pub(super) struct Bundle<'a> {
    table: &'a Table,
    from: &'a Peer,
    since: Option<Instant>,
    /// The first of them.
    first: Option<Envelope>,
    count: usize,
    /// The links that they go to, and the rules that say so.
    to: Vec<(usize, usize)>,
    /// By place in `to`.
    frames: Vec<FramesWriter>,
    /// What became of those that were sent.
    pub(super) forwarded: Forwarded,
}

impl<'a> Bundle<'a> {
    pub(super) fn new(table: &'a Table, from: &'a Peer, since: Option<Instant>) -> Self {
        let forwarded = Forwarded::default();
        Bundle { table, from, since, first: None, count: 0, to: Vec::new(), frames: Vec::new(), forwarded }
    }

    /// Adds a message; perhaps as many as `more` follow. What goes another way is sent first.
    pub(super) fn add(&mut self, envelope: Envelope, to: &[(usize, usize)], more: usize) {
        if !self.first.as_ref().is_some_and(|first| go_together(first, &envelope) && self.to == to) {
            self.send();
            self.to.clear();
            self.to.extend_from_slice(to);
            self.frames.resize_with(self.frames.len().max(to.len()), FramesWriter::default);
        }
        self.count = self.count.saturating_add(1);
        let whom = Whom::AllBut([self.from.id, envelope.sender]);
        let mut full = false;
        for ((slot, _), frames) in self.to.iter().zip(&mut self.frames) {
            let Some(link) = self.table.link(*slot) else { continue };
            if link.is_chaotic() {
                // Each has a fate of its own.
                self.forwarded.blocked.extend(link.send(&for_keeping(envelope.clone()), self.since, whom));
            } else if let Err(error) = frames.push(&envelope, link.endpoint.id(), more) {
                tracing::debug!(link = %link.config.name, "a message was not passed on: {error}");
            }
            full |= frames.is_full();
        }
        self.first.get_or_insert(envelope);
        if full {
            self.send();
        }
    }

    /// Sends what there is, to all who want it.
    pub(super) fn send(&mut self) {
        let (Some(first), count) = (self.first.take(), std::mem::take(&mut self.count)) else { return };
        let whom = Whom::AllBut([self.from.id, first.sender]);
        for ((slot, rule), writer) in self.to.iter().zip(&mut self.frames) {
            let mut frames = writer.take();
            let Some(link) = self.table.link(*slot) else { continue };
            self.table.passed(*rule, count);
            if frames.messages() > 0 {
                frames.heard = self.since.take();
                link.send_frames(&frames, &first, whom, &mut self.forwarded);
            }
        }
    }
}

/// Whether whoever gets the one gets the other.
fn go_together(one: &Envelope, other: &Envelope) -> bool {
    one.topic == other.topic && one.receiver == other.receiver && one.sender == other.sender
}
