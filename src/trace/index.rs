//! The lines of `frames.jsonl`.

use std::fmt;
use std::io::{BufRead, BufReader, Read};

use serde_core::de::{Deserializer as _, Error as _, IgnoredAny, MapAccess, Visitor};

use super::read_error::{IndexError, MAX_HEAD, ReadError};
use super::{Side, to_u64};

/// The lines of `frames.jsonl`.
#[derive(Debug)]
pub(super) struct Index<R> {
    name: String,
    input: BufReader<R>,
    /// The number of the last line, from 1, counting blank lines.
    line: u64,
}

/// The part of a line that locates a frame.
pub(super) struct Line {
    pub(super) from: Side,
    pub(super) t_us: u64,
    pub(super) offset: u64,
    /// `None` if the line has no frame, because the remaining bytes of the side cannot be decoded.
    pub(super) length: Option<u64>,
}

impl<R: Read> Index<R> {
    pub(super) fn new(name: String, input: R) -> Self {
        Index { name, input: BufReader::new(input), line: 0 }
    }

    /// Returns the next line that is not blank.
    pub(super) fn next_line(&mut self) -> Result<Option<Line>, ReadError> {
        let Some(Text { head, is_complete }) = self.next_text()? else { return Ok(None) };
        let (members, result) = Members::read(&head);
        match result {
            Ok(()) => {}
            Err(error) if !is_complete && is_cut(&error, &head) && members.locate_a_frame() => {}
            Err(error) if !is_complete && is_cut(&error, &head) => {
                return Err(self.error(IndexError::TooLong));
            }
            Err(error) => {
                let is_truncated = is_cut(&error, &head);
                let error = self.error(error.into());
                // A recorder that is killed may leave an incomplete last line. The bytes of its frame were written
                // before the line, so ignore the line.
                return if is_truncated && self.next_text()?.is_none() { Ok(None) } else { Err(error) };
            }
        }
        let from = members.from.unwrap_or_default();
        let from = Side::BOTH.into_iter().find(|side| side.name() == from);
        let from = from.ok_or_else(|| self.error(IndexError::UnknownSide))?;
        let (t_us, offset) = (members.t_us.unwrap_or_default(), members.offset.unwrap_or_default());
        Ok(Some(Line { from, t_us, offset, length: members.length }))
    }

    fn next_text(&mut self) -> Result<Option<Text>, ReadError> {
        loop {
            let mut head = Vec::new();
            let read = (&mut self.input).take(to_u64(MAX_HEAD)).read_until(b'\n', &mut head).and_then(|_| {
                let is_complete = head.len() < MAX_HEAD || head.last() == Some(&b'\n');
                if !is_complete {
                    self.input.skip_until(b'\n')?;
                }
                Ok(is_complete)
            });
            let is_complete = read.map_err(|source| ReadError::Read { name: self.name.clone(), source })?;
            if head.is_empty() {
                return Ok(None);
            }
            self.line = self.line.saturating_add(1);
            if !head.trim_ascii().is_empty() {
                return Ok(Some(Text { head, is_complete }));
            }
        }
    }

    pub(super) fn error(&self, source: IndexError) -> ReadError {
        ReadError::Index { name: self.name.clone(), line: self.line, source }
    }
}

/// Returns whether the error is at the end of a line that was cut. serde_json reports a number that ends after `-`, `.` or `e` as
/// invalid, not as incomplete.
fn is_cut(error: &serde_json::Error, line: &[u8]) -> bool {
    let is_at_end = error.line() == 1 && error.column().saturating_add(1) >= line.len();
    error.is_eof() || is_at_end && line.last() != Some(&b'\n')
}

/// A line, or the first [`MAX_HEAD`] bytes of a longer line.
struct Text {
    head: Vec<u8>,
    is_complete: bool,
}

/// The members of a line that the reader needs. The content of the frame may be large, so it is skipped.
#[derive(Clone, Default)]
struct Members {
    from: Option<String>,
    t_us: Option<u64>,
    offset: Option<u64>,
    /// An entry without a frame has no length.
    length: Option<u64>,
}

impl Members {
    /// Reads the members of a JSON object. If that fails, returns the members that precede the error.
    fn read(text: &[u8]) -> (Members, serde_json::Result<()>) {
        let mut members = Members::default();
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let read = (&mut deserializer).deserialize_map(MembersVisitor(&mut members));
        let result = read.and_then(|()| deserializer.end());
        (members, result)
    }

