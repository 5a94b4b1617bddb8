//! Data on stdout, one JSON document a line.

use std::io::{self, BufWriter, StdoutLock, Write};

use data_encoding::HEXLOWER;
use serde_json::{Value as Json, json};
use zeek_bridge::data::Value;
use zeek_bridge::net::tls::PeerIdentity;

use crate::exit::Failure;

/// A JSON object whose members stand in the order in which they were added.
#[derive(Debug)]
pub(crate) struct Object(Vec<u8>);

impl Object {
    pub(crate) fn new() -> Self {
        Object(Vec::new())
    }

    /// Adds a member. The name is written as it is.
    #[must_use]
    pub(crate) fn with(self, name: &'static str, value: impl Into<Json>) -> Self {
        self.with_text(name, &value.into().to_string())
    }

    /// Adds a member whose value is a JSON text already.
    #[must_use]
    pub(crate) fn with_text(mut self, name: &'static str, value: &str) -> Self {
        self.name(name);
        // Line breaks can only stand between the tokens of a JSON text.
        self.0.extend(value.bytes().map(|byte| if byte == b'\n' || byte == b'\r' { b' ' } else { byte }));
        self
    }

    /// Adds a member whose value is a JSON text on one line.
    #[must_use]
    pub(crate) fn with_bytes(mut self, name: &'static str, value: &[u8]) -> Self {
        self.name(name);
        self.0.extend_from_slice(value);
        self
    }

    /// Adds a member with a value in Broker's shape.
    #[must_use]
    pub(crate) fn with_value(mut self, name: &'static str, value: &Value) -> Self {
        self.name(name);
        write_value(value, &mut self.0);
        self
    }

    /// Adds a member with an array of such values.
    #[must_use]
    pub(crate) fn with_values(mut self, name: &'static str, values: &[Value]) -> Self {
        self.name(name);
        self.0.push(b'[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.0.push(b',');
            }
            write_value(value, &mut self.0);
        }
        self.0.push(b']');
        self
    }

    fn name(&mut self, name: &'static str) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    pub(crate) fn into_line(mut self) -> Vec<u8> {
        if self.0.is_empty() {
            self.0.push(b'{');
        }
        self.0.push(b'}');
        self.0
    }
}

/// To memory, which does not fail.
fn write_value(value: &Value, to: &mut Vec<u8>) {
    let _ = value.write_json(to);
}

/// Bytes that are text by custom: text, or `{"hex": ..}` where they are not.
pub(crate) fn text(bytes: &[u8]) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({"hex": HEXLOWER.encode(bytes)}),
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

/// Whether a letter does something to a terminal other than to stand there: it controls it, turns the direction of what
/// is around it, breaks the line, or cannot be seen at all.
pub(crate) fn steers(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Who a peer is by its certificate.
pub(crate) fn identity_json(identity: &PeerIdentity) -> Json {
    let sans: Json = identity.sans.iter().map(ToString::to_string).collect();
    json!({"subject": identity.subject, "sans": sans, "sha256": identity.sha256_hex()})
}

/// Stdout for a command that does nothing else meanwhile.
pub(crate) struct Output(BufWriter<StdoutLock<'static>>);

impl Output {
    pub(crate) fn new() -> Self {
        Output(BufWriter::new(io::stdout().lock()))
    }

    pub(crate) fn line(&mut self, line: &[u8]) -> Result<(), Failure> {
        self.0.write_all(line).and_then(|()| self.0.write_all(b"\n")).map_err(|e| failure(&e))
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush().map_err(|e| failure(&e))
    }
}

/// Why stdout could not be written to.
pub(crate) fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::StdoutClosed,
        _ => Failure::failed(format!("cannot write to stdout: {error}")),
    }
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

    #[test]
    fn an_object_is_one_line_in_the_order_given() {
        let object = Object::new().with("z", json!(["a\nb"])).with_text("a", "{\r\n \"b\": 1.0\n}");
        let object =
            object.with_values("v", &[Value::None, Value::Count(1)]).with_value("c", &Value::Count(2));
        let expected = concat!(
            r#"{"z":["a\nb"],"a":{   "b": 1.0 },"v":[{"@data-type":"none","data":{}},"#,
            r#"{"@data-type":"count","data":1}],"c":{"@data-type":"count","data":2}}"#
        );
        assert_eq!(String::from_utf8(object.into_line()).unwrap(), expected);
        assert_eq!(Object::new().into_line(), b"{}");
    }
}
