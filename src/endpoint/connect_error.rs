//! Errors of a connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::net::tls::{PeerIdentity, TlsError};
use crate::net::{ConnectionFault, DialError};
use crate::peering::{CloseReason, ErrorKind, PeeringError};

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
    /// A publisher of a ZeroMQ cluster did not read the subscriptions of the cluster. It is disconnected if it delays changes of
    /// subscriptions for longer than [`EndpointConfig::drain_timeout`](super::EndpointConfig::drain_timeout), or if more bytes
    /// than the limit are unread.
    #[error(
        "the publisher reads too slowly: changes of subscriptions were unread for too long, or more than {limit} bytes of them were \
         unread"
    )]
    UnreadSubscriptions {
        /// The maximum length of the unread changes in bytes.
        limit: usize,
    },
    /// The subscriptions of a ZeroMQ cluster need too much memory. The limit of a subscriber is 4 MiB, that of an owner 16 MiB, and that
    /// of all subscribers 64 MiB. A subscription needs 384 bytes and twice its length. If an owner, or all subscribers, exceed a
    /// limit, the subscriber of the owner that needs the most is disconnected.
    #[error(
        "the subscriptions of {subject} need more than {limit} bytes, and no other subscriber needs more"
    )]
    TooManySubscriptions {
        /// The maximum memory of the subscriptions in bytes.
        limit: usize,
        /// The subscriptions to which the limit applies, in words.
        subject: &'static str,
    },
    /// The handshake was not complete when a waiting connection needed its slot: see
    /// [`EndpointConfig::max_handshakes`](super::EndpointConfig::max_handshakes).
    #[error("the handshake was not complete when a waiting connection needed its slot")]
    GaveWay,
    /// The handshake was not complete within a second, and a later connection of the same endpoint replaced it.
    #[error(
        "the handshake was not complete within 1 s, and a later connection with the same endpoint id replaced it"
    )]
    Superseded,
    /// The peer's endpoint id belongs to the owner of a different certificate or, without certificates, to a different
    /// host.
    #[error(
        "{} uses an endpoint id that belongs to {owner}; each endpoint needs its own id, so check whether the id was copied",
        Subject(identity.as_deref())
    )]
    IdConflict {
        /// The identity in the certificate of the refused peer.
        identity: Option<Arc<PeerIdentity>>,
        /// The address of the peer that the id belongs to, and its certificate identity if it has one.
        owner: Arc<str>,
    },
    /// The peer's slot was given to a new peer with a different certificate or, without certificates, on a different host.
    /// That certificate, token or host had fewer peers.
    #[error(
        "all {0} peer slots were taken, and a new peer got this slot, because this certificate, token or host had the most peers"
    )]
    Evicted(usize),
    /// The peer is not admitted: see [`EndpointConfig::admits`](super::EndpointConfig::admits).
    #[error("{} is not allowed to peer here: no allowed identity matches it", Subject(.0.as_deref()))]
    NotAllowed(
        /// The identity in the peer's certificate.
        Option<Arc<PeerIdentity>>,
    ),
    /// The settings no longer accept the CURVE key of the client: see [`Endpoint::set_zeromq`](super::Endpoint::set_zeromq).
    #[error("the CURVE key of the client or of this server was removed or replaced")]
    KeyRemoved,
    /// The token would be sent without TLS over a network: see
    /// [`WebSocketConfig::token`](super::WebSocketConfig::token).
    #[error(
        "a token is not sent over ws:// to another host, because the connection is not encrypted; use wss://"
    )]
    ExposedToken,
    /// All peer slots are taken.
    #[error("all {0} peer slots are taken")]
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
    /// Like [`ConnectError::cause`], but with a different word for each kind of TLS error. Log lines are limited separately
    /// for each word.
    pub(super) fn log_cause(&self) -> &'static str {
        match self {
            ConnectError::Tls(error) | ConnectError::Stream(ConnectionFault::Tls(error)) => error.cause(),
            other => other.cause(),
        }
    }

    /// Returns whether this side ended the peering because of this error.
    pub(super) const fn is_of_this_side(&self) -> bool {
        matches!(
            self,
            ConnectError::Overflow { .. }
                | ConnectError::UnreadSubscriptions { .. }
                | ConnectError::TooManySubscriptions { .. }
                | ConnectError::Evicted(_)
                | ConnectError::KeyRemoved
                | ConnectError::ShuttingDown
                | ConnectError::Closed(CloseReason::Left | CloseReason::LeftUnconfirmed)
        )
    }

    /// Returns the kind of error as one word from a fixed set. The word can be the label of a counter.
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
                PeeringError::Session(error) => error.cause,
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
            ConnectError::UnreadSubscriptions { .. } => "unread_subscriptions",
            ConnectError::TooManySubscriptions { .. } => "too_many_subscriptions",
            ConnectError::GaveWay => "gave_way",
            ConnectError::Superseded => "superseded",
            ConnectError::IdConflict { .. } => "id_conflict",
            ConnectError::Evicted(_) => "evicted",
            ConnectError::NotAllowed(_) => "not_allowed",
            ConnectError::KeyRemoved => "key_removed",
            ConnectError::ExposedToken => "exposed_token",
            ConnectError::TooManyPeers(_) => "too_many_peers",
            ConnectError::ShuttingDown => "shutting_down",
        }
    }

    /// Returns the category of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            ConnectError::Dial(error) => error.kind(),
            ConnectError::Tls(error) => error.kind(),
            ConnectError::TlsTimeout(_) => ErrorKind::TimedOut,
            ConnectError::Peering(error) => error.kind(),
            ConnectError::Closed(reason) => reason.kind(),
            ConnectError::Stream(fault) => fault.kind(),
            ConnectError::IdConflict { .. } | ConnectError::NotAllowed(_) | ConnectError::KeyRemoved => {
                ErrorKind::Denied
            }
            ConnectError::ExposedToken => ErrorKind::Local,
            ConnectError::Overflow { .. }
            | ConnectError::UnreadSubscriptions { .. }
            | ConnectError::TooManySubscriptions { .. }
            | ConnectError::GaveWay
            | ConnectError::Evicted(_)
            | ConnectError::TooManyPeers(_) => ErrorKind::Limit,
            ConnectError::Superseded | ConnectError::ShuttingDown => ErrorKind::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::data::EndpointId;
    use crate::net::tls::Refusal;
    use crate::net::{AddressError, ResolveError};

    /// The same error has the same cause in each variant of [`ConnectError`] that contains it.
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

    #[test]
    fn every_error_has_a_category() {
        let io = || Arc::new(io::Error::from(io::ErrorKind::ConnectionReset));
        let wait = Duration::from_secs(1);
        let peer = EndpointId::from_bytes([1; 16]);
        let refused = |refusal| ConnectError::Tls(TlsError::Refused(refusal));
        for (error, kind) in [
            (ConnectError::Dial(AddressError::NoPort.into()), ErrorKind::Local),
            (ConnectError::Dial(ResolveError::Zone("eth9".into()).into()), ErrorKind::Local),
            (ConnectError::Dial(ResolveError::Name(io()).into()), ErrorKind::Io),
            (ConnectError::Dial(DialError::ResolveTimeout(wait)), ErrorKind::TimedOut),
            (ConnectError::Tls(TlsError::NotTls), ErrorKind::Incompatible),
            (ConnectError::Tls(TlsError::NoPeerCertificate), ErrorKind::Denied),
            (ConnectError::Tls(TlsError::Closed), ErrorKind::Closed),
            (refused(Refusal::HandshakeFailure), ErrorKind::Incompatible),
            (refused(Refusal::ProtocolVersion), ErrorKind::Incompatible),
            (refused(Refusal::InsufficientSecurity), ErrorKind::Incompatible),
            (refused(Refusal::UnknownCa), ErrorKind::Refused),
            (refused(Refusal::CertificateRequired), ErrorKind::Refused),
            (ConnectError::TlsTimeout(wait), ErrorKind::TimedOut),
            (ConnectError::Peering(PeeringError::NilPeer), ErrorKind::Misbehaved),
            (ConnectError::Peering(PeeringError::Incompatible { min: 2, max: 3 }), ErrorKind::Incompatible),
            (ConnectError::Peering(PeeringError::Silent), ErrorKind::TimedOut),
            (ConnectError::Peering(PeeringError::FilterTooLarge), ErrorKind::Local),
            (ConnectError::Closed(CloseReason::PeerLeft), ErrorKind::Closed),
            (ConnectError::Closed(CloseReason::Lost), ErrorKind::Closed),
            (ConnectError::Closed(CloseReason::Redundant { peer }), ErrorKind::Closed),
            (ConnectError::Superseded, ErrorKind::Closed),
            (ConnectError::ShuttingDown, ErrorKind::Closed),
            (ConnectError::Stream(ConnectionFault::Io(io())), ErrorKind::Io),
            (ConnectError::Stream(ConnectionFault::DoesNotRead), ErrorKind::Misbehaved),
            (ConnectError::NotAllowed(None), ErrorKind::Denied),
            (ConnectError::IdConflict { identity: None, owner: "a host".into() }, ErrorKind::Denied),
            (ConnectError::KeyRemoved, ErrorKind::Denied),
            (ConnectError::ExposedToken, ErrorKind::Local),
            (ConnectError::Overflow { dropped: 1 }, ErrorKind::Limit),
            (ConnectError::UnreadSubscriptions { limit: 1 }, ErrorKind::Limit),
            (ConnectError::TooManySubscriptions { limit: 1, subject: "all" }, ErrorKind::Limit),
            (ConnectError::GaveWay, ErrorKind::Limit),
            (ConnectError::Evicted(1), ErrorKind::Limit),
            (ConnectError::TooManyPeers(1), ErrorKind::Limit),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
}
