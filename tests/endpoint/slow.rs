//! Slow peers and subscribers do not affect other peers and subscribers.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use zeek_bridge::endpoint::ConnectError;
use zeek_bridge::net::ConnectionFault;
use zeek_bridge::wire::{Envelope, Handshake};

use crate::raw::Raw;
use crate::support::*;

#[tokio::test]
async fn a_slow_subscriber_loses_messages_and_does_not_delay_others() {
    const ROOM: usize = 10;
    const MESSAGES: usize = 1000;
    let a = endpoint_with(|config| config.subscriber_queue.messages = ROOM);
    let b = endpoint();
    let mut slow = subscribe(&a, "/t").await;
    let mut quick = subscribe(&a, "/t").await;
    let listener = listen(&a).await;
    connect(&b, &listener).await.unwrap();
    subscribers(&b, "/t", 1).await;
    for n in 0..MESSAGES {
        b.publish(topic("/t"), &text(n.to_string())).await.unwrap();
        assert_eq!(next_text(&mut quick).await, n.to_string());
    }
    assert_eq!(slow.waiting(), ROOM);
    let stats = a.stats();
    assert_eq!(stats.received as usize, MESSAGES);
    assert_eq!(stats.delivered as usize, MESSAGES + ROOM);
    assert_eq!(stats.dropped as usize, MESSAGES - ROOM);
    // The oldest messages are kept. After they are read, there is room for new ones.
    for n in 0..ROOM {
        assert_eq!(next_text(&mut slow).await, n.to_string());
    }
    b.publish(topic("/t"), &text("room")).await.unwrap();
    assert_eq!(next_text(&mut slow).await, "room");
}

