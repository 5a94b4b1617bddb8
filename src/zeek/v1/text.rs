//! Strings and reals as v1 JSON, in the variants for servers and clients.

use bytes::{BufMut, BytesMut};

use super::dialect::{BinaryText, Dialect};
use crate::data::find_byte;
use crate::wire::EncodeError;

/// Records the strings that are not UTF-8 while a message is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text {
    /// Whether such a string was written unchanged. In this case, the message is not UTF-8, and must not be sent in a text frame.
    pub(crate) is_binary: bool,
    /// The number of strings that were written in a changed form.
    pub(crate) altered: usize,
}

/// Appends a string in quotes. Records in `text` if the string is not UTF-8.
///
/// An escaped byte has up to six bytes. If the string extends beyond the position `max` for this reason, it is incomplete, and
/// the caller must remove it.
pub(crate) fn put_string(
    bytes: &[u8],
    max: usize,
    dialect: Dialect,
    out: &mut BytesMut,
    text: &mut Text,
) -> Result<(), EncodeError> {
    out.put_u8(b'"');
    if std::str::from_utf8(bytes).is_ok() {
        put_escaped(bytes, max, out);
    } else {
        match dialect {
            Dialect::Client => {
                put_escaped(bytes, max, out);
                text.is_binary = true;
            }
            Dialect::Server(BinaryText::Drop) => {
                return Err(EncodeError::NotCarried { what: "a string that is not UTF-8" });
            }
            Dialect::Server(form) => {
                put_altered(bytes, max, form, out);
                text.altered = text.altered.saturating_add(1);
            }
        }
    }
    out.put_u8(b'"');
    Ok(())
}

