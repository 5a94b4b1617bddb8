//! What happens to an endpoint's peers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use crate::data::EndpointId;
use crate::net::tls::{PeerIdentity, TlsError};
use crate::net::{ConnectionFault, DialError};
use crate::peering::{CloseReason, PeeringError};

/// Something that happened to a peer. The names are Broker's.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Status {
    /// A peering stands; what is published from now on reaches the peer.
    PeerAdded {
        /// The peer.
        peer: EndpointId,
        /// Where it is: `host:port`.
        address: Arc<str>,
        /// Who it is by its certificate; `None` without TLS, and in anonymous TLS.
        identity: Option<Arc<PeerIdentity>>,
    },
    /// A peering was ended by this side.
    PeerRemoved {
        /// The peer.
        peer: EndpointId,
        /// Where it was.
        address: Arc<str>,
        /// Why, if it was not simply left.
        error: Option<ConnectError>,
    },
    /// A peering was ended by the other side, or by the network between.
    PeerLost {
        /// The peer.
        peer: EndpointId,
        /// Where it was.
        address: Arc<str>,
        /// How.
        error: ConnectError,
        /// How many messages for it were not written: they waited in its queue, or were being written. What was
        /// written, it need not have read.
        unsent: usize,
    },
    /// An attempt to connect failed.
    PeerUnavailable {
        /// What was tried: `host:port`.
        address: Arc<str>,
        /// Why.
        error: ConnectError,
        /// When it is tried again, if at all.
        retry_in: Option<Duration>,
    },
    /// Somebody connected and did not become a peer.
    HandshakeFailed {
        /// Who: `address:port`.
        address: Arc<str>,
        /// Why.
        error: ConnectError,
    },
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::PeerAdded { peer, address, identity } => {
                write!(f, "peer added: {peer} at {address}")?;
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

/// Why a link to a peer did not come about, or ended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No TCP connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// TLS failed.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// TLS was not through in time.
    #[error(
        "TLS handshake timed out after {:.0} s; the peer may be a plain TCP endpoint (Broker::disable_ssl=T): disable \
         TLS here or enable it there",
        .0.as_secs_f64()
    )]
    TlsTimeout(Duration),
    /// The peering failed, by Broker's rules.
    #[error(transparent)]
    Peering(#[from] PeeringError),
    /// The peering ended without an error.
    #[error("{0}")]
    Closed(CloseReason),
    /// The stream broke.
    #[error(transparent)]
    Stream(ConnectionFault),
    /// The peer did not keep up with what was published.
    #[error("the peer did not read fast enough, and {dropped} messages for it were dropped")]
    Overflow {
        /// How many messages waited for it.
        dropped: usize,
    },
    /// The handshake was not finished when others needed its slot: see
    /// [`EndpointConfig::max_handshakes`](super::EndpointConfig::max_handshakes).
    #[error("the handshake was not finished when others needed its slot")]
    GaveWay,
    /// The handshake was not finished within a second, and another connection of the same endpoint went on in its place.
    #[error(
        "the handshake was not finished within 1 s, and another connection with the same endpoint id took its place"
    )]
    Superseded,
    /// The peer's endpoint id belongs to somebody else, by certificate or, without one, by host.
    #[error(
        "{} shows an endpoint id that belongs to {owner}; two endpoints never have the same id, so check who copied it",
        Who(identity.as_deref())
    )]
    IdConflict {
        /// The refused peer by its certificate.
        identity: Option<Arc<PeerIdentity>>,
        /// The address, and certificate if there is one, of the peer that the id belongs to.
        owner: Arc<str>,
    },
    /// The peer's slot was needed for one of another certificate or, without certificates, of another host, which had fewer
    /// peers.
    #[error("all {0} peer slots are taken, and this certificate or host had the most; others need one")]
    Evicted(usize),
    /// The peer is not among those who may peer ([`EndpointConfig::admits`](super::EndpointConfig::admits)).
    #[error("{} is not allowed to peer here: no allowed identity matches it", Who(.0.as_deref()))]
    NotAllowed(
        /// Who it is by its certificate.
        Option<Arc<PeerIdentity>>,
    ),
    /// The endpoint has as many peers as it may have.
    #[error("there are {0} peers already, as many as allowed")]
    TooManyPeers(usize),
    /// The endpoint is shutting down.
    #[error("this endpoint is shutting down")]
    ShuttingDown,
}

