//! Events with the same topic and name in one read: a decision on one of them must not apply to a message that differs from it.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use zeek_bridge::bridge::Bridge;
use zeek_bridge::bridge::config::BridgeConfig;
use zeek_bridge::data::{EndpointId, Timestamp, Topic, Value};
use zeek_bridge::management::NotifyNodeHello;
use zeek_bridge::wire::{Envelope, EnvelopeType};
use zeek_bridge::zeek::{Event, ZeekMessage};

use crate::raw::Raw;

const CONFIG: &str = r#"
[link.in]
tls = "off"
listen = "127.0.0.1:0"

[link.one]
tls = "off"
listen = "127.0.0.1:0"

[link.two]
tls = "off"
listen = "127.0.0.1:0"

[link.three]
tls = "off"
listen = "127.0.0.1:0"

[[rule]]
name = "site"
from = "in"
to = ["one", "two"]
topics = ["/site"]
events = ["Site::*"]

[[rule]]
name = "all"
from = "in"
to = ["one", "two", "three"]
topics = ["/all"]

[[rule]]
name = "commands"
from = "in"
to = "one"
topics = ["/site/store"]
commands = true
"#;

const END: &str = "Site::end";

fn id(n: u8) -> EndpointId {
    EndpointId::from_bytes([n; 16])
}

fn message(topic: &'static str, event: Event) -> Envelope {
    let value = ZeekMessage::Event(event).into_value();
    Envelope::data(id(1), Topic::from_static(topic), &value).unwrap()
}

fn report(argument: u64) -> Event {
    Event::new("Site::report", vec![Value::Count(argument), Value::from("text")])
}

/// Replaces the first occurrence of `from` in the payload.
fn changed(envelope: &Envelope, from: &[u8], to: &[u8]) -> Envelope {
    let at = envelope.payload.windows(from.len()).position(|bytes| bytes == from).unwrap();
    let payload = [&envelope.payload[..at], to, &envelope.payload[at + from.len()..]].concat();
    Envelope { payload: Bytes::from(payload), ..envelope.clone() }
}

/// Returns messages that resemble an allowed event, or each other.
fn variants() -> Vec<Envelope> {
    let plain = message("/site", report(1));
    let stamped = message("/site", report(2).with_network_timestamp(Timestamp::from_nanos(7)));
    let text = [&[5, 4], &b"text"[..]].concat();
    let set = Value::Set([Value::Count(1), Value::Count(2)].into_iter().collect());
    let set = message("/site", Event::new("Site::report", vec![set]));
    let [low, high] = [1u64, 2].map(|count| [&[2][..], &count.to_be_bytes()].concat());
    let swapped = changed(&set, &[low.clone(), high.clone()].concat(), &[high, low].concat());
    let mut all = vec![
        plain.clone(),
        Envelope { ttl: 1, ..plain.clone() },
        Envelope { ttl: 2, ..plain.clone() },
        Envelope { sender: id(2), ..plain.clone() },
        Envelope { receiver: id(11), ..plain.clone() },
        Envelope { receiver: id(99), ..plain.clone() },
        Envelope { kind: EnvelopeType::Command, ..plain.clone() },
        // An unknown tag, a string that is too long, and a further byte.
        changed(&plain, &text, &[&[99, 4], &b"text"[..]].concat()),
        changed(&plain, &text, &[&[5, 5], &b"text"[..]].concat()),
        changed(&plain, &text, &[&text[..], &[0]].concat()),
        // The metadata is not a vector of pairs.
        changed(&stamped, &[9, 0, 0, 0, 0, 0, 0, 0, 7], &[3, 0, 0, 0, 0, 0, 0, 0, 7]),
        stamped,
        set,
        swapped,
        message("/site/other", report(3)),
        // The longest topic that is stored in place, and one that is longer.
        message("/site/topics-of-38-bytes-are-kept-here", report(3)),
        message("/site/topics-of-39-bytes-are-kept-here!", report(3)),
        message("/all", report(4)),
        message("/else", report(5)),
        message("/site", Event::new("Other::report", Vec::<Value>::new())),
        message("/all", Event::from(NotifyNodeHello { node: "node".to_owned() })),
        message("/site", Event::from(NotifyNodeHello { node: "node".to_owned() })),
    ];
    all.extend((0..6).map(|n| message("/site", Event::new(format!("Site::event_{n}"), Vec::<Value>::new()))));
    all
}

/// The topic, the payload, the receiver and the ttl of each received message.
type Received = Vec<(Topic, Bytes, EndpointId, u16)>;

/// Sends messages to a bridge, each in a read of its own or all at once. Returns the messages that each link has received, the number
/// of messages that each rule has allowed, and the numbers of denied ones by reason.
async fn relay(messages: &[Envelope], at_once: bool) -> (Vec<Received>, Vec<u64>, BTreeMap<String, u64>) {
    let bridge = Bridge::start(BridgeConfig::parse(CONFIG, "bridge.toml").unwrap()).await.unwrap();
    let addresses: Vec<_> =
        bridge.snapshot().links.iter().map(|link| link.listening[0].parse().unwrap()).collect();
    let mut peers = Vec::new();
    for (link, n) in [(1, 11), (2, 12), (3, 13)] {
        let mut peer = Raw::connect(id(n), addresses[link], &["/"]).await;
        peer.settle().await;
        peers.push(peer);
    }
    let mut from = Raw::connect(id(1), addresses[0], &[]).await;
    from.settle().await;
    let end = message("/all", Event::new(END, Vec::<Value>::new()));
    let mut bytes = BytesMut::new();
    for message in messages.iter().chain([&end]) {
        message.encode(&mut bytes).unwrap();
        if !at_once {
            from.bytes(&bytes.split()).await;
            from.settle().await;
        }
    }
    from.bytes(&bytes).await;
    let mut received = Vec::new();
    for peer in &mut peers {
        let mut messages = Received::new();
        loop {
            let Envelope { topic, payload, receiver, ttl, .. } = peer.envelope_of(EnvelopeType::Data).await;
            if payload == end.payload {
                break;
            }
            messages.push((topic, payload, receiver, ttl));
        }
        received.push(messages);
    }
    let snapshot = bridge.snapshot();
    bridge.shutdown().await;
    (received, snapshot.rules.iter().map(|rule| rule.passed).collect(), snapshot.refused)
}

#[tokio::test]
async fn messages_of_one_read_are_decided_on_as_if_each_had_its_own() {
    let variants = variants();
    let mut random = fastrand::Rng::with_seed(7);
    // Every message after every other one is likely, also several times.
    let messages: Vec<Envelope> = (0..400).map(|_| random.choice(&variants).unwrap().clone()).collect();
    let (one_by_one, at_once) = (relay(&messages, false).await, relay(&messages, true).await);
    for (link, (expected, received)) in one_by_one.0.iter().zip(&at_once.0).enumerate() {
        assert!(expected == received, "link {link}: {} and {}", expected.len(), received.len());
    }
    assert_eq!((&one_by_one.1, &one_by_one.2), (&at_once.1, &at_once.2));
    let (one, three) = (&one_by_one.0[0], &one_by_one.0[2]);
    assert!(one.len() > 150 && one.len() < 350 && !three.is_empty() && three.len() < 50, "{}", one.len());
    assert!(one_by_one.2.len() >= 4, "{:?}", one_by_one.2);
}
