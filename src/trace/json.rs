//! The members of JSON objects, in a fixed order and on one line.

use serde_json::Value as Json;

/// Appends a member. Before it, appends a comma if it is not the first member.
pub(super) fn put_member(to: &mut Vec<u8>, name: &str, value: impl Into<Json>) {
    put_name(to, name);
    to.extend_from_slice(value.into().to_string().as_bytes());
}

/// Appends the name of a member; its value must be appended next.
pub(super) fn put_name(to: &mut Vec<u8>, name: &str) {
    if !matches!(to.last(), None | Some(b'{' | b',')) {
        to.push(b',');
    }
    to.push(b'"');
    to.extend_from_slice(name.as_bytes());
    to.extend_from_slice(b"\":");
}
