//! Shutdown, drop and unpeer.

use std::time::Duration;

use tokio::net::TcpListener;
use zeek_bridge::endpoint::{ConnectError, Status};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::peering::CloseReason;
use zeek_bridge::wire::{Envelope, EnvelopeType, ErrorCode, Handshake};

use crate::raw::Raw;
use crate::support::*;

#[tokio::test]
async fn a_shutdown_loses_no_published_message() {
    const MESSAGES: usize = 5000;
    const PEERS: usize = 3;
    for (listener_tls, connector_tls) in kinds_of_tls() {
        let hub = endpoint_with(|config| config.patience = LONG);
        let listener = listen_with(&hub, listener_tls).await;
        let mut peers = Vec::new();
        for _ in 0..PEERS {
            let peer = endpoint_with(|config| config.subscriber_queue.messages = MESSAGES);
            let subscriber = subscribe(&peer, "/t").await;
            connect_with(&peer, &listener, connector_tls.clone()).await.unwrap();
            peers.push((peer.status(), peer, subscriber));
        }
        subscribers(&hub, "/t", PEERS).await;
        for n in 0..MESSAGES {
            let sent = text(format!("{n} {}", "x".repeat(n % 3000)));
            assert_eq!(hub.publish(topic("/t"), &sent).await, Ok(PEERS));
        }
        within("the shutdown", hub.shutdown()).await;
        for (statuses, _peer, subscriber) in &mut peers {
            for n in 0..MESSAGES {
                let text = next_text(subscriber).await;
                assert!(
                    text.starts_with(&format!("{n} ")) && text.len() == n.to_string().len() + 1 + n % 3000
                );
            }
            let error = lost(statuses).await;
            assert!(matches!(error, ConnectError::Closed(CloseReason::PeerLeft)), "{error}");
        }
    }
}

/// The time for reading published messages is limited by `drain_timeout`, and not by the shorter `leave_timeout`.
#[tokio::test]
async fn a_slow_peer_receives_everything_before_the_bye() {
    const SIZE: usize = 1024 * 1024;
    const MESSAGES: usize = 30;
    let endpoint = endpoint_with(|config| {
        config.leave_timeout = Duration::from_millis(100);
        config.drain_timeout = LONG;
    });
    let listener = listen(&endpoint).await;
    let mut raw = Raw::connect(id(1), listener.local_addr(), &["/t"]).await;
    subscribers(&endpoint, "/t", 1).await;
    for _ in 0..MESSAGES {
        endpoint.publish(topic("/t"), &text("x".repeat(SIZE))).await.unwrap();
    }
    let leaving = endpoint.clone();
    let shutdown = tokio::spawn(async move { leaving.shutdown().await });
    for n in 0..MESSAGES {
        // This delay makes the peer slow. It does not wait for an event.
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(within("a message", raw.text()).await.len(), SIZE, "{n}");
    }
    let bye = within("a BYE", raw.envelope_of(EnvelopeType::Ping)).await;
    assert!(bye.payload.starts_with(b"BYE") && bye.payload.len() == 11);
    raw.send(&Envelope::pong(raw.id, bye.sender, bye.payload)).await;
    within("the shutdown", shutdown).await.unwrap();
    assert!(within("the end of the connection", raw.frame()).await.is_none());
}

#[tokio::test]
async fn received_messages_can_be_read_after_a_shutdown() {
    let (a, b) = pair().await;
    let mut subscriber = subscribe(&a, "/t").await;
    subscribers(&b, "/t", 1).await;
    for n in 0..100 {
        b.publish(topic("/t"), &text(n.to_string())).await.unwrap();
    }
    within("the shutdown", b.shutdown()).await;
    within("the shutdown", a.shutdown()).await;
    for n in 0..100 {
        assert_eq!(next_text(&mut subscriber).await, n.to_string());
    }
    assert!(within("the end of the subscription", subscriber.recv()).await.is_none());
    // After a shutdown, an endpoint publishes to no peer and does not connect.
    assert_eq!(a.publish(topic("/t"), &text("late")).await, Ok(0));
    let mut late = within("a subscription", subscribe(&a, "/late")).await;
    assert!(within("the end of the subscription", late.recv()).await.is_none());
    let mut connector = a.connect_with_retry(dead_address(), Tls::Off, SOON);
    let error = within("the attempt", connector.first_attempt()).await.unwrap_err();
    assert!(matches!(error, ConnectError::ShuttingDown), "{error}");
    within("a second shutdown", a.shutdown()).await;
}

