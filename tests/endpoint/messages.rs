//! Publication and delivery of messages.

use std::collections::BTreeSet;

use bytes::Bytes;
use zeek_bridge::data::{EndpointId, Topic};
use zeek_bridge::endpoint::PublishError;
use zeek_bridge::wire::{Envelope, EnvelopeType, Limits};

use crate::raw::Raw;
use crate::support::*;

#[tokio::test]
async fn both_sides_publish_over_tcp_and_tls_in_both_roles() {
    for (listener_tls, connector_tls) in kinds_of_tls() {
        for (listener_id, connector_id) in [(id(1), id(2)), (id(2), id(1))] {
            let (a, b) = (endpoint_of(listener_id), endpoint_of(connector_id));
            let (mut at_a, mut at_b) = (subscribe(&a, "/to/a").await, subscribe(&b, "/to/b").await);
            let listener = listen_with(&a, listener_tls.clone()).await;
            assert_eq!(connect_with(&b, &listener, connector_tls.clone()).await.unwrap(), listener_id);
            assert_eq!(subscribers(&a, "/to/b", 1).await, [connector_id]);
            assert_eq!(subscribers(&b, "/to/a", 1).await, [listener_id]);
            assert_eq!(a.publish(topic("/to/b"), &text("from a")).await, Ok(1));
            assert_eq!(b.publish(topic("/to/a/too"), &text("from b")).await, Ok(1));
            let message = within("a message", at_b.recv()).await.unwrap();
            assert_eq!((message.peer(), message.value()), (listener_id, text("from a")));
            let message = within("a message", at_a.recv()).await.unwrap();
            assert_eq!((message.peer(), message.topic()), (connector_id, &topic("/to/a/too")));
        }
    }
}

