//! JSON text that has been split into nodes.

use std::borrow::Cow;
use std::fmt;

use super::scan::{self, Node};
use super::source::{Source, quoted, shortened};
use super::{JsonError, JsonLimits, Value, read, string};

/// JSON text from a peer, of which only the syntax has been checked.
///
/// The nodes of a document refer to its text. Only strings with escapes are copied, when they are read. A document needs
/// 12 bytes of memory for each node. The text may contain what Broker and Zeek write although it is not JSON: `\v`,
/// control characters and bytes that are not UTF-8 in strings, and the numbers `inf`, `-inf`, `nan` and `-nan`.
///
/// ```
/// use zeek_bridge::data::{JsonDocument, JsonLimits, Value};
///
/// let text = b"{\"topic\":\"/t\",\"@data-type\":\"string\",\"data\":\"\xff\"}";
/// let document = JsonDocument::parse(text, &JsonLimits::DEFAULT)?;
/// assert_eq!(document.root().get("topic").and_then(|topic| topic.as_bytes()).as_deref(), Some(&b"/t"[..]));
/// assert_eq!(document.root().to_value()?, Value::String(b"\xff"[..].into()));
/// # Ok::<(), zeek_bridge::data::JsonError>(())
/// ```
pub struct JsonDocument<'a> {
    text: &'a [u8],
    nodes: Vec<Node>,
    limits: JsonLimits,
}

impl<'a> JsonDocument<'a> {
    /// Checks the syntax of the text. It must contain exactly one JSON value. White space around it is allowed.
    ///
    /// # Errors
    /// Fails with [`JsonError::Syntax`], [`JsonError::TooDeep`] or [`JsonError::TooManyNodes`].
    pub fn parse(text: &'a [u8], limits: &JsonLimits) -> Result<Self, JsonError> {
        Ok(JsonDocument { text, nodes: scan::scan(text, limits)?, limits: *limits })
    }

    /// Returns the JSON value.
    #[must_use]
    pub fn root(&self) -> JsonNode<'_> {
        JsonNode { document: self, index: 0 }
    }
}

impl fmt::Debug for JsonDocument<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonDocument")
            .field("bytes", &self.text.len())
            .field("nodes", &self.nodes.len())
            .finish()
    }
}

/// A JSON value in a [`JsonDocument`].
#[derive(Clone, Copy)]
pub struct JsonNode<'a> {
    document: &'a JsonDocument<'a>,
    index: usize,
}

/// The type of a JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonKind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A number, including `inf` and `nan`.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl<'a> JsonNode<'a> {
    /// Returns the type of the value.
    #[must_use]
    pub fn kind(self) -> JsonKind {
        match self.text() {
            [b'{', ..] => JsonKind::Object,
            [b'[', ..] => JsonKind::Array,
            [b'"', ..] => JsonKind::String,
            [b't' | b'f', ..] => JsonKind::Boolean,
            b"null" => JsonKind::Null,
            _ => JsonKind::Number,
        }
    }

    /// Returns the text of the value, as it was received.
    #[must_use]
    pub fn text(self) -> &'a [u8] {
        let node = self.node();
        self.document.text.get(size(node.start)..size(node.end)).unwrap_or_default()
    }

    /// Returns the member of an object with this name. If there are several, returns the first one, as Broker does.
    #[must_use]
    pub fn get(self, name: &str) -> Option<JsonNode<'a>> {
        let mut members = self.members()?.0;
        while let (Some(key), Some(value)) = (members.next(), members.next()) {
            if key.is_string(name.as_bytes()) {
                return Some(value);
            }
        }
        None
    }

    /// Returns the members of an object, or `None` for other types.
    #[must_use]
    pub fn members(self) -> Option<JsonMembers<'a>> {
        (self.kind() == JsonKind::Object).then(|| JsonMembers(self.content()))
    }

    /// Returns the elements of an array, or `None` for other types.
    #[must_use]
    pub fn elements(self) -> Option<JsonElements<'a>> {
        (self.kind() == JsonKind::Array).then(|| self.content())
    }

    /// Returns the bytes of a string, or `None` for other types. The bytes need not be UTF-8.
    #[must_use]
    pub fn as_bytes(self) -> Option<Cow<'a, [u8]>> {
        let content = self.text().strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        Some(string::unescape(content))
    }

    /// Returns a boolean, or `None` for other types.
    #[must_use]
    pub fn as_bool(self) -> Option<bool> {
        match self.text() {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }

    /// Returns a number from 0 to 2^64 - 1 without fraction and exponent, or `None` for other numbers and types.
    #[must_use]
    pub fn as_u64(self) -> Option<u64> {
        match self.text() {
            b"-0" => Some(0),
            text => parsed(text),
        }
    }

    /// Returns a number from -2^63 to 2^63 - 1 without fraction and exponent, or `None` for other numbers and types.
    #[must_use]
    pub fn as_i64(self) -> Option<i64> {
        parsed(self.text())
    }

    /// Returns a number, or `None` for other types. A number that is too large for a double is infinity.
    #[must_use]
    pub fn as_f64(self) -> Option<f64> {
        if self.kind() == JsonKind::Number { parsed(self.text()) } else { None }
    }

    /// Converts the JSON of a value, as [`Value::from_json_text`] does.
    ///
    /// # Errors
    /// Fails with [`JsonError::TooDeep`] or [`JsonError::WrongType`].
    pub fn to_value(self) -> Result<Value, JsonError> {
        read::value(self, read::Rules::new(self.document.limits.depth()))
    }

    /// Like [`JsonNode::to_value`], but also accepts strings, booleans and null without `@data-type`, as strings, booleans
    /// and none. A number still needs a `@data-type`, because it may be a count, an integer or a real.
    ///
    /// # Errors
    /// Fails with [`JsonError::TooDeep`] or [`JsonError::WrongType`].
    pub fn to_inferred_value(self) -> Result<Value, JsonError> {
        read::value(self, read::Rules::new(self.document.limits.depth()).with_inference())
    }

    /// Returns whether this is a string with these bytes.
    fn is_string(self, bytes: &[u8]) -> bool {
        let content = self.text().strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\""));
        // Compare the text first: nearly all strings have no escapes, so that an equal one needs no search for them.
        content.is_some_and(|content| content == bytes || *string::unescape(content) == *bytes)
    }

    fn node(self) -> Node {
        let nothing = Node { start: 0, end: 0, next: u32::MAX };
        self.document.nodes.get(self.index).copied().unwrap_or(nothing)
    }

    /// Returns the direct children: the elements of an array, or alternately the keys and values of an object.
    fn content(self) -> JsonElements<'a> {
        let next = JsonNode { index: self.index.saturating_add(1), ..self };
        JsonElements { next, end: size(self.node().next) }
    }
}

