//! The two sides of a connection: splits the bytes into frames and writes the lines of `fixtures/*/frames.jsonl`.

use bytes::{Buf, Bytes, BytesMut};
use clap::ValueEnum;
use zeek_bridge::data::EndpointId;
use zeek_bridge::wire::{DecodeError, Envelope, Handshake, LENGTH_FIELD, Limits, cut_frame};

use crate::output::Object;
use crate::resync::{Next, next_frame};

/// The limits of every frame. The memory of a side is bounded by one frame of this size and the last input.
const LIMITS: &Limits = &Limits::DEFAULT;

/// One of the two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Side {
    /// The side that opened the connection.
    Connector,
    /// The side that accepted it.
    Listener,
}

impl Side {
    pub(crate) const BOTH: [Side; 2] = [Side::Connector, Side::Listener];

    /// Returns the other end.
    pub(crate) const fn other(self) -> Self {
        match self {
            Side::Connector => Side::Listener,
            Side::Listener => Side::Connector,
        }
    }

    /// Returns the name used in fixtures.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Side::Connector => "connector",
            Side::Listener => "listener",
        }
    }
}

/// The decoded content of a frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    Handshake(Handshake),
    /// An envelope whose payload is valid for its type.
    Envelope(Envelope),
}

/// A frame of one side.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The offset of the length field in the bytes of this side.
    pub(crate) offset: u64,
    /// Whether the side had sent its last handshake message before this frame.
    pub(crate) peered: bool,
    /// The body of the frame, after the length field.
    pub(crate) body: Bytes,
    pub(crate) content: Result<Content, DecodeError>,
}

impl Frame {
    /// Decodes the body of a frame.
    pub(crate) fn read(offset: u64, peered: bool, body: Bytes) -> Self {
        let content = if peered {
            Envelope::decode(&body).and_then(|envelope| {
                envelope.check(LIMITS)?;
                Ok(Content::Envelope(envelope))
            })
        } else {
            Handshake::decode(&body, LIMITS).map(Content::Handshake)
        };
        Frame { offset, peered, body, content }
    }

    /// Returns the size of the frame in bytes, including the length field.
    pub(crate) fn length(&self) -> u64 {
        long(self.body.len().saturating_add(LENGTH_FIELD))
    }

    /// Adds the offset, length, phase and content (`message`, `envelope` or `error`).
    pub(crate) fn tell(&self, head: Object) -> Object {
        let object = head
            .with("offset", self.offset)
            .with("length", self.length())
            .with("phase", if self.peered { "peered" } else { "handshake" });
        let mut text = Vec::new();
        let written = match &self.content {
            Ok(Content::Handshake(message)) => {
                return object.with_text("message", &message.to_json().to_string());
            }
            // Cannot fail: it writes to memory.
            Ok(Content::Envelope(envelope)) => envelope.write_json(LIMITS, &mut text).map(drop),
            Err(error) => Err(error.clone()),
        };
        match written {
            Ok(()) => object.with_bytes("envelope", &text),
            Err(error) => object.with("error", error.to_string()),
        }
    }
}

/// Why a side cannot be read further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// The offset in the bytes of this side.
    pub(crate) offset: u64,
    pub(crate) error: String,
}

impl Broken {
    /// Adds the offset and the error.
    pub(crate) fn tell(&self, head: Object) -> Object {
        head.with("offset", self.offset).with("error", self.error.as_str())
    }
}

/// The frames of one side.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    buffer: BytesMut,
    /// The offset of the buffer in the stream.
    offset: u64,
    /// Whether this side has sent its last handshake message.
    peered: bool,
    /// The endpoint id of this side, from its handshake.
    sender: Option<EndpointId>,
    reading: Reading,
}

/// The content at the start of a side's buffer.
#[derive(Debug, Default)]
enum Reading {
    /// A frame.
    #[default]
    Frames,
    /// Bytes to skip before the next frame.
    Search { tries: u32 },
    /// Nothing that can be read; also not later.
    Nothing,
}

