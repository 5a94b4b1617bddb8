//! Senders that are blocked by a slow receiver.

use super::*;

/// Returns two endpoints. The first forwards messages of its peers to the peers of the second, and blocks when their queues
/// are full.
async fn blocking_pair() -> (Relayed, Relayed) {
    let right = Relayed::new(config_with_small_queue(WhenFull::Block), None).await;
    let left = Relayed::new(config_with_small_queue(WhenFull::Block), Some(&right.endpoint)).await;
    (left, right)
}

/// Waits until `left` stops receiving messages from `from`, because `from` is blocked. In the meantime, `sender` sends to
/// `receiver`. Returns the number of messages that `left` received from `from`.
async fn until_blocked(
    left: &mut Relayed,
    from: EndpointId,
    sender: &mut ManualPeer,
    receiver: &mut ManualPeer,
) -> usize {
    let mut received = 0;
    loop {
        for n in 0..50 {
            sender.send(&message("/good", &n.to_string())).await;
            assert_eq!(receiver.next_text().await, n.to_string());
        }
        match left.take_received_count(from) {
            0 if received > 0 => return received,
            more => received += more,
        }
    }
}

#[tokio::test]
async fn only_the_sender_to_a_full_queue_is_blocked_and_no_message_is_lost() {
    let (mut left, right) = blocking_pair().await;
    let mut slow = right.connect_peer(id(1), &["/slow"]).await;
    let mut receiver = right.connect_peer(id(2), &["/good"]).await;
    let mut sender = left.connect_peer(id(3), &[]).await;
    let flooding = flood(left.connect_peer(id(4), &[]).await, "/slow");
    let received = until_blocked(&mut left, id(4), &mut sender, &mut receiver).await;
    assert!(received < MANY, "the sender was not blocked");
    for n in 0..MANY {
        assert_eq!(number(&slow.next().await), n);
    }
    within("the sender", flooding).await.unwrap();
    let stats = right.endpoint.stats();
    assert_eq!((stats.dropped_for_peers, stats.overflows), (0, 0));
}

#[tokio::test]
async fn several_senders_blocked_by_one_receiver_keep_their_order() {
    const SENDERS: usize = 5;
    let (left, right) = blocking_pair().await;
    let mut slow = right.connect_peer(id(1), &["/slow"]).await;
    let mut floods = Vec::new();
    for n in 0..SENDERS {
        let mut peer = left.connect_peer(id(10 + u8::try_from(n).unwrap()), &[]).await;
        floods.push(tokio::spawn(async move {
            for m in 0..200 {
                peer.send(&message("/slow", &format!("{n} {m:10000}"))).await;
            }
            peer
        }));
    }
    let mut next = [0; SENDERS];
    for _ in 0..200 * SENDERS {
        let received = slow.next_text().await;
        let (sender, number) = received.split_once(' ').unwrap();
        let next = &mut next[sender.parse::<usize>().unwrap()];
        assert_eq!(number.trim().parse::<usize>().unwrap(), *next);
        *next += 1;
    }
    for peer in floods {
        within("a sender", peer).await.unwrap();
    }
    assert_eq!(right.endpoint.stats().dropped_for_peers, 0);
}

/// A blocked sender is not disconnected after the idle timeout, and still receives messages. Silent peers are disconnected in
/// the meantime, which shows that the idle timeout has passed.
#[tokio::test]
async fn a_blocked_sender_receives_messages_and_does_not_time_out() {
    let right = Relayed::new(config_with_small_queue(WhenFull::Block), None).await;
    let idle_timeout = Some(Duration::from_millis(50));
    let config = EndpointConfig { idle_timeout, ..config_with_small_queue(WhenFull::Block) };
    let mut left = Relayed::new(config, Some(&right.endpoint)).await;
    let mut slow = right.connect_peer(id(1), &["/slow"]).await;
    let peer = left.connect_peer(id(2), &["/back"]).await;
    let flooding = flood(peer, "/slow");
    let mut received = 0;
    for n in 10..20 {
        let silent = ManualPeer::connect(id(n), left.address, &[]).await;
        loop {
            match left.call().await {
                Call::Closed(id) if id == silent.id => break,
                Call::Closed(id) => panic!("{id} timed out"),
                Call::Message(..) => received += 1,
                _ => {}
            }
        }
    }
    assert!(received < MANY, "the sender was not blocked");
    assert_eq!(forward(&left.endpoint, &Batch::of(message("/back", "hello"), None), |_| true).reached, 1);
    let reading = tokio::spawn(async move {
        for n in 0..MANY {
            assert_eq!(number(&slow.next().await), n);
        }
        slow
    });
    // The sender is still connected: it receives the message over the connection on which it was blocked.
    let mut peer = within("the sender", flooding).await.unwrap();
    assert_eq!(peer.next_text().await, "hello");
    within("the receiver", reading).await.unwrap();
}

