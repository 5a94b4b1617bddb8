//! Reading a value only to know that it is one.

use std::cmp::Ordering;

use super::super::error::DecodeError;
use super::super::limits::Limits;
use super::super::prim::varbyte;
use super::head::{Container, Head, head, plain_length, tag};
use super::{ValueRef, decode_value};

/// Checks that `bytes` are exactly one value, and keeps nothing of it.
///
/// Nothing is allocated for a value whose sets and tables stand in order, as the reference always
/// writes them. One that is out of order can only be told from one with duplicates by sorting it,
/// so such a message is decoded as by [`decode_value`], within the same limits; so is what is no
/// value, for the error.
///
/// # Errors
/// As [`decode_value`]: both take the same bytes.
pub fn check_value(bytes: &[u8], limits: &Limits) -> Result<(), DecodeError> {
    let mut walk = Walk { elements: limits.max_elements };
    match walk.values(bytes, 1, limits.max_depth) {
        Some([]) => Ok(()),
        _ => decode_value(bytes, limits).map(drop),
    }
}

/// A walk over a message: how many values it may still hold.
struct Walk {
    elements: usize,
}

impl Walk {
    /// What follows the `count` values at the start of `input`, if they are that and in order. They may hold
    /// containers that nest `depth` deep.
    ///
    /// Recurses at most `depth` times, and not for a vector that stands last: messages nest that way.
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
                // What is not valid whatever its bytes are.
                (input, _) = head(input).ok()?;
            }
        }
        Some(input)
    }

    /// As [`Walk::values`], behind the tag of a set or table.
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

/// Compares the first values of two checked inputs in the order of [`crate::data::Value`], and
/// passes over both if they are equal. Sets and tables inside have to stand in order.
///
/// Recurses as deep as the values nest, which the check has bounded, and reads no further than
/// the first difference.
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
        // Strings aside, a scalar's value is no allocation.
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
        // The tags are equal.
        (Head::Scalar(_), Head::Container(..)) | (Head::Container(..), Head::Scalar(_)) => Ordering::Equal,
    }
}
