//! The other side of a peering.

use std::sync::Arc;

#[cfg(all(test, feature = "bridge"))]
use super::id::ConnectionId;
use super::id::PeeringId;
use super::limits::Owner;
use super::protocol::PeerProtocol;
use crate::data::EndpointId;
use crate::net::tls::PeerIdentity;

/// The other side of an established peering.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) id: EndpointId,
    /// The peer's address: `host:port`.
    pub(crate) address: Arc<str>,
    /// The identity in the peer's certificate, if it presented one.
    pub(crate) identity: Option<Arc<PeerIdentity>>,
    /// The protocol, and what the peer has sent about itself.
    pub(crate) protocol: PeerProtocol,
    /// The party to which the peering is accounted.
    pub(crate) owner: Owner,
    pub(crate) peering: PeeringId,
}

impl Peer {
    /// Returns the name of the token with which the peer has authenticated itself.
    #[cfg_attr(not(feature = "bridge"), allow(dead_code, reason = "only rules use it"))]
    pub(crate) fn token(&self) -> Option<&str> {
        self.protocol.websocket()?.token.as_deref()
    }
}

#[cfg(all(test, feature = "bridge"))]
impl Peer {
    /// Returns a peer without a certificate. `peering` is the number of the peering.
    pub(crate) fn of_host(id: EndpointId, host: [u8; 4], peering: u64) -> Self {
        let peering = PeeringId(ConnectionId(peering));
        Peer {
            id,
            address: "peer:1".into(),
            identity: None,
            protocol: PeerProtocol::Broker,
            owner: Owner::Host(host.into()),
            peering,
        }
    }
}
