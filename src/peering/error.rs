//! The reasons for the end of a peering, and their categories.

use std::sync::Arc;

use crate::data::EndpointId;
use crate::wire::{DecodeError, DecodeReason, ErrorCode, FrameError};

/// The category of an error. It shows which side caused the error, and whether it is useful to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The peer sent bytes that cannot be decoded.
    Malformed,
    /// The peer sent valid messages in a way that violates the protocol.
    Misbehaved,
    /// The two sides have no version, cipher suite or kind of TLS in common.
    Incompatible,
    /// The peer refused this endpoint.
    Refused,
    /// This endpoint refused the peer: its certificate, its endpoint id, or its identity.
    Denied,
    /// A resource limit of this endpoint was reached.
    Limit,
    /// The peer did not respond in time.
    TimedOut,
    /// One side closed the connection without reporting an error. For example, the side shut down, or the two endpoints
    /// have a second connection. During a handshake, the cause may be incompatible settings.
    Closed,
    /// The operating system reported an error.
    Io,
    /// A setting of this endpoint is invalid.
    Local,
}

/// How a peering or a handshake ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This endpoint left. Either the peer confirmed that it received everything, or the peering was not established yet.
    #[error("left")]
    Left,
    /// This endpoint left, and the peer did not confirm in time.
    #[error("left; the peer did not confirm")]
    LeftUnconfirmed,
    /// The peer sent BYE and closed the connection. A client of a ZeroMQ proxy only closes the connection.
    #[error("the peer left")]
    PeerLeft,
    /// The stream ended without a BYE.
    #[error("the connection to the peer was lost")]
    Lost,
    /// A peering with the same peer exists already, so this connection was refused.
    #[error("redundant connection: a peering with {peer} exists already")]
    Redundant {
        /// The peer's endpoint id.
        peer: EndpointId,
    },
    /// An error; see [`PeeringError`].
    #[error(transparent)]
    Failed(#[from] PeeringError),
}

/// An error in a peering.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeeringError {
    /// The peer's stream cannot be split into frames.
    #[error("the peer sent an invalid frame: {0}")]
    Framing(#[from] FrameError),
    /// A handshake message cannot be decoded.
    #[error("the peer sent a malformed handshake message: {0}")]
    Malformed(#[from] DecodeError),
    /// The peer sent a handshake message out of order.
    #[error("the peer sent {received} instead of {expected}")]
    Unexpected {
        /// The expected messages.
        expected: &'static str,
        /// The message that was received.
        received: &'static str,
    },
    /// The peer has our own endpoint id.
    #[error(
        "connected to itself: the peer has this endpoint's own id {0}; check that the address is not an address of this \
         endpoint or of an echo server"
    )]
    SelfConnection(EndpointId),
    /// The peer has the nil endpoint id, which is reserved.
    #[error("the peer has the nil endpoint id, which is reserved")]
    NilPeer,
    /// The peer's endpoint id changed during the handshake.
    #[error("the peer's endpoint id changed during the handshake from {first} to {then}")]
    IdChanged {
        /// The id in `hello`.
        first: EndpointId,
        /// The id in the later message.
        then: EndpointId,
    },
    /// The two endpoints have no protocol version in common.
    #[error("the peer supports protocol versions {min} to {max}, this endpoint only version 1")]
    Incompatible {
        /// The peer's lowest version.
        min: u8,
        /// The peer's highest version.
        max: u8,
    },
    /// The peer ended the handshake with a `drop_conn`.
    #[error("peer {peer} refused the connection: {code}: {description}")]
    Refused {
        /// The peer's endpoint id.
        peer: EndpointId,
        /// Broker's code.
        code: ErrorCode,
        /// The peer's description: the first 256 characters, without control characters.
        description: String,
    },
    /// The peer closed the connection during the handshake.
    #[error("the peer closed the connection during the handshake, before {expected}; {}", closed_hint(*tls))]
    ClosedInHandshake {
        /// The expected messages.
        expected: &'static str,
        /// Whether the stream is TLS: [`Config::tls`](super::Config::tls).
        tls: bool,
    },
    /// The handshake was not completed in time.
    #[error("timed out while waiting for {expected}; {}", timeout_hint(*tls))]
    HandshakeTimeout {
        /// The expected messages.
        expected: &'static str,
        /// Whether the stream is TLS: [`Config::tls`](super::Config::tls).
        tls: bool,
    },
    /// The peer sent nothing and did not answer a ping.
    #[error("the peer does not respond: a ping was not answered in time")]
    Silent,
    /// This endpoint's own filter is too large to be encoded.
    #[error("this endpoint's filter is too large to be announced")]
    FilterTooLarge,
    /// An error of a session with a different protocol, such as the WebSocket API.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// An error of a session whose protocol is not Broker's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct SessionError {
    /// The category.
    pub kind: ErrorKind,
    /// The kind of error as one word from a fixed set.
    pub cause: &'static str,
    /// The description, with a hint.
    pub text: Arc<str>,
}

