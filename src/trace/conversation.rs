//! The two sides of a connection.

use std::borrow::Cow;

use super::frame::Frame;
use super::json::put_member;
use super::stream::{FrameReader, StreamError};
use super::{Protocol, Side};

/// Divides the bytes of both sides of a connection into frames.
#[derive(Debug, Default)]
pub struct Conversation {
    connector: FrameReader,
    listener: FrameReader,
    index: u64,
}

/// An entry of a recording: a frame, or the reason why no frame can be read.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The number of the entry, counted from 0 over both sides, in the order in which the frames were completed.
    pub index: u64,
    /// The side that sent the bytes.
    pub from: Side,
    /// The time since the start of the connection, in microseconds.
    pub t_us: u64,
    /// The frame, or the reason why the bytes of the side cannot be read as a frame.
    pub frame: Result<Frame, StreamError>,
}

impl Entry {
    /// Appends members of a JSON object: `index`, `from` and `t_us`, followed by those of [`Frame::write_members`] or
    /// [`StreamError::write_members`].
    pub fn write_members(&self, to: &mut Vec<u8>) {
        put_member(to, "index", self.index);
        put_member(to, "from", self.from.name());
        put_member(to, "t_us", self.t_us);
        match &self.frame {
            Ok(frame) => frame.write_members(to),
            Err(error) => error.write_members(to),
        }
    }
}

impl Conversation {
    /// Returns the state of a connection whose first bytes are missing.
    #[must_use]
    pub fn from_the_middle() -> Self {
        let [connector, listener] = Side::BOTH.map(|_| FrameReader::from_the_middle());
        Conversation { connector, listener, index: 0 }
    }

    /// Returns the state of the second part of a connection that was split between two frames after the handshake.
    #[must_use]
    pub fn continued(protocol: Protocol) -> Self {
        let [connector, listener] = Side::BOTH.map(|side| FrameReader::continued(protocol, side));
        Conversation { connector, listener, index: 0 }
    }

    /// Returns the state of a new connection. If `protocol` is `None`, the protocol is recognized by the first bytes.
    #[must_use]
    pub fn of(protocol: Option<Protocol>) -> Self {
        let [connector, listener] = Side::BOTH.map(|side| match protocol {
            None => FrameReader::default(),
            Some(protocol) => FrameReader::of(protocol, side),
        });
        Conversation { connector, listener, index: 0 }
    }

    /// Returns the protocol of the connection. It is unknown until the connector has sent its first bytes.
    #[must_use]
    pub fn protocol(&self) -> Option<Protocol> {
        self.connector.protocol()
    }

    /// Returns whether the connection can be split after the input so far, so that the second part can be decoded
    /// separately.
    #[must_use]
    pub fn can_be_split(&self) -> bool {
        self.connector.is_in_sync() && self.listener.is_in_sync()
    }

    /// Returns the bytes of the incomplete frame of a side.
    #[must_use]
    pub fn partial_frame(&self, side: Side) -> &[u8] {
        match side {
            Side::Connector => self.connector.partial_frame(),
            Side::Listener => self.listener.partial_frame(),
        }
    }

