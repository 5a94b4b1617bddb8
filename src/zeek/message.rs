//! The format of every data payload from Zeek: `[count 1, count kind, content]` (`PROTOCOL.md`, section 6).

use super::{Event, EventError, IdentifierUpdate, LogCreate, LogWrite, extract};
use crate::data::Value;

/// Maximum nesting depth of batches. Zeek never nests batches. The limit bounds the recursion for messages that a peer
/// has sent.
pub const MAX_BATCH_DEPTH: usize = 8;

/// The only version of the format.
const FORMAT_VERSION: u64 = 1;

const EVENT: u64 = 1;
const LOG_CREATE: u64 = 2;
const LOG_WRITE: u64 = 3;
const IDENTIFIER_UPDATE: u64 = 4;
const BATCH: u64 = 5;

/// A Zeek message: the decoded content of a data payload.
///
/// [`ZeekMessage::into_value`] returns the same value that was passed to [`ZeekMessage::from_value`]. Additional
/// elements in a message are rejected; Broker's C++ implementation ignores them.
///
/// ```
/// use zeek_bridge::data::Value;
/// use zeek_bridge::zeek::{Event, ZeekMessage};
///
/// let message = ZeekMessage::from(Event::new("ping", [Value::Count(1)]));
/// let value = message.clone().into_value();
/// assert_eq!(ZeekMessage::from_value(value), Ok(message));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ZeekMessage {
    /// Kind 1: an event.
    Event(Event),
    /// Kind 2: announces a log stream.
    LogCreate(LogCreate),
    /// Kind 3: rows of a log stream.
    LogWrite(LogWrite),
    /// Kind 4: announces the new value of a global variable.
    IdentifierUpdate(IdentifierUpdate),
    /// Kind 5: several messages. Batches may be nested up to [`MAX_BATCH_DEPTH`] levels.
    Batch(Vec<ZeekMessage>),
}

/// The reason why a value is not a Zeek message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// A part of the message has the wrong type.
    #[error("{part}: expected type {expected}, found type {found}")]
    WrongType {
        /// The name of the part.
        part: &'static str,
        /// The expected type.
        expected: &'static str,
        /// The actual type.
        found: &'static str,
    },
    /// A part of the message has the wrong number of elements.
    #[error("{part}: expected {expected} elements, found {found}")]
    WrongCount {
        /// The name of the part.
        part: &'static str,
        /// The expected number.
        expected: usize,
        /// The actual number.
        found: usize,
    },
    /// An event has neither two nor three elements.
    #[error("event: expected name, arguments and optional metadata (2 or 3 elements), found {0} elements")]
    EventShape(usize),
    /// The name of an event is not UTF-8.
    #[error("event name is not UTF-8")]
    NameNotText,
    /// The format version is not 1.
    #[error("unknown format version {0}; only version 1 is supported")]
    UnknownVersion(u64),
    /// The message kind is unknown.
    #[error("unknown message kind {0}; known kinds are 1 (event) to 5 (batch)")]
    UnknownKind(u64),
    /// Batches are nested deeper than [`MAX_BATCH_DEPTH`].
    #[error("batches are nested deeper than {MAX_BATCH_DEPTH} levels")]
    BatchTooDeep,
    /// A message in a batch is invalid. The complete batch is rejected, as in Broker's C++ implementation.
    #[error("batch message {index}: {error}")]
    InBatch {
        /// The index of the message in the batch, from 0.
        index: usize,
        /// The error of that message.
        error: Box<MessageError>,
    },
}

impl ZeekMessage {
    /// Converts the value of a data payload to a message.
    ///
    /// # Errors
    /// Fails if the value is not a Zeek message of a known version and kind. The error names the invalid part.
    pub fn from_value(value: Value) -> Result<Self, MessageError> {
        Self::decode(value, MAX_BATCH_DEPTH)
    }

