//! Reading a value where it stands.

use super::super::error::DecodeError;
use super::super::limits::Limits;
use super::head::{Container, Head, head};
use super::{Budget, check_value, value};
use crate::data::{Address, Port, Subnet, Timespan, Timestamp, Value};

/// A value that borrows from the bytes it stands in. Elements are read as they are asked for, in
/// the order of the wire: a container is passed over once where it is met and again where it is
/// read, so for all of a large value [`ValueRef::to_value`] is the better way. Two are equal if
/// they are written with the same bytes.
///
/// ```
/// use zeek_bridge::wire::{Limits, ValueRef};
///
/// let bytes = [14, 2, 5, 2, b'h', b'i', 1, 1];
/// let value = ValueRef::decode(&bytes, &Limits::DEFAULT)?;
/// let ValueRef::Vector(elements) = value else { panic!("{value:?}") };
/// assert_eq!(elements.clone().next(), Some(ValueRef::String(b"hi")));
/// assert_eq!(elements.last(), Some(ValueRef::Boolean(true)));
/// # Ok::<(), zeek_bridge::wire::DecodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// See [`Value::None`], and so on.
    None,
    /// A `bool`.
    Boolean(bool),
    /// A `count`.
    Count(u64),
    /// An `int`.
    Integer(i64),
    /// A `double`.
    Real(f64),
    /// The bytes of a `string`.
    String(&'a [u8]),
    /// An `addr`.
    Address(Address),
    /// A `subnet`.
    Subnet(Subnet),
    /// A `port`.
    Port(Port),
    /// A `time`.
    Timestamp(Timestamp),
    /// An `interval`.
    Timespan(Timespan),
    /// The bytes of an `enum` label.
    EnumValue(&'a [u8]),
    /// The elements of a `set`.
    Set(Elements<'a>),
    /// The pairs of a `table`.
    Table(Pairs<'a>),
    /// The elements of a `vector` or record.
    Vector(Elements<'a>),
}

impl<'a> ValueRef<'a> {
    /// Checks that `bytes` are exactly one value and borrows it.
    ///
    /// # Errors
    /// As [`super::decode_value`].
    pub fn decode(bytes: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
        check_value(bytes, limits)?;
        // A checked value has a head.
        Ok(first(bytes).map_or(ValueRef::None, |(value, _)| value))
    }

    /// Copies it into a value of its own.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            ValueRef::None => Value::None,
            ValueRef::Boolean(x) => Value::Boolean(*x),
            ValueRef::Count(x) => Value::Count(*x),
            ValueRef::Integer(x) => Value::Integer(*x),
            ValueRef::Real(x) => Value::Real(*x),
            ValueRef::String(x) => Value::String((*x).into()),
            ValueRef::Address(x) => Value::Address(*x),
            ValueRef::Subnet(x) => Value::Subnet(*x),
            ValueRef::Port(x) => Value::Port(*x),
            ValueRef::Timestamp(x) => Value::Timestamp(*x),
            ValueRef::Timespan(x) => Value::Timespan(*x),
            ValueRef::EnumValue(x) => Value::EnumValue((*x).into()),
            ValueRef::Set(elements) => Value::Set(owned(elements.bytes).collect()),
            ValueRef::Table(pairs) => {
                let mut parts = owned(pairs.bytes);
                Value::Table(std::iter::from_fn(|| Some((parts.next()?, parts.next()?))).collect())
            }
            ValueRef::Vector(elements) => Value::Vector(owned(elements.bytes).collect()),
        }
    }

    /// The text of a string or enum label, if it is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&'a str> {
        match self {
            ValueRef::String(bytes) | ValueRef::EnumValue(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }
}

/// The elements of a set or vector, in the order of the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Elements<'a> {
    /// The elements that are left, and nothing else.
    bytes: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = ValueRef<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
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

/// All the values in checked bytes. Each byte is read once, however deep the values nest.
fn owned(mut bytes: &[u8]) -> impl Iterator<Item = Value> {
    let mut budget =
        Budget::new(&Limits { max_depth: usize::MAX, max_elements: usize::MAX, ..Limits::DEFAULT });
    std::iter::from_fn(move || {
        let (rest, value) = value(bytes, &mut budget).ok()?;
        bytes = rest;
        Some(value)
    })
}

/// The first value in checked bytes, and what follows it.
fn first(bytes: &[u8]) -> Option<(ValueRef<'_>, &[u8])> {
    let (inside, head) = head(bytes).ok()?;
    let (kind, left) = match head {
        Head::Scalar(scalar) => return Some((scalar, inside)),
        Head::Container(kind, count) => (kind, count),
    };
    let rest = skip(bytes)?;
    let bytes = inside.get(..inside.len().checked_sub(rest.len())?)?;
    let value = match kind {
        Container::Set => ValueRef::Set(Elements { bytes, left }),
        Container::Vector => ValueRef::Vector(Elements { bytes, left }),
        Container::Table => ValueRef::Table(Pairs { bytes, left }),
    };
    Some((value, rest))
}

/// What follows the first value in checked bytes. Counts instead of recursing.
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
