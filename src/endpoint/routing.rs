//! Who gets what: a table that is made anew at every change, and only read while messages move.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::id::SubscriberId;
use super::message::Message;
use super::peer::Peer;
use super::queue::Queue;
use crate::data::{EndpointId, Filter, Topic};
use crate::net::Format;

/// The routes at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes {
    pub(super) peers: Peers,
    pub(super) subscribers: Vec<SubscriberRoute>,
}

#[derive(Clone, Debug)]
pub(super) struct PeerRoute {
    pub(super) peer: Peer,
    pub(super) filter: Arc<Filter>,
    /// The encoding of the messages in the queue.
    pub(super) format: &'static Format,
    pub(super) queue: Arc<Queue>,
}

#[derive(Clone, Debug)]
pub(super) struct SubscriberRoute {
    pub(super) id: SubscriberId,
    pub(super) filter: Arc<Filter>,
    pub(super) queue: Arc<Queue<Message>>,
}

impl Routes {
    /// The peers for a message: its receiver, or without one all that want its topic.
    pub(super) fn peers<'a>(
        &'a self,
        receiver: EndpointId,
        topic: &'a Topic,
    ) -> impl Iterator<Item = &'a PeerRoute> {
        let (to_all, to_one) = match receiver {
            _ if topic.is_local() => (None, None),
            EndpointId::NIL => (Some(self.peers.wanting(topic)), None),
            receiver => (None, self.peers.get(receiver)),
        };
        to_all.into_iter().flatten().chain(to_one)
    }

    /// Whether the same peers want both topics.
    #[cfg(feature = "bridge")]
    pub(crate) fn go_together(&self, one: &Topic, other: &Topic) -> bool {
        one.is_local() == other.is_local() && self.peers.go_together(one, other)
    }

    /// The queues of the subscribers that want a message under this topic.
    pub(super) fn subscribers<'a>(&'a self, topic: &'a Topic) -> impl Iterator<Item = &'a Queue<Message>> {
        self.subscribers.iter().filter(|s| s.filter.matches(topic)).map(|s| &*s.queue)
    }
}

/// How many peers are copied when one of them changes.
const PIECE: usize = 64;

/// All peerings that stand, each peer once.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers(Vec<Arc<Group>>);

/// Those that want the same.
#[derive(Clone, Debug)]
struct Group {
    /// Of the filter: that two long ones differ may only show at their end.
    hash: u64,
    filter: Arc<Filter>,
    /// None is empty, or has more than [`PIECE`].
    pieces: Vec<Arc<Vec<PeerRoute>>>,
}

impl Group {
    fn members(&self) -> impl Iterator<Item = &PeerRoute> {
        self.pieces.iter().flat_map(|piece| piece.iter())
    }
}

