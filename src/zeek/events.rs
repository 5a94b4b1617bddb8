//! The events in an encoded message of Zeek (`PROTOCOL.md`, section 6), for protocols that carry only events.

use super::message::MAX_BATCH_DEPTH;
use crate::wire::{Container, EncodeError, Head, Heads, ValueRef};

/// The version and kinds of Zeek's messages.
const FORMAT_VERSION: u64 = 1;
pub(crate) const EVENT: u64 = 1;
pub(crate) const BATCH: u64 = 5;

/// Messages that were not encoded.
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "net"), allow(dead_code, reason = "only connections count them"))]
pub(crate) struct LeftOut {
    /// The number of messages. Each message of a batch counts.
    pub(crate) messages: usize,
    /// The error of one of the messages.
    pub(crate) error: EncodeError,
}

impl LeftOut {
    /// The error for a message of Zeek that is not an event.
    pub(crate) const NOT_AN_EVENT: EncodeError =
        EncodeError::NotCarried { what: "a log or an identifier update" };
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

/// Returns the kind of a Zeek message, or `None` if the value is not a Zeek message. Only the beginning is read, so the rest of
/// the bytes may be invalid.
pub(crate) fn kind(value: &[u8]) -> Option<u64> {
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

/// Returns the name in an encoded event. The bytes must have been checked.
pub(crate) fn event_name(event: &[u8]) -> Option<&[u8]> {
    // The vector, the version, the kind, the vector of the content, and the name.
    match Heads(event).nth(4)? {
        Head::Scalar(ValueRef::String(name) | ValueRef::EnumValue(name)) => Some(name),
        _ => None,
    }
}

/// The content of a batch.
#[derive(Default)]
pub(crate) struct Content<'a> {
    pub(crate) events: Vec<&'a [u8]>,
    /// The number of messages that are not events.
    pub(crate) others: usize,
}

impl<'a> Content<'a> {
    /// Returns the content of a batch. The bytes must have been checked.
    pub(crate) fn of(batch: &'a [u8]) -> Self {
        let mut content = Content::default();
        find_events(batch, MAX_BATCH_DEPTH, &mut content);
        content
    }
}

/// Collects the events of a message. The depth of batches limits the recursion.
fn find_events<'a>(message: &'a [u8], depth: usize, content: &mut Content<'a>) {
    match kind(message) {
        Some(EVENT) => content.events.push(message),
        Some(BATCH) => {
            let mut heads = Heads(message);
            // The vector, the version, the kind, and the vector of messages.
            let head = heads.nth(3);
            let (Some(Head::Container(Container::Vector, count)), Some(depth)) = (head, depth.checked_sub(1))
            else {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Value;
    use crate::wire::encode_value;
    use crate::zeek::{Event, ZeekMessage};

    #[test]
    fn a_nested_batch_without_a_vector_counts_as_a_message() {
        let message = |kind, content| Value::Vector(vec![Value::Count(1), Value::Count(kind), content]);
        let event = ZeekMessage::from(Event::new("e", ())).into_value();
        let batch = message(BATCH, Value::Vector(vec![event, message(BATCH, Value::Count(1))]));
        let mut bytes = Vec::new();
        encode_value(&batch, &mut bytes).unwrap();
        let content = Content::of(&bytes);
        assert_eq!((content.events.len(), content.others), (1, 1));
    }
}
