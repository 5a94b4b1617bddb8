//! Escapes characters that affect a terminal.

use zeek_bridge::data::escape_json as escaped;
pub(crate) use zeek_bridge::data::steers_terminal as steers;

/// Escapes characters in JSON that [affect a terminal](steers). JSON itself requires escapes only for ASCII control characters.
pub(crate) fn harmless(line: Vec<u8>) -> Vec<u8> {
    match escaped(&line, steers) {
        Some(harmless) => harmless,
        None => line,
    }
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
