//! Replays of the connections of a Zeek cluster (`fixtures/zeromq/`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use serde_json::Value as Json;

use super::*;
use crate::wire::Limits;

/// All bytes that one side of a captured connection sent.
struct Stream {
    /// Folder, connection and side.
    name: String,
    bytes: Vec<u8>,
    /// The lines of `frames.jsonl`.
    frames: Vec<Json>,
}

impl Stream {
    /// Returns the type of the socket of the side.
    fn socket(&self) -> &str {
        let ready = self.frames.iter().find(|frame| frame["name"] == "READY").unwrap();
        ready["properties"]["Socket-Type"].as_str().unwrap()
    }

    /// Returns a session that is the peer of this side.
    fn peer(&self) -> End {
        let socket = match self.socket() {
            "XPUB" => SocketType::XSub,
            "XSUB" | "SUB" => SocketType::XPub,
            "PUSH" => SocketType::Pull,
            "PULL" => SocketType::Push,
            other => panic!("{other}"),
        };
        let mut end = End::new(socket, |config| config.own_id = id(9));
        end.take_output();
        end
    }

    fn frame_bytes(&self, frame: &Json) -> &[u8] {
        let number = |member: &str| usize::try_from(frame[member].as_u64().unwrap()).unwrap();
        &self.bytes[number("offset")..][..number("length")]
    }

    /// Returns the body of a part of a message.
    fn part(&self, frame: &Json) -> &[u8] {
        let bytes = self.frame_bytes(frame);
        &bytes[if bytes[0] & 2 == 0 { 2 } else { 9 }..]
    }
}

pub(super) fn lines(path: PathBuf) -> Vec<Json> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(super) fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/zeromq").join(name)
}

const FOLDERS: [&str; 4] = ["cluster", "all-types", "json", "reconnect"];

fn streams() -> Vec<Stream> {
    let mut streams = Vec::new();
    for name in FOLDERS {
        let mut sides: BTreeMap<[String; 2], Vec<Json>> = BTreeMap::new();
        for frame in lines(folder(name).join("frames.jsonl")) {
            let side = ["connection", "from"].map(|member| frame[member].as_str().unwrap().to_owned());
            sides.entry(side).or_default().push(frame);
        }
        for ([connection, side], frames) in sides {
            let bytes = fs::read(folder(name).join(format!("{connection}-{side}.bin"))).unwrap();
            streams.push(Stream { name: format!("{name} {connection} {side}"), bytes, frames });
        }
    }
    assert_eq!(streams.len(), 64);
    streams
}

/// Returns the values of `events.jsonl`, if there is one for each event.
fn values(folder_name: &str) -> Vec<Json> {
    lines(folder(folder_name).join("events.jsonl"))
}

/// Removes the sign of zeros, because the fixtures do not contain it.
fn without_sign_of_zero(value: Value) -> Value {
    match value {
        Value::Real(-0.0) => Value::Real(0.0),
        Value::Vector(elements) => Value::Vector(elements.into_iter().map(without_sign_of_zero).collect()),
        other => other,
    }
}

