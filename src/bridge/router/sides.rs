//! Peerings that lead to the same remote side: one endpoint, or one bridge, connected over several links.
//!
//! In a group of links, one peering with each remote side is active and carries the messages; the others are on
//! standby. The peering that was established first is active. A peering that ends and is established again is therefore
//! on standby.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;

use crate::bridge::LinkId;
use crate::bridge::router::origin::Instance;
use crate::data::{EndpointId, Filter, Topic};
use crate::endpoint::{Owner, Peer};

/// Maximum number of pairs of links for which a logged warning is remembered. If it is exceeded, all pairs are
/// forgotten.
const MAX_WARNED: usize = 1024;

/// The peerings for which parallel paths are detected: all peerings with bridges, and all peerings on links with a
/// group.
#[derive(Debug, Default)]
pub(in crate::bridge) struct Sides(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    sides: HashMap<Side, Vec<Member>>,
    /// For each group, the remote sides to which more than one peering of the group leads.
    parallel: HashMap<Arc<str>, HashSet<Side>>,
    /// The pairs of links for which a warning was logged.
    warned: HashSet<[LinkId; 2]>,
}

/// The remote side of a peering.
///
/// It includes the owner of the peer: its certificate, or its host if it has no certificate. Endpoint ids are not
/// secret. Without the owner, a peer could use the endpoint id of another peer, and so replace it. As a consequence,
/// links without certificates are recognized as parallel only if they lead to the same host.
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
    /// Returns whether the peer is recorded. Peers are recorded if they are bridges, or if their link is in a group.
    fn records(self, peer: &Peer) -> bool {
        self.group.is_some() || Instance::of(peer.id).is_some()
    }
}

impl Sides {
    /// Records an established peering. Returns the name of a second link that leads to the same remote side and is not
    /// in the same group, but only once for each pair of links.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::router::origin::Origin;

    /// The links, each with its group.
    struct Links([(Arc<str>, Option<Arc<str>>); 3]);

    impl Links {
        fn with(groups: [Option<&str>; 3]) -> Self {
            let names = ["one", "two", "three"].map(Arc::from).into_iter();
            let mut links = names.zip(groups.map(|group| group.map(Arc::from)));
            Links(std::array::from_fn(|_| links.next().unwrap()))
        }

        fn at(&self, link: usize) -> At<'_> {
            At { link: LinkId(link), name: &self.0[link].0, group: self.0[link].1.as_ref() }
        }
    }

    fn peer(number: u64) -> Peer {
        Peer::of_host(EndpointId::from_bytes([7; 16]), [127, 0, 0, 1], number)
    }

    fn topics(topics: &[&'static str]) -> Filter {
        topics.iter().map(|topic| Topic::from_static(topic)).collect()
    }

    /// Returns whether the only peer of each link is on standby, for a message to these links.
    fn standby(sides: &Sides, to: &[usize]) -> [bool; 3] {
        [0, 1, 2].map(|link| {
            let links = to.iter().map(|to| LinkId(*to));
            let standby = sides.standby("g", LinkId(link), links, &Topic::from_static("/t/1"));
            standby.is_some_and(|peers| {
                assert_eq!(*peers, [peer(0).id]);
                true
            })
        })
    }

    #[test]
    fn the_oldest_of_the_peerings_of_a_group_that_may_receive_a_message_is_active() {
        let (sides, links) = (Sides::default(), Links::with([Some("g"); 3]));
        for (link, filter) in [topics(&["/t"]), topics(&["/u"]), topics(&["/"])].iter().enumerate() {
            assert_eq!(sides.established(links.at(link), &peer(1)), None);
            assert_eq!(standby(&sides, &[0, 1, 2]), [false; 3], "no peer has subscribed");
            sides.subscribed(links.at(link), &peer(2), filter);
        }
        assert_eq!(standby(&sides, &[0, 1, 2]), [false; 3], "the subscriptions of other peerings");
        for (link, filter) in [topics(&["/t"]), topics(&["/u"]), topics(&["/"])].iter().enumerate() {
            sides.subscribed(links.at(link), &peer(1), filter);
        }
        assert_eq!(standby(&sides, &[0, 1, 2]), [false, false, true]);
        assert_eq!(standby(&sides, &[1, 2]), [false; 3], "the message does not go to the first link");
        sides.gone(links.at(0), &peer(2));
        assert_eq!(standby(&sides, &[0, 1, 2]), [false, false, true], "another peering has ended");
        sides.gone(links.at(0), &peer(1));
        assert_eq!(standby(&sides, &[0, 1, 2]), [false; 3], "the first takes over");
        sides.subscribed(links.at(1), &peer(1), &topics(&["/"]));
        assert_eq!(standby(&sides, &[0, 1, 2]), [false, false, true]);
        // The first peering is established again, and is now the last one.
        sides.established(links.at(0), &peer(3));
        sides.subscribed(links.at(0), &peer(3), &topics(&["/"]));
        assert_eq!(standby(&sides, &[0, 1, 2]), [true, false, true]);
    }

    #[test]
    fn peerings_of_other_groups_and_other_remote_sides_are_not_on_standby() {
        let other_host = Peer::of_host(peer(1).id, [127, 0, 0, 2], 1);
        let other_id = Peer::of_host(EndpointId::from_bytes([8; 16]), [127, 0, 0, 1], 1);
        for (groups, second) in [
            ([Some("g"), None, None], peer(1)),
            ([Some("g"), Some("h"), None], peer(1)),
            ([Some("g"), Some("g"), None], other_host),
            ([Some("g"), Some("g"), None], other_id),
        ] {
            let (sides, links) = (Sides::default(), Links::with(groups));
            for (link, peer) in [peer(1), second].iter().enumerate() {
                sides.established(links.at(link), peer);
                sides.subscribed(links.at(link), peer, &topics(&["/"]));
            }
            assert_eq!(standby(&sides, &[0, 1, 2]), [false; 3], "{groups:?}");
        }
        let (sides, links) = (Sides::default(), Links::with([Some("g"), Some("h"), Some("g")]));
        for link in 0..3 {
            sides.established(links.at(link), &peer(1));
            sides.subscribed(links.at(link), &peer(1), &topics(&["/"]));
        }
        assert_eq!(standby(&sides, &[0, 1, 2]), [false, false, true]);
    }

    #[test]
    fn parallel_links_without_a_common_group_are_reported_once_for_each_pair() {
        let origin = Origin::random().unwrap();
        let bridge = |link, number| Peer::of_host(origin.link_id(LinkId(link)), [127, 0, 0, 1], number);
        for (groups, [second, third]) in [
            ([None; 3], [Some("one"), Some("one")]),
            ([Some("g"), Some("h"), Some("g")], [Some("one"), Some("two")]),
            ([Some("g"), Some("g"), Some("g")], [None, None]),
            ([Some("g"), Some("g"), None], [None, Some("one")]),
        ] {
            let (sides, links) = (Sides::default(), Links::with(groups));
            let established = |link| sides.established(links.at(link), &bridge(link, 1));
            assert_eq!(established(0), None);
            assert_eq!(established(0), None, "a second peering of the same link");
            assert_eq!([established(1), established(2)], [second, third].map(|name| name.map(Arc::from)));
            sides.gone(links.at(1), &bridge(1, 1));
            if second.is_some() {
                assert_eq!(established(1), None, "reported before");
            }
        }
        // Parallel paths to an endpoint that is not a bridge are detected only in a group.
        let (sides, links) = (Sides::default(), Links::with([None; 3]));
        assert_eq!([0, 1].map(|link| sides.established(links.at(link), &peer(1))), [None, None]);
    }
}
