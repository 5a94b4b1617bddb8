//! Tests of fault injection.

use std::time::{Duration, Instant};

use zeek_bridge::data::{Topic, Value};
use zeek_bridge::wire::{Envelope, EnvelopeType};

use crate::cluster::BridgeProcess;
use crate::peers::*;
use crate::raw::Raw;

const MESSAGES: u64 = 200;

/// Starts a bridge whose link `out` has these faults, and connects a peer to each link.
async fn start(chaos: &str) -> (BridgeProcess, Raw, Raw) {
    let link = "tls = \"off\"\nlisten = \"127.0.0.1:0\"\n";
    let bridge = BridgeProcess::start(&format!(
        "[link.in]\nttl = 15\n{link}[link.out]\n{link}{chaos}\n[[rule]]\nname = \"all\"\nfrom = \"in\"\n\
         to = \"out\"\ntopics = [\"/t\"]\n"
    ));
    let receiver = raw(1, &bridge.address("out"), &["/t"]).await;
    let sender = raw(2, &bridge.address("in"), &[]).await;
    bridge.until("both peers are connected", |bridge| bridge.peers("in") == 1 && bridge.peers("out") == 1);
    (bridge, sender, receiver)
}

fn message(sender: &Raw, n: u64) -> Envelope {
    let value = Value::Vector(vec![n.into(), Value::String("some text".into())]);
    Envelope::data(sender.id, Topic::from_static("/t"), &value).unwrap()
}

async fn send_all(sender: &mut Raw) {
    for n in 0..MESSAGES {
        sender.send(&message(sender, n)).await;
    }
    sender.settle().await;
}

/// Stops the bridge, and receives until the connection ends.
async fn receive_until_end(bridge: BridgeProcess, mut receiver: Raw) -> Vec<Envelope> {
    bridge.program.signal("TERM");
    let mut received = Vec::new();
    while let Some(envelope) = receiver.envelope().await {
        match envelope.kind {
            EnvelopeType::Data => received.push(envelope),
            EnvelopeType::Ping => {
                let pong = Envelope::pong(receiver.id, envelope.sender, envelope.payload);
                receiver.send(&pong).await;
            }
            _ => {}
        }
    }
    received
}

fn all(sender: &Raw) -> Vec<bytes::Bytes> {
    (0..MESSAGES).map(|n| message(sender, n).payload).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_faults_every_message_arrives_once_and_unchanged() {
    for nothing in ["", "chaos = {}\n", "chaos = { delay = \"0s\", drop = 0.0 }\n"] {
        let (bridge, mut sender, receiver) = start(nothing).await;
        send_all(&mut sender).await;
        assert_eq!(bridge.link("out")["lost_to_chaos"], 0);
        let received = receive_until_end(bridge, receiver).await;
        assert_eq!(received.into_iter().map(|envelope| envelope.payload).collect::<Vec<_>>(), all(&sender));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_drop_every_message_is_dropped_and_counted() {
    let (bridge, mut sender, receiver) = start("chaos = { drop = 1.0 }\n").await;
    send_all(&mut sender).await;
    let link = bridge.link("out");
    assert_eq!((&link["lost_to_chaos"], &link["dropped"]), (&MESSAGES.into(), &0.into()), "{link}");
    assert!(receive_until_end(bridge, receiver).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_duplicate_every_message_arrives_twice() {
    let (bridge, mut sender, receiver) = start("chaos = { duplicate = 1.0 }\n").await;
    send_all(&mut sender).await;
    let received = receive_until_end(bridge, receiver).await;
    let twice: Vec<_> = all(&sender).into_iter().flat_map(|payload| [payload.clone(), payload]).collect();
    assert_eq!(received.into_iter().map(|envelope| envelope.payload).collect::<Vec<_>>(), twice);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_corrupt_one_byte_of_each_payload_is_changed() {
    let (bridge, mut sender, receiver) = start("chaos = { corrupt = 1.0 }\n").await;
    send_all(&mut sender).await;
    let received = receive_until_end(bridge, receiver).await;
    assert_eq!(received.len(), all(&sender).len());
    for (received, sent) in received.iter().zip(all(&sender)) {
        let changed = received.payload.iter().zip(&sent).filter(|(one, other)| one != other).count();
        assert_eq!((changed, received.payload.len()), (1, sent.len()));
        assert_eq!((received.topic.as_bytes(), received.ttl), (&b"/t"[..], 15), "the header is unchanged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_delay_messages_arrive_later_and_in_order() {
    let delay = Duration::from_millis(400);
    let (_bridge, mut sender, mut receiver) = start("chaos = { delay = \"400ms\" }\n").await;
    let start = Instant::now();
    send_all(&mut sender).await;
    for payload in all(&sender) {
        assert_eq!(receiver.envelope_of(EnvelopeType::Data).await.payload, payload);
        // The message arrives not earlier than the delay. The upper bound depends on the machine and is not checked.
        assert!(start.elapsed() >= delay);
    }
}

/// When the bridge stops, delayed messages are not lost, because the bridge has accepted them.
#[tokio::test(flavor = "multi_thread")]
async fn delayed_messages_are_sent_before_shutdown() {
    let (bridge, mut sender, receiver) = start("chaos = { delay = \"400ms\" }\n").await;
    send_all(&mut sender).await;
    let received = receive_until_end(bridge, receiver).await;
    assert_eq!(received.into_iter().map(|envelope| envelope.payload).collect::<Vec<_>>(), all(&sender));
}
