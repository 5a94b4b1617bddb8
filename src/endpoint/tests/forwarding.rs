//! Routing of forwarded messages, and the policies for full queues.

use super::*;

#[tokio::test]
async fn messages_are_forwarded_to_subscribed_peers_and_delivered_to_subscribers() {
    let right = Relayed::new(EndpointConfig::default(), None).await;
    let mut left = Relayed::new(EndpointConfig::default(), Some(&right.endpoint)).await;
    let mut subscriber = left.endpoint.subscribe([Topic::from_static("/a")]).await;
    let mut subscribed = right.connect_peer(id(1), &["/a"]).await;
    let mut other = right.connect_peer(id(2), &["/b"]).await;
    let mut sender = left.connect_peer(id(3), &[]).await;
    sender.send(&message("/a", "for all")).await;
    let received = subscribed.next().await;
    assert_eq!(
        (text(&received).as_str(), received.sender, received.ttl),
        ("for all", right.endpoint.id(), 16)
    );
    let delivered = subscriber.recv().await.unwrap();
    assert_eq!((delivered.peer(), delivered.from().map(|peer| peer.id)), (id(3), Some(id(3))));
    // A message with a receiver is sent only to that peer, even if the peer is not subscribed to its topic.
    sender.send(&Envelope { receiver: id(2), ..message("/a", "for one") }).await;
    sender.send(&Envelope { kind: EnvelopeType::Command, ..message("/a", "a command") }).await;
    sender.send(&message("<$>/local/a", "for nobody")).await;
    sender.send(&message("/b", "end")).await;
    assert_eq!(other.next_text().await, "for one");
    assert_eq!(other.next_text().await, "end");
    let command = subscribed.next().await;
    assert_eq!((command.kind, text(&command).as_str()), (EnvelopeType::Command, "a command"));
    left.received(id(3), 4).await;
    left.calls.try_recv().unwrap_err();

    let stats = left.endpoint.stats();
    assert_eq!((stats.received, stats.delivered), (5, 1));
    assert!(stats.received_bytes > 5 * 41, "{stats:?}");
    let stats = right.endpoint.stats();
    assert_eq!((stats.sent, stats.dropped_for_peers, stats.overflows), (4, 0, 0));
    assert!(stats.sent_bytes > 4 * 41, "{stats:?}");
}

#[tokio::test]
async fn the_filters_of_the_relay_and_of_subscribers_are_announced_together() {
    let relayed = Relayed::new(EndpointConfig::default(), None).await;
    let mut old = relayed.connect_peer(id(1), &[]).await;
    relayed.endpoint.announce(filter(&["/a", "/b"])).await;
    assert_eq!(old.event().await, Event::FilterChanged(filter(&["/a", "/b"])));
    let subscriber = relayed.endpoint.subscribe([Topic::from_static("/c")]).await;
    assert_eq!(old.event().await, Event::FilterChanged(filter(&["/a", "/b", "/c"])));
    relayed.endpoint.announce(Filter::new()).await;
    assert_eq!(old.event().await, Event::FilterChanged(filter(&["/c"])));
    drop(subscriber);
    assert_eq!(old.event().await, Event::FilterChanged(Filter::new()));
}

#[tokio::test]
async fn the_relay_is_notified_before_the_first_message_and_after_the_end_of_a_peering() {
    let mut relayed = Relayed::new(EndpointConfig::default(), None).await;
    let mut peer = relayed.connect_peer(id(1), &["/a"]).await;
    peer.send(&message("/x", "")).await;
    assert_eq!(relayed.call().await, Call::Established(id(1)));
    assert_eq!(relayed.call().await, Call::Filter(id(1), filter(&["/a"])));
    assert_eq!(relayed.call().await, Call::Message(id(1), 2, 0));
    let state = relayed.endpoint.peer_states().pop().unwrap();
    assert_eq!((state.id, &*state.filter, state.queued, state.queued_bytes), (id(1), &filter(&["/a"]), 0, 0));
    assert!(state.address.starts_with("127.0.0.1:") && state.identity.is_none() && state.dropped == 0);
    peer.connection.peering().set_filter(filter(&["/b"])).unwrap();
    peer.send(&message("/x", "")).await;
    // The order of these two calls varies: the hub task makes one of them, and the connection task makes the other.
    let calls = [relayed.call().await, relayed.call().await];
    assert!(calls.contains(&Call::Filter(id(1), filter(&["/b"]))), "{calls:?}");
    assert_eq!(forward(&relayed.endpoint, &Batch::of(message("/b", ""), None), |_| true).reached, 1);
    drop(peer);
    assert_eq!(relayed.call().await, Call::Closed(id(1)));
    assert_eq!(forward(&relayed.endpoint, &Batch::of(message("/b", ""), None), |_| true).reached, 0);
}

