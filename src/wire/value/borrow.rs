//! Reading of [`ValueRef`]s, which borrow from the bytes that they were decoded from.

use super::super::error::DecodeError;
use super::super::limits::Limits;
use super::head::{Container, Head, head};
use super::{Budget, ValueRef, check_value, value};
use crate::data::{ByteString, Value};

impl<'a> ValueRef<'a> {
    /// Checks that `bytes` are exactly one value, and borrows it.
    ///
    /// # Errors
    /// The same as [`super::decode_value`].
    pub fn decode(bytes: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
        check_value(bytes, limits)?;
        // Cannot be `None`: the value was checked above.
        Ok(last(bytes).unwrap_or(ValueRef::None))
    }

    /// Copies the value and everything that it contains.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            ValueRef::Set(elements) => Value::Set(owned(elements.bytes).collect()),
            ValueRef::Table(pairs) => {
                let mut parts = owned(pairs.bytes);
                Value::Table(std::iter::from_fn(|| Some((parts.next()?, parts.next()?))).collect())
            }
            ValueRef::Vector(elements) => Value::Vector(owned(elements.bytes).collect()),
            scalar => {
                let mut value = Value::None;
                scalar.put_scalar(&mut value);
                value
            }
        }
    }

    /// Writes a scalar directly into `place`. Each type has its own branch, so that no value is built in a temporary and
    /// then moved. The store-to-load stall of such a move takes longer than the rest of the decoding.
    #[inline(always)]
    pub(super) fn put_scalar(&self, place: &mut Value) {
        match self {
            ValueRef::None => {}
            ValueRef::Boolean(x) => fill(place, Value::Boolean(*x)),
            ValueRef::Count(x) => fill(place, Value::Count(*x)),
            ValueRef::Integer(x) => fill(place, Value::Integer(*x)),
            ValueRef::Real(x) => fill(place, Value::Real(*x)),
            ValueRef::String(x) => {
                fill(place, Value::String(ByteString::default()));
                if let Value::String(string) = place {
                    string.set(x);
                }
            }
            ValueRef::Address(x) => fill(place, Value::Address(*x)),
            ValueRef::Subnet(x) => fill(place, Value::Subnet(*x)),
            ValueRef::Port(x) => fill(place, Value::Port(*x)),
            ValueRef::Timestamp(x) => fill(place, Value::Timestamp(*x)),
            ValueRef::Timespan(x) => fill(place, Value::Timespan(*x)),
            ValueRef::EnumValue(x) => {
                fill(place, Value::EnumValue(ByteString::default()));
                if let Value::EnumValue(label) = place {
                    label.set(x);
                }
            }
            ValueRef::Set(_) | ValueRef::Table(_) | ValueRef::Vector(_) => {}
        }
    }

    /// Returns the text of a string or enum label if it is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&'a str> {
        match self {
            ValueRef::String(bytes) | ValueRef::EnumValue(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }
}

/// Writes `value` into `place`, which must hold `Value::None`. The old value is forgotten instead of dropped. This leaks
/// nothing, because `Value::None` owns nothing, and saves the expensive check whether the old value must be dropped.
#[inline(always)]
pub(super) fn fill(place: &mut Value, value: Value) {
    debug_assert!(matches!(place, Value::None));
    std::mem::forget(std::mem::replace(place, value));
}

/// The elements of a set or vector, in the order of the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Elements<'a> {
    /// Exactly the bytes of the remaining elements.
    bytes: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = ValueRef<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        if self.left == 0 {
            return last(std::mem::take(&mut self.bytes));
        }
        let (value, rest) = first(self.bytes)?;
        self.bytes = rest;
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Elements<'_> {}

/// The pairs of a table, in the order of the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairs<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (ValueRef<'a>, ValueRef<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (key, rest) = first(self.bytes)?;
        let (value, rest) = first(rest)?;
        self.bytes = rest;
        Some((key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Pairs<'_> {}

/// Decodes all values in checked bytes. Each byte is read once, regardless of nesting.
fn owned(mut bytes: &[u8]) -> impl Iterator<Item = Value> {
    let mut budget =
        Budget::new(&Limits { max_depth: usize::MAX, max_elements: usize::MAX, ..Limits::DEFAULT });
    std::iter::from_fn(move || {
        let (rest, value) = value(bytes, &mut budget).ok()?;
        bytes = rest;
        Some(value)
    })
}

/// Returns the first value in checked bytes, and the bytes after it.
fn first(bytes: &[u8]) -> Option<(ValueRef<'_>, &[u8])> {
    let (inside, head) = head(bytes).ok()?;
    if let Head::Scalar(scalar) = head {
        return Some((scalar, inside));
    }
    let rest = skip(bytes)?;
    let inside = inside.get(..inside.len().checked_sub(rest.len())?)?;
    Some((with_elements(head, inside), rest))
}

/// Returns the only value in checked bytes. If it is a container, its end is the end of the bytes, so no search for the end
/// is needed.
fn last(bytes: &[u8]) -> Option<ValueRef<'_>> {
    let (inside, head) = head(bytes).ok()?;
    Some(with_elements(head, inside))
}

/// Returns the value of a head and the bytes of its elements.
fn with_elements<'a>(head: Head<'a>, bytes: &'a [u8]) -> ValueRef<'a> {
    match head {
        Head::Scalar(scalar) => scalar,
        Head::Container(Container::Set, left) => ValueRef::Set(Elements { bytes, left }),
        Head::Container(Container::Vector, left) => ValueRef::Vector(Elements { bytes, left }),
        Head::Container(Container::Table, left) => ValueRef::Table(Pairs { bytes, left }),
    }
}

/// Returns the bytes after the first value in checked bytes. Counts pending values instead of recursing.
fn skip(mut bytes: &[u8]) -> Option<&[u8]> {
    let mut pending = 1usize;
    while let Some(left) = pending.checked_sub(1) {
        let (rest, head) = head(bytes).ok()?;
        bytes = rest;
        pending = match head {
            Head::Scalar(_) => left,
            Head::Container(Container::Table, count) => left.checked_add(count.checked_mul(2)?)?,
            Head::Container(_, count) => left.checked_add(count)?,
        };
    }
    Some(bytes)
}
