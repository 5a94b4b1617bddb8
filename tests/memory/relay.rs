//! What passing messages on costs in memory, as counted by the allocator.

use std::net::SocketAddr;

use crate::raw::Raw;
use allocation_counter::measure;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeek_bridge::bridge::Bridge;
use zeek_bridge::bridge::config::BridgeConfig;
use zeek_bridge::data::{EndpointId, Topic, Value};
use zeek_bridge::wire::Envelope;
use zeek_bridge::zeek::{Event, Message};

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

/// What is written at once: what a bridge reads at once at most.
const PIECE: usize = 64 * 1024;

const RECEIVERS: usize = 2;

/// No message is longer.
const MOST: usize = 400;

const MESSAGES: usize = 10_000;

/// So many messages, under these topics in turns.
fn messages(id: EndpointId, topics: &[&'static str], count: usize) -> BytesMut {
    let mut bytes = BytesMut::new();
    for (n, topic) in (0..count).zip(topics.iter().cycle()) {
        let value =
            Value::from(Message::Event(Event::new("Test::event", [Value::from("x".repeat(n % 200))])));
        let envelope = Envelope::data(id, Topic::from_static(topic), &value).unwrap();
        envelope.encode(&mut bytes).unwrap();
    }
    bytes
}

/// Sends it all to the one, and waits until each of the others has as much.
async fn pass(from: &mut Raw, to: &mut [Raw], bytes: &[u8], buffer: &mut [u8]) {
    let mut sent = 0;
    let mut got = [0; RECEIVERS];
    for piece in bytes.chunks(PIECE) {
        from.stream.write_all(piece).await.unwrap();
        sent += piece.len();
        // The end of a piece may be half a message, which comes with the next.
        let due = if sent == bytes.len() { sent } else { sent - MOST };
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

/// How often memory is allocated while so many messages under these topics pass, and in how many pieces they came.
fn allocations(more_of_out: &str, topics: &[&'static str]) -> (usize, usize) {
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
    let mut run = || runtime.block_on(pass(&mut from, &mut to, &bytes, &mut buffer));
    // Once before it counts, for what is kept from then on.
    run();
    let allocated = measure(run).count_total;
    runtime.block_on(bridge.shutdown());
    (usize::try_from(allocated).unwrap(), bytes.len().div_ceil(PIECE))
}

#[test]
fn passing_messages_on_allocates_by_the_read_and_not_by_the_message() {
    for topics in [&["/a"][..], &["/a/1", "/a/2"]] {
        let (allocated, pieces) = allocations("", topics);
        println!("{allocated} allocations for {MESSAGES} messages in {pieces} pieces");
        // A piece may come in two reads, the second of which ends a message.
        assert!(allocated <= 25 * pieces, "{allocated} for {pieces} pieces");
    }
}

/// A share of one, so that each message is copied: what is allocated for a message is counted indeed.
#[test]
fn what_each_message_allocates_would_be_seen() {
    let (allocated, _) = allocations("chaos = { corrupt = 1.0 }", &["/a"]);
    assert!(allocated >= MESSAGES, "{allocated}");
}