/// The queue of a subscriber is bounded by the total size of the queued topics and payloads, in bytes.
#[tokio::test]
async fn the_memory_of_a_slow_subscriber_is_bounded_by_its_queue() {
    let a = endpoint_with(|config| config.subscriber_queue.bytes = 1_000_000);
    let b = endpoint();
    let mut slow = subscribe(&a, "/slow").await;
    let mut quick = subscribe(&a, "/quick").await;
    let listener = listen(&a).await;
    connect(&b, &listener).await.unwrap();
    subscribers(&b, "/slow", 1).await;
    for _ in 0..100 {
        b.publish(topic(&format!("/slow{}", "x".repeat(60_000))), &text("")).await.unwrap();
    }
    b.publish(topic("/quick"), &text("end")).await.unwrap();
    next_text(&mut quick).await;
    assert!(slow.waiting() <= 1_000_000 / 60_000, "{}", slow.waiting());
    next_text(&mut slow).await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_disconnected_and_does_not_delay_others() {
    const SIZE: usize = 100_000;
    let hub = endpoint_with(|config| {
        config.patience = Duration::from_millis(50);
        config.peer_queue.bytes = 4 * 1024 * 1024;
        // Disable the idle timeout, so that it cannot be the reason for the disconnect.
        config.idle_timeout = None;
    });
    let mut statuses = hub.status();
    let good = endpoint();
    let mut subscriber = subscribe(&good, "/t").await;
    let listener = listen(&hub).await;
    connect(&good, &listener).await.unwrap();
    let _slow = Raw::connect(id(1), listener.local_addr(), &["/t"]).await;
    subscribers(&hub, "/t", 2).await;
    let mut published = 0;
    within("the disconnect of the slow peer", async {
        while hub.publish(topic("/t"), &text("x".repeat(SIZE))).await == Ok(2) {
            published += 1;
            assert_eq!(next_text(&mut subscriber).await.len(), SIZE);
            assert!(published < 10_000, "the queue of unread messages is not bounded");
        }
    })
    .await;
    assert_eq!(next_text(&mut subscriber).await.len(), SIZE);
    let error = removed(&mut statuses).await;
    assert!(matches!(error, Some(ConnectError::Overflow { dropped }) if dropped > 0), "{error:?}");
    assert_eq!(hub.peers().len(), 1);
    assert_eq!(hub.publish(topic("/t"), &text("after")).await, Ok(1));
    assert_eq!(next_text(&mut subscriber).await, "after");
}

/// If ten peers do not read, a publisher waits for all of them at the same time.
#[tokio::test]
async fn a_publisher_does_not_wait_longer_for_many_peers_than_for_one() {
    const SLOW: u8 = 10;
    let patience = Duration::from_secs(2);
    let hub = endpoint_with(|config| {
        config.patience = patience;
        config.peer_queue.bytes = 1024 * 1024;
        config.idle_timeout = None;
    });
    let mut statuses = hub.status();
    let listener = listen(&hub).await;
    let mut slow = Vec::new();
    for n in 1..=SLOW {
        slow.push(Raw::connect(id(n), listener.local_addr(), &["/t"]).await);
    }
    subscribers(&hub, "/t", slow.len()).await;
    // While the clock is paused, tokio advances it to the next timer when all tasks are idle.
    tokio::time::pause();
    let mut longest = Duration::ZERO;
    while !hub.peers().is_empty() {
        let start = tokio::time::Instant::now();
        let reached =
            within("the publish call", hub.publish(topic("/t"), &text("x".repeat(500_000)))).await.unwrap();
        longest = longest.max(start.elapsed());
        if reached == 0 {
            break;
        }
    }
    assert!(longest < patience * 2, "{longest:?}");
    for _ in 0..SLOW {
        assert!(matches!(removed(&mut statuses).await, Some(ConnectError::Overflow { .. })));
    }
}

#[tokio::test]
async fn the_queue_of_answers_to_a_flood_of_pings_is_bounded() {
    let good = endpoint();
    let endpoint = endpoint_with(|config| config.idle_timeout = None);
    let mut statuses = endpoint.status();
    let listener = listen(&endpoint).await;
    connect(&good, &listener).await.unwrap();
    let mut raw = Raw::connect(id(1), listener.local_addr(), &[]).await;
    for size in [1, 100_000] {
        let mut pings = BytesMut::new();
        while pings.len() < 100_000 {
            Envelope::ping(raw.id, endpoint.id(), Bytes::from(vec![0; size])).encode(&mut pings).unwrap();
        }
        let mut sent = 0usize;
        within("the end of the connection", async {
            while raw.stream.write_all(&pings).await.is_ok() {
                sent += pings.len();
                // The endpoint buffers one frame of the maximum length and about a megabyte of answers. The kernel
                // buffers some data in both directions.
                assert!(sent < 128 * 1024 * 1024, "the queue of answers is not bounded");
            }
        })
        .await;
        let error = lost(&mut statuses).await;
        assert!(matches!(error, ConnectError::Stream(ConnectionFault::DoesNotRead)), "{error}");
        raw = Raw::connect(id(1), listener.local_addr(), &[]).await;
    }
    assert_eq!(good.peers().len(), 1);
}

/// While the second connection waits for its admission, nothing more is read from it.
#[tokio::test]
async fn the_input_of_a_handshake_that_has_to_wait_is_bounded() {
    let endpoint = endpoint_with(|config| {
        config.id = Some(id(1));
        config.handshake_timeout = Duration::from_secs(1);
    });
    let mut statuses = endpoint.status();
    let listener = listen(&endpoint).await;
    let mut first = Raw::open(id(2), listener.local_addr()).await;
    first.send_handshake(&first.hello()).await;
    while !matches!(first.next_handshake().await, Handshake::OriginatorSyn(_)) {}
    let mut second = Raw::open(id(2), listener.local_addr()).await;
    second.send_handshake(&second.hello()).await;
    let chunk = vec![0x7f; 1024 * 1024];
    let mut sent = 0usize;
    let _ = within("the end of the connection", async {
        while let Ok(count) = second.stream.write(&chunk).await {
            sent += count;
        }
    })
    .await;
    // The kernel buffers some data in both directions.
    assert!(sent < 32 * 1024 * 1024, "{sent} bytes were accepted");
    failed(&mut statuses).await;
}
