//! The fields of an event or a span.

use std::fmt;

use serde_json::Value;
use tracing::field::{Field, Visit};

/// The name of the field that contains the text of an event.
pub(super) const MESSAGE: &str = "message";

/// Fields in the order in which they were recorded. Each name occurs once.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Vec<(&'static str, FieldValue)>);

#[derive(Clone, Debug)]
pub(super) enum FieldValue {
    /// A number or a boolean.
    Scalar(Value),
    /// A string, which text logs put in quotes.
    Quoted(String),
    /// The result of `Display` or `Debug`.
    Formatted(String),
}

impl Fields {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &FieldValue)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }

    /// Adds each field of a span, unless there is already a field with the same name.
    pub(super) fn add_missing(&mut self, of_span: &Fields) {
        for (name, value) in of_span.iter() {
            if !self.contains(name) {
                self.0.push((name, value.clone()));
            }
        }
    }

    fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| *other == name)
    }

    /// Sets a field. Replaces its value if there is one, because a span can record a field again.
    fn set(&mut self, field: &Field, value: FieldValue) {
        match self.0.iter_mut().find(|(name, _)| *name == field.name()) {
            Some((_, current)) => *current = value,
            None => self.0.push((field.name(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, FieldValue::Scalar(value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, FieldValue::Scalar(value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, FieldValue::Scalar(value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, FieldValue::Scalar(value.into()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, FieldValue::Quoted(value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, FieldValue::Formatted(format!("{value:?}")));
    }
}
