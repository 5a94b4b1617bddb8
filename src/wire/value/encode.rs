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
    let mut stage = Stage { out, bytes: [0; STAGE], error: EncodeError::TooDeep };
    match stage.one(value, 0, MAX_DEPTH) {
        Some(used) => {
            stage.flush(used);
            Ok(())
        }
        None => Err(stage.error),
    }
}

/// The size of the stage in bytes: large enough for most messages.
const STAGE: usize = 512;

/// The size of the largest value that is written as one block: the tag, length and bytes of an inline string.
const BLOCK: usize = 24;

/// The size of the longest varbyte of 32 bits.
const MAX_VARBYTE: usize = 5;

/// Collects small writes, because calling the output for each small write would take longer than the write itself.
///
/// The number of used bytes is not stored here. Each call gets it as an argument and returns the new number, or `None`
/// after an error, so that the number stays in a register.
struct Stage<'a, B> {
    out: &'a mut B,
    bytes: [u8; STAGE],
    /// The error, once a call has returned `None`.
    error: EncodeError,
}

impl<B: BufMut> Stage<'_, B> {
    /// Writes a value in which `depth` more containers may be nested.
    ///
    /// There is one check for enough space for all small values. Each branch gets the tag again, because it is a constant
    /// there.
    #[inline(always)]
    fn one(&mut self, value: &Value, used: usize, depth: usize) -> Option<usize> {
        let used = self.with_room(used);
        Some(match value {
            Value::None => self.put_body(used, value.tag(), []),
            Value::Boolean(x) => self.put_body(used, value.tag(), [u8::from(*x)]),
            Value::Count(x) => self.put_body(used, value.tag(), x.to_be_bytes()),
            Value::Integer(x) => self.put_body(used, value.tag(), x.to_be_bytes()),
            Value::Real(x) => self.put_body(used, value.tag(), real::pack(*x).to_be_bytes()),
            Value::Address(x) => self.put_body(used, value.tag(), *x.as_bytes()),
            Value::Subnet(x) => {
                let used = self.put_body(used, value.tag(), *x.network().as_bytes());
                self.put(used, &[x.wire_length()])
            }
            Value::Port(x) => {
                let [high, low] = x.number.to_be_bytes();
                self.put_body(used, value.tag(), [high, low, x.protocol.to_wire()])
            }
            Value::Timestamp(x) => self.put_body(used, value.tag(), x.as_nanos().to_be_bytes()),
            Value::Timespan(x) => self.put_body(used, value.tag(), x.as_nanos().to_be_bytes()),
            Value::String(x) => self.put_text(used, value.tag(), "string", x)?,
            Value::EnumValue(x) => self.put_text(used, value.tag(), "enum value", x)?,
            Value::Set(x) => {
                let used = self.put_length(used, value.tag(), "set", x.len())?;
                self.all(x.as_slice(), used, depth)?
            }
            Value::Table(x) => {
                let used = self.put_length(used, value.tag(), "table", x.len())?;
                self.pairs(x.as_slice(), used, depth)?
            }
            Value::Vector(x) => {
                let used = self.put_length(used, value.tag(), "vector", x.len())?;
                self.all(x, used, depth)?
            }
        })
    }

    /// Writes the elements of a container in which `depth` more containers may be nested, including this one. Recurses at
    /// most [`MAX_DEPTH`] times.
    ///
    /// A vector in the last position is written in the loop, without recursion, because Zeek's messages are nested that way.
    fn all(&mut self, mut values: &[Value], mut used: usize, mut depth: usize) -> Option<usize> {
        'vectors: loop {
            depth = self.inside(depth)?;
            let mut iter = values.iter();
            while let Some(value) = iter.next() {
                if let Value::Vector(inner) = value
                    && iter.len() == 0
                {
                    used = self.with_room(used);
                    used = self.put_length(used, value.tag(), "vector", inner.len())?;
                    values = inner;
                    continue 'vectors;
                }
                used = self.one(value, used, depth)?;
            }
            return Some(used);
        }
    }

    /// Like [`Stage::all`], for the pairs of a table.
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
        let inside = depth.checked_sub(1);
        if inside.is_none() {
            self.error = EncodeError::TooDeep;
        }
        inside
    }

    /// Returns the number of used bytes, after making room for a block.
    #[inline(always)]
    fn with_room(&mut self, used: usize) -> usize {
        if used > STAGE - BLOCK {
            self.flush(used);
            return 0;
        }
        used
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

    #[inline(never)]
    fn flush(&mut self, used: usize) {
        self.out.put_slice(self.bytes.get(..used).unwrap_or_default());
    }

    /// Returns the space for a block, after [`Stage::with_room`].
    #[inline(always)]
    fn block(&mut self, used: usize) -> Option<&mut [u8; BLOCK]> {
        self.bytes.get_mut(used..)?.first_chunk_mut()
    }

    /// Writes a tag and a body, together at most [`BLOCK`] bytes, after [`Stage::with_room`].
    ///
    /// They are written separately. If they were first joined in a temporary, the processor would have to read back several
    /// small recent writes at once. That stall takes longer than the rest of the encoding.
    #[inline(always)]
    fn put_body<const N: usize>(&mut self, used: usize, tag: u8, body: [u8; N]) -> usize {
        const { assert!(N < BLOCK) };
        debug_assert!(used <= STAGE - BLOCK, "no room for a block");
        if let Some([first, rest @ ..]) = self.block(used)
            && let Some(room) = rest.first_chunk_mut()
        {
            (*first, *room) = (tag, body);
        }
        used.saturating_add(N).saturating_add(1)
    }

    #[inline(always)]
    fn put_text(&mut self, used: usize, tag: u8, what: &'static str, text: &ByteString) -> Option<usize> {
        // The compiler inlines a copy of constant size. A copy of variable size is a function call.
        if let Some((bytes, length)) = text.inline()
            && let Some([first, second, room @ ..]) = self.block(used)
        {
            (*first, *second, *room) = (tag, length, *bytes);
            return Some(used.saturating_add(usize::from(length)).saturating_add(2));
        }
        let used = self.put_length(used, tag, what, text.len())?;
        Some(self.put(used, text.as_bytes()))
    }

    /// Writes a tag and a length, after [`Stage::with_room`].
    #[inline(always)]
    fn put_length(&mut self, used: usize, tag: u8, what: &'static str, length: usize) -> Option<usize> {
        match u8::try_from(length) {
            Ok(short @ ..0x80) => Some(self.put_body(used, tag, [short])),
            _ => self.put_long_length(used, tag, what, length),
        }
    }

    #[cold]
    fn put_long_length(&mut self, used: usize, tag: u8, what: &'static str, length: usize) -> Option<usize> {
        let mut digits = [0; MAX_VARBYTE];
        let mut room = digits.as_mut_slice();
        if let Err(error) = put_varbyte(&mut room, what, length) {
            self.error = error;
            return None;
        }
        let unused = room.len();
        let used = self.put(used, &[tag]);
        Some(self.put(used, digits.get(..MAX_VARBYTE.saturating_sub(unused)).unwrap_or_default()))
    }
}
