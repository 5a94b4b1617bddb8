//! Reads the variables that a node answers with from a file.

use std::collections::HashSet;
use std::fmt::Display;
use std::io::Read;
use std::path::Path;

use zeek_bridge::management::Values;

use crate::input;
use crate::output::Failure;

/// The maximum size of the file in bytes. The values are kept in memory, and a device such as /dev/zero has no end.
const MAX_SIZE: u64 = 64 * 1024 * 1024;

/// Reads a JSON object from identifiers to values. May block: the file may be a pipe without a writer.
pub(super) fn read(file: &Path) -> Result<Values, Failure> {
    let name = file.display();
    let failed = |error: &dyn Display| Failure::failed(format!("{name}: {error}"));
    let mut bytes = Vec::new();
    let length = input::open_file(file)?
        .take(MAX_SIZE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::failed(format!("cannot read {name}: {error}")))?;
    if !u64::try_from(length).is_ok_and(|length| length <= MAX_SIZE) {
        return Err(failed(&format_args!(
            "the file is larger than {MAX_SIZE} bytes; check that it is the right file"
        )));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to().saturating_add(1);
        failed(&format_args!("byte {at} is not UTF-8; save the file as UTF-8 text"))
    })?;
    // The byte order mark that some editors write.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let values = Values::from_json_text(text).map_err(|error| failed(&error))?;
    match duplicate_key(text) {
        None => Ok(values),
        Some(key) => Err(failed(&format_args!("the key {key:?} occurs more than once; remove all but one"))),
    }
}

/// Returns a key that occurs more than once in a JSON object. The text must be a valid JSON object; nested objects are not
/// searched. A scan is needed because parsers keep only one value per key.
fn duplicate_key(text: &str) -> Option<String> {
    let mut seen = HashSet::new();
    let (mut depth, mut start, mut rest) = (0usize, true, text.as_bytes());
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'{' | b'[' => depth = depth.saturating_add(1),
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 1 => start = true,
            b'"' => {
                let mut escaped = false;
                let end = after.iter().position(|byte| {
                    let end = *byte == b'"' && !escaped;
                    escaped = *byte == b'\\' && !escaped;
                    end
                })?;
                let (string, after) = after.split_at_checked(end)?;
                rest = after.get(1..)?;
                if depth == 1 && std::mem::take(&mut start) {
                    // Unescaped, as the same key can be written in several ways.
                    let quoted = [b"\"", string, b"\""].concat();
                    let key: String = serde_json::from_slice(&quoted).ok()?;
                    if !seen.insert(key.clone()) {
                        return Some(key);
                    }
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_duplicate_key_of_the_object_itself_is_found() {
        for (text, key) in [
            (r#"{"a": 1, "b": {"x": 1, "x": "a"}, "c": ["b", "b"]}"#, None),
            (r#"{}"#, None),
            (r#"{"a": "a", "b": "\"a\": 1, \\", "": [{"a": 2}]}"#, None),
            (r#" {"a": {"b": [1, {}]}, "b":"}", "a" : 2}"#, Some("a")),
            (r#"{"ab": 1, "\u0061b": 2}"#, Some("ab")),
            (r#"{"\\": 1, "\"": 2, "\\": 3}"#, Some("\\")),
        ] {
            assert!(Values::from_json_text(text).is_ok(), "{text}");
            assert_eq!(duplicate_key(text).as_deref(), key, "{text}");
        }
    }
}
