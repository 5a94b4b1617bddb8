//! Every data payload of the captured peerings, converted to a Zeek message and back.

use std::collections::BTreeMap;

use crate::common::{Fixture, Phase};
use bytes::{Bytes, BytesMut};
use zeek_bridge::data::{Topic, Value};
use zeek_bridge::management::{NODE_TOPIC, NodeMessage};
use zeek_bridge::wire::{Envelope, EnvelopeType, Limits, encode_value};
use zeek_bridge::zeek::{Event, MessageError, ZeekMessage};

struct Payload {
    /// The fixture and the index of the frame.
    place: String,
    topic: Topic,
    bytes: Bytes,
    value: Value,
}

fn payloads() -> Vec<Payload> {
    let mut payloads = Vec::new();
    for fixture in Fixture::all() {
        for frame in fixture.frames.iter().filter(|frame| frame.phase == Phase::Peered) {
            let envelope = Envelope::decode(&frame.body()).unwrap();
            if envelope.kind == EnvelopeType::Data {
                let place = format!("{} frame {}", fixture.name, frame.index);
                let value = envelope.value(&Limits::DEFAULT).unwrap();
                payloads.push(Payload { place, topic: envelope.topic, bytes: envelope.payload, value });
            }
        }
    }
    payloads
}

fn encoded(message: ZeekMessage) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode_value(&message.into_value(), &mut bytes).unwrap();
    bytes
}

fn kind(message: &ZeekMessage) -> &'static str {
    match message {
        ZeekMessage::Event(_) => "event",
        ZeekMessage::LogCreate(_) => "log create",
        ZeekMessage::LogWrite(_) => "log write",
        ZeekMessage::IdentifierUpdate(_) => "identifier update",
        ZeekMessage::Batch(_) => "batch",
    }
}

#[test]
fn every_captured_zeek_message_round_trips() {
    let (mut kinds, mut batched) = (BTreeMap::new(), BTreeMap::new());
    for Payload { place, topic, bytes, value } in payloads() {
        if topic == Topic::from_static("/bench") {
            // The values of Broker's benchmark are not Zeek messages.
            let error = ZeekMessage::from_value(value).unwrap_err();
            assert!(
                matches!(error, MessageError::WrongType { .. } | MessageError::WrongCount { .. }),
                "{place}: {error}"
            );
            *kinds.entry("none").or_insert(0) += 1;
            continue;
        }
        let message =
            ZeekMessage::from_value(value.clone()).unwrap_or_else(|error| panic!("{place}: {error}"));
        *kinds.entry(kind(&message)).or_insert(0) += 1;
        if let ZeekMessage::Batch(messages) = &message {
            for message in messages {
                *batched.entry(kind(message)).or_insert(0) += 1;
            }
        }
        assert_eq!(message.to_value(), value, "{place}");
        assert_eq!(encoded(message), bytes, "{place}");
    }
    assert_eq!(kinds, BTreeMap::from([("none", 24), ("event", 143), ("log create", 30), ("batch", 46)]));
    assert_eq!(batched, BTreeMap::from([("log write", 141)]));
}

#[test]
fn every_captured_node_api_event_round_trips() {
    let mut kinds = BTreeMap::new();
    for Payload { place, topic, bytes, value } in payloads() {
        let Ok(ZeekMessage::Event(event)) = ZeekMessage::from_value(value) else { continue };
        let parsed = NodeMessage::parse(&event).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(parsed.is_some(), topic == NODE_TOPIC, "{place}");
        let Some(message) = parsed else { continue };
        *kinds
            .entry(match &message {
                NodeMessage::Hello(_) => "hello",
                NodeMessage::Request(_) => "request",
                NodeMessage::Response(response) => {
                    let result = response.result();
                    assert_eq!((result.reqid(), result.instance()), (response.reqid(), None), "{place}");
                    assert!(result.node().is_some(), "{place}");
                    assert_eq!(result.is_success(), result.error().is_none(), "{place}");
                    assert_eq!(result.is_success(), matches!(result.json(), Some(Ok(_))), "{place}");
                    if result.is_success() { "success" } else { "failure" }
                }
            })
            .or_insert(0) += 1;
        // Zeek 8.0 writes an empty list of metadata; this crate omits it.
        let written = Event::from(message);
        assert_eq!(written.metadata, None, "{place}");
        let metadata = event.metadata.clone().unwrap();
        assert_eq!(encoded(written.with_metadata(metadata).into()), bytes, "{place}");
    }
    assert_eq!(kinds, BTreeMap::from([("hello", 4), ("request", 24), ("success", 56), ("failure", 12)]));
}
