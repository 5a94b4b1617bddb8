//! JSON documents, one per line.

use std::time::SystemTime;

use data_encoding::HEXLOWER;
use serde::Serialize;
use serde_json::{Value as Json, json};
use zeek_bridge::data::Value;
use zeek_bridge::net::tls::PeerIdentity;

use super::escape::harmless;

/// A JSON object that keeps the order in which its members are added.
#[derive(Debug)]
pub(crate) struct Object(Vec<u8>);

impl Object {
    pub(crate) fn new() -> Self {
        Object(Vec::new())
    }

    /// Adds a member. The name is written without escapes.
    #[must_use]
    pub(crate) fn with(self, name: &'static str, value: impl Into<Json>) -> Self {
        self.with_text(name, &value.into().to_string())
    }

    /// Adds a member whose value is JSON text. Line breaks in it are replaced by spaces.
    #[must_use]
    pub(crate) fn with_text(mut self, name: &'static str, value: &str) -> Self {
        self.name(name);
        // In JSON, line breaks can only occur between tokens.
        self.0.extend(value.bytes().map(|byte| if byte == b'\n' || byte == b'\r' { b' ' } else { byte }));
        self
    }

    /// Adds a member whose value is JSON text without line breaks.
    #[must_use]
    pub(crate) fn with_bytes(mut self, name: &'static str, value: &[u8]) -> Self {
        self.name(name);
        self.0.extend_from_slice(value);
        self
    }

    /// Adds a member with a value in the format of Broker's JSON.
    #[must_use]
    pub(crate) fn with_value(mut self, name: &'static str, value: &Value) -> Self {
        self.name(name);
        write_value(value, &mut self.0);
        self
    }

    /// Adds a member with an array of values in the format of Broker's JSON.
    #[must_use]
    pub(crate) fn with_values(mut self, name: &'static str, values: &[Value]) -> Self {
        self.name(name);
        self.0.push(b'[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.0.push(b',');
            }
            write_value(value, &mut self.0);
        }
        self.0.push(b']');
        self
    }

    /// Adds at least one member, which `write` appends as JSON on one line.
    #[must_use]
    pub(crate) fn with_members(mut self, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        write(&mut self.0);
        self
    }

    fn name(&mut self, name: &'static str) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    pub(crate) fn into_line(mut self) -> Vec<u8> {
        if self.0.is_empty() {
            self.0.push(b'{');
        }
        self.0.push(b'}');
        harmless(self.0)
    }
}

impl From<Object> for Vec<u8> {
    fn from(object: Object) -> Self {
        object.into_line()
    }
}

/// Serializes a document to one line, with escapes for characters that affect a terminal.
pub(crate) fn to_line(document: &impl Serialize) -> Vec<u8> {
    // Cannot fail: it writes to memory, and all keys are strings.
    harmless(serde_json::to_vec(document).unwrap_or_default())
}

/// Writes a value in the format of Broker's JSON.
fn write_value(value: &Value, to: &mut Vec<u8>) {
    // Cannot fail: it writes to memory.
    let _ = value.write_json(to);
}

/// Returns bytes that usually are text as a string, or as `{"hex": ..}` if they are not UTF-8.
pub(crate) fn text(bytes: &[u8]) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({"hex": HEXLOWER.encode(bytes)}),
    }
}

/// Returns the time in UTC, such as `2026-03-01T14:05:09.123Z`, or `None` if it is out of range.
pub(crate) fn rfc3339(time: SystemTime) -> Option<String> {
    // The format has no years before 1970 or after 9999.
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    (since.as_secs() < 253_402_300_800).then(|| humantime::format_rfc3339_millis(time).to_string())
}

/// Returns the identity in a peer's certificate.
pub(crate) fn identity_json(identity: &PeerIdentity) -> Json {
    let sans: Json = identity.sans.iter().map(ToString::to_string).collect();
    json!({"subject": identity.subject, "sans": sans, "sha256": identity.sha256_hex()})
}

#[cfg(test)]
mod tests {
    use super::super::escape::steers;
    use super::*;

    #[test]
    fn escaped_json_is_equal_and_does_not_affect_a_terminal() {
        let text = "a\u{9b}2J\u{7f}\u{202e}\u{e0041}\u{1b}\n Zürich";
        let line = Object::new().with("x", text).with_value("y", &Value::from(text)).into_line();
        let line = String::from_utf8(line).unwrap();
        assert!(!line.chars().any(steers), "{line}");
        assert!(line.contains(r"\u009b2J\u007f\u202e\udb40\udc41") && line.contains("Zürich"), "{line}");
        let read: Json = serde_json::from_str(&line).unwrap();
        assert_eq!((&read["x"], &read["y"]["data"]), (&text.into(), &text.into()));
    }

    #[test]
    fn an_object_is_one_line_and_keeps_the_order_of_members() {
        let object = Object::new().with("z", json!(["a\nb"])).with_text("a", "{\r\n \"b\": 1.0\n}");
        let object =
            object.with_values("v", &[Value::None, Value::Count(1)]).with_value("c", &Value::Count(2));
        let expected = concat!(
            r#"{"z":["a\nb"],"a":{   "b": 1.0 },"v":[{"@data-type":"none","data":{}},"#,
            r#"{"@data-type":"count","data":1}],"c":{"@data-type":"count","data":2}}"#
        );
        assert_eq!(String::from_utf8(object.into_line()).unwrap(), expected);
        assert_eq!(Object::new().into_line(), b"{}");
    }
}