/// Appends a string that is not UTF-8 in the form for clients.
fn put_altered(bytes: &[u8], max: usize, form: BinaryText, out: &mut BytesMut) {
    for chunk in bytes.utf8_chunks() {
        if out.len() > max {
            return;
        }
        put_escaped(chunk.valid().as_bytes(), max, out);
        if form == BinaryText::Escape {
            for byte in chunk.invalid() {
                // The backslash is part of the string, so JSON escapes it.
                out.put_slice(br"\\x");
                put_hex(*byte, out);
            }
        } else if !chunk.invalid().is_empty() {
            out.put_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Appends the content of a string, with JSON's escapes. Stops before an escape beyond the position `max`.
fn put_escaped(mut bytes: &[u8], max: usize, out: &mut BytesMut) {
    while let Some(at) = find_byte(bytes, |byte| matches!(byte, b'"' | b'\\' | ..b' ')) {
        if out.len() > max {
            return;
        }
        let (plain, rest) = bytes.split_at_checked(at).unwrap_or_default();
        out.put_slice(plain);
        let Some((byte, rest)) = rest.split_first() else { return };
        match byte {
            b'"' => out.put_slice(br#"\""#),
            b'\\' => out.put_slice(br"\\"),
            b'\n' => out.put_slice(br"\n"),
            b'\r' => out.put_slice(br"\r"),
            b'\t' => out.put_slice(br"\t"),
            0x08 => out.put_slice(br"\b"),
            0x0c => out.put_slice(br"\f"),
            control => {
                out.put_slice(br"\u00");
                put_hex(*control, out);
            }
        }
        bytes = rest;
    }
    out.put_slice(bytes);
}

fn put_hex(byte: u8, out: &mut BytesMut) {
    let digit = |nibble: u8| {
        char::from_digit(nibble.into(), 16).map_or(b'0', |digit| u8::try_from(digit).unwrap_or(b'0'))
    };
    out.put_slice(&[digit(byte >> 4), digit(byte & 0x0f)]);
}

/// Appends a real. For a server, writes infinity as `1e400`, and NaN as `nan`, which is not valid JSON. For a client, writes
/// strings instead.
pub(crate) fn put_real(real: f64, dialect: Dialect, out: &mut BytesMut) {
    let text = match (dialect, real) {
        (Dialect::Client, f64::INFINITY) => "1e400",
        (Dialect::Client, f64::NEG_INFINITY) => "-1e400",
        (Dialect::Client, real) if real.is_nan() => "nan",
        (_, f64::INFINITY) => r#""inf""#,
        (_, f64::NEG_INFINITY) => r#""-inf""#,
        (_, real) if real.is_nan() => r#""nan""#,
        (_, real) => {
            // Writing to memory does not fail.
            let written = serde_json::to_writer(out.writer(), &real);
            debug_assert!(written.is_ok(), "writing to memory does not fail");
            return;
        }
    };
    out.put_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO_CLIENTS: [BinaryText; 3] = [BinaryText::Escape, BinaryText::Replace, BinaryText::Drop];

    fn string(bytes: &[u8], dialect: Dialect) -> Result<(Vec<u8>, Text), EncodeError> {
        let (mut out, mut text) = (BytesMut::new(), Text::default());
        put_string(bytes, usize::MAX, dialect, &mut out, &mut text)?;
        Ok((out.to_vec(), text))
    }

    #[test]
    fn text_is_written_as_serde_json_writes_it() {
        let all: String = (0..0x3000).filter_map(char::from_u32).collect();
        for text in ["", "plain", "\u{b}\u{1}\u{7f}\"\\/\n", &all] {
            let expected = serde_json::to_vec(text).unwrap();
            for dialect in TO_CLIENTS.map(Dialect::Server).into_iter().chain([Dialect::Client]) {
                assert_eq!(
                    string(text.as_bytes(), dialect),
                    Ok((expected.clone(), Text::default())),
                    "{text:?}"
                );
            }
        }
    }

    #[test]
    fn strings_that_are_not_utf8_have_a_form_for_each_setting() {
        let bytes = b"a\\\xff\xc3\xa4\xe2\x82\n";
        let altered = |text: &str| Ok((text.as_bytes().to_vec(), Text { is_binary: false, altered: 1 }));
        let [escape, replace, drop] = TO_CLIENTS.map(|form| string(bytes, Dialect::Server(form)));
        assert_eq!(escape, altered("\"a\\\\\\\\xff\u{e4}\\\\xe2\\\\x82\\n\""));
        assert_eq!(replace, altered("\"a\\\\\u{fffd}\u{e4}\u{fffd}\\n\""));
        assert_eq!(drop, Err(EncodeError::NotCarried { what: "a string that is not UTF-8" }));
        let raw = b"\"a\\\\\xff\xc3\xa4\xe2\x82\\n\"".to_vec();
        assert_eq!(string(bytes, Dialect::Client), Ok((raw, Text { is_binary: true, altered: 0 })));
    }

    #[test]
    fn escapes_stop_at_the_limit() {
        for bytes in [&[1; 100_000][..], &[b'"'; 100_000], &[0xff; 100_000], &b"\xff\x01".repeat(50_000)] {
            for dialect in TO_CLIENTS.map(Dialect::Server).into_iter().chain([Dialect::Client]) {
                let mut out = BytesMut::new();
                if put_string(bytes, 1000, dialect, &mut out, &mut Text::default()).is_err() {
                    assert_eq!(dialect, Dialect::Server(BinaryText::Drop));
                } else if dialect == Dialect::Client && bytes == [0xff; 100_000] {
                    assert_eq!(out.len(), bytes.len() + 2, "nothing is escaped");
                } else {
                    assert!((1001..1030).contains(&out.len()), "{} bytes", out.len());
                }
            }
        }
    }

    #[test]
    fn reals_that_are_not_finite_have_a_form_for_each_side() {
        let real = |real, dialect| {
            let mut out = BytesMut::new();
            put_real(real, dialect, &mut out);
            String::from_utf8(out.to_vec()).unwrap()
        };
        let server = Dialect::Server(BinaryText::Escape);
        for (number, to_client, to_server) in [
            (f64::INFINITY, "\"inf\"", "1e400"),
            (f64::NEG_INFINITY, "\"-inf\"", "-1e400"),
            (f64::NAN, "\"nan\"", "nan"),
            (7.0, "7.0", "7.0"),
            (-0.5, "-0.5", "-0.5"),
            (1e300, "1e+300", "1e+300"),
        ] {
            assert_eq!(
                (real(number, server), real(number, Dialect::Client)),
                (to_client.into(), to_server.into())
            );
        }
    }
}
