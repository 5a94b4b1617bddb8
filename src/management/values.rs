//! The identifiers that a stand-in node has, and its answers to `get_id_value`.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{GET_ID_VALUE, JsonText, failure};

/// The global variables of a stand-in node: each with its value as a JSON text, or without one.
///
/// ```
/// use zeek_bridge::management::Values;
///
/// let values = Values::from_json_text(r#"{"Cluster::node": "worker-01"}"#)?;
/// let dispatch = |args: &[&str]| values.dispatch("get_id_value", &args.iter().map(|a| a.to_string()).collect::<Vec<_>>());
/// assert_eq!(dispatch(&["Cluster::node"]).unwrap().unwrap().as_str(), "\"worker-01\"");
/// assert_eq!(dispatch(&["no_such_thing"]).unwrap_err(), "unknown id");
/// # Ok::<(), zeek_bridge::management::InvalidValues>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Values(BTreeMap<String, Option<JsonText>>);

/// A text that does not hold the values of a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the values of a node: {0}; expected a JSON object from identifiers to values, such as {{\"Cluster::node\": \"worker-01\"}}"
)]
pub struct InvalidValues(String);

impl Values {
    /// From a JSON object: identifiers and their values, each kept in the words of the text.
    ///
    /// # Errors
    /// When the text is not a JSON object, or nests too deep.
    pub fn from_json_text(text: &str) -> Result<Self, InvalidValues> {
        // The depth is checked here; RawValue passes over the values without a limit.
        JsonText::new(text).map_err(|error| InvalidValues(error.to_string()))?;
        let raw: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(text).map_err(|error| InvalidValues(error.to_string()))?;
        let mut values = BTreeMap::new();
        for (id, value) in raw {
            let text = JsonText::new(value.get()).map_err(|error| InvalidValues(error.to_string()))?;
            values.insert(id, Some(text));
        }
        Ok(Values(values))
    }

    /// Sets an identifier's value.
    pub fn insert(&mut self, id: impl Into<String>, value: JsonText) {
        self.0.insert(id.into(), Some(value));
    }

    /// Makes an identifier known that has no value, such as a type.
    pub fn insert_without_value(&mut self, id: impl Into<String>) {
        self.0.insert(id.into(), None);
    }

    /// What a Zeek node with these variables answers to a dispatch.
    ///
    /// # Errors
    /// Zeek's own words for what cannot be answered: see [`failure`].
    pub fn dispatch(&self, action: &str, args: &[String]) -> Result<Option<JsonText>, String> {
        if action != GET_ID_VALUE {
            return Err(failure::unknown_dispatch(action));
        }
        let Some(id) = args.first() else {
            return Err(failure::NO_NAME.into());
        };
        match self.0.get(id) {
            Some(Some(value)) => Ok(Some(value.clone())),
            Some(None) => Err(failure::NO_VALUE.into()),
            None => Err(failure::UNKNOWN_ID.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_in_zeek_s_own_words() {
        let mut values = Values::from_json_text(r#"{"a": {"b":  1.0e2}}"#).unwrap();
        values.insert_without_value("count");
        let ask = |action: &str, args: &[&str]| {
            let args: Vec<String> = args.iter().map(|arg| arg.to_string()).collect();
            values.dispatch(action, &args).map(|data| data.unwrap().into_string())
        };
        assert_eq!(ask("get_id_value", &["a"]), Ok(r#"{"b":  1.0e2}"#.into()), "as it was written");
        assert_eq!(ask("get_id_value", &["b"]), Err("unknown id".into()));
        assert_eq!(ask("get_id_value", &["count"]), Err("no ID value".into()));
        assert_eq!(ask("get_id_value", &[]), Err("get_id_value expects name of global identifier".into()));
        assert_eq!(ask("reboot", &[]), Err("dispatch reboot unknown".into()));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "[]", "3", "{\"a\"}", &format!("{{\"a\": {}1{}}}", "[".repeat(200), "]".repeat(200))]
        {
            assert!(Values::from_json_text(text).is_err(), "{text}");
        }
    }
}
