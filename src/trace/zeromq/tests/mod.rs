//! Entries of sessions of the ZeroMQ back end: captured ones, and damaged ones.

mod captures;

use serde_json::{Value as Json, json};

use super::*;
use crate::data::parse_json;
use crate::trace::{Conversation, Entry, FrameReader, Protocol, Side};
use crate::zeromq::{LogField, LogHeader, LogValue, TypeTag};

fn number(line: &Json, member: &str) -> usize {
    usize::try_from(line[member].as_u64().unwrap_or_else(|| panic!("{member} in {line}"))).unwrap()
}

fn object(write: impl Fn(&mut Vec<u8>)) -> Json {
    let mut text = vec![b'{'];
    write(&mut text);
    text.push(b'}');
    parse_json(&text).unwrap()
}

fn to_json(entry: &Entry) -> Json {
    object(|to| entry.write_members(to))
}

/// Returns the entries of one side without its index and time.
fn stream(bytes: &[u8], mut chunk: impl FnMut() -> usize) -> Vec<Json> {
    let (mut reader, mut rest, mut entries) = (FrameReader::default(), bytes, Vec::new());
    let longest = rest.len();
    while !rest.is_empty() {
        let (first, later) = rest.split_at(chunk().clamp(1, rest.len()));
        reader.buffer().extend_from_slice(first);
        rest = later;
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => entries.push(object(|to| frame.write_members(to))),
                Ok(None) => break,
                Err(error) => entries.push(object(|to| error.write_members(to))),
            }
        }
        assert!(reader.buffered() <= longest);
    }
    match reader.end() {
        Some(Err(error)) => entries.push(object(|to| error.write_members(to))),
        Some(Ok(_)) => panic!("a frame at the end"),
        None => {}
    }
    entries
}

/// Returns the greeting and the READY of a side with this mechanism.
fn start(mechanism: &str, socket: &str) -> Vec<u8> {
    let mut bytes = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01".to_vec();
    bytes.extend_from_slice(mechanism.as_bytes());
    bytes.resize(64, 0);
    let ready = [b"\x05READY\x0bSocket-Type\0\0\0".as_slice(), &[length(socket)], socket.as_bytes()].concat();
    bytes.extend(frame(4, &ready));
    bytes
}

fn length(text: &str) -> u8 {
    text.len().try_into().unwrap()
}

fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    match u8::try_from(body.len()) {
        Ok(size) => [&[flags, size][..], body].concat(),
        Err(_) => [&[flags | 2][..], &u64::try_from(body.len()).unwrap().to_be_bytes(), body].concat(),
    }
}

fn message(parts: &[&[u8]]) -> Vec<u8> {
    let last = parts.len() - 1;
    parts.iter().enumerate().flat_map(|(index, part)| frame(u8::from(index < last), part)).collect()
}

/// Returns the entries after the greeting and the READY.
fn after_start(socket: &str, bytes: &[u8]) -> Vec<Json> {
    let entries = stream(&[&start("NULL", socket), bytes].concat(), || usize::MAX);
    assert_eq!(entries[1]["properties"]["Socket-Type"], socket, "{entries:?}");
    entries[2..].to_vec()
}

const EVENT: &[u8] =
    b"\x0e\x03\x02\0\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x01\x0e\x02\x05\x04ping\x0e\x01\x01\x01";

