//! Writing of values as v1 JSON.

use bytes::{BufMut, BytesMut};

use super::dialect::Dialect;
use super::text::{Text, put_real, put_string};
use crate::data::AsJson;
use crate::wire::{Container, EncodeError, Head, Heads, Limits, ValueRef};
use crate::zeek::events::{EVENT, kind};

/// The maximum length of a message as JSON in bytes. A value of one byte on the wire becomes about thirty bytes of JSON, so a
/// message that a Broker peer may send can become too long.
pub(crate) const MAX_LENGTH: usize = Limits::DEFAULT.max_frame;

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

    /// Returns the number of open braces and brackets before an element: those of the container, and that of a pair.
    fn open(&self) -> usize {
        if self.kind == Container::Table { 3 } else { 2 }
    }

    /// Writes the end of a pair after its value.
    fn after_value(&self, out: &mut BytesMut) {
        if self.kind == Container::Table && self.left.is_multiple_of(2) {
            out.put_u8(b'}');
        }
    }
}

/// The maximum number of open braces and brackets in a text that Zeek can read.
const MAX_OPEN: usize = 128;

const TOO_DEEP: EncodeError =
    EncodeError::NotCarried { what: "a value that is nested too deeply for Zeek's reader of JSON" };

/// Appends the members of a value and the closing brace. The value may extend up to the position `max`.
pub(crate) fn put_value(
    mut value: &[u8],
    max: usize,
    dialect: Dialect,
    out: &mut BytesMut,
    text: &mut Text,
) -> Result<(), EncodeError> {
    let trimmed = trim_metadata(&mut value);
    let mut levels: Vec<Level> = Vec::new();
    // The number of open braces and brackets in the levels.
    let mut open = 0usize;
    for (index, head) in Heads(value).enumerate() {
        if let Some(level) = levels.last_mut() {
            level.before_value(out);
        }
        let own =
            if matches!(head, Head::Scalar(ref scalar) if !matches!(scalar, ValueRef::None)) { 1 } else { 2 };
        if dialect == Dialect::Client && open.saturating_add(own) > MAX_OPEN {
            return Err(TOO_DEEP);
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
                let level = Level { kind, left, is_first: true };
                if left > 0 {
                    open = open.saturating_add(level.open());
                    levels.push(level);
                    continue;
                }
                out.put_slice(b"]}");
            }
        }
        while let Some(level) = levels.last() {
            level.after_value(out);
            if level.left > 0 {
                break;
            }
            open = open.saturating_sub(level.open());
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
