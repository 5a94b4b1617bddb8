//! Readers of single values. Each reports an error and returns `None` if the value is invalid.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;
use toml::de::DeValue;

use super::reader::Entry;
use super::schema::Glob;
use super::suggest::suggestion;

impl<'r> Entry<'r> {
    /// A string that is not empty.
    pub(super) fn text(&self, expected: &str) -> Option<&'r str> {
        match self.value {
            DeValue::String(text) if text.is_empty() => {
                self.error("the value is empty", format!("use {expected}"));
                None
            }
            // A backslash in a TOML string begins an escape sequence, so "C:\run" contains a carriage return.
            DeValue::String(text) if text.contains(char::is_control) => {
                self.error(format!("control character in {text:?}"), format!("use {expected}"));
                None
            }
            DeValue::String(text) => Some(text),
            _ => self.wrong_type(expected),
        }
    }

    /// A string that may be empty.
    pub(super) fn any_text(&self, expected: &str) -> Option<&'r str> {
        match self.value {
            DeValue::String(text) => Some(text),
            _ => self.wrong_type(expected),
        }
    }

    /// A name that is valid in logs, in metrics and as a TOML key.
    pub(super) fn name(&self) -> Option<&'r str> {
        let text = self.text("a name such as \"agents\"")?;
        if is_name(text) {
            return Some(text);
        }
        self.error(INVALID_NAME, NAME_HINT);
        None
    }

    pub(super) fn flag(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(flag) => Some(*flag),
            _ => self.wrong_type("true or false (without quotes)"),
        }
    }

    /// One of these words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let text = self.text(&format!("\"{}\"", words.join("\" or \"")))?;
        let found = choices.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            self.error(format!("invalid value {text:?}"), suggestion(text, words.iter().copied()));
        }
        found.map(|(_, value)| *value)
    }

    /// An integer.
    pub(super) fn whole(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let expected = format!("an integer from {} to {}", range.start(), range.end());
        let DeValue::Integer(integer) = self.value else { return self.wrong_type(&expected) };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.error(format!("{integer} is out of range"), format!("use {expected}"));
        }
        number
    }

    /// A fraction from 0 to 1.
    pub(super) fn fraction(&self) -> Option<f64> {
        let expected = "a fraction from 0.0 to 1.0, such as 0.01";
        let (number, text) = match self.value {
            DeValue::Float(float) => (float.as_str().parse::<f64>().ok(), float.to_string()),
            DeValue::Integer(integer) => (integer.as_str().parse::<f64>().ok(), integer.to_string()),
            _ => return self.wrong_type(expected),
        };
        let fraction = number.filter(|number| (0.0..=1.0).contains(number));
        if fraction.is_none() {
            self.error(format!("{text} is out of range"), format!("use {expected}"));
        }
        fraction
    }

    /// A duration.
    pub(super) fn time(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let shown = |time: &Duration| humantime::format_duration(*time).to_string();
        let expected = format!(
            "a duration with its unit, such as \"10s\" or \"50ms\", from {} to {}",
            shown(range.start()),
            shown(range.end())
        );
        let text = self.text(&expected)?;
        match humantime::parse_duration(text) {
            Ok(time) if range.contains(&time) => return Some(time),
            Ok(_) => self.error(format!("{text:?} is out of range"), format!("use {expected}")),
            Err(error) => {
                self.error(format!("invalid duration {text:?}: {error}"), format!("use {expected}"))
            }
        }
        None
    }

    /// A size in bytes.
    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Option<usize> {
        let expected = format!(
            "a size such as \"32MiB\", from {} to {}",
            ByteSize::b(*range.start()).display().iec(),
            ByteSize::b(*range.end()).display().iec()
        );
        let (size, text) = match self.value {
            DeValue::Integer(integer) => {
                (u64::from_str_radix(integer.as_str(), integer.radix()).ok(), integer.to_string())
            }
            _ => {
                let text = self.text(&expected)?;
                (text.parse().ok().map(|size: ByteSize| size.as_u64()), format!("{text:?}"))
            }
        };
        let Some(size) = size else {
            self.error(format!("invalid size {text}"), format!("use {expected}"));
            return None;
        };
        let size = usize::try_from(size).ok().filter(|_| range.contains(&size));
        if size.is_none() {
            self.error(format!("{text} is out of range"), format!("use {expected}"));
        }
        size
    }

    /// A list, or a single value instead of a list with one element. The list must not be empty or have duplicates.
    pub(super) fn list<T: PartialEq>(
        &self,
        expected: &str,
        mut read: impl FnMut(&Entry<'r>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let elements = match self.value {
            DeValue::Array(_) => self.elements().unwrap_or_default(),
            DeValue::String(_) => vec![self.clone()],
            _ => return self.wrong_type(&format!("{expected}, or a list of these")),
        };
        if elements.is_empty() {
            self.error(
                "the list is empty, so nothing can match",
                format!("use {expected}, or remove the key"),
            );
            return None;
        }
        let mut found = Vec::new();
        let mut good = true;
        for element in &elements {
            match read(element) {
                Some(value) if found.contains(&value) => element.error("duplicate element", "remove it"),
                Some(value) => found.push(value),
                None => good = false,
            }
        }
        good.then_some(found)
    }

    /// A pattern for names, or a list of patterns.
    pub(super) fn globs(&self, expected: &str) -> Option<Vec<Glob>> {
        self.list(expected, |entry| {
            let text = entry.text(expected)?;
            if text.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
                entry.error(format!("white space in {text:?}"), "remove it, names have none");
                return None;
            }
            Some(Glob::new(text))
        })
    }
}

pub(super) const INVALID_NAME: &str = "invalid name";
pub(super) const NAME_HINT: &str = "use 1 to 64 letters, digits, `-` and `_`";

pub(super) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'-' || letter == b'_')
}
