//! The order of the rows of a table, which the user selects.

/// A column, and the direction of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order<C> {
    pub(crate) column: C,
    /// Smallest number first, or names from Z to A.
    pub(crate) reversed: bool,
}

impl<C: Copy + PartialEq> Order<C> {
    pub(crate) const fn by(column: C) -> Self {
        Order { column, reversed: false }
    }

    /// Sorts by a column. Reverses the order if the rows are already sorted by this column.
    pub(crate) fn select(&mut self, column: C) {
        let reversed = self.column == column && !self.reversed;
        *self = Order { column, reversed };
    }

    /// Returns the mark of the sorted column, which contains names or numbers: ▲ from small to large, ▼ from large to small.
    pub(crate) fn mark(self, is_name: bool) -> char {
        if is_name == self.reversed { '▼' } else { '▲' }
    }
}