    /// Returns the number of bytes of the incomplete frames and messages of both sides.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.connector.buffered().saturating_add(self.listener.buffered())
    }

    /// Records that `count` bytes of a side are missing. Returns an entry about the missing bytes. Returns `None` if
    /// the search for the next frame of this side is already in progress, or if the remaining bytes of the side cannot
    /// be decoded.
    pub fn lose(
        &mut self,
        from: Side,
        t_us: u64,
        count: u64,
        cause: impl Into<Cow<'static, str>>,
    ) -> Option<Entry> {
        let error = self.side(from).lose(count, cause)?;
        Some(self.entry(from, t_us, Err(error)))
    }

    /// Adds input of a side, received `t_us` microseconds after the start of the connection. Returns the frames that
    /// are now complete. If the remaining bytes of the side cannot be decoded, also returns an error, once.
    pub fn input(&mut self, from: Side, t_us: u64, bytes: &[u8]) -> impl Iterator<Item = Entry> {
        self.push(from, bytes);
        std::iter::from_fn(move || self.next_entry(from, t_us))
    }

    /// Adds input of a side, to be read with [`next_entry`](Self::next_entry).
    pub(super) fn push(&mut self, from: Side, bytes: &[u8]) {
        self.side(from).buffer().extend_from_slice(bytes);
    }

    /// Returns the next frame in the input of a side, or an error, in the same way as [`input`](Self::input).
    pub(super) fn next_entry(&mut self, from: Side, t_us: u64) -> Option<Entry> {
        let frame = self.side(from).next_frame();
        self.expect_protocol_of(from);
        Some(self.entry(from, t_us, frame.transpose()?))
    }

    /// Reads the other side with the protocol of `from`. The protocol of the listener is not always shown by its first bytes: a
    /// server may refuse a WebSocket session with any HTTP response, and an endpoint with another protocol may answer.
    fn expect_protocol_of(&mut self, from: Side) {
        match (from, self.side(from).protocol()) {
            (Side::Connector, Some(protocol)) => self.listener.expect(protocol, Side::Listener),
            (Side::Listener, Some(Protocol::ZeroMq)) => {
                self.connector.expect(Protocol::ZeroMq, Side::Connector);
            }
            (Side::Listener, _) | (_, None) => {}
        }
    }

    /// Ends the input. Returns an error for each side whose last frame is incomplete, see [`FrameReader::end`].
    pub fn end(&mut self, t_us: u64) -> impl Iterator<Item = Entry> {
        Side::BOTH.into_iter().filter_map(move |from| self.end_side(from, t_us))
    }

    pub(super) fn end_side(&mut self, from: Side, t_us: u64) -> Option<Entry> {
        let end = self.side(from).end()?;
        Some(self.entry(from, t_us, end))
    }

    fn side(&mut self, side: Side) -> &mut FrameReader {
        match side {
            Side::Connector => &mut self.connector,
            Side::Listener => &mut self.listener,
        }
    }

    fn entry(&mut self, from: Side, t_us: u64, frame: Result<Frame, StreamError>) -> Entry {
        let index = self.index;
        self.index = index.saturating_add(1);
        Entry { index, from, t_us, frame }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::data::parse_json;
    use serde_json::Value as Json;

    fn fixtures() -> Vec<PathBuf> {
        let folders = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")).unwrap();
        folders
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.join("frames.jsonl").is_file() && path.join("connector.bin").is_file())
            .collect()
    }

    /// Compares JSON values. Reals are compared by value, because the fixtures contain 1 where JSON of this crate
    /// contains 1.0.
    fn same_json(a: &Json, b: &Json) -> bool {
        match (a, b) {
            (Json::Number(a), Json::Number(b)) => a == b || a.as_f64() == b.as_f64(),
            (Json::Array(a), Json::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_json(a, b))
            }
            (Json::Object(a), Json::Object(b)) => {
                a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same_json(a, b)))
            }
            _ => a == b,
        }
    }

    fn json(entry: &Entry) -> Json {
        let mut text = vec![b'{'];
        entry.write_members(&mut text);
        text.push(b'}');
        parse_json(&text).unwrap()
    }

    #[test]
    fn entries_match_those_of_every_fixture() {
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
                // Pass the input in two pieces: no frame is returned before its last byte has arrived.
                assert_eq!(conversation.input(from, 0, &bytes[..length - 1]).count(), 0);
                let entries: Vec<Entry> =
                    conversation.input(from, number("t_us"), &bytes[length - 1..]).collect();
                let [entry] = entries.as_slice() else { panic!("{entries:?}") };
                assert_eq!(entry.frame.as_ref().unwrap().body, bytes[4..]);
                let found = json(entry);
                if expected["message"].get("wrong_magic").is_some() {
                    assert!(found["error"].as_str().unwrap().contains("wrong magic"), "{found}");
                } else {
                    assert!(same_json(&found, &expected), "{found}\n{expected}");
                }
            }
            assert_eq!(conversation.end(0).count(), 0);
        }
    }

    #[test]
    fn a_broken_side_is_reported_once_and_the_other_continues() {
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
        assert_eq!(
            lines[1]["error"],
            "a frame of length 0; the remaining bytes of this side cannot be decoded"
        );
        let ends: Vec<Json> = conversation.end(8).map(|line| json(&line)).collect();
        assert_eq!(
            ends,
            [serde_json::json!({"index": 3, "from": "connector", "t_us": 8, "offset": 9,
                                "error": "the stream ends inside a frame or a message, after 2 bytes of it"})]
        );
    }
}
