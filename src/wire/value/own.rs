//! Decoding of owned values.

use super::super::error::{DecodeError, DecodeReason, Parsed, fail, finish, within};
use super::super::limits::Limits;
use super::super::prim::{bytes, varbyte};
use super::Budget;
use super::borrow::fill;
use super::head::{Container, Head, head, tag};
use crate::data::{ByteString, Set, Step, Table, Value};

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
    let (rest, ()) = nested(input, budget, &mut value)?;
    Ok((rest, value))
}

/// Reads one value into `place`, which must hold `Value::None`. If a value were built in a temporary and then moved, the
/// processor would stall for longer than the rest of the decoding takes.
///
/// Inlined into the loops over elements, because most elements are scalars.
#[inline(always)]
fn nested<'a>(start: &'a [u8], budget: &mut Budget, place: &mut Value) -> Parsed<'a, ()> {
    budget.spend(start)?;
    match start.split_first() {
        Some((&tag::STRING, body)) => {
            let (rest, (text, length)) = prefix(body)?;
            fill(place, Value::String(ByteString::default()));
            if let Value::String(string) = place {
                string.set_prefix(text, length);
            }
            return Ok((rest, ()));
        }
        Some((&tag::ENUM_VALUE, body)) => {
            let (rest, (text, length)) = prefix(body)?;
            fill(place, Value::EnumValue(ByteString::default()));
            if let Value::EnumValue(label) = place {
                label.set_prefix(text, length);
            }
            return Ok((rest, ()));
        }
        _ => {}
    }
    match head(start)? {
        (rest, Head::Scalar(scalar)) => {
            scalar.put_scalar(place);
            Ok((rest, ()))
        }
        (inside, Head::Container(kind, count)) => {
            let (inside, ()) = budget.enter(inside, count)?;
            // The results are not returned directly. Otherwise, the results of scalars would also be written to memory.
            let (rest, ()) = match kind {
                Container::Vector => {
                    fill(place, Value::Vector(Vec::new()));
                    match place {
                        Value::Vector(place) => elements(inside, count, budget, Step::VectorElement, place)?,
                        _ => (inside, ()),
                    }
                }
                Container::Set => set(start, inside, count, budget, place)?,
                Container::Table => table(start, inside, count, budget, place)?,
            };
            budget.leave();
            Ok((rest, ()))
        }
    }
}

/// Reads the length of a string. Returns the input that begins with the string, and the length.
/// The input is not cut at the end of the string, because [`ByteString::set_prefix`] also copies some of the bytes after it.
#[inline(always)]
fn prefix(body: &[u8]) -> Parsed<'_, (&[u8], usize)> {
    let (text, length) = varbyte(body)?;
    let (rest, _) = bytes(text, length)?;
    Ok((rest, (text, length)))
}

#[inline(never)]
fn set<'a>(
    start: &'a [u8],
    inside: &'a [u8],
    count: usize,
    budget: &mut Budget,
    place: &mut Value,
) -> Parsed<'a, ()> {
    let mut distinct = Vec::new();
    let (rest, ()) = elements(inside, count, budget, Step::SetElement, &mut distinct)?;
    let set = Set::from_distinct(distinct).map(Value::Set);
    distinct_or_fail(start, rest, set, DecodeReason::DuplicateElement, place)
}

#[inline(never)]
fn table<'a>(
    start: &'a [u8],
    inside: &'a [u8],
    count: usize,
    budget: &mut Budget,
    place: &mut Value,
) -> Parsed<'a, ()> {
    let (rest, distinct) = pairs(inside, count, budget)?;
    let table = Table::from_distinct(distinct).map(Value::Table);
    distinct_or_fail(start, rest, table, DecodeReason::DuplicateKey, place)
}

/// Stores a container, which is `None` if it has duplicates. `start` is its position, and `rest` is the input after it.
fn distinct_or_fail<'a>(
    start: &'a [u8],
    rest: &'a [u8],
    container: Option<Value>,
    duplicate: DecodeReason,
    place: &mut Value,
) -> Parsed<'a, ()> {
    let Some(container) = container else { return fail(start, duplicate) };
    fill(place, container);
    Ok((rest, ()))
}

/// Reads the elements of a container into `place`, which must be empty. Recurses at most `max_depth` times.
#[inline(never)]
fn elements<'a>(
    mut input: &'a [u8],
    count: usize,
    budget: &mut Budget,
    step: fn(usize) -> Step,
    place: &mut Vec<Value>,
) -> Parsed<'a, ()> {
    if count == 0 {
        return Ok((input, ()));
    }
    let mut elements = places(count);
    let mut unread = elements.as_mut_slice();
    loop {
        let mut iter = unread.iter_mut();
        while let Some(element) = iter.next() {
            input = match nested(input, budget, element) {
                Ok((rest, ())) => rest,
                Err(fault) => {
                    // Not counted in the loop, because that takes time for each element.
                    let left = iter.len().saturating_add(1);
                    return Err(within(step(elements.len().saturating_sub(left)))(fault));
                }
            };
        }
        if elements.len() >= count {
            fill_vec(place, elements);
            return Ok((input, ()));
        }
        unread = add_places(&mut elements, count);
    }
}

/// Reads the pairs of a table. Recurses at most `max_depth` times.
fn pairs<'a>(mut input: &'a [u8], count: usize, budget: &mut Budget) -> Parsed<'a, Vec<(Value, Value)>> {
    let mut pairs = places(count);
    let mut unread = pairs.as_mut_slice();
    let mut index = 0usize;
    loop {
        for (key, value) in unread {
            (input, ()) = nested(input, budget, key).map_err(|fault| within(Step::TableKey(index))(fault))?;
            (input, ()) =
                nested(input, budget, value).map_err(|fault| within(Step::TableValue(index))(fault))?;
            index = index.saturating_add(1);
        }
        if pairs.len() >= count {
            return Ok((input, pairs));
        }
        unread = add_places(&mut pairs, count);
    }
}

/// Returns the first elements of a container with `count` elements, to be overwritten.
#[inline(always)]
fn places<T: Default>(count: usize) -> Vec<T> {
    (0..INITIAL_CAPACITY.min(count)).map(|_| T::default()).collect()
}

/// Doubles the number of elements, but never exceeds `count`, so that a complete container has no spare capacity. Returns
/// the new elements.
#[cold]
fn add_places<T: Default>(elements: &mut Vec<T>, count: usize) -> &mut [T] {
    let filled = elements.len();
    let more = filled.min(count.saturating_sub(filled));
    elements.reserve_exact(more);
    elements.resize_with(filled.saturating_add(more), T::default);
    elements.get_mut(filled..).unwrap_or_default()
}

/// Like [`fill`], for an empty vector.
#[inline(always)]
fn fill_vec(place: &mut Vec<Value>, elements: Vec<Value>) {
    debug_assert_eq!(place.capacity(), 0);
    std::mem::forget(std::mem::replace(place, elements));
}
