//! Where in a value something stands.

use std::fmt;

/// One step into a container. Elements are counted from 0, in the order they stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Into an element of a vector (a field of a record).
    VectorElement(usize),
    /// Into a field by its name: of a record whose declaration is known, or of a message.
    Field(&'static str),
    /// Into an element of a set.
    SetElement(usize),
    /// Into the key of a table's pair.
    TableKey(usize),
    /// Into the value of a table's pair.
    TableValue(usize),
    /// Into a topic of a filter.
    FilterTopic(usize),
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
        }
    }
}

/// The way from a value to a part of it: `vector element 3, table key 0`. Empty for the value itself.
///
/// A path is put together from the inside out, as an error travels up: nothing is kept while all goes well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Path(Vec<Step>);

impl Path {
    /// Puts a step in front of the path.
    pub fn prepend(&mut self, step: Step) {
        self.0.push(step);
    }

    /// The steps, outermost first.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        self.0.iter().rev().copied()
    }

    /// Whether this is the path of the value itself.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The path and a colon, or nothing: the beginning of an error's words.
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
