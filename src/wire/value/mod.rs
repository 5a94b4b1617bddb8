//! Values (protocol section 5): one grammar, [`head`], and three readings of it.
//!
//! - [`check_value`] walks and validates and keeps nothing: for what is only passed on;
//! - [`ValueRef`] borrows from the bytes: for a look at a part;
//! - [`decode_value`] makes a [`Value`] of its own.
//!
//! All three accept exactly the same bytes.

mod borrow;
mod check;
mod encode;
mod head;
mod own;
mod real;

pub use borrow::{Elements, Pairs, ValueRef};
pub use check::check_value;
pub use encode::encode_value;
pub use own::decode_value;

pub(super) use own::value;

#[cfg(test)]
mod loose;
#[cfg(test)]
mod tests;

use super::error::{DecodeReason, Parsed, fail};
use super::limits::Limits;

/// What is left of a message's allowance while it is read.
pub(super) struct Budget {
    limits: Limits,
    elements: usize,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        Budget { limits: *limits, elements: limits.max_elements }
    }

    /// Takes one value out of the allowance.
    #[inline]
    fn spend<'a>(&mut self, input: &'a [u8]) -> Parsed<'a, ()> {
        match self.elements.checked_sub(1) {
            Some(left) => {
                self.elements = left;
                Ok((input, ()))
            }
            None => fail(input, DecodeReason::TooManyElements { limit: self.limits.max_elements }),
        }
    }

    /// Goes into a container that stands inside `depth` others and says it has `count` parts.
    #[inline]
    fn enter<'a>(&self, input: &'a [u8], depth: usize, count: usize) -> Parsed<'a, usize> {
        if depth >= self.limits.max_depth {
            return fail(input, DecodeReason::TooDeep { limit: self.limits.max_depth });
        }
        // Every part takes a byte or more: a count that cannot be true ends here.
        if count > input.len() {
            return fail(input, DecodeReason::Truncated);
        }
        Ok((input, depth.saturating_add(1)))
    }
}
