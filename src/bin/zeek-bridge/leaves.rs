//! Values with other leaves.

use zeek_bridge::data::Value;

/// The same value with each of its leaves, everything that is no container, exchanged. Values are never deeper than the
/// decoder lets them be.
pub(crate) fn map_leaves(value: Value, leaf: &mut dyn FnMut(Value) -> Value) -> Value {
    match value {
        Value::Set(set) => Value::Set(set.iter().map(|element| map_leaves(element.clone(), leaf)).collect()),
        Value::Table(table) => {
            let pairs = table
                .iter()
                .map(|(key, value)| (map_leaves(key.clone(), leaf), map_leaves(value.clone(), leaf)));
            Value::Table(pairs.collect())
        }
        Value::Vector(elements) => {
            Value::Vector(elements.into_iter().map(|element| map_leaves(element, leaf)).collect())
        }
        other => leaf(other),
    }
}
