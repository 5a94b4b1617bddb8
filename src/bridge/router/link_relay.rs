//! Every message of every link's peers goes through the rules, and on to other links.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use tokio::sync::Notify;

use crate::bridge::config::{LinkConfig, Operation};
use crate::bridge::link::{Exceptions, Whom};
use crate::bridge::management::denied::request_of;
use crate::bridge::management::registry::{Nodes, PeeringKey};
use crate::bridge::policy::{Denial, PeerPolicy, Reason};
use crate::bridge::router::batch::Bundle;
use crate::bridge::router::delivered::{Delivered, Need};
use crate::bridge::router::denials::Denials;
use crate::bridge::router::links::{LinkSet, Target};
use crate::bridge::router::log_create;
use crate::bridge::router::origin::{Instance, MessageId, Origin};
use crate::bridge::router::sides::{At, Sides};
use crate::data::{EndpointId, Filter};
use crate::endpoint::{Blocked, Peer, Relay};
use crate::management::NodeMessage;
use crate::net::for_keeping;
use crate::wire::Envelope;

/// The time by tokio's clock, which tests can stop.
pub(in crate::bridge) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What all links of a bridge share.
#[derive(Debug)]
pub(in crate::bridge) struct Core {
    table: RwLock<Arc<LinkSet>>,
    nodes: Mutex<Timed>,
    /// Notified when the timer has to fire earlier than it was set for.
    timer: Notify,
    pub(in crate::bridge) denials: Denials,
    /// Whether denied requests are answered with a failure.
    pub(in crate::bridge) answer_denied: AtomicBool,
    pub(in crate::bridge) origin: Arc<Origin>,
    /// Locked before `nodes` where both are.
    delivered: Mutex<Delivered>,
    pub(in crate::bridge) sides: Sides,
}

#[derive(Debug)]
struct Timed {
    nodes: Nodes,
    /// The time that the timer is set for.
    armed: Option<Instant>,
}

/// Access to the registry of nodes. Sets the timer when it is dropped.
pub(in crate::bridge) struct NodesGuard<'a> {
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
    pub(in crate::bridge) fn new(operation: &Operation, origin: Origin) -> Self {
        Core {
            table: RwLock::new(Arc::new(LinkSet::empty())),
            nodes: Mutex::new(Timed { nodes: Nodes::new(operation.answer_in_flight), armed: None }),
            timer: Notify::new(),
            denials: Denials::default(),
            answer_denied: AtomicBool::new(operation.answer_denied),
            origin: Arc::new(origin),
            delivered: Mutex::default(),
            sides: Sides::default(),
        }
    }

    /// Applies a changed configuration.
    pub(in crate::bridge) fn set_operation(&self, operation: &Operation) {
        self.nodes().set_answer_in_flight(operation.answer_in_flight);
        self.answer_denied.store(operation.answer_denied, Ordering::Relaxed);
    }

    pub(in crate::bridge) fn table(&self) -> Arc<LinkSet> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(in crate::bridge) fn set_links(&self, table: LinkSet) {
        let old = std::mem::replace(
            &mut *self.table.write().unwrap_or_else(PoisonError::into_inner),
            Arc::new(table),
        );
        // Not while the lock is held: it may be the last to know of a link.
        drop(old);
    }

    fn delivered(&self) -> MutexGuard<'_, Delivered> {
        // No code panics while it holds the lock.
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::bridge) fn nodes(&self) -> NodesGuard<'_> {
        // No code panics while it holds the lock.
        let timed = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        NodesGuard { timed, timer: &self.timer }
    }

    /// Does what the registry of nodes has to do at certain times, whether there is traffic or not. Never returns.
    pub(in crate::bridge) async fn keep_time(self: Arc<Self>) {
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
pub(in crate::bridge) struct LinkRelay {
    pub(in crate::bridge) slot: usize,
    pub(in crate::bridge) core: Arc<Core>,
    name: Arc<str>,
    group: Option<Arc<str>>,
    /// How many peers are other bridges, and how many are not.
    peers: [AtomicUsize; 2],
    /// Whether it was logged that messages return over this link.
    warned: AtomicBool,
}

/// A message that may pass.
pub(in crate::bridge) struct Passing<'a> {
    pub(in crate::bridge) table: &'a LinkSet,
    pub(in crate::bridge) policy: &'a PeerPolicy,
    pub(in crate::bridge) from: &'a Peer,
    /// The last hop that it named.
    pub(in crate::bridge) sender: EndpointId,
    /// The other bridge where it arrived first, if it did.
    pub(in crate::bridge) first: Option<Instance>,
    /// One hop further, with its id as the sender.
    pub(in crate::bridge) envelope: Envelope,
    pub(in crate::bridge) since: Option<Instant>,
    /// The links that it may go to, and the rules that say so.
    pub(in crate::bridge) to: Vec<(usize, usize)>,
}

