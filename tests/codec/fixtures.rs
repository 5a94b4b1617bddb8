//! The frames of all captured peerings, decoded and encoded by the wire layer.
//!
//! There is one test for each captured peering. For each frame, the test checks that:
//!
//! - it decodes to the content that Broker's C++ implementation found;
//! - the content is encoded to the same bytes;
//! - it is malformed if it is truncated anywhere, except in the payload of a ping or pong, which may be any bytes.

use std::collections::BTreeSet;

use crate::common::{Fixture, Frame, Phase, Side, golden_values, same_json};
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::json;
use zeek_bridge::data::{EndpointId, Value, parse_json};
use zeek_bridge::wire::{
    DecodeReason, Envelope, EnvelopeType, Handshake, Limits, ValueRef, check_value, cut_frame, decode_value,
    encode_value, put_frame,
};

const LIMITS: &Limits = &Limits::DEFAULT;

/// The folders with a test below.
const TESTED: [&str; 16] = [
    "aborted",
    "all-types",
    "cluster-logs",
    "cluster-stores",
    "drop-magic",
    "drop-redundant",
    "drop-version",
    "event-metadata",
    "node-manager",
    "node-worker",
    "ping-pong-2.3.8",
    "ping-pong-2.6.0",
    "ping-pong-mixed",
    "plain-peering",
    "store-operations",
    "supervisor",
];

#[test]
fn every_fixture_has_a_test() {
    assert_eq!(Fixture::names(), TESTED);
}

#[test]
fn a_connector_that_disconnects_at_once_sends_only_hello() {
    assert_eq!(check_and_list_kinds("aborted"), BTreeSet::from(["hello"]));
}

#[test]
fn values_of_every_zeek_type_are_read_and_written() {
    assert!(check_and_list_kinds("all-types").contains("data"));
}

#[test]
fn log_creates_and_writes_are_read_and_written() {
    assert!(check_and_list_kinds("cluster-logs").contains("routing_update"));
}

#[test]
fn commands_of_idle_data_stores_are_read_and_written() {
    let seen = check_and_list_kinds("cluster-stores");
    for command in ["nack", "ack_clone", "attach_writer", "keepalive", "cumulative_ack"] {
        assert!(seen.contains(command), "{command}");
    }
}

#[test]
fn a_wrong_magic_number_is_reported_and_the_refusal_is_read() {
    assert_eq!(check_and_list_kinds("drop-magic"), BTreeSet::from(["drop_conn", "probe", "wrong magic"]));
}

#[test]
fn the_refusal_of_a_redundant_connection_is_read_and_written() {
    assert!(check_and_list_kinds("drop-redundant").contains("drop_conn"));
}

#[test]
fn the_refusal_of_an_unknown_version_is_read_and_written() {
    assert_eq!(check_and_list_kinds("drop-version"), BTreeSet::from(["drop_conn", "hello", "probe"]));
}

#[test]
fn events_with_metadata_are_read_and_written() {
    assert!(check_and_list_kinds("event-metadata").contains("data"));
}

#[test]
fn messages_of_a_manager_node_and_its_agent_are_read_and_written() {
    assert!(check_and_list_kinds("node-manager").contains("data"));
}

#[test]
fn messages_of_a_worker_node_and_its_agent_are_read_and_written() {
    assert!(check_and_list_kinds("node-worker").contains("data"));
}

#[test]
fn messages_of_broker_2_3_from_zeek_5_0_are_read_and_written() {
    assert!(check_and_list_kinds("ping-pong-2.3.8").contains("data"));
}

#[test]
fn messages_of_broker_2_6_from_zeek_6_0_are_read_and_written() {
    assert!(check_and_list_kinds("ping-pong-2.6.0").contains("data"));
}

#[test]
fn messages_between_broker_2_8_and_2_3_are_read_and_written() {
    assert!(check_and_list_kinds("ping-pong-mixed").contains("data"));
}

