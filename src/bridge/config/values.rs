//! Reading single values: each gives a mistake, and `None`, for what it does not take.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;
use toml::de::DeValue;

use super::reader::Entry;
use super::schema::Glob;
use super::suggest::instead;

impl<'r> Entry<'r> {
    /// A text that says something.
    pub(super) fn text(&self, wanted: &str) -> Option<&'r str> {
        match self.value {
            DeValue::String(text) if text.is_empty() => {
                self.wrong(format!("this is empty; give {wanted}"));
                None
            }
            // A backslash that was meant as one makes such, too.
            DeValue::String(text) if text.contains(char::is_control) => {
                self.wrong(format!("there is a control character in {text:?}; give {wanted}"));
                None
            }
            DeValue::String(text) => Some(text),
            _ => self.wrong_type(wanted),
        }
    }

    /// A text that may be empty.
    pub(super) fn any_text(&self, wanted: &str) -> Option<&'r str> {
        match self.value {
            DeValue::String(text) => Some(text),
            _ => self.wrong_type(wanted),
        }
    }

    /// A name: what can stand in logs, in metrics and as a TOML key alike.
    pub(super) fn name(&self) -> Option<&'r str> {
        let text = self.text("a name such as \"agents\"")?;
        if is_name(text) {
            return Some(text);
        }
        self.wrong(NAME);
        None
    }

    pub(super) fn flag(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(flag) => Some(*flag),
            _ => self.wrong_type("true or false, without quotes"),
        }
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let text = self.text(&format!("\"{}\"", words.join("\" or \"")))?;
        let found = choices.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let mend = instead(text, words.iter().copied());
            self.wrong(format!("there is no {text:?}; {mend}"));
        }
        found.map(|(_, value)| *value)
    }

    pub(super) fn whole(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(integer) = self.value else { return self.wrong_type(&wanted) };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.wrong(format!("{integer} is out of range; give {wanted}"));
        }
        number
    }

    /// A share, from 0 to 1.
    pub(super) fn share(&self) -> Option<f64> {
        let wanted = "a share from 0.0 to 1.0, such as 0.01";
        let (number, text) = match self.value {
            DeValue::Float(float) => (float.as_str().parse::<f64>().ok(), float.to_string()),
            DeValue::Integer(integer) => (integer.as_str().parse::<f64>().ok(), integer.to_string()),
            _ => return self.wrong_type(wanted),
        };
        let share = number.filter(|share| (0.0..=1.0).contains(share));
        if share.is_none() {
            self.wrong(format!("{text} is no share; give {wanted}"));
        }
        share
    }

    /// A span of time.
    pub(super) fn time(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let shown = |time: &Duration| humantime::format_duration(*time).to_string();
        let wanted = format!(
            "a time with its unit, such as \"10s\" or \"50ms\", from {} to {}",
            shown(range.start()),
            shown(range.end())
        );
        let text = self.text(&wanted)?;
        match humantime::parse_duration(text) {
            Ok(time) if range.contains(&time) => return Some(time),
            Ok(_) => self.wrong(format!("{text:?} is out of range; give {wanted}")),
            Err(error) => self.wrong(format!("{text:?} is no time ({error}); give {wanted}")),
        }
        None
    }

    /// A number of bytes.
    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Option<usize> {
        let wanted = format!(
            "a size such as \"32MiB\", from {} to {}",
            ByteSize::b(*range.start()).display().iec(),
            ByteSize::b(*range.end()).display().iec()
        );
        let (size, text) = match self.value {
            DeValue::Integer(integer) => {
                (u64::from_str_radix(integer.as_str(), integer.radix()).ok(), integer.to_string())
            }
            _ => {
                let text = self.text(&wanted)?;
                (text.parse().ok().map(|size: ByteSize| size.as_u64()), format!("{text:?}"))
            }
        };
        let Some(size) = size else {
            self.wrong(format!("{text} is no size; give {wanted}"));
            return None;
        };
        let size = usize::try_from(size).ok().filter(|_| range.contains(&size));
        if size.is_none() {
            self.wrong(format!("{text} is out of range; give {wanted}"));
        }
        size
    }

    /// A list of something, or the thing alone: at least one, and none twice.
    pub(super) fn list<T: PartialEq>(
        &self,
        wanted: &str,
        mut read: impl FnMut(&Entry<'r>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let elements = match self.value {
            DeValue::Array(_) => self.elements().unwrap_or_default(),
            DeValue::String(_) => vec![self.clone()],
            _ => return self.wrong_type(&format!("{wanted}, or a list of such")),
        };
        if elements.is_empty() {
            self.wrong(format!(
                "this list is empty, so that nothing could ever match; give {wanted}, or leave the key out"
            ));
            return None;
        }
        let mut found = Vec::new();
        let mut good = true;
        for element in &elements {
            match read(element) {
                Some(value) if found.contains(&value) => {
                    element.wrong("this is in the list already: leave it out");
                }
                Some(value) => found.push(value),
                None => good = false,
            }
        }
        good.then_some(found)
    }

    /// A pattern for names, or several.
    pub(super) fn globs(&self, wanted: &str) -> Option<Vec<Glob>> {
        self.list(wanted, |entry| {
            let text = entry.text(wanted)?;
            if text.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
                entry.wrong(format!("there is white space in {text:?}, which no name has; take it out"));
                return None;
            }
            Some(Glob::new(text))
        })
    }
}

/// What a name is, for who gave something else.
pub(super) const NAME: &str = "a name consists of at most 64 letters, digits, `-` and `_`; choose such a one";

pub(super) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'-' || letter == b'_')
}
