//! What passes: every message of every link's peers goes through the rules, and on to other links.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use super::bundle::Bundle;
use super::link::Whom;
use super::nodes::{Nodes, PeeringKey};
use super::refusals::Refusals;
use super::table::Table;
use crate::data::Filter;
use crate::endpoint::{Blocked, Peer, Relay};
use crate::net::for_keeping;
use crate::wire::{Envelope, INITIAL_TTL};

/// What all links of a bridge have in common.
#[derive(Debug)]
pub(super) struct Core {
    table: RwLock<Arc<Table>>,
    nodes: Mutex<Nodes>,
    pub(super) refusals: Refusals,
}

impl Core {
    pub(super) fn new(answer_in_flight: bool) -> Self {
        Core {
            table: RwLock::new(Arc::new(Table::empty())),
            nodes: Mutex::new(Nodes::new(answer_in_flight)),
            refusals: Refusals::default(),
        }
    }

    pub(super) fn table(&self) -> Arc<Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_table(&self, table: Table) {
        let old = std::mem::replace(
            &mut *self.table.write().unwrap_or_else(PoisonError::into_inner),
            Arc::new(table),
        );
        // Not while the lock is held: it may be the last to know of a link.
        drop(old);
    }

    pub(super) fn nodes(&self) -> MutexGuard<'_, Nodes> {
        // No code panics while it holds the lock.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one link's endpoint tells of its peers.
#[derive(Debug)]
pub(super) struct LinkRelay {
    pub(super) slot: usize,
    pub(super) core: Arc<Core>,
}

/// A message that may pass.
pub(super) struct Passing<'a> {
    pub(super) table: &'a Table,
    pub(super) from: &'a Peer,
    /// One hop further.
    pub(super) envelope: Envelope,
    pub(super) since: Option<Instant>,
    /// The links that it may go to, and the rules that say so.
    pub(super) to: Vec<(usize, usize)>,
}

impl LinkRelay {
    pub(super) fn key(&self, peer: &Peer) -> PeeringKey {
        PeeringKey { link: self.slot, peer: peer.id, peering: peer.peering.number() }
    }

    pub(super) fn refuse(
        &self,
        table: &Table,
        reason: &'static str,
        from: &Peer,
        detail: impl FnOnce() -> String,
    ) {
        self.core.refusals.refuse(reason, table.link(self.slot).map(|link| &**link), from, detail);
    }
}

impl Relay for LinkRelay {
    fn heard(
        &self,
        from: &Peer,
        messages: &mut dyn Iterator<Item = Envelope>,
        since: Option<Instant>,
    ) -> Vec<Blocked> {
        let table = self.core.table();
        let (Some(here), Some(gate)) = (table.link(self.slot), table.gate(self.slot, from)) else {
            messages.for_each(drop);
            return Vec::new();
        };
        let mut bundle = Bundle::new(&table, from, since);
        let mut to = Vec::new();
        // Nothing more is taken while something waits for room.
        while bundle.forwarded.blocked.is_empty()
            && let Some(envelope) = messages.next()
        {
            to.clear();
            let judged = gate.judge(&envelope, here.limits(), |slot, rule| to.push((slot, rule)));
            if let Some(refusal) = judged.refusal {
                if let Some(rule) = refusal.rule {
                    table.refused(rule, &refusal);
                }
                self.refuse(&table, refusal.reason.name(), from, || judged.detail().to_string());
            }
            if to.is_empty() {
                continue;
            }
            let node = judged.node;
            // No more hops than any message begins with, or a peer's could go around in a loop of bridges for long.
            let envelope = Envelope { ttl: envelope.ttl.min(INITIAL_TTL).saturating_sub(1), ..envelope };
            let Some(message) = node else {
                bundle.add(envelope, &to, messages.size_hint().1.unwrap_or_default());
                continue;
            };
            bundle.send();
            let (envelope, to) = (for_keeping(envelope), std::mem::take(&mut to));
            let passing = Passing { table: &table, from, envelope, since, to };
            bundle.forwarded.blocked.extend(self.node_api(passing, message));
        }
        bundle.send();
        bundle.forwarded.blocked
    }

    fn stands(&self, _: &Peer) {}

    fn wants(&self, peer: &Peer, filter: &Filter) {
        self.agent_wants(&self.core.table(), peer, filter);
    }

    fn gone(&self, peer: &Peer) {
        let table = self.core.table();
        table.forget(self.slot, peer);
        let answers = self.core.nodes().gone(self.key(peer), Instant::now());
        self.answer(&table, answers);
    }
}

impl Passing<'_> {
    /// Sends it on, to all who want it. What has to wait for room comes back.
    pub(super) fn on(self) -> Vec<Blocked> {
        let whom = Whom::AllBut([self.from.id, self.envelope.sender]);
        let mut blocked = Vec::new();
        for (slot, rule) in self.to {
            if let Some(link) = self.table.link(slot) {
                self.table.passed(rule, 1);
                blocked.extend(link.send(&self.envelope, self.since, whom));
            }
        }
        blocked
    }
}
