//! The captured peerings and golden values of `fixtures/`, for the integration tests.
//!
//! All tests rely on three properties, which are checked when a fixture is loaded:
//!
//! - The frames of each side cover the file of the side without a gap.
//! - Each frame begins with its length.
//! - The library's reader of recordings finds the same frames.

#![allow(dead_code, reason = "each test binary uses a part of this module")]
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::Value as Json;
use zeek_bridge::data::EndpointId;
pub use zeek_bridge::trace::Side;
use zeek_bridge::trace::{Meta, Reader, recordings_in};

/// The phase of a peering to which a frame belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The frame is a handshake message.
    Handshake,
    /// The frame is an envelope.
    Peered,
}

/// A captured frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The index in the order in which the frames of both sides were completed.
    pub index: usize,
    /// The side that sent it.
    pub from: Side,
    /// The offset in the bytes of that side.
    pub offset: usize,
    pub phase: Phase,
    /// The expected content: `message` or `envelope` in `frames.jsonl`.
    pub json: Json,
    /// All bytes, including the length field.
    pub bytes: Bytes,
}

impl Frame {
    /// Returns the bytes after the length field.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(4..)
    }
}

/// A captured connection.
#[derive(Clone, Debug)]
pub struct Fixture {
    pub name: String,
    /// `meta.json`: the versions and a description of the two sides.
    pub meta: Json,
    /// The frames of both sides in the order in which they were completed.
    pub frames: Vec<Frame>,
    connector: Bytes,
    listener: Bytes,
}

impl Fixture {
    /// Returns the names of all connections in `fixtures/`, sorted.
    pub fn names() -> Vec<String> {
        let folders = recordings_in(&folder()).unwrap();
        folders.iter().map(|folder| folder.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    pub fn all() -> Vec<Fixture> {
        Self::names().iter().map(|name| Self::load(name)).collect()
    }

    pub fn load(name: &str) -> Fixture {
        let folder = folder().join(name);
        let read = |file: &str| fs::read(folder.join(file)).unwrap_or_else(|e| panic!("{name}/{file}: {e}"));
        let streams = ["connector.bin", "listener.bin"].map(|file| Bytes::from(read(file)));
        let mut ends = [0, 0];
        let mut frames = Vec::new();
        let mut entries = Reader::open(&folder, &Meta::default()).unwrap();
        for line in json_lines(&folder.join("frames.jsonl")) {
            let entry = entries.next().unwrap().unwrap();
            let frame = entry.frame.unwrap();
            assert_eq!(line["from"], entry.from.name(), "{name}");
            let (phase, part) = match line["phase"].as_str() {
                Some("handshake") => (Phase::Handshake, "message"),
                Some("peered") => (Phase::Peered, "envelope"),
                _ => panic!("{name}: {line}"),
            };
            assert_eq!(frame.peered, phase == Phase::Peered, "{name}: {line}");
            let number = |field: &str| line[field].as_u64().expect(field) as usize;
            let (index, offset) = (number("index"), number("offset"));
            assert_eq!((index, entry.index), (frames.len(), index as u64), "{name}");
            let end = &mut ends[entry.from as usize];
            assert_eq!((offset, frame.offset), (*end, offset as u64), "{name} frame {index}: a gap");
            *end += number("length");
            let bytes = streams[entry.from as usize].slice(offset..*end);
            let length = u32::from_be_bytes(bytes[..4].try_into().unwrap());
            assert_eq!(length as usize, bytes.len() - 4, "{name} frame {index}");
            assert_eq!(frame.body, bytes[4..], "{name} frame {index}");
            frames.push(Frame { index, from: entry.from, offset, phase, json: line[part].clone(), bytes });
        }
        assert!(entries.next().is_none(), "{name}: more frames in the .bin files than lines in frames.jsonl");
        let [connector, listener] = streams;
        assert_eq!(ends, [connector.len(), listener.len()], "{name}: bytes after the last frame");
        let meta = serde_json::from_slice(&read("meta.json")).unwrap();
        Fixture { name: name.to_owned(), meta, frames, connector, listener }
    }

    /// Returns all bytes that a side sent.
    pub fn stream(&self, side: Side) -> &Bytes {
        match side {
            Side::Connector => &self.connector,
            Side::Listener => &self.listener,
        }
    }

    /// Returns the frames that a side sent.
    pub fn from(&self, side: Side) -> impl Iterator<Item = &Frame> {
        self.frames.iter().filter(move |frame| frame.from == side)
    }

    /// Returns the endpoint id of a side, if it sent one.
    pub fn endpoint_id(&self, side: Side) -> Option<EndpointId> {
        self.from(side).find_map(|frame| frame.json["sender"].as_str()).map(|id| id.parse().unwrap())
    }

    /// Returns the filter that a side sent in the handshake, if it did.
    pub fn initial_filter(&self, side: Side) -> Option<Vec<String>> {
        self.from(side)
            .filter(|frame| frame.phase == Phase::Handshake)
            .find_map(|frame| frame.json["filter"].as_array())
            .map(|topics| topics.iter().map(|topic| topic.as_str().unwrap().to_owned()).collect())
    }
}

/// A line of `values.jsonl`.
#[derive(Clone, Debug)]
pub struct GoldenValue {
    pub name: String,
    /// The bytes as Broker encodes them.
    pub bytes: Bytes,
    /// The same value in Broker's JSON.
    pub json: Json,
}

/// Returns all values of `values.jsonl`.
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

/// Parses JSON. Some values are nested deeper than serde_json allows by default.
fn json(text: &str) -> Json {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.disable_recursion_limit();
    let mut documents = reader.into_iter();
    let json = documents.next().unwrap().unwrap();
    assert!(documents.next().is_none(), "more than one document: {text}");
    json
}

/// Returns whether two JSON values are equal. Reals are compared by value: Broker writes 1.0 as `1`, this crate as `1.0`.
pub fn same_json(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) if a.is_f64() || b.is_f64() => {
            a.as_f64().map(f64::to_bits) == b.as_f64().map(f64::to_bits)
        }
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_json(a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same_json(a, b)))
        }
        _ => a == b,
    }
}
