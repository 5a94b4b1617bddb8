//! Back-pressure of a peer that does not read, between processes.

use tokio::task::JoinHandle;
use zeek_bridge::data::{Topic, Value};
use zeek_bridge::wire::{Envelope, EnvelopeType, Limits};

use crate::cluster::BridgeProcess;
use crate::peers::*;
use crate::program::child::soon;
use crate::raw::Raw;

/// The number of messages: more than all sockets and queues buffer.
const MESSAGES: u64 = 512;

const SIZE: usize = 128 * 1024;

/// The peer of the link `stuck` does not read.
fn config(when_full: &str) -> String {
    let link =
        |name: &str, more: &str| format!("[link.{name}]\ntls = \"off\"\nlisten = \"127.0.0.1:0\"\n{more}\n");
    let rule = |topic: &str, to: &str| {
        format!("[[rule]]\nname = \"{to}\"\nfrom = \"in\"\nto = \"{to}\"\ntopics = [\"{topic}\"]\n")
    };
    [
        "drain = \"50ms\"\n",
        &link("in", ""),
        &link("stuck", &format!("when_full = \"{when_full}\"\nlimits = {{ queue = 16 }}")),
        &link("free", "when_full = \"block\""),
        &rule("/big", "stuck"),
        &rule("/small", "free"),
    ]
    .concat()
}

/// Returns a large message with a number.
fn big(raw: &Raw, n: u64) -> Envelope {
    let value = Value::Vector(vec![n.into(), Value::String("x".repeat(SIZE).into())]);
    Envelope::data(raw.id, Topic::from_static("/big"), &value).unwrap()
}