#[test]
fn a_handshake_without_messages_is_read_and_written() {
    let all = ["hello", "originator_ack", "originator_syn", "probe", "responder_syn_ack", "version_select"];
    assert_eq!(check_and_list_kinds("plain-peering"), BTreeSet::from(all));
}

#[test]
fn data_store_commands_are_read_and_written() {
    let seen = check_and_list_kinds("store-operations");
    for command in [
        "put",
        "put_unique",
        "put_unique_result",
        "erase",
        "expire",
        "add",
        "subtract",
        "clear",
        "attach_writer",
        "keepalive",
        "cumulative_ack",
        "nack",
        "ack_clone",
    ] {
        assert!(seen.contains(command), "{command}");
    }
}

#[test]
fn tables_records_and_sets_of_the_supervisor_are_read_and_written() {
    assert!(check_and_list_kinds("supervisor").contains("data"));
}

/// Checks all frames of a fixture and returns the kinds of its messages.
fn check_and_list_kinds(name: &str) -> BTreeSet<&'static str> {
    let fixture = Fixture::load(name);
    for side in Side::BOTH {
        check_framing(&fixture, side);
    }
    fixture
        .frames
        .iter()
        .map(|frame| {
            println!("{name} frame {}", frame.index);
            match frame.phase {
                Phase::Handshake => check_handshake(frame),
                Phase::Peered => check_envelope(frame),
            }
        })
        .collect()
}

fn check_framing(fixture: &Fixture, side: Side) {
    let mut stream = BytesMut::from(&fixture.stream(side)[..]);
    let mut again = BytesMut::new();
    for frame in fixture.from(side) {
        let body = cut_frame(&mut stream, LIMITS.max_frame).unwrap().unwrap();
        assert_eq!(body, frame.body());
        put_frame(&mut again, |out| {
            out.put_slice(&body);
            Ok(())
        })
        .unwrap();
    }
    assert!(stream.is_empty());
    assert_eq!(again, fixture.stream(side));
}

fn check_handshake(frame: &Frame) -> &'static str {
    let body = frame.body();
    for cut in 0..body.len() {
        assert!(Handshake::decode(&body[..cut], LIMITS).is_err(), "cut at {cut}");
    }
    match Handshake::decode(&body, LIMITS) {
        Ok(message) => {
            assert_eq!(message.to_json(), frame.json);
            let mut out = BytesMut::new();
            message.encode(&mut out).unwrap();
            assert_eq!(out, frame.bytes);
            message.name()
        }
        Err(error) => {
            let DecodeReason::WrongMagic(magic) = error.reason() else { panic!("{error}") };
            let magic = data_encoding::HEXLOWER.encode(magic);
            assert_eq!(frame.json, json!({ "type": "hello", "wrong_magic": magic }));
            assert_eq!(error.offset(), 1);
            "wrong magic"
        }
    }
}

