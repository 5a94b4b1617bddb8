//! The errors of handshakes and connections.

use std::io;
use std::sync::Arc;

use super::PublicKey;
use crate::peering::ErrorKind;

/// The error of a CURVE handshake or of an established connection. The connection cannot be used afterwards and must be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer sent a command that is not valid at this point.
    #[error("the peer sent {received} instead of {expected}")]
    Unexpected {
        /// The command, or a description of it.
        received: &'static str,
        /// The command that is valid at this point.
        expected: &'static str,
    },
    /// A command is too short, or does not have its only valid length.
    #[error("the peer sent {command} with an invalid length of {length} bytes")]
    Length {
        /// The name of the command.
        command: &'static str,
        /// The length of its body.
        length: usize,
    },
    /// The client has a different version of CurveZMQ.
    #[error("the client uses version {major}.{minor} of CurveZMQ; only 1.0 is supported")]
    Version {
        /// The major version.
        major: u8,
        /// The minor version.
        minor: u8,
    },
    /// The padding of HELLO, or the text in its box, is not zero.
    #[error("the client sent a HELLO whose padding is not zero")]
    Padding,
    /// A public key in a command is of a low order, or its encoding is not canonical.
    #[error("the peer sent {command} with an invalid public key")]
    InvalidKey {
        /// The name of the command.
        command: &'static str,
    },
    /// A HELLO was not encrypted for the key of this server.
    #[error(
        "cannot open HELLO; the client may use a server key other than {key}, the public key of this server"
    )]
    WrongServerKey {
        /// The public key of this server.
        key: PublicKey,
    },
    /// A WELCOME is not from the owner of the server key.
    #[error("cannot open WELCOME; the server may have a CURVE key other than {key}")]
    WrongServer {
        /// The public key that the server must have.
        key: PublicKey,
    },
    /// The box of another command cannot be opened.
    #[error("cannot open {command}; it is corrupted, or was not sent by the peer that began the connection")]
    NotAuthentic {
        /// The name of the command.
        command: &'static str,
    },
    /// An INITIATE does not contain the cookie of this connection.
    #[error("the client sent INITIATE with a cookie that does not belong to this connection")]
    Cookie,
    /// A client does not prove that it owns its long-term key.
    #[error(
        "the client sent an invalid vouch: it does not own the key {key}, or relays the handshake of another client"
    )]
    Vouch {
        /// The long-term key that the client claims.
        key: PublicKey,
    },
    /// The server sent ERROR.
    #[error("the server refused the CURVE key {key}: {reason}{}", refusal_hint(reason))]
    Refused {
        /// The long-term public key of this client.
        key: PublicKey,
        /// The reason, usually a status of ZAP (RFC 27 of ZeroMQ) such as 400. Control characters are removed.
        reason: Arc<str>,
    },
    /// A command has the nonce of an earlier one, or a smaller nonce.
    #[error("the peer sent the nonce {nonce} after {last}; a command was replayed or reordered")]
    Replayed {
        /// The nonce.
        nonce: u64,
        /// The largest nonce so far.
        last: u64,
    },
    /// All nonces of this side are used.
    #[error("all nonces of the connection are used; open a new connection")]
    Exhausted,
    /// A message cannot be encrypted because of its length.
    #[error("the message is too long to be encrypted")]
    TooLong,
    /// The operating system returned no random bytes.
    #[error("cannot create keys: {0}")]
    Random(Arc<str>),
}

fn refusal_hint(reason: &str) -> &'static str {
    match reason {
        "400" => "; the server does not allow this key: add it to the client keys of the server",
        "300" | "500" => "; the server cannot check keys at the moment",
        _ => "",
    }
}

impl Error {
    /// Returns the category of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Length { .. } | Error::Padding | Error::InvalidKey { .. } => ErrorKind::Malformed,
            // After the handshake, the identity of the peer is proved: the message was changed in transit.
            Error::NotAuthentic { command: "MESSAGE" } => ErrorKind::Malformed,
            Error::Unexpected { .. } | Error::Replayed { .. } => ErrorKind::Misbehaved,
            Error::Version { .. } => ErrorKind::Incompatible,
            Error::WrongServerKey { .. }
            | Error::WrongServer { .. }
            | Error::NotAuthentic { .. }
            | Error::Cookie
            | Error::Vouch { .. } => ErrorKind::Denied,
            Error::Refused { .. } => ErrorKind::Refused,
            Error::Exhausted | Error::TooLong => ErrorKind::Limit,
            Error::Random(_) => ErrorKind::Io,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Random(error.to_string().into())
    }
}
