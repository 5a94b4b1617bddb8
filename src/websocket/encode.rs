//! Encoding of messages as v1 JSON in frames (`PROTOCOL.md`, section 10).

use bytes::{BufMut, BytesMut};

use super::dialect::Dialect;
#[cfg(any(feature = "net", test))]
use super::frame::Header;
use super::frame::put_message;
use super::text::{Text, put_real, put_string};
use crate::data::AsJson;
use crate::wire::{
    Container, EncodeError, Envelope, EnvelopeType, Head, Heads, Limits, ValueRef, check_value,
};
use crate::zeek::MAX_BATCH_DEPTH;

/// The maximum length of a message as JSON in bytes. A value of one byte on the wire becomes about thirty bytes of JSON, so a
/// message that a Broker peer may send can become too long.
const MAX_LENGTH: usize = Limits::DEFAULT.max_frame;

/// Ends each message of a batch except the last one, so that `first_length` finds the end of the batch. JSON allows white
/// space after a value.
const MORE_FOLLOWS: u8 = b' ';

const NOT_AN_EVENT: EncodeError = EncodeError::NotCarried { what: "a log or an identifier update" };

/// The version and kinds of Zeek's messages (`PROTOCOL.md`, section 6).
const FORMAT_VERSION: u64 = 1;
const EVENT: u64 = 1;
const BATCH: u64 = 5;

/// Ends the last message of a batch if the messages after it were left out. It replaces [`MORE_FOLLOWS`].
const NOTHING_FOLLOWS: u8 = b'\n';

/// Messages that were not encoded.
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "net"), allow(dead_code, reason = "only connections count them"))]
pub(crate) struct LeftOut {
    /// The number of messages. Each message of a batch counts.
    pub(crate) messages: usize,
    /// The error of one of the messages.
    pub(crate) error: EncodeError,
}

impl From<EncodeError> for LeftOut {
    fn from(error: EncodeError) -> Self {
        LeftOut { messages: 1, error }
    }
}

/// The differences between a message and its encoded form.
#[derive(Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "net"), allow(dead_code, reason = "only connections count them"))]
pub(crate) struct Changes {
    /// The messages of a batch that were not encoded.
    pub(crate) left_out: Option<LeftOut>,
    /// The number of strings that are not UTF-8 and were encoded in a changed form.
    pub(crate) altered_strings: usize,
}

/// Appends a message. A batch becomes one message for each of its events. Events that cannot be encoded, and messages that
/// are not events, are omitted from a batch and counted in the result.
///
/// # Errors
/// Fails if v1 has no form for the message: for a data-store command, a log or an identifier update, a value that cannot be
/// decoded, or, with [`BinaryText::Drop`](super::BinaryText::Drop), a string that is not UTF-8. Fails if the JSON is too long.
/// For a batch, fails if no event can be encoded. Nothing is appended in these cases.
pub(crate) fn encode(envelope: &Envelope, dialect: Dialect, out: &mut BytesMut) -> Result<Changes, LeftOut> {
    if envelope.kind != EnvelopeType::Data {
        return Err(EncodeError::NotCarried { what: "a data-store command" }.into());
    }
    if check_value(&envelope.payload, &Limits::DEFAULT).is_err() {
        return Err(EncodeError::NotCarried { what: "a value that cannot be decoded" }.into());
    }
    let start = out.len();
    let topic = envelope.topic.as_bytes();
    match kind(&envelope.payload) {
        Some(BATCH) => {
            let mut content = Content::default();
            find_events(&envelope.payload, MAX_BATCH_DEPTH, &mut content);
            put_events(topic, &content, dialect, out)
        }
        None | Some(EVENT) => {
            let altered_strings = put(topic, &envelope.payload, false, start, dialect, out)?;
            Ok(Changes { left_out: None, altered_strings })
        }
        Some(_) => Err(NOT_AN_EVENT.into()),
    }
}

/// Returns the length of the first message in bytes, with all events of a batch.
#[cfg(any(feature = "net", test))]
pub(crate) fn first_length(frames: &[u8]) -> Option<usize> {
    let mut end = 0usize;
    loop {
        let header = Header::read(frames.get(end..)?).ok()??;
        let payload = end.saturating_add(header.length);
        end = end.saturating_add(header.frame_length());
        let text = frames.get(payload..end)?;
        let mask = header.mask.unwrap_or_default();
        let last = text.len().checked_sub(1).and_then(|at| Some(text.get(at)? ^ mask.get(at & 3)?));
        if last != Some(MORE_FOLLOWS) {
            return Some(end);
        }
    }
}

/// Returns the kind of a Zeek message, or `None` if the value is not a Zeek message. The bytes must have been checked.
fn kind(value: &[u8]) -> Option<u64> {
    let mut heads = Heads(value);
    match [heads.next()?, heads.next()?, heads.next()?] {
        [
            Head::Container(Container::Vector, 3),
            Head::Scalar(ValueRef::Count(FORMAT_VERSION)),
            Head::Scalar(ValueRef::Count(kind)),
        ] => Some(kind),
        _ => None,
    }
}

