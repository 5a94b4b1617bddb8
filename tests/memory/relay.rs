//! Allocations of a bridge that forwards messages, as counted by the allocator.

use std::net::SocketAddr;

use crate::raw::Raw;
use allocation_counter::measure;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeek_bridge::bridge::Bridge;
use zeek_bridge::bridge::config::BridgeConfig;
use zeek_bridge::data::{EndpointId, Topic, Value};
use zeek_bridge::wire::Envelope;
use zeek_bridge::zeek::{Event, ZeekMessage};

const CONFIG: &str = r#"
[link.in]
tls = "off"
listen = "127.0.0.1:0"

[link.out]
tls = "off"
listen = "127.0.0.1:0"
when_full = "block"

[[rule]]
name = "events"
from = "in"
to = "out"
topics = ["/a"]
"#;

/// The size of a write. It equals the maximum that a bridge reads at once.
const PIECE: usize = 64 * 1024;

const RECEIVERS: usize = 2;

/// The maximum length of a message.
const MAX_MESSAGE: usize = 400;

const MESSAGES: usize = 10_000;

/// Returns `count` messages. Their topics alternate between `topics`.
fn messages(id: EndpointId, topics: &[&'static str], count: usize) -> BytesMut {
    let mut bytes = BytesMut::new();
    for (n, topic) in (0..count).zip(topics.iter().cycle()) {
        let value =
            Value::from(ZeekMessage::Event(Event::new("Test::event", [Value::from("x".repeat(n % 200))])));
        let envelope = Envelope::data(id, Topic::from_static(topic), &value).unwrap();
        envelope.encode(&mut bytes).unwrap();
    }
    bytes
}

/// Sends all bytes from one peer, and waits until each of the peers in `to` has received the same number of bytes.
async fn send_and_receive(from: &mut Raw, to: &mut [Raw], bytes: &[u8], buffer: &mut [u8]) {
    let mut sent = 0;
    let mut got = [0; RECEIVERS];
    for piece in bytes.chunks(PIECE) {
        from.stream.write_all(piece).await.unwrap();
        sent += piece.len();
        // The last message of a chunk may be incomplete.
        let due = if sent == bytes.len() { sent } else { sent - MAX_MESSAGE };
        for (to, got) in to.iter_mut().zip(&mut got) {
            while *got < due {
                let read = to.stream.read(buffer).await.unwrap();
                assert!(read > 0);
                *got += read;
            }
        }
    }
    assert_eq!(got, [sent; RECEIVERS]);
}

/// The allocations while messages are forwarded.
struct Allocated {
    count: usize,
    bytes: usize,
    /// The number of chunks in which the messages are sent.
    chunks: usize,
}

/// Returns the allocations while messages with these topics are forwarded.
fn allocations(more_of_out: &str, topics: &[&'static str]) -> Allocated {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let id = |n| EndpointId::from_bytes([n; 16]);
    let config = CONFIG.replace("when_full = \"block\"", &format!("when_full = \"block\"\n{more_of_out}"));
    let (bridge, mut from, mut to) = runtime.block_on(async {
        let bridge = Bridge::start(BridgeConfig::parse(&config, "bridge.toml").unwrap()).await.unwrap();
        let addresses: Vec<SocketAddr> =
            bridge.snapshot().links.iter().map(|link| link.listening[0].parse().unwrap()).collect();
        let mut to = Vec::new();
        for n in 0..RECEIVERS {
            to.push(Raw::connect(id(10 + u8::try_from(n).unwrap()), addresses[1], &["/a"]).await);
        }
        let from = Raw::connect(id(1), addresses[0], &[]).await;
        while bridge.snapshot().links.iter().map(|link| link.peers.len()).sum::<usize>() < 1 + RECEIVERS {
            tokio::task::yield_now().await;
        }
        (bridge, from, to)
    });
    let mut buffer = vec![0; PIECE];
    let bytes = messages(from.id, topics, MESSAGES);
    let mut run = || runtime.block_on(send_and_receive(&mut from, &mut to, &bytes, &mut buffer));
    // Run once before the measurement, so that allocations that are made only once are not counted.
    run();
    let allocated = measure(run);
    runtime.block_on(bridge.shutdown());
    Allocated {
        count: usize::try_from(allocated.count_total).unwrap(),
        bytes: usize::try_from(allocated.bytes_total).unwrap(),
        chunks: bytes.len().div_ceil(PIECE),
    }
}

#[test]
fn forwarding_allocates_per_read_and_not_per_message() {
    for topics in [&["/a"][..], &["/a/1", "/a/2"]] {
        let Allocated { count, bytes, chunks } = allocations("", topics);
        println!("{count} allocations of {bytes} bytes for {MESSAGES} messages in {chunks} chunks");
        // A chunk may need two reads, the second of which completes a message.
        assert!(count <= 15 * chunks, "{count} for {chunks} chunks");
        // The buffers for reading and encoding are reused. Only the list of the messages is allocated.
        assert!(bytes <= 3 * PIECE / 2 * chunks, "{bytes} for {chunks} chunks");
    }
}

/// Fault injection copies each message. This test shows that such allocations are counted.
#[test]
fn allocations_per_message_are_counted() {
    let Allocated { count, .. } = allocations("chaos = { corrupt = 1.0 }", &["/a"]);
    assert!(count >= MESSAGES, "{count}");
}
