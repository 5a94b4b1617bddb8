//! The status of an endpoint's peers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use super::connect_error::ConnectError;
use super::protocol::PeerProtocol;
use crate::data::EndpointId;
use crate::net::tls::PeerIdentity;
use crate::peering::Notice;

/// A change of a peer's status. The names are Broker's. The address of a ZeroMQ socket is written `tcp://host:port`, as in Zeek.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Status {
    /// A peering is established. Messages that are published from now on are sent to the peer.
    PeerAdded {
        /// The peer.
        peer: EndpointId,
        /// The peer's address: `host:port`.
        address: Arc<str>,
        /// The identity in the peer's certificate. `None` without TLS and in anonymous TLS.
        identity: Option<Arc<PeerIdentity>>,
        /// The protocol, and what the peer has sent about itself.
        protocol: PeerProtocol,
    },
    /// A peer reports that it could not handle a message. Only servers of the WebSocket API do so.
    PeerNotice {
        /// The peer.
        peer: EndpointId,
        /// The peer's address: a URL.
        address: Arc<str>,
        /// The report.
        notice: Notice,
    },
    /// This side ended a peering.
    PeerRemoved {
        /// The peer.
        peer: EndpointId,
        /// The peer's address: `host:port`.
        address: Arc<str>,
        /// The reason. `None` if this side left.
        error: Option<ConnectError>,
    },
    /// The peer or the network ended a peering.
    PeerLost {
        /// The peer.
        peer: EndpointId,
        /// The peer's address: `host:port`.
        address: Arc<str>,
        /// The reason.
        error: ConnectError,
        /// The number of messages for the peer that were queued or not completely written. Messages that were written are
        /// not counted, although the peer may not have read them.
        unsent: usize,
    },
    /// An attempt to connect failed.
    PeerUnavailable {
        /// The target: `host:port`.
        address: Arc<str>,
        /// The reason.
        error: ConnectError,
        /// The delay before the next attempt. `None` if there is no next attempt.
        retry_in: Option<Duration>,
    },
    /// A connection that was accepted did not become a peering.
    HandshakeFailed {
        /// The remote address: `host:port`.
        address: Arc<str>,
        /// The reason.
        error: ConnectError,
    },
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::PeerNotice { address, notice, .. } => write!(f, "{address}: {notice}"),
            Status::PeerAdded { peer, address, identity, protocol } => {
                write!(f, "peer added: {peer} at {address}")?;
                if *protocol != PeerProtocol::Broker {
                    write!(f, ", {protocol}")?;
                }
                match identity {
                    Some(identity) => write!(f, ", {identity}"),
                    None => Ok(()),
                }
            }
            Status::PeerRemoved { peer, address, error: None } => {
                write!(f, "peer removed: {peer} at {address}")
            }
            Status::PeerRemoved { peer, address, error: Some(error) } => {
                write!(f, "peer removed: {peer} at {address}: {error}")
            }
            Status::PeerLost { peer, address, error, unsent: 0 } => {
                write!(f, "peer lost: {peer} at {address}: {error}")
            }
            Status::PeerLost { peer, address, error, unsent } => {
                write!(f, "peer lost: {peer} at {address}: {error}; {unsent} messages for it were not sent")
            }
            Status::PeerUnavailable { address, error, retry_in: Some(wait) } => {
                write!(f, "peer unavailable: {address}: {error}; next try in {:.1} s", wait.as_secs_f64())
            }
            Status::PeerUnavailable { address, error, retry_in: None } => {
                write!(f, "peer unavailable: {address}: {error}")
            }
            Status::HandshakeFailed { address, error } => write!(f, "no peering with {address}: {error}"),
        }
    }
}

/// Receives changes of the status of peers.
#[derive(Debug)]
pub struct StatusReceiver(pub(super) broadcast::Receiver<Status>);

impl StatusReceiver {
    /// Waits for the next status. Returns `None` when all clones of the endpoint are dropped. Cancel-safe.
    ///
    /// At most 1024 statuses are buffered; a slower receiver misses the oldest ones.
    pub async fn recv(&mut self) -> Option<Status> {
        loop {
            match self.0.recv().await {
                Ok(status) => return Some(status),
                Err(broadcast::error::RecvError::Closed) => return None,
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "a status receiver was too slow and missed statuses");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_is_described_with_its_address_and_reason() {
        let peer = EndpointId::from_bytes([7; 16]);
        let address: Arc<str> = "192.0.2.1:9999".into();
        let error = ConnectError::ShuttingDown;
        let added = Status::PeerAdded {
            peer,
            address: address.clone(),
            identity: None,
            protocol: PeerProtocol::Broker,
        };
        let text = format!("{peer} at 192.0.2.1:9999");
        assert_eq!(added.to_string(), format!("peer added: {text}"));
        let removed = |error| Status::PeerRemoved { peer, address: address.clone(), error };
        assert_eq!(removed(None).to_string(), format!("peer removed: {text}"));
        assert_eq!(removed(Some(error.clone())).to_string(), format!("peer removed: {text}: {error}"));
        let lost = |unsent| Status::PeerLost { peer, address: address.clone(), error: error.clone(), unsent };
        assert_eq!(lost(0).to_string(), format!("peer lost: {text}: {error}"));
        assert!(lost(3).to_string().ends_with("; 3 messages for it were not sent"), "{}", lost(3));
        let unavailable = |retry_in| {
            let (address, error) = (address.clone(), error.clone());
            Status::PeerUnavailable { address, error, retry_in }.to_string()
        };
        assert_eq!(unavailable(None), format!("peer unavailable: 192.0.2.1:9999: {error}"));
        assert!(unavailable(Some(Duration::from_millis(1500))).ends_with("; next try in 1.5 s"));
        let failed = Status::HandshakeFailed { address, error: error.clone() };
        assert_eq!(failed.to_string(), format!("no peering with 192.0.2.1:9999: {error}"));
    }
}
