//! The routing table: selects the peers and subscribers of a message.
//!
//! The table is immutable. Each change publishes a new table, which shares the unchanged parts with the previous one. A
//! complete copy would be slow, because there may be ten thousand peers. Peers are grouped by their filter, so that a topic
//! is matched once for each filter and not once for each peer.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::counters::PeerCounters;
use super::id::SubscriberId;
use super::message::Message;
use super::peer::Peer;
use super::queue::Queue;
use crate::data::{EndpointId, Filter, Topic};
use crate::net::Format;

/// The routes at one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes {
    pub(super) peers: Peers,
    pub(super) subscribers: Vec<SubscriberRoute>,
}

#[derive(Clone, Debug)]
pub(super) struct PeerRoute {
    pub(super) peer: Arc<Peer>,
    pub(super) filter: Arc<Filter>,
    /// The encoding of the messages in the queue.
    pub(super) format: &'static Format,
    pub(super) queue: Arc<Queue>,
    pub(super) counters: Arc<PeerCounters>,
}

#[derive(Clone, Debug)]
pub(super) struct SubscriberRoute {
    pub(super) id: SubscriberId,
    pub(super) filter: Arc<Filter>,
    pub(super) queue: Arc<Queue<Message>>,
}

impl Routes {
    /// Returns the peers to which a message is sent. If the message has a receiver, only the receiver is returned.
    /// Otherwise, all peers that subscribe to the topic are returned. A message with a local topic is sent to no peer.
    pub(super) fn peers<'a>(
        &'a self,
        receiver: EndpointId,
        topic: &'a Topic,
    ) -> impl Iterator<Item = &'a PeerRoute> {
        let (to_all, to_one) = match receiver {
            _ if topic.is_local() => (None, None),
            EndpointId::NIL => (Some(self.peers.subscribers_of(topic)), None),
            receiver => (None, self.peers.get(receiver)),
        };
        to_all.into_iter().flatten().chain(to_one)
    }

    /// Returns whether both topics have the same subscribers.
    #[cfg(feature = "bridge")]
    pub(crate) fn have_same_subscribers(&self, one: &Topic, other: &Topic) -> bool {
        one.is_local() == other.is_local() && self.peers.have_same_subscribers(one, other)
    }

    /// Returns the queues of this endpoint's subscribers of a topic.
    pub(super) fn subscribers<'a>(&'a self, topic: &'a Topic) -> impl Iterator<Item = &'a Queue<Message>> {
        self.subscribers.iter().filter(|s| s.filter.matches(topic)).map(|s| &*s.queue)
    }
}

/// The maximum number of peers in a chunk. When one of them changes, its chunk is copied.
const CHUNK: usize = 64;

/// All established peerings, each peer once.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers(Vec<Arc<Group>>);

/// The peers with one filter.
#[derive(Clone, Debug)]
struct Group {
    /// The hash of the filter. It is compared first, because two long filters may differ only in their last topic.
    hash: u64,
    filter: Arc<Filter>,
    /// No chunk is empty or longer than [`CHUNK`].
    chunks: Vec<Arc<Vec<PeerRoute>>>,
}

impl Group {
    fn members(&self) -> impl Iterator<Item = &PeerRoute> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
}

