//! Values (`PROTOCOL.md`, section 5): one grammar, [`head`], and three ways to read it.
//!
//! - [`check_value`] validates a value without allocating memory. It is for messages that are forwarded.
//! - [`ValueRef`] borrows from the bytes. It is for reading parts of a message.
//! - [`decode_value`] builds an owned [`Value`](crate::data::Value).
//!
//! All three accept exactly the same bytes.

mod borrow;
mod check;
mod encode;
mod head;
mod heads;
mod own;
mod real;

pub use borrow::{Elements, Pairs};
#[cfg(feature = "bridge")]
pub(crate) use check::RemainingValues;
pub use check::check_value;
pub use encode::encode_value;
pub(crate) use head::{Container, Head};
pub(crate) use heads::Heads;
pub use own::decode_value;

pub(super) use own::value;

#[cfg(test)]
mod loose;
#[cfg(test)]
mod tests;

use super::error::{DecodeReason, Parsed, fail};
use super::limits::Limits;
use crate::data::{Address, Port, Subnet, Timespan, Timestamp};

/// A value that borrows from its encoded bytes. Elements are decoded while iterating, in the order of the wire. Two
/// `ValueRef`s are equal if their bytes are equal.
///
/// The bytes of a nested container are read more than once: its parent's iterator skips them, and its own iterator decodes
/// them. To read all of a large value, use [`ValueRef::to_value`], which reads each byte once.
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
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ValueRef<'a> {
    /// No value; see [`Value::None`](crate::data::Value::None).
    #[default]
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

/// While a message is decoded: the number of values that it may still contain.
pub(super) struct Budget {
    limits: Limits,
    elements: usize,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        Budget { limits: *limits, elements: limits.max_elements }
    }

    /// Consumes the budget of `count` values.
    #[inline]
    fn spend<'a>(&mut self, input: &'a [u8], count: usize) -> Parsed<'a, ()> {
        match self.elements.checked_sub(count) {
            Some(left) => {
                self.elements = left;
                Ok((input, ()))
            }
            None => fail(input, DecodeReason::TooManyElements { limit: self.limits.max_elements }),
        }
    }

    /// Enters a container that claims to have `count` parts of `values` values each. Consumes the budget of these values.
    /// Returns the number of containers that may be nested in it, out of `depth`.
    #[inline]
    fn enter<'a>(&mut self, input: &'a [u8], count: usize, values: usize, depth: usize) -> Parsed<'a, usize> {
        let Some(depth) = depth.checked_sub(1) else {
            return fail(input, DecodeReason::TooDeep { limit: self.limits.max_depth });
        };
        // Each part takes at least one byte, so a count that is larger than the number of bytes cannot be correct.
        if count > input.len() {
            return fail(input, DecodeReason::Truncated);
        }
        self.spend(input, count.saturating_mul(values))?;
        Ok((input, depth))
    }
}