#[tokio::test]
async fn forwarding_does_not_allocate_except_for_the_growth_of_a_queue() {
    let relayed = Relayed::new(EndpointConfig::default(), None).await;
    let _both = [relayed.connect_peer(id(1), &["/a"]).await, relayed.connect_peer(id(2), &["/a"]).await];
    let message = message("/a", "again");
    let mut batch = Batch::default();
    for _ in 0..3 {
        batch.push(message.clone());
    }
    let (routes, mut encoder) = (relayed.endpoint.routes(), Encoder::default());
    // Reserves space for all messages, so that the encoder allocates its buffer once.
    batch.set_following(3 * 125);
    let mut forward = |count| {
        // There is no `.await`, so no other task runs and the messages stay in the queues.
        for _ in 0..count {
            let mut forwarded = Forwarded::default();
            let sender = |_: &Envelope| relayed.endpoint.id();
            relayed.endpoint.forward(&batch, &routes, &mut encoder, sender, |_| true, &mut forwarded);
            assert_eq!(forwarded.reached, 2);
        }
    };
    forward(65);
    let allocated = allocation_counter::measure(|| forward(60));
    assert_eq!(allocated.count_total, 0);
    assert!(relayed.endpoint.peer_states().iter().all(|state| state.queued == 3 * 125));
}

#[tokio::test]
async fn the_latency_of_one_message_in_64_is_measured_until_it_is_written() {
    let right = Relayed::new(EndpointConfig::default(), None).await;
    let left = Relayed::new(EndpointConfig::default(), Some(&right.endpoint)).await;
    let mut receiver = right.connect_peer(id(1), &["/a"]).await;
    let mut sender = left.connect_peer(id(2), &[]).await;
    for _ in 0..65 {
        sender.send(&message("/a", "")).await;
        receiver.next().await;
    }
    // A message is counted after it is written, so the peer may receive it before it is counted. The shutdown waits for
    // the connection task, which counts it.
    right.endpoint.shutdown().await;
    let latency = right.endpoint.latency();
    assert_eq!(latency.counts.iter().sum::<u64>(), 2);
    assert!(latency.sum > 0.0 && latency.sum < 60.0, "{latency:?}");
    assert_eq!(left.endpoint.latency().counts.iter().sum::<u64>(), 0);
}

/// Sends [`MANY`] messages to a receiver that reads only after the last was sent. Returns the numbers of the messages that
/// it receives.
async fn overrun(when_full: WhenFull) -> (Relayed, Vec<usize>) {
    let right = Relayed::new(config_with_small_queue(when_full), None).await;
    let mut left = Relayed::new(EndpointConfig::default(), Some(&right.endpoint)).await;
    let mut stalled = right.connect_peer(id(1), &["/a"]).await;
    let sender = left.connect_peer(id(2), &[]).await;
    let sender = flood(sender, "/a");
    left.received(id(2), MANY).await;
    let dropped = usize::try_from(right.endpoint.stats().dropped_for_peers).unwrap();
    assert!(dropped > 0, "the system buffered everything");
    assert_eq!(right.endpoint.peer_states().pop().unwrap().dropped, u64::try_from(dropped).unwrap());
    let mut numbers = Vec::new();
    while numbers.len() < MANY - dropped {
        numbers.push(number(&stalled.next().await));
    }
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    within("the sender", sender).await.unwrap();
    (right, numbers)
}