#[test]
fn malformed_messages_are_entries_and_the_session_continues() {
    let good = message(&[b"/t", b"node", b"broker-bin-v1", EVENT]);
    let at_end = |count: usize| &EVENT[..EVENT.len() - count];
    let long = [b'x'; 1025];
    let nested = [b"\x0e\x01".repeat(2000), b"\x00".to_vec()].concat();
    let cases: [(&[&[u8]], &str); 9] = [
        (&[b"/t", b"node", b"broker-bin-v1"], "a message has 3 instead of 4 parts"),
        (&[b"/t"], "a message has 1 instead of 4 parts"),
        (&[b"/t", b"node", b"broker-bin-v1", EVENT, b""], "a message has 5 instead of 4 parts"),
        (&[b"/t", b"node", b"other\x1b", EVENT], "unknown format other"),
        (&[b"/t", &long, b"broker-bin-v1", EVENT], "a sender of 1025 bytes"),
        (&[b"/t", b"node", b"broker-bin-v1", at_end(1)], "unexpected end of input"),
        (&[b"/t", b"node", b"broker-bin-v1", &nested], "nested deeper"),
        (&[b"/t", b"node", b"broker-json-v1", b"{\"@data-type\":"], "unexpected end at line 1"),
        (&[b"log-write", b"node", b"zeek-bin-serializer", b"\0\0\0\xff"], "unexpected end of input"),
    ];
    for (parts, error) in cases {
        let bad = message(parts);
        let [found, next] = after_start("XPUB", &[&bad[..], &good].concat()).try_into().unwrap();
        assert!(found["error"].as_str().unwrap().contains(error), "{found}");
        assert_eq!((number(&found, "offset"), number(&found, "length")), (92, bad.len()), "{found}");
        assert_eq!((&next["event"], number(&next, "offset")), (&json!("ping"), 92 + bad.len()));
    }
    // The offset of an invalid value counts from the start of the message.
    let bad = message(&[b"/t", b"node", b"broker-bin-v1", b"\x0e\x01\x0f"]);
    let [found] = after_start("XPUB", &bad).try_into().unwrap();
    let at = bad.len() - 1;
    assert!(found["error"].as_str().unwrap().starts_with(&format!("byte {at}, ")), "{found}");
}

#[test]
fn a_broken_frame_ends_the_side() {
    let good = message(&[b"/t", b"node", b"broker-bin-v1", EVENT]);
    let too_long = u64::try_from(LIMITS.max_frame + 1).unwrap().to_be_bytes();
    let half = [&[1 | 2][..], &u64::try_from(LIMITS.max_frame - 100).unwrap().to_be_bytes()].concat();
    let mut two = message(&[&vec![0; 1000], b""]);
    // The second part would exceed the limit for the message; only its header is there.
    two.truncate(1009);
    two.extend_from_slice(&half);
    for (bad, error) in [
        (&[8, 0][..], "unknown flags 0x08"),
        (&[5, 0], "a command with the flag MORE"),
        (&[&[2][..], &too_long].concat(), "a frame of 33554433 bytes"),
        (&[&[6][..], &[0x80, 0, 0, 0, 0, 0, 0, 0]].concat(), "a frame of 9223372036854775808 bytes"),
        (&two, "a message of more than 33554432 bytes"),
    ] {
        let [first, found] = after_start("XPUB", &[&good[..], bad, &good].concat()).try_into().unwrap();
        assert_eq!(first["event"], "ping");
        let text = found["error"].as_str().unwrap();
        assert!(text.contains(error) && text.contains("the remaining bytes of this side cannot"), "{found}");
        assert_eq!(number(&found, "offset"), 92 + good.len());
    }
}

/// libzmq with heartbeats sends such commands.
#[test]
fn a_command_between_the_parts_belongs_to_the_message() {
    let parts = message(&[b"/t", b"node", b"broker-bin-v1", EVENT]);
    let ping = frame(4, b"\x04PING\0\x0ax");
    // After the first part, which has a header of two bytes.
    let bytes = [&parts[..4], &ping, &parts[4..], &parts].concat();
    let [first, second] = after_start("XPUB", &bytes).try_into().unwrap();
    assert_eq!((&first["event"], &second["event"]), (&"ping".into(), &"ping".into()));
    assert_eq!(number(&first, "length"), parts.len() + ping.len());
}