/// Maximum number of candidates in the search for the next frame.
const MAX_TRIES: u32 = 256;

impl Frames {
    /// Returns a side whose beginning is missing.
    pub(crate) fn from_the_middle() -> Self {
        Frames { reading: Reading::Search { tries: 0 }, ..Frames::default() }
    }

    /// Returns a side that has sent its last handshake message before.
    pub(crate) fn continued() -> Self {
        Frames { peered: true, ..Frames::default() }
    }

    /// Returns whether the handshake is done and the stream is in sync.
    fn is_sound(&self) -> bool {
        self.peered && matches!(self.reading, Reading::Frames)
    }

    /// Returns the offset at which further bytes are appended.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Returns the number of bytes of an incomplete frame.
    pub(crate) fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// Returns the next frame, or `None` if it is incomplete.
    ///
    /// # Errors
    /// Fails once, if there is no frame where one should begin. All further input is discarded.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, Broken> {
        if let Reading::Search { .. } = self.reading {
            self.search()?;
        }
        match self.reading {
            Reading::Frames => {}
            Reading::Search { .. } => return Ok(None),
            Reading::Nothing => {
                self.buffer.clear();
                return Ok(None);
            }
        }
        match cut_frame(&mut self.buffer, LIMITS.max_frame) {
            Ok(None) => {
                if self.buffer.is_empty() {
                    // Free the memory of a large frame: there may be many sides.
                    self.buffer = BytesMut::new();
                }
                Ok(None)
            }
            Ok(Some(body)) => Ok(Some(self.read(body))),
            Err(error) => Err(self.give_up(format!("{error}; the rest of this side cannot be read"))),
        }
    }

    /// Records that `count` bytes are missing after the input so far, and searches for the next frame.
    pub(crate) fn lose(&mut self, count: u64, why: &str) -> Option<Broken> {
        let at = self.offset.saturating_add(long(self.buffer.len()));
        let known = matches!(self.reading, Reading::Frames);
        if known {
            self.reading = Reading::Search { tries: 0 };
        }
        self.offset = at.saturating_add(count);
        self.buffer.clear();
        known.then(|| Broken {
            offset: at,
            error: format!("{count} bytes are missing: {why}; reading continues at the next complete frame"),
        })
    }

    /// Returns the error of an incomplete frame at the end of the input.
    pub(crate) fn end(&self) -> Option<Broken> {
        let inside = matches!(self.reading, Reading::Frames) && !self.buffer.is_empty();
        inside.then(|| Broken {
            offset: self.offset,
            error: format!("the stream ends inside a frame, after {} bytes of it", self.buffer.len()),
        })
    }

    fn read(&mut self, body: Bytes) -> Frame {
        let frame = Frame::read(self.offset, self.peered, body);
        self.offset = self.offset.saturating_add(frame.length());
        if let Ok(Content::Handshake(message)) = &frame.content {
            match message {
                Handshake::Hello { sender, .. } | Handshake::VersionSelect { sender, .. } => {
                    self.sender = Some(*sender);
                }
                // The last handshake messages of the originator and of the responder.
                Handshake::OriginatorAck | Handshake::ResponderSynAck(_) => self.peered = true,
                _ => {}
            }
        }
        frame
    }

    fn search(&mut self) -> Result<(), Broken> {
        let Reading::Search { tries } = &mut self.reading else { return Ok(()) };
        let next = next_frame(&self.buffer, self.sender, LIMITS, tries);
        if *tries > MAX_TRIES {
            return Err(
                self.give_up("no further frame was found; the rest of this side cannot be read".into())
            );
        }
        let (Next::Frame { at, .. } | Next::Maybe { at }) = next;
        self.offset = self.offset.saturating_add(long(at));
        self.buffer.advance(at);
        if let Next::Frame { peered, .. } = next {
            self.peered = peered;
            self.reading = Reading::Frames;
        }
        Ok(())
    }

    fn give_up(&mut self, error: String) -> Broken {
        self.reading = Reading::Nothing;
        Broken { offset: self.offset, error }
    }
}