#[tokio::test]
async fn drop_newest_keeps_the_oldest_messages() {
    let (_right, numbers) = overrun(WhenFull::DropNewest).await;
    assert!(numbers[..8].iter().copied().eq(0..8), "{numbers:?}");
}

#[tokio::test]
async fn drop_oldest_keeps_the_newest_messages() {
    let (_right, numbers) = overrun(WhenFull::DropOldest).await;
    assert!(numbers[numbers.len() - 8..].iter().copied().eq(MANY - 8..MANY), "{numbers:?}");
}

#[tokio::test]
async fn disconnect_ends_only_the_peering_with_the_slow_peer() {
    let mut right = Relayed::new(config_with_small_queue(WhenFull::Disconnect), None).await;
    let left = Relayed::new(EndpointConfig::default(), Some(&right.endpoint)).await;
    let mut statuses = right.endpoint.status();
    let _stuck = right.connect_peer(id(1), &["/a"]).await;
    let mut good = right.connect_peer(id(2), &["/b"]).await;
    let sender = flood(left.connect_peer(id(3), &[]).await, "/a");
    while right.call().await != Call::Closed(id(1)) {}
    let mut sender = within("the sender", sender).await.unwrap();
    sender.send(&message("/b", "still there")).await;
    assert_eq!(good.next_text().await, "still there");
    let stats = right.endpoint.stats();
    assert_eq!(stats.overflows, 1);
    assert!(stats.dropped_for_peers > 1, "{stats:?}");
    let removed = async {
        loop {
            if let Status::PeerRemoved { error, .. } = statuses.recv().await.unwrap() {
                return error;
            }
        }
    };
    let error = within("a status", removed).await.unwrap();
    assert!(matches!(error, ConnectError::Overflow { .. }), "{error}");
    assert_eq!(error.cause(), "overflow");
}

#[tokio::test]
async fn peers_with_a_full_queue_count_as_recipients() {
    let relayed = Relayed::new(config_with_small_queue(WhenFull::Block), None).await;
    let _peers = [relayed.connect_peer(id(1), &["/a"]).await, relayed.connect_peer(id(2), &["/a"]).await];
    let batch = Batch::of(message("/a", ""), None);
    // Without an `.await`, no other task runs and sends messages from the queues.
    for _ in 0..8 {
        let forwarded = forward(&relayed.endpoint, &batch, |_| true);
        assert_eq!((forwarded.reached, forwarded.recipients()), (2, 2));
    }
    let forwarded = forward(&relayed.endpoint, &batch, |_| true);
    assert_eq!((forwarded.reached, forwarded.recipients()), (0, 2));
    assert!(forwarded.blocked.iter().all(|blocked| blocked.messages() == 1));
}

#[tokio::test]
async fn the_subscribers_of_a_topic_can_be_watched() {
    static TOPIC: Topic = Topic::from_static("/a/b");
    let relayed = Relayed::new(EndpointConfig::default(), None).await;
    let mut interest = relayed.endpoint.watch_interest(&TOPIC);
    assert_eq!(interest.now(), []);
    assert!(!interest.has_changed());
    let _subscribed = relayed.connect_peer(id(1), &["/a"]).await;
    let _other = relayed.connect_peer(id(2), &["/c"]).await;
    assert!(interest.has_changed());
    assert!(interest.now().into_iter().map(|(_, peer)| peer).eq([id(1)]));
    assert!(!interest.has_changed());
}

#[tokio::test]
async fn all_log_lines_of_an_endpoint_share_one_limit() {
    let endpoint = Endpoint::new().unwrap();
    let owner = Owner::Host([192, 0, 2, 1].into());
    let passed = (0..100).filter(|_| endpoint.log_limiter().pass("kind", &owner).is_some()).count();
    assert!((1..100).contains(&passed), "{passed}");
}
