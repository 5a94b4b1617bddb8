//! Decoding of owned values.

use super::super::error::{DecodeError, DecodeReason, Fault, Parsed, fail, finish, within};
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
    budget.spend(input, 1)?;
    let depth = budget.limits.max_depth;
    let mut value = Value::None;
    let mut decoder = Decoder { budget, fault: None };
    match decoder.one(input, depth, &mut value) {
        Some(rest) => Ok((rest, value)),
        None => decoder.fault.map_or_else(|| fail(input, DecodeReason::Truncated), Err),
    }
}

/// Reads values. Each method returns the input after them, or `None` after an error. Such a result fits into registers; a `Result`
/// with the error does not.
struct Decoder<'b> {
    budget: &'b mut Budget,
    /// The error, once a method has returned `None`.
    fault: Option<nom::Err<Fault>>,
}

impl Decoder<'_> {
    /// Reads one value, in which `depth` more containers may be nested, into `place`, which must hold `Value::None`. If a
    /// value were built in a temporary and then moved, the processor would stall for longer than the rest of the decoding
    /// takes.
    ///
    /// Inlined into the loops over elements, because most elements are scalars.
    #[inline(always)]
    fn one<'a>(&mut self, start: &'a [u8], depth: usize, place: &mut Value) -> Option<&'a [u8]> {
        match start.split_first() {
            Some((&tag::STRING, body)) => self.string(body, place, Value::String),
            Some((&tag::ENUM_VALUE, body)) => self.string(body, place, Value::EnumValue),
            Some((&tag::VECTOR, body)) => match self.vector(body, depth, place)? {
                (inside, 0, ..) => Some(inside),
                (inside, count, depth, elements) => {
                    self.elements(inside, count, depth, Step::VectorElement, elements)
                }
            },
            _ => match self.ok(head(start))? {
                (rest, Head::Scalar(scalar)) => {
                    scalar.put_scalar(place);
                    Some(rest)
                }
                (inside, Head::Container(Container::Table, count)) => {
                    self.table(start, inside, count, depth, place)
                }
                (inside, Head::Container(_, count)) => self.set(start, inside, count, depth, place),
            },
        }
    }

    /// Stores the error of a result.
    #[inline(always)]
    fn ok<'a, T>(&mut self, parsed: Parsed<'a, T>) -> Option<(&'a [u8], T)> {
        match parsed {
            Ok(ok) => Some(ok),
            Err(fault) => {
                self.fault = Some(fault);
                None
            }
        }
    }

    /// Stores an error at the start of `input`.
    #[cold]
    fn fail<'a>(&mut self, input: &'a [u8], reason: DecodeReason) -> Option<&'a [u8]> {
        self.ok(fail::<()>(input, reason))?;
        None
    }

    #[inline(always)]
    fn enter<'a>(
        &mut self,
        inside: &'a [u8],
        count: usize,
        values: usize,
        depth: usize,
    ) -> Option<(&'a [u8], usize)> {
        let entered = self.budget.enter(inside, count, values, depth);
        self.ok(entered)
    }

    /// Reads the body of a string.
    #[inline(always)]
    fn string<'a>(
        &mut self,
        body: &'a [u8],
        place: &mut Value,
        variant: impl Fn(ByteString) -> Value,
    ) -> Option<&'a [u8]> {
        let (text, length) = self.ok(varbyte(body))?;
        let (rest, _) = self.ok(bytes(text, length))?;
        fill(place, variant(ByteString::default()));
        if let Value::String(string) | Value::EnumValue(string) = place {
            string.set_prefix(text, length);
        }
        Some(rest)
    }

    #[inline(never)]
    fn set<'a>(
        &mut self,
        start: &'a [u8],
        inside: &'a [u8],
        count: usize,
        depth: usize,
        place: &mut Value,
    ) -> Option<&'a [u8]> {
        let (inside, depth) = self.enter(inside, count, 1, depth)?;
        let mut elements = Vec::new();
        let rest = self.elements(inside, count, depth, Step::SetElement, &mut elements)?;
        let Some(set) = Set::from_distinct(elements) else {
            return self.fail(start, DecodeReason::DuplicateElement);
        };
        fill(place, Value::Set(set));
        Some(rest)
    }

    #[inline(never)]
    fn table<'a>(
        &mut self,
        start: &'a [u8],
        inside: &'a [u8],
        count: usize,
        depth: usize,
        place: &mut Value,
    ) -> Option<&'a [u8]> {
        let (inside, depth) = self.enter(inside, count, 2, depth)?;
        let mut pairs = Vec::new();
        let rest = self.pairs(inside, count, depth, &mut pairs)?;
        let Some(table) = Table::from_distinct(pairs) else {
            return self.fail(start, DecodeReason::DuplicateKey);
        };
        fill(place, Value::Table(table));
        Some(rest)
    }

    /// Reads the head of a vector after its tag. Stores an empty vector, and returns the number of its elements, the number
    /// of containers that may be nested in it, and the vector.
    #[inline(always)]
    fn vector<'a, 'p>(
        &mut self,
        body: &'a [u8],
        depth: usize,
        place: &'p mut Value,
    ) -> Option<(&'a [u8], usize, usize, &'p mut Vec<Value>)> {
        let (inside, count) = self.ok(varbyte(body))?;
        let (inside, depth) = self.enter(inside, count, 1, depth)?;
        fill(place, Value::Vector(Vec::new()));
        match place {
            Value::Vector(elements) => Some((inside, count, depth, elements)),
            _ => None,
        }
    }

    /// Reads the elements of a container into `outer`, which must be empty. Recurses at most `max_depth` times.
    ///
    /// A vector in the last position is read in the loop, without recursion, because Zeek's messages are nested that way.
    #[inline(never)]
    fn elements<'a>(
        &mut self,
        mut input: &'a [u8],
        mut count: usize,
        mut depth: usize,
        step: fn(usize) -> Step,
        outer: &mut Vec<Value>,
    ) -> Option<&'a [u8]> {
        let mut elements = &mut *outer;
        let mut nested = 0usize;
        let malformed = 'vectors: loop {
            allocate_first(elements, count);
            if count > INITIAL_CAPACITY {
                match self.many(input, count, depth, elements) {
                    Ok(rest) => return Some(rest),
                    Err(index) => break index,
                }
            }
            let mut iter = elements.iter_mut();
            while let Some(element) = iter.next() {
                let read = match input.split_first() {
                    Some((&tag::VECTOR, body)) => match self.vector(body, depth, element) {
                        Some((inside, 0, ..)) => Some(inside),
                        Some(vector) if iter.len() == 0 => {
                            (input, count, depth, elements) = vector;
                            nested = nested.saturating_add(1);
                            continue 'vectors;
                        }
                        Some((inside, count, depth, inner)) => {
                            self.elements(inside, count, depth, Step::VectorElement, inner)
                        }
                        None => None,
                    },
                    _ => self.one(input, depth, element),
                };
                match read {
                    Some(rest) => input = rest,
                    // The elements are not counted in the loop, because that takes time for each element.
                    None => break 'vectors count.saturating_sub(iter.len()).saturating_sub(1),
                }
            }
            return Some(input);
        };
        self.within_vectors(malformed, nested, step, outer);
        None
    }

    /// Reads the elements of a container that is not allocated at once. Returns the index of the malformed element, if any.
    fn many<'a>(
        &mut self,
        mut input: &'a [u8],
        count: usize,
        depth: usize,
        elements: &mut Vec<Value>,
    ) -> Result<&'a [u8], usize> {
        let mut index = 0usize;
        let mut unread = elements.as_mut_slice();
        loop {
            for element in unread {
                input = self.one(input, depth, element).ok_or(index)?;
                index = index.saturating_add(1);
            }
            if elements.len() >= count {
                return Ok(input);
            }
            unread = add_places(elements, count);
        }
    }

    /// Reads the pairs of a table into `pairs`, which must be empty. Recurses at most `max_depth` times.
    fn pairs<'a>(
        &mut self,
        mut input: &'a [u8],
        count: usize,
        depth: usize,
        pairs: &mut Vec<(Value, Value)>,
    ) -> Option<&'a [u8]> {
        allocate_first(pairs, count);
        let mut unread = pairs.as_mut_slice();
        let mut index = 0usize;
        loop {
            for (key, value) in unread {
                let Some(rest) = self.one(input, depth, key) else {
                    return self.within(Step::TableKey(index));
                };
                let Some(rest) = self.one(rest, depth, value) else {
                    return self.within(Step::TableValue(index));
                };
                input = rest;
                index = index.saturating_add(1);
            }
            if pairs.len() >= count {
                return Some(input);
            }
            unread = add_places(pairs, count);
        }
    }

    /// Adds the path of a malformed element to the error. The path begins at `outer` and leads through `nested` vectors. Each of them is
    /// the last element of the vector before it. The malformed element is at `index` in the last vector.
    #[cold]
    fn within_vectors(&mut self, index: usize, nested: usize, step: fn(usize) -> Step, mut outer: &[Value]) {
        let mut indices = Vec::new();
        while indices.len() < nested
            && let Some((Value::Vector(inner), before)) = outer.split_last()
        {
            indices.push(before.len());
            outer = inner;
        }
        indices.push(index);
        for (level, index) in indices.into_iter().enumerate().rev() {
            self.within(if level == 0 { step(index) } else { Step::VectorElement(index) });
        }
    }

    /// Adds a step to the path of the error.
    #[cold]
    fn within<'a>(&mut self, step: Step) -> Option<&'a [u8]> {
        self.fault = self.fault.take().map(within(step));
        None
    }
}

/// Allocates the first of `count` elements of a container. `parts` must be empty. The elements are overwritten later.
#[inline(always)]
fn allocate_first<T: Default>(parts: &mut Vec<T>, count: usize) {
    debug_assert_eq!(parts.capacity(), 0);
    let places = (0..INITIAL_CAPACITY.min(count)).map(|_| T::default()).collect();
    // The empty vector is forgotten, because that is faster than dropping it.
    std::mem::forget(std::mem::replace(parts, places));
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
