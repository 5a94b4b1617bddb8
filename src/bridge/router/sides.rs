//! Peerings that lead to the same remote side: one endpoint, or one bridge, connected over several links.
//!
//! In a group of links, one peering with each remote side is active and carries the messages; the others are on standby. The
//! one that was established first is active. So a peering that ends and is established again goes on standby.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;

use crate::bridge::LinkId;
use crate::bridge::router::origin::Instance;
use crate::data::{EndpointId, Filter, Topic};
use crate::endpoint::{Owner, Peer};

/// Maximum number of pairs of links for which a logged warning is remembered. Beyond it, all are forgotten.
const MAX_WARNED: usize = 1024;

/// The peerings for which parallel paths are detected: all peerings with bridges, and all peerings on links with a
/// group.
#[derive(Debug, Default)]
pub(in crate::bridge) struct Sides(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    sides: HashMap<Side, Vec<Member>>,
    /// For each group, the remote sides that are reached by more than one of its peerings.
    parallel: HashMap<Arc<str>, HashSet<Side>>,
    /// The pairs of links for which a warning was logged.
    warned: HashSet<[LinkId; 2]>,
}

/// The remote side of a peering.
///
/// It includes the owner: the certificate, or without one the host. Endpoint ids are not secret, so a peer that uses
/// the id of another peer must not be able to replace it. As a consequence, links without certificates are recognized
/// as parallel only if they lead to the same host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Side {
    endpoint: SideId,
    owner: Owner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum SideId {
    Bridge(Instance),
    Endpoint(EndpointId),
}

/// One peering.
#[derive(Clone, Debug)]
struct Member {
    link: LinkId,
    name: Arc<str>,
    group: Option<Arc<str>>,
    peer: EndpointId,
    peering: u64,
    filter: Arc<Filter>,
}

impl Side {
    fn of(peer: &Peer) -> Self {
        let endpoint = Instance::of(peer.id).map_or(SideId::Endpoint(peer.id), SideId::Bridge);
        Side { endpoint, owner: peer.owner.clone() }
    }
}

/// The link of a peering.
#[derive(Clone, Copy, Debug)]
pub(in crate::bridge) struct At<'a> {
    pub(in crate::bridge) link: LinkId,
    pub(in crate::bridge) name: &'a Arc<str>,
    pub(in crate::bridge) group: Option<&'a Arc<str>>,
}

impl At<'_> {
    /// Returns whether the peer is recorded: if it is a bridge, or if its link is in a group.
    fn records(self, peer: &Peer) -> bool {
        self.group.is_some() || Instance::of(peer.id).is_some()
    }
}

impl Sides {
    /// Records an established peering. Returns another link that leads to the same remote side and is not in the same group,
    /// once for each pair of links.
    pub(in crate::bridge) fn established(&self, at: At<'_>, peer: &Peer) -> Option<Arc<str>> {
        if !at.records(peer) {
            return None;
        }
        let side = Side::of(peer);
        let mut state = self.0.write();
        let State { sides, warned, .. } = &mut *state;
        let members = sides.entry(side.clone()).or_default();
        let is_parallel = |member: &&Member| {
            member.link != at.link && (at.group.is_none() || member.group.as_ref() != at.group)
        };
        let parallel = members.iter().find(is_parallel).map(|member| (member.link, member.name.clone()));
        members.push(Member {
            link: at.link,
            name: at.name.clone(),
            group: at.group.cloned(),
            peer: peer.id,
            peering: peer.peering.number(),
            filter: Arc::default(),
        });
        if warned.len() >= MAX_WARNED {
            warned.clear();
        }
        let parallel = parallel
            .filter(|(link, _)| warned.insert([at.link.min(*link), at.link.max(*link)]))
            .map(|(_, name)| name);
        state.update_parallel(&side, at.group);
        parallel
    }

    /// Records the subscriptions of a peer.
    pub(in crate::bridge) fn subscribed(&self, at: At<'_>, peer: &Peer, filter: &Filter) {
        if at.records(peer)
            && let Some(member) = self.0.write().member(at.link, peer)
        {
            member.filter = Arc::new(filter.clone());
        }
    }

    /// Removes a peering that has ended.
    pub(in crate::bridge) fn gone(&self, at: At<'_>, peer: &Peer) {
        if !at.records(peer) {
            return;
        }
        let side = Side::of(peer);
        let mut state = self.0.write();
        if let Some(members) = state.sides.get_mut(&side) {
            members.retain(|member| (member.link, member.peering) != (at.link, peer.peering.number()));
            if members.is_empty() {
                state.sides.remove(&side);
            }
        }
        state.update_parallel(&side, at.group);
    }

    /// Returns the peers of a link that are on standby, for a message that may go to the links in `to`.
    pub(in crate::bridge) fn standby(
        &self,
        group: &str,
        link: LinkId,
        to: impl Iterator<Item = LinkId> + Clone,
        topic: &Topic,
    ) -> Option<Arc<[EndpointId]>> {
        let state = self.0.read();
        let parallel = state.parallel.get(group)?;
        let is_candidate = |member: &&Member| {
            member.group.as_deref() == Some(group)
                && to.clone().any(|to| to == member.link)
                && member.filter.matches(topic)
        };
        let sides = parallel.iter().filter_map(|side| state.sides.get(side));
        let others = sides.flat_map(|members| members.iter().filter(is_candidate).skip(1));
        let standby: Arc<[_]> =
            others.filter(|member| member.link == link).map(|member| member.peer).collect();
        (!standby.is_empty()).then_some(standby)
    }
}

impl State {
    fn member(&mut self, link: LinkId, peer: &Peer) -> Option<&mut Member> {
        let mut members = self.sides.get_mut(&Side::of(peer))?.iter_mut();
        members.find(|member| (member.link, member.peering) == (link, peer.peering.number()))
    }

    /// Updates [`State::parallel`] for one side.
    fn update_parallel(&mut self, side: &Side, group: Option<&Arc<str>>) {
        let Some(group) = group else { return };
        let members = self.sides.get(side).into_iter().flatten();
        if members.filter(|member| member.group.as_ref() == Some(group)).count() > 1 {
            self.parallel.entry(group.clone()).or_default().insert(side.clone());
        } else if let Some(sides) = self.parallel.get_mut(group) {
            sides.remove(side);
            if sides.is_empty() {
                self.parallel.remove(group);
            }
        }
    }
}
