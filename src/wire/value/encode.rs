//! Writing a value.

use bytes::BufMut;

use super::super::error::EncodeError;
use super::super::prim::{put_blob, put_varbyte};
use super::real;
use crate::data::{MAX_DEPTH, Value};

/// Appends a value to `out`, byte for byte as the reference writes it: sets and tables in
/// order, lengths in their shortest form.
///
/// ```
/// use zeek_bridge::data::Value;
/// use zeek_bridge::wire::{Limits, decode_value, encode_value};
///
/// let value = Value::Vector(vec![Value::Count(7), Value::String("hi".into())]);
/// let mut bytes = Vec::new();
/// encode_value(&value, &mut bytes)?;
/// assert_eq!(decode_value(&bytes, &Limits::DEFAULT)?, value);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When a string or container is too long for its length field, or containers nest deeper than
/// [`MAX_DEPTH`]. What was appended by then is no value.
pub fn encode_value(value: &Value, out: &mut impl BufMut) -> Result<(), EncodeError> {
    put_value(value, out, 0)
}

/// Recurses at most [`MAX_DEPTH`] times.
pub(in crate::wire) fn put_value(
    value: &Value,
    out: &mut impl BufMut,
    depth: usize,
) -> Result<(), EncodeError> {
    out.put_u8(value.tag());
    match value {
        Value::None => {}
        Value::Boolean(x) => out.put_u8(u8::from(*x)),
        Value::Count(x) => out.put_u64(*x),
        Value::Integer(x) => out.put_i64(*x),
        Value::Real(x) => out.put_u64(real::pack(*x)),
        Value::String(x) => put_blob(out, "string", x.as_bytes())?,
        Value::Address(x) => out.put_slice(x.as_bytes()),
        Value::Subnet(x) => {
            out.put_slice(x.network().as_bytes());
            out.put_u8(x.wire_length());
        }
        Value::Port(x) => {
            out.put_u16(x.number);
            out.put_u8(x.protocol.to_wire());
        }
        Value::Timestamp(x) => out.put_i64(x.as_nanos()),
        Value::Timespan(x) => out.put_i64(x.as_nanos()),
        Value::EnumValue(x) => put_blob(out, "enum value", x.as_bytes())?,
        Value::Set(x) => put_all(x.as_slice(), out, depth)?,
        Value::Table(x) => {
            let depth = inside(depth)?;
            put_varbyte(out, "table", x.len())?;
            for (key, value) in x {
                put_value(key, out, depth)?;
                put_value(value, out, depth)?;
            }
        }
        Value::Vector(x) => put_all(x, out, depth)?,
    }
    Ok(())
}

fn put_all(values: &[Value], out: &mut impl BufMut, depth: usize) -> Result<(), EncodeError> {
    let depth = inside(depth)?;
    put_varbyte(out, "container", values.len())?;
    values.iter().try_for_each(|value| put_value(value, out, depth))
}

fn inside(depth: usize) -> Result<usize, EncodeError> {
    if depth < MAX_DEPTH { Ok(depth.saturating_add(1)) } else { Err(EncodeError::TooDeep) }
}
