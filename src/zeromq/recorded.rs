//! The bytes that one side of a session sent, as recordings and captures contain them.

use bytes::{Bytes, BytesMut};

use super::command::{Command, property};
use super::config::EventFormat;
use super::error::Error;
use super::event::{self, LOG_FORMAT, check_sender, envelope, from_json, parts, unknown_format};
use super::frame::{self, FrameError, Header};
use super::greeting::{GREETING, Greeting, read_greeting};
use super::log::LogBatch;
use super::multipart::{Message, Multipart};
use super::subscriptions::Change;
use crate::data::{EndpointId, one_line};
use crate::wire::{DecodeError, Envelope, ForeignProtocol, Limits, PartsError, check_value};

/// The length of the part of a greeting by which ZMTP is recognized.
const SIGNATURE: usize = 10;

/// The beginning of a message in a session with the mechanism CURVE.
const CURVE_MESSAGE: &[u8] = b"\x07MESSAGE";

/// A part of a session of Zeek's ZeroMQ back end: the greeting, a command, or a message with all of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The greeting.
    Greeting {
        /// The major and minor version of ZMTP.
        version: [u8; 2],
        /// The security mechanism: the first 256 characters, without control characters.
        mechanism: String,
        /// Whether this side is the server of the mechanism. libzmq never sets it.
        as_server: bool,
    },
    /// The READY of a handshake that is not encrypted, with the names and values of its properties.
    Ready(Vec<(Bytes, Bytes)>),
    /// An ERROR with its text. The session ends.
    Error(Bytes),
    /// A change of the subscriptions of this side.
    Subscription {
        /// Whether the prefix is subscribed to. If not, a subscription is cancelled.
        subscribe: bool,
        /// The prefix of topics.
        topic: Bytes,
        /// Whether it is a command, and not a message.
        is_command: bool,
    },
    /// A PING with its context.
    Ping(Bytes),
    /// A PONG with its context.
    Pong(Bytes),
    /// Any other command, or an encrypted one, with its name only.
    Command(Bytes),
    /// An event, or a different value.
    Event {
        /// The text of the sender.
        sender: Bytes,
        /// The format in which the value was sent.
        format: EventFormat,
        /// The topic and the value. The ids and the ttl of the envelope have no meaning.
        envelope: Envelope,
    },
    /// A log batch, which [`LogBatch::decode`] accepts.
    Logs {
        /// The text of the sender.
        sender: Bytes,
        /// The encoded batch.
        batch: Bytes,
    },
    /// A message in a session whose mechanism is neither NULL nor PLAIN.
    Encrypted,
}

/// Returns whether `first` is the start of a greeting. Returns `None` if there are not enough bytes.
pub(crate) fn is_signature(first: &[u8]) -> Option<bool> {
    match first.get(..SIGNATURE) {
        Some(signature) => Some(ForeignProtocol::recognize(signature) == Some(ForeignProtocol::ZeroMq)),
        None if first.starts_with(&[0xff]) => None,
        None => Some(false),
    }
}

/// Divides the bytes of one side of a session into parts.
#[derive(Debug)]
pub(crate) struct PartReader {
    stage: Stage,
    security: Security,
    /// Whether the socket of this side may subscribe.
    subscribes: bool,
    /// The length of the frames at the start of the input that belong to an incomplete message. They are not read again.
    scanned: usize,
}

/// The next part that the side sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Greeting,
    Handshake,
    Messages,
    /// Nothing more is read, because the start of the next part is unknown.
    Ended,
}

/// Whether the mechanism encrypts messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Security {
    Plain,
    Encrypted,
    /// The greeting is in an earlier recording.
    Unknown,
}

/// A part and its bytes.
#[derive(Debug)]
pub(crate) struct Cut {
    /// The greeting, or all frames of the part with their headers.
    pub(crate) body: Bytes,
    /// Whether the side had finished its handshake before.
    pub(crate) peered: bool,
    pub(crate) part: Result<Part, DecodeError>,
}

/// The reason why the bytes cannot be divided into parts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PartError {
    #[error("no greeting of ZeroMQ, although the other side has sent one")]
    NoGreeting,
    #[error("a greeting of version {0} of ZMTP, which is not supported")]
    Version(u8),
    #[error("{0}")]
    Frame(String),
    #[error("a message of more than {limit} bytes")]
    MessageTooLarge { limit: usize },
}

