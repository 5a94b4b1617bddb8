//! The live nodes, and the agents that received their hellos.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::error::HelloError;
use super::limits::{Bounds, HELLO_EVERY, MAX_HELLO, NAME_COST, after, shrink};
use super::types::{Party, PeeringKey, Repeat};
use crate::bridge::LinkId;
use crate::bridge::router::origin::same_bridge;
use crate::data::Topic;
use crate::endpoint::Owner;
use crate::management::{DispatchRequest, MAX_NODE_NAME, NODE_TOPIC};
use crate::wire::Envelope;

/// The number of a hello. Each pair of a peering and a name has its own number, even if a different peering holds the
/// name.
type HelloId = u64;

#[derive(Debug, Default)]
pub(super) struct Live {
    names: HashMap<Arc<str>, Node>,
    of_owner: HashMap<Owner, Usage>,
    /// The names in the hellos of each established peering.
    names_of: HashMap<PeeringKey, BTreeSet<Arc<str>>>,
    by_id: HashMap<HelloId, Arc<str>>,
    agents: BTreeMap<PeeringKey, Agent>,
    /// The times at which hellos are repeated to agents.
    repeats: BTreeSet<(Instant, PeeringKey)>,
    next: HelloId,
}

/// The number and memory of the names of one owner.
#[derive(Debug, Default, PartialEq)]
struct Usage {
    names: usize,
    bytes: usize,
}

/// A live node.
#[derive(Debug)]
pub(super) struct Node {
    owner: Owner,
    /// The links to which rules allow its hello to be forwarded.
    pub(super) links: Vec<LinkId>,
    /// Peerings that held the name before, or that are a second path to the node, and that still exist. All have the
    /// same owner as the current holder. When the connection of the current holder ends, the last of these peerings
    /// becomes the holder.
    before: Vec<Holder>,
    current: Holder,
}

/// A peering that holds or held a name.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) peering: PeeringKey,
    hello: Envelope,
    id: HelloId,
    /// The number of the first request after this peering's hello.
    pub(super) since: u64,
}

#[derive(Debug, Default)]
struct Agent {
    subscribes: bool,
    /// The hellos that this agent received.
    received: HashSet<HelloId>,
    /// The hellos of the nodes to which this agent has not sent a request yet.
    unasked: BTreeSet<HelloId>,
    /// The next time at which hellos are repeated to this agent. It is also stored in [`Live::repeats`].
    repeat_at: Option<Instant>,
    /// The last hello that was repeated.
    last_repeated: HelloId,
}

impl Holder {
    fn bytes(&self, name: &str) -> usize {
        cost(name, &self.hello)
    }
}

/// Returns the memory of a name with its hello, in bytes.
fn cost(name: &str, hello: &Envelope) -> usize {
    let hello = hello.payload.len().saturating_add(hello.topic.as_bytes().len());
    NAME_COST.saturating_add(name.len()).saturating_add(hello)
}

impl Node {
    pub(super) fn current(&self) -> &Holder {
        &self.current
    }

    /// Returns the current or a former holder with this peering.
    pub(super) fn holder(&self, peering: PeeringKey) -> Option<&Holder> {
        self.holders().find(|holder| holder.peering == peering)
    }

    fn holders(&self) -> impl Iterator<Item = &Holder> {
        self.before.iter().chain([&self.current])
    }

    fn add_link(&mut self, link: LinkId) {
        if !self.links.contains(&link) {
            self.links.reserve_exact(1);
            self.links.push(link);
        }
    }
}

