//! The live nodes, and the agents that were told of them.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::{
    Bounds, HELLO_EVERY, HelloRefused, MAX_HELLO, NAME_COST, Owner, Party, PeeringKey, Repeat, after, shrink,
};
use crate::bridge::LinkId;
use crate::bridge::router::origin::same_bridge;
use crate::data::Topic;
use crate::management::{DispatchRequest, MAX_NODE_NAME, NODE_TOPIC};
use crate::wire::Envelope;

/// A hello that was received over one peering, whether its name is held by it now or by a later one.
type HelloId = u64;

#[derive(Debug, Default)]
pub(super) struct Live {
    names: HashMap<Arc<str>, Node>,
    of_owner: HashMap<Owner, Use>,
    /// The names whose hello came over each peering, for as long as it is established.
    said: HashMap<PeeringKey, BTreeSet<Arc<str>>>,
    by_id: HashMap<HelloId, Arc<str>>,
    agents: BTreeMap<PeeringKey, Agent>,
    /// When which agent gets hellos again.
    repeats: BTreeSet<(Instant, PeeringKey)>,
    next: HelloId,
}

/// What the names of one owner take.
#[derive(Debug, Default, PartialEq)]
struct Use {
    names: usize,
    bytes: usize,
}

/// A live node.
#[derive(Debug)]
pub(super) struct Node {
    owner: Owner,
    /// The links that rules let its hello pass to.
    pub(super) links: Vec<LinkId>,
    /// The connections of its owner that sent a hello under this name and still exist. The last one holds the name. When
    /// that ends, the name goes back to the one before.
    before: Vec<Holder>,
    current: Holder,
}

#[derive(Debug)]
pub(super) struct Holder {
    pub(super) peering: PeeringKey,
    hello: Envelope,
    id: HelloId,
    /// The first request that came after its hello.
    pub(super) since: u64,
}

#[derive(Debug, Default)]
struct Agent {
    wants: bool,
    told: HashSet<HelloId>,
    /// Those of them whose node the agent has not asked.
    unasked: BTreeSet<HelloId>,
    /// When hellos are repeated; an entry of [`Live::repeats`].
    repeat_at: Option<Instant>,
    /// The last one that was repeated.
    repeated: HelloId,
}

impl Holder {
    fn bytes(&self, name: &str) -> usize {
        cost(name, &self.hello)
    }
}

/// How many bytes a hello counts.
fn cost(name: &str, hello: &Envelope) -> usize {
    let hello = hello.payload.len().saturating_add(hello.topic.as_bytes().len());
    NAME_COST.saturating_add(name.len()).saturating_add(hello)
}

impl Node {
    pub(super) fn current(&self) -> &Holder {
        &self.current
    }

    /// The holder, or a former one, of this peering.
    pub(super) fn holder(&self, peering: PeeringKey) -> Option<&Holder> {
        self.holders().find(|holder| holder.peering == peering)
    }

    fn holders(&self) -> impl Iterator<Item = &Holder> {
        self.before.iter().chain([&self.current])
    }

    fn let_pass_to(&mut self, link: LinkId) {
        if !self.links.contains(&link) {
            self.links.reserve_exact(1);
            self.links.push(link);
        }
    }
}

