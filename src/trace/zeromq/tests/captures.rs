//! The captured connections of `fixtures/zeromq`, decoded as recordings and as streams.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::{number, stream, to_json};
use crate::data::{Value, parse_json};
use crate::trace::{Content, Conversation, Meta, Protocol, Reader, Side};

const FOLDERS: [&str; 4] = ["cluster", "all-types", "json", "reconnect"];

/// A captured connection.
struct Connection {
    /// Folder and number.
    name: String,
    streams: [Vec<u8>; 2],
    /// The lines of `frames.jsonl`.
    frames: Vec<Json>,
}

fn lines(folder: &str, file: &str) -> Vec<Json> {
    let text = fs::read_to_string(path(folder).join(file)).unwrap_or_default();
    text.lines().map(|line| parse_json(line.as_bytes()).unwrap()).collect()
}

fn path(folder: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/zeromq").join(folder)
}

fn connections(folder: &str) -> Vec<Connection> {
    let mut frames: BTreeMap<String, Vec<Json>> = BTreeMap::new();
    for frame in lines(folder, "frames.jsonl") {
        frames.entry(frame["connection"].as_str().unwrap().to_owned()).or_default().push(frame);
    }
    let read = |(number, frames): (String, Vec<Json>)| Connection {
        name: format!("{folder} {number}"),
        streams: Side::BOTH
            .map(|side| fs::read(path(folder).join(format!("{number}-{}.bin", side.name()))).unwrap()),
        frames,
    };
    frames.into_iter().map(read).collect()
}

/// The entry that is expected for the frames of a part, with the time of the last frame.
struct Expected<'a> {
    first: &'a Json,
    last: &'a Json,
    length: usize,
}

/// Joins the frames of a message.
fn expected(frames: &[Json]) -> Vec<Expected<'_>> {
    let mut open: BTreeMap<&str, Expected<'_>> = BTreeMap::new();
    let mut expected = Vec::new();
    for frame in frames {
        let from = frame["from"].as_str().unwrap();
        let start = || Expected { first: frame, last: frame, length: 0 };
        let mut message = open.remove(from).unwrap_or_else(start);
        message.length += number(frame, "length");
        message.last = frame;
        if frame["more"] == true {
            open.insert(from, message);
        } else {
            expected.push(message);
        }
    }
    assert!(open.is_empty());
    expected
}

fn without_sign_of_zero(value: Value) -> Value {
    match value {
        Value::Real(-0.0) => Value::Real(0.0),
        Value::Vector(elements) => Value::Vector(elements.into_iter().map(without_sign_of_zero).collect()),
        other => other,
    }
}

/// Compares the name, the arguments and the metadata of an event with the value of the message.
fn compare_event(found: &Json, event: &Json) {
    for member in ["topic", "sender", "format"] {
        assert_eq!(found[member], event[member]);
    }
    let content = event["value"]["data"][2]["data"].as_array().unwrap();
    assert_eq!(found["event"], content[0]["data"]);
    let values = |json: &Json| -> Vec<String> {
        let values = json.as_array().unwrap().iter().map(|value| Value::from_json(value).unwrap());
        values.map(|value| format!("{:?}", without_sign_of_zero(value))).collect()
    };
    assert_eq!(values(&found["args"]), values(&content[1]["data"]));
    let Some(metadata) = content.get(2) else { return assert_eq!(found["metadata"], Json::Null) };
    let pair = |pair: &Json| [&pair["data"][0]["data"], &pair["data"][1]].map(Json::clone);
    let (ids, expected): (Vec<_>, Vec<_>) =
        metadata["data"].as_array().unwrap().iter().map(pair).map(|[id, value]| (id, value)).unzip();
    let found = found["metadata"].as_array().unwrap();
    assert_eq!(found.iter().map(|pair| pair["id"].clone()).collect::<Vec<_>>(), ids);
    let found = found.iter().map(|pair| pair["value"].clone()).collect();
    assert_eq!(values(&Json::Array(found)), values(&Json::Array(expected)));
}

