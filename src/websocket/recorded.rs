//! The bytes that one side of a session sent, as recordings and captures contain them.

use bytes::{Bytes, BytesMut};

use super::fragments::Fragments;
use super::frame::{FrameError, Opcode, read_close};
use super::http::{MAX_HEAD, end_of_head, is_upgrade, status};
use super::read::{self, Answer, Message};
use crate::data::{EndpointId, Filter, JsonError, WrongType};
use crate::peering::{Notice, Side};
use crate::wire::{DecodeError, Envelope, Limits};

/// A part of a session of the WebSocket API: the HTTP request or response, or a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The HTTP request, without the values of headers that contain credentials.
    Request(String),
    /// The HTTP response, without the values of headers that contain cookies.
    Response {
        /// The status; 101 opens the session.
        status: u16,
        /// The text of the response.
        text: String,
    },
    /// The subscriptions of the client.
    Subscriptions(Filter),
    /// The answer of the server to the subscriptions.
    Ack {
        /// The server's name for this session.
        endpoint: String,
        /// The version of Zeek or of a different server.
        version: String,
    },
    /// An event, or a different value. The ids and the ttl of the envelope have no meaning.
    Message(Envelope),
    /// An error of the server.
    Error(Notice),
    /// A fragment that is not the last one of its message.
    Fragment,
    /// A ping with its payload.
    Ping(Bytes),
    /// A pong with its payload.
    Pong(Bytes),
    /// A close frame.
    Close {
        /// The code, if there is one.
        code: Option<u16>,
        /// The reason.
        reason: Bytes,
    },
}

/// The kind of the first bytes of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// An incomplete HTTP head.
    Incomplete,
    /// The head of the client's request (connector) or of the server's response (listener), which opens a session.
    Session(Side),
    /// Anything else.
    Other,
}

/// Returns the kind of the first bytes of a side.
pub(crate) fn opening(first: &[u8]) -> Opening {
    let begins = |text: &[u8]| text.starts_with(first) || first.starts_with(text);
    let side = match first {
        _ if begins(b"GET ") => Side::Connector,
        _ if begins(b"HTTP/1.1 101 ") => Side::Listener,
        _ => return Opening::Other,
    };
    let first = first.get(..MAX_HEAD).unwrap_or(first);
    match end_of_head(first).and_then(|end| first.get(..end)) {
        Some(head) if is_upgrade(head) => Opening::Session(side),
        None if first.len() < MAX_HEAD => Opening::Incomplete,
        _ => Opening::Other,
    }
}

/// Divides the bytes of one side of a session into parts.
#[derive(Debug)]
pub(crate) struct PartReader {
    from: Side,
    stage: Stage,
    fragments: Fragments,
}

/// The next part that the side sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    /// The subscriptions or the answer to them.
    First,
    Messages,
    /// No part: the server has refused the request, or the next part cannot be found.
    Ended,
}

/// A part and its bytes.
#[derive(Debug)]
pub(crate) struct Cut {
    /// The number of bytes before the body.
    pub(crate) header: usize,
    /// The HTTP head, or the payload of the frame without its mask.
    pub(crate) body: Bytes,
    /// Whether the side had sent its first message before.
    pub(crate) peered: bool,
    pub(crate) part: Result<Part, DecodeError>,
}

/// Why the bytes cannot be divided into parts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PartError {
    #[error("an HTTP head of more than {MAX_HEAD} bytes")]
    Head,
    #[error("{0}")]
    Frame(String),
}

impl From<FrameError> for PartError {
    fn from(error: FrameError) -> Self {
        PartError::Frame(error.to_string())
    }
}

impl PartReader {
    /// Returns the reader of the bytes of a side from their beginning.
    pub(crate) fn new(from: Side) -> Self {
        PartReader { from, stage: Stage::Head, fragments: Fragments::default() }
    }

    /// Returns the reader of the bytes of a side after its first message.
    pub(crate) fn continued(from: Side) -> Self {
        PartReader { stage: Stage::Messages, ..PartReader::new(from) }
    }

