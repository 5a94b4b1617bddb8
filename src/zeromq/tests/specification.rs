//! Reads every example of section 11 of `PROTOCOL.md`.

use data_encoding::HEXLOWER;
use serde_json::{Value as Json, json};

use super::*;
use crate::wire::Limits;

/// Returns the bytes of each `hex-zmtp` block, with the JSON in the block after it.
fn examples() -> Vec<(Vec<u8>, Json)> {
    let blocks: Vec<&str> = include_str!("../../PROTOCOL.md").split("```").skip(1).step_by(2).collect();
    let with_language =
        |block: &'static str, language: &str| block.strip_prefix(language)?.strip_prefix('\n');
    let mut examples = Vec::new();
    for pair in blocks.windows(2) {
        let Some(hex) = with_language(pair[0], "hex-zmtp") else { continue };
        let digits: String = hex.split_whitespace().collect();
        let json = with_language(pair[1], "json").expect("JSON after an example");
        let json = serde_json::from_str(json).unwrap();
        examples.push((HEXLOWER.decode(digits.as_bytes()).unwrap(), json));
    }
    assert_eq!(examples.len(), 5);
    examples
}

#[test]
fn the_examples_of_the_specification_are_read() {
    for (bytes, expected) in examples() {
        let socket = match expected["to"].as_str() {
            Some("XPUB") => SocketType::XPub,
            Some("XSUB") => SocketType::XSub,
            other => panic!("{other:?}"),
        };
        let mut end =
            if bytes[0] == 0xff { End::new(socket, |_| {}) } else { End::established(socket, |_| {}) };
        end.receive(&bytes);
        let events = end.take_events();
        let read = match &events[..] {
            [Event::Introduced { .. }, Event::Established { .. }] => {
                assert_eq!(bytes, [greeting("NULL"), ready("XPUB")].concat());
                json!({ "to": socket.name(), "peer": end.session.peer_socket() })
            }
            [Event::FilterChanged(filter)] => {
                let topics: Vec<_> = filter.topics().iter().map(ToString::to_string).collect();
                json!({ "to": socket.name(), "filter": topics })
            }
            [Event::Message(envelope)] => {
                let sender = end.session.sender_name(envelope.sender).unwrap();
                let topic = envelope.topic.as_bytes();
                let again = message(&[topic, sender.as_bytes(), b"broker-bin-v1", &envelope.payload]);
                assert_eq!(again, bytes);
                let value = envelope.value(&Limits::DEFAULT).unwrap().to_json();
                json!({ "to": socket.name(), "topic": envelope.topic.to_string(), "sender": &*sender, "value": value })
            }
            [] => json!({ "to": socket.name(), "output": HEXLOWER.encode(&end.take_output()) }),
            other => panic!("{other:?}"),
        };
        assert_eq!(read, expected);
    }
}
