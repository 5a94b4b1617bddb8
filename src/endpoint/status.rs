//! The status of an endpoint's peers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use crate::data::EndpointId;
use crate::net::tls::{PeerIdentity, TlsError};
use crate::net::{ConnectionFault, DialError};
use crate::peering::{CloseReason, PeeringError};

/// A change of a peer's status. The names are Broker's.
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
        /// The number of messages for the peer that were queued or not completely written. The peer has not necessarily
        /// read those that were written.
        unsent: usize,
    },
    /// An attempt to connect failed.
    PeerUnavailable {
        /// The target: `host:port`.
        address: Arc<str>,
        /// The reason.
        error: ConnectError,
        /// The delay before the next attempt. `None` if there is none.
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

/// Why a connection did not become a peering, or why a peering ended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The TCP connection failed.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// TLS failed.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The TLS handshake was not completed in time.
    #[error(
        "TLS handshake timed out after {:.0} s; the peer may be a plain TCP endpoint (Broker::disable_ssl=T): disable \
         TLS here or enable it there",
        .0.as_secs_f64()
    )]
    TlsTimeout(Duration),
    /// The peering failed because of an error of Broker's protocol.
    #[error(transparent)]
    Peering(#[from] PeeringError),
    /// The peering ended without an error.
    #[error("{0}")]
    Closed(CloseReason),
    /// The stream failed.
    #[error(transparent)]
    Stream(ConnectionFault),
    /// The peer did not read fast enough, and its queue was full.
    #[error("the peer did not read fast enough, and {dropped} messages for it were dropped")]
    Overflow {
        /// The number of messages that were dropped.
        dropped: usize,
    },
    /// The handshake was not complete when another connection needed its slot: see
    /// [`EndpointConfig::max_handshakes`](super::EndpointConfig::max_handshakes).
    #[error("the handshake was not finished when others needed its slot")]
    GaveWay,
    /// The handshake was not complete within a second, and another connection of the same endpoint replaced it.
    #[error(
        "the handshake was not finished within 1 s, and another connection with the same endpoint id took its place"
    )]
    Superseded,
    /// The peer's endpoint id belongs to the owner of another certificate or, without certificates, to another host.
    #[error(
        "{} shows an endpoint id that belongs to {owner}; two endpoints never have the same id, so check who copied it",
        Subject(identity.as_deref())
    )]
    IdConflict {
        /// The identity in the certificate of the refused peer.
        identity: Option<Arc<PeerIdentity>>,
        /// The address of the peer that the id belongs to, and its certificate identity if it has one.
        owner: Arc<str>,
    },
    /// The slot of the peer was given to a peer of another certificate or, without certificates, of another host, which had
    /// fewer peers.
    #[error("all {0} peer slots are taken, and this certificate or host had the most; others need one")]
    Evicted(usize),
    /// The peer is not admitted: see [`EndpointConfig::admits`](super::EndpointConfig::admits).
    #[error("{} is not allowed to peer here: no allowed identity matches it", Subject(.0.as_deref()))]
    NotAllowed(
        /// The identity in the peer's certificate.
        Option<Arc<PeerIdentity>>,
    ),
    /// All peer slots are taken.
    #[error("there are {0} peers already, as many as allowed")]
    TooManyPeers(usize),
    /// The endpoint is shutting down.
    #[error("this endpoint is shutting down")]
    ShuttingDown,
}

struct Subject<'a>(Option<&'a PeerIdentity>);

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(identity) => identity.fmt(f),
            None => f.write_str("a peer without a certificate"),
        }
    }
}

impl ConnectError {
    /// Like [`ConnectError::cause`], but with a separate word for each kind of TLS error. Log lines are limited
    /// separately for each word.
    pub(super) fn log_cause(&self) -> &'static str {
        match self {
            ConnectError::Tls(error) | ConnectError::Stream(ConnectionFault::Tls(error)) => error.cause(),
            other => other.cause(),
        }
    }

    /// Returns the kind of error as one word out of a fixed set, such as the label of a counter.
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
                // The peer violated Broker's protocol.
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

/// Receives changes of the status of peers.
#[derive(Debug)]
pub struct StatusReceiver(pub(super) broadcast::Receiver<Status>);

impl StatusReceiver {
    /// Waits for the next status. Returns `None` when all clones of the endpoint are dropped. Cancel-safe.
    ///
    /// At most 1024 statuses are buffered; a receiver that is slower misses the oldest.
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
    use std::io;

    use super::*;
    use crate::net::AddressError;

    /// An error has the same cause in all variants that contain it.
    #[test]
    fn an_error_has_one_cause_in_all_variants() {
        let silent = || PeeringError::HandshakeTimeout { expected: "hello", tls: false };
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
