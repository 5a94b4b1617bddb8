//! Encoding of messages as v1 JSON in frames.

use bytes::BytesMut;

use super::BinaryText;
use crate::wire::{EncodeError, Envelope};

/// The variants of v1 JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// To a server.
    Client,
    /// To a client.
    Server(BinaryText),
}

/// Appends the frames of a message.
pub(crate) fn encode(_: &Envelope, _: Dialect, _: &mut BytesMut) -> Result<(), EncodeError> {
    Err(EncodeError::NotCarried { what: "any message yet" })
}

/// Returns the length of the frames of the first message.
pub(crate) fn first_length(_: &[u8]) -> Option<usize> {
    None
}
