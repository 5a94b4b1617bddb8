//! Validation of encoded values, without decoding them.

use std::cmp::Ordering;

use super::super::error::DecodeError;
use super::super::limits::Limits;
use super::super::prim::varbyte;
use super::head::{Container, Head, head, plain_length, tag};
use super::{ValueRef, decode_value};

/// Checks that `bytes` are exactly one value.
///
/// Nothing is allocated if all sets and tables are in order, as Broker's C++ implementation always writes them. A set or
/// table that is out of order would have to be sorted to find duplicates. Such a message is decoded with [`decode_value`]
/// instead, within the same limits. Malformed input is also decoded, to get the error.
///
/// # Errors
/// The same as [`decode_value`]: both accept the same bytes.
pub fn check_value(bytes: &[u8], limits: &Limits) -> Result<(), DecodeError> {
    let mut walk = Walk { elements: limits.max_elements };
    match walk.values(bytes, 1, limits.max_depth) {
        Some([]) => Ok(()),
        _ => decode_value(bytes, limits).map(drop),
    }
}

/// The values after the checked beginning of a message.
#[cfg(feature = "bridge")]
pub(crate) struct RemainingValues<'a> {
    walk: Walk,
    bytes: &'a [u8],
    depth: usize,
}

#[cfg(feature = "bridge")]
impl<'a> RemainingValues<'a> {
    /// Returns the rest of a message after `values` values, within `depth` containers. Returns `None` if that exceeds the limits.
    pub(crate) fn new(bytes: &'a [u8], values: usize, depth: usize, limits: &Limits) -> Option<Self> {
        let elements = limits.max_elements.checked_sub(values)?;
        Some(RemainingValues { walk: Walk { elements }, bytes, depth: limits.max_depth.checked_sub(depth)? })
    }

    /// Checks and removes the next value. Returns its bytes, or `None` if it is not a value, is out of order or exceeds a limit.
    pub(crate) fn take_value(&mut self) -> Option<&'a [u8]> {
        let before = self.bytes;
        self.bytes = self.walk.values(before, 1, self.depth)?;
        before.get(..before.len().checked_sub(self.bytes.len())?)
    }

    /// Like [`RemainingValues::take_value`], for a value that must be a vector. Returns whether it is valid.
    pub(crate) fn skip_vector(&mut self) -> bool {
        self.bytes.first() == Some(&tag::VECTOR) && self.take_value().is_some()
    }

    /// Returns whether no values are left.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// The state of a validation: the number of values that the message may still contain.
struct Walk {
    elements: usize,
}

impl Walk {
    /// Returns the bytes after the first `count` values of `input`. Returns `None` if a value is malformed, out of order or
    /// exceeds a limit.
    /// Containers within these values may be nested `depth` levels deep.
    ///
    /// Recurses at most `depth` times. A vector in the last position is handled in the loop, without recursion, because
    /// Zeek's messages are nested that way.
    fn values<'a>(&mut self, mut input: &'a [u8], mut count: usize, mut depth: usize) -> Option<&'a [u8]> {
        self.elements = self.elements.checked_sub(count)?;
        while let Some(left) = count.checked_sub(1) {
            let (&tag, body) = input.split_first()?;
            count = left;
            if let Some(length) = plain_length(tag) {
                input = body.get(length..)?;
            } else if tag == tag::STRING || tag == tag::ENUM_VALUE {
                let (rest, length) = varbyte(body).ok()?;
                input = rest.get(length..)?;
            } else if tag == tag::VECTOR {
                let (inside, inner) = varbyte(body).ok()?;
                let inner_depth = depth.checked_sub(1)?;
                if left == 0 {
                    self.elements = self.elements.checked_sub(inner)?;
                    (input, count, depth) = (inside, inner, inner_depth);
                } else {
                    input = self.values(inside, inner, inner_depth)?;
                }
            } else if tag == tag::SET || tag == tag::TABLE {
                input = self.sorted(body, tag == tag::TABLE, depth.checked_sub(1)?)?;
            } else {
                // Subnets and ports, for which not all bytes are valid, and unknown tags.
                (input, _) = head(input).ok()?;
            }
        }
        Some(input)
    }

    /// Like [`Walk::values`], for the body of a set or table.
    fn sorted<'a>(&mut self, body: &'a [u8], is_table: bool, depth: usize) -> Option<&'a [u8]> {
        let (mut input, count) = varbyte(body).ok()?;
        let mut last: Option<&[u8]> = None;
        for _ in 0..count {
            let element = input;
            input = self.values(element, 1, depth)?;
            if last.is_some_and(|mut last| compare(&mut last, &mut { element }) != Ordering::Less) {
                return None;
            }
            last = Some(element);
            if is_table {
                input = self.values(input, 1, depth)?;
            }
        }
        Some(input)
    }
}

/// Compares the first values of two checked inputs in the order of [`crate::data::Value`], and advances past both if they
/// are equal. Sets and tables within the values must be in order.
///
/// Reads up to the first difference. The recursion is as deep as the values are nested. That depth is limited, because the
/// values were checked before.
fn compare(a: &mut &[u8], b: &mut &[u8]) -> Ordering {
    match a.first().cmp(&b.first()) {
        Ordering::Equal => {}
        tags_differ => return tags_differ,
    }
    let (Ok((rest_a, head_a)), Ok((rest_b, head_b))) = (head(a), head(b)) else {
        return Ordering::Equal;
    };
    (*a, *b) = (rest_a, rest_b);
    match (head_a, head_b) {
        (Head::Scalar(ValueRef::String(a)), Head::Scalar(ValueRef::String(b)))
        | (Head::Scalar(ValueRef::EnumValue(a)), Head::Scalar(ValueRef::EnumValue(b))) => a.cmp(b),
        // Does not allocate: strings are handled above.
        (Head::Scalar(a), Head::Scalar(b)) => a.to_value().cmp(&b.to_value()),
        (Head::Container(kind, count_a), Head::Container(_, count_b)) => {
            let parts = if kind == Container::Table { 2 } else { 1 };
            for _ in 0..count_a.min(count_b).saturating_mul(parts) {
                match compare(a, b) {
                    Ordering::Equal => {}
                    unequal => return unequal,
                }
            }
            count_a.cmp(&count_b)
        }
        // Cannot occur: the tags are equal.
        (Head::Scalar(_), Head::Container(..)) | (Head::Container(..), Head::Scalar(_)) => Ordering::Equal,
    }
}
