//! Messages in both directions.

use zeek_bridge::data::Value;
use zeek_bridge::endpoint::EndpointConfig;
use zeek_bridge::wire::{Limits, decode_value};
use zeek_bridge::zeek::{Event, ZeekMessage};

use crate::common;
use crate::driver::*;
use crate::support::*;

/// Tests messages with and without TLS, each side as the connector, and each side with the smaller id.
#[tokio::test]
async fn events_arrive_in_both_directions() {
    let program = reference_or_skip!();
    for kind in TlsSetup::both() {
        for connector in [Connector::Ours, Connector::Theirs] {
            for our_id in our_ids() {
                let ours = endpoint_of(our_id);
                let mut subscriber = subscribe(&ours, "/ours").await;
                let mut pair = Pair::new(ours, &program, &kind, connector, &["--subscribe", "/theirs"]).await;
                assert_eq!(subscribers(&pair.ours, "/theirs", 1).await, [pair.theirs.id]);
                let event = Event::new("Ours::ping", ("one".to_owned(), 2u64));
                let value = ZeekMessage::Event(event).into_value();
                assert_eq!(pair.ours.publish(topic("/theirs/x"), &value).await, Ok(1));
                let line = pair.theirs.line("message ").await;
                assert_eq!(line, "/theirs/x (1, 1, (Ours::ping, (one, 2)))");
                pair.theirs.send_line("event /ours Theirs::pong three four").await;
                let message = within("an event", subscriber.recv()).await.unwrap();
                assert_eq!((message.peer(), message.topic()), (pair.theirs.id, &topic("/ours")));
                let expected = Event::new("Theirs::pong", ("three".to_owned(), "four".to_owned()));
                assert_eq!(message.zeek_message(), Ok(ZeekMessage::Event(expected)));
            }
        }
    }
}

/// libbroker only adds topics to the filter that it sends. It does not report a removed subscription to its peers.
#[tokio::test]
async fn changed_subscriptions_reach_the_other_side() {
    let program = reference_or_skip!();
    for connector in [Connector::Ours, Connector::Theirs] {
        let mut pair = Pair::new(endpoint(), &program, &TlsSetup::plain(), connector, &[]).await;
        // The libbroker endpoint subscribes.
        pair.theirs.send_line("subscribe /one").await;
        subscribers(&pair.ours, "/one", 1).await;
        pair.theirs.send_line("subscribe /two").await;
        subscribers(&pair.ours, "/two", 1).await;
        assert_eq!(pair.ours.publish(topic("/three"), &text("not subscribed")).await, Ok(0));
        assert_eq!(pair.ours.publish(topic("/two"), &text("subscribed")).await, Ok(1));
        assert_eq!(pair.theirs.line("message ").await, "/two subscribed");
        // Our endpoint subscribes. Updates are sent in order, so libbroker has removed `/a` when it publishes on
        // `/b`.
        let mut subscriber = subscribe(&pair.ours, "/a").await;
        publish_until_received(&mut pair, "/a", &mut subscriber).await;
        subscriber.unsubscribe(&topic("/a")).await;
        subscriber.subscribe(topic("/b")).await;
        publish_until_received(&mut pair, "/b", &mut subscriber).await;
        let before = pair.ours.stats();
        pair.theirs.send_line("publish /a string not subscribed").await;
        pair.theirs.send_line("publish /b string subscribed").await;
        while next(&mut subscriber).await != ("/b".to_owned(), "subscribed".to_owned()) {}
        let now = pair.ours.stats();
        assert!(now.received > before.received);
        assert_eq!(
            now.received - before.received,
            now.delivered - before.delivered,
            "libbroker sends only subscribed messages"
        );
    }
}

