//! Why a session ends.

use super::config::SocketType;
use super::frame::FrameError;
use crate::peering::{CloseReason, ErrorKind, PeeringError, SessionError};
use crate::wire::ForeignProtocol;

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("the peer does not speak the protocol of ZeroMQ; {}", foreign_hint(*.0))]
    NotZmtp(Option<ForeignProtocol>),
    #[error(
        "the peer speaks version {0} of the protocol of ZeroMQ, and this side version 3; update ZeroMQ there"
    )]
    Version(u8),
    #[error(
        "the peer uses the security mechanism {peer}, and this side {own}; {}",
        mechanism_hint(own, peer)
    )]
    Mechanism { peer: String, own: &'static str },
    #[error("the peer sent an invalid frame: {0}")]
    Frame(#[from] FrameError),
    #[error("the peer sent an invalid command{}: {reason}", with_space(name))]
    Command { name: String, reason: &'static str },
    #[error("the peer sent {received} instead of READY")]
    NotReady { received: String },
    #[error(
        "the peer's socket type {peer} cannot be connected to {own}; check that the address is that of the {} socket",
        own.peers()[0]
    )]
    SocketType { peer: String, own: SocketType },
    #[error("the peer reports an error: {0}")]
    Reported(String),
    #[error("the peer sent a message of more than {limit} bytes")]
    MessageTooLarge { limit: usize },
    #[error("the peer has more than {limit} subscriptions")]
    TooManySubscriptions { limit: usize },
    #[error("the topics of the peer's subscriptions have more than {limit} bytes")]
    SubscriptionsTooLong { limit: usize },
    #[error("the peer subscribed to a topic of {length} bytes, more than the limit of {limit}")]
    TopicTooLong { length: usize, limit: usize },
    #[error("the peer closed the connection before {}; {}", stage.expected(), stage.closed_hint())]
    ClosedInHandshake { stage: Stage },
    #[error("timed out while waiting for {}; {}", stage.expected(), stage.timeout_hint())]
    HandshakeTimeout { stage: Stage },
}

/// What an incomplete handshake waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Greeting,
    Ready,
    /// [`ZeroMq::admit`](super::ZeroMq::admit).
    Admission,
}

impl Stage {
    fn expected(self) -> &'static str {
        match self {
            Stage::Greeting => "the peer's greeting",
            Stage::Ready => "the peer's READY",
            Stage::Admission => "this side's answer",
        }
    }

    fn closed_hint(self) -> &'static str {
        match self {
            Stage::Greeting => {
                "it may require the security mechanism CURVE, not be a ZeroMQ socket, or be shutting down"
            }
            Stage::Ready => {
                "its socket may be of a type that cannot be connected to this one, or it may be shutting down"
            }
            Stage::Admission => "it may be shutting down",
        }
    }

    fn timeout_hint(self) -> &'static str {
        match self {
            Stage::Greeting => "the peer may not be a ZeroMQ socket, or expect TLS",
            Stage::Ready | Stage::Admission => "one of the two sides may be overloaded",
        }
    }
}

fn with_space(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" {name}") }
}

const fn foreign_hint(protocol: Option<ForeignProtocol>) -> &'static str {
    match protocol {
        Some(ForeignProtocol::TlsHandshake | ForeignProtocol::TlsAlert) => {
            "it speaks TLS, which ZeroMQ does not use: check the address"
        }
        Some(ForeignProtocol::Http) => "it speaks HTTP: check the address",
        Some(ForeignProtocol::Ssh) => "it is an SSH server: check the address",
        _ => "check the address: it may be that of an endpoint with Broker's native protocol",
    }
}

fn mechanism_hint(own: &str, peer: &str) -> &'static str {
    match (own, peer) {
        ("NULL", "CURVE") => "configure the keys of CURVE here",
        (_, "NULL") => "configure the keys of CURVE there, or none here",
        _ => "this mechanism is not supported, and Zeek does not use it",
    }
}

impl Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Frame(FrameError::TooLarge { .. })
            | Error::MessageTooLarge { .. }
            | Error::TooManySubscriptions { .. }
            | Error::SubscriptionsTooLong { .. }
            | Error::TopicTooLong { .. } => ErrorKind::Limit,
            Error::NotZmtp(_) | Error::Frame(_) | Error::Command { .. } => ErrorKind::Malformed,
            Error::Version(_) | Error::Mechanism { .. } | Error::SocketType { .. } => ErrorKind::Incompatible,
            Error::NotReady { .. } => ErrorKind::Misbehaved,
            Error::Reported(_) => ErrorKind::Refused,
            Error::ClosedInHandshake { .. } => ErrorKind::Closed,
            Error::HandshakeTimeout { .. } => ErrorKind::TimedOut,
        }
    }

    fn cause(&self) -> &'static str {
        match self {
            Error::NotZmtp(_) | Error::Version(_) | Error::NotReady { .. } => "handshake",
            Error::Mechanism { .. } => "mechanism",
            Error::SocketType { .. } => "socket",
            Error::Reported(_) => "refused",
            Error::Frame(_) | Error::Command { .. } => "frame",
            Error::MessageTooLarge { .. } => "message",
            Error::TooManySubscriptions { .. }
            | Error::SubscriptionsTooLong { .. }
            | Error::TopicTooLong { .. } => "subscriptions",
            Error::ClosedInHandshake { .. } => "closed",
            Error::HandshakeTimeout { .. } => "timeout",
        }
    }
}

impl From<Error> for CloseReason {
    fn from(error: Error) -> Self {
        let (kind, cause, text) = (error.kind(), error.cause(), error.to_string().into());
        CloseReason::Failed(PeeringError::Session(SessionError { kind, cause, text }))
    }
}