impl From<FrameError> for PartError {
    fn from(error: FrameError) -> Self {
        PartError::Frame(error.to_string())
    }
}

impl PartReader {
    /// Returns the reader of the bytes of a side from their beginning.
    pub(crate) fn new() -> Self {
        PartReader { stage: Stage::Greeting, security: Security::Plain, subscribes: true, scanned: 0 }
    }

    /// Returns the reader of the bytes of a side after its handshake.
    pub(crate) fn continued() -> Self {
        PartReader { stage: Stage::Messages, security: Security::Unknown, ..PartReader::new() }
    }

    /// Returns whether the side has finished its handshake, and no message is incomplete.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.stage == Stage::Messages && self.scanned == 0
    }

    /// Stops reading: all later input is discarded.
    pub(crate) fn stop(&mut self) {
        self.stage = Stage::Ended;
        self.scanned = 0;
    }

    /// Removes the next part from `input`. Returns `None` if it is incomplete.
    pub(crate) fn next(&mut self, input: &mut BytesMut, limits: &Limits) -> Result<Option<Cut>, PartError> {
        match self.stage {
            Stage::Greeting => self.greeting(input),
            Stage::Handshake => self.frames(input, limits.max_handshake_frame, limits),
            Stage::Messages => self.frames(input, limits.max_frame, limits),
            Stage::Ended => {
                input.clear();
                Ok(None)
            }
        }
    }

    fn greeting(&mut self, input: &mut BytesMut) -> Result<Option<Cut>, PartError> {
        let Greeting { version, mechanism, as_server } = match read_greeting(input) {
            Ok(Some(greeting)) => greeting,
            Ok(None) => return Ok(None),
            Err(Error::Version(version)) => return Err(PartError::Version(version)),
            Err(_) => return Err(PartError::NoGreeting),
        };
        if mechanism != b"NULL" && mechanism != b"PLAIN" {
            self.security = Security::Encrypted;
        }
        let mechanism = one_line(&String::from_utf8_lossy(mechanism));
        let part = Part::Greeting { version, mechanism, as_server: as_server != 0 };
        self.stage = Stage::Handshake;
        Ok(Some(Cut { body: input.split_to(GREETING).freeze(), peered: false, part: Ok(part) }))
    }

    /// Removes a command, or all frames of a message with the commands between them.
    fn frames(
        &mut self,
        input: &mut BytesMut,
        limit: usize,
        limits: &Limits,
    ) -> Result<Option<Cut>, PartError> {
        loop {
            let rest = input.get(self.scanned..).unwrap_or_default();
            let Some(header) = frame::read_header(rest, limit)? else { return Ok(None) };
            let length = header.length.saturating_add(header.body);
            let end = self.scanned.saturating_add(length);
            // libzmq may send a PING between the parts of a message. It belongs to the bytes of the message.
            let is_part = !header.is_command || self.scanned > 0;
            if is_part && end > limit {
                return Err(PartError::MessageTooLarge { limit });
            }
            if rest.len() < length {
                return Ok(None);
            }
            if header.more || header.is_command && is_part {
                self.scanned = end;
                continue;
            }
            let is_single = std::mem::take(&mut self.scanned) == 0;
            let body = input.split_to(end).freeze();
            let peered = self.stage == Stage::Messages;
            let part = if header.is_command {
                self.command(&body.slice(header.length..))
            } else {
                self.stage = Stage::Messages;
                if is_single { self.single(body.slice(header.length..)) } else { self.message(&body, limits) }
            };
            return Ok(Some(Cut { body, peered, part }));
        }
    }

    fn command(&mut self, body: &Bytes) -> Result<Part, DecodeError> {
        let command = Command::read(body).map_err(invalid)?;
        let slice = |data: &[u8]| body.slice_ref(data);
        Ok(match command {
            Command::Error { reason } => Part::Error(slice(reason)),
            Command::Ready { .. } if self.security != Security::Plain => {
                self.stage = Stage::Messages;
                Part::Command(Bytes::from_static(b"READY"))
            }
            Command::Ready { metadata } => {
                if std::mem::replace(&mut self.stage, Stage::Messages) == Stage::Messages {
                    return Ok(Part::Command(Bytes::from_static(b"READY")));
                }
                let properties = properties(body, metadata)?;
                let socket = properties.iter().find(|(name, _)| name.eq_ignore_ascii_case(b"Socket-Type"));
                self.subscribes =
                    socket.is_none_or(|(_, socket)| [&b"XSUB"[..], b"SUB"].contains(&&**socket));
                Part::Ready(properties)
            }
            Command::Ping { context } => Part::Ping(slice(context)),
            Command::Pong { context } => Part::Pong(slice(context)),
            Command::Subscribe { topic } => {
                Part::Subscription { subscribe: true, topic: slice(topic), is_command: true }
            }
            Command::Cancel { topic } => {
                Part::Subscription { subscribe: false, topic: slice(topic), is_command: true }
            }
            Command::Unknown { name } => {
                // The last command of the client in the handshakes of CURVE and PLAIN.
                if name == b"INITIATE" && self.security == Security::Encrypted {
                    self.stage = Stage::Messages;
                }
                Part::Command(slice(name))
            }
        })
    }

    /// Reads a message with one part.
    fn single(&self, body: Bytes) -> Result<Part, DecodeError> {
        match self.security {
            Security::Encrypted => return Ok(Part::Encrypted),
            Security::Unknown if body.starts_with(CURVE_MESSAGE) => return Ok(Part::Encrypted),
            Security::Plain | Security::Unknown => {}
        }
        let (subscribe, topic) = match Change::from_message(&body).filter(|_| self.subscribes) {
            Some(Change::Subscribe(topic)) => (true, topic),
            Some(Change::Cancel(topic)) => (false, topic),
            None => return Err(PartsError::Count(1).into()),
        };
        Ok(Part::Subscription { subscribe, topic: body.slice_ref(topic), is_command: false })
    }

    /// Reads a message with several parts.
    fn message(&self, body: &Bytes, limits: &Limits) -> Result<Part, DecodeError> {
        if self.security == Security::Encrypted {
            return Ok(Part::Encrypted);
        }
        let [topic, sender, format, payload] = parts(split(body, limits))?;
        check_sender(&sender)?;
        // The payload is at the end.
        let start = body.len().saturating_sub(payload.len());
        if *format == *LOG_FORMAT.as_bytes() {
            LogBatch::decode(&payload, limits).map_err(|error| error.shifted(start))?;
            return Ok(Part::Logs { sender, batch: payload });
        }
        let Some(format) = EventFormat::from_name(&format) else {
            return Err(unknown_format(&format, "broker-bin-v1, broker-json-v1 or zeek-bin-serializer"));
        };
        let payload = match format {
            EventFormat::Binary => {
                check_value(&payload, limits).map_err(|error| error.shifted(start))?;
                payload
            }
            EventFormat::Json => from_json(&payload, limits)?,
        };
        Ok(Part::Event { sender, format, envelope: envelope(EndpointId::NIL, event::topic(topic)?, payload) })
    }
}