/// Returns a value of a row of `logs.jsonl` as this crate writes it; `None` if it is not set.
fn row_value(value: &Json) -> Option<Json> {
    let object = value.as_object().unwrap();
    let (name, content) =
        object.iter().find(|(name, _)| !["type", "subtype", "proto", "prefix"].contains(&name.as_str()))?;
    Some(match (value["type"].as_u64().unwrap(), name.as_str()) {
        (_, "present") => return None,
        (1, "int") => json!(content == 1),
        (_, "hex") => json!({ "hex": content }),
        (12, "addr") => {
            let prefix = number(value, "prefix");
            let address = content.as_str().unwrap();
            json!(format!("{address}/{}", if address.contains(':') { prefix } else { prefix - 96 }))
        }
        (_, "elements") => {
            content.as_array().unwrap().iter().map(|element| row_value(element).unwrap_or_default()).collect()
        }
        _ => content.clone(),
    })
}

fn compare_logs(found: &Json, log: &Json) {
    assert_eq!((&found["sender"], number(log, "offset")), (&log["sender"], number(found, "offset")));
    let batch = &log["batch"];
    for member in ["stream", "path", "writer", "filter"] {
        assert_eq!(found[member], batch[member]);
    }
    let fields = batch["fields"].as_array().unwrap();
    let rows: Vec<Json> = batch["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let members = fields.iter().zip(row.as_array().unwrap());
            members
                .filter_map(|(field, value)| {
                    Some((field["name"].as_str().unwrap().to_owned(), row_value(value)?))
                })
                .collect()
        })
        .collect();
    assert!(!rows.is_empty());
    assert_eq!(found["rows"], Json::Array(rows));
}

/// Compares an entry with the lines of the fixture. Returns the kind.
fn compare<'a>(found: &Json, expected: &Expected<'a>, events: &[Json], logs: &[Json]) -> &'a str {
    let Expected { first, last, length } = expected;
    assert_eq!((&found["from"], &found["offset"]), (&first["from"], &first["offset"]));
    assert_eq!((number(found, "length"), &found["t_us"]), (*length, &last["t_us"]));
    let kind = first["kind"].as_str().unwrap();
    match kind {
        "greeting" => {
            for member in ["kind", "version", "mechanism"] {
                assert_eq!(found[member], first[member]);
            }
            assert_eq!(found["as_server"], first["as_server"] == 1);
        }
        "command" => {
            for member in ["kind", "name", "properties", "topic", "text", "context"] {
                assert_eq!(found.get(member), first.get(member), "{found}\n{first}");
            }
        }
        "subscription-message" => {
            assert_eq!(found["kind"], "subscription");
            for member in ["topic", "subscribe"] {
                assert_eq!(found[member], first[member]);
            }
        }
        "message-part" => {
            if let Some(log) = first.get("log").and_then(Json::as_u64) {
                assert_eq!(found["kind"], "logs");
                compare_logs(found, &logs[usize::try_from(log).unwrap()]);
                return "logs";
            }
            assert_eq!((&found["kind"], &found["topic"]), (&json!("event"), &first["topic"]), "{found}");
            if let Some(event) = first.get("event").and_then(Json::as_u64) {
                compare_event(found, &events[usize::try_from(event).unwrap()]);
                return "event";
            }
            return "event without a line";
        }
        "curve-message" => assert_eq!(found["kind"], "encrypted"),
        other => panic!("{other}"),
    }
    kind
}

/// Returns the entries of a connection as those of a recording whose index has a line for each frame of the fixture.
fn recorded(connection: &Connection) -> Vec<Json> {
    let index: Vec<u8> =
        connection.frames.iter().flat_map(|frame| (frame.to_string() + "\n").into_bytes()).collect();
    let [connector, listener] = &connection.streams;
    let reader = Reader::new(&index[..], [&connector[..], &listener[..]], &Meta::default());
    reader.map(|entry| to_json(&entry.unwrap())).collect()
}

