//! Full load while one peer does not read, one is slow, and one sends garbage.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zeek_bridge::data::{EndpointId, FromValue, Topic, Value};
use zeek_bridge::wire::{Envelope, EnvelopeType, Limits};

use crate::cluster::BridgeProcess;
use crate::peers::{PLAIN, peer};
use crate::raw::Raw;

const CONFIG: &str = "
[link.in]
tls = \"off\"
listen = \"127.0.0.1:0\"
[link.healthy]
tls = \"off\"
listen = \"127.0.0.1:0\"
when_full = \"block\"
[link.stalled]
tls = \"off\"
listen = \"127.0.0.1:0\"
when_full = \"drop-oldest\"
limits = { queue = 2048, queue_bytes = \"4MiB\" }
[[rule]]
name = \"load\"
from = \"in\"
to = [\"healthy\", \"stalled\"]
topics = [\"/load\"]
";

/// Maximum memory of the bridge, in kB. It includes the queues (4 MiB), the socket buffers, and the code. A debug build
/// needs about 30 MB more than a release build.
const MAX_MEMORY: u64 = 96 * 1024;

/// Runs until `messages` messages have arrived, or for `time`.
async fn soak(messages: u64, time: Option<Duration>) {
    let bridge = BridgeProcess::start(CONFIG);
    let address = |link: &str| bridge.link(link)["listening"][0].as_str().unwrap().to_owned();
    let publisher = peer();
    // Use a raw peer, which applies back-pressure. A subscriber of this crate would drop messages if the test is too
    // slow.
    let healthy: SocketAddr = address("healthy").parse().unwrap();
    let mut healthy = Raw::connect(EndpointId::from_bytes([2; 16]), healthy, &["/load"]).await;
    let stalled: SocketAddr = address("stalled").parse().unwrap();
    // This peer stays connected and never reads.
    let _stalled = Raw::connect(EndpointId::from_bytes([3; 16]), stalled, &["/load"]).await;
    let slow_id = EndpointId::from_bytes([4; 16]);
    let slow = tokio::spawn(slow(Raw::connect(slow_id, stalled, &["/load"]).await));
    let over = Arc::new(AtomicBool::new(false));
    let garbage = tokio::spawn(garbage(address("in").parse().unwrap(), over.clone()));
    publisher.connect(address("in"), PLAIN).await.unwrap();
    let publishing = tokio::spawn({
        let (publisher, over) = (publisher.clone(), over.clone());
        async move {
            let topic = Topic::from_static("/load");
            publisher.wait_for_subscribers(&topic, 1).await;
            let mut n = 0u64;
            while !over.load(Ordering::Relaxed) {
                let value = Value::Vector(vec![n.into(), Value::String("x".repeat(300).into())]);
                assert_eq!(publisher.publish(topic.clone(), &value).await.unwrap(), 1);
                n += 1;
            }
            n
        }
    });
    let (start, mut next_look) = (Instant::now(), Duration::ZERO);
    let mut received = 0u64;
    let mut memory_samples = Vec::new();
    let sample_interval = time.map_or(Duration::MAX, |time| time / 60);
    while time.map_or(received < messages, |time| start.elapsed() < time) {
        assert_eq!(number(&mut healthy).await, received, "the healthy peer receives everything, in order");
        received += 1;
        if time.is_none() && received == messages / 2 || time.is_some() && start.elapsed() >= next_look {
            memory_samples.push(bridge.program.memory());
            println!(
                "{:>4} s {received:>10} messages {:>8} kB",
                start.elapsed().as_secs(),
                memory_samples[memory_samples.len() - 1]
            );
            next_look += sample_interval;
        }
    }
    memory_samples.push(bridge.program.memory());
    over.store(true, Ordering::Relaxed);
    let most = memory_samples.iter().max().unwrap();
    assert!(*most < MAX_MEMORY, "{memory_samples:?}");
    let published = publishing.await.unwrap();
    while received < published {
        assert_eq!(number(&mut healthy).await, received);
        received += 1;
    }
    let attempts = garbage.await.unwrap();
    let link = |name: &str| bridge.link(name);
    let dropped = link("stalled")["dropped"].as_u64().unwrap();
    println!("{received} messages, {dropped} dropped for slow peers, {attempts} connections with garbage");
    assert!(dropped > 0 && attempts > 0);
    let peers = link("stalled")["peers"].clone();
    let still_there = |peer: &Json| peer["id"] == slow_id.to_string() && peer["dropped"].as_u64() > Some(0);
    assert!(peers.as_array().unwrap().iter().any(still_there), "{peers}");
    slow.abort();
    assert_eq!(link("in")["messages_in"], published);
    assert!(link("in")["failures"].as_object().is_some_and(|causes| !causes.is_empty()));
}

/// Reads one message each millisecond.
async fn slow(mut peer: Raw) {
    let mut pace = tokio::time::interval(Duration::from_millis(1));
    loop {
        pace.tick().await;
        let envelope = peer.envelope().await.expect("a slow peer is not disconnected");
        if envelope.kind == EnvelopeType::Ping {
            peer.send(&Envelope::pong(peer.id, envelope.sender, envelope.payload)).await;
        }
    }
}

/// Receives the number of the next message.
async fn number(peer: &mut Raw) -> u64 {
    loop {
        let envelope = Envelope::decode(&peer.frame().await.expect("the peering is established")).unwrap();
        if envelope.kind == EnvelopeType::Ping {
            let pong = Envelope::pong(peer.id, envelope.sender, envelope.payload);
            peer.send(&pong).await;
        } else if envelope.kind == EnvelopeType::Data {
            let Value::Vector(parts) = envelope.value(&Limits::DEFAULT).unwrap() else { panic!() };
            return u64::from_value(parts.into_iter().next().unwrap()).unwrap();
        }
    }
}

/// Repeatedly connects and sends garbage.
async fn garbage(address: SocketAddr, over: Arc<AtomicBool>) -> u64 {
    let mut attempts = 0u64;
    while !over.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut garbage_bytes = [0u8; 512];
        for (n, byte) in garbage_bytes.iter_mut().enumerate() {
            *byte = (attempts.wrapping_mul(31).wrapping_add(n as u64 * 7) % 251) as u8;
        }
        // Every second attempt starts with a valid length.
        if attempts.is_multiple_of(2) {
            garbage_bytes[..4].copy_from_slice(&508u32.to_be_bytes());
        }
        let _ = stream.write_all(&garbage_bytes).await;
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        attempts += 1;
    }
    attempts
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_and_a_healthy_peer_is_unaffected() {
    soak(100_000, None).await;
}

/// Run this test with `ZEEK_BRIDGE_SOAK=600 cargo test --release --test bridge soak -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs for ZEEK_BRIDGE_SOAK seconds"]
async fn memory_is_bounded_for_a_long_time() {
    let seconds = std::env::var("ZEEK_BRIDGE_SOAK").ok().and_then(|text| text.parse().ok()).unwrap_or(600);
    soak(0, Some(Duration::from_secs(seconds))).await;
}
