//! The reader of recordings.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use serde_core::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::conversation::{Conversation, Entry};
use super::folder::{INDEX, stream_file};
use super::meta::Meta;
use super::{Side, to_u64};

/// The number of bytes that are read at a time.
const CHUNK: usize = 64 * 1024;

/// Maximum length of a line of `frames.jsonl` in bytes: twice the hexadecimal form of the largest frame.
const MAX_LINE: usize = 128 * 1024 * 1024;

/// The reason why a recording cannot be read further. Messages name the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A file cannot be opened.
    #[error("cannot open {name}: {source}; check its name and permissions")]
    Open {
        /// The name of the file.
        name: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {name}: {source}")]
    Read {
        /// The name of the file.
        name: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A line of `frames.jsonl` is invalid.
    #[error("{name}, line {line}: {source}")]
    Index {
        /// The name of the file.
        name: String,
        /// The line number, from 1.
        line: u64,
        /// The reason.
        source: IndexError,
    },
}

/// The reason why a line of `frames.jsonl` is invalid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// It is longer than 128 MiB.
    #[error("the line is longer than {MAX_LINE} bytes")]
    TooLong,
    /// It is not a JSON object with the members `from`, `t_us`, `offset` and `length`.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// `from` is not the name of a side.
    #[error("\"from\" is neither connector nor listener")]
    UnknownSide,
    /// The frame is beyond the end of the bytes of its side.
    #[error("{file} has no {bytes} bytes")]
    BeyondEnd {
        /// The name of the file with the bytes.
        file: &'static str,
        /// The end of the frame.
        bytes: u64,
    },
}

/// Reads the entries of a recording in their order, as an iterator that ends after the first error.
///
/// The content of the entries comes from the bytes of the two sides; `frames.jsonl` is used for their order and times
/// only. If the recorder was stopped, there may be bytes without a line. They are read last.
///
/// Memory: one frame of each side, and one line of `frames.jsonl`.
///
/// ```
/// use zeek_bridge::trace::{Meta, Reader, Side};
///
/// let index = r#"{"index":0,"from":"listener","t_us":3,"offset":0,"length":9}"#;
/// let reader = Reader::new(index.as_bytes(), [&b""[..], &b"\0\0\0\x05\x07ZEEK"[..]], &Meta::default());
/// let entries = reader.collect::<Result<Vec<_>, _>>()?;
/// assert_eq!((entries[0].from, entries[0].t_us), (Side::Listener, 3));
/// # Ok::<(), zeek_bridge::trace::ReadError>(())
/// ```
#[derive(Debug)]
pub struct Reader<R = File> {
    index: Index<R>,
    connector: Stream<R>,
    listener: Stream<R>,
    conversation: Conversation,
    /// Whether an incomplete last frame is an error. In an unfinished recording, it is not.
    reports_truncation: bool,
    state: State,
    /// The time of the last line of the index.
    t_us: u64,
}

/// The source of the next entry.
#[derive(Clone, Copy, Debug)]
enum State {
    /// The bytes of a side up to an offset, then the next line of the index.
    Indexed(Side, u64),
    /// The remaining bytes of a side, then those of the next side.
    Rest(Side),
    /// The incomplete frame of a side, then that of the next side.
    Truncated(Side),
    Ended,
}

impl Reader {
    /// Opens a recording.
    ///
    /// # Errors
    /// Fails if one of its files cannot be opened. Use [`is_recording`](super::is_recording) before to find out whether a
    /// folder is a recording.
    pub fn open(folder: &Path, meta: &Meta) -> Result<Self, ReadError> {
        let open = |file: &str| {
            let path = folder.join(file);
            let name = path.display().to_string();
            match File::open(path) {
                Ok(file) => Ok((name, file)),
                Err(source) => Err(ReadError::Open { name, source }),
            }
        };
        let [connector, listener] = Side::BOTH.map(|side| open(stream_file(side)));
        Ok(Reader::with_names(open(INDEX)?, connector?, listener?, meta))
    }
}

impl<R: Read> Reader<R> {
    /// Returns a reader for the content of `frames.jsonl` and of the files of the connector and the listener.
    pub fn new(index: R, [connector, listener]: [R; 2], meta: &Meta) -> Self {
        let [first, second] = Side::BOTH.map(|side| stream_file(side).to_owned());
        Reader::with_names((INDEX.to_owned(), index), (first, connector), (second, listener), meta)
    }