    /// Converts the message to the value of a data payload.
    #[must_use]
    pub fn into_value(self) -> Value {
        let (kind, content) = match self {
            ZeekMessage::Event(event) => (EVENT, event.into_content()),
            ZeekMessage::LogCreate(create) => (LOG_CREATE, create.into_content()),
            ZeekMessage::LogWrite(write) => (LOG_WRITE, write.into_content()),
            ZeekMessage::IdentifierUpdate(update) => (IDENTIFIER_UPDATE, update.into_content()),
            ZeekMessage::Batch(messages) => {
                (BATCH, Value::Vector(messages.into_iter().map(ZeekMessage::into_value).collect()))
            }
        };
        Value::Vector(vec![Value::Count(FORMAT_VERSION), Value::Count(kind), content])
    }

    /// Returns the value of a data payload for this message.
    #[must_use]
    pub fn to_value(&self) -> Value {
        self.clone().into_value()
    }

    /// Converts the message to its event.
    ///
    /// # Errors
    /// Fails if the message is not an event.
    pub fn into_event(self) -> Result<Event, EventError> {
        match self {
            ZeekMessage::Event(event) => Ok(event),
            ZeekMessage::LogCreate(_) => Err(EventError::NotAnEvent("a log create")),
            ZeekMessage::LogWrite(_) => Err(EventError::NotAnEvent("a log write")),
            ZeekMessage::IdentifierUpdate(_) => Err(EventError::NotAnEvent("an identifier update")),
            ZeekMessage::Batch(_) => Err(EventError::NotAnEvent("a batch")),
        }
    }

    /// Returns the events in the message. An event returns itself, a batch returns all its events in order, and all
    /// other kinds return none.
    #[must_use]
    pub fn into_events(self) -> Vec<Event> {
        match self {
            ZeekMessage::Event(event) => vec![event],
            // Decoding limits the depth of this recursion.
            ZeekMessage::Batch(messages) => messages.into_iter().flat_map(Self::into_events).collect(),
            _ => Vec::new(),
        }
    }

    fn decode(value: Value, depth: usize) -> Result<Self, MessageError> {
        let [version, kind, content] = extract::elements("message", value)?;
        let version = extract::count("message version", &version)?;
        if version != FORMAT_VERSION {
            return Err(MessageError::UnknownVersion(version));
        }
        match extract::count("message kind", &kind)? {
            EVENT => Event::from_content(content).map(ZeekMessage::Event),
            LOG_CREATE => LogCreate::from_content(content).map(ZeekMessage::LogCreate),
            LOG_WRITE => LogWrite::from_content(content).map(ZeekMessage::LogWrite),
            IDENTIFIER_UPDATE => IdentifierUpdate::from_content(content).map(ZeekMessage::IdentifierUpdate),
            BATCH => {
                let depth = depth.checked_sub(1).ok_or(MessageError::BatchTooDeep)?;
                let messages = extract::vector("batch", content)?.into_iter().enumerate();
                messages
                    .map(|(index, message)| {
                        Self::decode(message, depth)
                            .map_err(|error| MessageError::InBatch { index, error: Box::new(error) })
                    })
                    .collect::<Result<_, _>>()
                    .map(ZeekMessage::Batch)
            }
            unknown => Err(MessageError::UnknownKind(unknown)),
        }
    }
}

impl From<ZeekMessage> for Value {
    fn from(message: ZeekMessage) -> Self {
        message.into_value()
    }
}

impl TryFrom<Value> for ZeekMessage {
    type Error = MessageError;

    fn try_from(value: Value) -> Result<Self, MessageError> {
        ZeekMessage::from_value(value)
    }
}

impl From<Event> for ZeekMessage {
    fn from(event: Event) -> Self {
        ZeekMessage::Event(event)
    }
}

impl From<LogCreate> for ZeekMessage {
    fn from(create: LogCreate) -> Self {
        ZeekMessage::LogCreate(create)
    }
}

impl From<LogWrite> for ZeekMessage {
    fn from(write: LogWrite) -> Self {
        ZeekMessage::LogWrite(write)
    }
}