#[tokio::test]
async fn two_peers_that_block_each_other_continue_when_they_read() {
    let mut hub = Relayed::new(config_with_small_queue(WhenFull::Block), None).await;
    let a = hub.connect_peer(id(1), &["/to-a"]).await;
    let b = hub.connect_peer(id(2), &["/to-b"]).await;
    let mut readers = Vec::new();
    let mut senders = Vec::new();
    for (mut peer, topic) in [(a, "/to-b"), (b, "/to-a")] {
        // Each peer queues all its messages. The peers read only when both are blocked.
        for n in 0..MANY {
            peer.connection.send(&numbered(topic, n)).unwrap();
        }
        peer.connection.pause(true);
        senders.push(peer);
    }
    let (mut received, mut blocked) = (0, [false; 2]);
    let [a, b] = &mut senders[..] else { unreachable!() };
    while blocked != [true; 2] {
        let call = tokio::select! {
            call = hub.call() => call,
            () = a.step() => continue,
            () = b.step() => continue,
        };
        if let Call::Message(from, _, blocked_messages) = call {
            received += 1;
            blocked[usize::from(from == id(2))] |= blocked_messages > 0;
        }
    }
    assert!(received < 2 * MANY);
    for mut peer in senders {
        peer.connection.pause(false);
        readers.push(tokio::spawn(async move {
            for n in 0..MANY {
                assert_eq!(number(&peer.next().await), n);
            }
            // Some of the peer's own messages may not be written yet.
            peer.written().await;
            peer
        }));
    }
    for peer in readers {
        within("all messages", peer).await.unwrap();
    }
    assert_eq!(hub.endpoint.stats().dropped_for_peers, 0);
}

#[tokio::test]
async fn senders_continue_when_the_receiver_disconnects() {
    let (mut left, right) = blocking_pair().await;
    let slow = right.connect_peer(id(1), &["/slow"]).await;
    let mut receiver = right.connect_peer(id(2), &["/good"]).await;
    let mut sender = left.connect_peer(id(3), &[]).await;
    let flooding = flood(left.connect_peer(id(4), &[]).await, "/slow");
    until_blocked(&mut left, id(4), &mut sender, &mut receiver).await;
    drop(slow);
    let mut sender = within("the sender", flooding).await.unwrap();
    sender.send(&message("/good", "no longer blocked")).await;
    assert_eq!(receiver.next_text().await, "no longer blocked");
    // The blocked message was dropped and counted.
    assert_eq!(right.endpoint.stats().dropped_for_peers, 1);
}

/// After a connection has ended, all messages that were received over it are either forwarded or counted as dropped.
#[tokio::test]
async fn messages_after_a_blocked_one_are_forwarded_or_counted_when_the_connection_ends() {
    const SENT: usize = 5;
    let right = Relayed::new(config_with_small_queue(WhenFull::Block), None).await;
    let mut left = Relayed::new(config_with_small_queue(WhenFull::Disconnect), Some(&right.endpoint)).await;
    let mut slow = right.connect_peer(id(1), &["/slow"]).await;
    let mut receiver = right.connect_peer(id(2), &["/good"]).await;
    let mut sender = left.connect_peer(id(3), &[]).await;
    let flooding = flood(left.connect_peer(id(4), &[]).await, "/slow");
    until_blocked(&mut left, id(4), &mut sender, &mut receiver).await;

    let mut peer = left.connect_peer(id(5), &["/back"]).await;
    for _ in 0..SENT {
        peer.connection.send(&message("/slow", "after")).unwrap();
    }
    peer.written().await;
    left.received(id(5), 1).await;
    // The queue for this peer overflows, which ends its connection without an event of the session.
    while forward(&left.endpoint, &Batch::of(numbered("/back", 0), None), |_| true).reached > 0 {}
    let mut handed_on = 1;
    loop {
        match left.call().await {
            Call::Closed(closed) if closed == id(5) => break,
            Call::Message(from, ..) if from == id(5) => handed_on += 1,
            _ => {}
        }
    }
    assert_eq!(handed_on, SENT, "all were read at once");
    let dropped = usize::try_from(right.endpoint.stats().dropped_for_peers).unwrap();
    // The slow peer receives the messages that were not dropped.
    let (mut flood, mut forwarded) = (0, 0);
    while flood < MANY || forwarded + dropped < SENT {
        match slow.next_text().await.as_str() {
            "after" => forwarded += 1,
            _ => flood += 1,
        }
    }
    within("the flooding peer", flooding).await.unwrap();
    assert_eq!(forwarded + dropped, SENT);
}

#[tokio::test]
async fn a_blocked_sender_can_be_disconnected() {
    let right = Relayed::new(config_with_small_queue(WhenFull::Block), None).await;
    let leave_timeout = Duration::from_millis(100);
    let config = EndpointConfig { leave_timeout, ..config_with_small_queue(WhenFull::Block) };
    let mut left = Relayed::new(config, Some(&right.endpoint)).await;
    let _slow = right.connect_peer(id(1), &["/slow"]).await;
    let mut receiver = right.connect_peer(id(2), &["/good"]).await;
    let mut sender = left.connect_peer(id(3), &[]).await;
    let flooding = flood(left.connect_peer(id(4), &[]).await, "/slow");
    until_blocked(&mut left, id(4), &mut sender, &mut receiver).await;
    assert!(left.endpoint.unpeer(id(4)).await);
    while left.call().await != Call::Closed(id(4)) {}
    assert!(right.endpoint.stats().dropped_for_peers > 0);
    flooding.abort();
    sender.send(&message("/good", "no longer blocked")).await;
    assert_eq!(receiver.next_text().await, "no longer blocked");
}
