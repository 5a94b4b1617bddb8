//! Commands of ZMTP (`PROTOCOL.md`, section 11): `name length u8` · `name` · `data`.

use bytes::{BufMut, BytesMut};
use nom::Parser;
use nom::bytes::complete::take;
use nom::multi::length_data;
use nom::number::complete::{be_u8, be_u32};

use super::config::SocketType;
use super::error::Error;
use crate::data::one_line;

/// The name of the only property that Zeek's sockets send. Names of properties are not case-sensitive.
pub(super) const SOCKET_TYPE: &str = "Socket-Type";

/// The length of the time to live in a PING, in bytes. The time to live is ignored. With it, the sender asks the receiver to close
/// the connection if no other PING arrives in this time.
const TTL: usize = 2;
/// The maximum length of the context of a PING, in bytes. libzmq ignores the rest.
const MAX_CONTEXT: usize = 16;

/// A command. The data borrow from the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    /// The end of a handshake, with the properties of the peer.
    Ready {
        metadata: &'a [u8],
    },
    /// The peer ends the session.
    Error {
        reason: &'a [u8],
    },
    Ping {
        context: &'a [u8],
    },
    Pong {
        context: &'a [u8],
    },
    Subscribe {
        topic: &'a [u8],
    },
    Cancel {
        topic: &'a [u8],
    },
    /// libzmq ignores unknown commands after the handshake.
    Unknown {
        name: &'a [u8],
    },
}

impl<'a> Command<'a> {
    /// Reads the body of a command.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, Error> {
        let (data, name) = text(body).map_err(|_| invalid(b"", "its name is incomplete"))?;
        Ok(match name {
            b"READY" => Command::Ready { metadata: data },
            b"ERROR" => {
                let (_, reason) = text(data).map_err(|_| invalid(name, "its text is incomplete"))?;
                Command::Error { reason }
            }
            b"PING" => {
                let (context, _) = ttl(data).map_err(|_| invalid(name, "its time to live is incomplete"))?;
                Command::Ping { context: context.get(..MAX_CONTEXT).unwrap_or(context) }
            }
            b"PONG" => Command::Pong { context: data },
            b"SUBSCRIBE" => Command::Subscribe { topic: data },
            b"CANCEL" => Command::Cancel { topic: data },
            name => Command::Unknown { name },
        })
    }

    /// Returns the name, which is safe to log.
    pub(super) fn name(&self) -> String {
        match self {
            Command::Ready { .. } => "READY".into(),
            Command::Error { .. } => "ERROR".into(),
            Command::Ping { .. } => "PING".into(),
            Command::Pong { .. } => "PONG".into(),
            Command::Subscribe { .. } => "SUBSCRIBE".into(),
            Command::Cancel { .. } => "CANCEL".into(),
            Command::Unknown { name } => one_line(&String::from_utf8_lossy(name)),
        }
    }
}

fn invalid(name: &[u8], reason: &'static str) -> Error {
    Error::Command { name: one_line(&String::from_utf8_lossy(name)), reason }
}

fn text(input: &[u8]) -> nom::IResult<&[u8], &[u8]> {
    length_data(be_u8).parse(input)
}

fn ttl(input: &[u8]) -> nom::IResult<&[u8], &[u8]> {
    take(TTL).parse(input)
}

/// Reads a property of metadata: its name and its value.
pub(super) fn property(input: &[u8]) -> nom::IResult<&[u8], (&[u8], &[u8])> {
    (text, length_data(be_u32)).parse(input)
}

/// Checks the metadata in a command of the peer. Returns the type of its socket.
///
/// # Errors
/// Fails if the metadata is malformed, has no type, or has a type that cannot be connected to `own`.
pub(super) fn check_metadata(
    command: &'static str,
    mut metadata: &[u8],
    own: SocketType,
) -> Result<&'static str, Error> {
    let mut socket = None;
    while !metadata.is_empty() {
        let (rest, (name, value)) =
            property(metadata).map_err(|_| invalid(command.as_bytes(), "a property is incomplete"))?;
        metadata = rest;
        if name.eq_ignore_ascii_case(SOCKET_TYPE.as_bytes()) {
            let found = own.peers().into_iter().find(|peer| peer.as_bytes() == value);
            socket = Some(found.ok_or_else(|| {
                let peer = one_line(&String::from_utf8_lossy(value));
                Error::SocketType { peer, own }
            })?);
        }
    }
    socket.ok_or_else(|| invalid(command.as_bytes(), "it has no Socket-Type"))
}

/// Appends a property to metadata. The name and the value are short.
pub(super) fn put_property(metadata: &mut BytesMut, name: &str, value: &str) {
    metadata.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
    metadata.put_slice(name.as_bytes());
    metadata.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
    metadata.put_slice(value.as_bytes());
}
