//! Faults on purpose, and none without.

use std::time::{Duration, Instant};

use zeek_bridge::data::{Topic, Value};
use zeek_bridge::wire::{Envelope, EnvelopeType};

use crate::cluster::BridgeProcess;
use crate::peers::*;
use crate::raw::Raw;

const MESSAGES: u64 = 200;

/// The link `out` does this to what is sent over it.
async fn start(chaos: &str) -> (BridgeProcess, Raw, Raw) {
    let link = "tls = \"off\"\nlisten = \"127.0.0.1:0\"\n";
    let bridge = BridgeProcess::start(&format!(
        "[link.in]\nttl = 15\n{link}[link.out]\n{link}{chaos}\n[[rule]]\nname = \"all\"\nfrom = \"in\"\n\
         to = \"out\"\ntopics = [\"/t\"]\n"
    ));
    let hearer = raw(1, &bridge.address("out"), &["/t"]).await;
    let speaker = raw(2, &bridge.address("in"), &[]).await;
    bridge.until("both", |bridge| bridge.peers("in") == 1 && bridge.peers("out") == 1);
    (bridge, speaker, hearer)
}

fn message(speaker: &Raw, n: u64) -> Envelope {
    let value = Value::Vector(vec![n.into(), Value::String("some text".into())]);
    Envelope::data(speaker.id, Topic::from_static("/t"), &value).unwrap()
}

async fn speak(speaker: &mut Raw) {
    for n in 0..MESSAGES {
        speaker.send(&message(speaker, n)).await;
    }
    speaker.settle().await;
}

/// Hears all that comes until the bridge ends.
async fn hear_out(bridge: BridgeProcess, mut hearer: Raw) -> Vec<Envelope> {
    bridge.program.signal("TERM");
    let mut heard = Vec::new();
    while let Some(envelope) = hearer.envelope().await {
        match envelope.kind {
            EnvelopeType::Data => heard.push(envelope),
            EnvelopeType::Ping => {
                let pong = Envelope::pong(hearer.id, envelope.sender, envelope.payload);
                hearer.send(&pong).await;
            }
            _ => {}
        }
    }
    heard
}

fn all(speaker: &Raw) -> Vec<bytes::Bytes> {
    (0..MESSAGES).map(|n| message(speaker, n).payload).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_chaos_everything_comes_once_and_as_it_was() {
    for nothing in ["", "chaos = {}\n", "chaos = { delay = \"0s\", drop = 0.0 }\n"] {
        let (bridge, mut speaker, hearer) = start(nothing).await;
        speak(&mut speaker).await;
        assert_eq!(bridge.link("out")["lost_to_chaos"], 0);
        let heard = hear_out(bridge, hearer).await;
        assert_eq!(heard.into_iter().map(|envelope| envelope.payload).collect::<Vec<_>>(), all(&speaker));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_dropped_and_counted() {
    let (bridge, mut speaker, hearer) = start("chaos = { drop = 1.0 }\n").await;
    speak(&mut speaker).await;
    let link = bridge.link("out");
    assert_eq!((&link["lost_to_chaos"], &link["dropped"]), (&MESSAGES.into(), &0.into()), "{link}");
    assert!(hear_out(bridge, hearer).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_comes_twice() {
    let (bridge, mut speaker, hearer) = start("chaos = { duplicate = 1.0 }\n").await;
    speak(&mut speaker).await;
    let heard = hear_out(bridge, hearer).await;
    let twice: Vec<_> = all(&speaker).into_iter().flat_map(|payload| [payload.clone(), payload]).collect();
    assert_eq!(heard.into_iter().map(|envelope| envelope.payload).collect::<Vec<_>>(), twice);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_byte_of_each_is_changed() {
    let (bridge, mut speaker, hearer) = start("chaos = { corrupt = 1.0 }\n").await;
    speak(&mut speaker).await;
    let heard = hear_out(bridge, hearer).await;
    assert_eq!(heard.len(), all(&speaker).len());
    for (heard, said) in heard.iter().zip(all(&speaker)) {
        let changed = heard.payload.iter().zip(&said).filter(|(one, other)| one != other).count();
        assert_eq!((changed, heard.payload.len()), (1, said.len()));
        assert_eq!((heard.topic.as_bytes(), heard.ttl), (&b"/t"[..], 15), "the header is whole");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_back_comes_later_and_in_order() {
    let delay = Duration::from_millis(400);
    let (_bridge, mut speaker, mut hearer) = start("chaos = { delay = \"400ms\" }\n").await;
    let start = Instant::now();
    speak(&mut speaker).await;
    for payload in all(&speaker) {
        assert_eq!(hearer.envelope_of(EnvelopeType::Data).await.payload, payload);
        // Never too early; how much later is the machine's affair.
        assert!(start.elapsed() >= delay);
    }
}

/// What is held back when the bridge ends is accepted, too.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_back_at_the_end_comes_still() {
    let (bridge, mut speaker, hearer) = start("chaos = { delay = \"400ms\" }\n").await;
    speak(&mut speaker).await;
    let heard = hear_out(bridge, hearer).await;
    assert_eq!(heard.into_iter().map(|envelope| envelope.payload).collect::<Vec<_>>(), all(&speaker));
}