/// Feeds each side frame by frame, and checks the effect of each frame.
#[test]
fn every_frame_of_a_cluster_is_read() {
    let (mut events, mut logs, mut filters) = (0, 0, 0);
    for stream in streams() {
        let name = &stream.name;
        let values = values(name.split(' ').next().unwrap());
        let mut end = stream.peer();
        let mut subscriptions: BTreeSet<String> = BTreeSet::new();
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut event_index = None;
        for frame in &stream.frames {
            end.receive(stream.frame_bytes(frame));
            let received = end.take_events();
            let kind = (frame["kind"].as_str().unwrap(), frame["name"].as_str().unwrap_or_default());
            match kind {
                ("greeting", _) => assert_eq!(received, [], "{name}"),
                ("command", "READY") => assert!(matches!(received[1], Event::Established { .. })),
                ("command", "SUBSCRIBE") | ("subscription-message", _) => {
                    let topic = frame["topic"].as_str().unwrap().to_owned();
                    let is_changed = if frame["subscribe"] == false {
                        assert!(subscriptions.remove(&topic), "{name}: {frame} is not subscribed");
                        true
                    } else {
                        subscriptions.insert(topic)
                    };
                    let filter: Filter = subscriptions.iter().map(Topic::from).collect();
                    let expected = is_changed.then(|| Event::FilterChanged(filter));
                    filters += u32::from(is_changed);
                    assert_eq!(received, Vec::from_iter(expected), "{name}: {frame}");
                }
                ("message-part", _) => {
                    if frame["part"] == 0 {
                        (parts, event_index) = (Vec::new(), frame["event"].as_u64());
                    }
                    parts.push(stream.part(frame));
                    if frame["more"] == true {
                        assert_eq!(received, [], "{name}");
                        continue;
                    }
                    let [event] = &received[..] else { panic!("{name}: {received:?}") };
                    let sender = match event {
                        Event::Message(envelope) => {
                            events += 1;
                            assert_eq!(envelope.topic.as_bytes(), parts[0]);
                            if parts[2] == b"broker-bin-v1" {
                                assert_eq!(envelope.payload, parts[3]);
                            }
                            let value = envelope.value(&Limits::DEFAULT).unwrap();
                            if let Some(index) = event_index {
                                let expected = &values[usize::try_from(index).unwrap()]["value"];
                                let expected = Value::from_json(expected).unwrap();
                                assert_eq!(
                                    format!("{:?}", without_sign_of_zero(value)),
                                    format!("{:?}", without_sign_of_zero(expected)),
                                    "{name}: {frame}"
                                );
                            }
                            envelope.sender
                        }
                        Event::Logs { sender, batch } => {
                            logs += 1;
                            assert_eq!(batch, parts[3]);
                            *sender
                        }
                        other => panic!("{name}: {other:?}"),
                    };
                    let sender = end.session.sender_name(sender).unwrap();
                    assert_eq!(sender.as_bytes(), parts[1]);
                }
                other => panic!("{name}: {other:?}"),
            }
        }
        assert!(end.session.is_established() && end.input.is_empty(), "{name}");
        end.session.handle_eof();
        end.poll();
        assert_eq!(end.close_reason(), Some(&CloseReason::Lost), "{name}");
    }
    assert_eq!((events, logs, filters), (422, 22, 304));
}

/// libzmq sends a greeting and a READY that are equal to those of this crate.
#[test]
fn this_side_greets_as_each_captured_side() {
    for stream in streams().iter().filter(|stream| stream.socket() != "SUB") {
        let socket = [SocketType::XPub, SocketType::XSub, SocketType::Push, SocketType::Pull];
        let socket = socket.into_iter().find(|socket| socket.name() == stream.socket()).unwrap();
        let mut end = End::new(socket, |_| {});
        end.receive(&greeting("NULL"));
        let output = end.take_output();
        assert_eq!(output.len(), 92, "{}", stream.name);
        assert_eq!(output, stream.bytes[..92], "{}", stream.name);
    }
}

/// Returns the events without changes of the filter, which depend on the division of the input, and the last filter.
fn summary(events: &[Event]) -> (Vec<&Event>, Option<&Event>) {
    let is_filter = |event: &&Event| matches!(event, Event::FilterChanged(_));
    let others = events.iter().filter(|event| !is_filter(event)).collect();
    (others, events.iter().rfind(is_filter))
}

#[test]
fn the_size_of_reads_does_not_matter() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |max: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % u64::try_from(max).unwrap()).unwrap() + 1
    };
    for stream in streams() {
        let mut at_once = stream.peer();
        at_once.receive(&stream.bytes);
        for max in [7, 100, 4000] {
            let mut chunked = stream.peer();
            let mut rest = &stream.bytes[..];
            while !rest.is_empty() {
                let (chunk, left) = rest.split_at(next(max).min(rest.len()));
                rest = left;
                chunked.receive(chunk);
            }
            assert_eq!(summary(&chunked.events), summary(&at_once.events), "{}", stream.name);
            assert_eq!(chunked.output, at_once.output, "{}", stream.name);
        }
    }
}

/// Feeds a stream byte by byte. Nothing is reported before the last byte of a frame, and the end of a stream after any byte is
/// reported.
#[test]
fn a_truncated_frame_causes_no_event() {
    for stream in streams() {
        let ends: Vec<u64> = stream
            .frames
            .iter()
            .map(|frame| frame["offset"].as_u64().unwrap() + frame["length"].as_u64().unwrap())
            .collect();
        let mut end = stream.peer();
        for (at, byte) in (1..).zip(&stream.bytes) {
            end.receive(&[*byte]);
            let events = end.take_events();
            assert!(events.is_empty() || ends.contains(&at), "{} {at}: {events:?}", stream.name);
            assert!(!end.session.is_closed(), "{} {at}", stream.name);
        }
        for length in (0..stream.bytes.len()).step_by(stream.bytes.len() / 100 + 1) {
            let mut end = stream.peer();
            end.receive(&stream.bytes[..length]);
            end.session.handle_eof();
            end.poll();
            assert!(end.close_reason().is_some(), "{} {length}", stream.name);
        }
    }
}
