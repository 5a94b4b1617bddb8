//! The reader of recordings.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use super::conversation::{Conversation, Entry};
use super::folder::{INDEX, stream_file};
use super::index::{Index, Line};
use super::meta::Meta;
use super::read_error::{IndexError, ReadError};
use super::{Protocol, Side, to_u64};

/// The number of bytes that are read at a time.
const CHUNK: usize = 64 * 1024;

/// The number of bytes that are read at the position from which the remaining bytes of a side cannot be decoded. It is
/// enough for the length field, and for recognizing a different protocol.
const FAULT_BYTES: u64 = 64;

/// Reads the entries of a recording in their order, as an iterator that ends after the first error.
///
/// The content of the entries is decoded from the bytes of the two sides. `frames.jsonl` is used only for the order and
/// the times of the entries. If the recorder was stopped, there may be bytes at the end without a line in
/// `frames.jsonl`. These bytes are read last.
///
/// The reader needs memory for one frame of each side, and for 1 MiB of `frames.jsonl`. If a line is longer than 1 MiB,
/// only its first MiB is read. This part must contain `from`, `t_us`, `offset` and `length`, which
/// [`Writer`](super::Writer) writes first.
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
    /// Whether an incomplete last frame is an error. It is not an error in an unfinished recording.
    reports_truncation: bool,
    state: State,
    /// The time of the last line of the index.
    t_us: u64,
}

/// The source of the next entry.
#[derive(Clone, Copy, Debug)]
enum State {
    /// The bytes of a side up to an offset, then the next line of the index.
    Indexed {
        from: Side,
        end: u64,
        /// Whether these bytes belong to a frame. If not, the remaining bytes of the side cannot be decoded, and the
        /// file may end before `end`.
        is_frame: bool,
    },
    /// The remaining bytes of a side, then the remaining bytes of the next side.
    Rest(Side),
    /// The incomplete frame of a side, then the incomplete frame of the next side.
    Truncated(Side),
    Ended,
}

impl Reader {
    /// Opens a recording.
    ///
    /// # Errors
    /// Fails if one of its files cannot be opened. Call [`is_recording`](super::is_recording) first to check whether a
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
            index: Index::new(name, index),
            connector: Stream::new(connector),
            listener: Stream::new(listener),
            conversation: if meta.continues.is_some() {
                Conversation::continued(meta.protocol.unwrap_or(Protocol::Broker))
            } else {
                Conversation::of(meta.protocol)
            },
            reports_truncation: meta.complete != Some(false),
            state: State::Indexed { from: Side::Connector, end: 0, is_frame: false },
            t_us: 0,
        }
    }

    /// Returns the next entry, or `None` at the end. In each state, all entries that the conversation already contains
    /// are returned before more bytes are read, so that at most one frame of each side is buffered.
    fn next_entry(&mut self) -> Result<Option<Entry>, ReadError> {
        loop {
            match self.state {
                State::Indexed { from, end, is_frame } => {
                    if let Some(entry) = self.conversation.next_entry(from, self.t_us) {
                        return Ok(Some(entry));
                    }
                    if self.stream(from).offset < end {
                        if self.read_some(from, end)? {
                            continue;
                        }
                        if is_frame {
                            let file = stream_file(from);
                            return Err(self.index.error(IndexError::BeyondEnd { file, bytes: end }));
                        }
                    }
                    self.state = match self.index.next_line()? {
                        Some(Line { from, t_us, offset, length }) => {
                            self.t_us = t_us;
                            let end = offset.saturating_add(length.unwrap_or(FAULT_BYTES));
                            State::Indexed { from, end, is_frame: length.is_some() }
                        }
                        None => State::Rest(Side::Connector),
                    };
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

    /// Passes some bytes of a side to the conversation, but none at or after the offset `end`. Returns `false` at the
    /// end of the file.
    fn read_some(&mut self, from: Side, end: u64) -> Result<bool, ReadError> {
        let stream = match from {
            Side::Connector => &mut self.connector,
            Side::Listener => &mut self.listener,
        };
        let bytes = stream.available(end)?;
        self.conversation.push(from, bytes);
        let count = bytes.len();
        stream.consume(count);
        Ok(count > 0)
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
    input: BufReader<R>,
    /// The number of bytes that were consumed.
    offset: u64,
}

impl<R: Read> Stream<R> {
    fn new((name, input): (String, R)) -> Self {
        Stream { name, input: BufReader::with_capacity(CHUNK, input), offset: 0 }
    }

    /// Returns some bytes before `end`, or none at the end of the file.
    fn available(&mut self, end: u64) -> Result<&[u8], ReadError> {
        let most = usize::try_from(end.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        match fill(&mut self.input) {
            Ok(()) => Ok(self.input.buffer().get(..most).unwrap_or(self.input.buffer())),
            Err(source) => Err(ReadError::Read { name: self.name.clone(), source }),
        }
    }

    fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.offset = self.offset.saturating_add(to_u64(count));
    }
}

/// Reads into an empty buffer. Reads again if a signal interrupted the call.
fn fill(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        match input.fill_buf() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

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
            (
                r#"{"from":"connector","t_us":1,"offset":0,"length":10}"#,
                "connector.bin is shorter than 10 bytes",
            ),
        ] {
            let found = read(&format!("\n{line}\n"), b"", &Meta::default());
            assert_eq!(found, [Err(format!("frames.jsonl, line 2: {error}"))]);
        }
    }

    #[test]
    fn the_error_of_a_side_is_returned_in_the_order_of_the_index() {
        let index = [
            r#"{"from":"connector","t_us":1,"offset":0,"error":"no frame"}"#,
            r#"{"from":"listener","t_us":2,"offset":0,"length":9}"#,
        ];
        let expected = [Ok((Side::Connector, 1, false)), Ok((Side::Listener, 2, true))];
        assert_eq!(read(&index.join("\n"), b"SSH-2.0-OpenSSH_9.2\r\n", &Meta::default()), expected);
    }

    #[test]
    fn many_frames_are_read_with_one_call() {
        struct Counting<'a>(&'a [u8], Rc<Cell<usize>>);
        impl Read for Counting<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.1.set(self.1.get() + 1);
                self.0.read(buffer)
            }
        }
        let line =
            |n: usize| format!("{{\"from\":\"listener\",\"t_us\":1,\"offset\":{},\"length\":9}}\n", 9 * n);
        let (index, frames) = ((0..1000).map(line).collect::<String>(), PROBE.repeat(1000));
        let reads = Rc::new(Cell::new(0));
        let [index, frames] =
            [(index.as_bytes(), Rc::default()), (&frames, reads.clone())].map(|(b, n)| Counting(b, n));
        let reader = Reader::new(index, [Counting(b"", Rc::default()), frames], &Meta::default());
        assert_eq!(reader.filter(Result::is_ok).count(), 1000);
        assert_eq!(reads.get(), 2, "all frames, and the end");
    }
}