impl From<IdentifierUpdate> for ZeekMessage {
    fn from(update: IdentifierUpdate) -> Self {
        ZeekMessage::IdentifierUpdate(update)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{ByteString, Timestamp};
    use Value as V;

    fn vector<const N: usize>(elements: [Value; N]) -> Value {
        V::Vector(elements.into())
    }

    fn string(text: &str) -> Value {
        V::String(text.into())
    }

    fn message(kind: u64, content: Value) -> Value {
        vector([V::Count(1), V::Count(kind), content])
    }

    fn ping() -> Value {
        message(1, vector([string("ping"), vector([V::Count(7)])]))
    }

    fn error(value: Value) -> String {
        ZeekMessage::from_value(value).unwrap_err().to_string()
    }

    #[test]
    fn every_kind_round_trips() {
        let (label, writer) = (|| V::enum_value("Conn::LOG"), || V::enum_value("Log::WRITER_ASCII"));
        let binary = || V::String(ByteString::from(&b"\x00\xff"[..]));
        let event = |metadata: Value| message(1, vector([string("e"), vector([]), metadata]));
        let stamp = || vector([V::Count(1), V::Timestamp(Timestamp::from_nanos(5))]);
        for value in [
            ping(),
            message(1, vector([string(""), vector([])])),
            event(vector([])),
            event(vector([stamp()])),
            event(vector([vector([V::Count(900), V::None]), stamp(), stamp()])),
            message(2, vector([label(), writer(), V::None, vector([V::Boolean(true)])])),
            message(3, vector([label(), writer(), binary(), binary()])),
            message(4, vector([binary(), V::Real(0.5)])),
            message(5, vector([])),
            message(
                5,
                vector([ping(), message(5, vector([ping()])), message(4, vector([binary(), V::None]))]),
            ),
        ] {
            let read = ZeekMessage::from_value(value.clone()).unwrap();
            assert_eq!(read.to_value(), value);
            assert_eq!(Value::from(read), value);
        }
    }

    #[test]
    fn events_are_extracted_from_messages_and_batches() {
        let event = |n: u64| Event::new("e", (n,));
        let write = || LogWrite { stream: "L".into(), writer: "W".into(), path: "p".into(), rows: "".into() };
        assert_eq!(ZeekMessage::from(event(1)).into_event(), Ok(event(1)));
        let error = ZeekMessage::from(write()).into_event().unwrap_err();
        assert_eq!(error.to_string(), "expected an event, found a log write");
        let inner = ZeekMessage::Batch(vec![event(2).into(), write().into()]);
        let batch = ZeekMessage::Batch(vec![event(1).into(), inner, event(3).into()]);
        assert_eq!(batch.clone().into_event(), Err(EventError::NotAnEvent("a batch")));
        assert_eq!(batch.into_events(), [event(1), event(2), event(3)]);
        assert_eq!(ZeekMessage::from(write()).into_events(), []);
    }

    #[test]
    fn errors_name_the_invalid_part() {
        let (label, writer) = (|| V::enum_value("Conn::LOG"), || V::enum_value("Log::WRITER_ASCII"));
        let with_metadata = |m: Value| message(1, vector([string("e"), vector([]), m]));
        for (value, expected) in [
            (V::None, "message: expected type vector, found type none"),
            (vector([V::Count(1), V::Count(1)]), "message: expected 3 elements, found 2"),
            (
                vector([string("x"), V::Count(1), V::None]),
                "message version: expected type count, found type string",
            ),
            (
                vector([V::Count(1), V::Integer(1), V::None]),
                "message kind: expected type count, found type integer",
            ),
            (message(1, string("x")), "event: expected type vector, found type string"),
            (
                message(1, vector([string("x")])),
                "event: expected name, arguments and optional metadata (2 or 3 elements), found 1 elements",
            ),
            (
                message(1, vector([V::Count(0), vector([])])),
                "event name: expected type string, found type count",
            ),
            (message(1, vector([V::String(vec![b'a', 0xff].into()), vector([])])), "event name is not UTF-8"),
            (
                message(1, vector([string("e"), string("a")])),
                "event arguments: expected type vector, found type string",
            ),
            (with_metadata(V::None), "event metadata: expected type vector, found type none"),
            (with_metadata(vector([V::None])), "event metadata entry: expected type vector, found type none"),
            (
                with_metadata(vector([vector([V::Count(1)])])),
                "event metadata entry: expected 2 elements, found 1",
            ),
            (
                with_metadata(vector([vector([string("id"), V::None])])),
                "event metadata id: expected type count, found type string",
            ),
            (
                with_metadata(vector([vector([V::Count(1), V::Count(2)])])),
                "event network timestamp: expected type timestamp, found type count",
            ),
            (message(2, vector([])), "log create: expected 4 elements, found 0"),
            (
                message(2, vector([string("s"), writer(), V::None, V::None])),
                "log create stream: expected type enum-value, found type string",
            ),
            (
                message(2, vector([label(), V::None, V::None, V::None])),
                "log create writer: expected type enum-value, found type none",
            ),
            (
                message(3, vector([label(), writer(), string("p"), string("r"), V::None])),
                "log write: expected 4 elements, found 5",
            ),
            (
                message(3, vector([label(), writer(), V::None, string("r")])),
                "log write path: expected type string, found type none",
            ),
            (
                message(3, vector([label(), writer(), string("p"), vector([])])),
                "log write rows: expected type string, found type vector",
            ),
            (
                message(4, vector([V::None, V::None])),
                "identifier update id: expected type string, found type none",
            ),
            (message(5, V::None), "batch: expected type vector, found type none"),
            (
                message(5, vector([ping(), message(5, vector([message(1, string("x"))]))])),
                "batch message 1: batch message 0: event: expected type vector, found type string",
            ),
        ] {
            assert_eq!(error(value), expected);
        }
    }

    #[test]
    fn unknown_versions_and_kinds_have_their_own_errors() {
        let version = vector([V::Count(2), V::Count(1), V::None]);
        assert_eq!(ZeekMessage::from_value(version), Err(MessageError::UnknownVersion(2)));
        for kind in [0, 6, u64::MAX] {
            assert_eq!(ZeekMessage::from_value(message(kind, V::None)), Err(MessageError::UnknownKind(kind)));
        }
    }

    #[test]
    fn batches_may_be_nested_up_to_the_limit() {
        let nested = |depth: usize| (0..depth).fold(ping(), |inner, _| message(5, vector([inner])));
        assert!(ZeekMessage::from_value(nested(MAX_BATCH_DEPTH)).is_ok());
        let mut error = ZeekMessage::from_value(nested(MAX_BATCH_DEPTH + 1)).unwrap_err();
        for _ in 0..MAX_BATCH_DEPTH {
            let MessageError::InBatch { index: 0, error: inner } = error else { panic!("{error}") };
            error = *inner;
        }
        assert_eq!(error, MessageError::BatchTooDeep);
    }

    /// Replaces a nested element with `wrong`; `choices` selects the element at each level.
    fn damage(value: &mut Value, choices: &[usize], wrong: Value) {
        match (value, choices) {
            (V::Vector(elements), [choice, below @ ..]) if !elements.is_empty() => {
                let at = choice.checked_rem(elements.len()).unwrap();
                damage(&mut elements[at], below, wrong);
            }
            (value, _) => *value = wrong,
        }
    }

    proptest::proptest! {
        #[test]
        fn a_damaged_message_is_an_error_or_round_trips(
            choices in proptest::collection::vec(0usize..16, 0..7),
            wrong in crate::data::arbitrary::value(),
        ) {
            let event = Event::new("e", [V::Count(1)]).with_network_timestamp(Timestamp::from_nanos(1));
            let (label, text) = (|| V::enum_value("Conn::LOG"), || string("conn"));
            let mut value = message(5, vector([
                message(5, vector([ZeekMessage::from(event).into_value()])),
                message(2, vector([label(), label(), V::None, V::None])),
                message(3, vector([label(), label(), text(), text()])),
                message(4, vector([text(), V::None])),
            ]));
            damage(&mut value, &choices, wrong);
            if let Ok(message) = ZeekMessage::from_value(value.clone()) {
                proptest::prop_assert_eq!(message.into_value(), value);
            }
        }
    }
}
