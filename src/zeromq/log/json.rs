//! Log rows as JSON.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use serde_core::ser::{Serialize, SerializeMap, Serializer};

use super::{LogRow, LogValue};
use crate::data::AsJson;

impl LogRow<'_, '_> {
    /// Writes the row as a JSON object, without spaces. The members are the fields that are set, in their order, as in
    /// Zeek's own JSON logs:
    ///
    /// - Reals, times and intervals are numbers, with all digits that distinguish them from other numbers. Times and
    ///   intervals are in seconds. Infinity and NaN are the strings `"inf"`, `"-inf"` and `"nan"`, for which Zeek writes `null`.
    /// - A port is its number, without the protocol.
    /// - Addresses, subnets, enum labels, functions and files are text.
    /// - Sets and vectors are arrays. An element that is not set is `null`.
    /// - A string that is not UTF-8 is an object such as `{"hex":"ff00"}`. Zeek escapes the bytes of such a string instead. In the
    ///   name of a field, each byte that is not UTF-8 is written as `\xNN`.
    ///
    /// If two fields have the same name, both are written. Characters outside of ASCII are not escaped; see
    /// [`escape_json`](crate::data::escape_json) before you print the text to a terminal.
    ///
    /// # Errors
    /// Fails if the writer fails.
    pub fn write_json<W: Write + ?Sized>(&self, to: &mut W) -> io::Result<()> {
        Ok(serde_json::to_writer(to, &AsObject(self))?)
    }
}

struct AsObject<'a>(&'a LogRow<'a, 'a>);

impl Serialize for AsObject<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = to.serialize_map(None)?;
        for (field, value) in self.0.fields.iter().zip(&self.0.values) {
            if *value != LogValue::Unset {
                object.serialize_entry(&key(field.name), &AsJson(value))?;
            }
        }
        object.end()
    }
}

/// Returns the name of a field as a key of a JSON object.
fn key(name: &[u8]) -> Cow<'_, str> {
    if let Ok(name) = std::str::from_utf8(name) {
        return name.into();
    }
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Cannot fail: writing to a string.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text.into()
}

impl Serialize for AsJson<'_, LogValue<'_>> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            LogValue::Unset => to.serialize_unit(),
            LogValue::Bool(bool) => to.serialize_bool(*bool),
            LogValue::Int(number) => to.serialize_i64(*number),
            LogValue::Count(number) => to.serialize_u64(*number),
            LogValue::Double(real) | LogValue::Time(real) | LogValue::Interval(real) => match *real {
                real if real.is_nan() => to.serialize_str("nan"),
                f64::INFINITY => to.serialize_str("inf"),
                f64::NEG_INFINITY => to.serialize_str("-inf"),
                real => to.serialize_f64(real),
            },
            LogValue::String(bytes)
            | LogValue::Enum(bytes)
            | LogValue::Func(bytes)
            | LogValue::File(bytes) => AsJson(*bytes).serialize(to),
            LogValue::Port(port) => to.serialize_u16(port.number),
            LogValue::Address(address) => AsJson(address).serialize(to),
            LogValue::Subnet(subnet) => AsJson(subnet).serialize(to),
            LogValue::Set(elements) | LogValue::Vector(elements) => {
                to.collect_seq(elements.iter().map(AsJson))
            }
        }
    }
}
