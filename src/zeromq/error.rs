//! Errors that end a session.

use std::fmt;

use super::config::{Mechanism, SocketType};
#[cfg(feature = "curve")]
use super::curve::{Error as CurveError, PublicKey};
use super::frame::FrameError;
use crate::peering::{CloseReason, ErrorKind, PeeringError, SessionError};
use crate::wire::ForeignProtocol;

/// An error that ends a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("the peer does not speak ZMTP, the protocol of ZeroMQ; {}", foreign_hint(*.0))]
    NotZmtp(Option<ForeignProtocol>),
    #[error("the peer speaks version {0} of ZMTP, but version 3 is required; update ZeroMQ on the peer")]
    Version(u8),
    #[error(
        "the peer uses the security mechanism {peer}, and this side {own}; {}",
        mechanism_hint(*own, peer)
    )]
    Mechanism { peer: String, own: OwnMechanism },
    #[error("the peer sent an invalid frame: {0}")]
    Frame(#[from] FrameError),
    #[error("the peer sent an invalid command{}: {reason}", with_space(name))]
    Command { name: String, reason: &'static str },
    #[error("the peer sent {received} instead of READY")]
    NotReady { received: String },
    #[error(
        "the peer's socket type \"{peer}\" cannot be connected to {own}; check that the address is that of the {} socket",
        own.peers()[0]
    )]
    SocketType { peer: String, own: SocketType },
    #[error("the peer reports an error: {0}")]
    Reported(String),
    #[error("the peer sent a message of more than {limit} bytes")]
    MessageTooLarge { limit: usize },
    #[error("the peer has more than {limit} subscriptions; it must subscribe to fewer, shorter prefixes")]
    TooManySubscriptions { limit: usize },
    #[error(
        "the topics of the peer's subscriptions have more than {limit} bytes; it must subscribe to fewer, shorter prefixes"
    )]
    SubscriptionsTooLong { limit: usize },
    #[error("the peer subscribed to a topic of {length} bytes, more than the limit of {limit}")]
    TopicTooLong { length: usize, limit: usize },
    #[cfg(feature = "curve")]
    #[error("{0}{hint}", hint = curve_hint(.0))]
    Curve(#[from] CurveError),
    #[cfg(feature = "curve")]
    #[error(
        "the key {key} of the client is not allowed; if it belongs to the cluster, add it to the allowed clients"
    )]
    ClientNotAllowed { key: PublicKey },
    #[cfg(feature = "curve")]
    #[error("the peer sent a message before the end of the handshake")]
    NotACommand,
    #[cfg(feature = "curve")]
    #[error("the peer sent a frame that is not an encrypted message")]
    NotEncrypted,
    #[cfg(feature = "curve")]
    #[error("the keys of messages are not known before the end of the handshake")]
    NoKeys,
    #[cfg(feature = "curve")]
    #[error("this side queued an incomplete frame")]
    IncompleteFrame,
    #[error("the peer closed the connection before {}; {}", stage.expected(), stage.closed_hint(*own))]
    ClosedInHandshake { stage: Stage, own: OwnMechanism },
    #[error("the peer does not respond: a ping was not answered in time")]
    Silent,
    #[error("timed out while waiting for {}; {}", stage.expected(), stage.timeout_hint())]
    HandshakeTimeout { stage: Stage },
}

/// The security mechanism of this side, with the keys that an error names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnMechanism {
    Null,
    #[cfg(feature = "curve")]
    CurveClient {
        server: PublicKey,
        client: PublicKey,
    },
    #[cfg(feature = "curve")]
    CurveServer,
}

impl From<&Mechanism> for OwnMechanism {
    fn from(mechanism: &Mechanism) -> Self {
        match mechanism {
            Mechanism::Null => OwnMechanism::Null,
            #[cfg(feature = "curve")]
            Mechanism::CurveClient { server, keys } => {
                OwnMechanism::CurveClient { server: *server, client: *keys.public() }
            }
            #[cfg(feature = "curve")]
            Mechanism::CurveServer { .. } => OwnMechanism::CurveServer,
        }
    }
}

impl fmt::Display for OwnMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OwnMechanism::Null => f.write_str("NULL"),
            #[cfg(feature = "curve")]
            OwnMechanism::CurveClient { server, .. } => write!(f, "CURVE with the server key {server}"),
            #[cfg(feature = "curve")]
            OwnMechanism::CurveServer => f.write_str("CURVE"),
        }
    }
}

/// The next step of an incomplete handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Greeting,
    Command(Awaited),
    /// [`ZeroMq::admit`](super::ZeroMq::admit).
    Admission,
}

/// The next command of the peer in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// READY of NULL.
    Ready,
    #[cfg(feature = "curve")]
    Hello,
    #[cfg(feature = "curve")]
    Welcome,
    #[cfg(feature = "curve")]
    Initiate,
    /// READY of CURVE.
    #[cfg(feature = "curve")]
    CurveReady,
}

