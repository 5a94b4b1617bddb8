//! Reading a value only to know that it is one.

use std::cmp::Ordering;

use super::super::error::DecodeError;
use super::super::limits::Limits;
use super::head::{Container, Head, head};
use super::{Budget, ValueRef, decode_value};

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
    match in_order(bytes, &mut Budget::new(limits), 0) {
        Some([]) => Ok(()),
        _ => decode_value(bytes, limits).map(drop),
    }
}

/// What follows the value at the start of `input`, if it is one and in order.
///
/// Recurses at most `max_depth` times.
fn in_order<'a>(input: &'a [u8], budget: &mut Budget, depth: usize) -> Option<&'a [u8]> {
    budget.spend(input).ok()?;
    let (input, head) = head(input).ok()?;
    let Head::Container(kind, count) = head else {
        return Some(input);
    };
    let (mut input, depth) = budget.enter(input, depth, count).ok()?;
    let mut last: Option<&[u8]> = None;
    for _ in 0..count {
        let element = input;
        input = in_order(element, budget, depth)?;
        if kind != Container::Vector {
            if last.is_some_and(|mut last| compare(&mut last, &mut { element }) != Ordering::Less) {
                return None;
            }
            last = Some(element);
        }
        if kind == Container::Table {
            input = in_order(input, budget, depth)?;
        }
    }
    Some(input)
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
