//! The recipients of a message on one link.

use std::sync::Arc;

use super::router::origin::{Instance, same_side};
use crate::data::EndpointId;
use crate::endpoint::Peer;

/// The recipients of a message on one link.
#[derive(Clone, Debug)]
pub(super) enum Audience {
    /// All peers that subscribe to its topic, with exceptions.
    AllExcept(Exceptions),
    /// One peer, if it subscribes to the topic.
    Peer(EndpointId),
    /// One peer, if it subscribes to the topic. If its queue is full, the message waits for room, as messages of the
    /// bridge itself must not be lost.
    PeerReliable(EndpointId),
}

/// The peers that do not receive a message although they subscribe to its topic.
#[derive(Clone, Debug)]
pub(super) struct Exceptions {
    /// The peer that sent it, and the last hop in its envelope. If one of them is a bridge, all links of that bridge
    /// are excluded.
    pub(super) origins: [EndpointId; 2],
    /// The bridge that received the message first, if the message has an id.
    pub(super) first: Option<Instance>,
    /// The peers that receive it over another peering: see [`super::router::sides`].
    pub(super) standby: Option<Arc<[EndpointId]>>,
    /// Whether only bridges still need the message, because all other peers have received it.
    pub(super) bridges_only: bool,
}

impl Audience {
    pub(super) fn includes(&self, peer: &Peer) -> bool {
        match self {
            Audience::AllExcept(Exceptions { origins, first, standby, bridges_only }) => {
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
