//! Values as JSON, in the format of Broker's WebSocket API, extended where that format loses information.

mod document;
mod read;
mod scan;
#[cfg(feature = "serde")]
mod serde;
mod source;
mod string;
#[cfg(test)]
mod tests;
mod write;

pub use document::{JsonDocument, JsonElements, JsonKind, JsonMembers, JsonNode};
pub(crate) use write::AsJson;

use serde_json::{Deserializer, Value as Json};

use super::{MAX_DEPTH, Value, WrongType};

/// Text that is not JSON, or JSON that is not a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The text is not JSON.
    #[error("not JSON: {message}")]
    Syntax {
        /// What is wrong, with line and column.
        message: String,
        /// The position in the text, in bytes.
        offset: usize,
    },
    /// Sets, tables and vectors are nested deeper than the limit, or the text has more nested brackets than a value of
    /// this depth needs.
    #[error("nested too deep: sets, tables and vectors may be nested at most {limit} deep")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// The text contains more JSON values and keys than the limit.
    #[error("too many elements: a text may contain at most {limit} JSON values and keys")]
    TooManyNodes {
        /// The limit.
        limit: usize,
    },
    /// The JSON does not have the structure of a value. Contains the location, what was expected, and what was found.
    #[error(transparent)]
    WrongType(#[from] WrongType),
}

impl JsonError {
    /// Returns a syntax error at a position in the text.
    fn syntax(what: &str, text: &[u8], offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1);
        let in_line = before.iter().rev().take_while(|byte| **byte != b'\n').count();
        let message = format!("{what} at line {line} column {}", in_line.saturating_add(1));
        JsonError::Syntax { message, offset }
    }
}

/// Limits on JSON text that is read. The length of the text is limited by its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonLimits {
    /// Maximum nesting depth of sets, tables and vectors, at most [`MAX_DEPTH`]. Objects that only contain a type, or
    /// the pair of a table, do not count.
    pub max_depth: usize,
    /// Maximum number of JSON values and keys. A value needs five: the object, two keys, the type, and the content. Each
    /// takes 12 bytes of memory while the text is read.
    pub max_nodes: usize,
}

impl JsonLimits {
    /// The default limits.
    pub const DEFAULT: JsonLimits = JsonLimits { max_depth: MAX_DEPTH, max_nodes: 8 * 1024 * 1024 };

    /// Returns the maximum nesting depth of containers.
    fn depth(&self) -> usize {
        self.max_depth.min(MAX_DEPTH)
    }

    /// Returns the maximum depth of nested brackets:
    ///
    /// - A value of the maximum depth needs three for each table: `{`, `[`, and the `{` of the pair.
    /// - It needs two more for a `none` in the innermost table: the object, and its `{}`.
    /// - Eight more are for objects and arrays that contain the value.
    fn max_brackets(&self) -> usize {
        self.depth().saturating_mul(3).saturating_add(2 + 8)
    }
}

impl Default for JsonLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Parses JSON that is a value, or a few nested objects and arrays that contain values. Accepts only what is JSON: what
/// Zeek writes although it is not JSON is read by [`JsonDocument::parse`].
///
/// By default, `serde_json` rejects brackets nested deeper than 128, but a valid value can be nested deeper. This
/// function removes that limit and checks the text first, so that no text can exhaust the stack.
///
/// # Errors
/// Fails with [`JsonError::Syntax`], [`JsonError::TooDeep`] or [`JsonError::TooManyNodes`].
pub fn parse_json(text: impl AsRef<[u8]>) -> Result<Json, JsonError> {
    let text = text.as_ref();
    JsonDocument::parse(text, &JsonLimits::DEFAULT)?;
    let mut parser = Deserializer::from_slice(text);
    parser.disable_recursion_limit();
    serde_core::Deserialize::deserialize(&mut parser).map_err(|error: serde_json::Error| {
        let lines = text.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
        let before = lines.map(<[u8]>::len).fold(0, usize::saturating_add);
        let offset = before.saturating_add(error.column().saturating_sub(1));
        JsonError::Syntax { message: error.to_string(), offset }
    })
}

impl Value {
    /// Converts JSON in the format of [`Value::to_json`] to a value. As in Broker, unknown members of an object are
    /// ignored and the host bits of a subnet are cleared. All other parts of the JSON are checked.
    ///
    /// # Errors
    /// Fails with [`JsonError::TooDeep`] or [`JsonError::WrongType`].
    pub fn from_json(json: &Json) -> Result<Self, JsonError> {
        read::value(json, read::Rules::new(MAX_DEPTH))
    }

    /// Parses a value from JSON text. White space around it is allowed.
    ///
    /// Also accepts what Broker and Zeek write although it is not JSON, see [`JsonDocument`]. If an object has two members
    /// with the same name, the first one counts, as in Broker. A number that is too large for a `real` is infinity.
    ///
    /// # Errors
    /// Fails with any [`JsonError`].
    pub fn from_json_text(text: impl AsRef<[u8]>) -> Result<Self, JsonError> {
        JsonDocument::parse(text.as_ref(), &JsonLimits::DEFAULT)?.root().to_value()
    }
}
