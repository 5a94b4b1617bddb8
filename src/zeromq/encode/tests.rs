//! Tests of the encoding of events, with the events of captured clusters.

use data_encoding::HEXLOWER;
use serde_json::Value as Json;

use super::*;
use crate::data::{Topic, Value};
use crate::wire::{decode_value, encode_value};
use crate::zeek::{Event, LogWrite, ZeekMessage};
use crate::zeromq::event::MessageReader;
use crate::zeromq::frame::cut;

const ID: EndpointId = EndpointId::from_bytes([0xab; 16]);
const ID_TEXT: &[u8] = b"abababab-abab-abab-abab-abababababab";

fn captured_events(text: &str) -> Vec<[Vec<u8>; PARTS]> {
    let events: Vec<_> = text
        .lines()
        .map(|line| {
            let event: Json = serde_json::from_str(line).unwrap();
            let parts = event["parts"].as_array().unwrap();
            let hex = |part: &Json| HEXLOWER.decode(part.as_str().unwrap().as_bytes()).unwrap();
            // A JSON payload is stored as text and not as hexadecimal digits. Each character is one byte.
            let payload = event["payload"].as_str();
            let payload = payload.map(|text| text.chars().map(|c| u8::try_from(c).unwrap()).collect());
            let payload = payload.unwrap_or_else(|| hex(&parts[3]));
            [hex(&parts[0]), hex(&parts[1]), hex(&parts[2]), payload]
        })
        .collect();
    assert!(events.len() > 40);
    events
}

fn envelope(value: &Value) -> Envelope {
    Envelope::data(ID, Topic::from_static("/t"), value).unwrap()
}

fn event(arg: impl Into<Value>) -> Value {
    ZeekMessage::from(Event::new("e", (arg.into(),))).into_value()
}

/// Splits messages into their parts.
fn messages(bytes: &[u8]) -> Vec<Vec<Bytes>> {
    let mut input = BytesMut::from(bytes);
    let mut messages = vec![Vec::new()];
    while let Some(frame) = cut(&mut input, usize::MAX).unwrap() {
        messages.last_mut().unwrap().push(frame.body.freeze());
        if !frame.more {
            messages.push(Vec::new());
        }
    }
    assert!(input.is_empty() && messages.pop() == Some(Vec::new()), "an incomplete message");
    messages
}

/// Encodes with this format, without a limit on copies.
fn encoded(envelope: &Envelope, format: EventFormat) -> (Changes, BytesMut) {
    let mut out = BytesMut::new();
    let (changes, payload) = encode(envelope, &id_text(ID), format, usize::MAX, &mut out).unwrap();
    assert_eq!(payload, None);
    (changes, out)
}