#[tokio::test]
async fn messages_reach_fifty_peers_and_are_received_from_them() {
    const PEERS: usize = 50;
    for (listener_tls, connector_tls) in kinds_of_tls() {
        let hub = endpoint();
        let mut subscriber = subscribe(&hub, "/up").await;
        let listener = listen_with(&hub, listener_tls).await;
        let mut peers = Vec::new();
        for _ in 0..PEERS {
            let peer = endpoint();
            let subscriber = subscribe(&peer, "/down").await;
            let connector = peer.connect(listener.local_addr(), connector_tls.clone());
            peers.push((peer, subscriber, connector));
        }
        for (_, _, connector) in &mut peers {
            assert_eq!(within("a peering", connector.first_attempt()).await.unwrap(), hub.id());
        }
        assert_eq!(subscribers(&hub, "/down", PEERS).await.len(), PEERS);
        assert_eq!(hub.publish(topic("/down"), &text("all")).await, Ok(PEERS));
        for (peer, subscriber, _) in &mut peers {
            assert_eq!(next_text(subscriber).await, "all");
            peer.publish(topic("/up"), &text(peer.id().to_string())).await.unwrap();
        }
        let expected: BTreeSet<String> = peers.iter().map(|(peer, ..)| peer.id().to_string()).collect();
        let mut seen = BTreeSet::new();
        for _ in 0..PEERS {
            seen.insert(next_text(&mut subscriber).await);
        }
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn messages_are_delivered_in_order() {
    let (a, b) = pair().await;
    let mut subscriber = subscribe(&a, "/t").await;
    subscribers(&b, "/t", 1).await;
    let sender = tokio::spawn(async move {
        for n in 0..5000 {
            b.publish(topic("/t"), &text(n.to_string())).await.unwrap();
        }
        b
    });
    for n in 0..5000 {
        assert_eq!(next_text(&mut subscriber).await, n.to_string());
    }
    sender.await.unwrap();
}

#[tokio::test]
async fn subscriptions_are_prefixes() {
    let (a, b) = pair().await;
    let mut one_topic = subscribe(&a, "/a/b").await;
    let mut wide = subscribe(&a, "/a").await;
    let mut two = a.subscribe([topic("/x"), topic("/a/b/c")]).await;
    let mut all = subscribe(&a, "").await;
    subscribers(&b, "anything", 1).await;
    let topics = ["/a/b/c", "/ab", "/x/y", "/z", "end"];
    for name in topics {
        assert_eq!(b.publish(topic(name), &text(name)).await, Ok(1));
    }
    for name in topics {
        assert_eq!(next(&mut all).await, (name.to_owned(), name.to_owned()));
    }
    // If the last message was received, all messages before it were received, too.
    for (subscriber, expected) in [
        (&mut one_topic, vec!["/a/b/c"]),
        (&mut wide, vec!["/a/b/c", "/ab"]),
        (&mut two, vec!["/a/b/c", "/x/y"]),
    ] {
        assert_eq!(subscriber.waiting(), expected.len());
        for name in expected {
            assert_eq!(next(subscriber).await.0, name);
        }
    }
}

#[tokio::test]
async fn changed_filters_are_sent_to_established_peers() {
    let (a, b) = pair().await;
    let filter = |peer: EndpointId| {
        let peers = b.peers();
        let (_, filter) = peers.iter().find(|(id, _)| *id == peer).unwrap();
        filter.topics().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(filter(a.id()).is_empty());
    let mut subscriber = subscribe(&a, "/one").await;
    subscribers(&b, "/one", 1).await;
    subscriber.subscribe(topic("/two")).await;
    subscribers(&b, "/two", 1).await;
    assert_eq!(filter(a.id()), ["/one", "/two"]);
    // Each change contains a new topic, so that the test can wait for it.
    subscriber.unsubscribe(&topic("/one")).await;
    subscriber.subscribe(topic("/three")).await;
    subscribers(&b, "/three", 1).await;
    assert_eq!(filter(a.id()), ["/three", "/two"]);
    assert_eq!(b.publish(topic("/one"), &text("not subscribed")).await, Ok(0));
    let other = subscribe(&a, "/t").await;
    subscribers(&b, "/t", 1).await;
    assert_eq!(filter(a.id()), ["/t"], "a prefix covers the other topics");
    drop(other);
    let _last = subscribe(&a, "/last").await;
    subscribers(&b, "/last", 1).await;
    assert_eq!(filter(a.id()), ["/last", "/three", "/two"]);
    drop(subscriber);
    let _very_last = subscribe(&a, "/very").await;
    subscribers(&b, "/very", 1).await;
    assert_eq!(filter(a.id()), ["/last", "/very"]);
}

#[tokio::test]
async fn a_cancelled_subscription_is_removed() {
    let (a, b) = pair().await;
    for _ in 0..100 {
        // The future is dropped at its first `.await`.
        tokio::select! {
            biased;
            _ = a.subscribe([topic("/forgotten")]) => {}
            () = std::future::ready(()) => {}
        }
    }
    let _last = subscribe(&a, "/last").await;
    subscribers(&b, "/last", 1).await;
    let _very_last = subscribe(&a, "/very").await;
    subscribers(&b, "/very", 1).await;
    assert_eq!(b.publish(topic("/forgotten"), &text("not subscribed")).await, Ok(0));
}

#[tokio::test]
async fn an_addressed_message_is_sent_to_its_receiver_only() {
    let hub = endpoint();
    let listener = listen(&hub).await;
    let (one, two) = (endpoint(), endpoint());
    let (mut at_one, mut at_two) = (subscribe(&one, "/t").await, subscribe(&two, "/t").await);
    connect(&one, &listener).await.unwrap();
    connect(&two, &listener).await.unwrap();
    subscribers(&hub, "/t", 2).await;
    assert_eq!(hub.publish_to(one.id(), topic("/t"), &text("for one")).await, Ok(1));
    assert_eq!(hub.publish_to(id(9), topic("/t"), &text("for an unknown endpoint")).await, Ok(0));
    assert_eq!(hub.publish(topic("/t"), &text("for all")).await, Ok(2));
    assert_eq!(next_text(&mut at_one).await, "for one");
    assert_eq!(next_text(&mut at_one).await, "for all");
    assert_eq!(next_text(&mut at_two).await, "for all");
}

/// As in Broker's C++ implementation, a message with a receiver is sent to this receiver even if it does not subscribe
/// to the topic.
#[tokio::test]
async fn an_addressed_message_ignores_the_filter_of_its_receiver() {
    let endpoint = endpoint();
    let listener = listen(&endpoint).await;
    let mut raw = Raw::connect(id(7), listener.local_addr(), &["/other"]).await;
    subscribers(&endpoint, "/other", 1).await;
    assert_eq!(endpoint.publish_to(raw.id, topic("/t"), &text("direct")).await, Ok(1));
    let envelope = within("a message", raw.envelope_of(EnvelopeType::Data)).await;
    assert_eq!((envelope.sender, envelope.receiver), (endpoint.id(), raw.id));
    assert_eq!(envelope.ttl, 16);
}

#[tokio::test]
async fn local_topics_are_neither_sent_nor_delivered() {
    let endpoint = endpoint();
    let mut subscriber = subscribe(&endpoint, "").await;
    let listener = listen(&endpoint).await;
    let mut raw = Raw::connect(id(7), listener.local_addr(), &[""]).await;
    subscribers(&endpoint, "/t", 1).await;
    for receiver in [EndpointId::NIL, raw.id] {
        let sent = endpoint.publish_to(receiver, topic("<$>/local/x"), &text("secret")).await;
        assert_eq!(sent, Ok(0));
    }
    endpoint.publish(topic("/t"), &text("open")).await.unwrap();
    assert_eq!(within("a message", raw.text()).await, "open");
    raw.publish("<$>/local/x", "smuggled").await;
    raw.publish("/t", "open").await;
    assert_eq!(next(&mut subscriber).await.0, "/t");
}

#[tokio::test]
async fn commands_and_messages_for_other_endpoints_are_not_delivered() {
    let endpoint = endpoint();
    let mut subscriber = subscribe(&endpoint, "").await;
    let listener = listen(&endpoint).await;
    let mut raw = Raw::connect(id(7), listener.local_addr(), &[]).await;
    let message = |receiver, words: &str| {
        let envelope = Envelope::data(id(7), Topic::from_static("/t"), &text(words)).unwrap();
        Envelope { receiver, ..envelope }
    };
    raw.send(&message(id(99), "for another endpoint")).await;
    let command = Envelope { kind: EnvelopeType::Command, ..message(EndpointId::NIL, "no command") };
    raw.send(&command).await;
    raw.send(&message(endpoint.id(), "for us")).await;
    raw.send(&message(EndpointId::NIL, "for all")).await;
    assert_eq!(next_text(&mut subscriber).await, "for us");
    assert_eq!(next_text(&mut subscriber).await, "for all");
    assert_eq!((endpoint.stats().received, endpoint.stats().delivered), (4, 2));
}

#[tokio::test]
async fn a_forged_sender_does_not_change_the_peer_of_a_message() {
    let endpoint = endpoint();
    let mut subscriber = subscribe(&endpoint, "/t").await;
    let listener = listen(&endpoint).await;
    let mut raw = Raw::connect(id(7), listener.local_addr(), &[]).await;
    raw.send(&Envelope::data(id(8), Topic::from_static("/t"), &text("forged")).unwrap()).await;
    let message = within("a message", subscriber.recv()).await.unwrap();
    assert_eq!(message.peer(), id(7));
}

#[tokio::test]
async fn malformed_messages_are_dropped_and_counted_and_the_peering_continues() {
    let endpoint = endpoint();
    let mut subscriber = subscribe(&endpoint, "/t").await;
    let listener = listen(&endpoint).await;
    let mut raw = Raw::connect(id(7), listener.local_addr(), &[]).await;
    let good = Envelope::data(raw.id, Topic::from_static("/t"), &text("good")).unwrap();
    let mut deep = [14, 1].repeat(1000);
    deep.push(0);
    let malformed: [&[u8]; 7] =
        [&[], &[99], &[5, 200], &[2, 0, 0, 0], &[0, 0], &[14, 0xff, 0xff, 0xff, 0xff, 0x0f], &deep];
    for payload in malformed {
        raw.send(&Envelope { payload: Bytes::copy_from_slice(payload), ..good.clone() }).await;
    }
    raw.send(&good).await;
    assert_eq!(next_text(&mut subscriber).await, "good");
    assert_eq!(endpoint.stats().malformed, malformed.len() as u64);
    // A frame that is not an envelope, and a routing update that is not a filter.
    raw.bytes(&[0, 0, 0, 1, 77]).await;
    let mut update =
        Envelope::routing_update(raw.id, endpoint.id(), &[topic("/x")].into_iter().collect()).unwrap();
    update.payload = Bytes::from_static(&[3, 1]);
    raw.send(&update).await;
    raw.send(&good).await;
    assert_eq!(next_text(&mut subscriber).await, "good");
    assert_eq!(endpoint.stats().malformed, malformed.len() as u64 + 2);
    assert_eq!(endpoint.peers().len(), 1);
}

#[tokio::test]
async fn messages_up_to_the_frame_limit_arrive_and_larger_ones_are_not_published() {
    for (listener_tls, connector_tls) in kinds_of_tls() {
        let (a, b) = (endpoint(), endpoint());
        let mut subscriber = subscribe(&a, "/t").await;
        let listener = listen_with(&a, listener_tls).await;
        connect_with(&b, &listener, connector_tls).await.unwrap();
        subscribers(&b, "/t", 1).await;
        let max = Limits::DEFAULT.max_frame;
        // Header 37, topic 2, tag 1, varbyte length 4.
        let largest = max - 37 - 2 - 1 - 4;
        for size in [largest, 100_000, 0, largest] {
            let sent = text("x".repeat(size));
            assert_eq!(b.publish(topic("/t"), &sent).await, Ok(1));
            let message = within("a large message", subscriber.recv()).await.unwrap();
            assert!(message.value() == sent, "{size}");
        }
        let refused = b.publish(topic("/t"), &text("x".repeat(largest + 1))).await;
        assert_eq!(refused, Err(PublishError::TooLarge { length: max + 1 + 4, limit: max }));
    }
}
