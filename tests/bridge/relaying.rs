//! The bytes of messages that the bridge forwards.

use bytes::{BufMut, Bytes, BytesMut};
use zeek_bridge::data::{EndpointId, Topic, Value};
use zeek_bridge::wire::{Command, CommandContent, EntityId, Envelope, EnvelopeType, INITIAL_TTL};

use crate::cluster::BridgeProcess;
use crate::peers::*;
use crate::raw::Raw;

fn config(hub: bool, commands: bool) -> String {
    let link = "tls = \"off\"\nlisten = \"127.0.0.1:0\"\n";
    let rule = |name: &str, more: &str| {
        format!(
            "[[rule]]\nname = \"{name}\"\nfrom = [\"in\", \"out\"]\nto = [\"in\", \"out\"]\n\
             topics = [\"/t\"]\n{more}"
        )
    };
    let commands = if commands { rule("commands", "commands = true\n") } else { String::new() };
    format!(
        "[link.in]\nttl = 15\n{link}hub = {hub}\n[link.out]\nttl = 15\n{link}{}{commands}",
        rule("data", "")
    )
}

fn data(from: &Raw, text: &str) -> Envelope {
    Envelope::data(from.id, Topic::from_static("/t"), &Value::String(text.into())).unwrap()
}

fn id(bridge: &BridgeProcess, link: &str) -> EndpointId {
    bridge.link(link)["id"].as_str().unwrap().parse().unwrap()
}

