//! `Management::Result`.

use std::borrow::Cow;

use serde_core::de::DeserializeOwned;

use super::{AnswerError, InvalidJson, JsonText, json_text};
use crate::data::ByteString;

crate::zeek_record! {
    /// The record `Management::Result`: the result of a dispatch on one node.
    ///
    /// A result that [`success`](Self::success) or [`failure`](Self::failure) creates has the form that Zeek's agent
    /// accepts. It has six elements, contains the name of the node, and has data only as a JSON text. It has no
    /// instance, because the agent adds the instance. A received result keeps all of its content, and converts back to
    /// the same value.
    ///
    /// ```
    /// use zeek_bridge::management::{DispatchError, ManagementResult};
    ///
    /// let good = ManagementResult::success("KuPKPwTnXg6", "worker-01", Some("8192".parse()?));
    /// assert!(good.is_success());
    /// assert_eq!(good.json(), Some(Ok(8192.into())));
    ///
    /// let bad = ManagementResult::failure("jK19REdngc", "worker-01", DispatchError::UnknownId);
    /// assert_eq!(bad.error().as_deref(), Some("unknown id"));
    /// # Ok::<(), zeek_bridge::management::InvalidJson>(())
    /// ```
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ManagementResult {
        reqid: String,
        success: bool,
        instance: Option<String>,
        data: Option<ByteString>,
        error: Option<ByteString>,
        node: Option<String>,
    }
}

impl ManagementResult {
    /// Returns the result of a dispatch that `node` ran for the request `reqid`. The result of `get_id_value` has data;
    /// results of other actions may have none.
    pub fn success(reqid: impl Into<String>, node: impl Into<String>, data: Option<JsonText>) -> Self {
        ManagementResult {
            reqid: reqid.into(),
            success: true,
            instance: None,
            data: data.map(Into::into),
            error: None,
            node: Some(node.into()),
        }
    }

    /// Returns the result of a request `reqid` that `node` could not run. [`DispatchError`](super::DispatchError)
    /// contains the texts that Zeek uses.
    pub fn failure(reqid: impl Into<String>, node: impl Into<String>, error: impl Into<String>) -> Self {
        ManagementResult {
            reqid: reqid.into(),
            success: false,
            instance: None,
            data: None,
            error: Some(error.into().into()),
            node: Some(node.into()),
        }
    }

    /// Returns the id of the request.
    #[must_use]
    pub fn reqid(&self) -> &str {
        &self.reqid
    }

