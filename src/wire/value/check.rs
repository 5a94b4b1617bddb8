//! Reading a value only to know that it is one.

use std::cmp::Ordering;

use super::super::error::{DecodeError, DecodeReason, Parsed, PathStep, fail, finish, within};
use super::super::limits::Limits;
use super::head::{Container, Head, head};
use super::{Budget, ValueRef, decode_value};

/// Checks that `bytes` are exactly one value, and keeps nothing of it.
///
/// Nothing is allocated where sets and tables stand in order, as the reference always writes
/// them. One that is out of order can only be told from one with duplicates by sorting it, so
/// such a message is decoded as by [`decode_value`], within the same limits.
///
/// # Errors
/// As [`decode_value`]: both take the same bytes.
pub fn check_value(bytes: &[u8], limits: &Limits) -> Result<(), DecodeError> {
    let mut walk = Walk { budget: Budget::new(limits), in_order: true };
    finish(bytes, walk.value(bytes, 0))?;
    if walk.in_order { Ok(()) } else { decode_value(bytes, limits).map(drop) }
}

struct Walk {
    budget: Budget,
    in_order: bool,
}

impl Walk {
    /// Recurses at most `max_depth` times.
    fn value<'a>(&mut self, start: &'a [u8], depth: usize) -> Parsed<'a, ()> {
        self.budget.spend(start)?;
        let (input, head) = head(start)?;
        let Head::Container(kind, count) = head else {
            return Ok((input, ()));
        };
        let (mut input, depth) = self.budget.enter(input, depth, count)?;
        match kind {
            Container::Vector => {
                for index in 0..count {
                    (input, ()) = self.value(input, depth).map_err(within(PathStep::VectorElement(index)))?;
                }
            }
            Container::Set => {
                let mut last = None;
                for index in 0..count {
                    let before = input;
                    (input, ()) = self.value(before, depth).map_err(within(PathStep::SetElement(index)))?;
                    if self.follows(last.replace(before), before) == Some(Ordering::Equal) {
                        return fail(start, DecodeReason::DuplicateElement);
                    }
                }
            }
            Container::Table => {
                let mut last = None;
                for index in 0..count {
                    let before = input;
                    (input, ()) = self.value(before, depth).map_err(within(PathStep::TableKey(index)))?;
                    if self.follows(last.replace(before), before) == Some(Ordering::Equal) {
                        return fail(start, DecodeReason::DuplicateKey);
                    }
                    (input, ()) = self.value(input, depth).map_err(within(PathStep::TableValue(index)))?;
                }
            }
        }
        Ok((input, ()))
    }

    /// How the element at `next` stands to the one before it, while everything so far was in order.
    fn follows(&mut self, last: Option<&[u8]>, next: &[u8]) -> Option<Ordering> {
        if !self.in_order {
            return None;
        }
        let order = compare(&mut last?, &mut { next });
        if order == Ordering::Greater {
            self.in_order = false;
        }
        Some(order)
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