impl Live {
    /// Whether the hello is accepted.
    pub(super) fn admit(
        &self,
        from: &Party,
        name: &str,
        hello: &Envelope,
        bounds: &Bounds,
    ) -> Result<(), HelloRefused> {
        if name.len() > MAX_NODE_NAME {
            return Err(HelloRefused::NameTooLong { length: name.len() });
        }
        let length = hello.payload.len().saturating_add(hello.topic.as_bytes().len());
        if length > MAX_HELLO {
            return Err(HelloRefused::TooLarge { length });
        }
        let node = self.names.get(name);
        if let Some(node) = node {
            if node.holder(from.peering).is_some() {
                return Ok(());
            }
            if node.owner != from.owner {
                return Err(HelloRefused::NameTaken { holder: node.current.peering });
            }
        }
        if self.said.get(&from.peering).is_some_and(|said| said.len() >= bounds.names_per_peering) {
            return Err(HelloRefused::TooManyOfPeering);
        }
        let used = self.of_owner.get(&from.owner);
        if node.is_none() && self.names.len() >= bounds.names {
            return Err(HelloRefused::TooMany);
        }
        if node.is_none() && used.is_some_and(|used| used.names >= bounds.names_per_owner) {
            return Err(HelloRefused::TooManyOfOwner);
        }
        let bytes = used.map_or(0, |used| used.bytes).saturating_add(cost(name, hello));
        if bytes > from.share {
            return Err(HelloRefused::TooManyBytesOfOwner { share: from.share });
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
        links.iter().for_each(|link| node.let_pass_to(*link));
        let (id, holder, mut tell) = (node.current.id, node.current.peering, Vec::new());
        for (agent, state) in &mut self.agents {
            let is_itself = *agent == from.peering || *agent == holder;
            let due = state.wants && !is_itself && links.contains(&agent.link);
            if due && state.told.insert(id) {
                state.unasked.insert(id);
                tell.push(*agent);
            }
        }
        tell.iter().for_each(|agent| self.schedule(*agent, now));
        tell
    }

    /// Makes a peering the holder of a name. Returns the name as it is stored.
    fn hold(&mut self, from: &Party, name: &str, hello: &Envelope, since: u64) -> Arc<str> {
        let name = self.names.get_key_value(name).map_or_else(|| name.into(), |(name, _)| name.clone());
        let new = self.said.entry(from.peering).or_default().insert(name.clone());
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
            // Another path to the bridge that the node is behind. The name stays with the first path.
            Entry::Occupied(mut node) if new && is_other_path(node.get().current.peering, from.peering) => {
                let node = node.get_mut();
                node.before.reserve_exact(1);
                node.before.push(holder());
            }
            // A repeated hello is not a new claim. Nodes repeat their hellos, so two connections of one owner would take the
            // name from each other again and again.
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

    pub(super) fn subscribe(
        &mut self,
        agent: PeeringKey,
        mut passes: impl FnMut(PeeringKey, &Envelope) -> bool,
        now: Instant,
    ) -> Vec<(Arc<str>, Envelope)> {
        let state = self.agents.entry(agent).or_default();
        state.wants = true;
        let mut hellos = Vec::new();
        for (name, node) in &mut self.names {
            let Holder { peering, hello, id, .. } = &node.current;
            let due = *peering != agent && !state.told.contains(id) && passes(*peering, hello);
            if due && state.told.insert(*id) {
                state.unasked.insert(*id);
                hellos.push((name.clone(), hello.clone()));
                node.let_pass_to(agent.link);
            }
        }
        self.schedule(agent, now);
        hellos
    }

    pub(super) fn unsubscribe(&mut self, agent: PeeringKey) {
        if let Some(state) = self.agents.get_mut(&agent) {
            state.wants = false;
        }
    }

    /// Makes sure that an agent gets hellos again if there are any that it has not reacted to.
    fn schedule(&mut self, agent: PeeringKey, now: Instant) {
        if let Some(state) = self.agents.get_mut(&agent)
            && state.wants
            && state.repeat_at.is_none()
            && !state.unasked.is_empty()
        {
            let at = after(now, HELLO_EVERY);
            state.repeat_at = Some(at);
            self.repeats.insert((at, agent));
        }
    }

    /// The agent asks these nodes: it knows them.
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

    /// The hellos to repeat by now.
    pub(super) fn due(&mut self, bounds: &Bounds, now: Instant) -> Vec<Repeat> {
        let mut hellos = Vec::new();
        while let Some((at, agent)) = self.repeats.first().copied()
            && at <= now
        {
            self.repeats.pop_first();
            let Some(state) = self.agents.get_mut(&agent) else { continue };
            state.repeat_at = None;
            // Who says hello is a node, or a bridge to nodes, and not an agent that could have missed one. (Where rules
            // let all nodes hear each other, each would get the hellos of all others for ever.)
            if !state.wants || self.said.contains_key(&agent) {
                continue;
            }
            // They take turns: first those after the last one that was repeated.
            let (last, turn) = (state.repeated, &state.unasked);
            let turn = turn.range((Excluded(last), Unbounded)).chain(turn.range(..=last));
            for id in turn.take(bounds.hellos_at_once) {
                state.repeated = *id;
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

    /// Ends a peering. Returns the names that are not live any more, with the links that their hellos passed to.
    pub(super) fn gone(&mut self, peering: PeeringKey, now: Instant) -> Vec<(Arc<str>, Vec<LinkId>)> {
        if let Some(Agent { repeat_at: Some(at), .. }) = self.agents.remove(&peering) {
            self.repeats.remove(&(at, peering));
        }
        let mut lost = Vec::new();
        for name in self.said.remove(&peering).unwrap_or_default() {
            if let Some((id, links)) = self.release(peering, &name) {
                self.by_id.remove(&id);
                for state in self.agents.values_mut() {
                    state.told.remove(&id);
                    state.unasked.remove(&id);
                }
                lost.extend(links.map(|links| (name, links)));
            }
        }
        let agents: Vec<_> = self.agents.keys().copied().collect();
        agents.into_iter().for_each(|agent| self.schedule(agent, now));
        lost
    }

    /// Takes a name from a peering. Returns its hello, and the node's links if nobody holds the name any more.
    fn release(&mut self, peering: PeeringKey, name: &Arc<str>) -> Option<(HelloId, Option<Vec<LinkId>>)> {
        let node = self.names.get_mut(name)?;
        let owner = node.owner.clone();
        let (holder, links) = if let Some(at) = node.before.iter().position(|h| h.peering == peering) {
            (node.before.remove(at), None)
        } else if node.current.peering != peering {
            return None;
        } else if let Some(back) = node.before.pop() {
            // Agents that were told of the name need not be told again at once.
            for state in self.agents.values_mut().filter(|state| state.told.contains(&node.current.id)) {
                if state.told.insert(back.id) {
                    state.unasked.insert(back.id);
                }
            }
            (std::mem::replace(&mut node.current, back), None)
        } else {
            let node = self.names.remove(name)?;
            (node.current, Some(node.links))
        };
        if let Entry::Occupied(mut used) = self.of_owner.entry(owner) {
            let Use { names, bytes } = used.get_mut();
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
        shrink(&mut self.said);
        shrink(&mut self.by_id);
        self.agents.values_mut().for_each(|agent| {
            if agent.told.capacity() > agent.told.len().saturating_mul(4).saturating_add(64) {
                agent.told.shrink_to_fit();
            }
        });
    }

    pub(super) fn get(&self, name: &str) -> Option<(&Arc<str>, &Node)> {
        self.names.get_key_value(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Node)> {
        self.names.iter()
    }

    /// How much is remembered, after a check of all that is counted.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let mut used: HashMap<Owner, Use> = HashMap::new();
        for (name, node) in &self.names {
            let of_owner = used.entry(node.owner.clone()).or_default();
            of_owner.names = of_owner.names.saturating_add(1);
            let bytes = node.holders().map(|holder| holder.bytes(name)).sum();
            of_owner.bytes = of_owner.bytes.saturating_add(bytes);
        }
        assert_eq!(used, self.of_owner);
        let holders = self.names.values().flat_map(Node::holders).count();
        assert_eq!(holders, self.by_id.len());
        assert_eq!(holders, self.said.values().map(BTreeSet::len).sum::<usize>());
        assert!(self.agents.values().all(|agent| agent.unasked.iter().all(|id| agent.told.contains(id))));
        let repeats = self.agents.iter().filter_map(|(agent, state)| Some((state.repeat_at?, *agent)));
        assert_eq!(repeats.collect::<BTreeSet<_>>(), self.repeats);
        let told = self.agents.values().map(|agent| agent.told.len()).sum();
        [self.names.len(), holders, self.agents.len(), told].iter().sum()
    }
}

/// Whether two peerings over different links lead to the same bridge.
pub(super) fn is_other_path(one: PeeringKey, other: PeeringKey) -> bool {
    one.link != other.link && same_bridge(one.peer, other.peer)
}

/// The same bytes in memory of their own: a slice would keep the complete buffer that it was read into.
fn detached(hello: &Envelope) -> Envelope {
    let topic = if hello.topic == NODE_TOPIC {
        NODE_TOPIC.clone()
    } else {
        let topic = Topic::new(Bytes::copy_from_slice(hello.topic.as_bytes()));
        topic.unwrap_or_else(|_| hello.topic.clone())
    };
    Envelope { topic, payload: Bytes::copy_from_slice(&hello.payload), ..*hello }
}