#[test]
fn an_incomplete_part_is_reported_at_the_end() {
    let bytes = [start("NULL", "XPUB"), message(&[b"/t", b"node", b"broker-bin-v1", EVENT])].concat();
    for cut in 1..bytes.len() {
        let entries = stream(&bytes[..cut], || usize::MAX);
        let start = match cut {
            ..64 => 0,
            64..92 => 64,
            _ => 92,
        };
        let (last, before) = entries.split_last().unwrap();
        assert!(before.iter().all(|entry| entry["error"].is_null()), "{entries:?}");
        match cut {
            // Bytes that may belong to another protocol.
            4..10 => assert!(last["error"].as_str().unwrap().contains("ZeroMQ"), "{last}"),
            64 | 92 => assert!(last["error"].is_null(), "{last}"),
            _ => {
                let error = format!("after {} bytes of it", cut - start);
                assert!(last["error"].as_str().unwrap().ends_with(&error), "{last}");
            }
        }
    }
}

#[test]
fn commands_are_decoded_with_their_content() {
    let bytes: Vec<u8> = [
        &b"\x04PING\0\x0ax"[..],
        b"\x04PONGx\xff",
        b"\x09SUBSCRIBE\x1b",
        b"\x06CANCELzeek/",
        b"\x05OTHERx",
        b"\x05READYx",
        b"\x05ERROR\x04gone",
        b"\x05ERROR\x09gone",
        b"\x09OTHER",
    ]
    .into_iter()
    .flat_map(|body| frame(4, body))
    .collect();
    let found: Vec<Json> = after_start("XSUB", &bytes)
        .into_iter()
        .map(|mut entry| {
            for member in ["offset", "length", "phase"] {
                entry.as_object_mut().unwrap().remove(member).unwrap();
            }
            entry
        })
        .collect();
    assert_eq!(
        found,
        [
            json!({"kind": "command", "name": "PING", "context": "x"}),
            json!({"kind": "command", "name": "PONG", "context": {"hex": "78ff"}}),
            json!({"kind": "command", "name": "SUBSCRIBE", "topic": "\u{1b}"}),
            json!({"kind": "command", "name": "CANCEL", "topic": "zeek/"}),
            json!({"kind": "command", "name": "OTHER"}),
            json!({"kind": "command", "name": "READY"}),
            json!({"kind": "command", "name": "ERROR", "text": "gone"}),
            json!({"error": "an invalid command ERROR: its text is incomplete"}),
            json!({"error": "an invalid command : its name is incomplete"}),
        ]
    );
}

#[test]
fn the_properties_of_ready_are_decoded_and_checked() {
    let greeting = &start("NULL", "XSUB")[..64];
    let ready = |metadata: &[u8]| {
        stream(&[greeting, &frame(4, &[b"\x05READY", metadata].concat())].concat(), || usize::MAX)[1].clone()
    };
    let two = ready(b"\x01a\0\0\0\x02\xff\xfe\x01\"\0\0\0\0");
    assert_eq!(two["properties"], json!({"a": {"hex": "fffe"}, "\"": ""}));
    assert_eq!(ready(b"")["properties"], json!({}));
    for metadata in [&b"\x01"[..], b"\x01a\0\0\0", b"\x01a\0\0\0\x02x", b"\x01a\xff\xff\xff\xffx"] {
        assert_eq!(ready(metadata)["error"], "an invalid command READY: a property is incomplete");
    }
}

#[test]
fn only_a_subscriber_subscribes() {
    let subscription = message(&[b"\x01/t"]);
    for socket in ["XSUB", "SUB"] {
        let [found] = after_start(socket, &subscription).try_into().unwrap();
        assert_eq!((&found["kind"], &found["topic"]), (&json!("subscription"), &json!("/t")));
    }
    for socket in ["XPUB", "PUSH"] {
        let [found] = after_start(socket, &subscription).try_into().unwrap();
        assert_eq!(found["error"], "a message has 1 instead of 4 parts");
    }
}

/// The client of PLAIN sends its password.
#[test]
fn passwords_are_not_shown_and_plain_messages_are_decoded() {
    let greeting = &start("PLAIN", "XPUB")[..64];
    let hello = frame(4, b"\x05HELLO\x04user\x06secret");
    let ready = &start("PLAIN", "XPUB")[64..];
    let event = message(&[b"/t", b"node", b"broker-bin-v1", EVENT]);
    let entries = stream(&[greeting, &hello, ready, &event].concat(), || usize::MAX);
    assert_eq!(entries.len(), 4);
    assert!(!entries.iter().any(|entry| entry.to_string().contains("secret")), "{entries:?}");
    assert_eq!((&entries[1]["name"], &entries[3]["event"]), (&json!("HELLO"), &json!("ping")));
}

