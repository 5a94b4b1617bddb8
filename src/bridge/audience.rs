//! The recipients of a message on one link.

use std::sync::Arc;

use super::router::origin::{Instance, same_side};
use crate::data::EndpointId;
use crate::endpoint::Peer;
use crate::net::Published;

/// The recipients of a message on one link.
#[derive(Clone, Debug)]
pub(super) enum Audience {
    /// All peers that subscribe to its topic, with exceptions.
    AllExcept(Exceptions),
    /// One peer, if it subscribes to the topic.
    Peer(EndpointId),
    /// One peer, if it subscribes to the topic. If its queue is full, the message is not dropped but returned as
    /// blocked: messages that the bridge generated must not be lost.
    PeerReliable(EndpointId),
}

/// The peers that do not receive a message although they subscribe to its topic.
#[derive(Clone, Debug)]
pub(super) struct Exceptions {
    /// The peer that sent the message, and the last hop in its envelope. If one of these two is a bridge, all links of
    /// that bridge are excluded.
    pub(super) origins: [EndpointId; 2],
    /// The bridge that received the message first, if the message has an id.
    pub(super) first: Option<Instance>,
    /// The peers that receive the message over a different peering of the same group: see [`super::router::sides`].
    pub(super) standby: Option<Arc<[EndpointId]>>,
    /// Whether only peers that are bridges still need the message, because all other peers have received it.
    pub(super) bridges_only: bool,
    /// How the message was published, if it stays in the ZeroMQ cluster of its publisher. Nodes recognize their own messages by the
    /// exact text of the sender, and read only one format.
    pub(super) published: Option<Published>,
}

impl Audience {
    /// Returns [`Exceptions::published`].
    pub(super) fn published(&self) -> Option<&Published> {
        match self {
            Audience::AllExcept(exceptions) => exceptions.published.as_ref(),
            Audience::Peer(_) | Audience::PeerReliable(_) => None,
        }
    }

    pub(super) fn includes(&self, peer: &Peer) -> bool {
        match self {
            Audience::AllExcept(Exceptions { origins, first, standby, bridges_only, published: _ }) => {
                let instance = Instance::of(peer.id);
                !origins.iter().any(|origin| same_side(*origin, peer.id))
                    && !standby.iter().any(|standby| standby.contains(&peer.id))
                    && (instance.is_none() || instance != *first)
                    && (!bridges_only || instance.is_some())
            }
            Audience::Peer(id) | Audience::PeerReliable(id) => *id == peer.id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::LinkId;
    use crate::bridge::router::origin::Origin;

    fn id(n: u8) -> EndpointId {
        EndpointId::from_bytes([n; 16])
    }

    fn peer(id: EndpointId) -> Peer {
        Peer::of_host(id, [127, 0, 0, 1], 1)
    }

    #[test]
    fn a_message_goes_to_all_peers_without_an_exception() {
        let [near, far] = [Origin::random().unwrap(), Origin::random().unwrap()];
        let [near_0, near_1, far_0] =
            [near.link_id(LinkId(0)), near.link_id(LinkId(1)), far.link_id(LinkId(0))];
        let all = || Exceptions {
            origins: [id(8), id(9)],
            first: None,
            standby: None,
            bridges_only: false,
            published: None,
        };
        let peers = [id(1), id(8), id(9), near_1, far_0];
        for (exceptions, expected) in [
            (all(), [true, false, false, true, true]),
            (Exceptions { origins: [near_0, id(8)], ..all() }, [true, false, true, false, true]),
            (Exceptions { origins: [id(8), near_0], ..all() }, [true, false, true, false, true]),
            (Exceptions { first: Instance::of(near_0), ..all() }, [true, false, false, false, true]),
            (
                Exceptions { standby: Some([id(1), far_0].into()), ..all() },
                [false, false, false, true, false],
            ),
            (Exceptions { bridges_only: true, ..all() }, [false, false, false, true, true]),
        ] {
            let audience = Audience::AllExcept(exceptions);
            assert_eq!(peers.map(|id| audience.includes(&peer(id))), expected, "{audience:?}");
        }
    }

    #[test]
    fn a_message_for_one_peer_is_not_sent_to_other_peers() {
        for audience in [Audience::Peer(id(1)), Audience::PeerReliable(id(1))] {
            assert!(audience.includes(&peer(id(1))) && !audience.includes(&peer(id(2))));
        }
    }
}
