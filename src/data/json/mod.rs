//! Values as JSON: the shape of Broker's WebSocket interface, repaired where that one loses something.

mod read;
#[cfg(feature = "serde")]
mod serde;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use write::Shown;

use serde_json::{Deserializer, Value as Json};

use super::{MAX_DEPTH, Value, WrongType};

/// JSON that is not a value, or not JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Not JSON at all; the words are the parser's, with line and column.
    #[error("not JSON: {0}")]
    Syntax(String),
    /// More than [`MAX_DEPTH`] sets, tables and vectors inside one another, or brackets enough for that.
    #[error("nested too deep: at most {MAX_DEPTH} sets, tables and vectors may stand inside one another")]
    TooDeep,
    /// JSON of another shape; says where, what was expected and what was found.
    #[error(transparent)]
    WrongType(#[from] WrongType),
}

/// The brackets around the innermost content of the deepest value: three for each table (`{`, `[` and
/// the pair's `{`), the object and the `{}` of a `none`; and room for objects around the value.
const MAX_BRACKETS: usize = MAX_DEPTH.saturating_mul(3).saturating_add(2 + 8);

/// Parses JSON that values stand in, alone or inside of a few other objects and arrays.
///
/// `serde_json` of itself allows no more than 128 brackets inside one another, which a value can exceed.
/// Here the brackets are counted first, so that no text can exhaust the stack.
///
/// # Errors
/// [`JsonError::TooDeep`] and [`JsonError::Syntax`].
pub fn parse_json(text: impl AsRef<[u8]>) -> Result<Json, JsonError> {
    let text = text.as_ref();
    if deepest(text) > MAX_BRACKETS {
        return Err(JsonError::TooDeep);
    }
    let mut parser = Deserializer::from_slice(text);
    parser.disable_recursion_limit();
    let mut values = parser.into_iter();
    let syntax = |words: &dyn ToString| JsonError::Syntax(words.to_string());
    let first = values.next().ok_or_else(|| syntax(&"there is nothing"))?.map_err(|e| syntax(&e))?;
    match values.next() {
        None => Ok(first),
        Some(Ok(_)) => Err(syntax(&"more than one value")),
        Some(Err(error)) => Err(syntax(&error)),
    }
}

/// How many brackets are open at once, at most. Where the text is not JSON, this is right up to the
/// place at which a parser gives up.
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
    /// Reads a value from its JSON, in the shape that [`Value::to_json`] describes. Other members of an
    /// object are skipped over, and the host bits of a subnet cleared, as Broker does; all else is checked.
    ///
    /// # Errors
    /// [`JsonError::TooDeep`] and [`JsonError::WrongType`].
    pub fn from_json(json: &Json) -> Result<Self, JsonError> {
        read::value(json, 0)
    }

    /// Reads a value from the text of its JSON, with nothing but white space around it.
    ///
    /// # Errors
    /// All of [`JsonError`].
    pub fn from_json_text(text: impl AsRef<[u8]>) -> Result<Self, JsonError> {
        Value::from_json(&parse_json(text)?)
    }
}