/// Connects peers with these ids.
async fn peers(bridge: &BridgeProcess, link: &str, ids: &[u8]) -> Vec<Raw> {
    let address = bridge.address(link);
    let mut peers = Vec::new();
    for id in ids {
        peers.push(raw(*id, &address, &["/t"]).await);
    }
    bridge.until("all peers are connected", |bridge| bridge.peers(link) == ids.len());
    peers
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_are_forwarded_byte_for_byte() {
    let bridge = BridgeProcess::start(&config(false, false));
    let mut out = peers(&bridge, "out", &[1]).await.remove(0);
    let mut from = peers(&bridge, "in", &[2]).await.remove(0);
    let out_id = id(&bridge, "out");
    let payloads: [&[u8]; 5] = [
        // Unusual encodings: a length with too many bytes, a boolean with the byte 2, an unsorted set, and a NaN.
        b"\x05\x83\x00abc",
        b"\x01\x02",
        b"\x0c\x03\x02\0\0\0\0\0\0\0\x09\x02\0\0\0\0\0\0\0\x01\x05\x01a",
        b"\x04\x7f\xf8\0\0\0\0\0\x01",
        // An event with metadata, as a future version of Zeek may write it.
        b"\x0e\x03\x02\0\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x01\x0e\x02\x05\x01e\x0e\x00",
    ];
    for (payload, ttl) in payloads.into_iter().zip([INITIAL_TTL, 2, 7, u16::MAX, 300]) {
        let sent = Envelope { ttl, payload: Bytes::from_static(payload), ..data(&from, "") };
        from.send(&sent).await;
        // Encoded by hand, independently of the library: header, topic, payload.
        let mut expected = BytesMut::new();
        expected.put_slice(out_id.as_bytes());
        expected.put_slice(&[0; 16]);
        expected.put_u8(1);
        expected.put_u16(ttl.min(INITIAL_TTL) - 1);
        expected.put_u16(2);
        expected.put_slice(b"/t");
        expected.put_slice(payload);
        assert_eq!(out.frame().await.unwrap(), expected, "{payload:?}");
    }
    // A message with a ttl of 1 or 0 is not forwarded.
    from.send(&Envelope { ttl: 1, ..data(&from, "too far") }).await;
    from.send(&Envelope { ttl: 0, ..data(&from, "too far") }).await;
    from.send(&data(&from, "near")).await;
    assert_eq!(out.text().await, "near");
    assert_eq!(bridge.refused("ttl"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_for_one_receiver_reaches_only_that_peer() {
    let bridge = BridgeProcess::start(&config(false, false));
    let mut out = peers(&bridge, "out", &[1, 2]).await;
    let mut from = peers(&bridge, "in", &[3]).await.remove(0);
    for (receiver, text) in [
        (out[0].id, "for the first"),
        (out[1].id, "for the second"),
        (EndpointId::from_bytes([77; 16]), "for an unknown endpoint"),
        (from.id, "for itself"),
        (id(&bridge, "in"), "for the bridge"),
        (id(&bridge, "out"), "for the bridge"),
        (EndpointId::NIL, "for all"),
    ] {
        from.send(&Envelope { receiver, ..data(&from, text) }).await;
    }
    let own = ["for the first", "for the second"];
    for (peer, own) in out.iter_mut().zip(own) {
        let envelope = peer.envelope_of(EnvelopeType::Data).await;
        assert_eq!(
            envelope,
            Envelope {
                sender: id(&bridge, "out"),
                receiver: peer.id,
                ttl: INITIAL_TTL - 1,
                ..data(peer, own)
            }
        );
        assert_eq!(peer.text().await, "for all");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_peers_of_a_hub_link_receive_messages_from_each_other() {
    for hub in [false, true] {
        let bridge = BridgeProcess::start(&config(hub, false));
        let mut in_peers = peers(&bridge, "in", &[1, 2, 3]).await;
        let mut out = peers(&bridge, "out", &[4]).await.remove(0);
        let message = data(&in_peers[0], "hello");
        in_peers[0].send(&message).await;
        assert_eq!(out.text().await, "hello");
        in_peers[0].settle().await;
        let last = data(&out, "the end");
        out.send(&last).await;
        for (n, peer) in in_peers.iter_mut().enumerate() {
            if hub && n != 0 {
                assert_eq!(peer.text().await, "hello");
            }
            assert_eq!(peer.text().await, "the end", "a message is not sent back to its sender");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_rule_with_commands_allows_data_store_commands() {
    for commands in [false, true] {
        let mut bridge = BridgeProcess::start(&config(false, commands));
        let mut out = peers(&bridge, "out", &[1]).await.remove(0);
        let mut from = peers(&bridge, "in", &[2]).await.remove(0);
        let clear = Command {
            sequence: 7,
            sender: EntityId { endpoint: from.id, object: 1 },
            receiver: EntityId { endpoint: EndpointId::NIL, object: 0 },
            content: CommandContent::Clear { publisher: EntityId { endpoint: from.id, object: 1 } },
        };
        let mut payload = BytesMut::new();
        clear.encode(&mut payload).unwrap();
        let good = Envelope { kind: EnvelopeType::Command, payload: payload.freeze(), ..data(&from, "") };
        let cut = Envelope { payload: good.payload.slice(..good.payload.len() - 1), ..good.clone() };
        from.send(&cut).await;
        if commands {
            bridge.program.says("reason=\"malformed\"");
        } else {
            bridge.program.says("reason=\"command_not_allowed\"");
        }
        from.send(&good).await;
        from.send(&data(&from, "data")).await;
        let next = out.envelope().await.unwrap();
        if commands {
            assert_eq!((next.kind, &next.payload), (EnvelopeType::Command, &good.payload));
            assert_eq!(bridge.refused("malformed"), 1);
        } else {
            assert_eq!(next.kind, EnvelopeType::Data);
            assert_eq!(bridge.refused("command_not_allowed"), 2);
        }
    }
}

/// Returns a message as Zeek sends it to each new peer: `[version, kind, [stream, writer, info, fields]]`.
fn log_message(raw: &Raw, kind: u64, receiver: EndpointId) -> Envelope {
    let stream = [Value::enum_value("Conn::LOG"), Value::enum_value("Log::WRITER_ASCII")];
    let value = Value::Vector(vec![Value::Count(1), Value::Count(kind), Value::Vector(stream.to_vec())]);
    let topic = Topic::from_static("zeek/logs/Conn::LOG");
    Envelope { receiver, ..Envelope::data(raw.id, topic, &value).unwrap() }
}

const LOG_CREATE: u64 = 2;
const LOG_WRITE: u64 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn unsolicited_log_creates_cause_no_warning() {
    let mut bridge = BridgeProcess::start(&config(false, false));
    let mut from = peers(&bridge, "in", &[1]).await.remove(0);
    let own = id(&bridge, "in");
    from.send(&log_message(&from, LOG_CREATE, own)).await;
    from.settle().await;
    assert_eq!((bridge.refused("log_create"), bridge.refused("no_rule")), (1, 0));
    // The next message that no rule allows causes the first warning.
    from.send(&log_message(&from, LOG_WRITE, own)).await;
    let line = bridge.program.says("refused: ");
    assert!(line.contains("reason=\"no_rule\""), "{line}");
    assert_eq!((bridge.refused("log_create"), bridge.refused("no_rule")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn log_creates_for_the_bridge_reach_the_subscribers_of_the_logs() {
    let rule = "[[rule]]\nname = \"logs\"\nfrom = \"in\"\nto = \"out\"\ntopics = [\"zeek/logs/\"]\n";
    let bridge = BridgeProcess::start(&(config(false, false) + rule));
    let address = bridge.address("out");
    let mut logger = raw(1, &address, &["zeek/logs/"]).await;
    let mut from = raw(2, &bridge.address("in"), &[]).await;
    bridge.until("both peers are connected", |bridge| bridge.peers("in") == 1 && bridge.peers("out") == 1);
    let sent =
        [log_message(&from, LOG_CREATE, id(&bridge, "in")), log_message(&from, LOG_WRITE, EndpointId::NIL)];
    for message in &sent {
        from.send(message).await;
    }
    for message in &sent {
        let envelope = logger.envelope_of(EnvelopeType::Data).await;
        assert_eq!((&envelope.payload, envelope.receiver), (&message.payload, EndpointId::NIL));
    }
    assert_eq!(bridge.refused("log_create"), 0);
}