impl Live {
    /// Checks whether a hello is accepted.
    pub(super) fn admit(
        &self,
        from: &Party,
        name: &str,
        hello: &Envelope,
        bounds: &Bounds,
    ) -> Result<(), HelloError> {
        if name.len() > MAX_NODE_NAME {
            return Err(HelloError::NameTooLong { length: name.len() });
        }
        let length = hello.payload.len().saturating_add(hello.topic.as_bytes().len());
        if length > MAX_HELLO {
            return Err(HelloError::TooLarge { length });
        }
        let node = self.names.get(name);
        if let Some(node) = node {
            if node.holder(from.peering).is_some() {
                return Ok(());
            }
            if node.owner != from.owner {
                return Err(HelloError::NameTaken { holder: node.current.peering });
            }
        }
        if self.names_of.get(&from.peering).is_some_and(|names| names.len() >= bounds.names_per_peering) {
            return Err(HelloError::TooManyOfPeering);
        }
        let used = self.of_owner.get(&from.owner);
        if node.is_none() && self.names.len() >= bounds.names {
            return Err(HelloError::TooMany);
        }
        if node.is_none() && used.is_some_and(|used| used.names >= bounds.names_per_owner) {
            return Err(HelloError::TooManyOfOwner);
        }
        let bytes = used.map_or(0, |used| used.bytes).saturating_add(cost(name, hello));
        if bytes > from.share {
            return Err(HelloError::TooManyBytesOfOwner { share: from.share });
        }
        Ok(())
    }

    /// Records a hello that was admitted. Returns the agents to forward it to.
    pub(super) fn hello(
        &mut self,
        from: &Party,
        name: &str,
        hello: &Envelope,
        since: u64,
        links: &[LinkId],
        now: Instant,
    ) -> Vec<PeeringKey> {
        let name = self.hold(from, name, hello, since);
        let Some(node) = self.names.get_mut(&name) else { return Vec::new() };
        links.iter().for_each(|link| node.add_link(*link));
        let (id, holder, mut agents) = (node.current.id, node.current.peering, Vec::new());
        for (agent, state) in &mut self.agents {
            let is_itself = *agent == from.peering || *agent == holder;
            let due = state.subscribes && !is_itself && links.contains(&agent.link);
            if due && state.received.insert(id) {
                state.unasked.insert(id);
                agents.push(*agent);
            }
        }
        agents.iter().for_each(|agent| self.schedule(*agent, now));
        agents
    }

    /// Makes a peering the holder of a name. Returns the name as it is stored.
    fn hold(&mut self, from: &Party, name: &str, hello: &Envelope, since: u64) -> Arc<str> {
        let name = self.names.get_key_value(name).map_or_else(|| name.into(), |(name, _)| name.clone());
        let new = self.names_of.entry(from.peering).or_default().insert(name.clone());
        let used = self.of_owner.entry(from.owner.clone()).or_default();
        if new {
            self.next = self.next.saturating_add(1);
            self.by_id.insert(self.next, name.clone());
            used.bytes = used.bytes.saturating_add(cost(&name, hello));
        }
        let holder = || Holder { peering: from.peering, hello: detached(hello), id: self.next, since };
        match self.names.entry(name.clone()) {
            Entry::Vacant(vacant) => {
                used.names = used.names.saturating_add(1);
                let (owner, links, before) = (from.owner.clone(), Vec::new(), Vec::new());
                vacant.insert(Node { owner, links, before, current: holder() });
            }
            // The peering is a second path to the bridge that relays the node. The first path keeps the name.
            Entry::Occupied(mut node) if new && is_other_path(node.get().current.peering, from.peering) => {
                let node = node.get_mut();
                node.before.reserve_exact(1);
                node.before.push(holder());
            }
            // Only the first hello of a connection takes over the name. Otherwise, two connections of one owner would
            // take the name from each other again and again, because nodes repeat their hellos.
            Entry::Occupied(mut node) if new => {
                let node = node.get_mut();
                let former = std::mem::replace(&mut node.current, holder());
                node.before.reserve_exact(1);
                node.before.push(former);
            }
            Entry::Occupied(_) => {}
        }
        name
    }

