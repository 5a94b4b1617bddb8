//! The readers of sessions other than Broker's peerings.

use bytes::{Bytes, BytesMut};

use super::frame::Content;
use super::{LIMITS, Protocol, Side};
use crate::wire::DecodeError;
use crate::{websocket, zeromq};

/// Divides the bytes of one side of a session into parts.
#[derive(Debug)]
pub(super) enum SessionReader {
    WebSocket(websocket::PartReader),
    ZeroMq(zeromq::PartReader),
}

/// A part and its bytes.
pub(super) struct Cut {
    pub(super) header: usize,
    pub(super) body: Bytes,
    pub(super) peered: bool,
    pub(super) content: Result<Content, DecodeError>,
}

impl From<websocket::Cut> for Cut {
    fn from(cut: websocket::Cut) -> Self {
        let websocket::Cut { header, body, peered, part } = cut;
        Cut { header, body, peered, content: part.map(Content::WebSocket) }
    }
}

impl From<zeromq::Cut> for Cut {
    fn from(cut: zeromq::Cut) -> Self {
        let zeromq::Cut { body, peered, part } = cut;
        Cut { header: 0, body, peered, content: part.map(Content::ZeroMq) }
    }
}

/// Why the bytes of a session cannot be divided into parts.
pub(super) enum PartFault {
    WebSocket(String),
    ZeroMq(String),
}

/// The protocol that the first bytes of a side show.
pub(super) enum Opening {
    /// There are not enough bytes.
    Incomplete,
    /// The reader of the session.
    Session(SessionReader),
    /// Broker's protocol, or an unknown one.
    Broker,
}

/// Recognizes the protocol of a side by its first bytes.
pub(super) fn opening(first: &[u8]) -> Opening {
    match zeromq::is_signature(first) {
        Some(true) => return Opening::Session(SessionReader::ZeroMq(zeromq::PartReader::new())),
        Some(false) => {}
        None => return Opening::Incomplete,
    }
    match websocket::opening(first) {
        websocket::Opening::Incomplete => Opening::Incomplete,
        websocket::Opening::Session(side) => {
            Opening::Session(SessionReader::WebSocket(websocket::PartReader::new(side)))
        }
        websocket::Opening::Other => Opening::Broker,
    }
}

impl SessionReader {
    /// Returns the reader of all bytes of a side; `None` for Broker's protocol.
    pub(super) fn new(protocol: Protocol, side: Side) -> Option<Self> {
        match protocol {
            Protocol::Broker => None,
            Protocol::WebSocket => Some(SessionReader::WebSocket(websocket::PartReader::new(side))),
            Protocol::ZeroMq => Some(SessionReader::ZeroMq(zeromq::PartReader::new())),
        }
    }

    /// Returns the reader of the bytes after the handshake; `None` for Broker's protocol.
    pub(super) fn continued(protocol: Protocol, side: Side) -> Option<Self> {
        match protocol {
            Protocol::Broker => None,
            Protocol::WebSocket => Some(SessionReader::WebSocket(websocket::PartReader::continued(side))),
            Protocol::ZeroMq => Some(SessionReader::ZeroMq(zeromq::PartReader::continued())),
        }
    }

    pub(super) fn protocol(&self) -> Protocol {
        match self {
            SessionReader::WebSocket(_) => Protocol::WebSocket,
            SessionReader::ZeroMq(_) => Protocol::ZeroMq,
        }
    }

    /// Removes the next part from `input`. Returns `None` if it is incomplete.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Cut>, PartFault> {
        match self {
            SessionReader::WebSocket(parts) => match parts.next(input, LIMITS) {
                Ok(cut) => Ok(cut.map(Cut::from)),
                Err(error) => Err(PartFault::WebSocket(error.to_string())),
            },
            SessionReader::ZeroMq(parts) => match parts.next(input, LIMITS) {
                Ok(cut) => Ok(cut.map(Cut::from)),
                Err(error) => Err(PartFault::ZeroMq(error.to_string())),
            },
        }
    }

    /// Removes the HTTP response of a server that has refused a WebSocket session without the end of its head.
    pub(super) fn refusal(&mut self, input: &mut BytesMut) -> Option<Cut> {
        match self {
            SessionReader::WebSocket(parts) => parts.refusal(input).map(Cut::from),
            SessionReader::ZeroMq(_) => None,
        }
    }

    /// Returns whether the handshake is done, and no message is incomplete.
    pub(super) fn is_between_messages(&self) -> bool {
        match self {
            SessionReader::WebSocket(parts) => parts.is_between_messages(),
            SessionReader::ZeroMq(parts) => parts.is_between_messages(),
        }
    }

    /// Returns whether the next bytes belong to an HTTP head.
    pub(super) fn is_in_head(&self) -> bool {
        matches!(self, SessionReader::WebSocket(parts) if parts.is_in_head())
    }

    /// Returns the number of bytes of an incomplete message that were removed from the input.
    pub(super) fn buffered(&self) -> usize {
        match self {
            SessionReader::WebSocket(parts) => parts.buffered(),
            SessionReader::ZeroMq(_) => 0,
        }
    }

    /// Frees the memory of an incomplete message. Nothing more is read.
    pub(super) fn stop(&mut self) {
        match self {
            SessionReader::WebSocket(parts) => parts.stop(),
            SessionReader::ZeroMq(parts) => parts.stop(),
        }
    }
}
