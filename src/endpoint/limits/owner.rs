//! To whom a connection is accounted.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::net::tls::PeerIdentity;

/// The party that answers for a connection: the holder of its certificate or, without one, its host.
///
/// A host that has many addresses counts as many.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// The SHA-256 of the certificate.
    Certificate([u8; 32]),
    /// The address, without the port.
    Host(IpAddr),
    /// What this endpoint connects to, as it was given, while no connection tells the peer's address.
    Target(Arc<str>),
}

impl Owner {
    /// The owner of a connection from or to `address`, on which the peer showed this certificate.
    pub(crate) fn of(identity: Option<&PeerIdentity>, address: SocketAddr) -> Self {
        match identity {
            Some(identity) => Owner::Certificate(identity.sha256),
            None => Owner::Host(address.ip().to_canonical()),
        }
    }
}
