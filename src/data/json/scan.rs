//! Splits JSON text into nodes, without recursion. All nodes are in one vector.
//!
//! Accepts JSON (RFC 8259), and what Broker and Zeek write although it is not JSON:
//!
//! - in strings: bytes that are not UTF-8, and unescaped control characters;
//! - the escape `\v`;
//! - the numbers `inf`, `-inf`, `nan` and `-nan`.

use super::string;
use super::{JsonError, JsonLimits};

/// A value or the key of an object, and its position. The nodes of a text are in the order of the text, and a key comes
/// immediately before its value.
#[derive(Clone, Copy)]
pub(super) struct Node {
    /// The position of the first byte.
    pub(super) start: u32,
    /// The position after the last byte.
    pub(super) end: u32,
    /// The index of the first node that is neither this one nor part of it.
    pub(super) next: u32,
}

/// The maximum initial capacity for nodes, and the initial capacity for open brackets.
const NODES: usize = 256;
const BRACKETS: usize = 16;

/// Checks the syntax of the text and returns its nodes. The first one is the whole value.
pub(super) fn scan(text: &[u8], limits: &JsonLimits) -> Result<Vec<Node>, JsonError> {
    if u32::try_from(text.len()).is_err() {
        return Err(JsonError::syntax("the text is 4 GiB or longer", text, 0));
    }
    let nodes = Vec::with_capacity((text.len() / 8).min(NODES));
    let mut scanner = Scanner { text, at: 0, nodes, open: Vec::with_capacity(BRACKETS), limits };
    let mut expected = Expected::Value;
    while expected != Expected::End {
        expected = scanner.step(expected)?;
    }
    match scanner.peek() {
        None => Ok(scanner.nodes),
        Some(_) => Err(scanner.fail("expected the end of the text")),
    }
}

/// What the scanner expects next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Value,
    /// The first value of an array, or the end of the array.
    ValueOrEnd,
    Key,
    /// The first key of an object, or the end of the object.
    KeyOrEnd,
    Colon,
    /// A comma, or the end of the array or object.
    CommaOrEnd,
    /// The end of the text.
    End,
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    /// The arrays and objects that contain the current position: the index of their node, and their closing bracket.
    open: Vec<(usize, u8)>,
    limits: &'a JsonLimits,
}

