//! The identifiers of a node that is not a Zeek process, and its responses to `get_id_value`.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{DispatchError, GET_ID_VALUE, InvalidJson, JsonText, json_text};

/// The global variables of a node that is not a Zeek process. Each has a JSON text as its value, or no value.
///
/// ```
/// use zeek_bridge::management::{DispatchError, Values};
///
/// let values = Values::from_json_text(r#"{"Cluster::node": "worker-01"}"#)?;
/// assert_eq!(values.dispatch("get_id_value", &["Cluster::node"]), Ok(Some("\"worker-01\"".parse().unwrap())));
/// assert_eq!(values.dispatch("get_id_value", &["no_such_thing"]), Err(DispatchError::UnknownId));
/// # Ok::<(), zeek_bridge::management::InvalidValues>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Values(BTreeMap<String, Option<JsonText>>);

/// The error for a text that is not a JSON object of identifiers and their values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the values of a node: {0}; expected a JSON object that maps identifiers to values, such as \
     {{\"Cluster::node\": \"worker-01\"}}"
)]
pub struct InvalidValues(InvalidJson);

impl Values {
    /// Reads a JSON object of identifiers and their values. The text of each value is kept as it is.
    ///
    /// # Errors
    /// Fails if the text is not a JSON object, or is nested deeper than 127 levels.
    pub fn from_json_text(text: &str) -> Result<Self, InvalidValues> {
        let read = || -> Result<_, InvalidJson> {
            // Checks the depth, which `RawValue` does not limit.
            json_text::parse(text.as_bytes())?;
            let raw: BTreeMap<String, Box<RawValue>> =
                serde_json::from_str(text).map_err(InvalidJson::from)?;
            raw.into_iter().map(|(id, value)| Ok((id, Some(JsonText::new(value.get())?)))).collect()
        };
        read().map(Values).map_err(InvalidValues)
    }

    /// Sets the value of an identifier.
    pub fn insert(&mut self, id: impl Into<String>, value: JsonText) {
        self.0.insert(id.into(), Some(value));
    }

    /// Adds an identifier that has no value, such as a type.
    pub fn insert_without_value(&mut self, id: impl Into<String>) {
        self.0.insert(id.into(), None);
    }

    /// Returns the response of a Zeek node with these variables to a dispatch.
    ///
    /// # Errors
    /// Fails in the same way as a Zeek node, for example if the action is unknown or the identifier has no value.
    pub fn dispatch(
        &self,
        action: &str,
        args: &[impl AsRef<str>],
    ) -> Result<Option<JsonText>, DispatchError> {
        if action != GET_ID_VALUE {
            return Err(DispatchError::UnknownAction(action.to_owned()));
        }
        match self.0.get(args.first().ok_or(DispatchError::NoName)?.as_ref()) {
            Some(Some(value)) => Ok(Some(value.clone())),
            Some(None) => Err(DispatchError::NoValue),
            None => Err(DispatchError::UnknownId),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_the_same_texts_as_in_zeek() {
        let mut values = Values::from_json_text(r#"{"a": {"b":  1.0e2}}"#).unwrap();
        values.insert_without_value("count");
        let ask = |action: &str, args: &[&str]| {
            let data = values.dispatch(action, args).map_err(|error| error.to_string())?;
            Ok::<_, String>(data.unwrap().into_string())
        };
        assert_eq!(ask("get_id_value", &["a"]), Ok(r#"{"b":  1.0e2}"#.into()), "kept as it was written");
        assert_eq!(ask("get_id_value", &["b"]), Err("unknown id".into()));
        assert_eq!(ask("get_id_value", &["count"]), Err("no ID value".into()));
        assert_eq!(ask("get_id_value", &[]), Err("get_id_value expects name of global identifier".into()));
        assert_eq!(ask("reboot", &[]), Err("dispatch reboot unknown".into()));
    }

    #[test]
    fn a_text_that_is_not_an_object_is_an_error() {
        for text in ["", "[]", "3", "{\"a\"}", &format!("{{\"a\": {}1{}}}", "[".repeat(200), "]".repeat(200))]
        {
            assert!(Values::from_json_text(text).is_err(), "{text}");
        }
    }
}