/// Reads a message, and returns its value.
fn read(message: &[Bytes]) -> Value {
    let message = <[Bytes; PARTS]>::try_from(message.to_vec()).unwrap();
    let event = MessageReader::default().event(Ok(message), EndpointId::NIL, &Limits::DEFAULT);
    match event {
        Ok(Some((envelope, _))) => envelope.value(&Limits::DEFAULT).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn captured_binary_events_are_written_as_zeek_writes_them() {
    for events in [
        include_str!("../../../fixtures/zeromq/cluster/events.jsonl"),
        include_str!("../../../fixtures/zeromq/all-types/events.jsonl"),
    ] {
        for [topic, sender, format, payload] in captured_events(events) {
            let mut expected = BytesMut::new();
            for (part, more) in [(&topic, true), (&sender, true), (&format, true), (&payload, false)] {
                put_part_header(&mut expected, more, part.len());
                expected.put_slice(part);
            }
            let head = Head { topic: &topic, sender: &sender, format: EventFormat::Binary };
            assert_eq!(kind(&payload), Some(EVENT));
            let mut out = BytesMut::new();
            head.put_event(&payload, false, usize::MAX, &mut out).unwrap();
            assert_eq!(out, expected);
            assert_eq!(first_length(&out), Some(out.len()));
        }
    }
}

/// Zeek writes reals with six digits after the point, and some control characters without an escape. Such an event is written in
/// a different form, with the same value.
#[test]
fn captured_json_events_are_written_as_zeek_writes_them() {
    let mut other_texts = Vec::new();
    let events = captured_events(include_str!("../../../fixtures/zeromq/json/events.jsonl"));
    let count = events.len();
    for [topic, sender, format, payload] in events {
        let parts = [&topic, &sender, &format, &payload].map(|part| Bytes::copy_from_slice(part));
        let value = read(&parts);
        let head = Head { topic: &topic, sender: &sender, format: EventFormat::Json };
        let mut out = BytesMut::new();
        let mut binary = Vec::new();
        encode_value(&value, &mut binary).unwrap();
        head.put_event(&binary, false, usize::MAX, &mut out).unwrap();
        let message = messages(&out).remove(0);
        assert_eq!(message[..3], parts[..3]);
        if message[3] != parts[3] {
            let again = read(&message);
            assert_eq!(format!("{again:?}"), format!("{value:?}"), "the same value in a different form");
            let text = String::from_utf8_lossy(&parts[3]).into_owned();
            assert!(text.contains(r#""real""#) || text.contains(r"\v") || text.contains('\0'), "{text}");
            other_texts.push(text);
        }
    }
    assert_eq!((other_texts.len(), count), (13, 46), "{other_texts:#?}");
}

#[test]
fn an_event_has_four_parts() {
    let value = event(7_u64);
    let envelope = Envelope { sender: EndpointId::NIL, ..envelope(&value) };
    for (format, name) in
        [(EventFormat::Binary, &b"broker-bin-v1"[..]), (EventFormat::Json, b"broker-json-v1")]
    {
        let (changes, out) = encoded(&envelope, format);
        assert_eq!(changes, Changes::default());
        let message = messages(&out).remove(0);
        assert_eq!(message[..3], [&b"/t"[..], ID_TEXT, name]);
        assert_eq!(read(&message), value);
        assert_eq!(first_length(&out), Some(out.len()));
    }
    let (_, out) = encoded(&envelope, EventFormat::Binary);
    #[cfg(feature = "net")]
    assert_eq!(out.len(), OVERHEAD + SENDER + envelope.topic.as_bytes().len() + envelope.payload.len());
    assert!(!out.is_empty());
}

#[test]
fn a_large_payload_is_returned_without_a_copy() {
    let large = envelope(&event("x".repeat(1000)));
    let mut out = BytesMut::new();
    let (_, payload) = encode(&large, &id_text(ID), EventFormat::Binary, 1000, &mut out).unwrap();
    let payload = payload.unwrap();
    assert_eq!(payload.as_ptr(), large.payload.as_ptr());
    assert_eq!(first_length(&out), Some(out.len() + payload.len()));
    out.put_slice(&payload);
    assert_eq!(out, encoded(&large, EventFormat::Binary).1);
}

fn batch(messages: Vec<ZeekMessage>) -> Envelope {
    envelope(&ZeekMessage::Batch(messages).into_value())
}

fn log_write() -> ZeekMessage {
    LogWrite { stream: "S".into(), writer: "W".into(), path: "p".into(), rows: "rows".into() }.into()
}

#[test]
fn a_batch_becomes_its_events() {
    let inner = ZeekMessage::Batch(vec![Event::new("b", ()).into(), log_write(), Event::new("c", ()).into()]);
    let batch = batch(vec![Event::new("a", ()).into(), inner]);
    for format in [EventFormat::Binary, EventFormat::Json] {
        let (changes, out) = encoded(&batch, format);
        let left_out = LeftOut { messages: 1, error: LeftOut::NOT_AN_EVENT };
        assert_eq!(changes, Changes { left_out: Some(left_out), altered_strings: 0 });
        let values: Vec<Value> = messages(&out).iter().map(|message| read(message)).collect();
        let expected = ["a", "b", "c"].map(|name| ZeekMessage::from(Event::new(name, ())).into_value());
        assert_eq!(values, expected);
        // The batch counts as one message, which ends before the next one.
        let mut two = out.clone();
        two.put_slice(&encoded(&envelope(&event(1_u64)), format).1);
        assert_eq!(first_length(&two), Some(out.len()));
        assert!(first_length(&two[out.len()..]) == Some(two.len() - out.len()));
        assert_eq!(first_length(&out[..out.len() / 2]), None);
    }
}

/// A message that a proxy forwards has the text of its publisher.
#[test]
fn the_length_of_the_sender_does_not_change_where_a_message_ends() {
    let batch = batch(vec![Event::new("a", ()).into(), Event::new("b", ()).into()]);
    for length in [0, 1, 255, 256, 1024] {
        let sender = vec![b's'; length];
        for (envelope, count) in [(&envelope(&event(7_u64)), 1), (&batch, 2)] {
            let mut out = BytesMut::new();
            let ends = [(); 2].map(|()| {
                encode(envelope, &sender, EventFormat::Binary, usize::MAX, &mut out).unwrap();
                out.len()
            });
            assert_eq!(first_length(&out), Some(ends[0]), "{length}");
            assert_eq!(first_length(&out[ends[0]..]), Some(ends[1] - ends[0]), "{length}");
            let messages = messages(&out);
            assert_eq!(messages.len(), 2 * count);
            assert!(messages.iter().all(|message| message[1] == sender));
        }
    }
    // The event that would end the batch is omitted.
    let large = Event::new("large", (Value::from("x".repeat(MAX_LENGTH)),));
    let batch = self::batch(vec![Event::new("a", ()).into(), large.into()]);
    let mut out = BytesMut::new();
    encode(&batch, &[b's'; 300], EventFormat::Json, usize::MAX, &mut out).unwrap();
    assert_eq!(first_length(&out), Some(out.len()));
    assert_eq!(messages(&out).len(), 1);
}

#[test]
fn events_with_which_nodes_find_each_other_are_left_out_of_a_batch() {
    let names = ["Cluster::hello", "a", "Cluster::Backend::ZeroMQ::hello", "Cluster::Experimental::x", "b"];
    let events = |names: &[&str]| names.iter().map(|name| Event::new(*name, ()).into()).collect();
    let envelope = batch(events(&names));
    for format in [EventFormat::Binary, EventFormat::Json] {
        let (changes, out) = encoded(&envelope, format);
        assert_eq!(changes.left_out.map(|left_out| left_out.messages), Some(3));
        let sent = messages(&out);
        assert_eq!(sent.len(), 2, "{sent:?}");
        for (message, name) in sent.iter().zip(["a", "b"]) {
            assert!(message[3].windows(name.len()).any(|part| part == name.as_bytes()));
        }
        let hellos = batch(events(&["Cluster::hello"]));
        let error = encode(&hellos, &id_text(ID), format, usize::MAX, &mut BytesMut::new()).unwrap_err();
        assert_eq!(error.messages, 1);
        let to_id =
            Envelope { topic: Topic::from_static("zeek.cluster.nodeid.a."), ..batch(events(&["a", "b"])) };
        let error = encode(&to_id, &id_text(ID), format, usize::MAX, &mut BytesMut::new()).unwrap_err();
        assert_eq!(error.messages, 2);
    }
}

/// JSON escapes a control character with six characters.
#[test]
fn the_length_of_a_batch_is_limited() {
    let events = |count: usize, length: usize| {
        let event = Event::new("e", (Value::from("\u{1}".repeat(length)),));
        batch(vec![event.into(); count])
    };
    let (changes, out) = encoded(&events(20, MAX_LENGTH / 20), EventFormat::Json);
    assert_eq!(changes.left_out.map(|left_out| left_out.messages), Some(17));
    assert!(out.len() <= MAX_LENGTH, "{}", out.len());
    assert_eq!(messages(&out).len(), 3);
    assert_eq!(first_length(&out), Some(out.len()), "the last event ends the batch");

    // Each event has a copy of the topic.
    for format in [EventFormat::Binary, EventFormat::Json] {
        for length in [255, Topic::MAX_LEN] {
            let topic = Topic::new(vec![b'x'; length]).unwrap();
            let count = MAX_LENGTH / length + 1000;
            let (changes, out) = encoded(&Envelope { topic, ..events(count, 1) }, format);
            let left_out = changes.left_out.unwrap().messages;
            assert!(out.len() <= 2 * MAX_LENGTH, "{}", out.len());
            assert_eq!(first_length(&out), Some(out.len()));
            let messages = messages(&out);
            assert_eq!(messages.len() + left_out, count);
            assert_eq!(read(messages.last().unwrap()), event("\u{1}"));
        }
    }
}

#[test]
fn messages_that_are_not_events_are_not_sent() {
    let refused = |envelope: &Envelope, format| {
        let mut out = BytesMut::from(&b"before"[..]);
        let LeftOut { messages, error } = encode(envelope, &id_text(ID), format, 10, &mut out).unwrap_err();
        assert_eq!(out, b"before"[..]);
        (messages, error.to_string())
    };
    let carry = |what: &str| format!("the peer's protocol cannot carry {what}");
    let command = Envelope { kind: EnvelopeType::Command, ..envelope(&Value::None) };
    let broken = |value: &Value| {
        let mut envelope = envelope(value);
        envelope.payload.truncate(envelope.payload.len() - 1);
        envelope
    };
    for format in [EventFormat::Binary, EventFormat::Json] {
        assert_eq!(refused(&command, format), (1, carry("a data-store command")));
        let logs = envelope(&log_write().into_value());
        assert_eq!(refused(&logs, format), (1, carry("a log or an identifier update")));
        let logs = batch(vec![log_write(), log_write()]);
        assert_eq!(refused(&logs, format), (2, carry("a batch without an event")));
        let value = envelope(&Value::Count(1));
        assert_eq!(refused(&value, format), (1, carry("a value that is not a message of Zeek")));
        let cut = broken(&ZeekMessage::Batch(vec![Event::new("a", ()).into()]).into_value());
        assert_eq!(refused(&cut, format), (1, carry("a value that cannot be decoded")));
    }
    let cut = broken(&event(1_u64));
    assert_eq!(refused(&cut, EventFormat::Json), (1, carry("a value that cannot be decoded")));
}

/// Zeek of 8.0 and later omits empty metadata. Metadata that is present is not changed.
#[test]
fn the_metadata_of_an_event_is_kept() {
    let bytes = HEXLOWER
        .decode(
            b"0e03020000000000000001020000000000000001\
              0e03050165\
              0e00\
              0e010e02020000000000000001090000000000000000",
        )
        .unwrap();
    let value = decode_value(&bytes, &Limits::DEFAULT).unwrap();
    for format in [EventFormat::Binary, EventFormat::Json] {
        let message = messages(&encoded(&envelope(&value), format).1).remove(0);
        assert_eq!(read(&message), value);
    }
}

/// Returns the maximum number of braces and brackets that are open at the same time. The strings of the value have none.
fn depth(text: &[u8]) -> i32 {
    let mut open = 0;
    let depths = text.iter().map(|byte| {
        open += match byte {
            b'{' | b'[' => 1,
            b'}' | b']' => -1,
            _ => 0,
        };
        open
    });
    depths.max().unwrap()
}

/// Zeek's reader of JSON refuses a text with more than 128 open braces and brackets.
#[test]
fn events_that_are_nested_too_deeply_for_zeek_are_not_sent_as_json() {
    let (mut sent, mut refused) = (0, 0);
    for innermost in
        [Value::Count(1), Value::None, Value::Vector(Vec::new()), Value::Table(Default::default())]
    {
        for tables in [0_usize, 1, 2, 3, 10, 30] {
            let mut value = innermost.clone();
            for level in 0..tables + 60 - tables * 3 / 2 + 3 {
                value = match level {
                    _ if level >= tables => Value::Vector(vec![value]),
                    _ if level.is_multiple_of(2) => {
                        Value::Table([(value, Value::None)].into_iter().collect())
                    }
                    _ => Value::Table([(Value::Count(1), value)].into_iter().collect()),
                };
                let envelope = envelope(&event(value.clone()));
                let mut text = BytesMut::from(&b"{"[..]);
                let dialect = Dialect::Server(Default::default());
                put_value(&envelope.payload, usize::MAX, dialect, &mut text, &mut Text::default()).unwrap();
                let mut out = BytesMut::new();
                let encoded = encode(&envelope, &id_text(ID), EventFormat::Json, usize::MAX, &mut out);
                if depth(&text) <= 128 {
                    assert!(encoded.is_ok(), "{value}");
                    sent += 1;
                } else {
                    let what = "a value that is nested too deeply for Zeek's reader of JSON";
                    assert_eq!(encoded.unwrap_err(), EncodeError::NotCarried { what }.into(), "{value}");
                    assert!(out.is_empty());
                    refused += 1;
                }
            }
        }
    }
    assert!(sent > 100 && refused > 20, "{sent} {refused}");
    // Broker's binary form has no such limit.
    let value = (0..100).fold(Value::Count(1), |value, _| Value::Vector(vec![value]));
    encoded(&envelope(&event(value)), EventFormat::Binary);
}
