//! Values as JSON, in the format of Broker's WebSocket API, extended where that format loses information.

mod read;
#[cfg(feature = "serde")]
mod serde;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use write::AsJson;

use serde_json::{Deserializer, Value as Json};

use super::{MAX_DEPTH, Value, WrongType};

/// Text that is not JSON, or JSON that is not a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The text is not JSON. Contains the message of the parser, with line and column.
    #[error("not JSON: {0}")]
    Syntax(String),
    /// Sets, tables and vectors are nested deeper than [`MAX_DEPTH`], or the text has more nested brackets than a value
    /// of this depth needs.
    #[error("nested too deep: sets, tables and vectors may be nested at most {MAX_DEPTH} deep")]
    TooDeep,
    /// The JSON does not have the structure of a value. Contains the location, what was expected, and what was found.
    #[error(transparent)]
    WrongType(#[from] WrongType),
}

/// The maximum depth of nested brackets:
///
/// - A value of the maximum depth needs three for each table: `{`, `[`, and the `{` of the pair.
/// - It needs two more for a `none` in the innermost table: the object, and its `{}`.
/// - Eight more are for objects and arrays that contain the value.
const MAX_BRACKETS: usize = MAX_DEPTH.saturating_mul(3).saturating_add(2 + 8);

/// Parses JSON that is a value, or a few nested objects and arrays that contain values.
///
/// By default, `serde_json` rejects brackets nested deeper than 128, but a valid value can be nested deeper. This
/// function removes that limit and counts the brackets first, so that no text can exhaust the stack.
///
/// # Errors
/// Fails with [`JsonError::TooDeep`] or [`JsonError::Syntax`].
pub fn parse_json(text: impl AsRef<[u8]>) -> Result<Json, JsonError> {
    let text = text.as_ref();
    if deepest(text) > MAX_BRACKETS {
        return Err(JsonError::TooDeep);
    }
    let mut parser = Deserializer::from_slice(text);
    parser.disable_recursion_limit();
    let mut values = parser.into_iter();
    let syntax = |message: &dyn ToString| JsonError::Syntax(message.to_string());
    let first = values.next().ok_or_else(|| syntax(&"the text is empty"))?.map_err(|e| syntax(&e))?;
    match values.next() {
        None => Ok(first),
        Some(Ok(_)) => Err(syntax(&"more than one value")),
        Some(Err(error)) => Err(syntax(&error)),
    }
}

/// Returns the maximum number of brackets that are open at once. If the text is not JSON, the result is correct for the
/// part before the error, which is the only part that a parser reads.
fn deepest(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth = depth.saturating_add(1);
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => _ = bytes.next(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

impl Value {
    /// Converts JSON in the format of [`Value::to_json`] to a value. As in Broker, unknown members of an object are
    /// ignored and the host bits of a subnet are cleared. All other parts of the JSON are checked.
    ///
    /// # Errors
    /// Fails with [`JsonError::TooDeep`] or [`JsonError::WrongType`].
    pub fn from_json(json: &Json) -> Result<Self, JsonError> {
        read::value(json, 0)
    }

    /// Parses a value from JSON text. White space around it is allowed.
    ///
    /// # Errors
    /// Fails with any [`JsonError`].
    pub fn from_json_text(text: impl AsRef<[u8]>) -> Result<Self, JsonError> {
        Value::from_json(&parse_json(text)?)
    }
}
