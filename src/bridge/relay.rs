//! Every message of every link's peers goes through the rules, and on to other links.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use tokio::sync::Notify;

use super::bundle::Bundle;
use super::config::Operation;
use super::denied::request_of;
use super::link::Whom;
use super::log_create;
use super::nodes::{Nodes, PeeringKey};
use super::refusals::Refusals;
use super::rules::{Gate, Reason, Refusal};
use super::table::Table;
use crate::data::{EndpointId, Filter};
use crate::endpoint::{Blocked, Peer, Relay};
use crate::management::NodeMessage;
use crate::net::for_keeping;
use crate::wire::{Envelope, INITIAL_TTL};

/// The time by tokio's clock, which tests can stop.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What all links of a bridge share.
#[derive(Debug)]
pub(super) struct Core {
    table: RwLock<Arc<Table>>,
    nodes: Mutex<Timed>,
    /// Notified when the timer has to fire earlier than it was set for.
    timer: Notify,
    pub(super) refusals: Refusals,
    /// Whether denied requests are answered with a failure.
    pub(super) answer_denied: AtomicBool,
}

#[derive(Debug)]
struct Timed {
    nodes: Nodes,
    /// What the timer is set for.
    armed: Option<Instant>,
}

/// Access to the registry of nodes. Sets the timer when it is dropped.
pub(super) struct NodesGuard<'a> {
    timed: MutexGuard<'a, Timed>,
    timer: &'a Notify,
}

impl Deref for NodesGuard<'_> {
    type Target = Nodes;

    fn deref(&self) -> &Nodes {
        &self.timed.nodes
    }
}

impl DerefMut for NodesGuard<'_> {
    fn deref_mut(&mut self) -> &mut Nodes {
        &mut self.timed.nodes
    }
}

impl Drop for NodesGuard<'_> {
    fn drop(&mut self) {
        let Timed { nodes, armed } = &mut *self.timed;
        if let Some(next) = nodes.next_due()
            && armed.is_none_or(|armed| next < armed)
        {
            *armed = Some(next);
            self.timer.notify_one();
        }
    }
}

impl Core {
    pub(super) fn new(operation: &Operation) -> Self {
        Core {
            table: RwLock::new(Arc::new(Table::empty())),
            nodes: Mutex::new(Timed { nodes: Nodes::new(operation.answer_in_flight), armed: None }),
            timer: Notify::new(),
            refusals: Refusals::default(),
            answer_denied: AtomicBool::new(operation.answer_denied),
        }
    }

    /// Applies a changed configuration.
    pub(super) fn set_operation(&self, operation: &Operation) {
        self.nodes().set_answer_in_flight(operation.answer_in_flight);
        self.answer_denied.store(operation.answer_denied, Ordering::Relaxed);
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

    pub(super) fn nodes(&self) -> NodesGuard<'_> {
        // No code panics while it holds the lock.
        let timed = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        NodesGuard { timed, timer: &self.timer }
    }

    /// Does what the registry of nodes has to do at certain times, whether there is traffic or not. Never returns.
    pub(super) async fn keep_time(self: Arc<Self>) {
        loop {
            let next = {
                let mut nodes = self.nodes();
                let next = nodes.next_due();
                nodes.timed.armed = next;
                next
            };
            let due = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => self.work_off(),
                () = self.timer.notified() => {}
            }
        }
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
    pub(super) gate: &'a Gate,
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
        let link = table.link(self.slot).map_or("", |link| &link.config.name);
        self.core.refusals.refuse(reason, (self.slot, link), from, detail);
    }

    /// Handles what a message of the node API says that passes nowhere.
    fn refused(&self, passing: &Passing<'_>, node: Option<NodeMessage>, refusal: Refusal) -> Vec<Blocked> {
        let Some(here) = passing.table.link(self.slot) else { return Vec::new() };
        let name = match &node {
            Some(NodeMessage::Hello(hello)) => Some(&*hello.node),
            Some(NodeMessage::Response(response)) => response.result().node(),
            _ => None,
        };
        // Rules are for the other direction: a node is where agents are. What a peer may not send under this name, or at
        // all, is no sign of that.
        if refusal.reason == Reason::EventNotAllowed
            && let Some(name) = name
        {
            self.core.nodes().seen_elsewhere(name);
        }
        match request_of(&passing.envelope, here.limits(), node, refusal) {
            Some(request) => self.deny(passing, &request),
            None => Vec::new(),
        }
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
            let own = here.endpoint.id();
            let log_create = log_create::is_addressed_to(own, &envelope, here.limits());
            if let Some(refusal) = judged.refusal {
                if log_create && !refusal.invalid {
                    self.core.refusals.count(log_create::REASON, (self.slot, &here.config.name), from);
                } else {
                    if let Some(rule) = refusal.rule {
                        table.refused(rule, &refusal);
                    }
                    self.refuse(&table, refusal.reason.name(), from, || judged.detail().to_string());
                }
            }
            let (node, refusal) = (judged.node, judged.refusal);
            if to.is_empty() {
                if let Some(refusal) = refusal {
                    let passing =
                        Passing { table: &table, gate: &gate, from, envelope, since, to: Vec::new() };
                    bundle.forwarded.blocked.extend(self.refused(&passing, node, refusal));
                }
                continue;
            }
            // The bridge is in the place of those behind it who subscribe to the logs.
            let receiver = if log_create { EndpointId::NIL } else { envelope.receiver };
            // No more hops than any message begins with, or a peer's could go around in a loop of bridges for long.
            let ttl = envelope.ttl.min(INITIAL_TTL).saturating_sub(1);
            let envelope = Envelope { ttl, receiver, ..envelope };
            let Some(message) = node else {
                bundle.add(envelope, &to, messages.size_hint().1.unwrap_or_default());
                continue;
            };
            bundle.send();
            let (envelope, to) = (for_keeping(envelope), std::mem::take(&mut to));
            let passing = Passing { table: &table, gate: &gate, from, envelope, since, to };
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
        let answers = self.core.nodes().gone(self.key(peer), now());
        self.core.answer(&table, answers);
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
