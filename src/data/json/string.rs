//! The strings of JSON text, whose bytes need not be UTF-8.

use std::borrow::Cow;

use crate::data::find_byte;

/// Returns the position after the closing quote of a string whose content begins at `start`.
///
/// # Errors
/// Returns a description of the fault, and its position.
pub(super) fn end(text: &[u8], start: usize) -> Result<usize, (&'static str, usize)> {
    let mut at = start;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let Some(length) = find_byte(rest, |byte| matches!(byte, b'"' | b'\\')) else {
            return Err(("unexpected end in a string", text.len()));
        };
        at = at.saturating_add(length).saturating_add(1);
        let Some((b'\\', escaped)) = rest.get(length..).and_then(<[u8]>::split_first) else {
            return Ok(at);
        };
        let Some((_, length)) = escape(escaped) else {
            return Err(("invalid escape in a string", at.saturating_sub(1)));
        };
        at = at.saturating_add(length);
    }
}

/// Returns the bytes of a string, given the text between its quotes, which [`end`] has checked.
pub(super) fn unescape(mut text: &[u8]) -> Cow<'_, [u8]> {
    if find_byte(text, |byte| byte == b'\\').is_none() {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    while let Some(length) = find_byte(text, |byte| byte == b'\\') {
        let (plain, rest) = text.split_at_checked(length).unwrap_or((text, b""));
        bytes.extend_from_slice(plain);
        let escaped = rest.get(1..).unwrap_or_default();
        let (character, length) = escape(escaped).unwrap_or((char::REPLACEMENT_CHARACTER, 0));
        bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        text = escaped.get(length..).unwrap_or_default();
    }
    bytes.extend_from_slice(text);
    Cow::Owned(bytes)
}

/// Returns the character of an escape, given the text after the backslash, and the number of bytes that belong to it.
/// Returns `None` if the escape is invalid or incomplete.
fn escape(text: &[u8]) -> Option<(char, usize)> {
    let character = match text.first()? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        // Not JSON, but written by Broker.
        b'v' => '\u{b}',
        b'u' => return unicode(text),
        _ => return None,
    };
    Some((character, 1))
}

/// Reads `uXXXX`, or `uXXXX\uXXXX` if the first is the high half of a surrogate pair.
fn unicode(text: &[u8]) -> Option<(char, usize)> {
    let first = unit(text)?;
    let single = char::decode_utf16([first]).next()?;
    if let Ok(character) = single {
        return Some((character, 5));
    }
    let second = unit(text.get(5..)?.strip_prefix(b"\\")?)?;
    let pair = char::decode_utf16([first, second]).next()?;
    pair.ok().map(|character| (character, 11))
}

/// Reads `uXXXX`.
fn unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"u")?.get(..4)?;
    // `from_str_radix` would also accept a sign.
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the bytes of the string in `text`, which begins after the opening quote.
    fn read(text: &[u8]) -> Option<Vec<u8>> {
        let end = end(text, 0).ok()?;
        Some(unescape(&text[..end - 1]).into_owned())
    }

    #[test]
    fn strings_are_read_as_bytes() {
        for (text, bytes) in [
            (&b"\""[..], &b""[..]),
            (b"a\" b", b"a"),
            (br#"\"\\\/\b\f\n\r\t\v""#, b"\"\\/\x08\x0c\n\r\t\x0b"),
            (br#"\u0000\u00e9\uD83E\udd93""#, "\0é🦓".as_bytes()),
            (b"a\x00\x01\x1f\t\n\x7f\"", b"a\x00\x01\x1f\t\n\x7f"),
            (b"\xff\xfe\xc3\"", b"\xff\xfe\xc3"),
            (b"\\\\\xff\\\"\"", b"\\\xff\""),
        ] {
            assert_eq!(read(text).as_deref(), Some(bytes), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn invalid_escapes_and_missing_quotes_are_errors() {
        for (text, error) in [
            (&b""[..], ("unexpected end in a string", 0)),
            (b"ab", ("unexpected end in a string", 2)),
            (b"a\\\"", ("unexpected end in a string", 3)),
            (b"a\\", ("invalid escape in a string", 1)),
            (b"a\\x41\"", ("invalid escape in a string", 1)),
            (b"\\a\"", ("invalid escape in a string", 0)),
            (b"\\u00\"", ("invalid escape in a string", 0)),
            (b"\\u+0e9\"", ("invalid escape in a string", 0)),
            (b"\\ud800\"", ("invalid escape in a string", 0)),
            (b"\\ud800\\n\"", ("invalid escape in a string", 0)),
            (b"\\ud800\\ud800\"", ("invalid escape in a string", 0)),
            (b"\\udc00\\ud800\"", ("invalid escape in a string", 0)),
        ] {
            assert_eq!(end(text, 0), Err(error), "{}", text.escape_ascii());
        }
    }
}