struct Who<'a>(Option<&'a PeerIdentity>);

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(identity) => identity.fmt(f),
            None => f.write_str("a peer without a certificate"),
        }
    }
}

impl ConnectError {
    /// As [`ConnectError::cause`], with a word for each kind of TLS error: what is logged separately.
    pub(super) fn log_cause(&self) -> &'static str {
        match self {
            ConnectError::Tls(error) | ConnectError::Stream(ConnectionFault::Tls(error)) => error.kind(),
            other => other.cause(),
        }
    }

    /// The kind of error in a word, for counting: one of a fixed few.
    #[must_use]
    pub fn cause(&self) -> &'static str {
        match self {
            ConnectError::Dial(error) => error.cause(),
            ConnectError::Tls(_) | ConnectError::Stream(ConnectionFault::Tls(_)) => "tls",
            ConnectError::TlsTimeout(_) => "tls_timeout",
            ConnectError::Peering(error) | ConnectError::Closed(CloseReason::Failed(error)) => match error {
                PeeringError::HandshakeTimeout { .. } => "timeout",
                PeeringError::Refused { .. } => "refused",
                PeeringError::ClosedInHandshake { .. } => "closed",
                PeeringError::Incompatible { .. } => "incompatible",
                PeeringError::SelfConnection(_) => "self",
                PeeringError::Silent => "silent",
                // What came is not what Broker says.
                PeeringError::Framing(_)
                | PeeringError::Malformed(_)
                | PeeringError::Unexpected { .. }
                | PeeringError::NilPeer
                | PeeringError::IdChanged { .. }
                | PeeringError::FilterTooLarge => "handshake",
            },
            ConnectError::Closed(CloseReason::Left | CloseReason::LeftUnconfirmed) => "left",
            ConnectError::Closed(CloseReason::PeerLeft) => "peer_left",
            ConnectError::Closed(CloseReason::Redundant { .. }) => "redundant",
            ConnectError::Closed(CloseReason::Lost) | ConnectError::Stream(ConnectionFault::Io(_)) => "lost",
            ConnectError::Stream(ConnectionFault::DoesNotRead) => "does_not_read",
            ConnectError::Overflow { .. } => "overflow",
            ConnectError::GaveWay => "gave_way",
            ConnectError::Superseded => "superseded",
            ConnectError::IdConflict { .. } => "id_conflict",
            ConnectError::Evicted(_) => "evicted",
            ConnectError::NotAllowed(_) => "not_allowed",
            ConnectError::TooManyPeers(_) => "too_many_peers",
            ConnectError::ShuttingDown => "shutting_down",
        }
    }
}

/// What happens to peers, as it happens.
#[derive(Debug)]
pub struct StatusReceiver(pub(super) broadcast::Receiver<Status>);

impl StatusReceiver {
    /// The next status; `None` once the endpoint is gone. A receiver that is more than 1024 behind
    /// misses the oldest.
    pub async fn recv(&mut self) -> Option<Status> {
        loop {
            match self.0.recv().await {
                Ok(status) => return Some(status),
                Err(broadcast::error::RecvError::Closed) => return None,
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "a status receiver was too slow and missed some");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::net::AddressError;

    /// One word, whichever way an error came about.
    #[test]
    fn causes_are_words() {
        let silent = || PeeringError::HandshakeTimeout { expected: "hello" };
        let broken = || Arc::new(io::Error::from(io::ErrorKind::ConnectionReset));
        for (error, cause) in [
            (ConnectError::Dial(DialError::ResolveTimeout(Duration::ZERO)), "resolve"),
            (ConnectError::Dial(AddressError::NoPort.into()), "address"),
            (ConnectError::Tls(TlsError::NotTls), "tls"),
            (ConnectError::Stream(ConnectionFault::Tls(TlsError::NotTls)), "tls"),
            (ConnectError::Stream(ConnectionFault::Io(broken())), "lost"),
            (ConnectError::Peering(silent()), "timeout"),
            (ConnectError::Closed(CloseReason::Failed(silent())), "timeout"),
            (ConnectError::Peering(PeeringError::NilPeer), "handshake"),
            (ConnectError::NotAllowed(None), "not_allowed"),
        ] {
            assert_eq!(error.cause(), cause, "{error}");
        }
    }
}