/// The content of a batch.
#[derive(Default)]
struct Content<'a> {
    events: Vec<&'a [u8]>,
    /// The number of messages that are not events.
    others: usize,
}

/// Collects the events of a message. The depth of batches limits the recursion.
fn find_events<'a>(message: &'a [u8], depth: usize, content: &mut Content<'a>) {
    match kind(message) {
        Some(EVENT) => content.events.push(message),
        Some(BATCH) => {
            let mut heads = Heads(message);
            // The vector, the version, the kind, and the vector of messages.
            let Some(Head::Container(Container::Vector, count)) = heads.nth(3) else { return };
            let Some(depth) = depth.checked_sub(1) else {
                content.others = content.others.saturating_add(1);
                return;
            };
            for _ in 0..count {
                find_events(heads.skip_value(), depth, content);
            }
        }
        _ => content.others = content.others.saturating_add(1),
    }
}

/// Appends the events of a batch. Omits the events that cannot be encoded, and fails if no other event remains.
fn put_events(
    topic: &[u8],
    content: &Content<'_>,
    dialect: Dialect,
    out: &mut BytesMut,
) -> Result<Changes, LeftOut> {
    let start = out.len();
    let mut left_out =
        (content.others > 0).then_some(LeftOut { messages: content.others, error: NOT_AN_EVENT });
    let mut altered_strings = 0usize;
    let mut ends_batch = false;
    let mut events = content.events.iter().peekable();
    while let Some(event) = events.next() {
        let more_follows = events.peek().is_some();
        match put(topic, event, more_follows, start, dialect, out) {
            Ok(altered) => {
                ends_batch = !more_follows;
                altered_strings = altered_strings.saturating_add(altered);
            }
            Err(error) => {
                let before = left_out.map_or(0, |left_out| left_out.messages);
                left_out = Some(LeftOut { messages: before.saturating_add(1), error });
            }
        }
    }
    if out.len() == start {
        let nothing = EncodeError::NotCarried { what: "a batch without an event" };
        let LeftOut { messages, error } = left_out.unwrap_or(nothing.into());
        return Err(LeftOut { messages, error: if content.events.is_empty() { nothing } else { error } });
    }
    if !ends_batch && let Some(last) = out.last_mut() {
        // The byte may be masked. The mask is applied with xor too, so it stays correct.
        *last ^= MORE_FOLLOWS ^ NOTHING_FOLLOWS;
    }
    Ok(Changes { left_out, altered_strings })
}

/// Removes the metadata of an event if the metadata is empty, because Zeek's server does not write it. Returns whether it was
/// removed. If so, the head of the event's content contains a count that is too large by one.
fn trim_metadata(value: &mut &[u8]) -> bool {
    let mut heads = Heads(value);
    if kind(value) != Some(EVENT) || !matches!(heads.nth(3), Some(Head::Container(Container::Vector, 3))) {
        return false;
    }
    heads.skip_value();
    heads.skip_value();
    let rest = heads.0;
    if !matches!(heads.next(), Some(Head::Container(Container::Vector, 0))) {
        return false;
    }
    *value = value.strip_suffix(rest).unwrap_or(value);
    true
}

