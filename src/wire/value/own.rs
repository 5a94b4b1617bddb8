//! Reading a value into one of our own.

use super::super::error::{DecodeError, DecodeReason, Parsed, fail, finish, within};
use super::super::limits::Limits;
use super::Budget;
use super::head::{Container, Head, head};
use crate::data::{Set, Step, Table, Value};

/// How many elements room is made for when the first has been read. A count is only a claim, and
/// claims nest.
const FIRST_CAPACITY: usize = 64;

/// Decodes `bytes`, which have to be exactly one value.
///
/// # Errors
/// When they are not, or are more than `limits` allow: with the offset, the way to the fault and
/// the reason.
pub fn decode_value(bytes: &[u8], limits: &Limits) -> Result<Value, DecodeError> {
    finish(bytes, value(bytes, &mut Budget::new(limits)))
}

/// One value at the start of `input`.
pub(in crate::wire) fn value<'a>(input: &'a [u8], budget: &mut Budget) -> Parsed<'a, Value> {
    nested(input, budget, 0)
}

/// Recurses at most `max_depth` times.
fn nested<'a>(start: &'a [u8], budget: &mut Budget, depth: usize) -> Parsed<'a, Value> {
    budget.spend(start)?;
    let (input, head) = head(start)?;
    let (kind, count) = match head {
        Head::Scalar(scalar) => return Ok((input, scalar.to_value())),
        Head::Container(kind, count) => (kind, count),
    };
    let (mut input, depth) = budget.enter(input, depth, count)?;
    let value = match kind {
        Container::Vector | Container::Set => {
            let mut elements = Vec::new();
            for index in 0..count {
                let step = match kind {
                    Container::Set => Step::SetElement(index),
                    _ => Step::VectorElement(index),
                };
                let (rest, element) = nested(input, budget, depth).map_err(within(step))?;
                make_room(&mut elements, count);
                elements.push(element);
                input = rest;
            }
            if kind == Container::Vector {
                Value::Vector(elements)
            } else {
                match Set::from_distinct(elements) {
                    Some(set) => Value::Set(set),
                    None => return fail(start, DecodeReason::DuplicateElement),
                }
            }
        }
        Container::Table => {
            let mut pairs = Vec::new();
            for index in 0..count {
                let (rest, key) = nested(input, budget, depth).map_err(within(Step::TableKey(index)))?;
                let (rest, value) = nested(rest, budget, depth).map_err(within(Step::TableValue(index)))?;
                make_room(&mut pairs, count);
                pairs.push((key, value));
                input = rest;
            }
            match Table::from_distinct(pairs) {
                Some(table) => Value::Table(table),
                None => return fail(start, DecodeReason::DuplicateKey),
            }
        }
    };
    Ok((input, value))
}

/// Makes room for the next one of `count` elements: as much again as there is, but never more than
/// `count` in all, so that a finished container is as large as it has to be.
fn make_room<T>(elements: &mut Vec<T>, count: usize) {
    if elements.len() == elements.capacity() {
        let left = count.saturating_sub(elements.len());
        elements.reserve_exact(elements.len().max(FIRST_CAPACITY).min(left));
    }
}
