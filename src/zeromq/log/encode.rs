//! Encoding of log batches.

use std::net::IpAddr;

use bytes::BufMut;

use super::{LogField, LogHeader, LogValue, TypeTag};
use crate::data::Address;
use crate::wire::EncodeError;

const MISMATCH: EncodeError =
    EncodeError::NotCarried { what: "a log value whose type is not that of its field" };
const NOT_LOGGABLE: EncodeError =
    EncodeError::NotCarried { what: "a log field of a type that cannot be in a log" };
const NO_FIELDS: EncodeError = EncodeError::NotCarried { what: "log rows without fields" };
const WRONG_ROW: EncodeError =
    EncodeError::NotCarried { what: "a log row without exactly one value for each field" };

impl LogHeader<'_> {
    /// Writes a batch with these rows. Each row has a value for each field, of the type of that field or unset.
    ///
    /// # Errors
    /// Fails if a value does not match its field, if a field has a type that cannot be in a log, or if a string, set,
    /// vector or list is too long. `out` may then contain a part of the batch.
    pub fn encode(&self, rows: &[Vec<LogValue<'_>>], out: &mut impl BufMut) -> Result<(), EncodeError> {
        put_string(out, "stream", self.stream)?;
        put_string(out, "writer", self.writer)?;
        put_string(out, "filter", self.filter)?;
        put_string(out, "path", self.path)?;
        put_length(out, "list of log fields", self.fields.len())?;
        for field in &self.fields {
            put_field(out, field)?;
        }
        // A peer that uses this crate rejects rows without fields.
        if self.fields.is_empty() && !rows.is_empty() {
            return Err(NO_FIELDS);
        }
        put_length(out, "list of log rows", rows.len())?;
        for row in rows {
            if row.len() != self.fields.len() {
                return Err(WRONG_ROW);
            }
            for (field, value) in self.fields.iter().zip(row) {
                put_value(out, field, value)?;
            }
        }
        Ok(())
    }
}

fn put_field(out: &mut impl BufMut, field: &LogField<'_>) -> Result<(), EncodeError> {
    let elements_are_loggable = field.subtype.is_loggable() && !field.subtype.is_container();
    if !field.kind.is_loggable() || (field.kind.is_container() && !elements_are_loggable) {
        return Err(NOT_LOGGABLE);
    }
    match field.secondary {
        Some(name) => {
            put_flag(out, true);
            put_string(out, "name of a log field", name)?;
        }
        None => put_flag(out, false),
    }
    put_string(out, "name of a log field", field.name)?;
    out.put_u32(field.kind.to_wire());
    out.put_u32(field.subtype.to_wire());
    put_flag(out, field.optional);
    Ok(())
}

fn put_value(out: &mut impl BufMut, field: &LogField<'_>, value: &LogValue<'_>) -> Result<(), EncodeError> {
    let (LogValue::Set(elements) | LogValue::Vector(elements)) = value else {
        return put_scalar(out, field.kind, value);
    };
    put_head(out, field.kind, value)?;
    // Cannot fail: a `Vec` has at most `isize::MAX` bytes.
    out.put_u64(u64::try_from(elements.len()).unwrap_or(u64::MAX));
    for element in elements {
        put_scalar(out, field.subtype, element)?;
    }
    Ok(())
}

/// Writes the head of a value that must be unset or have the type `kind`.
fn put_head(out: &mut impl BufMut, kind: TypeTag, value: &LogValue<'_>) -> Result<(), EncodeError> {
    if value.kind().is_some_and(|found| found != kind) {
        return Err(MISMATCH);
    }
    out.put_u32(kind.to_wire());
    out.put_u32(TypeTag::Void.to_wire());
    put_flag(out, *value != LogValue::Unset);
    Ok(())
}

fn put_scalar(out: &mut impl BufMut, kind: TypeTag, value: &LogValue<'_>) -> Result<(), EncodeError> {
    put_head(out, kind, value)?;
    match value {
        LogValue::Unset => {}
        LogValue::Bool(bool) => out.put_u64(u64::from(*bool)),
        LogValue::Int(number) => out.put_i64(*number),
        LogValue::Count(number) => out.put_u64(*number),
        LogValue::Double(real) | LogValue::Time(real) | LogValue::Interval(real) => out.put_f64(*real),
        LogValue::String(bytes) | LogValue::Enum(bytes) | LogValue::Func(bytes) | LogValue::File(bytes) => {
            put_string(out, "string", bytes)?;
        }
        LogValue::Port(port) => {
            out.put_u64(port.number.into());
            out.put_u32(port.protocol.to_wire().into());
        }
        LogValue::Address(address) => put_address(out, *address),
        LogValue::Subnet(subnet) => {
            out.put_u8(subnet.wire_length());
            put_address(out, subnet.network());
        }
        // The elements of a set or vector are not containers, and `put_value` handles all others.
        LogValue::Set(_) | LogValue::Vector(_) => return Err(MISMATCH),
    }
    Ok(())
}

fn put_address(out: &mut impl BufMut, address: Address) {
    match address.to_ip() {
        IpAddr::V4(v4) => {
            out.put_u8(4);
            out.put_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            out.put_u8(6);
            out.put_slice(&v6.octets());
        }
    }
}

fn put_flag(out: &mut impl BufMut, flag: bool) {
    out.put_u8(u8::from(flag));
}

fn put_string(out: &mut impl BufMut, what: &'static str, bytes: &[u8]) -> Result<(), EncodeError> {
    put_length(out, what, bytes.len())?;
    out.put_slice(bytes);
    Ok(())
}

/// Writes a length. Zeek reads the lengths of strings as signed numbers.
fn put_length(out: &mut impl BufMut, what: &'static str, length: usize) -> Result<(), EncodeError> {
    match i32::try_from(length) {
        Ok(length) => {
            out.put_i32(length);
            Ok(())
        }
        Err(_) => Err(EncodeError::TooLong { what, length, max: i32::MAX.try_into().unwrap_or(usize::MAX) }),
    }
}
