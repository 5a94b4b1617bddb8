//! Paths to elements of a value, for errors.

use std::fmt;

/// A step into a container. Elements are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// An element of a vector, or a field of a record.
    VectorElement(usize),
    /// A named field: of a declared record, or of a message.
    Field(&'static str),
    /// An element of a set.
    SetElement(usize),
    /// The key of a pair of a table.
    TableKey(usize),
    /// The value of a pair of a table.
    TableValue(usize),
    /// A topic of a filter.
    FilterTopic(usize),
    /// A row of a log batch.
    Row(usize),
    /// A field of a log batch or of one of its rows.
    Column(usize),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::VectorElement(index) => write!(f, "vector element {index}"),
            Step::Field(name) => write!(f, "field {name}"),
            Step::SetElement(index) => write!(f, "set element {index}"),
            Step::TableKey(index) => write!(f, "table key {index}"),
            Step::TableValue(index) => write!(f, "table value {index}"),
            Step::FilterTopic(index) => write!(f, "filter topic {index}"),
            Step::Row(index) => write!(f, "row {index}"),
            Step::Column(index) => write!(f, "column {index}"),
        }
    }
}

/// The path from a value to one of its elements: `vector element 3, table key 0`. It is empty for the value itself.
///
/// A path is built from the innermost element outwards while an error is returned, so it costs nothing if there is no
/// error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Path(Vec<Step>);

impl Path {
    /// Adds a step to the front of the path.
    pub fn prepend(&mut self, step: Step) {
        self.0.push(step);
    }

    /// Returns the steps, outermost first.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        self.0.iter().rev().copied()
    }

    /// Returns whether this is the path of the value itself.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the path and a colon as the prefix of an error message, or empty text if the path is empty.
    pub(crate) fn prefix(&self) -> String {
        if self.is_empty() { String::new() } else { format!("{self}: ") }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.steps().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            fmt::Display::fmt(&step, f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_step_comes_first() {
        let mut path = Path::default();
        assert_eq!((path.to_string(), path.prefix()), (String::new(), String::new()));
        path.prepend(Step::TableKey(0));
        path.prepend(Step::VectorElement(3));
        assert_eq!(path.to_string(), "vector element 3, table key 0");
        assert_eq!(path.prefix(), "vector element 3, table key 0: ");
        assert_eq!(path.steps().next(), Some(Step::VectorElement(3)));
    }
}
