//! Values (`PROTOCOL.md`, section 5): one grammar, [`head`], and three ways to read it.
//!
//! - [`check_value`] validates and allocates nothing: for messages that are forwarded.
//! - [`ValueRef`] borrows from the bytes: to inspect parts of a message.
//! - [`decode_value`] builds an owned [`Value`].
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

/// The number of values that a message may still contain, and the maximum depth, while it is decoded.
pub(super) struct Budget {
    limits: Limits,
    elements: usize,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        Budget { limits: *limits, elements: limits.max_elements }
    }

    /// Consumes the budget of one value.
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

    /// Enters a container that is nested in `depth` others and claims to have `count` parts. Returns the new depth.
    #[inline]
    fn enter<'a>(&self, input: &'a [u8], depth: usize, count: usize) -> Parsed<'a, usize> {
        if depth >= self.limits.max_depth {
            return fail(input, DecodeReason::TooDeep { limit: self.limits.max_depth });
        }
        // Each part takes at least one byte, so a larger count cannot be true.
        if count > input.len() {
            return fail(input, DecodeReason::Truncated);
        }
        Ok((input, depth.saturating_add(1)))
    }
}
