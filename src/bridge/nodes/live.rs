//! Who is live, and which agents have been told.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::{Bounds, HelloRefused, MAX_HELLO, Owner, PeeringKey};
use crate::data::Topic;
use crate::management::MAX_NODE_NAME;
use crate::wire::Envelope;

/// A hello that was said over one peering, whether its name is still held by it or not.
type HelloId = u64;

#[derive(Debug, Default)]
pub(super) struct Live {
    names: HashMap<Arc<str>, Node>,
    /// How many of these each has.
    of_owner: HashMap<Owner, usize>,
    /// What was said over each peering, for as long as it stands.
    said: HashMap<PeeringKey, BTreeMap<Arc<str>, HelloId>>,
    agents: BTreeMap<PeeringKey, Agent>,
    next: HelloId,
}

/// A live node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) peering: PeeringKey,
    owner: Owner,
    hello: Envelope,
    id: HelloId,
    /// The first request that came after its hello.
    pub(super) since: u64,
}

#[derive(Debug, Default)]
struct Agent {
    wants: bool,
    told: HashSet<HelloId>,
}

impl Live {
    /// Whether the hello is taken. `Ok(true)`: the name changes hands, and what its old holder owes is lost.
    pub(super) fn admit(
        &self,
        from: PeeringKey,
        owner: &Owner,
        name: &str,
        hello: &Envelope,
        bounds: &Bounds,
    ) -> Result<bool, HelloRefused> {
        if name.len() > MAX_NODE_NAME {
            return Err(HelloRefused::NameTooLong { length: name.len() });
        }
        let length = hello.payload.len().saturating_add(hello.topic.as_bytes().len());
        if length > MAX_HELLO {
            return Err(HelloRefused::TooLarge { length });
        }
        let holder = self.names.get(name);
        if let Some(Node { peering, owner: other, .. }) = holder
            && *peering != from
            && other != owner
        {
            return Err(HelloRefused::NameTaken { holder: *peering });
        }
        if self
            .said
            .get(&from)
            .is_some_and(|said| said.len() >= bounds.names_per_peering && !said.contains_key(name))
        {
            return Err(HelloRefused::TooManyOfPeering);
        }
        if holder.is_none() && self.names.len() >= bounds.names {
            return Err(HelloRefused::TooMany);
        }
        if holder.is_none() && self.of_owner.get(owner).is_some_and(|names| *names >= bounds.names_per_owner)
        {
            return Err(HelloRefused::TooManyOfOwner);
        }
        Ok(holder.is_some_and(|holder| holder.peering != from))
    }

    /// A hello that was admitted. Returns the agents to tell.
    pub(super) fn hello(
        &mut self,
        from: PeeringKey,
        owner: Owner,
        name: &str,
        hello: &Envelope,
        since: u64,
        mut passes: impl FnMut(PeeringKey) -> bool,
    ) -> Vec<PeeringKey> {
        let name = self.names.get_key_value(name).map_or_else(|| name.into(), |(name, _)| name.clone());
        let id = *self.said.entry(from).or_default().entry(name.clone()).or_insert_with(|| {
            self.next = self.next.saturating_add(1);
            self.next
        });
        if self.names.get(&name).is_none_or(|node| node.peering != from) {
            let node = Node { peering: from, owner: owner.clone(), hello: detached(hello), id, since };
            if self.names.insert(name, node).is_none() {
                let names = self.of_owner.entry(owner).or_default();
                *names = names.saturating_add(1);
            }
        }
        self.agents
            .iter_mut()
            .filter_map(|(agent, state)| {
                let due = state.wants && *agent != from && !state.told.contains(&id) && passes(*agent);
                (due && state.told.insert(id)).then_some(*agent)
            })
            .collect()
    }

    pub(super) fn agent_wants(
        &mut self,
        agent: PeeringKey,
        mut passes: impl FnMut(PeeringKey, &Envelope) -> bool,
    ) -> Vec<(Arc<str>, Envelope)> {
        let state = self.agents.entry(agent).or_default();
        state.wants = true;
        self.names
            .iter()
            .filter(|(_, node)| {
                node.peering != agent
                    && !state.told.contains(&node.id)
                    && passes(node.peering, &node.hello)
                    && state.told.insert(node.id)
            })
            .map(|(name, node)| (name.clone(), node.hello.clone()))
            .collect()
    }

    pub(super) fn agent_wants_no_more(&mut self, agent: PeeringKey) {
        if let Some(state) = self.agents.get_mut(&agent) {
            state.wants = false;
        }
    }

    /// A peering ended. Returns the names that are not live any more.
    pub(super) fn gone(&mut self, peering: PeeringKey) -> Vec<Arc<str>> {
        self.agents.remove(&peering);
        let Some(said) = self.said.remove(&peering) else { return Vec::new() };
        for state in self.agents.values_mut() {
            for id in said.values() {
                state.told.remove(id);
            }
        }
        let held = |name: &Arc<str>| self.names.get(name).is_some_and(|node| node.peering == peering);
        let lost: Vec<_> = said.into_keys().filter(held).collect();
        for name in &lost {
            if let Some(Node { owner, .. }) = self.names.remove(name)
                && let Entry::Occupied(mut names) = self.of_owner.entry(owner)
            {
                *names.get_mut() = names.get().saturating_sub(1);
                if *names.get() == 0 {
                    names.remove();
                }
            }
        }
        lost
    }

    pub(super) fn get(&self, name: &str) -> Option<(&Arc<str>, &Node)> {
        self.names.get_key_value(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Node)> {
        self.names.iter()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.names.len(), self.of_owner.values().sum::<usize>());
        assert!(self.of_owner.values().all(|names| *names > 0));
        let told = self.agents.values().map(|agent| agent.told.len()).sum();
        [self.names.len(), self.said.len(), self.agents.len(), told].iter().sum()
    }
}

/// The same bytes on their own: a cut-out would keep all of the buffer that it was read into.
fn detached(hello: &Envelope) -> Envelope {
    let topic = Topic::new(Bytes::copy_from_slice(hello.topic.as_bytes()));
    Envelope {
        topic: topic.unwrap_or_else(|_| hello.topic.clone()),
        payload: Bytes::copy_from_slice(&hello.payload),
        ..*hello
    }
}