impl Peers {
    /// Returns the peers that subscribe to a topic.
    pub(super) fn subscribers_of<'a>(&'a self, topic: &Topic) -> impl Iterator<Item = &'a PeerRoute> {
        self.0.iter().filter(|group| group.filter.matches(topic)).flat_map(|group| group.members())
    }

    /// Returns whether both topics have the same subscribers.
    #[cfg(feature = "bridge")]
    pub(super) fn have_same_subscribers(&self, one: &Topic, other: &Topic) -> bool {
        self.0.iter().all(|group| group.filter.matches(one) == group.filter.matches(other))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PeerRoute> {
        self.0.iter().flat_map(|group| group.members())
    }

    pub(super) fn get(&self, id: EndpointId) -> Option<&PeerRoute> {
        self.iter().find(|route| route.peer.id == id)
    }

    /// Adds a peer. Its route shares the filter of the other peers with an equal filter.
    pub(super) fn insert(&mut self, route: PeerRoute) {
        let mut hasher = DefaultHasher::new();
        route.filter.topics().hash(&mut hasher);
        let hash = hasher.finish();
        let same_filter = |group: &&mut Arc<Group>| group.hash == hash && group.filter == route.filter;
        let Some(group) = self.0.iter_mut().find(same_filter) else {
            let (filter, chunks) = (route.filter.clone(), vec![Arc::new(vec![route])]);
            self.0.push(Arc::new(Group { hash, filter, chunks }));
            return;
        };
        let Group { filter, chunks, .. } = Arc::make_mut(group);
        let route = PeerRoute { filter: filter.clone(), ..route };
        match chunks.iter_mut().find(|chunk| chunk.len() < CHUNK) {
            Some(chunk) => {
                // A chunk that is shared is copied first, without spare capacity. `push` alone would double its capacity.
                let chunk = Arc::make_mut(chunk);
                chunk.reserve_exact(1);
                chunk.push(route);
            }
            None => chunks.push(Arc::new(vec![route])),
        }
    }

    pub(super) fn remove(&mut self, id: EndpointId) -> Option<PeerRoute> {
        let position = |chunk: &Vec<PeerRoute>| chunk.iter().position(|route| route.peer.id == id);
        let find = |(in_group, group): (usize, &Arc<Group>)| {
            let mut chunks = group.chunks.iter().enumerate();
            chunks.find_map(|(in_chunks, chunk)| Some((in_group, in_chunks, position(chunk)?)))
        };
        let (in_group, in_chunks, at) = self.0.iter().enumerate().find_map(find)?;
        let group = Arc::make_mut(self.0.get_mut(in_group)?);
        let chunk = Arc::make_mut(group.chunks.get_mut(in_chunks)?);
        let route = chunk.remove(at);
        if chunk.is_empty() {
            group.chunks.remove(in_chunks);
        }
        if group.chunks.is_empty() {
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
        let peer = Arc::new(Peer {
            id: id(n),
            address: "127.0.0.1:1".into(),
            ip: None,
            identity: None,
            protocol: Default::default(),
            owner: owner(),
            peering,
        });
        let queue = Arc::new(Queue::new(QueueLimits { messages: 1, bytes: 1 }));
        let (filter, counters) = (Arc::new(wants.iter().cloned().collect()), Arc::new(PeerCounters::new()));
        PeerRoute { peer, filter, format: &BROKER, queue, counters }
    }

    fn ids<'a>(routes: impl Iterator<Item = &'a PeerRoute>) -> Vec<EndpointId> {
        let mut ids: Vec<_> = routes.map(|route| route.peer.id).collect();
        ids.sort();
        ids
    }

    #[test]
    fn a_message_under_a_local_topic_has_no_recipients() {
        let local = Topic::from("<$>/local/x");
        assert!(local.is_local());
        let mut peers = Peers::default();
        peers.insert(route(1, &[Topic::from_static("")]));
        let routes = Routes { peers, ..Routes::default() };
        for (receiver, topic, expected) in [
            (EndpointId::NIL, &TOPICS[0], vec![id(1)]),
            (id(1), &TOPICS[0], vec![id(1)]),
            (id(2), &TOPICS[0], vec![]),
            (EndpointId::NIL, &local, vec![]),
            (id(1), &local, vec![]),
        ] {
            assert_eq!(ids(routes.peers(receiver, topic)), expected, "{receiver} {topic}");
        }
    }

    proptest! {
        /// Adds, removes and changes peers. The table must always equal a plain list of them, and an earlier copy of
        /// the table must not change.
        #[test]
        fn the_routing_table_is_equivalent_to_a_list_of_peers(steps in prop::collection::vec((0u16..200, 0usize..4, any::<bool>()), 1..600)) {
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
                    prop_assert_eq!(ids(peers.subscribers_of(topic)), wanting);
                }
                for group in &peers.0 {
                    prop_assert!(group.chunks.iter().all(|chunk| (1..=CHUNK).contains(&chunk.len())));
                    prop_assert!(!group.chunks.is_empty());
                }
                prop_assert!(peers.0.len() <= 3, "one group for each filter");
            }
        }
    }

    #[test]
    fn peers_with_one_filter_fill_a_chunk_before_the_next_is_begun() {
        let mut peers = Peers::default();
        let lengths = |peers: &Peers| -> Vec<usize> {
            assert_eq!(peers.0.len(), 1);
            peers.0[0].chunks.iter().map(|chunk| chunk.len()).collect()
        };
        let count = u16::try_from(2 * CHUNK + 1).unwrap();
        (0..count).for_each(|n| peers.insert(route(n, &TOPICS[..1])));
        assert_eq!(lengths(&peers), [CHUNK, CHUNK, 1]);
        peers.remove(id(0)).unwrap();
        peers.insert(route(count, &TOPICS[..1]));
        assert_eq!(lengths(&peers), [CHUNK, CHUNK, 1]);
    }

    #[cfg(feature = "bridge")]
    #[test]
    fn two_topics_have_the_same_subscribers_if_each_filter_matches_both_or_neither() {
        let mut peers = Peers::default();
        peers.insert(route(1, &[Topic::from_static("/a")]));
        peers.insert(route(2, &[Topic::from_static("/a/b")]));
        let routes = Routes { peers, ..Routes::default() };
        for (one, other, expected) in [
            ("/a/x", "/a/y", true),
            ("/a/b", "/a/b/c", true),
            ("/c", "/d", true),
            ("/a", "/a/b", false),
            ("/a", "/c", false),
            ("<$>/local/x", "/c", false),
            ("<$>/local/x", "<$>/local/y", true),
        ] {
            let (one, other) = (Topic::from(one), Topic::from(other));
            assert_eq!(routes.have_same_subscribers(&one, &other), expected, "{one} {other}");
            assert_eq!(routes.have_same_subscribers(&other, &one), expected, "{other} {one}");
        }
    }
}
