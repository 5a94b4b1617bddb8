//! Decodes and encodes every worked example of `PROTOCOL.md`.

use bytes::BytesMut;
use data_encoding::HEXLOWER_PERMISSIVE;
use serde_json::Value as Json;

use super::{Envelope, Handshake, Limits, cut_frame, decode_value, encode_value};

const SPECIFICATION: &str = include_str!("../PROTOCOL.md");

/// A fenced block: its language and its lines.
struct Block<'a> {
    language: &'a str,
    lines: Vec<&'a str>,
}

fn blocks() -> Vec<Block<'static>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block<'_>> = None;
    for line in SPECIFICATION.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some(Block { language, lines: Vec::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.lines.push(line),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "the last block is not closed");
    blocks
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).unwrap_or_else(|error| panic!("{hex}: {error}"))
}

/// Returns the frames in the blocks of this language. Each frame is returned with the JSON in the block after it.
fn frames(language: &str) -> Vec<(Vec<u8>, Json)> {
    let blocks = blocks();
    let frames: Vec<_> = blocks
        .iter()
        .zip(blocks.iter().skip(1))
        .filter(|(frame, _)| frame.language == language)
        .map(|(frame, json)| {
            assert_eq!(json.language, "json", "{:?} has no JSON after it", frame.lines);
            (bytes(&frame.lines.concat()), serde_json::from_str(&json.lines.concat()).unwrap())
        })
        .collect();
    assert!(frames.len() >= 4, "{} examples of {language}", frames.len());
    frames
}

/// Returns the body of the only frame in `bytes`.
fn body(bytes: &[u8]) -> bytes::Bytes {
    let mut buffer = BytesMut::from(bytes);
    let body = cut_frame(&mut buffer, bytes.len()).unwrap().expect("the length is too large");
    assert!(buffer.is_empty(), "{} bytes after the frame", buffer.len());
    body
}

#[test]
fn handshake_examples_decode_and_encode() {
    for (bytes, json) in frames("hex-handshake") {
        let message = Handshake::decode(&body(&bytes), &Limits::DEFAULT).unwrap();
        assert_eq!(message.to_json(), json);
        let mut out = BytesMut::new();
        message.encode(&mut out).unwrap();
        assert_eq!(out, bytes, "{json}");
    }
}

#[test]
fn envelope_examples_decode_and_encode() {
    for (bytes, json) in frames("hex-envelope") {
        let envelope = Envelope::decode(&body(&bytes)).unwrap();
        assert_eq!(envelope.to_json(&Limits::DEFAULT).unwrap(), json);
        let mut out = BytesMut::new();
        envelope.encode(&mut out).unwrap();
        assert_eq!(out, bytes, "{json}");
        if let Ok(value) = envelope.value(&Limits::DEFAULT) {
            let mut payload = Vec::new();
            encode_value(&value, &mut payload).unwrap();
            assert_eq!(payload, envelope.payload, "{json}");
        }
    }
}

#[test]
fn value_examples_decode_and_encode() {
    let mut tags = Vec::new();
    for block in blocks().iter().filter(|block| block.language == "hex-values") {
        for line in &block.lines {
            let (hex, json) = line.split_at(line.find('{').unwrap());
            let bytes = bytes(hex);
            let value =
                decode_value(&bytes, &Limits::DEFAULT).unwrap_or_else(|error| panic!("{line}: {error}"));
            let mut out = Vec::new();
            encode_value(&value, &mut out).unwrap();
            assert_eq!(out, bytes, "{line}");
            assert_eq!(value.to_json(), serde_json::from_str::<Json>(json).unwrap());
            tags.push(value.tag());
        }
    }
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags, (0..=14).collect::<Vec<u8>>(), "each type has an example");
}
