//! Decoding of owned values.

use super::super::error::{DecodeError, DecodeReason, Parsed, fail, finish, within};
use super::super::limits::Limits;
use super::Budget;
use super::borrow::fill;
use super::head::{Container, Head, head};
use crate::data::{Set, Step, Table, Value};

/// The maximum number of elements to allocate before any element has been read. It is small, because the count from the
/// wire is not trusted and containers can be nested.
const INITIAL_CAPACITY: usize = 64;

/// Decodes `bytes`, which must be exactly one value.
///
/// # Errors
/// Fails if `bytes` are not exactly one value, or if the value exceeds `limits`. The error contains the offset, the path to
/// the malformed element, and the reason.
pub fn decode_value(bytes: &[u8], limits: &Limits) -> Result<Value, DecodeError> {
    finish(bytes, value(bytes, &mut Budget::new(limits)))
}

/// Reads one value at the start of `input`.
pub(in crate::wire) fn value<'a>(input: &'a [u8], budget: &mut Budget) -> Parsed<'a, Value> {
    let mut value = Value::None;
    let (rest, ()) = nested(input, budget, 0, &mut value)?;
    Ok((rest, value))
}

/// Reads one value into `place`, which must hold `Value::None`. If a value were built in a temporary and then moved, the
/// processor would stall for longer than the rest of the decoding takes.
///
/// Inlined into the loops over elements, because most elements are scalars.
#[inline(always)]
fn nested<'a>(start: &'a [u8], budget: &mut Budget, depth: usize, place: &mut Value) -> Parsed<'a, ()> {
    budget.spend(start)?;
    let (inside, kind, count) = match head(start)? {
        (rest, Head::Scalar(scalar)) => {
            scalar.put_scalar(place);
            return Ok((rest, ()));
        }
        (inside, Head::Container(kind, count)) => (inside, kind, count),
    };
    let (inside, depth) = budget.enter(inside, depth, count)?;
    match kind {
        Container::Vector => {
            fill(place, Value::Vector(Vec::new()));
            match place {
                Value::Vector(place) => elements(inside, count, budget, depth, Step::VectorElement, place),
                _ => Ok((inside, ())),
            }
        }
        Container::Set => {
            let mut distinct = Vec::new();
            let read = elements(inside, count, budget, depth, Step::SetElement, &mut distinct)?;
            match Set::from_distinct(distinct) {
                Some(set) => *place = Value::Set(set),
                None => return fail(start, DecodeReason::DuplicateElement),
            }
            Ok(read)
        }
        Container::Table => {
            let mut distinct = Vec::new();
            let read = pairs(inside, count, budget, depth, &mut distinct)?;
            match Table::from_distinct(distinct) {
                Some(table) => *place = Value::Table(table),
                None => return fail(start, DecodeReason::DuplicateKey),
            }
            Ok(read)
        }
    }
}

/// Recurses at most `max_depth` times.
fn elements<'a>(
    mut input: &'a [u8],
    count: usize,
    budget: &mut Budget,
    depth: usize,
    step: fn(usize) -> Step,
    elements: &mut Vec<Value>,
) -> Parsed<'a, ()> {
    while let Some(places) = places(elements, count) {
        for (index, element) in places {
            (input, ()) =
                nested(input, budget, depth, element).map_err(|fault| within(step(index))(fault))?;
        }
    }
    Ok((input, ()))
}

/// Recurses at most `max_depth` times.
fn pairs<'a>(
    mut input: &'a [u8],
    count: usize,
    budget: &mut Budget,
    depth: usize,
    pairs: &mut Vec<(Value, Value)>,
) -> Parsed<'a, ()> {
    while let Some(places) = places(pairs, count) {
        for (index, (key, value)) in places {
            (input, ()) =
                nested(input, budget, depth, key).map_err(|fault| within(Step::TableKey(index))(fault))?;
            (input, ()) = nested(input, budget, depth, value)
                .map_err(|fault| within(Step::TableValue(index))(fault))?;
        }
    }
    Ok((input, ()))
}

/// Allocates space for the next elements of a container with `count` elements. Doubles the number of elements each
/// time, but never exceeds `count`, so that a complete container has no spare capacity. Returns `None` when all
/// elements exist.
#[inline(always)]
fn places<T: Default>(elements: &mut Vec<T>, count: usize) -> Option<impl Iterator<Item = (usize, &mut T)>> {
    let filled = elements.len();
    let left = count.checked_sub(filled).filter(|left| *left > 0)?;
    if filled == 0 {
        *elements = (0..INITIAL_CAPACITY.min(left)).map(|_| T::default()).collect();
    } else {
        let more = filled.min(left);
        elements.reserve_exact(more);
        elements.resize_with(filled.saturating_add(more), T::default);
    }
    Some(elements.iter_mut().enumerate().skip(filled))
}