    /// Records that an agent subscribes to hellos. Returns the hellos that rules allow the agent to receive and that it
    /// has not received yet.
    pub(super) fn subscribe(
        &mut self,
        agent: PeeringKey,
        mut allows: impl FnMut(PeeringKey, &Envelope) -> bool,
        now: Instant,
    ) -> Vec<(Arc<str>, Envelope)> {
        let state = self.agents.entry(agent).or_default();
        state.subscribes = true;
        let mut hellos = Vec::new();
        for (name, node) in &mut self.names {
            let Holder { peering, hello, id, .. } = &node.current;
            let due = *peering != agent && !state.received.contains(id) && allows(*peering, hello);
            if due && state.received.insert(*id) {
                state.unasked.insert(*id);
                hellos.push((name.clone(), hello.clone()));
                node.add_link(agent.link);
            }
        }
        self.schedule(agent, now);
        hellos
    }

    pub(super) fn unsubscribe(&mut self, agent: PeeringKey) {
        if let Some(state) = self.agents.get_mut(&agent) {
            state.subscribes = false;
        }
    }

    /// Schedules the repetition of hellos to an agent, if there are nodes to which the agent has sent no request yet.
    fn schedule(&mut self, agent: PeeringKey, now: Instant) {
        if let Some(state) = self.agents.get_mut(&agent)
            && state.subscribes
            && state.repeat_at.is_none()
            && !state.unasked.is_empty()
        {
            let at = after(now, HELLO_EVERY);
            state.repeat_at = Some(at);
            self.repeats.insert((at, agent));
        }
    }

    /// Records that an agent knows the nodes to which it sends a request.
    pub(super) fn asked(&mut self, agent: PeeringKey, request: &DispatchRequest) {
        let Some(state) = self.agents.get_mut(&agent) else { return };
        if request.nodes.is_empty() {
            state.unasked.clear();
        } else if !state.unasked.is_empty() {
            let nodes = request.nodes.iter().filter_map(|name| self.names.get(name.as_str()));
            for holder in nodes.flat_map(Node::holders) {
                state.unasked.remove(&holder.id);
            }
        }
    }

    /// Returns the hellos that are due for repetition.
    pub(super) fn due(&mut self, bounds: &Bounds, now: Instant) -> Vec<Repeat> {
        let mut hellos = Vec::new();
        while let Some((at, agent)) = self.repeats.first().copied()
            && at <= now
        {
            self.repeats.pop_first();
            let Some(state) = self.agents.get_mut(&agent) else { continue };
            state.repeat_at = None;
            // A peer that sends hellos is not an agent, but a node or a bridge with nodes. Without this check, if rules
            // allow hellos between nodes, every node would receive the repeated hellos of all other nodes forever.
            if !state.subscribes || self.names_of.contains_key(&agent) {
                continue;
            }
            // Nodes take turns, starting after the one that was repeated last.
            let (last, turn) = (state.last_repeated, &state.unasked);
            let turn = turn.range((Excluded(last), Unbounded)).chain(turn.range(..=last));
            for id in turn.take(bounds.hellos_at_once) {
                state.last_repeated = *id;
                let node = self.by_id.get(id).and_then(|name| self.names.get(name));
                if let Some(Holder { peering, hello, .. }) =
                    node.map(Node::current).filter(|holder| holder.id == *id)
                {
                    hellos.push(Repeat { to: agent, node: *peering, hello: hello.clone() });
                }
            }
            self.schedule(agent, now);
        }
        hellos
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.repeats.first().map(|(at, _)| *at)
    }

    /// Records the end of a peering. Returns the names that are no longer live, each with the links to which rules
    /// allowed its hello to be forwarded.
    pub(super) fn gone(&mut self, peering: PeeringKey, now: Instant) -> Vec<(Arc<str>, Vec<LinkId>)> {
        if let Some(Agent { repeat_at: Some(at), .. }) = self.agents.remove(&peering) {
            self.repeats.remove(&(at, peering));
        }
        let mut lost = Vec::new();
        for name in self.names_of.remove(&peering).unwrap_or_default() {
            if let Some((id, links)) = self.release(peering, &name) {
                self.by_id.remove(&id);
                for state in self.agents.values_mut() {
                    state.received.remove(&id);
                    state.unasked.remove(&id);
                }
                lost.extend(links.map(|links| (name, links)));
            }
        }
        let agents: Vec<_> = self.agents.keys().copied().collect();
        agents.into_iter().for_each(|agent| self.schedule(agent, now));
        lost
    }

