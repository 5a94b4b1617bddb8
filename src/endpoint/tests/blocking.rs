//! Senders that are blocked by a slow receiver.

use super::*;

/// Returns two endpoints. The first forwards messages of its peers to the peers of the second, and blocks when their queues
/// are full.
async fn blocking() -> (Relayed, Relayed) {
    let right = Relayed::new(few_at_a_time(WhenFull::Block), None).await;
    let left = Relayed::new(few_at_a_time(WhenFull::Block), Some(&right.endpoint)).await;
    (left, right)
}

/// Waits until no more messages of a peer are received, while another peer sends. Returns the number of received messages.
async fn stopped(left: &mut Relayed, from: EndpointId, sender: &mut Hand, receiver: &mut Hand) -> usize {
    let mut received = 0;
    loop {
        for n in 0..50 {
            sender.send(&message("/good", &n.to_string())).await;
            assert_eq!(receiver.next_text().await, n.to_string());
        }
        match left.received_now(from) {
            0 if received > 0 => return received,
            more => received += more,
        }
    }
}

#[tokio::test]
async fn only_the_sender_waits_and_nothing_is_lost() {
    let (mut left, right) = blocking().await;
    let mut stuck = right.hand(id(1), &["/slow"]).await;
    let mut receiver = right.hand(id(2), &["/good"]).await;
    let mut sender = left.hand(id(3), &[]).await;
    let waits = flood(left.hand(id(4), &[]).await, "/slow");
    let received = stopped(&mut left, id(4), &mut sender, &mut receiver).await;
    assert!(received < MANY, "the sender was not blocked");
    for n in 0..MANY {
        assert_eq!(number(&stuck.next().await), n);
    }
    within("the sender", waits).await.unwrap();
    let stats = right.endpoint.stats();
    assert_eq!((stats.dropped_for_peers, stats.overflows), (0, 0));
}

#[tokio::test]
async fn several_senders_wait_for_one_receiver_and_each_keeps_its_order() {
    const SENDERS: usize = 5;
    let (left, right) = blocking().await;
    let mut stuck = right.hand(id(1), &["/slow"]).await;
    let mut floods = Vec::new();
    for n in 0..SENDERS {
        let mut hand = left.hand(id(10 + u8::try_from(n).unwrap()), &[]).await;
        floods.push(tokio::spawn(async move {
            for m in 0..200 {
                hand.send(&message("/slow", &format!("{n} {m:10000}"))).await;
            }
            hand
        }));
    }
    let mut next = [0; SENDERS];
    for _ in 0..200 * SENDERS {
        let got = stuck.next_text().await;
        let (sender, number) = got.split_once(' ').unwrap();
        let next = &mut next[sender.parse::<usize>().unwrap()];
        assert_eq!(number.trim().parse::<usize>().unwrap(), *next);
        *next += 1;
    }
    for hand in floods {
        within("a sender", hand).await.unwrap();
    }
    assert_eq!(right.endpoint.stats().dropped_for_peers, 0);
}

/// It is not pinged, and messages for it are written. A silent peer is disconnected in the meantime, which shows that the idle
/// timeout has passed.
#[tokio::test]
async fn a_blocked_sender_receives_messages_and_does_not_time_out() {
    let right = Relayed::new(few_at_a_time(WhenFull::Block), None).await;
    let idle_timeout = Some(Duration::from_millis(50));
    let config = EndpointConfig { idle_timeout, ..few_at_a_time(WhenFull::Block) };
    let mut left = Relayed::new(config, Some(&right.endpoint)).await;
    let mut stuck = right.hand(id(1), &["/slow"]).await;
    let hand = left.hand(id(2), &["/back"]).await;
    let waits = flood(hand, "/slow");
    let mut received = 0;
    for n in 10..20 {
        let silent = Hand::connect(id(n), left.address, &[]).await;
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
    let reads = tokio::spawn(async move {
        for n in 0..MANY {
            assert_eq!(number(&stuck.next().await), n);
        }
        stuck
    });
    // The same connection goes on.
    let mut hand = within("the sender", waits).await.unwrap();
    assert_eq!(hand.next_text().await, "hello");
    within("the receiver", reads).await.unwrap();
}

#[tokio::test]
async fn two_peers_that_block_each_other_continue_when_they_read() {
    let mut hub = Relayed::new(few_at_a_time(WhenFull::Block), None).await;
    let a = hub.hand(id(1), &["/to-a"]).await;
    let b = hub.hand(id(2), &["/to-b"]).await;
    let mut both = Vec::new();
    let mut senders = Vec::new();
    for (mut hand, topic) in [(a, "/to-b"), (b, "/to-a")] {
        // It queues all its messages, and reads only when both are blocked.
        for n in 0..MANY {
            hand.connection.send(&numbered(topic, n)).unwrap();
        }
        hand.connection.pause(true);
        senders.push(hand);
    }
    let (mut received, mut blocked) = (0, [false; 2]);
    let [a, b] = &mut senders[..] else { unreachable!() };
    while blocked != [true; 2] {
        let call = tokio::select! {
            call = hub.call() => call,
            () = a.step() => continue,
            () = b.step() => continue,
        };
        if let Call::Message(from, _, waits) = call {
            received += 1;
            blocked[usize::from(from == id(2))] |= waits > 0;
        }
    }
    assert!(received < 2 * MANY);
    for mut hand in senders {
        hand.connection.pause(false);
        both.push(tokio::spawn(async move {
            for n in 0..MANY {
                assert_eq!(number(&hand.next().await), n);
            }
            // Its own messages may not be written yet.
            hand.written().await;
            hand
        }));
    }
    for hand in both {
        within("all messages", hand).await.unwrap();
    }
    assert_eq!(hub.endpoint.stats().dropped_for_peers, 0);
}

#[tokio::test]
async fn senders_continue_when_the_receiver_disconnects() {
    let (mut left, right) = blocking().await;
    let stuck = right.hand(id(1), &["/slow"]).await;
    let mut receiver = right.hand(id(2), &["/good"]).await;
    let mut sender = left.hand(id(3), &[]).await;
    let waits = flood(left.hand(id(4), &[]).await, "/slow");
    stopped(&mut left, id(4), &mut sender, &mut receiver).await;
    drop(stuck);
    let mut sender = within("the sender", waits).await.unwrap();
    sender.send(&message("/good", "free")).await;
    assert_eq!(receiver.next_text().await, "free");
    // The blocked message was dropped and counted.
    assert_eq!(right.endpoint.stats().dropped_for_peers, 1);
}

#[tokio::test]
async fn a_blocked_sender_can_be_left() {
    let right = Relayed::new(few_at_a_time(WhenFull::Block), None).await;
    let leave_timeout = Duration::from_millis(100);
    let config = EndpointConfig { leave_timeout, ..few_at_a_time(WhenFull::Block) };
    let mut left = Relayed::new(config, Some(&right.endpoint)).await;
    let _stuck = right.hand(id(1), &["/slow"]).await;
    let mut receiver = right.hand(id(2), &["/good"]).await;
    let mut sender = left.hand(id(3), &[]).await;
    let waits = flood(left.hand(id(4), &[]).await, "/slow");
    stopped(&mut left, id(4), &mut sender, &mut receiver).await;
    assert!(left.endpoint.unpeer(id(4)).await);
    while left.call().await != Call::Closed(id(4)) {}
    assert!(right.endpoint.stats().dropped_for_peers > 0);
    waits.abort();
    sender.send(&message("/good", "free")).await;
    assert_eq!(receiver.next_text().await, "free");
}
