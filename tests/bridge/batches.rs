//! Many messages in one read: the bridge routes each message individually, and keeps the order.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use zeek_bridge::bridge::Bridge;
use zeek_bridge::bridge::config::BridgeConfig;
use zeek_bridge::data::{EndpointId, Topic, Value};
use zeek_bridge::wire::{Envelope, EnvelopeType, INITIAL_TTL};

use crate::raw::Raw;

const CONFIG: &str = r#"
[link.in]
tls = "off"
ttl = 15
listen = "127.0.0.1:0"

[link.near]
tls = "off"
listen = "127.0.0.1:0"
when_full = "block"
limits = { queue = 20 }

[link.far]
tls = "off"
listen = "127.0.0.1:0"
when_full = "block"

[[rule]]
name = "a"
from = "in"
to = "near"
topics = ["/a"]

[[rule]]
name = "b"
from = "in"
to = ["near", "far"]
topics = ["/b"]
"#;

const MESSAGES: usize = 4000;

/// The link and the filter of each peer.
const PEERS: [(usize, &[&str]); 5] =
    [(1, &["/a"]), (1, &["/a/1", "/b"]), (1, &["/"]), (2, &["/b/2"]), (2, &["/"])];

const TOPICS: [&str; 6] = ["/a", "/a/1", "/b", "/b/1", "/b/2", "/c"];

fn id(n: usize) -> EndpointId {
    EndpointId::from_bytes([u8::try_from(n).unwrap(); 16])
}

/// Returns the links that a message under this topic may reach.
fn links(topic: &str) -> &'static [usize] {
    match topic.as_bytes()[1] {
        b'a' => &[1],
        b'b' => &[1, 2],
        _ => &[],
    }
}

/// Returns a message of random length, addressed to all peers or to one peer. It often has the same topic as `before`.
fn message(random: &mut fastrand::Rng, before: Option<&Envelope>) -> Envelope {
    let topic = match before {
        Some(before) if random.u8(..4) > 0 => before.topic.clone(),
        _ => Topic::from_static(random.choice(TOPICS).unwrap()),
    };
    let length = match random.u8(..) {
        0 => random.usize(..200_000),
        1..20 => random.usize(..20_000),
        _ => random.usize(..300),
    };
    let value = Value::Vector(vec![random.u64(..).into(), Value::String("x".repeat(length).into())]);
    let one = random.u8(..10) == 0;
    let receiver = if one { id(10 + random.usize(..PEERS.len())) } else { EndpointId::NIL };
    let sender = if random.u8(..20) == 0 { id(10) } else { id(1) };
    Envelope { receiver, ..Envelope::data(sender, topic, &value).unwrap() }
}

/// Sends messages on the topic `/b` in one write. The bridge has received no messages before. Waits until the peers have
/// received all copies: one on the link `far` and, if `near` is set, one on the link `near`. Returns the number of measured
/// latencies.
async fn latencies(config: &str, messages: usize, copies: usize, near: bool) -> u64 {
    let bridge = Bridge::start(BridgeConfig::parse(config, "bridge.toml").unwrap()).await.unwrap();
    let links = bridge.snapshot().links;
    let address = |link: usize| -> SocketAddr { links[link].listening[0].parse().unwrap() };
    let mut to = vec![Raw::connect(id(2), address(2), &["/b"]).await];
    if near {
        to.push(Raw::connect(id(3), address(1), &["/b"]).await);
    }
    let mut from = Raw::connect(id(1), address(0), &[]).await;
    from.settle().await;
    for peer in &mut to {
        peer.settle().await;
    }
    let mut bytes = BytesMut::new();
    for n in 0..messages {
        let value = Value::Count(u64::try_from(n).unwrap());
        Envelope::data(id(1), Topic::from_static("/b"), &value).unwrap().encode(&mut bytes).unwrap();
    }
    from.bytes(&bytes).await;
    for peer in &mut to {
        for _ in 0..copies * messages {
            peer.envelope_of(EnvelopeType::Data).await;
        }
        // The bridge records the latency before it writes the answer to a later message, so wait for such an answer.
        peer.settle().await;
    }
    let latency = bridge.snapshot().latency;
    bridge.shutdown().await;
    latency.counts.iter().sum()
}

#[tokio::test]
async fn the_latency_of_a_batch_is_measured_on_the_first_link_where_a_peer_receives_it() {
    assert_eq!(latencies(CONFIG, 1, 1, false).await, 1);
    assert_eq!(latencies(CONFIG, 1, 1, true).await, 1);
}