fn long(length: usize) -> u64 {
    length.try_into().unwrap_or(u64::MAX)
}

/// The two sides of a connection.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    connector: Frames,
    listener: Frames,
    index: u64,
}

/// A line of the recording.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// The index of the frame among those of both sides, in the order of completion.
    pub(crate) index: u64,
    pub(crate) from: Side,
    /// The time since the start of the connection, in microseconds.
    pub(crate) t_us: u64,
    pub(crate) said: Result<Frame, Broken>,
}

impl Line {
    /// Adds all fields: `index`, `from`, `t_us`, and those of [`Frame::tell`] or [`Broken::tell`].
    pub(crate) fn tell(&self, head: Object) -> Object {
        let head = head.with("index", self.index).with("from", self.from.name()).with("t_us", self.t_us);
        match &self.said {
            Ok(frame) => frame.tell(head),
            Err(broken) => broken.tell(head),
        }
    }
}

impl Conversation {
    /// Returns a connection whose beginning is missing.
    pub(crate) fn from_the_middle() -> Self {
        let [connector, listener] = Side::BOTH.map(|_| Frames::from_the_middle());
        Conversation { connector, listener, index: 0 }
    }

    /// Returns the later part of a connection that was split between frames after the handshake.
    pub(crate) fn continued() -> Self {
        let [connector, listener] = Side::BOTH.map(|_| Frames::continued());
        Conversation { connector, listener, index: 0 }
    }

    /// Returns whether the connection can be split here, so that the rest can be read on its own.
    pub(crate) fn can_be_cut(&self) -> bool {
        self.connector.is_sound() && self.listener.is_sound()
    }

    /// Returns the bytes of the incomplete frame of a side.
    pub(crate) fn begun(&self, side: Side) -> &[u8] {
        match side {
            Side::Connector => &self.connector.buffer,
            Side::Listener => &self.listener.buffer,
        }
    }

    /// Returns the number of bytes of an incomplete frame.
    pub(crate) fn waiting(&self) -> usize {
        self.connector.waiting().saturating_add(self.listener.waiting())
    }

    /// Records that bytes of a side are missing. Returns a line about it, unless the side is already searching for a frame or
    /// cannot be read further.
    pub(crate) fn lose(&mut self, from: Side, t_us: u64, count: u64, why: &str) -> Option<Line> {
        let broken = self.side(from).lose(count, why)?;
        Some(self.line(from, t_us, Err(broken)))
    }

    /// Adds input of a side, received `t_us` microseconds after the start of the connection. Returns the frames that are now
    /// complete and, once, an error if the side cannot be read further.
    pub(crate) fn input(&mut self, from: Side, t_us: u64, bytes: &[u8]) -> impl Iterator<Item = Line> {
        self.side(from).buffer().extend_from_slice(bytes);
        std::iter::from_fn(move || {
            let said = self.side(from).next().transpose()?;
            Some(self.line(from, t_us, said))
        })
    }

    /// Ends the input. Returns an error line for each side whose last frame is incomplete.
    pub(crate) fn end(&mut self, t_us: u64) -> impl Iterator<Item = Line> {
        Side::BOTH.into_iter().filter_map(move |from| {
            let broken = self.side(from).end()?;
            Some(self.line(from, t_us, Err(broken)))
        })
    }

    fn side(&mut self, side: Side) -> &mut Frames {
        match side {
            Side::Connector => &mut self.connector,
            Side::Listener => &mut self.listener,
        }
    }

