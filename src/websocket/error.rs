//! Why a session ends.

use super::Denied;
use super::frame::{self, FrameError};
use crate::peering::{CloseReason, ErrorKind, Notice, PeeringError, SessionError};

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("the peer sent an invalid HTTP {what}: {reason}")]
    Http { what: &'static str, reason: String },
    #[error("the peer sent an HTTP {what} of more than {limit} bytes")]
    HeadTooLarge { what: &'static str, limit: usize },
    #[error("the peer does not speak HTTP; {}", foreign_hint(*first))]
    NotHttp { first: u8 },
    #[error("refused the request: {0}")]
    Denied(#[from] Denied),
    #[error("refused the connection: {0}")]
    Unfit(&'static str),
    #[error("the server refused the WebSocket connection: HTTP status {status} {reason}{}", status_hint(*status))]
    Status { status: u16, reason: String },
    #[error("the server's answer is not an upgrade to WebSocket: {0}; the server may not be a Zeek")]
    NotAnUpgrade(&'static str),
    #[error("the peer sent an invalid WebSocket frame: {0}")]
    Frame(#[from] FrameError),
    #[error("the peer refused the subscriptions: {}: {}", notice.code, notice.context)]
    Refused { notice: Notice },
    #[error("the peer sent {received} instead of an ack; the peer may not be a Zeek")]
    NoAck { received: &'static str },
    #[error("refused the subscriptions: {0}")]
    Subscriptions(&'static str),
    #[error("the peer closed the WebSocket connection: {code}{}", colon(reason))]
    Closed { code: u16, reason: String },
    /// `tls` is whether TLS is established. `None` after the upgrade, because both sides agree about TLS and the protocol.
    #[error("the peer closed the connection before {expected}{}", closed_hint(*tls))]
    ClosedInHandshake { expected: &'static str, tls: Option<bool> },
    /// `tls` as in [`Error::ClosedInHandshake`].
    #[error("timed out while waiting for {expected}{}", timeout_hint(*tls))]
    HandshakeTimeout { expected: &'static str, tls: Option<bool> },
    #[error("the peer does not respond: a ping was not answered in time")]
    Silent,
    #[error("the subscriptions have changed; the WebSocket API needs a new connection for that")]
    Resubscribe,
    #[error("the {0} cannot be part of an HTTP request")]
    Header(&'static str),
}

fn colon(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" {reason}") }
}

const fn status_hint(status: u16) -> &'static str {
    match status {
        300..400 => "; the server redirects to a different address: use that address",
        400 => "; a proxy in front of the server may not forward the headers of an upgrade to WebSocket",
        401 => "; the server requires a token, or does not know the token of the request",
        403 => "; the server does not accept the Host or the Origin",
        200..300 | 404 | 405 => "; there may be a different service at this address",
        500..600 => {
            "; the server, or a server behind the proxy at this address, does not work or is overloaded"
        }
        _ => "",
    }
}

/// Names the protocol that begins with this byte (`PROTOCOL.md`, sections 1 and 3).
const fn foreign_hint(first: u8) -> &'static str {
    match first {
        0x16 => "it begins with a TLS handshake: use TLS on both sides (wss), or on none (ws)",
        0x15 => "it answers with a TLS alert: use TLS on both sides (wss), or on none (ws)",
        0x00 => "it may be an endpoint with Broker's native protocol",
        b'S' => "it may be an SSH server: check the address",
        _ => "check the address",
    }
}

const fn closed_hint(tls: Option<bool>) -> &'static str {
    match tls {
        Some(true) => {
            "; TLS was established, so the peer may not be a server of the WebSocket API, not allow this endpoint, or be \
             shutting down (see its log)"
        }
        Some(false) => {
            "; it may expect TLS (wss instead of ws), not be a server of the WebSocket API, or be shutting down"
        }
        None => "",
    }
}

const fn timeout_hint(tls: Option<bool>) -> &'static str {
    match tls {
        Some(true) => "; TLS was established, so the peer may be overloaded, or not speak the WebSocket API",
        Some(false) => "; the peer may expect TLS (wss instead of ws), or not speak the WebSocket API",
        None => "",
    }
}

impl Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Http { .. } | Error::NotHttp { .. } | Error::Frame(FrameError::Utf8) => {
                ErrorKind::Malformed
            }
            Error::HeadTooLarge { .. } | Error::Frame(FrameError::TooLarge { .. }) => ErrorKind::Limit,
            Error::Denied(_) => ErrorKind::Denied,
            Error::Frame(_)
            | Error::Unfit(_)
            | Error::NotAnUpgrade(_)
            | Error::NoAck { .. }
            | Error::Subscriptions(_) => ErrorKind::Misbehaved,
            // There is a different service at this address.
            Error::Status { status: 200..400 | 404 | 405, .. } => ErrorKind::Misbehaved,
            Error::Status { .. } | Error::Refused { .. } => ErrorKind::Refused,
            Error::Closed { code: frame::POLICY, .. } => ErrorKind::Refused,
            Error::Closed { .. } | Error::ClosedInHandshake { .. } | Error::Resubscribe => ErrorKind::Closed,
            Error::HandshakeTimeout { .. } | Error::Silent => ErrorKind::TimedOut,
            Error::Header(_) => ErrorKind::Local,
        }
    }

    fn cause(&self) -> &'static str {
        match self {
            Error::Denied(denied) if denied.needs_token() => "token",
            Error::Denied(_) => "origin",
            Error::Status { .. } | Error::Refused { .. } => "refused",
            Error::Closed { .. } | Error::ClosedInHandshake { .. } => "closed",
            Error::HandshakeTimeout { .. } => "timeout",
            Error::Silent => "silent",
            Error::Resubscribe => "resubscribe",
            Error::Frame(_) => "frame",
            _ => "handshake",
        }
    }
}

impl From<Error> for CloseReason {
    fn from(error: Error) -> Self {
        let (kind, cause, text) = (error.kind(), error.cause(), error.to_string().into());
        CloseReason::Failed(PeeringError::Session(SessionError { kind, cause, text }))
    }
}