/// Divides a complete message into its parts, without the commands between them. Its headers and its length were checked.
fn split(body: &Bytes, limits: &Limits) -> Message {
    let (mut rest, mut multipart) = (body.clone(), Multipart::default());
    while let Ok(Some(Header { more, is_command, length, body })) =
        frame::read_header(&rest, limits.max_frame)
    {
        let length = length.min(rest.len());
        let end = length.saturating_add(body).min(rest.len());
        let body = rest.split_to(end).slice(length..);
        if is_command {
            continue;
        }
        if let Ok(Some(message)) = multipart.add(more, end, body, limits.max_frame) {
            return message;
        }
    }
    // Cannot occur.
    Err(0)
}

/// Returns the properties in the metadata of a READY.
fn properties(body: &Bytes, mut metadata: &[u8]) -> Result<Vec<(Bytes, Bytes)>, DecodeError> {
    let mut properties = Vec::new();
    while !metadata.is_empty() {
        let (rest, (name, value)) = property(metadata).map_err(|_| PartsError::InvalidCommand {
            name: "READY".into(),
            reason: "a property is incomplete",
        })?;
        metadata = rest;
        properties.push((body.slice_ref(name), body.slice_ref(value)));
    }
    Ok(properties)
}

/// Converts the error of a command.
fn invalid(error: Error) -> DecodeError {
    let (name, reason) = match error {
        Error::Command { name, reason } => (name.into(), reason),
        // Cannot occur: reading a command has no other error.
        _ => (Box::default(), "it is malformed"),
    };
    PartsError::InvalidCommand { name, reason }.into()
}