    fn locate_a_frame(&self) -> bool {
        self.from.is_some() && self.t_us.is_some() && self.offset.is_some() && self.length.is_some()
    }
}

struct MembersVisitor<'a>(&'a mut Members);

impl<'de> Visitor<'de> for MembersVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object that describes a frame")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut read = Members::default();
        while let Some(name) = map.next_key::<String>()? {
            // Store the members only when the next member or the end of the object was read: a number at the end of a
            // truncated text may lack digits.
            self.0.clone_from(&read);
            match name.as_str() {
                "from" => read.from = Some(map.next_value()?),
                "t_us" => read.t_us = Some(map.next_value()?),
                "offset" => read.offset = Some(map.next_value()?),
                "length" => read.length = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let missing =
            [("from", read.from.is_none()), ("t_us", read.t_us.is_none()), ("offset", read.offset.is_none())];
        *self.0 = read;
        match missing.into_iter().find(|(_, is_missing)| *is_missing) {
            Some((name, _)) => Err(A::Error::missing_field(name)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Cursor};

    use super::*;

    /// Returns the sides and the lengths of all lines, or the error.
    fn read(index: impl Read) -> Result<Vec<(Side, Option<u64>)>, String> {
        let mut index = Index::new("frames.jsonl".to_owned(), index);
        let mut lines = Vec::new();
        while let Some(line) = index.next_line().map_err(|error| error.to_string())? {
            assert_eq!((line.t_us, line.offset), (7, 0));
            lines.push((line.from, line.length));
        }
        Ok(lines)
    }

    const MEMBERS: &str = r#""from":"listener","t_us":7,"offset":0,"length":9"#;

    #[test]
    fn the_content_of_a_frame_can_be_of_any_length() {
        let content = || io::repeat(b'x').take(129 * 1024 * 1024);
        let last = format!("\"}}\n{{{}}}\n", MEMBERS.replace("listener", "connector"));
        let first = (Side::Listener, Some(9));
        // The second recorder was killed while it wrote the line.
        for (rest, expected) in [(last.as_str(), vec![first, (Side::Connector, Some(9))]), ("", vec![first])]
        {
            let line = Cursor::new(format!("{{{MEMBERS},\"envelope\":\""));
            assert_eq!(read(line.chain(content()).chain(rest.as_bytes())), Ok(expected));
        }
    }

    #[test]
    fn a_line_may_be_cut_within_a_number() {
        for number in ["-5", "1.5", "1e5", "1e-5"] {
            for cut in 1..number.len() {
                let start = format!("{{{MEMBERS},\"x\":");
                let first = vec![(Side::Listener, Some(9))];
                // The head of a long line ends within the number.
                let spaces = " ".repeat(MAX_HEAD - start.len() - cut);
                let long = format!("{start}{spaces}{number}}}\n");
                assert_eq!(read(long.as_bytes()), Ok(first), "{number} {cut}");
                // A recorder was killed while it wrote the number.
                assert_eq!(
                    read(format!("{start}{}", &number[..cut]).as_bytes()),
                    Ok(vec![]),
                    "{number} {cut}"
                );
            }
        }
        // A complete line is invalid.
        assert!(read(format!("{{{MEMBERS},\"x\":-\n").as_bytes()).is_err());
    }

    #[test]
    fn a_long_line_begins_with_the_members_that_locate_its_frame() {
        let error = "frames.jsonl, line 1: \"from\", \"t_us\", \"offset\" and \"length\" are not in the first 1048576 bytes \
                     of the line";
        let late = |spaces: usize| format!("{{{}{MEMBERS},\"error\":\"\"}}", " ".repeat(spaces));
        let begin = late(0).find(",\"error").unwrap();
        // The end of the head is before the last digit of the length, or directly after it.
        for spaces in [MAX_HEAD - begin + 1, MAX_HEAD - begin, MAX_HEAD] {
            assert_eq!(read(late(spaces).as_bytes()), Err(error.to_owned()), "{spaces}");
        }
        let spaces = MAX_HEAD - late(0).len();
        assert_eq!(read(late(spaces).as_bytes()), Ok(vec![(Side::Listener, Some(9))]));
    }
}
