//! Messages as lines of JSON without types, for programs that do not know Zeek's.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use zeek_bridge::data::{ByteString, Table, Timespan, Value};
use zeek_bridge::endpoint::Message;

use super::json::{EventDocument, Line};
use super::message::Part;
use crate::output::to_line;

/// Returns a part of a message as a line.
pub(super) fn line(message: &Message, part: Part<'_>, identity: bool) -> Vec<u8> {
    let content = match part {
        Part::Event(event) => Document::Event(EventDocument::new(event, Plain)),
        Part::LogCreate(create) => Document::LogCreate {
            stream: create.stream.as_str(),
            writer: create.writer.as_str(),
            fields: Plain(&create.fields),
        },
        Part::LogWrite(write) => Document::LogWrite {
            stream: write.stream.as_str(),
            writer: write.writer.as_str(),
            path: write.path.as_str(),
            rows: &write.rows,
        },
        Part::Identifier(update) => {
            Document::Identifier { id: update.id.as_str(), value: Plain(&update.value) }
        }
        Part::Value(value) => Document::Value { value: Plain(value) },
        Part::Nothing => Document::EmptyBatch,
    };
    to_line(&Line::new(message, identity, content))
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Document<'a> {
    Event(EventDocument<'a, Plain<'a>>),
    LogCreate { stream: Option<&'a str>, writer: Option<&'a str>, fields: Plain<'a> },
    LogWrite { stream: Option<&'a str>, writer: Option<&'a str>, path: Option<&'a str>, rows: &'a ByteString },
    Identifier { id: Option<&'a str>, value: Plain<'a> },
    Value { value: Plain<'a> },
    EmptyBatch,
}

/// Serializes a value without its type.
///
/// A set is an array. A table is an object if all keys are single values with different texts, otherwise an array of
/// [key, value]. A time is ISO 8601 in UTC, an interval is a number of seconds. In a string that is not UTF-8, each invalid byte is
/// written as `\xNN`.
struct Plain<'a>(&'a Value);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::None => to.serialize_unit(),
            Value::Boolean(boolean) => to.serialize_bool(*boolean),
            Value::Count(count) => to.serialize_u64(*count),
            Value::Integer(integer) => to.serialize_i64(*integer),
            Value::Real(real) if real.is_finite() => to.serialize_f64(*real),
            Value::Timespan(span) => to.serialize_f64(seconds(*span)),
            Value::Set(set) => to.collect_seq(set.iter().map(Plain)),
            Value::Vector(elements) => to.collect_seq(elements.iter().map(Plain)),
            Value::Table(table) => serialize_table(table, to),
            scalar => to.serialize_str(&key_text(scalar).unwrap_or_default()),
        }
    }
}

fn serialize_table<S: Serializer>(table: &Table, to: S) -> Result<S::Ok, S::Error> {
    let keys: Option<BTreeMap<String, &Value>> =
        table.iter().map(|(key, value)| Some((key_text(key)?, value))).collect();
    match keys.filter(|keys| keys.len() == table.len()) {
        Some(keys) => {
            let mut object = to.serialize_map(Some(keys.len()))?;
            for (key, value) in keys {
                object.serialize_entry(&key, &Plain(value))?;
            }
            object.end()
        }
        None => to.collect_seq(table.iter().map(|(key, value)| (Plain(key), Plain(value)))),
    }
}

/// Returns the text of a value as the key of an object; `None` for a container.
fn key_text(value: &Value) -> Option<String> {
    Some(match value {
        Value::None | Value::Set(_) | Value::Table(_) | Value::Vector(_) => return None,
        Value::Boolean(boolean) => boolean.to_string(),
        Value::Real(real) if real.is_nan() => "nan".to_owned(),
        Value::String(bytes) | Value::EnumValue(bytes) => escaped(bytes.as_bytes()),
        Value::Timestamp(time) => format!("{}Z", time.iso8601()),
        Value::Timespan(span) => seconds(*span).to_string(),
        // Zeek's notation of all other types has no escapes.
        other => other.to_string(),
    })
}

/// Returns bytes as text, with each byte that is not part of UTF-8 as `\xNN`.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

fn seconds(span: Timespan) -> f64 {
    let seconds = Duration::from_nanos(span.as_nanos().unsigned_abs()).as_secs_f64();
    if span.as_nanos() < 0 { -seconds } else { seconds }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};
    use zeek_bridge::data::{Set, Timestamp};

    use super::*;

    fn json_of(value: impl Into<Value>) -> Json {
        serde_json::to_value(Plain(&value.into())).unwrap()
    }

    #[test]
    fn values_are_written_without_types() {
        for (value, expected) in [
            (Value::None, json!(null)),
            (Value::Boolean(true), json!(true)),
            (Value::Count(u64::MAX), json!(u64::MAX)),
            (Value::Integer(-7), json!(-7)),
            (Value::Real(1.5), json!(1.5)),
            (Value::Real(f64::NEG_INFINITY), json!("-inf")),
            (Value::Real(f64::NAN), json!("nan")),
            (Value::from("a\"\n"), json!("a\"\n")),
            (Value::String(b"a\xff\xc3\xa9"[..].into()), json!("a\\xff\u{e9}")),
            (Value::EnumValue("Notice::LOG".into()), json!("Notice::LOG")),
            (Value::Address("2001:db8::1".parse().unwrap()), json!("2001:db8::1")),
            (Value::Subnet("10.0.0.0/8".parse().unwrap()), json!("10.0.0.0/8")),
            (Value::Port("80/tcp".parse().unwrap()), json!("80/tcp")),
            (Value::Timestamp(Timestamp::from_nanos(1_500_000_000)), json!("1970-01-01T00:00:01.500Z")),
            (Value::Timespan(Timespan::from_nanos(-1_500_000_000)), json!(-1.5)),
            (Value::Set(Set::from_iter([2u64, 1])), json!([1, 2])),
            (Value::from((1u64, "x", Value::None)), json!([1, "x", null])),
        ] {
            assert_eq!(json_of(value.clone()), expected, "{value}");
        }
    }

    #[test]
    fn a_table_is_an_object_unless_its_keys_are_containers_or_equal_as_text() {
        let table = |pairs: Vec<(Value, u64)>| Value::Table(pairs.into_iter().collect());
        assert_eq!(json_of(table(vec![("a".into(), 1), ("b".into(), 2)])), json!({"a": 1, "b": 2}));
        assert_eq!(json_of(table(vec![(Value::Count(7), 1)])), json!({"7": 1}));
        assert_eq!(json_of(table(vec![])), json!({}));
        assert_eq!(json_of(table(vec![(("a", 1u64).into(), 1)])), json!([[["a", 1], 1]]));
        assert_eq!(json_of(table(vec![(Value::Count(7), 1), ("7".into(), 2)])), json!([[7, 1], ["7", 2]]));
    }
}
