//! Escapes characters that affect a terminal.

pub(super) use zeek_bridge::data::escape_json as escaped;
pub(crate) use zeek_bridge::data::steers_terminal as steers;

/// The same JSON, with escapes in the place of what [steers](steers) a terminal. JSON itself only asks for those of
/// control characters in ASCII.
pub(crate) fn harmless(line: Vec<u8>) -> Vec<u8> {
    match escaped(&line, steers) {
        Some(harmless) => harmless,
        None => line,
    }
}

/// What peers say of themselves does not steer the terminal.
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
    fn what_steers_a_terminal_is_not_printed_as_it_is() {
        assert_eq!(printable("a\u{1b}[2J\r\nb\u{9b}c"), r"a\u{1b}[2J\r\nb\u{9b}c");
        assert_eq!(printable("\u{202e}gpj.exe\u{2028}\u{200b}"), r"\u{202e}gpj.exe\u{2028}\u{200b}");
        assert_eq!(printable("Zürich 東京 \u{1f980}"), "Zürich 東京 \u{1f980}");
    }
}