impl Peers {
    /// Those that want a topic.
    pub(super) fn wanting<'a>(&'a self, topic: &Topic) -> impl Iterator<Item = &'a PeerRoute> {
        self.0.iter().filter(|group| group.filter.matches(topic)).flat_map(|group| group.members())
    }

    /// Whether the same peers want both topics.
    #[cfg(feature = "bridge")]
    pub(super) fn go_together(&self, one: &Topic, other: &Topic) -> bool {
        self.0.iter().all(|group| group.filter.matches(one) == group.filter.matches(other))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PeerRoute> {
        self.0.iter().flat_map(|group| group.members())
    }

    pub(super) fn get(&self, id: EndpointId) -> Option<&PeerRoute> {
        self.iter().find(|route| route.peer.id == id)
    }

    pub(super) fn insert(&mut self, route: PeerRoute) {
        let mut hasher = DefaultHasher::new();
        route.filter.topics().hash(&mut hasher);
        let hash = hasher.finish();
        let wants_the_same = |group: &&mut Arc<Group>| group.hash == hash && group.filter == route.filter;
        let Some(group) = self.0.iter_mut().find(wants_the_same) else {
            let (filter, pieces) = (route.filter.clone(), vec![Arc::new(vec![route])]);
            self.0.push(Arc::new(Group { hash, filter, pieces }));
            return;
        };
        let pieces = &mut Arc::make_mut(group).pieces;
        match pieces.iter_mut().find(|piece| piece.len() < PIECE) {
            Some(piece) => Arc::make_mut(piece).push(route),
            None => pieces.push(Arc::new(vec![route])),
        }
    }

    pub(super) fn remove(&mut self, id: EndpointId) -> Option<PeerRoute> {
        let place = |piece: &Vec<PeerRoute>| piece.iter().position(|route| route.peer.id == id);
        let find = |(in_group, group): (usize, &Arc<Group>)| {
            let mut pieces = group.pieces.iter().enumerate();
            pieces.find_map(|(in_pieces, piece)| Some((in_group, in_pieces, place(piece)?)))
        };
        let (in_group, in_pieces, at) = self.0.iter().enumerate().find_map(find)?;
        let group = Arc::make_mut(self.0.get_mut(in_group)?);
        let piece = Arc::make_mut(group.pieces.get_mut(in_pieces)?);
        let route = piece.remove(at);
        if piece.is_empty() {
            group.pieces.remove(in_pieces);
        }
        if group.pieces.is_empty() {
            self.0.remove(in_group);
        }
        Some(route)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::QueueLimits;
    use super::super::id::{ConnectionId, PeeringId};
    use super::super::limits::Owner;
    use super::*;
    use crate::net::BROKER;

    const TOPICS: [Topic; 3] =
        [Topic::from_static("/a"), Topic::from_static("/a/b"), Topic::from_static("/c")];

    fn id(n: u16) -> EndpointId {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        EndpointId::from_bytes(bytes)
    }

    fn owner() -> Owner {
        Owner::Host([127, 0, 0, 1].into())
    }

    fn route(n: u16, wants: &[Topic]) -> PeerRoute {
        let peering = PeeringId(ConnectionId(n.into()));
        let peer = Peer { id: id(n), address: "127.0.0.1:1".into(), identity: None, owner: owner(), peering };
        let queue = Arc::new(Queue::new(QueueLimits { messages: 1, bytes: 1 }));
        PeerRoute { peer, filter: Arc::new(wants.iter().cloned().collect()), format: &BROKER, queue }
    }

    fn ids<'a>(routes: impl Iterator<Item = &'a PeerRoute>) -> Vec<EndpointId> {
        let mut ids: Vec<_> = routes.map(|route| route.peer.id).collect();
        ids.sort();
        ids
    }

    proptest! {
        /// Peers come, go and change their minds, and the table is what a plain list of them would be; so is each that was
        /// handed out before.
        #[test]
        fn it_is_a_list_of_peers(steps in prop::collection::vec((0u16..200, 0usize..4, any::<bool>()), 1..600)) {
            let (mut peers, mut plain) = (Peers::default(), BTreeMap::new());
            let mut before = (peers.clone(), Vec::new());
            for (n, wants, stays) in steps {
                prop_assert_eq!(peers.remove(id(n)).is_some(), plain.remove(&n).is_some());
                if stays {
                    peers.insert(route(n, &TOPICS[..wants.min(3)]));
                    plain.insert(n, wants.min(3));
                }
                prop_assert_eq!(ids(before.0.iter()), before.1);
                before = (peers.clone(), ids(peers.iter()));
                prop_assert_eq!(&before.1, &plain.keys().map(|n| id(*n)).collect::<Vec<_>>());
                prop_assert_eq!(peers.get(id(n)).is_some(), stays);
                for topic in &TOPICS {
                    let wants = |count: usize| TOPICS[..count].iter().any(|prefix| prefix.is_prefix_of(topic));
                    let wanting: Vec<_> = plain.iter().filter(|(_, w)| wants(**w)).map(|(n, _)| id(*n)).collect();
                    prop_assert_eq!(ids(peers.wanting(topic)), wanting);
                }
                for group in &peers.0 {
                    prop_assert!(group.pieces.iter().all(|piece| (1..=PIECE).contains(&piece.len())));
                    prop_assert!(!group.pieces.is_empty());
                }
                prop_assert!(peers.0.len() <= 3, "a filter has one group");
            }
        }
    }
}