    /// Returns whether the node ran the action.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.success
    }

    /// Returns the name of the agent, which the agent adds when it forwards the result.
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    /// Returns the data as it was sent. Normally, it is a JSON text (see [`ManagementResult::json`]).
    #[must_use]
    pub fn data(&self) -> Option<&ByteString> {
        self.data.as_ref()
    }

    /// Returns the data, parsed as JSON.
    #[must_use]
    pub fn json(&self) -> Option<Result<serde_json::Value, InvalidJson>> {
        self.data.as_ref().map(|data| json_text::parse(data.as_bytes()))
    }

    /// Returns the data as a value of a type that serde can read from JSON.
    ///
    /// ```
    /// use zeek_bridge::management::{AnswerError, DispatchError, ManagementResult};
    ///
    /// let good = ManagementResult::success("KuPKPwTnXg6", "worker-01", Some("8192".parse()?));
    /// assert_eq!(good.value::<u32>(), Ok(8192));
    /// assert!(matches!(good.value::<String>(), Err(AnswerError::Data(_))));
    ///
    /// let bad = ManagementResult::failure("jK19REdngc", "worker-01", DispatchError::UnknownId);
    /// assert_eq!(bad.value::<u32>(), Err(AnswerError::Failed("unknown id".to_owned())));
    /// # Ok::<(), zeek_bridge::management::InvalidJson>(())
    /// ```
    ///
    /// # Errors
    /// Fails if the node could not run the action, or if the data is not of this type.
    pub fn value<T: DeserializeOwned>(&self) -> Result<T, AnswerError> {
        if !self.success {
            return Err(AnswerError::Failed(self.error().unwrap_or_default().into_owned()));
        }
        let data = self.data.as_ref().ok_or(AnswerError::NoData)?;
        serde_json::from_slice(data.as_bytes()).map_err(|error| AnswerError::Data(error.to_string()))
    }

    /// Returns the text of a failure, with U+FFFD in place of bytes that are not UTF-8.
    #[must_use]
    pub fn error(&self) -> Option<Cow<'_, str>> {
        self.error.as_ref().map(ByteString::to_str_lossy)
    }

    /// Returns the name of the node. Zeek's agent ignores a response without a name, and then waits until its timeout.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{FromValue, Value};

    fn success(data: Option<&str>) -> Vec<Value> {
        let data = data.map(|text| text.parse().unwrap());
        match ManagementResult::success("id", "worker-01", data).into() {
            Value::Vector(fields) => fields,
            other => panic!("{other:?}"),
        }
    }

    fn string(text: &str) -> Value {
        Value::String(text.into())
    }

    fn error(fields: Vec<Value>) -> String {
        ManagementResult::from_value(Value::Vector(fields)).unwrap_err().to_string()
    }

    #[test]
    fn a_constructed_result_has_six_elements_its_node_and_no_instance() {
        let (none, name) = (Value::None, string("worker-01"));
        let yes = Value::Boolean(true);
        assert_eq!(
            success(Some("\"x\"")),
            [string("id"), yes.clone(), none.clone(), string("\"x\""), none.clone(), name.clone()]
        );
        assert_eq!(
            success(None),
            [string("id"), yes, none.clone(), none.clone(), none.clone(), name.clone()]
        );
        let failed: Value = ManagementResult::failure("id", "worker-01", "no").into();
        let no = Value::Boolean(false);
        assert_eq!(failed, Value::Vector(vec![string("id"), no, none.clone(), none, string("no"), name]));
    }

    #[test]
    fn a_record_without_exactly_six_elements_is_an_error() {
        let mut fields = success(None);
        fields.push(Value::None);
        assert_eq!(error(fields.clone()), "expected 6 fields, found 7");
        fields.truncate(5);
        assert_eq!(error(fields), "expected 6 fields, found 5");
    }

    #[test]
    fn errors_name_the_field_of_the_wrong_type() {
        for (at, wrong, expected) in [
            (0, Value::None, "field reqid: expected string, found none"),
            (1, Value::Count(1), "field success: expected boolean, found count"),
            (2, Value::Count(1), "field instance: expected string, found count"),
            (3, Value::Count(8192), "field data: expected string, found count"),
            (4, Value::Vector(vec![]), "field error: expected string, found vector"),
            (5, Value::enum_value("x"), "field node: expected string, found enum-value"),
        ] {
            let mut fields = success(None);
            fields[at] = wrong;
            assert_eq!(error(fields), expected);
        }
    }

    #[test]
    fn a_node_name_that_is_not_utf8_is_an_error() {
        let mut fields = success(None);
        fields[5] = Value::String(vec![0xff].into());
        let error = error(fields);
        assert!(error.starts_with("field node: ") && error.contains("UTF-8"), "{error}");
    }

    #[test]
    fn a_received_result_is_kept_unchanged() {
        let mut fields = success(Some("1"));
        fields[1] = Value::Boolean(false);
        fields[2] = string("agent-vm");
        fields[3] = Value::String(vec![b'{', 0xff].into());
        fields[4] = Value::String(vec![b'n', 0xff].into());
        fields[5] = Value::None;
        let value = Value::Vector(fields);
        let result = ManagementResult::from_value(value.clone()).unwrap();
        assert_eq!(result.instance(), Some("agent-vm"));
        assert_eq!(result.node(), None);
        assert_eq!(result.error().unwrap(), "n\u{fffd}");
        assert!(result.json().unwrap().is_err());
        assert_eq!(Value::from(result), value);
    }
}