impl Stage {
    fn expected(self) -> &'static str {
        match self {
            Stage::Greeting => "the end of the peer's greeting",
            Stage::Command(Awaited::Ready) => "the peer's READY",
            #[cfg(feature = "curve")]
            Stage::Command(Awaited::Hello) => "the client's HELLO",
            #[cfg(feature = "curve")]
            Stage::Command(Awaited::Welcome) => "the server's WELCOME",
            #[cfg(feature = "curve")]
            Stage::Command(Awaited::Initiate) => "the client's INITIATE",
            #[cfg(feature = "curve")]
            Stage::Command(Awaited::CurveReady) => "the server's READY",
            Stage::Admission => "this side's answer",
        }
    }

    fn closed_hint(self, own: OwnMechanism) -> String {
        let hint = match (self, own) {
            (Stage::Greeting, OwnMechanism::Null) => {
                "possible causes: it requires the security mechanism CURVE, is not a ZeroMQ socket, or is shutting down"
            }
            #[cfg(feature = "curve")]
            (Stage::Greeting, _) => {
                "possible causes: it does not use the security mechanism CURVE, is not a ZeroMQ socket, or is shutting down"
            }
            (Stage::Command(Awaited::Ready), _) => {
                "its socket may be of a type that cannot be connected to this one, or it may be shutting down"
            }
            #[cfg(feature = "curve")]
            (Stage::Command(Awaited::Welcome), OwnMechanism::CurveClient { server, .. }) => {
                return format!("it may have a CURVE key other than {server}, or be shutting down");
            }
            #[cfg(feature = "curve")]
            (Stage::Command(Awaited::CurveReady), OwnMechanism::CurveClient { client, .. }) => {
                return format!(
                    "possible causes: it does not allow the CURVE key {client}, its socket is of a type that cannot be connected to \
                     this one, or it is shutting down"
                );
            }
            #[cfg(feature = "curve")]
            (Stage::Command(_), _) => "it may be shutting down",
            (Stage::Admission, _) => "it may be shutting down",
        };
        hint.to_owned()
    }

    fn timeout_hint(self) -> &'static str {
        match self {
            Stage::Greeting => "the peer may not be a ZeroMQ socket, or may expect TLS",
            #[cfg(feature = "curve")]
            Stage::Command(Awaited::Hello) => {
                "both sides may be configured as servers of CURVE: the side that connects is usually the client"
            }
            Stage::Command(_) | Stage::Admission => "one of the two sides may be overloaded",
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

#[cfg(feature = "curve")]
fn curve_hint(error: &CurveError) -> &'static str {
    match error {
        CurveError::Unexpected { received: "HELLO", .. } => {
            "; both sides may be configured as clients of CURVE: the side that listens is usually the server"
        }
        _ => "",
    }
}

fn mechanism_hint(own: OwnMechanism, peer: &str) -> &'static str {
    match (own, peer) {
        (OwnMechanism::Null, "CURVE") => "both sides must use the same mechanism, and CURVE requires keys",
        (_, "NULL") => "both sides must use the same mechanism",
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
            #[cfg(feature = "curve")]
            Error::Curve(error) => error.kind(),
            #[cfg(feature = "curve")]
            Error::ClientNotAllowed { .. } => ErrorKind::Denied,
            #[cfg(feature = "curve")]
            Error::NotACommand | Error::NotEncrypted => ErrorKind::Misbehaved,
            #[cfg(feature = "curve")]
            Error::NoKeys | Error::IncompleteFrame => ErrorKind::Local,
            Error::ClosedInHandshake { .. } => ErrorKind::Closed,
            Error::HandshakeTimeout { .. } | Error::Silent => ErrorKind::TimedOut,
        }
    }

    fn cause(&self) -> &'static str {
        match self {
            Error::NotZmtp(_) | Error::Version(_) | Error::NotReady { .. } => "handshake",
            Error::Mechanism { .. } => "mechanism",
            Error::SocketType { .. } => "socket",
            Error::Reported(_) => "refused",
            #[cfg(feature = "curve")]
            Error::Curve(CurveError::Refused { .. }) => "refused",
            #[cfg(feature = "curve")]
            Error::ClientNotAllowed { .. } => "denied",
            #[cfg(feature = "curve")]
            Error::Curve(_)
            | Error::NotACommand
            | Error::NotEncrypted
            | Error::NoKeys
            | Error::IncompleteFrame => "curve",
            Error::Frame(_) | Error::Command { .. } => "frame",
            Error::MessageTooLarge { .. } => "message",
            Error::TooManySubscriptions { .. }
            | Error::SubscriptionsTooLong { .. }
            | Error::TopicTooLong { .. } => "subscriptions",
            #[cfg(feature = "curve")]
            Error::ClosedInHandshake {
                stage: Stage::Command(Awaited::Welcome | Awaited::CurveReady),
                ..
            } => "curve",
            Error::ClosedInHandshake { .. } => "closed",
            Error::HandshakeTimeout { .. } => "timeout",
            Error::Silent => "silent",
        }
    }
}

impl From<Error> for CloseReason {
    fn from(error: Error) -> Self {
        let (kind, cause, text) = (error.kind(), error.cause(), error.to_string().into());
        CloseReason::Failed(PeeringError::Session(SessionError { kind, cause, text }))
    }
}