/// Returns the type of the envelope, or the name of the command.
fn check_envelope(frame: &Frame) -> &'static str {
    let body = frame.body();
    let envelope = Envelope::decode(&body).unwrap();
    envelope.check(LIMITS).unwrap();
    let json = envelope.to_json(LIMITS).unwrap();
    let mut text = Vec::new();
    envelope.write_json(LIMITS, &mut text).unwrap().unwrap();
    assert_eq!(parse_json(&text).unwrap(), json);
    assert!(same_json(&json, &frame.json), "{json} for {}", frame.json);

    let mut encoded = BytesMut::new();
    envelope.encode(&mut encoded).unwrap();
    assert_eq!(encoded, frame.bytes);
    assert_eq!(envelope.frame_length(), frame.bytes.len());
    let mut parts = BytesMut::new();
    envelope.encode_header_as(envelope.sender, &mut parts).unwrap();
    parts.put_slice(&envelope.payload);
    assert_eq!(parts, frame.bytes);
    let mut forwarded = BytesMut::new();
    let me = EndpointId::from_bytes([0xee; 16]);
    envelope.encode_header_as(me, &mut forwarded).unwrap();
    forwarded.put_slice(&envelope.payload);
    let forwarded = Envelope::decode(&forwarded.freeze().slice(4..)).unwrap();
    assert_eq!(forwarded, Envelope { sender: me, ..envelope.detached() });

    truncated_envelope_is_an_error(&envelope, &body);
    let Envelope { sender, receiver, payload, .. } = envelope.clone();
    let (kind, made) = match envelope.kind {
        EnvelopeType::Data => {
            let value = envelope.value(LIMITS).unwrap();
            assert_eq!(Value::from_json(&frame.json["value"]).unwrap(), value);
            assert_eq!(ValueRef::decode(&payload, LIMITS).unwrap().to_value(), value);
            let made = Envelope::data(sender, envelope.topic.clone(), &value).unwrap();
            ("data", Envelope { receiver, ..made })
        }
        EnvelopeType::Command => {
            let command = envelope.command(LIMITS).unwrap();
            let mut payload = BytesMut::new();
            command.encode(&mut payload).unwrap();
            (command.content.name(), Envelope { payload: payload.freeze(), ..envelope.clone() })
        }
        EnvelopeType::RoutingUpdate => {
            let filter = envelope.filter(LIMITS).unwrap();
            ("routing_update", Envelope::routing_update(sender, receiver, &filter).unwrap())
        }
        EnvelopeType::Ping => ("ping", Envelope::ping(sender, receiver, payload)),
        EnvelopeType::Pong => ("pong", Envelope::pong(sender, receiver, payload)),
    };
    assert_eq!(Envelope { ttl: envelope.ttl, ..made }, envelope);
    kind
}

fn truncated_envelope_is_an_error(envelope: &Envelope, body: &Bytes) {
    let header = body.len() - envelope.payload.len();
    for cut in 0..header {
        let error = Envelope::decode(&body.slice(..cut)).unwrap_err();
        assert_eq!(error.reason(), &DecodeReason::Truncated, "cut at {cut}");
    }
    for cut in header..body.len() {
        let short = Envelope::decode(&body.slice(..cut)).unwrap();
        let read = match envelope.kind {
            EnvelopeType::Data => short.value(LIMITS).map(drop),
            EnvelopeType::Command => short.command(LIMITS).map(drop),
            EnvelopeType::RoutingUpdate => short.filter(LIMITS).map(drop),
            // The payload of pings and pongs may be any bytes.
            EnvelopeType::Ping | EnvelopeType::Pong => return,
        };
        assert_eq!(read.as_ref().unwrap_err().reason(), &DecodeReason::Truncated, "cut at {cut}");
        assert_eq!(short.check(LIMITS), read);
    }
}

fn value_is_truncated(bytes: &[u8]) {
    let error = decode_value(bytes, LIMITS).unwrap_err();
    assert_eq!(error.reason(), &DecodeReason::Truncated);
    assert_eq!(check_value(bytes, LIMITS).unwrap_err(), error);
    assert_eq!(ValueRef::decode(bytes, LIMITS).unwrap_err(), error);
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_value(value, &mut bytes).unwrap();
    bytes
}

#[test]
fn golden_values_are_read_and_written() {
    for golden in golden_values() {
        println!("{}", golden.name);
        let value = decode_value(&golden.bytes, LIMITS).unwrap();
        check_value(&golden.bytes, LIMITS).unwrap();
        assert_eq!(ValueRef::decode(&golden.bytes, LIMITS).unwrap().to_value(), value);
        assert_eq!(encoded(&value), golden.bytes);
        assert!(same_json(&value.to_json(), &golden.json), "{} for {}", value.to_json(), golden.json);
        let from_json = Value::from_json(&golden.json).unwrap();
        assert_eq!(from_json, value);
        assert_eq!(encoded(&from_json), golden.bytes);
    }
}

#[test]
fn truncated_golden_values_are_errors() {
    for golden in golden_values() {
        for cut in 0..golden.bytes.len() {
            value_is_truncated(&golden.bytes[..cut]);
        }
    }
}
