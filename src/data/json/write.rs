//! Values to JSON text, without anything in between.

use std::io::{self, Write};

use data_encoding::HEXLOWER;

use super::Value;
use crate::data::ByteString;

impl Value {
    /// Writes the text of [`Value::to_json`], without spaces, and allocates nothing for it: a value of one
    /// byte on the wire is some thirty bytes of JSON, and many times that as a `serde_json::Value`.
    /// Recurses as deep as the value nests.
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
    /// Those of the writer.
    pub fn write_json<W: Write + ?Sized>(&self, to: &mut W) -> io::Result<()> {
        write!(to, "{{\"@data-type\":\"{}\",", self.type_name())?;
        match self {
            Value::None => to.write_all(b"\"data\":{}")?,
            Value::Boolean(boolean) => write!(to, "\"data\":{boolean}")?,
            Value::Count(count) => write!(to, "\"data\":{count}")?,
            Value::Integer(integer) => write!(to, "\"data\":{integer}")?,
            Value::Real(real) if real.is_nan() => to.write_all(b"\"data\":\"nan\"")?,
            Value::Real(real) if real.is_infinite() => write!(to, "\"data\":\"{real}\"")?,
            Value::Real(real) => {
                to.write_all(b"\"data\":")?;
                serde_json::to_writer(&mut *to, real)?;
            }
            Value::String(bytes) | Value::EnumValue(bytes) => text(bytes, to)?,
            // No character of these is one that JSON escapes.
            Value::Address(address) => write!(to, "\"data\":\"{address}\"")?,
            Value::Subnet(subnet) => write!(to, "\"data\":\"{subnet}\"")?,
            Value::Port(port) => write!(to, "\"data\":\"{port}\"")?,
            Value::Timestamp(timestamp) => write!(to, "\"ns\":{}", timestamp.as_nanos())?,
            Value::Timespan(timespan) => write!(to, "\"ns\":{}", timespan.as_nanos())?,
            Value::Set(set) => list(set.as_slice(), to, Value::write_json)?,
            Value::Vector(elements) => list(elements, to, Value::write_json)?,
            Value::Table(table) => list(table.iter(), to, |(key, value), to| {
                to.write_all(b"{\"key\":")?;
                key.write_json(to)?;
                to.write_all(b",\"value\":")?;
                value.write_json(to)?;
                to.write_all(b"}")
            })?,
        }
        to.write_all(b"}")
    }
}

fn list<W: Write + ?Sized, T>(
    items: impl IntoIterator<Item = T>,
    to: &mut W,
    write: impl Fn(T, &mut W) -> io::Result<()>,
) -> io::Result<()> {
    to.write_all(b"\"data\":[")?;
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            to.write_all(b",")?;
        }
        write(item, to)?;
    }
    to.write_all(b"]")
}

fn text<W: Write + ?Sized>(bytes: &ByteString, to: &mut W) -> io::Result<()> {
    if let Some(text) = bytes.as_str() {
        to.write_all(b"\"data\":")?;
        return Ok(serde_json::to_writer(to, text)?);
    }
    to.write_all(b"\"hex\":\"")?;
    let mut digits = [0; 512];
    for chunk in bytes.as_bytes().chunks(digits.len() / 2) {
        if let Some(digits) = digits.get_mut(..chunk.len().saturating_mul(2)) {
            HEXLOWER.encode_mut(chunk, digits);
            to.write_all(digits)?;
        }
    }
    to.write_all(b"\"")
}