const fn closed_hint(tls: bool) -> &'static str {
    if tls {
        "TLS was established, so the peer may not be a Broker endpoint, not allow this endpoint, or be shutting down (see its \
         log)"
    } else {
        "it may expect TLS (enable TLS here or disable it there) or be shutting down"
    }
}

const fn timeout_hint(tls: bool) -> &'static str {
    if tls {
        "TLS was established, so the peer may be overloaded, or not be a Broker endpoint"
    } else {
        "the peer may expect TLS, which is disabled here, or not be a Broker endpoint"
    }
}

impl CloseReason {
    /// Returns the category of the reason.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            CloseReason::Left
            | CloseReason::LeftUnconfirmed
            | CloseReason::PeerLeft
            | CloseReason::Lost
            | CloseReason::Redundant { .. } => ErrorKind::Closed,
            CloseReason::Failed(error) => error.kind(),
        }
    }
}

impl PeeringError {
    /// Returns the category of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            PeeringError::Framing(_) | PeeringError::Malformed(_) => ErrorKind::Malformed,
            PeeringError::Unexpected { .. }
            | PeeringError::SelfConnection(_)
            | PeeringError::NilPeer
            | PeeringError::IdChanged { .. } => ErrorKind::Misbehaved,
            PeeringError::Incompatible { .. } => ErrorKind::Incompatible,
            PeeringError::Refused { .. } => ErrorKind::Refused,
            PeeringError::ClosedInHandshake { .. } => ErrorKind::Closed,
            PeeringError::HandshakeTimeout { .. } | PeeringError::Silent => ErrorKind::TimedOut,
            PeeringError::FilterTooLarge => ErrorKind::Local,
            PeeringError::Session(error) => error.kind,
        }
    }

    /// Returns the code and description of the `drop_conn` that reports this error to the peer. `None` if the peer could
    /// not read the `drop_conn`, or if the peer has ended the handshake itself.
    #[must_use]
    pub fn drop_conn(&self) -> Option<(ErrorCode, &'static str)> {
        Some(match self {
            PeeringError::Malformed(error) => match error.reason() {
                DecodeReason::WrongMagic(_) => (ErrorCode::WRONG_MAGIC_NUMBER, "wrong magic number"),
                _ => (ErrorCode::INVALID_MESSAGE, "malformed handshake message"),
            },
            PeeringError::Framing(_) => (ErrorCode::INVALID_MESSAGE, "malformed frame"),
            PeeringError::Unexpected { .. } => {
                (ErrorCode::UNEXPECTED_HANDSHAKE_MESSAGE, "unexpected handshake message")
            }
            PeeringError::SelfConnection(_) => (ErrorCode::PEER_INVALID, "connected to itself"),
            PeeringError::NilPeer => (ErrorCode::PEER_INVALID, "the nil endpoint id is reserved"),
            PeeringError::IdChanged { .. } => {
                (ErrorCode::PEER_INVALID, "endpoint id changed during the handshake")
            }
            PeeringError::Incompatible { .. } => {
                (ErrorCode::PEER_INCOMPATIBLE, "unsupported versions offered")
            }
            PeeringError::HandshakeTimeout { .. } => (ErrorCode::PEER_TIMEOUT, "handshake timed out"),
            PeeringError::FilterTooLarge => (ErrorCode::LOGIC_ERROR, "filter too large"),
            PeeringError::Refused { .. }
            | PeeringError::ClosedInHandshake { .. }
            | PeeringError::Silent
            | PeeringError::Session(_) => return None,
        })
    }
}
