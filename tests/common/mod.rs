//! The captured peerings and golden values of `fixtures/`, for every integration test.
//!
//! Loading checks what all tests rely on: that the frames of each side follow one another without
//! a gap and make up the whole file, each with its length in front.

#![allow(dead_code, reason = "each test takes what it needs")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    missing_docs,
    unreachable_pub,
    reason = "test code"
)]

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::Value as Json;
use zeek_bridge::data::EndpointId;

/// One of the two ends of a captured connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Connector,
    Listener,
}

impl Side {
    pub const BOTH: [Side; 2] = [Side::Connector, Side::Listener];

    pub fn other(self) -> Side {
        match self {
            Side::Connector => Side::Listener,
            Side::Listener => Side::Connector,
        }
    }

    fn file(self) -> &'static str {
        match self {
            Side::Connector => "connector.bin",
            Side::Listener => "listener.bin",
        }
    }
}

/// Which part of a peering a frame belongs to: whether it is a handshake message or an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Handshake,
    Peered,
}

/// One frame, as it was captured.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its place in the order in which the frames of both sides completed.
    pub index: usize,
    /// The side that sent it.
    pub from: Side,
    /// Where it stands in what that side sent.
    pub offset: usize,
    pub phase: Phase,
    /// What it says: `message` or `envelope` of `frames.jsonl`.
    pub json: Json,
    /// All of it, the length field included.
    pub bytes: Bytes,
}

impl Frame {
    /// The bytes behind the length field.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(4..)
    }
}

/// One captured connection.
#[derive(Clone, Debug)]
pub struct Fixture {
    pub name: String,
    /// `meta.json`: versions, and who the two sides were.
    pub meta: Json,
    /// The frames of both sides in the order in which they completed.
    pub frames: Vec<Frame>,
    connector: Bytes,
    listener: Bytes,
}

impl Fixture {
    /// Every captured connection of `fixtures/`, by the name of its folder.
    pub fn names() -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder())
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().join("frames.jsonl").exists())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub fn all() -> Vec<Fixture> {
        Self::names().iter().map(|name| Self::load(name)).collect()
    }

    pub fn load(name: &str) -> Fixture {
        let folder = folder().join(name);
        let read = |file: &str| fs::read(folder.join(file)).unwrap_or_else(|e| panic!("{name}/{file}: {e}"));
        let streams = Side::BOTH.map(|side| Bytes::from(read(side.file())));
        let mut ends = [0, 0];
        let mut frames = Vec::new();
        for line in json_lines(&folder.join("frames.jsonl")) {
            let from = match line["from"].as_str() {
                Some("connector") => Side::Connector,
                Some("listener") => Side::Listener,
                _ => panic!("{name}: {line}"),
            };
            let (phase, part) = match line["phase"].as_str() {
                Some("handshake") => (Phase::Handshake, "message"),
                Some("peered") => (Phase::Peered, "envelope"),
                _ => panic!("{name}: {line}"),
            };
            let number = |field: &str| line[field].as_u64().expect(field) as usize;
            let (index, offset) = (number("index"), number("offset"));
            assert_eq!(index, frames.len(), "{name}");
            assert_eq!(offset, ends[from as usize], "{name} frame {index}: a gap");
            ends[from as usize] += number("length");
            let bytes = streams[from as usize].slice(offset..ends[from as usize]);
            let length = u32::from_be_bytes(bytes[..4].try_into().unwrap());
            assert_eq!(length as usize, bytes.len() - 4, "{name} frame {index}");
            frames.push(Frame { index, from, offset, phase, json: line[part].clone(), bytes });
        }
        let [connector, listener] = streams;
        assert_eq!(ends, [connector.len(), listener.len()], "{name}: bytes that are in no frame");
        let meta = serde_json::from_slice(&read("meta.json")).unwrap();
        Fixture { name: name.to_owned(), meta, frames, connector, listener }
    }

    /// Every byte that one side sent.
    pub fn stream(&self, side: Side) -> &Bytes {
        match side {
            Side::Connector => &self.connector,
            Side::Listener => &self.listener,
        }
    }

    /// The frames that one side sent.
    pub fn from(&self, side: Side) -> impl Iterator<Item = &Frame> {
        self.frames.iter().filter(move |frame| frame.from == side)
    }

    /// The id that a side gave itself, if it did.
    pub fn endpoint_id(&self, side: Side) -> Option<EndpointId> {
        self.from(side).find_map(|frame| frame.json["sender"].as_str()).map(|id| id.parse().unwrap())
    }

    /// The filter that a side had when the handshake began, if it said so.
    pub fn initial_filter(&self, side: Side) -> Option<Vec<String>> {
        self.from(side)
            .filter(|frame| frame.phase == Phase::Handshake)
            .find_map(|frame| frame.json["filter"].as_array())
            .map(|topics| topics.iter().map(|topic| topic.as_str().unwrap().to_owned()).collect())
    }
}

/// One line of `values.jsonl`.
#[derive(Clone, Debug)]
pub struct GoldenValue {
    pub name: String,
    /// The reference's bytes.
    pub bytes: Bytes,
    /// The same value in Broker's JSON.
    pub json: Json,
}

/// All of `values.jsonl`.
pub fn golden_values() -> Vec<GoldenValue> {
    json_lines(&folder().join("values.jsonl"))
        .into_iter()
        .map(|mut line| GoldenValue {
            name: line["name"].as_str().unwrap().to_owned(),
            bytes: data_encoding::HEXLOWER.decode(line["hex"].as_str().unwrap().as_bytes()).unwrap().into(),
            json: line["json"].take(),
        })
        .collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn json_lines(path: &Path) -> Vec<Json> {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(json).collect()
}

/// Some of the values nest deeper than serde_json reads by default.
fn json(text: &str) -> Json {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.disable_recursion_limit();
    let mut documents = reader.into_iter();
    let json = documents.next().unwrap().unwrap();
    assert!(documents.next().is_none(), "more than one document: {text}");
    json
}