    /// Removes a peering from the holders of a name. Returns the number of the peering's hello, and the links of the
    /// node if no holder is left.
    fn release(&mut self, peering: PeeringKey, name: &Arc<str>) -> Option<(HelloId, Option<Vec<LinkId>>)> {
        let node = self.names.get_mut(name)?;
        let owner = node.owner.clone();
        let (holder, links) = if let Some(at) = node.before.iter().position(|h| h.peering == peering) {
            (node.before.remove(at), None)
        } else if node.current.peering != peering {
            return None;
        } else if let Some(back) = node.before.pop() {
            // An agent that received the hello of the previous holder need not receive the hello of the new holder
            // immediately.
            for state in self.agents.values_mut().filter(|state| state.received.contains(&node.current.id)) {
                if state.received.insert(back.id) {
                    state.unasked.insert(back.id);
                }
            }
            (std::mem::replace(&mut node.current, back), None)
        } else {
            let node = self.names.remove(name)?;
            (node.current, Some(node.links))
        };
        if let Entry::Occupied(mut used) = self.of_owner.entry(owner) {
            let Usage { names, bytes } = used.get_mut();
            *bytes = bytes.saturating_sub(holder.bytes(name));
            *names = names.saturating_sub(usize::from(links.is_some()));
            if *names == 0 {
                used.remove();
            }
        }
        Some((holder.id, links))
    }

    pub(super) fn shrink(&mut self) {
        shrink(&mut self.names);
        shrink(&mut self.of_owner);
        shrink(&mut self.names_of);
        shrink(&mut self.by_id);
        self.agents.values_mut().for_each(|agent| {
            if agent.received.capacity() > agent.received.len().saturating_mul(4).saturating_add(64) {
                agent.received.shrink_to_fit();
            }
        });
    }

    pub(super) fn get(&self, name: &str) -> Option<(&Arc<str>, &Node)> {
        self.names.get_key_value(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Node)> {
        self.names.iter()
    }

    /// Returns the number of entries. Checks all counters and indices.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let mut usage: HashMap<Owner, Usage> = HashMap::new();
        for (name, node) in &self.names {
            let of_owner = usage.entry(node.owner.clone()).or_default();
            of_owner.names = of_owner.names.saturating_add(1);
            let bytes = node.holders().map(|holder| holder.bytes(name)).sum();
            of_owner.bytes = of_owner.bytes.saturating_add(bytes);
        }
        assert_eq!(usage, self.of_owner);
        let holders = self.names.values().flat_map(Node::holders).count();
        assert_eq!(holders, self.by_id.len());
        assert_eq!(holders, self.names_of.values().map(BTreeSet::len).sum::<usize>());
        assert!(self.agents.values().all(|agent| agent.unasked.iter().all(|id| agent.received.contains(id))));
        let repeats = self.agents.iter().filter_map(|(agent, state)| Some((state.repeat_at?, *agent)));
        assert_eq!(repeats.collect::<BTreeSet<_>>(), self.repeats);
        let received = self.agents.values().map(|agent| agent.received.len()).sum();
        [self.names.len(), holders, self.agents.len(), received].iter().sum()
    }
}

/// Returns whether two peerings over different links lead to the same bridge.
pub(super) fn is_other_path(one: PeeringKey, other: PeeringKey) -> bool {
    one.link != other.link && same_bridge(one.peer, other.peer)
}

/// Copies a hello into its own allocation. A slice would keep the complete receive buffer in memory.
fn detached(hello: &Envelope) -> Envelope {
    let topic = if hello.topic == NODE_TOPIC {
        NODE_TOPIC.clone()
    } else {
        let topic = Topic::new(Bytes::copy_from_slice(hello.topic.as_bytes()));
        topic.unwrap_or_else(|_| hello.topic.clone())
    };
    Envelope { topic, payload: Bytes::copy_from_slice(&hello.payload), ..*hello }
}