    fn line(&mut self, from: Side, t_us: u64, said: Result<Frame, Broken>) -> Line {
        let index = self.index;
        self.index = index.saturating_add(1);
        Line { index, from, t_us, said }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use serde_json::Value as Json;
    use zeek_bridge::data::parse_json;

    use super::*;

    fn fixtures() -> Vec<PathBuf> {
        let folders = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")).unwrap();
        folders
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.join("frames.jsonl").is_file() && path.join("connector.bin").is_file())
            .collect()
    }

    /// Compares JSON, but reals by value: the fixtures write 1.0 as 1.
    fn same(a: &Json, b: &Json) -> bool {
        match (a, b) {
            (Json::Number(a), Json::Number(b)) => a == b || a.as_f64() == b.as_f64(),
            (Json::Array(a), Json::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
            }
            (Json::Object(a), Json::Object(b)) => {
                a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
            }
            _ => a == b,
        }
    }

    fn json(line: &Line) -> Json {
        parse_json(line.tell(Object::new()).into_line()).unwrap()
    }

    #[test]
    fn the_lines_are_those_of_every_fixture() {
        let folders = fixtures();
        assert!(folders.len() >= 16);
        for folder in folders {
            let stream = |side: Side| fs::read(folder.join(format!("{}.bin", side.name()))).unwrap();
            let streams = Side::BOTH.map(stream);
            let mut conversation = Conversation::default();
            for expected in fs::read_to_string(folder.join("frames.jsonl")).unwrap().lines() {
                let expected = parse_json(expected.as_bytes()).unwrap();
                let number = |name: &str| expected[name].as_u64().unwrap();
                let from = Side::BOTH.into_iter().find(|side| expected["from"] == side.name()).unwrap();
                let (start, length) =
                    (number("offset").try_into().unwrap(), usize::try_from(number("length")).unwrap());
                let bytes = &streams[usize::from(from == Side::Listener)][start..][..length];
                // In two pieces: nothing is returned before the last byte has arrived.
                assert_eq!(conversation.input(from, 0, &bytes[..length - 1]).count(), 0);
                let lines: Vec<Line> =
                    conversation.input(from, number("t_us"), &bytes[length - 1..]).collect();
                let [line] = lines.as_slice() else { panic!("{lines:?}") };
                assert_eq!(line.said.as_ref().unwrap().body, bytes[4..]);
                let found = json(line);
                if expected["message"].get("wrong_magic").is_some() {
                    assert!(found["error"].as_str().unwrap().contains("wrong magic"), "{found}");
                } else {
                    assert!(same(&found, &expected), "{found}\n{expected}");
                }
            }
            assert_eq!(conversation.end(0).count(), 0);
        }
    }

    #[test]
    fn a_side_that_breaks_says_so_once_and_the_other_goes_on() {
        let mut conversation = Conversation::default();
        let probe = b"\0\0\0\x05\x07ZEEK";
        let lines: Vec<Json> = [
            (Side::Listener, [&probe[..], &b"\0\0\0\0"[..], &probe[..]].concat()),
            (Side::Listener, probe.to_vec()),
            (Side::Connector, [&probe[..], &b"\0\0"[..]].concat()),
        ]
        .into_iter()
        .flat_map(|(side, bytes)| {
            conversation.input(side, 7, &bytes).map(|line| json(&line)).collect::<Vec<_>>()
        })
        .collect();
        let probe = serde_json::json!({"type": "probe"});
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!((&lines[0]["message"], &lines[2]["message"]), (&probe, &probe));
        assert_eq!((lines[1]["index"].as_u64(), lines[1]["offset"].as_u64()), (Some(1), Some(9)));
        assert_eq!(lines[1]["error"], "a frame of length 0; the rest of this side cannot be read");
        let ends: Vec<Json> = conversation.end(8).map(|line| json(&line)).collect();
        assert_eq!(
            ends,
            [serde_json::json!({"index": 3, "from": "connector", "t_us": 8, "offset": 9,
                                "error": "the stream ends inside a frame, after 2 bytes of it"})]
        );
    }
}
