//! Senders that have to wait for a receiver.

use super::*;

/// Two endpoints: what the peers of the left say goes to those of the right, which are waited for.
async fn waiting() -> (Relayed, Relayed) {
    let right = Relayed::new(few_at_a_time(WhenFull::Block), None).await;
    let left = Relayed::new(few_at_a_time(WhenFull::Block), Some(&right.endpoint)).await;
    (left, right)
}

/// Waits until nothing of a peer is heard any more, while others talk; says how much that was.
async fn stopped(left: &mut Relayed, from: EndpointId, sender: &mut Hand, receiver: &mut Hand) -> usize {
    let mut heard = 0;
    loop {
        for n in 0..50 {
            sender.send(&message("/good", &n.to_string())).await;
            assert_eq!(receiver.next_text().await, n.to_string());
        }
        match left.heard_now(from) {
            0 if heard > 0 => return heard,
            more => heard += more,
        }
    }
}

#[tokio::test]
async fn only_the_sender_waits_and_nothing_is_lost() {
    let (mut left, right) = waiting().await;
    let mut stuck = right.hand(id(1), &["/slow"]).await;
    let mut receiver = right.hand(id(2), &["/good"]).await;
    let mut sender = left.hand(id(3), &[]).await;
    let waits = flood(left.hand(id(4), &[]).await, "/slow");
    let heard = stopped(&mut left, id(4), &mut sender, &mut receiver).await;
    assert!(heard < MANY, "it was not stopped");
    for n in 0..MANY {
        assert_eq!(number(&stuck.next().await), n);
    }
    within("the sender", waits).await.unwrap();
    let stats = right.endpoint.stats();
    assert_eq!((stats.dropped_for_peers, stats.overflows), (0, 0));
}

#[tokio::test]
async fn several_wait_for_one_and_each_keeps_its_order() {
    const SENDERS: usize = 5;
    let (left, right) = waiting().await;
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

/// Its silence is not held against it, and what is for it is written. Another, of whom nothing is expected but the
/// answer to a ping, shows that the time has come.
#[tokio::test]
async fn whoever_waits_is_written_to_and_not_given_up_for_its_silence() {
    let right = Relayed::new(few_at_a_time(WhenFull::Block), None).await;
    let idle_timeout = Some(Duration::from_millis(50));
    let config = EndpointConfig { idle_timeout, ..few_at_a_time(WhenFull::Block) };
    let mut left = Relayed::new(config, Some(&right.endpoint)).await;
    let mut stuck = right.hand(id(1), &["/slow"]).await;
    let hand = left.hand(id(2), &["/back"]).await;
    let waits = flood(hand, "/slow");
    let mut heard = 0;
    for n in 10..20 {
        let silent = Hand::connect(id(n), left.address, &[]).await;
        loop {
            match left.told().await {
                Told::Gone(id) if id == silent.id => break,
                Told::Gone(id) => panic!("{id} was given up"),
                Told::Heard(..) => heard += 1,
                _ => {}
            }
        }
    }
    assert!(heard < MANY, "it was not stopped");
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
async fn two_that_wait_for_each_other_come_free_when_they_read() {
    let mut hub = Relayed::new(few_at_a_time(WhenFull::Block), None).await;
    let a = hub.hand(id(1), &["/to-a"]).await;
    let b = hub.hand(id(2), &["/to-b"]).await;
    let mut both = Vec::new();
    let mut senders = Vec::new();
    for (mut hand, topic) in [(a, "/to-b"), (b, "/to-a")] {
        // It queues all it has to say, and reads only when both are stuck.
        for n in 0..MANY {
            hand.connection.send(&numbered(topic, n)).unwrap();
        }
        hand.connection.pause(true);
        senders.push(hand);
    }
    let (mut heard, mut blocked) = (0, [false; 2]);
    let [a, b] = &mut senders[..] else { unreachable!() };
    while blocked != [true; 2] {
        let told = tokio::select! {
            told = hub.told() => told,
            () = a.step() => continue,
            () = b.step() => continue,
        };
        if let Told::Heard(from, _, waits) = told {
            heard += 1;
            blocked[usize::from(from == id(2))] |= waits > 0;
        }
    }
    assert!(heard < 2 * MANY);
    for mut hand in senders {
        hand.connection.pause(false);
        both.push(tokio::spawn(async move {
            for n in 0..MANY {
                assert_eq!(number(&hand.next().await), n);
            }
            // Its own may still be on their way.
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
async fn when_the_receiver_goes_its_senders_go_on() {
    let (mut left, right) = waiting().await;
    let stuck = right.hand(id(1), &["/slow"]).await;
    let mut receiver = right.hand(id(2), &["/good"]).await;
    let mut sender = left.hand(id(3), &[]).await;
    let waits = flood(left.hand(id(4), &[]).await, "/slow");
    stopped(&mut left, id(4), &mut sender, &mut receiver).await;
    drop(stuck);
    let mut sender = within("the sender", waits).await.unwrap();
    sender.send(&message("/good", "free")).await;
    assert_eq!(receiver.next_text().await, "free");
    // The one that waited was lost, and counted.
    assert_eq!(right.endpoint.stats().dropped_for_peers, 1);
}

#[tokio::test]
async fn whoever_waits_can_be_left_all_the_same() {
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
    while left.told().await != Told::Gone(id(4)) {}
    assert!(right.endpoint.stats().dropped_for_peers > 0);
    waits.abort();
    sender.send(&message("/good", "free")).await;
    assert_eq!(receiver.next_text().await, "free");
}