/// Publishes repeatedly until a message arrives. There is no other way to see that libbroker has received our
/// filter.
async fn publish_until_received(
    pair: &mut Pair,
    topic: &str,
    subscriber: &mut zeek_bridge::endpoint::Subscriber,
) {
    within("a message from libbroker on the subscribed topic", async {
        loop {
            pair.theirs.send_line(&format!("publish {topic} string now?")).await;
            pair.theirs.send_line("sync published").await;
            pair.theirs.line("sync published").await;
            let wait = std::time::Duration::from_millis(100);
            if tokio::time::timeout(wait, subscriber.recv()).await.is_ok() {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn floods_arrive_completely_and_in_order_in_both_directions() {
    const COUNT: usize = 10_000;
    let program = reference_or_skip!();
    for kind in TlsSetup::both() {
        for connector in [Connector::Ours, Connector::Theirs] {
            let ours = endpoint_with(|config: &mut EndpointConfig| config.subscriber_queue.messages = COUNT);
            let mut subscriber = subscribe(&ours, "/ours").await;
            let options = ["--subscribe", "/theirs", "--peer-buffer-size", "20000"];
            let mut pair = Pair::new(ours, &program, &kind, connector, &options).await;
            subscribers(&pair.ours, "/theirs", 1).await;
            // In both directions at the same time.
            pair.theirs.send_line(&format!("flood /ours {COUNT} 200")).await;
            let publisher = pair.ours.clone();
            let publishing = tokio::spawn(async move {
                for n in 0..COUNT {
                    let sent = text(format!("{n}:{}", "y".repeat(200)));
                    assert_eq!(publisher.publish(topic("/theirs"), &sent).await, Ok(1));
                }
            });
            for n in 0..COUNT {
                let line = pair.theirs.line("message /theirs ").await;
                assert!(line.starts_with(&format!("{n}:y")) && line.len() > 200, "{n}: {line}");
            }
            for n in 0..COUNT {
                let text = next_text(&mut subscriber).await;
                assert!(text.starts_with(&format!("{n}:x")) && text.len() == 200, "{n}: {text}");
            }
            publishing.await.unwrap();
            assert_eq!(pair.ours.stats().dropped, 0);
        }
    }
}

#[tokio::test]
async fn a_message_of_twenty_megabytes_arrives_in_both_directions() {
    const SIZE: usize = 20_000_000;
    let program = reference_or_skip!();
    for kind in TlsSetup::both() {
        let ours = endpoint();
        let mut subscriber = subscribe(&ours, "/ours").await;
        let mut pair = Pair::new(ours, &program, &kind, Connector::Ours, &["--subscribe", "/theirs"]).await;
        subscribers(&pair.ours, "/theirs", 1).await;
        pair.theirs.send_line(&format!("flood /ours 1 {SIZE}")).await;
        assert_eq!(next_text(&mut subscriber).await.len(), SIZE);
        pair.ours.publish(topic("/theirs"), &text("z".repeat(SIZE))).await.unwrap();
        assert_eq!(pair.theirs.line("message /theirs ").await.len(), SIZE);
    }
}

#[tokio::test]
async fn golden_values_sent_to_a_libbroker_endpoint_arrive_with_the_same_bytes() {
    let program = reference_or_skip!();
    let options = ["--subscribe", "/theirs", "--format", "hex"];
    let mut pair = Pair::new(endpoint(), &program, &TlsSetup::plain(), Connector::Ours, &options).await;
    subscribers(&pair.ours, "/theirs", 1).await;
    for golden in common::golden_values() {
        let value = decode_value(&golden.bytes, &Limits::DEFAULT).unwrap();
        pair.ours.publish(topic("/theirs"), &value).await.unwrap();
        let hex = pair.theirs.line("message-hex /theirs ").await;
        assert_eq!(hex, data_encoding::HEXLOWER.encode(&golden.bytes), "{}", golden.name);
    }
}

/// Uses only values that libbroker can read from its own JSON. This excludes exact reals, the largest timespan, bytes that are
/// not UTF-8, and values nested 64 levels deep.
#[tokio::test]
async fn golden_values_sent_by_a_libbroker_endpoint_arrive_with_the_same_bytes() {
    const EXCLUDED_PREFIXES: [&str; 1] = ["real-"];
    const EXCLUDED_NAMES: [&str; 3] =
        ["string-not-utf8", "timespan-9223372036854775807ns", "vector-nested-64"];
    let program = reference_or_skip!();
    let ours = endpoint();
    let mut subscriber = subscribe(&ours, "/ours").await;
    let mut pair = Pair::new(ours, &program, &TlsSetup::plain(), Connector::Theirs, &[]).await;
    let mut compared = 0;
    for golden in common::golden_values() {
        let name = golden.name.as_str();
        if EXCLUDED_PREFIXES.iter().any(|start| name.starts_with(start)) || EXCLUDED_NAMES.contains(&name) {
            continue;
        }
        pair.theirs.send_line(&format!("publish /ours {}", golden.json)).await;
        let message = within(name, subscriber.recv()).await.unwrap();
        assert_eq!(message.envelope().payload, golden.bytes, "{name}");
        let value = message.value();
        assert_eq!(value, decode_value(&golden.bytes, &Limits::DEFAULT).unwrap(), "{name}");
        assert!(!matches!(value, Value::Real(_)));
        compared += 1;
    }
    assert!(compared >= 50, "{compared}");
}