#[tokio::test]
async fn the_latency_of_a_batch_is_measured_once_if_messages_are_duplicated() {
    let chaos = CONFIG.replace("[link.far]\n", "[link.far]\nchaos = { duplicate = 1.0 }\n");
    assert_ne!(chaos, CONFIG);
    assert_eq!(latencies(&chaos, 10, 2, false).await, 1);
}

/// Receives `count` messages. Returns their topics and payloads.
async fn receive(mut peer: Raw, count: usize, link: EndpointId) -> (Raw, Vec<(Topic, Bytes)>) {
    let mut received = Vec::new();
    while received.len() < count {
        let envelope = peer.envelope_of(EnvelopeType::Data).await;
        assert_eq!((envelope.sender, envelope.ttl), (link, INITIAL_TTL - 1));
        assert!(envelope.receiver.is_nil() || envelope.receiver == peer.id);
        received.push((envelope.topic, envelope.payload));
    }
    // No more messages arrive.
    peer.settle().await;
    (peer, received)
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_one_read_are_routed_individually_and_in_order() {
    let bridge = Bridge::start(BridgeConfig::parse(CONFIG, "bridge.toml").unwrap()).await.unwrap();
    let links_of = bridge.snapshot().links;
    let address = |link: usize| -> SocketAddr { links_of[link].listening[0].parse().unwrap() };
    let mut peers = Vec::new();
    for (n, (link, filter)) in PEERS.iter().enumerate() {
        peers.push(Raw::connect(id(10 + n), address(*link), filter).await);
    }
    let mut from = Raw::connect(id(1), address(0), &[]).await;
    while bridge.snapshot().links.iter().map(|link| link.peers.len()).sum::<usize>() < 1 + PEERS.len() {
        tokio::task::yield_now().await;
    }

    let mut random = fastrand::Rng::with_seed(5);
    let mut messages: Vec<Envelope> = Vec::new();
    let mut bytes = BytesMut::new();
    for _ in 0..MESSAGES {
        messages.push(message(&mut random, messages.last()));
        messages[messages.len() - 1].encode(&mut bytes).unwrap();
    }
    let expected = |peer: usize| -> Vec<(Topic, Bytes)> {
        let (link, filter) = PEERS[peer];
        let is_forwarded = |message: &&Envelope| {
            let topic = message.topic.to_str_lossy();
            let matches = filter.iter().any(|prefix| topic.starts_with(prefix));
            let chosen = if message.receiver.is_nil() { matches } else { message.receiver == id(10 + peer) };
            links(&topic).contains(&link) && chosen && message.sender != id(10 + peer)
        };
        messages.iter().filter(is_forwarded).map(|m| (m.topic.clone(), m.payload.clone())).collect()
    };
    let receivers: Vec<_> = peers
        .into_iter()
        .enumerate()
        .map(|(n, peer)| {
            let link = links_of[PEERS[n].0].id.parse().unwrap();
            tokio::spawn(receive(peer, expected(n).len(), link))
        })
        .collect();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(random.usize(1..100_000).min(rest.len()));
        from.bytes(piece).await;
        rest = more;
    }
    for (n, receiver) in receivers.into_iter().enumerate() {
        let (_, received) = receiver.await.unwrap();
        let expected = expected(n);
        assert!(expected.len() > 100, "{}", expected.len());
        assert!(received == expected, "peer {n}");
    }
    let snapshot = bridge.snapshot();
    let passed: Vec<u64> = snapshot.rules.iter().map(|rule| rule.passed).collect();
    let count = |topic: &str| {
        let under = messages.iter().filter(|message| message.topic.to_str_lossy().starts_with(topic));
        u64::try_from(under.count()).unwrap()
    };
    assert_eq!(passed, [count("/a"), 2 * count("/b")]);
    let sent: usize = (0..PEERS.len()).map(|n| expected(n).len()).sum();
    assert_eq!(
        snapshot.links.iter().map(|link| link.messages_out).sum::<u64>(),
        u64::try_from(sent).unwrap()
    );
    assert_eq!(snapshot.links[0].messages_in, u64::try_from(MESSAGES).unwrap());
    assert!(snapshot.links.iter().all(|link| link.dropped == 0));
    let latency: u64 = snapshot.latency.counts.iter().sum();
    assert!(latency > 0, "some latencies are measured");
    bridge.shutdown().await;
}
