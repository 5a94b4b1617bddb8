//! A decoded frame.

use bytes::Bytes;

use super::json::{put_member, put_name};
use super::{LIMITS, to_u64, websocket, zeromq};
use crate::wire::{DecodeError, Envelope, Handshake, LENGTH_FIELD};

/// The decoded content of a frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A handshake message.
    Handshake(Handshake),
    /// An envelope whose payload is valid for its type.
    Envelope(Envelope),
    /// A part of a session of the WebSocket API.
    WebSocket(crate::websocket::Part),
    /// A part of a session of Zeek's ZeroMQ back end.
    ZeroMq(crate::zeromq::Part),
}

/// A frame of one side. In a session of the WebSocket API, it may also be an HTTP request or response. In a session of ZeroMQ, it
/// is a greeting, a command, or a message with all of its parts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Frame {
    /// The offset of the frame in the bytes that the side sent.
    pub offset: u64,
    /// The size of the header before the body in bytes. The header is Broker's length field, or the header of a WebSocket frame.
    /// In a session of ZeroMQ, it is 0, because a message consists of several frames.
    pub header: usize,
    /// Whether the side had finished its handshake before it sent the frame. In Broker's protocol, such a frame is an envelope.
    pub peered: bool,
    /// The body of the frame, after the header and without the mask of WebSocket. In a session of ZeroMQ, it contains the headers
    /// of all frames.
    pub body: Bytes,
    /// The content, or the reason why the body is malformed.
    pub content: Result<Content, DecodeError>,
}

impl Frame {
    /// Decodes the body of a frame of Broker's protocol.
    #[must_use]
    pub fn decode(offset: u64, peered: bool, body: Bytes) -> Self {
        let content = if peered {
            Envelope::decode(&body).and_then(|envelope| {
                envelope.check(LIMITS)?;
                Ok(Content::Envelope(envelope))
            })
        } else {
            Handshake::decode(&body, LIMITS).map(Content::Handshake)
        };
        Frame { offset, header: LENGTH_FIELD, peered, body, content }
    }

    /// Returns the size of the frame in bytes, including its header.
    #[must_use]
    pub fn length(&self) -> u64 {
        to_u64(self.body.len().saturating_add(self.header))
    }

    /// Appends members of a JSON object on one line: `offset`, `length` and `phase`, and then either `message`, `envelope`,
    /// `error`, or the members of a part of a session of the WebSocket API or of ZeroMQ, which begin with `kind`. Does not write the
    /// braces.
    pub fn write_members(&self, to: &mut Vec<u8>) {
        put_member(to, "offset", self.offset);
        put_member(to, "length", self.length());
        put_member(to, "phase", if self.peered { "peered" } else { "handshake" });
        let end = to.len();
        let error = match &self.content {
            Ok(Content::Handshake(message)) => return put_member(to, "message", message.to_json()),
            Ok(Content::WebSocket(part)) => return websocket::write_members(part, to),
            Ok(Content::ZeroMq(part)) => match zeromq::write_members(part, to) {
                Ok(()) => return,
                Err(error) => error,
            },
            Ok(Content::Envelope(envelope)) => {
                put_name(to, "envelope");
                match envelope.write_json(LIMITS, to) {
                    // The inner result is always `Ok`: writing to memory cannot fail.
                    Ok(_) => return,
                    Err(error) => error.to_string(),
                }
            }
            Err(error) => error.to_string(),
        };
        to.truncate(end);
        put_member(to, "error", error);
    }
}
