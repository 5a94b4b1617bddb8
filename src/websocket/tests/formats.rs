//! The encoding of messages, for both sides.

use proptest::prelude::*;

use super::read::{self, Message};
use super::*;
use crate::data::{Value, arbitrary};
use crate::websocket::encode::first_length;
use crate::wire::{EncodeError, EnvelopeType, Limits};
use crate::zeek::events::{Changes, LeftOut};
use crate::zeek::{Event as ZeekEvent, LogWrite, ZeekMessage};

const FOR_CLIENTS: Dialect = Dialect::Server(BinaryText::Escape);

fn envelope(value: &Value) -> Envelope {
    Envelope::data(id(9), Topic::from_static("/t"), value).unwrap()
}

fn event(args: Vec<Value>) -> Value {
    ZeekMessage::Event(ZeekEvent::new("ping", args)).into_value()
}

/// Returns the opcode and the text of the only message.
fn encoded(envelope: &Envelope, dialect: Dialect) -> (Opcode, Vec<u8>) {
    let mut out = BytesMut::new();
    encode(envelope, dialect, &mut out).unwrap();
    assert_eq!(first_length(&out), Some(out.len()));
    let mut frames = frames(&out);
    assert_eq!(frames.len(), 1);
    frames.remove(0)
}

fn text(value: &Value, dialect: Dialect) -> String {
    String::from_utf8(encoded(&envelope(value), dialect).1).unwrap()
}

fn is_text(value: &Value) -> bool {
    match value {
        Value::String(bytes) | Value::EnumValue(bytes) => bytes.as_str().is_some(),
        Value::Set(elements) => elements.iter().all(is_text),
        Value::Vector(elements) => elements.iter().all(is_text),
        Value::Table(pairs) => pairs.iter().all(|(key, value)| is_text(key) && is_text(value)),
        _ => true,
    }
}

