//! Escapes characters that affect a terminal.

use std::io::Write;

pub(crate) use zeek_bridge::data::steers_terminal as steers;

/// Escapes characters in JSON that [affect a terminal](steers). JSON itself requires escapes only for ASCII control characters.
pub(crate) fn harmless(line: Vec<u8>) -> Vec<u8> {
    match escaped(&line, steers) {
        Some(harmless) => harmless,
        None => line,
    }
}

/// Replaces each character that `escape` selects by `\uXXXX`, which is valid in JSON and readable elsewhere. Returns `None` if
/// there is nothing to escape, or if the line is not UTF-8.
pub(crate) fn escaped(line: &[u8], escape: impl Fn(char) -> bool) -> Option<Vec<u8>> {
    if line.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return None;
    }
    let text = std::str::from_utf8(line).ok()?;
    if !text.chars().any(&escape) {
        return None;
    }
    let mut harmless = Vec::with_capacity(line.len());
    for letter in text.chars() {
        if escape(letter) {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                // Cannot fail: it writes to memory.
                let _ = write!(harmless, "\\u{unit:04x}");
            }
        } else {
            harmless.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Some(harmless)
}

/// Escapes characters in text from a peer that affect a terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::new();
    for letter in text.chars() {
        if steers(letter) { printable.extend(letter.escape_default()) } else { printable.push(letter) }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_affect_a_terminal_are_escaped() {
        assert_eq!(printable("a\u{1b}[2J\r\nb\u{9b}c"), r"a\u{1b}[2J\r\nb\u{9b}c");
        assert_eq!(printable("\u{202e}gpj.exe\u{2028}\u{200b}"), r"\u{202e}gpj.exe\u{2028}\u{200b}");
        assert_eq!(printable("Zürich 東京 \u{1f980}"), "Zürich 東京 \u{1f980}");
    }
}
