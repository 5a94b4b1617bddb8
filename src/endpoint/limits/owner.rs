//! The party to which a connection is attributed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::net::tls::PeerIdentity;

/// The party to which a connection is attributed: the holder of its certificate or, without a certificate, of its token or CURVE
/// key. Without these, its host.
///
/// Limits apply to an owner, and names of nodes and endpoint ids belong to an owner. A host with many addresses counts as
/// many owners.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The SHA-256 of the peer's certificate.
    Certificate([u8; 32]),
    /// The name of the token of a WebSocket client without a certificate.
    Token(Arc<str>),
    /// The name of the CURVE key of a ZeroMQ client.
    Curve(Arc<str>),
    /// The address of a peer without a certificate and a token.
    Host(IpAddr),
    /// The configured target of a connection attempt. Used while the peer's address is not known.
    Target(Arc<str>),
}

impl Owner {
    /// Returns the owner of a connection from or to `address`, on which the peer presented this certificate.
    pub(crate) fn of(identity: Option<&PeerIdentity>, address: SocketAddr) -> Self {
        match identity {
            Some(identity) => Owner::Certificate(identity.sha256),
            None => Owner::Host(address.ip().to_canonical()),
        }
    }

    /// Returns the owner of a connection of this owner on which the client presented the token with this name.
    pub(crate) fn with_token(self, name: Arc<str>) -> Self {
        match self {
            Owner::Certificate(_) => self,
            Owner::Token(_) | Owner::Curve(_) | Owner::Host(_) | Owner::Target(_) => Owner::Token(name),
        }
    }
}
