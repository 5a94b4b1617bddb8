//! Peers that use more than their share of resources.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use zeek_bridge::endpoint::{ConnectError, Status};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::peering::CloseReason;
use zeek_bridge::wire::{ErrorCode, Handshake};

use crate::raw::Raw;
use crate::support::*;

/// Runs on one thread, so that a task that does not yield would delay all others.
#[tokio::test]
async fn a_flood_of_tiny_frames_does_not_delay_others() {
    let endpoint = endpoint();
    let listener = listen(&endpoint).await;
    let mut subscriber = subscribe(&endpoint, "/t").await;
    let mut flooder = Raw::connect(id(1), listener.local_addr(), &[]).await;
    let mut healthy = Raw::connect(id(2), listener.local_addr(), &[]).await;
    // The number of frames in the flood. The second peer sends its message after 10,000 of them.
    const FRAMES: u64 = 1_000_000;
    let flood = tokio::spawn(async move {
        let frame = [0, 0, 0, 1, 0xff];
        let bytes = frame.repeat(100_000);
        for _ in 0..FRAMES / 100_000 {
            flooder.stream.write_all(&bytes).await.unwrap();
        }
        flooder.settle().await;
    });
    while endpoint.stats().malformed < 10_000 {
        tokio::task::yield_now().await;
    }
    healthy.publish("/t", "me too").await;
    assert_eq!(next_text(&mut subscriber).await, "me too");
    let malformed_before = endpoint.stats().malformed;
    assert!(
        malformed_before < FRAMES / 10,
        "the other peer's message was delivered after {malformed_before} of {FRAMES} frames"
    );
    within("the flood", flood).await.unwrap();
    assert_eq!(endpoint.stats().malformed, FRAMES);
}

#[tokio::test]
async fn new_connections_evict_silent_handshakes() {
    let endpoint = endpoint_with(|config| {
        config.handshake_timeout = LONG;
        config.max_handshakes = 2;
    });
    let mut statuses = endpoint.status();
    let listener = listen(&endpoint).await;
    let mut silent = Vec::new();
    for n in 1..=4 {
        silent.push(Raw::open(id(n), listener.local_addr()).await);
    }
    let healthy = endpoint_with(|_| {});
    let mut connected = healthy.connect(listener.local_addr(), Tls::Off);
    // Five connections, four of them silent, compete for two slots. So three are evicted.
    for _ in 0..3 {
        let error = failed(&mut statuses).await;
        assert!(matches!(error, ConnectError::GaveWay), "{error}");
    }
    within("the peering", connected.first_attempt()).await.unwrap();
    assert_eq!(added(&mut statuses).await, healthy.id());
    drop(silent);
}

/// The peer refuses the connection as redundant although there is no peering with it.
#[tokio::test]
async fn a_refusal_as_redundant_without_another_peering_is_a_failure() {
    let endpoint = endpoint();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut connector = endpoint.connect(&address, Tls::Off);
    let (stream, _) = within("a connection", listener.accept()).await.unwrap();
    let mut raw = Raw::on(id(1), stream);
    let refusal = Handshake::DropConn {
        sender: raw.id,
        code: ErrorCode::REDUNDANT_CONNECTION,
        description: "redundant connection".into(),
    };
    raw.send_handshake(&refusal).await;
    let error = within("the first attempt", connector.first_attempt()).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::Closed(CloseReason::Redundant { peer }) if peer == raw.id),
        "{error}"
    );
}

#[tokio::test]
async fn unsent_messages_of_a_lost_peer_are_counted() {
    let endpoint = endpoint();
    let mut statuses = endpoint.status();
    let listener = listen(&endpoint).await;
    let raw = Raw::connect(id(1), listener.local_addr(), &["/t"]).await;
    subscribers(&endpoint, "/t", 1).await;
    let large = text("x".repeat(1024 * 1024));
    for _ in 0..30 {
        assert_eq!(endpoint.publish(topic("/t"), &large).await.unwrap(), 1);
    }
    // The peer has read nothing. The operating system buffers a few megabytes at most.
    drop(raw);
    let unsent = status(&mut statuses, |status| match status {
        Status::PeerLost { unsent, .. } => Some(*unsent),
        _ => None,
    })
    .await;
    assert!((2..=30).contains(&unsent), "{unsent}");
}
