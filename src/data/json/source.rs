//! The two forms of JSON that values are read from: text of a peer (`document.rs`), and `serde_json`.

use std::borrow::Cow;

use serde_json::Value as Json;

/// A JSON value. Methods for one type return `None` for other types.
pub(super) trait Source<'a>: Copy {
    fn is_object(self) -> bool;
    fn is_null(self) -> bool;
    /// Returns the member of an object with this name.
    fn member(self, name: &str) -> Option<Self>;
    /// Returns whether the value is an object without members.
    fn is_empty_object(self) -> bool;
    fn elements(self) -> Option<impl Iterator<Item = Self>>;
    fn string(self) -> Option<Cow<'a, [u8]>>;
    fn boolean(self) -> Option<bool>;
    fn unsigned(self) -> Option<u64>;
    fn signed(self) -> Option<i64>;
    fn real(self) -> Option<f64>;
    /// Returns a short description for an error.
    fn description(self) -> String;
}

impl<'a> Source<'a> for &'a Json {
    fn is_object(self) -> bool {
        Json::is_object(self)
    }

    fn is_null(self) -> bool {
        Json::is_null(self)
    }

    fn member(self, name: &str) -> Option<Self> {
        self.as_object()?.get(name)
    }

    fn is_empty_object(self) -> bool {
        self.as_object().is_some_and(serde_json::Map::is_empty)
    }

    fn elements(self) -> Option<impl Iterator<Item = Self>> {
        self.as_array().map(|elements| elements.iter())
    }

    fn string(self) -> Option<Cow<'a, [u8]>> {
        self.as_str().map(|text| text.as_bytes().into())
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
        match self {
            Json::Array(_) => "an array".to_owned(),
            Json::Object(_) => "an object".to_owned(),
            Json::String(text) => quoted(text),
            scalar => scalar.to_string(),
        }
    }
}

/// Returns the beginning of a text in quotes.
pub(super) fn quoted(text: &str) -> String {
    shortened(text, |text| format!("{text:?}"))
}

/// The maximum number of characters of a text that an error quotes.
const MAX_QUOTED: usize = 40;

/// Returns the beginning of a text, printed by `show`.
pub(super) fn shortened(text: &str, show: impl FnOnce(&str) -> String) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{} and more", show(text.get(..end).unwrap_or_default())),
        None => show(text),
    }
}
