//! Replacement of the scalars in a value.

use zeek_bridge::data::Value;

/// Returns the value with each scalar replaced by the result of `replace`. Scalars are all values except sets, tables and vectors.
/// The recursion is bounded, because the decoder limits the depth of values.
pub(crate) fn map_scalars(value: Value, replace: &mut dyn FnMut(Value) -> Value) -> Value {
    match value {
        Value::Set(set) => {
            Value::Set(set.iter().map(|element| map_scalars(element.clone(), replace)).collect())
        }
        Value::Table(table) => {
            let pairs = table
                .iter()
                .map(|(key, value)| (map_scalars(key.clone(), replace), map_scalars(value.clone(), replace)));
            Value::Table(pairs.collect())
        }
        Value::Vector(elements) => {
            Value::Vector(elements.into_iter().map(|element| map_scalars(element, replace)).collect())
        }
        other => replace(other),
    }
}
