//! JSON documents, one per line.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Value as Json, json};
use zeek_bridge::net::tls::PeerIdentity;

use super::escape::harmless;

/// Serializes a document to one line, with escapes for characters that affect a terminal.
pub(crate) fn to_line(document: &impl Serialize) -> Vec<u8> {
    harmless(to_json(document))
}

/// Returns the line of an object with a member, and the members that `write_members` appends as JSON on one line, if any. The
/// library writes only members of frames, so that the caller can add its own in the same object.
pub(crate) fn to_line_with(
    name: &'static str,
    value: impl Serialize,
    write_members: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let mut line = to_json(&BTreeMap::from([(name, value)]));
    // Replace the closing brace.
    line.pop();
    line.push(b',');
    let start = line.len();
    write_members(&mut line);
    if line.len() == start {
        // There is no other member after the comma.
        line.pop();
    }
    line.push(b'}');
    harmless(line)
}

fn to_json(document: &impl Serialize) -> Vec<u8> {
    // Cannot fail: it writes to memory, and all keys are strings.
    serde_json::to_vec(document).unwrap_or_default()
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
    use zeek_bridge::data::Value;

    use super::super::escape::steers;
    use super::*;

    #[test]
    fn escaped_json_is_equal_and_does_not_affect_a_terminal() {
        let text = "a\u{9b}2J\u{7f}\u{202e}\u{e0041}\u{1b}\n Zürich";
        let value = json!({"x": text, "y": Value::from(text)});
        let line = String::from_utf8(to_line(&value)).unwrap();
        assert!(!line.chars().any(steers), "{line}");
        assert!(line.contains(r"\u009b2J\u007f\u202e\udb40\udc41") && line.contains("Zürich"), "{line}");
        assert_eq!(serde_json::from_str::<Json>(&line).unwrap(), value);
        let with = to_line_with("x", text, |to| to.extend_from_slice("\"y\":\"\u{9b}\"".as_bytes()));
        assert!(String::from_utf8(with).unwrap().ends_with(r#" Zürich","y":"\u009b"}"#));
        assert_eq!(to_line_with("x", 1, |_| {}), br#"{"x":1}"#);
    }
}
