//! The `data` of a [`ManagementResult`](super::ManagementResult): a JSON text.

use std::fmt;
use std::str::FromStr;

use crate::data::ByteString;

/// A JSON text: the data of a node's response.
///
/// Zeek's agent casts the data to a string and forwards it without parsing it. So text that is not JSON would cause an
/// error only later, in a different program. The text is kept unchanged.
///
/// ```
/// use zeek_bridge::management::JsonText;
///
/// let port = JsonText::from(serde_json::json!({"port": 2151, "proto": "tcp"}));
/// assert_eq!(port.as_str(), r#"{"port":2151,"proto":"tcp"}"#);
/// assert_eq!(r#"{"port":2151,"proto":"tcp"}"#.parse(), Ok(port));
/// assert!("Cluster::node".parse::<JsonText>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct JsonText(String);

/// The error for a text that is not JSON, or that common JSON parsers reject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON text: {0}")]
pub struct InvalidJson(String);

impl JsonText {
    /// Checks that a text is JSON.
    ///
    /// # Errors
    /// Fails if the text is not JSON, if arrays and objects are nested deeper than 127 levels, or if a number is out of
    /// the range of a double.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidJson> {
        let text = text.into();
        parse(text.as_bytes())?;
        Ok(JsonText(text))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Converts to the text.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

/// Parses a JSON text. [`JsonText::new`] also uses this function as its check, because `serde_json` limits the depth
/// only when it builds a `Value`.
pub(super) fn parse(text: &[u8]) -> Result<serde_json::Value, InvalidJson> {
    serde_json::from_slice(text).map_err(InvalidJson::from)
}

impl From<serde_json::Error> for InvalidJson {
    fn from(error: serde_json::Error) -> Self {
        InvalidJson(error.to_string())
    }
}

/// Written without spaces.
impl From<serde_json::Value> for JsonText {
    fn from(value: serde_json::Value) -> Self {
        JsonText(value.to_string())
    }
}

impl FromStr for JsonText {
    type Err = InvalidJson;

    fn from_str(text: &str) -> Result<Self, InvalidJson> {
        JsonText::new(text)
    }
}

impl TryFrom<String> for JsonText {
    type Error = InvalidJson;

    fn try_from(text: String) -> Result<Self, InvalidJson> {
        JsonText::new(text)
    }
}

impl From<JsonText> for ByteString {
    fn from(text: JsonText) -> Self {
        text.0.into()
    }
}

impl fmt::Display for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_text_is_kept_as_it_was_written() {
        for text in
            ["\"\"", "null", " [1, 2.50 ]\n", "{\"a\":{\"b\":[true]}}", "18446744073709551615", "\"\\u00ff\""]
        {
            assert_eq!(JsonText::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_text_that_is_not_json_is_an_error_with_a_reason() {
        for text in ["", "worker-01", "{", "[1,]", "'x'", "1 2", "NaN", "1e999", "\"\n\""] {
            let error = JsonText::new(text).unwrap_err().to_string();
            assert!(error.starts_with("not a JSON text: "), "{text}: {error}");
        }
    }

    #[test]
    fn nesting_is_limited() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(JsonText::new(nested(127)).is_ok());
        let error = JsonText::new(nested(128)).unwrap_err();
        assert!(error.to_string().contains("recursion limit"), "{error}");
        assert!(JsonText::new(nested(1_000_000)).is_err());
    }
}
