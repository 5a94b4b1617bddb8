//! Back-pressure by a peer that does not read, between processes.

use tokio::task::JoinHandle;
use zeek_bridge::data::{Topic, Value};
use zeek_bridge::wire::{Envelope, EnvelopeType, Limits};

use crate::cluster::BridgeProcess;
use crate::peers::*;
use crate::program::child::soon;
use crate::raw::Raw;

/// The number of messages. It is more than all sockets and queues can buffer.
const MESSAGES: u64 = 512;

const SIZE: usize = 128 * 1024;

/// Returns a configuration in which the queues of the link `stalled` are short, and `when_full` applies to this link.
fn config(when_full: &str) -> String {
    let link =
        |name: &str, more: &str| format!("[link.{name}]\ntls = \"off\"\nlisten = \"127.0.0.1:0\"\n{more}\n");
    let rule = |topic: &str, to: &str| {
        format!("[[rule]]\nname = \"{to}\"\nfrom = \"in\"\nto = \"{to}\"\ntopics = [\"{topic}\"]\n")
    };
    [
        "drain = \"50ms\"\n",
        &link("in", ""),
        &link("stalled", &format!("when_full = \"{when_full}\"\nlimits = {{ queue = 16 }}")),
        &link("free", "when_full = \"block\""),
        &rule("/big", "stalled"),
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
    let stalled = raw(1, &bridge.address("stalled"), &["/big"]).await;
    let sender = raw(2, &bridge.address("in"), &[]).await;
    bridge
        .until("both peers are connected", |bridge| bridge.peers("stalled") == 1 && bridge.peers("in") == 1);
    (bridge, stalled, sender)
}

/// Returns the number of dropped messages, which are counted for the link and for its peer.
fn dropped(bridge: &BridgeProcess) -> u64 {
    let link = bridge.link("stalled");
    assert_eq!((&link["peers"][0]["dropped"], &link["overflows"]), (&link["dropped"], &0.into()), "{link}");
    link["dropped"].as_u64().unwrap()
}

/// Checks that the bridge has logged the first dropped message for a peer, and logs their number when the peer disconnects.
fn reports_drops(mut bridge: BridgeProcess, stalled: Raw, dropped: u64) {
    let id = stalled.id.to_string();
    let first = "messages for this peer are dropped, because it does not read fast enough";
    let line = bridge.program.says(first);
    assert!(line.contains(&id) && line.contains("link=\"stalled\""), "{line}");
    drop(stalled);
    let count = format!("dropped={dropped}");
    let line = bridge.program.says("messages for this peer were dropped during the peering");
    assert!(line.contains(&id) && line.split_whitespace().any(|word| word == count), "{line}");
    bridge.program.signal("TERM");
    let end = bridge.program.end_by_itself();
    assert_eq!(end.stderr.matches(first).count(), 1, "{}", end.stderr);
}

async fn read(stalled: &mut Raw, many: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..many {
        numbers.push(number(&stalled.envelope_of(EnvelopeType::Data).await));
    }
    assert!(numbers.is_sorted_by(|one, next| one < next), "in order, without duplicates: {numbers:?}");
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn with_drop_oldest_the_newest_messages_arrive() {
    let (bridge, mut stalled, sender) = bridge_and_peers("drop-oldest").await;
    let mut sender = flood(sender).await;
    let dropped = dropped(&bridge);
    assert!(dropped > 0, "{}", bridge.status());
    let numbers = read(&mut stalled, MESSAGES - dropped).await;
    // The queue contained the last messages when the sender stopped.
    assert_eq!(numbers[numbers.len() - 16..], (MESSAGES - 16..MESSAGES).collect::<Vec<_>>());
    // The peer reads now, so nothing more is dropped.
    sender.send(&big(&sender, MESSAGES)).await;
    assert_eq!(read(&mut stalled, 1).await, [MESSAGES]);
    reports_drops(bridge, stalled, dropped);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_drop_newest_the_oldest_messages_arrive() {
    let (bridge, mut stalled, sender) = bridge_and_peers("drop-newest").await;
    let mut sender = flood(sender).await;
    let dropped = dropped(&bridge);
    assert!(dropped > 0, "{}", bridge.status());
    let numbers = read(&mut stalled, MESSAGES - dropped).await;
    // The queue filled with the first messages, and later ones were dropped.
    assert_eq!(numbers[..16], (0..16).collect::<Vec<_>>());
    sender.send(&big(&sender, MESSAGES)).await;
    assert_eq!(read(&mut stalled, 1).await, [MESSAGES]);
    reports_drops(bridge, stalled, dropped);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_disconnect_a_peer_that_does_not_read_is_disconnected() {
    let (mut bridge, mut stalled, sender) = bridge_and_peers("disconnect").await;
    let _sender = flood(sender).await;
    let line = bridge.program.says("did not read fast enough");
    assert!(line.contains(&stalled.id.to_string()), "{line}");
    bridge.until("the end of the peering", |bridge| bridge.peers("stalled") == 0);
    let link = bridge.link("stalled");
    // At least 17 messages were dropped: the queued ones, and the one that overflowed the queue.
    assert!(link["overflows"] == 1 && link["dropped"].as_u64().unwrap() >= 17, "{link}");
    // Only messages that were written before the overflow still arrive.
    let mut received = 0;
    while let Some(envelope) = stalled.envelope().await {
        if envelope.kind == EnvelopeType::Data {
            assert_eq!(number(&envelope), received);
            received += 1;
        }
    }
    assert!(received < MESSAGES);
}

/// Starts a bridge whose sender is blocked, because the peer on `stalled` does not read.
async fn bridge_with_blocked_sender() -> (BridgeProcess, Raw, JoinHandle<Raw>) {
    let (bridge, stalled, sender) = bridge_and_peers("block").await;
    let flooding = tokio::spawn(flood(sender));
    // The bridge still reads from other peers of the same link.
    let free = peer();
    let mut received = subscribe(&free, "/small").await;
    let free = connected(free, &bridge.address("free")).await;
    bridge.until("a peer on `free`", |bridge| bridge.peers("free") == 1);
    let other = connected(peer(), &bridge.address("in")).await;
    let messages_in = || bridge.link("in")["messages_in"].as_u64().unwrap();
    let mut before = messages_in();
    loop {
        let counting = tokio::spawn(publish_numbers(other.clone(), "/small", 1000));
        for n in 0..1000u64 {
            assert_eq!(soon("a message", received.recv()).await.unwrap().value(), n.into());
        }
        counting.await.unwrap();
        // Repeat until the bridge receives only these messages, and no more messages of the blocked sender.
        let now = messages_in();
        if now == before + 1000 {
            break;
        }
        before = now;
    }
    other.shutdown().await;
    free.shutdown().await;
    assert!(!flooding.is_finished());
    assert!(bridge.link("stalled")["peers"][0]["queued"].as_u64().unwrap() > 8, "{}", bridge.status());
    (bridge, stalled, flooding)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_block_only_the_sender_waits_and_no_message_is_lost() {
    let (bridge, mut stalled, flooding) = bridge_with_blocked_sender().await;
    let numbers = read(&mut stalled, MESSAGES).await;
    assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>());
    let mut sender = flooding.await.unwrap();
    assert_eq!(dropped(&bridge), 0);
    sender.send(&big(&sender, MESSAGES)).await;
    assert_eq!(read(&mut stalled, 1).await, [MESSAGES]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_block_the_sender_continues_when_the_peer_that_does_not_read_disconnects() {
    let (bridge, stalled, flooding) = bridge_with_blocked_sender().await;
    drop(stalled);
    let mut sender = flooding.await.unwrap();
    assert_eq!(bridge.peers("stalled"), 0);
    assert_eq!(bridge.peers("in"), 1, "the sender is still connected");
    let mut next = raw(3, &bridge.address("stalled"), &["/big"]).await;
    bridge.until("the next peer on `stalled`", |bridge| bridge.peers("stalled") == 1);
    sender.send(&big(&sender, MESSAGES)).await;
    assert_eq!(read(&mut next, 1).await, [MESSAGES]);
}