    fn with_names(
        (name, index): (String, R),
        connector: (String, R),
        listener: (String, R),
        meta: &Meta,
    ) -> Self {
        Reader {
            index: Index { name, input: BufReader::new(index), line: 0 },
            connector: Stream::new(connector),
            listener: Stream::new(listener),
            conversation: if meta.continues.is_some() {
                Conversation::continued()
            } else {
                Conversation::default()
            },
            reports_truncation: meta.complete != Some(false),
            state: State::Indexed(Side::Connector, 0),
            t_us: 0,
        }
    }

    /// Returns the next entry, or `None` at the end. In each state, the entries in the bytes that were passed to the
    /// conversation are returned before further bytes are read, so that at most one frame of each side is buffered.
    fn next_entry(&mut self) -> Result<Option<Entry>, ReadError> {
        loop {
            match self.state {
                State::Indexed(from, end) => {
                    if let Some(entry) = self.conversation.next_entry(from, self.t_us) {
                        return Ok(Some(entry));
                    }
                    if self.stream(from).offset < end {
                        if !self.read_some(from, end)? {
                            let file = stream_file(from);
                            return Err(self.index.error(IndexError::BeyondEnd { file, bytes: end }));
                        }
                    } else {
                        self.state = match self.index.next_line()? {
                            Some(line) => {
                                self.t_us = line.t_us;
                                State::Indexed(line.from, line.offset.saturating_add(line.length))
                            }
                            None => State::Rest(Side::Connector),
                        };
                    }
                }
                State::Rest(from) => {
                    if let Some(entry) = self.conversation.next_entry(from, self.t_us) {
                        return Ok(Some(entry));
                    }
                    if !self.read_some(from, u64::MAX)? {
                        self.state = match from {
                            Side::Connector => State::Rest(Side::Listener),
                            Side::Listener if self.reports_truncation => State::Truncated(Side::Connector),
                            Side::Listener => State::Ended,
                        };
                    }
                }
                State::Truncated(from) => {
                    self.state = match from {
                        Side::Connector => State::Truncated(Side::Listener),
                        Side::Listener => State::Ended,
                    };
                    if let Some(entry) = self.conversation.end_side(from, self.t_us) {
                        return Ok(Some(entry));
                    }
                }
                State::Ended => return Ok(None),
            }
        }
    }

    /// Passes some bytes of a side, up to offset `end`, to the conversation. Returns `false` at the end of the file.
    fn read_some(&mut self, from: Side, end: u64) -> Result<bool, ReadError> {
        let stream = match from {
            Side::Connector => &mut self.connector,
            Side::Listener => &mut self.listener,
        };
        let bytes = stream.read_some(end)?;
        self.conversation.push(from, bytes);
        Ok(!bytes.is_empty())
    }

    fn stream(&self, side: Side) -> &Stream<R> {
        match side {
            Side::Connector => &self.connector,
            Side::Listener => &self.listener,
        }
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_entry();
        if next.is_err() {
            self.state = State::Ended;
        }
        next.transpose()
    }
}

/// The bytes of one side.
#[derive(Debug)]
struct Stream<R> {
    name: String,
    input: R,
    chunk: Vec<u8>,
    /// The number of bytes that were read.
    offset: u64,
}

impl<R: Read> Stream<R> {
    fn new((name, input): (String, R)) -> Self {
        Stream { name, input, chunk: vec![0; CHUNK], offset: 0 }
    }

    fn read_some(&mut self, end: u64) -> Result<&[u8], ReadError> {
        let most = usize::try_from(end.saturating_sub(self.offset)).unwrap_or(CHUNK).min(CHUNK);
        let space = self.chunk.get_mut(..most).unwrap_or_default();
        let count = loop {
            match self.input.read(space) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(ReadError::Read { name: self.name.clone(), source }),
                Ok(count) => break count,
            }
        };
        self.offset = self.offset.saturating_add(to_u64(count));
        Ok(self.chunk.get(..count).unwrap_or_default())
    }
}

/// The lines of `frames.jsonl`.
#[derive(Debug)]
struct Index<R> {
    name: String,
    input: BufReader<R>,
    /// The number of the last line, from 1, counting blank lines.
    line: u64,
}

/// The part of a line that locates a frame.
struct Line {
    from: Side,
    t_us: u64,
    offset: u64,
    length: u64,
}