proptest! {
    #[test]
    fn a_server_reads_back_what_a_client_sends(value in arbitrary::value()) {
        let value = event(vec![value]);
        let (opcode, text) = encoded(&envelope(&value), Dialect::Client);
        prop_assert_eq!(opcode == Opcode::Text, std::str::from_utf8(&text).is_ok());
        match read::message(&text, id(9), false, &Limits::DEFAULT).unwrap() {
            Message::Data(envelope) => prop_assert_eq!(envelope.value(&Limits::DEFAULT).unwrap(), value),
            Message::Error(error) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn clients_receive_the_json_of_this_crate(value in arbitrary::value().prop_filter("text", is_text)) {
        let json = event(vec![value.clone()]).to_json().to_string();
        let text = text(&event(vec![value]), FOR_CLIENTS);
        let head = r#"{"type":"data-message","topic":"/t","#;
        prop_assert_eq!(text.strip_prefix(head), json.strip_prefix('{'));
    }

    #[test]
    fn clients_receive_valid_json_for_all_values(value in arbitrary::value()) {
        for form in [BinaryText::Escape, BinaryText::Replace] {
            let text = text(&event(vec![value.clone()]), Dialect::Server(form));
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
        }
    }
}

#[test]
fn an_event_has_the_form_of_zeek() {
    let zeek = r#"{"type":"data-message","topic":"/t","@data-type":"vector","data":[{"@data-type":"count","data":1},{"@data-type":"count","data":1},{"@data-type":"vector","data":[{"@data-type":"string","data":"ping"},{"@data-type":"vector","data":[{"@data-type":"count","data":7}]}]}]}"#;
    let ping = ZeekEvent::new("ping", (7u64,));
    let empty = ping.clone().with_metadata::<Value>([]);
    for event in [ping.clone(), empty] {
        assert_eq!(text(&ZeekMessage::Event(event).into_value(), FOR_CLIENTS), zeek);
    }
    let time = crate::data::Timestamp::from_nanos(1_001_000_000);
    let timed = ZeekMessage::Event(ping.with_network_timestamp(time)).into_value();
    let metadata = r#"]},{"@data-type":"vector","data":[{"@data-type":"vector","data":[{"@data-type":"count","data":1},{"@data-type":"timestamp","data":"1970-01-01T00:00:01.001"}]}]}]}]}"#;
    assert_eq!(text(&timed, FOR_CLIENTS), zeek.strip_suffix("]}]}]}").unwrap().to_owned() + metadata);
    assert_eq!(
        text(&Value::Count(5), FOR_CLIENTS),
        r#"{"type":"data-message","topic":"/t","@data-type":"count","data":5}"#
    );
}

#[test]
fn headers_have_the_shortest_length() {
    for length in [0usize, 1, 124, 125, 126, 127, 65_534, 65_535, 65_536, 70_000] {
        for mask in [None, Some([1, 2, 3, 4])] {
            let payload = vec![b'x'; length];
            let bytes = frame_with(mask, Opcode::Binary, &payload);
            let header = frame::Header::read(&bytes).unwrap().unwrap();
            let extended = if length < 126 {
                0
            } else if length < 65_536 {
                2
            } else {
                8
            };
            assert_eq!(header.length, 2 + extended + mask.map_or(0, |mask| mask.len()), "{length}");
            assert_eq!((header.mask, header.frame_length()), (mask, bytes.len()));
            assert_eq!(frames(&bytes), [(Opcode::Binary, payload)]);
            for end in 0..header.length {
                assert_eq!(frame::Header::read(&bytes[..end]), Ok(None));
            }
        }
    }
}

#[test]
fn the_masks_of_two_messages_are_different() {
    let mask = || {
        let mut out = BytesMut::new();
        encode(&envelope(&Value::None), Dialect::Client, &mut out).unwrap();
        frame::Header::read(&out).unwrap().unwrap().mask.unwrap()
    };
    let masks: std::collections::BTreeSet<_> = (0..100).map(|_| mask()).collect();
    assert!(masks.len() > 95, "{} different masks", masks.len());
}

/// The events of a batch are one message for queues, so that they stay together.
#[test]
fn a_batch_becomes_its_events() {
    let one = |n: u64| ZeekMessage::Event(ZeekEvent::new("ping", (n,)));
    let log = || ZeekMessage::LogWrite(log_write());
    let batch = ZeekMessage::Batch(vec![one(1), ZeekMessage::Batch(vec![log(), one(2)]), one(3)]);
    for dialect in [FOR_CLIENTS, Dialect::Client] {
        let mut out = BytesMut::new();
        encode(&envelope(&batch.to_value()), dialect, &mut out).unwrap();
        let length = out.len();
        encode(&envelope(&one(4).into_value()), dialect, &mut out).unwrap();
        assert_eq!(first_length(&out), Some(length));
        let received: Vec<Value> = frames(&out)
            .into_iter()
            .map(|(_, text)| match read::message(&text, id(9), false, &Limits::DEFAULT).unwrap() {
                Message::Data(envelope) => envelope.value(&Limits::DEFAULT).unwrap(),
                Message::Error(error) => panic!("{error}"),
            })
            .collect();
        assert_eq!(received, [1, 2, 3, 4].map(|n| one(n).into_value()));
    }
    let logs = ZeekMessage::Batch(vec![log()]).into_value();
    let mut out = BytesMut::from("before");
    let error = encode(&envelope(&logs), FOR_CLIENTS, &mut out).unwrap_err();
    assert_eq!(error, EncodeError::NotCarried { what: "a batch without an event" }.into());
    assert_eq!(out, "before");
}

/// Returns the counts in the events of a message, for a client.
fn counts(out: &[u8]) -> Vec<u64> {
    let read = |text: &[u8]| match read::message(text, id(9), false, &Limits::DEFAULT).unwrap() {
        Message::Data(envelope) => envelope.value(&Limits::DEFAULT).unwrap(),
        Message::Error(error) => panic!("{error}"),
    };
    let event = |value: Value| match ZeekMessage::from_value(value).unwrap() {
        ZeekMessage::Event(event) => event,
        other => panic!("{other:?}"),
    };
    let events = frames(out).into_iter().map(|(_, text)| event(read(&text)));
    events.map(|event| event.args_as::<(u64,)>().unwrap().0).collect()
}

#[test]
fn an_event_that_cannot_be_encoded_is_left_out_of_its_batch() {
    let one = |n: u64| ZeekMessage::Event(ZeekEvent::new("ping", (n,)));
    let odd = || ZeekMessage::Event(ZeekEvent::new("ping", [Value::String(b"\xff"[..].into())]));
    let long = || ZeekMessage::Event(ZeekEvent::new("ping", [Value::String(vec![1; 6_000_000][..].into())]));
    let log = || ZeekMessage::LogWrite(log_write());
    let drop = Dialect::Server(BinaryText::Drop);
    let not_text = EncodeError::NotCarried { what: "a string that is not UTF-8" };
    let not_an_event = EncodeError::NotCarried { what: "a log or an identifier update" };
    for (batch, dialect, expected, messages, error) in [
        (vec![odd(), one(1), odd(), one(2)], drop, vec![1, 2], 2, &not_text),
        // When event 2 is encoded, it is not known that all later events will be omitted.
        (vec![one(1), one(2), odd(), odd()], drop, vec![1, 2], 2, &not_text),
        (vec![one(1), odd()], drop, vec![1], 1, &not_text),
        (vec![log(), one(1), ZeekMessage::Batch(vec![log(), one(2)])], drop, vec![1, 2], 2, &not_an_event),
    ] {
        let mut out = BytesMut::new();
        let batch = envelope(&ZeekMessage::Batch(batch).into_value());
        let left_out = encode(&batch, dialect, &mut out).unwrap().left_out.unwrap();
        assert_eq!((left_out.messages, &left_out.error), (messages, error));
        assert_eq!(counts(&out), expected);
        let length = out.len();
        assert_eq!(encode(&envelope(&one(3).into_value()), dialect, &mut out), Ok(Changes::default()));
        assert_eq!(first_length(&out), Some(length), "the batch ends before the next message");
    }
    for dialect in [FOR_CLIENTS, Dialect::Client] {
        let mut out = BytesMut::new();
        let batch = envelope(&ZeekMessage::Batch(vec![one(1), long(), one(2), long()]).into_value());
        let left_out = encode(&batch, dialect, &mut out).unwrap().left_out.unwrap();
        assert_eq!((left_out.messages, first_length(&out)), (2, Some(out.len())));
        assert!(matches!(left_out.error, EncodeError::TooLong { .. }));
        assert_eq!(counts(&out), [1, 2]);
    }
    let mut out = BytesMut::from("before");
    let odd = envelope(&ZeekMessage::Batch(vec![odd(), odd()]).into_value());
    assert_eq!(encode(&odd, drop, &mut out), Err(LeftOut { messages: 2, error: not_text }));
    assert_eq!(out, "before");
}

#[test]
fn strings_that_are_changed_are_counted_in_the_messages_that_are_sent() {
    let odd =
        |n: usize| ZeekMessage::Event(ZeekEvent::new("ping", vec![Value::String(b"\xff"[..].into()); n]));
    let mut long = vec![Value::String(b"\xff"[..].into())];
    long.push(Value::String(vec![1; 6_000_000][..].into()));
    let batch = ZeekMessage::Batch(vec![odd(2), ZeekMessage::Event(ZeekEvent::new("ping", long)), odd(1)]);
    for (form, expected) in [(BinaryText::Escape, 3), (BinaryText::Replace, 3)] {
        let changes =
            encode(&envelope(&batch.to_value()), Dialect::Server(form), &mut BytesMut::new()).unwrap();
        assert_eq!((changes.altered_strings, changes.left_out.unwrap().messages), (expected, 1));
    }
    let to_server = encode(&envelope(&odd(1).into_value()), Dialect::Client, &mut BytesMut::new());
    assert_eq!(to_server, Ok(Changes::default()));
}

fn log_write() -> LogWrite {
    let value = Value::Vector(vec![
        Value::Count(1),
        Value::Count(3),
        Value::Vector(vec![
            Value::EnumValue("Conn::LOG".into()),
            Value::EnumValue("Log::WRITER_ASCII".into()),
            Value::String("conn".into()),
            Value::String(b"\0\0\0\0"[..].into()),
        ]),
    ]);
    match ZeekMessage::from_value(value).unwrap() {
        ZeekMessage::LogWrite(write) => write,
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_without_a_form_are_not_sent() {
    let refused = |envelope: &Envelope, dialect| {
        let mut out = BytesMut::from("before");
        let LeftOut { messages, error } = encode(envelope, dialect, &mut out).unwrap_err();
        assert_eq!((messages, &*out), (1, &b"before"[..]));
        error.to_string()
    };
    let log = ZeekMessage::LogWrite(log_write()).into_value();
    assert_eq!(
        refused(&envelope(&log), FOR_CLIENTS),
        "the peer's protocol cannot carry a log or an identifier update"
    );
    let command = Envelope { kind: EnvelopeType::Command, ..envelope(&Value::None) };
    assert_eq!(refused(&command, Dialect::Client), "the peer's protocol cannot carry a data-store command");
    let broken = Envelope { payload: Bytes::from_static(b"\xff"), ..envelope(&Value::None) };
    assert_eq!(
        refused(&broken, Dialect::Client),
        "the peer's protocol cannot carry a value that cannot be decoded"
    );
    let bytes = envelope(&event(vec![Value::String(b"\xff"[..].into())]));
    let drop = Dialect::Server(BinaryText::Drop);
    assert_eq!(refused(&bytes, drop), "the peer's protocol cannot carry a string that is not UTF-8");
    // One byte on the wire is 31 bytes of JSON.
    let long = envelope(&Value::Vector(vec![Value::None; 1_500_000]));
    assert!(refused(&long, FOR_CLIENTS).starts_with("a message as JSON of length"));
    // A byte of a string can be six bytes. The first ones beyond the limit are not written.
    let escaped = envelope(&Value::String(vec![1; 10_000_000][..].into()));
    let mut out = BytesMut::new();
    let left_out = encode(&escaped, FOR_CLIENTS, &mut out).unwrap_err();
    let EncodeError::TooLong { length, max, .. } = left_out.error else {
        panic!("the JSON is 60 million bytes long");
    };
    assert!((1..10).contains(&(length - max)), "{length}");
}