fn number(envelope: &Envelope) -> u64 {
    match envelope.value(&Limits::DEFAULT).unwrap() {
        Value::Vector(parts) => u64::try_from(parts[0].clone()).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Sends all messages, and waits until the bridge has read them.
async fn flood(mut raw: Raw) -> Raw {
    for n in 0..MESSAGES {
        raw.send(&big(&raw, n)).await;
    }
    raw.settle().await;
    raw
}

async fn bridge_and_peers(when_full: &str) -> (BridgeProcess, Raw, Raw) {
    let bridge = BridgeProcess::start(&config(when_full));
    let stuck = raw(1, &bridge.address("stuck"), &["/big"]).await;
    let sender = raw(2, &bridge.address("in"), &[]).await;
    bridge.until("both", |bridge| bridge.peers("stuck") == 1 && bridge.peers("in") == 1);
    (bridge, stuck, sender)
}

/// Returns the number of dropped messages, which are counted for the link and for its peer.
fn dropped(bridge: &BridgeProcess) -> u64 {
    let link = bridge.link("stuck");
    assert_eq!((&link["peers"][0]["dropped"], &link["overflows"]), (&link["dropped"], &0.into()), "{link}");
    link["dropped"].as_u64().unwrap()
}

async fn read(stuck: &mut Raw, many: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..many {
        numbers.push(number(&stuck.envelope_of(EnvelopeType::Data).await));
    }
    assert!(numbers.is_sorted_by(|one, next| one < next), "in order and none twice: {numbers:?}");
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn drop_oldest_keeps_the_newest() {
    let (bridge, mut stuck, sender) = bridge_and_peers("drop-oldest").await;
    let mut sender = flood(sender).await;
    let dropped = dropped(&bridge);
    assert!(dropped > 0, "{}", bridge.status());
    let numbers = read(&mut stuck, MESSAGES - dropped).await;
    // The queue holds the last messages at the end.
    assert_eq!(numbers[numbers.len() - 16..], (MESSAGES - 16..MESSAGES).collect::<Vec<_>>());
    // Now that it reads, nothing is dropped.
    sender.send(&big(&sender, MESSAGES)).await;
    assert_eq!(read(&mut stuck, 1).await, [MESSAGES]);
}

#[tokio::test(flavor = "multi_thread")]
async fn drop_newest_keeps_the_oldest() {
    let (bridge, mut stuck, sender) = bridge_and_peers("drop-newest").await;
    let mut sender = flood(sender).await;
    let dropped = dropped(&bridge);
    assert!(dropped > 0, "{}", bridge.status());
    let numbers = read(&mut stuck, MESSAGES - dropped).await;
    // The queue holds the first messages at the beginning.
    assert_eq!(numbers[..16], (0..16).collect::<Vec<_>>());
    sender.send(&big(&sender, MESSAGES)).await;
    assert_eq!(read(&mut stuck, 1).await, [MESSAGES]);
}

#[tokio::test(flavor = "multi_thread")]
async fn disconnect_ends_the_peering_of_a_peer_that_does_not_read() {
    let (mut bridge, mut stuck, sender) = bridge_and_peers("disconnect").await;
    let _sender = flood(sender).await;
    let line = bridge.program.says("did not read fast enough");
    assert!(line.contains(&stuck.id.to_string()), "{line}");
    bridge.until("it is disconnected", |bridge| bridge.peers("stuck") == 0);
    let link = bridge.link("stuck");
    // At least the queued messages and the one that overflowed the queue.
    assert!(link["overflows"] == 1 && link["dropped"].as_u64().unwrap() >= 17, "{link}");
    // Messages that were written before still arrive, and no others.
    let mut received = 0;
    while let Some(envelope) = stuck.envelope().await {
        if envelope.kind == EnvelopeType::Data {
            assert_eq!(number(&envelope), received);
            received += 1;
        }
    }
    assert!(received < MESSAGES);
}

/// Returns a bridge with a sender that is blocked.
async fn blocked() -> (BridgeProcess, Raw, JoinHandle<Raw>) {
    let (bridge, stuck, sender) = bridge_and_peers("block").await;
    let flooding = tokio::spawn(flood(sender));
    // Other peers of the same link are read meanwhile.
    let free = peer();
    let mut received = subscribe(&free, "/small").await;
    let free = connected(free, &bridge.address("free")).await;
    bridge.until("another", |bridge| bridge.peers("free") == 1);
    let other = connected(peer(), &bridge.address("in")).await;
    let messages_in = || bridge.link("in")["messages_in"].as_u64().unwrap();
    let mut before = messages_in();
    loop {
        let counting = tokio::spawn(count(other.clone(), "/small", 1000));
        for n in 0..1000u64 {
            assert_eq!(soon("a message", received.recv()).await.unwrap().value(), n.into());
        }
        counting.await.unwrap();
        // Until only these are received: the blocked sender is not read.
        let now = messages_in();
        if now == before + 1000 {
            break;
        }
        before = now;
    }
    other.shutdown().await;
    free.shutdown().await;
    assert!(!flooding.is_finished());
    assert!(bridge.link("stuck")["peers"][0]["queued"].as_u64().unwrap() > 8, "{}", bridge.status());
    (bridge, stuck, flooding)
}

#[tokio::test(flavor = "multi_thread")]
async fn block_stops_only_its_sender_and_loses_nothing() {
    let (bridge, mut stuck, flooding) = blocked().await;
    let numbers = read(&mut stuck, MESSAGES).await;
    assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>());
    let mut sender = flooding.await.unwrap();
    assert_eq!(dropped(&bridge), 0);
    sender.send(&big(&sender, MESSAGES)).await;
    assert_eq!(read(&mut stuck, 1).await, [MESSAGES]);
}

#[tokio::test(flavor = "multi_thread")]
async fn block_ends_when_the_peer_that_does_not_read_disconnects() {
    let (bridge, stuck, flooding) = blocked().await;
    drop(stuck);
    let mut sender = flooding.await.unwrap();
    assert_eq!(bridge.peers("stuck"), 0);
    assert_eq!(bridge.peers("in"), 1, "the sender is still there");
    let mut next = raw(3, &bridge.address("stuck"), &["/big"]).await;
    bridge.until("the next", |bridge| bridge.peers("stuck") == 1);
    sender.send(&big(&sender, MESSAGES)).await;
    assert_eq!(read(&mut next, 1).await, [MESSAGES]);
}
