//! The peers of a link that a message is for.

use std::sync::Arc;

use super::router::origin::{Instance, same_side};
use crate::data::EndpointId;
use crate::endpoint::Peer;

/// The peers of a link that a message is for.
#[derive(Clone, Debug)]
pub(super) enum Audience {
    /// All that subscribe to it, with exceptions.
    AllExcept(Exceptions),
    /// One peer, if it subscribes to it.
    Peer(EndpointId),
    /// One peer, if it subscribes to it, and without loss: for messages of the bridge itself.
    PeerReliable(EndpointId),
}

/// The peers that do not receive a message, although they subscribe to it.
#[derive(Clone, Debug)]
pub(super) struct Exceptions {
    /// The peer that it was received from, and the last hop that it names, with all links of the same bridge.
    pub(super) origins: [EndpointId; 2],
    /// The bridge that received it first, if it has an id.
    pub(super) first: Option<Instance>,
    /// The peers that receive it over another peering: see [`super::router::sides`].
    pub(super) standby: Option<Arc<[EndpointId]>>,
    /// Whether all peers except bridges have received it already.
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
