//! Why a peering ends, sorted by whose doing it is.

use crate::data::EndpointId;
use crate::wire::{DecodeError, DecodeReason, ErrorCode, FrameError};

/// How a peering, or the attempt at one, came to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// We left, and the peer confirmed that it has everything, or no peering stood yet.
    #[error("left")]
    Left,
    /// We left, and the peer did not confirm in time.
    #[error("left, without the peer's confirmation")]
    LeftUnconfirmed,
    /// The peer said BYE and closed.
    #[error("the peer left")]
    PeerLeft,
    /// The stream ended without a BYE.
    #[error("the connection to the peer was lost")]
    Lost,
    /// We have a peering with this endpoint already and said so.
    #[error("refused: there is a peering with {peer} already")]
    Redundant {
        /// The endpoint.
        peer: EndpointId,
    },
    /// Something went wrong.
    #[error(transparent)]
    Failed(#[from] PeeringError),
}

/// What can go wrong in a peering.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeeringError {
    /// *Malformed*: the peer's stream cannot be cut into frames.
    #[error("the peer sent what is no frame: {0}")]
    Framing(#[from] FrameError),
    /// *Malformed*: a handshake message that cannot be read.
    #[error("the peer sent a malformed handshake message: {0}")]
    Malformed(#[from] DecodeError),
    /// *Misbehaved*: a handshake message where another had to come.
    #[error("the peer sent {received} where {expected} had to come")]
    Unexpected {
        /// What would have been right.
        expected: &'static str,
        /// What came.
        received: &'static str,
    },
    /// *Misbehaved*: the peer has our own endpoint id.
    #[error(
        "connected to itself: the peer has this endpoint's own id {0}; check that the address is neither this \
         endpoint's own nor that of an echo server, which is not a Broker"
    )]
    SelfConnection(EndpointId),
    /// *Misbehaved*: an endpoint id that no endpoint can have.
    #[error("the peer has the nil endpoint id, which stands for nobody")]
    NilPeer,
    /// *Misbehaved*: the endpoint id changed in the middle of the handshake.
    #[error("the peer said hello as {first} and went on as {then}")]
    IdChanged {
        /// Who said hello.
        first: EndpointId,
        /// Who went on.
        then: EndpointId,
    },
    /// *Incompatible*: no protocol version in common.
    #[error("the peer speaks versions {min} to {max} of the protocol, this endpoint only version 1")]
    Incompatible {
        /// The peer's lowest version.
        min: u8,
        /// The peer's highest version.
        max: u8,
    },
    /// *Dropped by the peer*: it ended the handshake with this.
    #[error("the peer {peer} refused: {code}: {description}")]
    Refused {
        /// The peer.
        peer: EndpointId,
        /// Broker's code.
        code: ErrorCode,
        /// The peer's words: the first 256 characters, without control characters.
        description: String,
    },
    /// *Dropped by the peer*: the stream ended during the handshake.
    #[error(
        "the peer closed the connection during the handshake, when {expected} had to come; \
         it may expect TLS (turn TLS on here, or off there), or be shutting down"
    )]
    ClosedInHandshake {
        /// What had to come next.
        expected: &'static str,
    },
    /// *Timed out*: the handshake did not come to its end.
    #[error(
        "the peer was silent when {expected} had to come; \
         it may expect TLS where this side has it off, or not be a Broker"
    )]
    HandshakeTimeout {
        /// What had to come next.
        expected: &'static str,
    },
    /// *Timed out*: nothing came from the peer, not even the answer to a ping.
    #[error("the peer has gone silent: not even a ping is answered")]
    Silent,
    /// Our own filter is too large for the wire.
    #[error("this endpoint's filter is too large to be announced")]
    FilterTooLarge,
}

impl PeeringError {
    /// The `drop_conn` that tells the peer, as code and words; `None` where the peer would not
    /// understand it, or said the last word itself.
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
            PeeringError::NilPeer => (ErrorCode::PEER_INVALID, "the nil endpoint id stands for nobody"),
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