    /// Returns whether the side has sent its first message, and no message is incomplete.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.stage == Stage::Messages && self.fragments.is_empty()
    }

    /// Returns whether the next bytes belong to the HTTP head.
    pub(crate) fn is_in_head(&self) -> bool {
        self.stage == Stage::Head
    }

    /// Removes the response of a server that has refused a request and closed the connection: Zeek's server does not send the end
    /// of such a head. `None` if the input is not such a response.
    pub(crate) fn refusal(&mut self, input: &mut BytesMut) -> Option<Cut> {
        let (status, _) = status(input)?;
        if self.from != Side::Listener || self.stage != Stage::Head || status == 101 {
            return None;
        }
        self.stage = Stage::Ended;
        let body = std::mem::take(input).freeze();
        let part = Part::Response { status, text: without_credentials(&body) };
        Some(Cut { header: 0, body, peered: false, part: Ok(part) })
    }

    /// Frees the memory of an incomplete message. Nothing more is read.
    pub(crate) fn stop(&mut self) {
        self.stage = Stage::Ended;
        self.fragments = Fragments::default();
    }

    /// Returns the number of bytes of an incomplete message that were removed from the input.
    pub(crate) fn buffered(&self) -> usize {
        self.fragments.len()
    }

    /// Removes the next part from `input`. Returns `None` if it is incomplete.
    pub(crate) fn next(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<Option<Cut>, PartError> {
        match self.stage {
            Stage::Head => self.head(input),
            Stage::First | Stage::Messages => self.frame(input, limits),
            Stage::Ended => {
                input.clear();
                Ok(None)
            }
        }
    }

    fn head(&mut self, input: &mut BytesMut) -> Result<Option<Cut>, PartError> {
        let first = input.get(..MAX_HEAD).unwrap_or(input);
        let Some(end) = end_of_head(first) else {
            return if input.len() < MAX_HEAD { Ok(None) } else { Err(PartError::Head) };
        };
        let body = input.split_to(end).freeze();
        let text = without_credentials(&body);
        let part = match self.from {
            Side::Connector => Part::Request(text),
            Side::Listener => {
                let status = status(&body).map(|(status, _)| status).unwrap_or_default();
                Part::Response { status, text }
            }
        };
        let is_refused = matches!(part, Part::Response { status, .. } if status != 101);
        self.stage = if is_refused { Stage::Ended } else { Stage::First };
        Ok(Some(Cut { header: 0, body, peered: false, part: Ok(part) }))
    }

    fn frame(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<Option<Cut>, PartError> {
        let Some((header, body)) = self.fragments.cut(input, limits.max_frame)? else { return Ok(None) };
        let peered = self.stage == Stage::Messages;
        let part = match header.opcode {
            Opcode::Ping => Ok(Part::Ping(body.clone())),
            Opcode::Pong => Ok(Part::Pong(body.clone())),
            Opcode::Close => close(&body),
            Opcode::Continuation | Opcode::Text | Opcode::Binary => {
                match self.fragments.add(&header, body.clone()) {
                    Some((_, text)) => self.message(&text, limits),
                    None => Ok(Part::Fragment),
                }
            }
        };
        Ok(Some(Cut { header: header.length, body, peered, part }))
    }

    fn message(&mut self, text: &[u8], limits: &Limits) -> Result<Part, DecodeError> {
        let stage = std::mem::replace(&mut self.stage, Stage::Messages);
        match (stage, self.from) {
            (Stage::First, Side::Connector) => read::subscriptions(text, limits)
                .map(Part::Subscriptions)
                .map_err(|fault| wrong("valid subscriptions", fault)),
            (Stage::First, Side::Listener) => match read::answer(text, limits) {
                Answer::Ack { endpoint, version } => Ok(Part::Ack { endpoint, version }),
                Answer::Error(notice) => Ok(Part::Error(notice)),
                Answer::Other => Err(wrong("an ack or an error", "something else")),
            },
            (_, from) => {
                let sender = EndpointId::from_bytes([0; 16]);
                match read::message(text, sender, from == Side::Listener, limits) {
                    Ok(Message::Data(envelope)) => Ok(Part::Message(envelope)),
                    Ok(Message::Error(notice)) => Ok(Part::Error(notice)),
                    Err(fault) => Err(fault.into_error().into()),
                }
            }
        }
    }
}

fn wrong(expected: &'static str, found: &'static str) -> DecodeError {
    JsonError::from(WrongType::new(expected, found)).into()
}

fn close(payload: &Bytes) -> Result<Part, DecodeError> {
    match read_close(payload) {
        Ok((code, reason)) => {
            // An empty payload has no code.
            Ok(Part::Close { code: (!payload.is_empty()).then_some(code), reason: payload.slice_ref(reason) })
        }
        Err(_) => Err(wrong("a close code of 2 bytes", "1 byte")),
    }
}

/// Returns the text of an HTTP head. Replaces the values of headers that contain passwords, tokens or cookies, and the query of a
/// request that contains a token.
fn without_credentials(head: &[u8]) -> String {
    let is_secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        // `WWW-Authenticate` names the kind of credentials that a server requires.
        let has = |part| name.contains(part) && !name.contains("authenticate");
        ["auth", "cookie", "token", "secret", "api-key"].into_iter().any(has)
    };
    let text = String::from_utf8_lossy(head);
    let (first, headers) = text.split_at(text.find('\n').map_or(text.len(), |end| end.saturating_add(1)));
    let mut shown = match first.split_once('?') {
        Some((path, query)) if is_secret(query) => format!("{path}?(hidden)\r\n"),
        _ => first.to_owned(),
    };
    let mut hides = false;
    for line in headers.split_inclusive('\n') {
        // A line that begins with a space continues the header before it.
        if hides && line.starts_with([' ', '\t']) {
            continue;
        }
        let (name, has_value) = line.split_once(':').map_or((line, false), |(name, _)| (name, true));
        hides = has_value && is_secret(name);
        if hides {
            shown.push_str(&format!("{name}: (hidden)\r\n"));
        } else {
            shown.push_str(line);
        }
    }
    shown
}
