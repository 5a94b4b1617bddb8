//! Iteration over all parts of a value, without recursion.

use super::head::{Container, Head, head};

/// The heads of all values in checked bytes, in the order of the wire: first a container, then its elements. Each byte is read
/// once, regardless of nesting.
#[derive(Clone)]
pub(crate) struct Heads<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Heads<'a> {
    type Item = Head<'a>;

    fn next(&mut self) -> Option<Head<'a>> {
        let (rest, head) = head(self.0).ok()?;
        self.0 = rest;
        Some(head)
    }
}

impl<'a> Heads<'a> {
    /// Skips the next value with everything that it contains, and returns its bytes.
    pub(crate) fn skip_value(&mut self) -> &'a [u8] {
        let bytes = self.0;
        let mut pending = 1usize;
        while let Some(left) = pending.checked_sub(1)
            && let Some(head) = self.next()
        {
            pending = left.saturating_add(match head {
                Head::Scalar(_) => 0,
                Head::Container(Container::Table, pairs) => pairs.saturating_mul(2),
                Head::Container(_, elements) => elements,
            });
        }
        bytes.get(..bytes.len().saturating_sub(self.0.len())).unwrap_or_default()
    }
}
