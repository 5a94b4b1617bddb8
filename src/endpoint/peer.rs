//! The other side of a peering.

use std::net::IpAddr;
use std::sync::Arc;

#[cfg(feature = "bridge")]
use super::admits::Candidate;
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
    /// The peer's IP address. `None` if the connection had ended before the address was read.
    #[cfg_attr(not(feature = "bridge"), allow(dead_code, reason = "only rules use it"))]
    pub(crate) ip: Option<IpAddr>,
    /// The identity in the peer's certificate, if it presented one.
    pub(crate) identity: Option<Arc<PeerIdentity>>,
    /// The protocol, and what the peer has sent about itself.
    pub(crate) protocol: PeerProtocol,
    /// The party to which the peering is accounted.
    pub(crate) owner: Owner,
    pub(crate) peering: PeeringId,
}

#[cfg(feature = "bridge")]
impl Peer {
    /// Returns the last hop of a message from this peer with this sender in its envelope. A publisher of a ZeroMQ cluster chooses the
    /// sender, so that it proves nothing.
    pub(crate) fn last_hop(&self, sender: EndpointId) -> EndpointId {
        if self.protocol.zeromq().is_some() { self.id } else { sender }
    }

    /// Returns the properties of the peer that rules depend on.
    pub(crate) fn candidate(&self) -> Candidate<'_> {
        Candidate {
            certificate: self.identity.as_deref(),
            token: self.protocol.websocket().and_then(|peer| peer.token.as_deref()),
            curve: self.protocol.zeromq().and_then(|peer| peer.curve.as_deref()),
            address: self.ip,
        }
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
            ip: Some(host.into()),
            identity: None,
            protocol: PeerProtocol::Broker,
            owner: Owner::Host(host.into()),
            peering,
        }
    }
}
