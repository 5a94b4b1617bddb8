//! Why a peering ends, by whose fault it is.

use crate::data::EndpointId;
use crate::wire::{DecodeError, DecodeReason, ErrorCode, FrameError};

/// How a peering or a handshake ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This endpoint left, and the peer confirmed that it received everything, or the peering was not established yet.
    #[error("left")]
    Left,
    /// This endpoint left, and the peer did not confirm in time.
    #[error("left; the peer did not confirm")]
    LeftUnconfirmed,
    /// The peer sent BYE and closed the connection.
    #[error("the peer left")]
    PeerLeft,
    /// The stream ended without a BYE.
    #[error("the connection to the peer was lost")]
    Lost,
    /// A peering with this endpoint exists already, so this connection was refused.
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
    /// *Malformed*: the peer's stream cannot be split into frames.
    #[error("the peer sent an invalid frame: {0}")]
    Framing(#[from] FrameError),
    /// *Malformed*: a handshake message cannot be decoded.
    #[error("the peer sent a malformed handshake message: {0}")]
    Malformed(#[from] DecodeError),
    /// *Misbehaved*: a handshake message out of order.
    #[error("the peer sent {received} instead of {expected}")]
    Unexpected {
        /// The expected messages.
        expected: &'static str,
        /// The message that was received.
        received: &'static str,
    },
    /// *Misbehaved*: the peer has our own endpoint id.
    #[error(
        "connected to itself: the peer has this endpoint's own id {0}; check that the address is neither this \
         endpoint's own nor that of an echo server, which is not a Broker"
    )]
    SelfConnection(EndpointId),
    /// *Misbehaved*: the peer has the nil endpoint id, which is reserved.
    #[error("the peer has the nil endpoint id, which is reserved")]
    NilPeer,
    /// *Misbehaved*: the peer's endpoint id changed during the handshake.
    #[error("the peer's endpoint id changed during the handshake from {first} to {then}")]
    IdChanged {
        /// The id in `hello`.
        first: EndpointId,
        /// The id in the later message.
        then: EndpointId,
    },
    /// *Incompatible*: no protocol version in common.
    #[error("the peer supports protocol versions {min} to {max}, this endpoint only version 1")]
    Incompatible {
        /// The peer's lowest version.
        min: u8,
        /// The peer's highest version.
        max: u8,
    },
    /// *Refused*: the peer ended the handshake with a `drop_conn`.
    #[error("peer {peer} refused the connection: {code}: {description}")]
    Refused {
        /// The peer's endpoint id.
        peer: EndpointId,
        /// Broker's code.
        code: ErrorCode,
        /// The peer's description: the first 256 characters, without control characters.
        description: String,
    },
    /// *Refused*: the peer closed the connection during the handshake.
    #[error(
        "the peer closed the connection during the handshake, before {expected}; \
         it may expect TLS (enable TLS here or disable it there) or be shutting down"
    )]
    ClosedInHandshake {
        /// The expected messages.
        expected: &'static str,
    },
    /// *Timed out*: the handshake was not completed in time.
    #[error(
        "timed out while waiting for {expected}; \
         the peer may expect TLS, which is disabled here, or not be a Broker endpoint"
    )]
    HandshakeTimeout {
        /// The expected messages.
        expected: &'static str,
    },
    /// *Timed out*: the peer sent nothing and did not answer a ping.
    #[error("the peer does not respond: a ping was not answered in time")]
    Silent,
    /// This endpoint's own filter is too large to be encoded.
    #[error("this endpoint's filter is too large to be announced")]
    FilterTooLarge,
}

impl PeeringError {
    /// Returns the code and description of the `drop_conn` that reports this error to the peer. `None` if the peer could not
    /// read it or has ended the handshake itself.
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
            PeeringError::Refused { .. } | PeeringError::ClosedInHandshake { .. } | PeeringError::Silent => {
                return None;
            }
        })
    }
}