impl LinkRelay {
    pub(in crate::bridge) fn new(slot: usize, link: &LinkConfig, core: Arc<Core>) -> Self {
        LinkRelay {
            slot,
            core,
            name: link.name.as_str().into(),
            group: link.group.as_deref().map(Into::into),
            peers: Default::default(),
            warned: AtomicBool::new(false),
        }
    }

    fn at(&self) -> At<'_> {
        At { slot: self.slot, link: &self.name, group: self.group.as_ref() }
    }

    /// Forgets a peer's rules and nodes. May be called again.
    pub(in crate::bridge) fn forget(&self, peer: &Peer) {
        let table = self.core.table();
        table.forget(self.slot, peer);
        let answers = self.core.nodes().gone(self.key(peer), now());
        self.core.answer(&table, answers);
    }

    /// The number of peers of this one's kind.
    fn peers_like(&self, peer: &Peer) -> &AtomicUsize {
        let [bridges, others] = &self.peers;
        if self.core.origin.is_other_bridge(peer.id) { bridges } else { others }
    }

    /// Whether there are peers that are other bridges, and peers that are not.
    pub(in crate::bridge) fn has_peers(&self) -> [bool; 2] {
        self.peers.each_ref().map(|count| count.load(Ordering::Acquire) > 0)
    }

    /// Drops a message that this bridge has forwarded to another one before.
    fn returned(&self, from: &Peer, envelope: &Envelope) {
        self.core.denials.count("returned", &self.name, from);
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                link = %self.name, peer = %from.id, address = %from.address, topic = %envelope.topic,
                "a message that this bridge had forwarded over another link came back over this one and was dropped, as \
                 all that follow are; if both links lead to the same bridges, give them the same `group`"
            );
        }
    }

    /// Leaves of `to` what has no copy of this message yet, or none that can go as far.
    fn keep_new(
        delivered: &mut Delivered,
        id: MessageId,
        envelope: &Envelope,
        ttl: u16,
        to: &mut Vec<Target>,
    ) {
        let fingerprint = delivered.fingerprint(id, envelope);
        to.retain_mut(|target| {
            let need = delivered.record(fingerprint, target.slot, ttl);
            target.bridges_only = need == Need::Hops;
            need != Need::Nothing
        });
    }

    pub(in crate::bridge) fn key(&self, peer: &Peer) -> PeeringKey {
        PeeringKey { link: self.slot, peer: peer.id, peering: peer.peering.number() }
    }

    pub(in crate::bridge) fn refuse(
        &self,
        table: &LinkSet,
        reason: &'static str,
        from: &Peer,
        detail: impl FnOnce() -> String,
    ) {
        self.core.denials.refuse(reason, table.link(self.slot).map(|link| &**link), from, detail);
    }

    /// Handles what a message of the node API says that passes nowhere.
    fn refused(&self, passing: &Passing<'_>, node: Option<NodeMessage>, denial: Denial) -> Vec<Blocked> {
        let Some(here) = passing.table.link(self.slot) else { return Vec::new() };
        let name = match &node {
            Some(NodeMessage::Hello(hello)) => Some(&*hello.node),
            Some(NodeMessage::Response(response)) => response.result().node(),
            _ => None,
        };
        // Rules are for the other direction: a node is where agents are. What a peer may not send under this name, or at
        // all, is no sign of that.
        if denial.reason == Reason::EventNotAllowed
            && let Some(name) = name
        {
            self.core.nodes().seen_elsewhere(name);
        }
        match request_of(&passing.envelope, here.limits(), node, denial) {
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
        let (Some(here), Some(policy)) = (table.link(self.slot), table.policy(self.slot, from)) else {
            messages.for_each(drop);
            return Vec::new();
        };
        let origin = &self.core.origin;
        let from_bridge = origin.is_other_bridge(from.id);
        let mut bundle = Bundle::new(&self.core, &table, from, since);
        let mut to = Vec::new();
        // Held until all is handed on: another peer that brings the same messages must not overtake.
        let mut delivered: Option<MutexGuard<'_, Delivered>> = None;
        // Nothing more is taken while something waits for room.
        while bundle.forwarded.blocked.is_empty()
            && let Some(envelope) = messages.next()
        {
            let sender = envelope.sender;
            let id = from_bridge.then(|| MessageId::of(sender)).flatten();
            if id.is_some_and(|id| origin.is_ours(id)) {
                self.returned(from, &envelope);
                continue;
            }
            to.clear();
            let decision = policy.evaluate(&envelope, here.limits(), |slot, rule| {
                to.push(Target { slot, rule, bridges_only: false });
            });
            let own = here.endpoint.id();
            let log_create = log_create::is_addressed_to(own, &envelope, here.limits());
            if let Some(denial) = decision.denial {
                if log_create && !denial.invalid {
                    self.core.denials.count(log_create::REASON, &self.name, from);
                } else {
                    if let Some(rule) = denial.rule {
                        table.refused(rule, &denial);
                    }
                    self.refuse(&table, denial.reason.name(), from, || decision.detail().to_string());
                }
            }
            let (node, denial) = (decision.node, decision.denial);
            if to.is_empty() {
                if let Some(denial) = denial {
                    let first = id.map(|id| id.origin);
                    let to = Vec::new();
                    let passing =
                        Passing { table: &table, policy: &policy, from, sender, first, envelope, since, to };
                    bundle.forwarded.blocked.extend(self.refused(&passing, node, denial));
                }
                continue;
            }
            // A peer cannot choose the ttl, or its messages could go around in a loop of other relays for long.
            let ttl = envelope.ttl.saturating_sub(1).min(here.config.ttl);
            // Hellos and answers go once to each agent anyway, but which copy that is depends on who a node belongs to.
            let is_tracked = matches!(node, Some(NodeMessage::Hello(_) | NodeMessage::Response(_)));
            let mut is_copy = false;
            if let Some(id) = id.filter(|_| !is_tracked) {
                let delivered = delivered.get_or_insert_with(|| self.core.delivered());
                let before = to.len();
                Self::keep_new(delivered, id, &envelope, ttl, &mut to);
                is_copy = to.len() < before || to.iter().any(|target| target.bridges_only);
                if node.is_some() {
                    to.retain(|target| !target.bridges_only);
                }
                if to.is_empty() {
                    self.core.denials.count("duplicate", &self.name, from);
                    continue;
                }
            }
            // The bridge takes the place of the peers behind it that subscribe to the logs.
            let receiver = if log_create { EndpointId::NIL } else { envelope.receiver };
            let envelope = Envelope { ttl, receiver, ..envelope };
            let Some(message) = node else {
                bundle.add(envelope, id, &to, messages.size_hint().1.unwrap_or_default());
                continue;
            };
            bundle.send();
            let first = id.map(|id| id.origin);
            let id = id.unwrap_or_else(|| origin.next_id());
            let envelope = for_keeping(Envelope { sender: id.as_sender(), ..envelope });
            let to = to.iter().map(|target| (target.slot, target.rule)).collect();
            let passing =
                Passing { table: &table, policy: &policy, from, sender, first, envelope, since, to };
            // A copy of a request is no second request: its nodes have the first one, and are not denied to the agent.
            let blocked = match message {
                NodeMessage::Request(_) if is_copy => passing.on(),
                message => self.node_api(passing, message),
            };
            bundle.forwarded.blocked.extend(blocked);
        }
        bundle.send();
        bundle.forwarded.blocked
    }

    fn stands(&self, peer: &Peer) {
        self.peers_like(peer).fetch_add(1, Ordering::Release);
        if let Some(other) = self.core.sides.established(self.at(), peer) {
            tracing::warn!(
                link = %self.name, peer = %peer.id, address = %peer.address,
                "this link leads to the same bridge or endpoint as the link {other}, and both carry every message; give \
                 them the same `group`, so that one carries and the other takes over when it fails"
            );
        }
    }

    fn wants(&self, peer: &Peer, filter: &Filter) {
        self.core.sides.subscribed(self.at(), peer, filter);
        self.agent_wants(&self.core.table(), peer, filter);
    }

    fn gone(&self, peer: &Peer) {
        self.peers_like(peer).fetch_sub(1, Ordering::Release);
        self.core.sides.gone(self.at(), peer);
        self.forget(peer);
    }
}

impl Passing<'_> {
    /// Sends it on, to all who want it. What has to wait for room comes back.
    pub(in crate::bridge) fn on(self) -> Vec<Blocked> {
        let mut blocked = Vec::new();
        for (slot, rule) in &self.to {
            if let Some(link) = self.table.link(*slot) {
                self.table.passed(*rule, 1);
                let slots = self.to.iter().map(|(slot, _)| *slot);
                let whom = Whom::AllBut(Exceptions {
                    origins: [self.from.id, self.sender],
                    first: self.first,
                    standby: link.standby(slots, &self.envelope.topic),
                    bridges_only: false,
                });
                blocked.extend(link.send(&self.envelope, self.since, whom));
            }
        }
        blocked
    }
}