#[test]
fn a_value_that_is_not_an_event_is_decoded() {
    let bytes = message(&[b"/t", b"node", b"broker-bin-v1", b"\x05\x01x"]);
    let [found] = after_start("XPUB", &bytes).try_into().unwrap();
    assert_eq!((&found["kind"], &found["sender"]), (&json!("value"), &json!("node")));
    assert_eq!(found["value"], json!({"@data-type": "string", "data": "x"}));
}

/// The JSON of a batch repeats the names of its fields.
#[test]
fn log_rows_with_long_names_are_not_expanded() {
    let name = "n".repeat(10_000);
    let fields = vec![LogField::new(&name, TypeTag::Bool)];
    let header = LogHeader { stream: b"X::LOG", writer: b"w", filter: b"f", path: b"x", fields };
    let mut batch = Vec::new();
    header.encode(&vec![vec![LogValue::Bool(true)]; 10_000], &mut batch).unwrap();
    let bytes = message(&[b"log-write", b"node", b"zeek-bin-serializer", &batch]);
    let [found] = after_start("PUSH", &bytes).try_into().unwrap();
    assert_eq!(found["error"], "the log rows as JSON are more than 32 times as large as the batch");
    assert!(found["kind"].is_null(), "{found}");
}

/// A Broker endpoint that connects to a ZeroMQ socket, and the opposite.
#[test]
fn the_other_side_is_read_with_the_same_protocol() {
    let probe = b"\0\0\0\x05\x07ZEEK";
    let zmtp = start("NULL", "XPUB");
    for (first, second, protocol, error) in [
        (&probe[..], &zmtp[..], Protocol::Broker, "this is ZeroMQ"),
        (&zmtp, probe, Protocol::ZeroMq, "no greeting of ZeroMQ"),
    ] {
        let mut conversation = Conversation::default();
        assert!(conversation.input(Side::Connector, 0, first).all(|entry| entry.frame.is_ok()));
        let found: Vec<_> = conversation.input(Side::Listener, 0, second).map(|one| to_json(&one)).collect();
        let [found] = found.try_into().unwrap();
        assert!(found["error"].as_str().unwrap().contains(error), "{found}");
        assert_eq!(conversation.protocol(), Some(protocol));
    }
    // A listener that sends first.
    let mut conversation = Conversation::default();
    assert_eq!(conversation.input(Side::Listener, 0, &zmtp).count(), 2);
    assert_eq!(conversation.protocol(), Some(Protocol::ZeroMq));
}

#[test]
fn other_versions_of_zmtp_are_named() {
    for (major, error) in [(1, "a greeting of version 1 of ZMTP"), (2, "a greeting of version 2 of ZMTP")] {
        let bytes = [&start("NULL", "XPUB")[..10], &[major]].concat();
        let [found] = stream(&bytes, || usize::MAX).try_into().unwrap();
        assert!(found["error"].as_str().unwrap().contains(error), "{found}");
    }
}

#[test]
fn after_missing_bytes_a_side_is_not_decoded_any_more() {
    let bytes = [start("NULL", "XPUB"), message(&[b"/t", b"node", b"broker-bin-v1", EVENT])].concat();
    let mut conversation = Conversation::default();
    // Up to the third part of the message.
    assert_eq!(conversation.input(Side::Connector, 0, &bytes[..bytes.len() - 50]).count(), 2);
    let lost = conversation.lose(Side::Connector, 1, 7, "they are not in the capture").unwrap();
    assert_eq!(
        to_json(&lost)["error"],
        "7 bytes are missing: they are not in the capture; the remaining bytes of this side cannot be decoded"
    );
    assert_eq!(conversation.input(Side::Connector, 2, &bytes).count(), 0);
    assert_eq!((conversation.buffered(), conversation.end(3).count()), (0, 0));
}
