//! Conversion of values to JSON. This is the only definition of the format.

use std::collections::BTreeMap;
use std::io::{self, Write};

use data_encoding::HEXLOWER;
use serde_core::ser::{Serialize, SerializeMap, Serializer};

use super::{Json, Value};
use crate::data::{Address, EndpointId, Filter, Port, Set, Subnet, Table, Timespan, Timestamp};

impl Value {
    /// Converts the value to JSON, in the format of Broker's WebSocket API, extended where that format loses information.
    /// Recurses as deep as the value is nested.
    ///
    /// Every value is an object with its type and its content:
    ///
    /// | `@data-type` | content |
    /// | --- | --- |
    /// | `none` | `data`: `{}` |
    /// | `boolean` | `data`: `true` or `false` |
    /// | `count`, `integer` | `data`: a whole number |
    /// | `real` | `data`: a number with all its digits, or `"inf"`, `"-inf"`, `"nan"` |
    /// | `string`, `enum-value` | `data`: text; or, where the bytes are not UTF-8, `hex`: their hexadecimal digits |
    /// | `address`, `subnet`, `port` | `data`: text, such as `1.2.3.4`, `10.0.0.0/8`, `80/tcp` |
    /// | `timestamp` | `data`: UTC, such as `2023-04-18T12:13:15.123`, with three, six or nine digits after the point |
    /// | `timespan` | `data`: a whole number with `s`, `ms`, `us` or `ns`, such as `-1500us` |
    /// | `set`, `vector` | `data`: an array of values |
    /// | `table` | `data`: an array of `{"key": value, "value": value}` |
    ///
    /// Broker itself writes timestamps with only three digits after the point, so later digits are lost.
    /// [`Value::from_json`] also reads:
    ///
    /// - timestamps with any number of digits, or with a time zone;
    /// - timespans with `min`, `h` or `d`, or with a fraction or an exponent;
    /// - for both, `"ns": NANOSECONDS` instead of `data`, as earlier versions wrote them;
    /// - for reals, numbers without a fraction.
    ///
    /// A fraction of a nanosecond is rounded to the nearest nanosecond.
    /// [`Value::from_json_text`] also reads the texts of Broker and Zeek that are not valid JSON.
    #[must_use]
    pub fn to_json(&self) -> Json {
        // Cannot fail: serde_json fails only for keys that are not strings.
        serde_json::to_value(AsJson(self)).unwrap_or_default()
    }

    /// Writes the text of [`Value::to_json`], without spaces and without allocating. A value of one byte on the wire
    /// becomes about thirty bytes of JSON text. A `serde_json::Value` would need many times as much memory as this
    /// text. Recurses as deep as the value is nested.
    ///
    /// ```
    /// use zeek_bridge::data::Value;
    ///
    /// let mut text = Vec::new();
    /// Value::Count(5).write_json(&mut text)?;
    /// assert_eq!(text, br#"{"@data-type":"count","data":5}"#);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Fails if the writer fails.
    pub fn write_json<W: Write + ?Sized>(&self, to: &mut W) -> io::Result<()> {
        Ok(serde_json::to_writer(to, &AsJson(self))?)
    }
}

/// Serializes a value, or the content of the `data` member of a value.
pub(crate) struct AsJson<'a, T: ?Sized>(pub(crate) &'a T);

impl Serialize for AsJson<'_, Value> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = to.serialize_map(Some(2))?;
        object.serialize_entry("@data-type", self.0.type_name())?;
        match self.0 {
            Value::None => object.serialize_entry("data", &BTreeMap::<&str, ()>::new()),
            Value::Boolean(boolean) => object.serialize_entry("data", boolean),
            Value::Count(count) => object.serialize_entry("data", count),
            Value::Integer(integer) => object.serialize_entry("data", integer),
            Value::Real(real) if real.is_nan() => object.serialize_entry("data", "nan"),
            Value::Real(f64::INFINITY) => object.serialize_entry("data", "inf"),
            Value::Real(f64::NEG_INFINITY) => object.serialize_entry("data", "-inf"),
            Value::Real(real) => object.serialize_entry("data", real),
            Value::String(bytes) | Value::EnumValue(bytes) => match bytes.as_str() {
                Some(text) => object.serialize_entry("data", text),
                None => object.serialize_entry("hex", &Hex(bytes.as_bytes())),
            },
            Value::Address(address) => object.serialize_entry("data", &AsJson(address)),
            Value::Subnet(subnet) => object.serialize_entry("data", &AsJson(subnet)),
            Value::Port(port) => object.serialize_entry("data", &AsJson(port)),
            Value::Timestamp(timestamp) => object.serialize_entry("data", &AsJson(timestamp)),
            Value::Timespan(timespan) => object.serialize_entry("data", &AsJson(timespan)),
            Value::Set(set) => object.serialize_entry("data", &AsJson(set)),
            Value::Table(table) => object.serialize_entry("data", &AsJson(table)),
            Value::Vector(elements) => object.serialize_entry("data", &AsJson(elements.as_slice())),
        }?;
        object.end()
    }
}

/// Serializes types as text.
macro_rules! text {
    ($($part:ty),*) => {$(
        impl Serialize for AsJson<'_, $part> {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self.0)
            }
        }
    )*};
}

text!(Address, Subnet, Port, EndpointId);

impl Serialize for AsJson<'_, Timestamp> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0.iso8601())
    }
}

impl Serialize for AsJson<'_, Timespan> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0.with_unit())
    }
}

impl Serialize for AsJson<'_, [Value]> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(AsJson))
    }
}

impl Serialize for AsJson<'_, Set> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        AsJson(self.0.as_slice()).serialize(to)
    }
}

impl Serialize for AsJson<'_, Table> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(AsJson))
    }
}

impl Serialize for AsJson<'_, (Value, Value)> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut pair = to.serialize_map(Some(2))?;
        pair.serialize_entry("key", &AsJson(&self.0.0))?;
        pair.serialize_entry("value", &AsJson(&self.0.1))?;
        pair.end()
    }
}

/// Bytes that are not part of a [`Value`], such as a topic: a string, or `{"hex": ..}` if they are not UTF-8.
impl Serialize for AsJson<'_, [u8]> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.0) {
            Ok(text) => to.serialize_str(text),
            Err(_) => to.collect_map([("hex", Hex(self.0))]),
        }
    }
}

/// The topics of a filter.
impl Serialize for AsJson<'_, Filter> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.topics().iter().map(|topic| AsJson(topic.as_bytes())))
    }
}

struct Hex<'a>(&'a [u8]);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&HEXLOWER.encode_display(self.0))
    }
}