#[tokio::test]
async fn two_endpoints_can_shut_down_at_the_same_time() {
    for (listener_tls, connector_tls) in kinds_of_tls() {
        let (a, b) = (endpoint(), endpoint());
        let listener = listen_with(&a, listener_tls).await;
        let (mut at_a, mut at_b) = (a.status(), b.status());
        connect_with(&b, &listener, connector_tls).await.unwrap();
        added(&mut at_a).await;
        within("both shutdowns", async { tokio::join!(a.shutdown(), b.shutdown()) }).await;
        for statuses in [&mut at_a, &mut at_b] {
            let end = status(statuses, |status| match status {
                Status::PeerRemoved { error, .. } => Some(error.clone()),
                Status::PeerLost { error, .. } => Some(Some(error.clone())),
                _ => None,
            })
            .await;
            assert!(matches!(end, None | Some(ConnectError::Closed(CloseReason::PeerLeft))), "{end:?}");
        }
    }
}

#[tokio::test]
async fn a_shutdown_is_announced_to_peers_in_their_handshake() {
    let endpoint = endpoint();
    let listener = listen(&endpoint).await;
    let mut raw = Raw::open(id(1), listener.local_addr()).await;
    assert_eq!(within("a probe", raw.next_handshake()).await, Handshake::Probe);
    within("the shutdown", endpoint.shutdown()).await;
    let refusal = within("a refusal", raw.next_handshake()).await;
    assert!(matches!(refusal, Handshake::DropConn { code: ErrorCode::SHUTTING_DOWN, .. }), "{refusal:?}");
    assert!(within("the end of the connection", raw.frame()).await.is_none());
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_peer_that_does_not_read() {
    let endpoint = endpoint_with(|config| config.drain_timeout = Duration::from_millis(100));
    let listener = listen(&endpoint).await;
    let _raw = Raw::connect(id(1), listener.local_addr(), &["/t"]).await;
    subscribers(&endpoint, "/t", 1).await;
    for _ in 0..60 {
        endpoint.publish(topic("/t"), &text("x".repeat(1024 * 1024))).await.unwrap();
    }
    let mut statuses = endpoint.status();
    within("the shutdown", endpoint.shutdown()).await;
    let error = removed(&mut statuses).await;
    assert!(matches!(error, Some(ConnectError::ShuttingDown)), "{error:?}");
}

#[tokio::test]
async fn a_dropped_endpoint_leaves_its_peers_and_stops_all_tasks() {
    let (a, b) = (endpoint(), endpoint());
    let mut at_a = a.status();
    let mut at_b = b.status();
    let listener = listen(&b).await;
    let address = listener.local_addr();
    connect(&a, &listener).await.unwrap();
    let mut subscriber = subscribe(&b, "/t").await;
    subscribers(&a, "/t", 1).await;
    a.publish(topic("/t"), &text("before")).await.unwrap();
    assert_eq!(next_text(&mut subscriber).await, "before");
    // Three connectors: one retries a closed port, one waits for a silent listener, and one has an established peering.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _refused = b.connect_with_retry(dead_address(), Tls::Off, SOON);
    let _silent = b.connect_with_retry(silent.local_addr().unwrap(), Tls::Off, SOON);
    let _established = b.connect_with_retry(listen(&a).await.local_addr(), Tls::Off, SOON);
    status(&mut at_b, |status| matches!(status, Status::PeerUnavailable { .. }).then_some(())).await;
    drop(b);
    let error = lost(&mut at_a).await;
    assert!(matches!(error, ConnectError::Closed(CloseReason::PeerLeft)), "{error}");
    assert!(within("the end of the subscription", subscriber.recv()).await.is_none());
    drop(subscriber);
    let mut statuses = 0;
    while within("the end of statuses", at_b.recv()).await.is_some() {
        statuses += 1;
        assert!(statuses < 20, "the endpoint continues to connect");
    }
    TcpListener::bind(address).await.unwrap();
}

#[tokio::test]
async fn published_messages_are_sent_before_an_unpeer() {
    for (listener_tls, connector_tls) in kinds_of_tls() {
        let (a, b) = (endpoint(), endpoint());
        let (mut at_a, mut at_b) = (a.status(), b.status());
        let mut subscriber = subscribe(&b, "/t").await;
        let listener = listen_with(&a, listener_tls).await;
        connect_with(&b, &listener, connector_tls).await.unwrap();
        subscribers(&a, "/t", 1).await;
        assert!(!a.unpeer(id(9)).await);
        for n in 0..1000 {
            a.publish(topic("/t"), &text(n.to_string())).await.unwrap();
        }
        assert!(a.unpeer(b.id()).await);
        for n in 0..1000 {
            assert_eq!(next_text(&mut subscriber).await, n.to_string());
        }
        assert!(removed(&mut at_a).await.is_none());
        assert!(matches!(lost(&mut at_b).await, ConnectError::Closed(CloseReason::PeerLeft)));
        assert!(!a.unpeer(b.id()).await);
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_can_be_unpeered() {
    let endpoint = endpoint_with(|config| {
        config.drain_timeout = Duration::from_millis(100);
        config.idle_timeout = None;
    });
    let mut statuses = endpoint.status();
    let listener = listen(&endpoint).await;
    let _raw = Raw::connect(id(1), listener.local_addr(), &["/t"]).await;
    subscribers(&endpoint, "/t", 1).await;
    for _ in 0..60 {
        endpoint.publish(topic("/t"), &text("x".repeat(1024 * 1024))).await.unwrap();
    }
    assert!(endpoint.unpeer(id(1)).await);
    let error = removed(&mut statuses).await;
    assert!(matches!(error, Some(ConnectError::Closed(CloseReason::LeftUnconfirmed))), "{error:?}");
}

#[tokio::test]
async fn an_unconfirmed_bye_is_reported() {
    let endpoint = endpoint_with(|config| config.leave_timeout = Duration::from_millis(50));
    let mut statuses = endpoint.status();
    let listener = listen(&endpoint).await;
    let mut raw = Raw::connect(id(1), listener.local_addr(), &[]).await;
    assert_eq!(added(&mut statuses).await, id(1));
    assert!(endpoint.unpeer(id(1)).await);
    let error = removed(&mut statuses).await;
    assert!(matches!(error, Some(ConnectError::Closed(CloseReason::LeftUnconfirmed))), "{error:?}");
    assert!(within("a BYE", raw.envelope()).await.unwrap().payload.starts_with(b"BYE"));
    assert!(within("the end of the connection", raw.envelope()).await.is_none());
}

#[tokio::test]
async fn the_bye_of_a_peer_is_confirmed_after_its_messages_are_delivered() {
    let endpoint = endpoint();
    let mut statuses = endpoint.status();
    let mut subscriber = subscribe(&endpoint, "/t").await;
    let listener = listen(&endpoint).await;
    let mut raw = Raw::connect(id(1), listener.local_addr(), &[]).await;
    raw.publish("/t", "last message").await;
    let token = bytes::Bytes::from_static(b"BYE12345678");
    raw.send(&Envelope::ping(raw.id, endpoint.id(), token.clone())).await;
    let pong = within("a pong", raw.envelope_of(EnvelopeType::Pong)).await;
    assert_eq!((pong.receiver, pong.payload), (raw.id, token));
    drop(raw);
    assert_eq!(next_text(&mut subscriber).await, "last message");
    let error = lost(&mut statuses).await;
    assert!(matches!(error, ConnectError::Closed(CloseReason::PeerLeft)), "{error}");
}

#[tokio::test]
async fn a_peering_that_both_sides_leave_ends_without_an_error() {
    let endpoint = endpoint();
    let mut statuses = endpoint.status();
    let listener = listen(&endpoint).await;
    let mut raw = Raw::connect(id(1), listener.local_addr(), &[]).await;
    assert_eq!(added(&mut statuses).await, id(1));
    assert!(endpoint.unpeer(id(1)).await);
    // The peer sends its own BYE, and does not confirm the BYE of the endpoint.
    let token = bytes::Bytes::from_static(b"BYE12345678");
    raw.send(&Envelope::ping(raw.id, endpoint.id(), token.clone())).await;
    assert_eq!(within("a pong", raw.envelope_of(EnvelopeType::Pong)).await.payload, token);
    drop(raw);
    let error = removed(&mut statuses).await;
    assert!(error.is_none(), "{error:?}");
}
