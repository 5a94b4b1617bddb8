//! Zeek strings: bytes that are usually, but not always, text (`PROTOCOL.md`, section 5).

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// A Zeek string: arbitrary bytes, with a `&str` view if they are UTF-8.
///
/// Strings of up to `u32::MAX` bytes can be encoded.
#[derive(Clone)]
pub struct ByteString(Repr);

/// The maximum number of bytes that are stored inline, without an allocation. It is the largest number that does not
/// increase the size of [`super::Value`]. Most of Zeek's names and enum labels are not longer.
const INLINE: usize = 22;

#[derive(Clone)]
enum Repr {
    /// The bytes after the first `length` bytes are arbitrary.
    Inline {
        length: u8,
        bytes: [u8; INLINE],
    },
    Heap(Box<[u8]>),
}

impl ByteString {
    /// Returns an inline string if the bytes fit.
    #[inline]
    fn set_inline(&mut self, text: &[u8]) -> bool {
        let Repr::Inline { length, bytes } = &mut self.0 else { return false };
        let (Some(room), Ok(text_length)) = (bytes.get_mut(..text.len()), u8::try_from(text.len())) else {
            return false;
        };
        room.copy_from_slice(text);
        *length = text_length;
        true
    }

    /// Returns the inline bytes and the number of them that are used.
    #[inline]
    pub(crate) fn inline(&self) -> Option<(&[u8; INLINE], u8)> {
        match &self.0 {
            Repr::Inline { length, bytes } => Some((bytes, *length)),
            Repr::Heap(_) => None,
        }
    }

    /// Replaces the bytes with the first `length` bytes of `input`, or with all of them if there are fewer.
    ///
    /// If possible, a block of constant size is copied, which also contains some of the bytes after the string. A copy of
    /// variable size would be a function call.
    #[inline(always)]
    pub(crate) fn set_prefix(&mut self, input: &[u8], length: usize) {
        if let Repr::Inline { length: used, bytes } = &mut self.0
            && length <= INLINE
            && let (Ok(length), Some(block)) = (u8::try_from(length), input.first_chunk())
        {
            (*used, *bytes) = (length, *block);
        } else {
            self.set(input.get(..length).unwrap_or(input));
        }
    }

    /// Replaces the bytes.
    #[inline(never)]
    pub(crate) fn set(&mut self, bytes: &[u8]) {
        if !self.set_inline(bytes) {
            self.0 = Repr::Heap(bytes.into());
        }
    }
}

impl ByteString {
    /// Returns the bytes.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or(bytes),
            Repr::Heap(bytes) => bytes,
        }
    }

    /// Returns the text if the bytes are UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()).ok()
    }

    /// Returns the text, with U+FFFD in place of invalid UTF-8.
    #[must_use]
    pub fn to_str_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.as_bytes())
    }

    /// Returns the number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Returns whether the string is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    /// Converts the string to its bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        match self.0 {
            Repr::Inline { .. } => self.as_bytes().to_vec(),
            Repr::Heap(bytes) => bytes.into_vec(),
        }
    }
}

impl From<&str> for ByteString {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<String> for ByteString {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<&[u8]> for ByteString {
    fn from(bytes: &[u8]) -> Self {
        let mut short = ByteString::default();
        if short.set_inline(bytes) { short } else { ByteString(Repr::Heap(bytes.into())) }
    }
}

impl From<Vec<u8>> for ByteString {
    fn from(bytes: Vec<u8>) -> Self {
        let mut short = ByteString::default();
        if short.set_inline(&bytes) { short } else { ByteString(Repr::Heap(bytes.into())) }
    }
}

impl Default for ByteString {
    #[inline]
    fn default() -> Self {
        ByteString(Repr::Inline { length: 0, bytes: [0; INLINE] })
    }
}

impl PartialEq for ByteString {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for ByteString {}

impl PartialOrd for ByteString {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByteString {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for ByteString {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl AsRef<[u8]> for ByteString {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq<str> for ByteString {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for ByteString {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

/// Writes the text, with U+FFFD in place of invalid UTF-8.
impl fmt::Display for ByteString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_str_lossy())
    }
}

impl fmt::Debug for ByteString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Value;

    #[test]
    fn inline_and_allocated_strings_keep_their_bytes() {
        for length in [0, 1, INLINE - 1, INLINE, INLINE + 1, 1000] {
            let bytes: Vec<u8> = (0..=255).cycle().take(length).collect();
            for string in [ByteString::from(&*bytes), ByteString::from(bytes.clone())] {
                assert_eq!(
                    (string.as_bytes(), string.len(), string.is_empty()),
                    (&*bytes, length, length == 0)
                );
                assert_eq!(string.clone().into_bytes(), bytes);
                assert_eq!(matches!(string.0, Repr::Inline { .. }), length <= INLINE);
            }
        }
    }

    #[test]
    fn a_prefix_is_the_same_with_and_without_bytes_after_it() {
        let input: Vec<u8> = (1..=60).collect();
        for length in 0..=input.len() {
            let expected = ByteString::from(&input[..length]);
            for end in length..=input.len() {
                let mut string = ByteString::default();
                string.set_prefix(&input[..end], length);
                assert_eq!((&string, string.len()), (&expected, length));
                assert_eq!(string.clone().into_bytes(), expected.as_bytes());
                assert_eq!(matches!(string.0, Repr::Inline { .. }), length <= INLINE);
            }
        }
    }

    #[test]
    fn inline_and_allocated_strings_are_ordered_by_bytes() {
        let strings =
            ["", "a", "aaaaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaab", "b"];
        assert!(strings.map(ByteString::from).is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn inline_strings_do_not_make_values_larger() {
        assert_eq!(size_of::<ByteString>(), size_of::<Vec<Value>>());
        assert_eq!(size_of::<Value>(), 32);
    }
}