impl fmt::Debug for JsonNode<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description())
    }
}

/// The elements of an array. See [`JsonNode::elements`].
#[derive(Clone, Debug)]
pub struct JsonElements<'a> {
    next: JsonNode<'a>,
    end: usize,
}

impl<'a> Iterator for JsonElements<'a> {
    type Item = JsonNode<'a>;

    fn next(&mut self) -> Option<JsonNode<'a>> {
        let node = self.next;
        if node.index >= self.end {
            return None;
        }
        self.next.index = size(node.node().next);
        Some(node)
    }
}

/// The members of an object, in the order of the text. See [`JsonNode::members`].
#[derive(Clone, Debug)]
pub struct JsonMembers<'a>(JsonElements<'a>);

impl<'a> Iterator for JsonMembers<'a> {
    type Item = (Cow<'a, [u8]>, JsonNode<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.0.next()?;
        Some((key.as_bytes()?, self.0.next()?))
    }
}

impl<'a> Source<'a> for JsonNode<'a> {
    fn is_object(self) -> bool {
        self.members().is_some()
    }

    fn is_null(self) -> bool {
        self.text() == b"null"
    }

    fn member(self, name: &str) -> Option<Self> {
        self.get(name)
    }

    fn is_empty_object(self) -> bool {
        self.members().is_some_and(|mut members| members.next().is_none())
    }

    fn elements(self) -> Option<impl Iterator<Item = Self>> {
        JsonNode::elements(self)
    }

    fn string(self) -> Option<Cow<'a, [u8]>> {
        self.as_bytes()
    }

    fn boolean(self) -> Option<bool> {
        self.as_bool()
    }

    fn unsigned(self) -> Option<u64> {
        self.as_u64()
    }

    fn signed(self) -> Option<i64> {
        self.as_i64()
    }

    fn real(self) -> Option<f64> {
        self.as_f64()
    }

    fn description(self) -> String {
        match (self.text(), self.as_bytes()) {
            ([b'[', ..], _) => "an array".to_owned(),
            ([b'{', ..], _) => "an object".to_owned(),
            (_, Some(bytes)) => quoted(&String::from_utf8_lossy(&bytes)),
            (number, None) => shortened(&String::from_utf8_lossy(number), str::to_owned),
        }
    }
}

/// Converts a position or an index to `usize`. It fits, because it is at most the length of a text in memory.
fn size(position: u32) -> usize {
    position.try_into().unwrap_or(usize::MAX)
}

fn parsed<T: std::str::FromStr>(number: &[u8]) -> Option<T> {
    std::str::from_utf8(number).ok()?.parse().ok()
}
