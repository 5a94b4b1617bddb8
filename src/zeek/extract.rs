//! Extraction of the parts of a message from a value.

use super::MessageError;
use crate::data::{ByteString, Value};

fn wrong(part: &'static str, expected: &'static str, found: &Value) -> MessageError {
    MessageError::WrongType { part, expected, found: found.type_name() }
}

pub(super) fn vector(part: &'static str, value: Value) -> Result<Vec<Value>, MessageError> {
    match value {
        Value::Vector(elements) => Ok(elements),
        other => Err(wrong(part, "vector", &other)),
    }
}

/// Returns the elements of a vector. Fails unless it has exactly `N` elements.
pub(super) fn elements<const N: usize>(part: &'static str, value: Value) -> Result<[Value; N], MessageError> {
    vector(part, value)?.try_into().map_err(|found: Vec<Value>| MessageError::WrongCount {
        part,
        expected: N,
        found: found.len(),
    })
}

pub(super) fn count(part: &'static str, value: &Value) -> Result<u64, MessageError> {
    match value {
        Value::Count(n) => Ok(*n),
        other => Err(wrong(part, "count", other)),
    }
}

pub(super) fn string(part: &'static str, value: Value) -> Result<ByteString, MessageError> {
    match value {
        Value::String(bytes) => Ok(bytes),
        other => Err(wrong(part, "string", &other)),
    }
}

pub(super) fn enum_label(part: &'static str, value: Value) -> Result<ByteString, MessageError> {
    match value {
        Value::EnumValue(label) => Ok(label),
        other => Err(wrong(part, "enum-value", &other)),
    }
}

pub(super) fn timestamp(part: &'static str, value: &Value) -> Result<(), MessageError> {
    match value {
        Value::Timestamp(_) => Ok(()),
        other => Err(wrong(part, "timestamp", other)),
    }
}
