//! Sequential conversion of fields and arguments, for the macros and tuples.

use super::ArgsError;
use crate::data::{FromValue, Step, Value, WrongType};

/// The fields of a record or the arguments of an event. Their number has been checked, unless the record may be
/// extended.
#[doc(hidden)]
#[derive(Debug)]
pub struct Fields {
    values: std::vec::IntoIter<Value>,
    /// The names. Empty if the fields have no names.
    names: std::slice::Iter<'static, &'static str>,
    position: usize,
}

impl Fields {
    pub fn record(value: Value, names: &'static [&'static str]) -> Result<Self, WrongType> {
        let values = Vec::<Value>::from_value(value)?;
        if values.len() != names.len() {
            let expected = format!("{} field{}", names.len(), if names.len() == 1 { "" } else { "s" });
            return Err(WrongType::new(expected, values.len().to_string()));
        }
        Ok(Self::new(values, names))
    }

    /// Returns the fields of a record that scripts may have extended. Extra fields are ignored, and missing fields are
    /// unset.
    pub fn extended_record(value: Value, names: &'static [&'static str]) -> Result<Self, WrongType> {
        Ok(Self::new(Vec::<Value>::from_value(value)?, names))
    }

    pub fn of_event(args: Vec<Value>, names: &'static [&'static str]) -> Result<Self, ArgsError> {
        Self::counted(args, names.len(), names)
    }

    pub(super) fn of_tuple(args: Vec<Value>, length: usize) -> Result<Self, ArgsError> {
        Self::counted(args, length, &[])
    }

    fn counted(args: Vec<Value>, expected: usize, names: &'static [&'static str]) -> Result<Self, ArgsError> {
        if args.len() != expected {
            return Err(ArgsError::WrongCount { expected, found: args.len() });
        }
        Ok(Self::new(args, names))
    }

    fn new(values: Vec<Value>, names: &'static [&'static str]) -> Self {
        Fields { values: values.into_iter(), names: names.iter(), position: 0 }
    }

    /// Converts the next value to a `T`. A missing value, which is possible only in an extended record, counts as
    /// unset.
    fn next<T: FromValue>(&mut self) -> (Option<&'static str>, Result<T, WrongType>) {
        self.position = self.position.saturating_add(1);
        let name = self.names.next().map(|name| name.strip_prefix("r#").unwrap_or(name));
        (name, T::from_value(self.values.next().unwrap_or_default()))
    }

    pub fn field<T: FromValue>(&mut self) -> Result<T, WrongType> {
        let (name, value) = self.next();
        value.map_err(|error| error.within(Step::Field(name.unwrap_or_default())))
    }

    /// Returns the fields after the declared ones.
    pub fn rest(self) -> Vec<Value> {
        self.values.collect()
    }

    pub fn argument<T: FromValue>(&mut self) -> Result<T, ArgsError> {
        let (name, value) = self.next();
        value.map_err(|error| ArgsError::WrongArgument { position: self.position, name, error })
    }
}
