//! Characters that must not be printed to a terminal.

/// Returns whether a character changes how a terminal shows text. Such characters are control characters, line breaks,
/// changes of the text direction, and invisible characters. Before you print text that a peer has sent, escape them.
#[must_use]
pub fn steers_terminal(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Shortens text that a peer has sent to one line that is safe to log: at most 256 characters and an ellipsis. Characters that
/// [change how a terminal shows text](steers_terminal) are replaced with U+FFFD.
pub(crate) fn one_line(text: &str) -> String {
    const ENOUGH: usize = 256;
    let mut line: String = text
        .chars()
        .take(ENOUGH)
        .map(|c| if steers_terminal(c) { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if text.chars().nth(ENOUGH).is_some() {
        line.push('…');
    }
    line
}

/// Returns the beginning of text that a peer has sent, at most 128 characters, for a field of a log line.
///
/// Pass it to the log as a string, without `%`, so that it is quoted and escaped there.
pub(crate) fn excerpt(text: &str) -> &str {
    let end = text.char_indices().nth(128).map_or(text.len(), |(end, _)| end);
    text.get(..end).unwrap_or_default()
}

/// Returns a JSON text in which each selected character is written as `\uXXXX`. JSON allows this escape only in
/// strings, and characters outside of ASCII occur only in strings. Returns `None` if there is nothing to escape, or if
/// the text is not UTF-8.
///
/// If [`steers_terminal`] selects the characters, the text can be printed to a terminal. JSON itself requires escapes
/// only for the control characters of ASCII.
#[must_use]
pub fn escape_json(text: &[u8], escape: impl Fn(char) -> bool) -> Option<Vec<u8>> {
    if text.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    if !text.chars().any(&escape) {
        return None;
    }
    let mut escaped = Vec::with_capacity(text.len());
    for letter in text.chars() {
        if escape(letter) {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                escaped.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            }
        } else {
            escaped.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Some(escaped)
}

#[cfg(all(test, feature = "net"))]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_has_at_most_128_characters() {
        for (count, expected) in [(0, 0), (127, 127), (128, 128), (129, 128), (100_000, 128)] {
            assert_eq!(excerpt(&"\u{e4}".repeat(count)), "\u{e4}".repeat(expected));
        }
    }
}
