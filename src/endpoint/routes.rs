//! Who gets what: a table that is made anew at every change, and only read while messages move.

use std::sync::Arc;

use super::hub::{LinkId, SubscriberId};
use super::limits::Owner;
use super::peers::Peers;
use super::queue::Queue;
use super::subscriber::Message;
use crate::data::{EndpointId, Filter, Topic};
use crate::net::tls::PeerIdentity;

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
    pub(super) queue: Arc<Queue>,
}

/// Who is at the other end of a standing peering.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) id: EndpointId,
    /// Where it is: `host:port`.
    pub(crate) address: Arc<str>,
    /// Who it is by its certificate, if it showed one.
    pub(crate) identity: Option<Arc<PeerIdentity>>,
    /// To whom the peering is accounted.
    pub(crate) owner: Owner,
    pub(crate) peering: PeeringId,
}

/// One peering of an endpoint, never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PeeringId(pub(super) LinkId);

#[cfg(feature = "bridge")]
impl PeeringId {
    /// A number that no other peering of the endpoint has.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
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