/// Appends one message. `start` is the position in `out` at which its batch starts. Returns the number of strings that were
/// changed.
fn put(
    topic: &[u8],
    value: &[u8],
    more_follows: bool,
    start: usize,
    dialect: Dialect,
    out: &mut BytesMut,
) -> Result<usize, EncodeError> {
    let max = start.saturating_add(MAX_LENGTH);
    let mut text = Text::default();
    put_message(out, dialect.mask(), |out| {
        out.put_slice(br#"{"type":"data-message","topic":"#);
        put_string(topic, max, dialect, out, &mut text)?;
        out.put_u8(b',');
        put_value(value, max, dialect, out, &mut text)?;
        if more_follows {
            out.put_u8(MORE_FOLLOWS);
        }
        Ok(text.opcode())
    })?;
    Ok(text.altered)
}

/// A container whose elements are being written.
struct Level {
    kind: Container,
    /// The number of values that are not written yet. A pair of a table has two.
    left: usize,
    is_first: bool,
}

impl Level {
    /// Writes the text before the next value: a comma, the name in a pair, and the opening brace.
    fn before_value(&mut self, out: &mut BytesMut) {
        let comma: &[u8] = if std::mem::replace(&mut self.is_first, false) { b"" } else { b"," };
        out.put_slice(comma);
        if self.kind == Container::Table {
            out.put_slice(if self.left.is_multiple_of(2) { br#"{"key":"# } else { br#""value":"# });
        }
        out.put_u8(b'{');
        self.left = self.left.saturating_sub(1);
    }

    /// Writes the end of a pair after its value.
    fn after_value(&self, out: &mut BytesMut) {
        if self.kind == Container::Table && self.left.is_multiple_of(2) {
            out.put_u8(b'}');
        }
    }
}

/// Appends the members of a value and the closing brace. The value may extend up to the position `max`.
fn put_value(
    mut value: &[u8],
    max: usize,
    dialect: Dialect,
    out: &mut BytesMut,
    text: &mut Text,
) -> Result<(), EncodeError> {
    let trimmed = trim_metadata(&mut value);
    let mut levels: Vec<Level> = Vec::new();
    for (index, head) in Heads(value).enumerate() {
        if let Some(level) = levels.last_mut() {
            level.before_value(out);
        }
        match head {
            Head::Scalar(scalar) => put_scalar(&scalar, max, dialect, out, text)?,
            Head::Container(kind, count) => {
                out.put_slice(match kind {
                    Container::Set => br#""@data-type":"set","data":["#,
                    Container::Table => br#""@data-type":"table","data":["#,
                    Container::Vector => br#""@data-type":"vector","data":["#,
                });
                // The content of an event is the fourth value.
                let count = if trimmed && index == 3 { count.saturating_sub(1) } else { count };
                let left = if kind == Container::Table { count.saturating_mul(2) } else { count };
                levels.push(Level { kind, left, is_first: true });
                if left > 0 {
                    continue;
                }
                levels.pop();
                out.put_slice(b"]}");
            }
        }
        while let Some(level) = levels.last() {
            level.after_value(out);
            if level.left > 0 {
                break;
            }
            levels.pop();
            out.put_slice(b"]}");
        }
        if out.len() > max {
            let length = out.len().saturating_sub(max).saturating_add(MAX_LENGTH);
            return Err(EncodeError::TooLong { what: "a message as JSON", length, max: MAX_LENGTH });
        }
    }
    Ok(())
}

/// Appends the members of a scalar and the closing brace. The scalar is incomplete if it extends beyond the position `max`.
fn put_scalar(
    scalar: &ValueRef<'_>,
    max: usize,
    dialect: Dialect,
    out: &mut BytesMut,
    text: &mut Text,
) -> Result<(), EncodeError> {
    macro_rules! before_data {
        ($name:literal) => {
            concat!(r#""@data-type":""#, $name, r#"","data":"#)
        };
    }
    let before_data = match scalar {
        ValueRef::None => before_data!("none"),
        ValueRef::Boolean(_) => before_data!("boolean"),
        ValueRef::Count(_) => before_data!("count"),
        ValueRef::Integer(_) => before_data!("integer"),
        ValueRef::Real(_) => before_data!("real"),
        ValueRef::String(_) => before_data!("string"),
        ValueRef::Address(_) => before_data!("address"),
        ValueRef::Subnet(_) => before_data!("subnet"),
        ValueRef::Port(_) => before_data!("port"),
        ValueRef::Timestamp(_) => before_data!("timestamp"),
        ValueRef::Timespan(_) => before_data!("timespan"),
        ValueRef::EnumValue(_) => before_data!("enum-value"),
        ValueRef::Set(_) => before_data!("set"),
        ValueRef::Table(_) => before_data!("table"),
        ValueRef::Vector(_) => before_data!("vector"),
    };
    out.put_slice(before_data.as_bytes());
    // Writing to memory does not fail.
    let written = match scalar {
        ValueRef::None => {
            out.put_slice(b"{}");
            Ok(())
        }
        ValueRef::Boolean(boolean) => serde_json::to_writer(out.writer(), boolean),
        ValueRef::Count(count) => serde_json::to_writer(out.writer(), count),
        ValueRef::Integer(integer) => serde_json::to_writer(out.writer(), integer),
        ValueRef::Address(address) => serde_json::to_writer(out.writer(), &AsJson(address)),
        ValueRef::Subnet(subnet) => serde_json::to_writer(out.writer(), &AsJson(subnet)),
        ValueRef::Port(port) => serde_json::to_writer(out.writer(), &AsJson(port)),
        ValueRef::Timestamp(timestamp) => serde_json::to_writer(out.writer(), &AsJson(timestamp)),
        ValueRef::Timespan(timespan) => serde_json::to_writer(out.writer(), &AsJson(timespan)),
        ValueRef::Real(real) => {
            put_real(*real, dialect, out);
            Ok(())
        }
        ValueRef::String(bytes) | ValueRef::EnumValue(bytes) => {
            put_string(bytes, max, dialect, out, text)?;
            Ok(())
        }
        // Containers are not scalars.
        ValueRef::Set(_) | ValueRef::Table(_) | ValueRef::Vector(_) => Ok(()),
    };
    debug_assert!(written.is_ok(), "writing to memory does not fail");
    out.put_u8(b'}');
    Ok(())
}