impl Scanner<'_> {
    /// Consumes one token, and returns the tokens that can follow it.
    fn step(&mut self, expected: Expected) -> Result<Expected, JsonError> {
        use Expected::{Colon, CommaOrEnd, Key, KeyOrEnd, Value, ValueOrEnd};
        let Some(byte) = self.peek() else {
            return Err(self.fail(if self.nodes.is_empty() {
                "the text is empty"
            } else {
                "unexpected end"
            }));
        };
        match (expected, byte) {
            (ValueOrEnd, b']') => self.leave(),
            (KeyOrEnd, b'}') => self.leave(),
            (Value | ValueOrEnd, b'[') => self.enter(b']', ValueOrEnd),
            (Value | ValueOrEnd, b'{') => self.enter(b'}', KeyOrEnd),
            (Value | ValueOrEnd, _) => {
                let end = self.scalar(byte)?;
                self.leaf(end)?;
                Ok(self.after_value())
            }
            (Key | KeyOrEnd, b'"') => {
                let end = self.string()?;
                self.leaf(end)?;
                Ok(Colon)
            }
            (Key, _) => Err(self.fail("expected a key")),
            (KeyOrEnd, _) => Err(self.fail("expected a key or `}`")),
            (Colon, b':') => self.skip(Value),
            (Colon, _) => Err(self.fail("expected `:`")),
            (CommaOrEnd | Expected::End, _) => match (self.open.last(), byte) {
                (Some((_, close)), _) if *close == byte => self.leave(),
                (Some((_, b']')), b',') => self.skip(Value),
                (Some((_, b'}')), b',') => self.skip(Key),
                (Some((_, b']')), _) => Err(self.fail("expected `,` or `]`")),
                _ => Err(self.fail("expected `,` or `}`")),
            },
        }
    }

    /// Skips white space and returns the next byte.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at = self.at.saturating_add(1),
                byte => return byte.copied(),
            }
        }
    }

    /// Consumes one byte.
    fn skip(&mut self, next: Expected) -> Result<Expected, JsonError> {
        self.at = self.at.saturating_add(1);
        Ok(next)
    }

    /// Begins an array or object.
    fn enter(&mut self, close: u8, next: Expected) -> Result<Expected, JsonError> {
        if self.open.len() >= self.limits.max_brackets() {
            return Err(JsonError::TooDeep { limit: self.limits.depth() });
        }
        self.open.push((self.nodes.len(), close));
        self.leaf(self.at.saturating_add(1))?;
        Ok(next)
    }

    /// Ends the innermost array or object.
    fn leave(&mut self) -> Result<Expected, JsonError> {
        self.at = self.at.saturating_add(1);
        let next = position(self.nodes.len());
        if let Some(node) = self.open.pop().and_then(|(index, _)| self.nodes.get_mut(index)) {
            (node.end, node.next) = (position(self.at), next);
        }
        Ok(self.after_value())
    }

    fn after_value(&self) -> Expected {
        if self.open.is_empty() { Expected::End } else { Expected::CommaOrEnd }
    }

    /// Adds a node from the current position to `end`, and continues after it.
    fn leaf(&mut self, end: usize) -> Result<(), JsonError> {
        let next = self.nodes.len().saturating_add(1);
        if next > self.limits.max_nodes {
            return Err(JsonError::TooManyNodes { limit: self.limits.max_nodes });
        }
        self.nodes.push(Node { start: position(self.at), end: position(end), next: position(next) });
        self.at = end;
        Ok(())
    }

    /// Returns the position after a string, number or word.
    fn scalar(&self, first: u8) -> Result<usize, JsonError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = match first {
            b'"' => return self.string(),
            b'0'..=b'9' => number(rest),
            b'-' => word(rest).or_else(|| number(rest)),
            _ => word(rest),
        };
        match length {
            Some(length) => Ok(self.at.saturating_add(length)),
            None => Err(self.fail("expected a value")),
        }
    }

    /// Returns the position after a string.
    fn string(&self) -> Result<usize, JsonError> {
        string::end(self.text, self.at.saturating_add(1))
            .map_err(|(what, at)| JsonError::syntax(what, self.text, at))
    }

    fn fail(&self, what: &str) -> JsonError {
        JsonError::syntax(what, self.text, self.at)
    }
}

/// Converts a position in the text or the index of a node to `u32`. It fits, because the text is shorter than 4 GiB.
fn position(at: usize) -> u32 {
    at.try_into().unwrap_or(u32::MAX)
}

/// Returns the length of the word at the beginning of the text.
fn word(text: &[u8]) -> Option<usize> {
    let words: [&[u8]; 7] = [b"true", b"false", b"null", b"nan", b"-nan", b"inf", b"-inf"];
    words.into_iter().find(|word| text.starts_with(word)).map(<[u8]>::len)
}

/// Returns the length of the number at the beginning of the text.
fn number(text: &[u8]) -> Option<usize> {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let after = |length: usize| text.get(length..).unwrap_or_default();
    let mut length = usize::from(text.starts_with(b"-"));
    let whole = digits(after(length));
    // A number has no leading zeros.
    if whole == 0 || whole > 1 && after(length).starts_with(b"0") {
        return None;
    }
    length = length.checked_add(whole)?;
    if after(length).starts_with(b".") {
        length = length.checked_add(1)?;
        let fraction = digits(after(length));
        length = length.checked_add(fraction).filter(|_| fraction > 0)?;
    }
    if let [b'e' | b'E', rest @ ..] = after(length) {
        let sign = usize::from(matches!(rest, [b'+' | b'-', ..]));
        let exponent = digits(rest.get(sign..).unwrap_or_default());
        length = length.checked_add(1)?.checked_add(sign)?.checked_add(exponent).filter(|_| exponent > 0)?;
    }
    Some(length)
}