#[test]
fn every_captured_connection_is_decoded_as_a_recording() {
    let mut kinds: BTreeMap<&'static str, u32> = BTreeMap::new();
    for folder in FOLDERS {
        let (events, logs) = (lines(folder, "events.jsonl"), lines(folder, "logs.jsonl"));
        for connection in connections(folder) {
            let found = recorded(&connection);
            let expected = expected(&connection.frames);
            assert_eq!(found.len(), expected.len(), "{}", connection.name);
            for (found, expected) in found.iter().zip(&expected) {
                let kind = compare(found, expected, &events, &logs);
                let kind = ["greeting", "command", "subscription-message", "event", "logs"]
                    .into_iter()
                    .find(|one| *one == kind)
                    .unwrap_or("event without a line");
                *kinds.entry(kind).or_default() += 1;
            }
        }
    }
    let kinds: Vec<_> = kinds.into_iter().collect();
    assert_eq!(
        kinds,
        [
            ("command", 142),
            ("event", 382),
            ("event without a line", 40),
            ("greeting", 64),
            ("logs", 22),
            ("subscription-message", 265)
        ]
    );
}

/// A small generator of random numbers.
fn random(seed: u64) -> impl FnMut() -> usize {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % 300).unwrap()
    }
}

#[test]
fn streams_have_the_entries_of_the_recording_for_every_division() {
    for folder in FOLDERS.into_iter().chain(["curve-open"]) {
        for connection in connections(folder) {
            let found = recorded(&connection);
            for (side, bytes) in Side::BOTH.into_iter().zip(&connection.streams) {
                let expected: Vec<Json> = found
                    .iter()
                    .filter(|entry| entry["from"] == side.name())
                    .map(|entry| {
                        let mut entry = entry.clone();
                        for member in ["index", "from", "t_us"] {
                            entry.as_object_mut().unwrap().remove(member);
                        }
                        entry
                    })
                    .collect();
                let mut seed = random(u64::try_from(bytes.len()).unwrap());
                for chunk in [
                    Box::new(|| usize::MAX) as Box<dyn FnMut() -> usize>,
                    Box::new(|| 1),
                    Box::new(&mut seed),
                ] {
                    assert_eq!(stream(bytes, chunk), expected, "{} {side:?}", connection.name);
                }
            }
        }
    }
}

#[test]
fn encrypted_sessions_are_decoded_by_kinds_and_lengths() {
    let mut names: BTreeMap<String, u32> = BTreeMap::new();
    for connection in connections("curve-open") {
        let found = recorded(&connection);
        let expected = expected(&connection.frames);
        assert_eq!(found.len(), expected.len(), "{}", connection.name);
        let mut done = BTreeMap::new();
        for (found, expected) in found.iter().zip(&expected) {
            compare(found, expected, &[], &[]);
            let name = found["name"].as_str().unwrap_or(found["kind"].as_str().unwrap()).to_owned();
            let is_done = done.entry(found["from"].to_string()).or_insert(false);
            assert_eq!(found["phase"] == "peered", *is_done, "{found}");
            *is_done |= name == "INITIATE" || name == "READY";
            *names.entry(name).or_default() += 1;
        }
    }
    let names: Vec<_> = names.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(
        names,
        [("HELLO", 8), ("INITIATE", 8), ("READY", 8), ("WELCOME", 8), ("encrypted", 177), ("greeting", 16)]
    );
}

#[test]
fn a_session_can_be_split_between_messages() {
    for folder in ["cluster", "curve-open"] {
        let connection = connections(folder).remove(2);
        let whole = recorded(&connection);
        let expected = expected(&connection.frames);
        let mut first = Conversation::default();
        let mut second: Option<Conversation> = None;
        let mut found = Vec::new();
        for (number, part) in expected.iter().enumerate() {
            if number > expected.len() / 2 && second.is_none() && first.can_be_split() {
                second = Some(Conversation::continued(Protocol::ZeroMq));
            }
            let side = Side::BOTH.into_iter().find(|side| part.first["from"] == side.name()).unwrap();
            let start = usize::try_from(part.first["offset"].as_u64().unwrap()).unwrap();
            let bytes = &connection.streams[usize::from(side == Side::Listener)][start..][..part.length];
            let conversation = second.as_mut().unwrap_or(&mut first);
            found.extend(conversation.input(side, 0, bytes));
        }
        assert!(second.is_some());
        for (found, whole) in found.iter().zip(&whole) {
            assert!(matches!(found.frame.as_ref().unwrap().content, Ok(Content::ZeroMq(_))), "{found:?}");
            assert_eq!(to_json(found)["kind"], whole["kind"]);
        }
        assert_eq!(found.len(), whole.len());
    }
}
