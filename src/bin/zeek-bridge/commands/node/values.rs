//! The variables that a node answers for, from a file.

use std::collections::HashSet;
use std::fmt::Display;
use std::io::Read;
use std::path::Path;

use zeek_bridge::management::Values;

use crate::input;
use crate::output::Failure;

/// Reads a JSON object from identifiers to values.
pub(super) fn read(file: &Path) -> Result<Values, Failure> {
    let name = file.display();
    let failed = |error: &dyn Display| Failure::failed(format!("{name}: {error}"));
    let mut bytes = Vec::new();
    input::open_file(file)?
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::failed(format!("cannot read {name}: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to().saturating_add(1);
        failed(&format_args!("byte {at} is not UTF-8; save the file as UTF-8 text"))
    })?;
    // The mark that some editors put in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let values = Values::from_json_text(text).map_err(|error| failed(&error))?;
    match repeated(text) {
        None => Ok(values),
        Some(key) => Err(failed(&format_args!("{key:?} stands there more than once; leave one of them"))),
    }
}

/// A key of a JSON object that is not its only one of the name. The text is known to be such an object.
fn repeated(text: &str) -> Option<String> {
    let mut seen = HashSet::new();
    let (mut depth, mut start, mut rest) = (0usize, true, text.as_bytes());
    while let [first, behind @ ..] = rest {
        rest = behind;
        match first {
            b'{' | b'[' => depth = depth.saturating_add(1),
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 1 => start = true,
            b'"' => {
                let mut escaped = false;
                let end = behind.iter().position(|byte| {
                    let end = *byte == b'"' && !escaped;
                    escaped = *byte == b'\\' && !escaped;
                    end
                })?;
                let (string, behind) = behind.split_at_checked(end)?;
                rest = behind.get(1..)?;
                if depth == 1 && std::mem::take(&mut start) {
                    // Two spellings of a name are the same name.
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
    fn a_key_that_stands_twice_is_found_and_no_other() {
        for (text, key) in [
            (r#"{"a": 1, "b": {"x": 1, "x": "a"}, "c": ["b", "b"]}"#, None),
            (r#"{}"#, None),
            (r#"{"a": "a", "b": "\"a\": 1, \\", "": [{"a": 2}]}"#, None),
            (r#" {"a": {"b": [1, {}]}, "b":"}", "a" : 2}"#, Some("a")),
            (r#"{"ab": 1, "\u0061b": 2}"#, Some("ab")),
            (r#"{"\\": 1, "\"": 2, "\\": 3}"#, Some("\\")),
        ] {
            assert!(Values::from_json_text(text).is_ok(), "{text}");
            assert_eq!(repeated(text).as_deref(), key, "{text}");
        }
    }
}