impl<R: Read> Index<R> {
    /// Returns the next line that is not blank.
    fn next_line(&mut self) -> Result<Option<Line>, ReadError> {
        let Some(text) = self.next_text()? else { return Ok(None) };
        match serde_json::from_slice::<Members>(&text) {
            Ok(Members { from, t_us, offset, length }) => {
                let from = Side::BOTH.into_iter().find(|side| side.name() == from);
                let from = from.ok_or_else(|| self.error(IndexError::UnknownSide))?;
                Ok(Some(Line { from, t_us, offset, length }))
            }
            Err(error) => {
                let is_incomplete = error.is_eof();
                let error = self.error(error.into());
                // A recorder that is killed leaves an incomplete line. The bytes of its frame are there.
                if is_incomplete && self.next_text()?.is_none() { Ok(None) } else { Err(error) }
            }
        }
    }

    fn next_text(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        loop {
            let mut text = Vec::new();
            let limit = to_u64(MAX_LINE).saturating_add(1);
            let read = (&mut self.input).take(limit).read_until(b'\n', &mut text);
            match read {
                Err(source) => return Err(ReadError::Read { name: self.name.clone(), source }),
                Ok(0) => return Ok(None),
                Ok(_) => self.line = self.line.saturating_add(1),
            }
            if text.len() > MAX_LINE && text.last() != Some(&b'\n') {
                return Err(self.error(IndexError::TooLong));
            }
            if !text.trim_ascii().is_empty() {
                return Ok(Some(text));
            }
        }
    }

    fn error(&self, source: IndexError) -> ReadError {
        ReadError::Index { name: self.name.clone(), line: self.line, source }
    }
}

/// The members of a line that are read. The content of the frame may be large and is skipped.
struct Members {
    from: String,
    t_us: u64,
    offset: u64,
    length: u64,
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object that describes a frame")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let (mut from, mut t_us, mut offset, mut length) = (None, None, None, None);
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "from" => from = Some(map.next_value()?),
                "t_us" => t_us = Some(map.next_value()?),
                "offset" => offset = Some(map.next_value()?),
                "length" => length = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Members {
            from: from.ok_or_else(|| A::Error::missing_field("from"))?,
            t_us: t_us.ok_or_else(|| A::Error::missing_field("t_us"))?,
            offset: offset.ok_or_else(|| A::Error::missing_field("offset"))?,
            // An entry without a frame has no length.
            length: length.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBE: &[u8] = b"\0\0\0\x05\x07ZEEK";

    fn read(index: &str, connector: &[u8], meta: &Meta) -> Vec<Result<(Side, u64, bool), String>> {
        Reader::new(index.as_bytes(), [connector, PROBE], meta)
            .map(|entry| match entry {
                Ok(entry) => Ok((entry.from, entry.t_us, entry.frame.is_ok())),
                Err(error) => Err(error.to_string()),
            })
            .collect()
    }

    #[test]
    fn bytes_after_the_last_line_are_read_with_its_time() {
        let line = r#"{"from":"listener","t_us":7,"offset":0,"length":9,"envelope":[{}]}"#;
        let expected = [Ok((Side::Listener, 7, true)), Ok((Side::Connector, 7, true))];
        assert_eq!(read(&format!("{line}\n\n"), PROBE, &Meta::default()), expected);
        // The recorder was killed while it wrote the second line.
        assert_eq!(read(&format!("{line}\n{{\"from\":\"conn"), PROBE, &Meta::default()), expected);
    }

    #[test]
    fn an_incomplete_frame_is_an_error_only_if_the_recording_is_finished() {
        let partial = &PROBE[..8];
        let unfinished = Meta { complete: Some(false), ..Meta::default() };
        assert_eq!(read("", partial, &unfinished), [Ok((Side::Listener, 0, true))]);
        let expected = [Ok((Side::Listener, 0, true)), Ok((Side::Connector, 0, false))];
        assert_eq!(read("", partial, &Meta::default()), expected);
    }

    #[test]
    fn an_invalid_line_ends_the_reading_with_its_number() {
        for (line, error) in [
            (r#"{"from":"x","t_us":1,"offset":0}"#, "\"from\" is neither connector nor listener"),
            (r#"{"from":"connector","offset":0}"#, "missing field `t_us` at line 1 column 31"),
            (r#"{"from":"connector","t_us":1,"offset":0,"length":10}"#, "connector.bin has no 10 bytes"),
        ] {
            let found = read(&format!("\n{line}\n"), b"", &Meta::default());
            assert_eq!(found, [Err(format!("frames.jsonl, line 2: {error}"))]);
        }
    }
}
