//! Encoding of values.

use bytes::BufMut;

use super::super::error::EncodeError;
use super::super::prim::put_varbyte;
use super::real;
use crate::data::{ByteString, MAX_DEPTH, Value};

/// Appends a value to `out`. The bytes are the same as those of Broker's C++ implementation: sets and tables are in order,
/// and lengths are in their shortest form.
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
/// Fails if a string or container is too long for its length field, or containers are nested deeper than [`MAX_DEPTH`].
/// `out` then ends with an incomplete value.
pub fn encode_value(value: &Value, out: &mut impl BufMut) -> Result<(), EncodeError> {
    let mut stage = Stage { out, bytes: [0; STAGE], error: None };
    if let Some(used) = stage.one(value, 0, 0) {
        stage.flush(used);
    }
    stage.error.map_or(Ok(()), Err)
}

/// The size of the stage in bytes: large enough for most messages.
const STAGE: usize = 512;

/// The size of the longest varbyte of 32 bits.
const MAX_VARBYTE: usize = 5;

/// Collects small writes, because calling the output for each small write would take longer than the write itself.
///
/// The number of used bytes is not stored here. Each call gets it as an argument and returns the new number, or `None`
/// after an error, so that the number stays in a register.
struct Stage<'a, B> {
    out: &'a mut B,
    bytes: [u8; STAGE],
    error: Option<EncodeError>,
}

impl<B: BufMut> Stage<'_, B> {
    #[inline(always)]
    fn one(&mut self, value: &Value, used: usize, depth: usize) -> Option<usize> {
        let tag = value.tag();
        Some(match value {
            Value::None => self.put(used, &[tag]),
            Value::Boolean(x) => self.put_body(used, tag, [u8::from(*x)]),
            Value::Count(x) => self.put_body(used, tag, x.to_be_bytes()),
            Value::Integer(x) => self.put_body(used, tag, x.to_be_bytes()),
            Value::Real(x) => self.put_body(used, tag, real::pack(*x).to_be_bytes()),
            Value::String(x) => self.put_text(used, tag, "string", x)?,
            Value::Address(x) => self.put_body(used, tag, *x.as_bytes()),
            Value::Subnet(x) => {
                let used = self.put_body(used, tag, *x.network().as_bytes());
                self.put(used, &[x.wire_length()])
            }
            Value::Port(x) => {
                let used = self.put_body(used, tag, x.number.to_be_bytes());
                self.put(used, &[x.protocol.to_wire()])
            }
            Value::Timestamp(x) => self.put_body(used, tag, x.as_nanos().to_be_bytes()),
            Value::Timespan(x) => self.put_body(used, tag, x.as_nanos().to_be_bytes()),
            Value::EnumValue(x) => self.put_text(used, tag, "enum value", x)?,
            Value::Set(x) => {
                let used = self.put_length(used, tag, "set", x.len())?;
                self.all(x.as_slice(), used, depth)?
            }
            Value::Table(x) => {
                let used = self.put_length(used, tag, "table", x.len())?;
                self.pairs(x.as_slice(), used, depth)?
            }
            Value::Vector(x) => {
                let used = self.put_length(used, tag, "vector", x.len())?;
                self.all(x, used, depth)?
            }
        })
    }

    /// Writes the elements of a container that is nested in `depth` containers. Recurses at most [`MAX_DEPTH`] times.
    fn all(&mut self, values: &[Value], mut used: usize, depth: usize) -> Option<usize> {
        let depth = self.inside(depth)?;
        for value in values {
            used = self.one(value, used, depth)?;
        }
        Some(used)
    }

    /// Recurses at most [`MAX_DEPTH`] times.
    fn pairs(&mut self, pairs: &[(Value, Value)], mut used: usize, depth: usize) -> Option<usize> {
        let depth = self.inside(depth)?;
        for (key, value) in pairs {
            used = self.one(key, used, depth)?;
            used = self.one(value, used, depth)?;
        }
        Some(used)
    }

    #[inline]
    fn inside(&mut self, depth: usize) -> Option<usize> {
        if depth >= MAX_DEPTH {
            self.error = Some(EncodeError::TooDeep);
            return None;
        }
        depth.checked_add(1)
    }

    #[inline(always)]
    fn put(&mut self, used: usize, piece: &[u8]) -> usize {
        let end = used.saturating_add(piece.len());
        match self.bytes.get_mut(used..end) {
            Some(room) => {
                room.copy_from_slice(piece);
                end
            }
            None => self.put_long(used, piece),
        }
    }

    #[inline(never)]
    fn put_long(&mut self, used: usize, piece: &[u8]) -> usize {
        self.flush(used);
        self.out.put_slice(piece);
        0
    }

    fn flush(&mut self, used: usize) {
        self.out.put_slice(self.bytes.get(..used).unwrap_or_default());
    }

    /// Writes a tag and a body separately. If they were first joined in a temporary, the processor would have to read back
    /// several small recent writes at once. That stall takes longer than the rest of the encoding.
    #[inline(always)]
    fn put_body<const N: usize>(&mut self, used: usize, tag: u8, body: [u8; N]) -> usize {
        let room = self.bytes.get_mut(used..).and_then(<[u8]>::split_first_mut);
        if let Some((tag_room, rest)) = room
            && let Some(body_room) = rest.first_chunk_mut()
        {
            (*tag_room, *body_room) = (tag, body);
            return used.saturating_add(N).saturating_add(1);
        }
        let used = self.put_long(used, &[tag]);
        self.put(used, &body)
    }

    #[inline(always)]
    fn put_length(&mut self, used: usize, tag: u8, what: &'static str, length: usize) -> Option<usize> {
        match u8::try_from(length) {
            Ok(short @ ..0x80) => Some(self.put_body(used, tag, [short])),
            _ => self.put_long_length(used, tag, what, length),
        }
    }

    #[inline(never)]
    fn put_long_length(&mut self, used: usize, tag: u8, what: &'static str, length: usize) -> Option<usize> {
        let mut digits = [0; MAX_VARBYTE];
        let mut room = digits.as_mut_slice();
        if let Err(error) = put_varbyte(&mut room, what, length) {
            self.error = Some(error);
            return None;
        }
        let unused = room.len();
        let used = self.put(used, &[tag]);
        Some(self.put(used, digits.get(..MAX_VARBYTE.saturating_sub(unused)).unwrap_or_default()))
    }

    #[inline(always)]
    fn put_text(&mut self, used: usize, tag: u8, what: &'static str, text: &ByteString) -> Option<usize> {
        let used = self.put_length(used, tag, what, text.len())?;
        // The compiler inlines a copy of constant size. A copy of variable size is a function call.
        if let Some((bytes, length)) = text.inline()
            && let Some(room) = self.bytes.get_mut(used..).and_then(<[u8]>::first_chunk_mut)
        {
            *room = *bytes;
            return Some(used.saturating_add(length));
        }
        Some(self.put(used, text.as_bytes()))
    }
}
