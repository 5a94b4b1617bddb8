//! Settings of an endpoint that apply to each of its connections.

use std::future::IntoFuture as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use zeek_bridge::endpoint::{Admits, ConnectError, Status, StatusReceiver};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::peering::{CloseReason, PeeringError};
use zeek_bridge::wire::Envelope;

use crate::raw::Raw;
use crate::support::*;

/// Waits until the next handshake with a listener ends. Returns its error, or `None` if it succeeded.
async fn handshake_error(statuses: &mut StatusReceiver) -> Option<ConnectError> {
    status(statuses, |status| match status {
        Status::PeerAdded { .. } => Some(None),
        Status::HandshakeFailed { error, .. } => Some(Some(error.clone())),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn the_handshake_contains_the_topics_of_the_subscribers() {
    let endpoint = endpoint();
    let _subscriber = subscribe(&endpoint, "/t").await;
    let listener = listen(&endpoint).await;
    let mut raw = Raw::open(id(1), listener.local_addr()).await;
    raw.send_handshake(&raw.hello()).await;
    let filter = raw.handshake(&[]).await;
    assert_eq!(filter.topics(), [topic("/t")]);
}

#[tokio::test]
async fn the_configured_limits_apply_to_the_handshake() {
    let endpoint = endpoint_with(|config| config.limits.max_filter_topics = 1);
    let mut statuses = endpoint.status();
    let listener = listen(&endpoint).await;
    for (number, topics, is_allowed) in [(1, &["/a"][..], true), (2, &["/a", "/b"], false)] {
        let address = listener.local_addr();
        let peer = tokio::spawn(async move { Raw::connect(id(number), address, topics).await });
        let error = handshake_error(&mut statuses).await;
        assert_eq!(error.is_none(), is_allowed, "{error:?}");
        peer.abort();
    }
}

/// The clock is paused. With the default timeout, the peer would send its handshake in time.
#[tokio::test(start_paused = true)]
async fn a_handshake_fails_after_the_configured_time() {
    let endpoint = endpoint_with(|config| config.handshake_timeout = Duration::ZERO);
    let mut statuses = endpoint.status();
    let listener = listen(&endpoint).await;
    let address = listener.local_addr();
    let peer = tokio::spawn(async move {
        let mut raw = Raw::open(id(1), address).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        raw.send_handshake(&raw.hello()).await;
        raw.handshake(&[]).await;
    });
    let error = handshake_error(&mut statuses).await;
    let expected =
        matches!(error, Some(ConnectError::Peering(PeeringError::HandshakeTimeout { tls: false, .. })));
    assert!(expected, "{error:?}");
    peer.abort();
}

#[tokio::test]
async fn a_bye_must_be_confirmed_within_the_configured_time() {
    let endpoint = endpoint_with(|config| config.leave_timeout = Duration::ZERO);
    let mut statuses = endpoint.status();
    let listener = listen(&endpoint).await;
    let mut raw = Raw::connect(id(1), listener.local_addr(), &[]).await;
    assert_eq!(added(&mut statuses).await, id(1));
    let peer = tokio::spawn(async move {
        while let Some(envelope) = raw.envelope().await {
            if envelope.payload.starts_with(b"BYE") {
                tokio::time::sleep(Duration::from_secs(1)).await;
                raw.send(&Envelope::pong(raw.id, envelope.sender, envelope.payload)).await;
            }
        }
    });
    // With the default timeout, the peer would confirm the BYE in time.
    tokio::time::pause();
    assert!(endpoint.unpeer(id(1)).await);
    let error = removed(&mut statuses).await;
    assert!(matches!(error, Some(ConnectError::Closed(CloseReason::LeftUnconfirmed))), "{error:?}");
    peer.abort();
}

#[tokio::test]
async fn the_drain_time_begins_only_when_a_peering_ends() {
    let (a, b) = (endpoint(), endpoint_with(|config| config.drain_timeout = Duration::ZERO));
    let mut subscriber = subscribe(&a, "/t").await;
    let listener = listen(&a).await;
    connect(&b, &listener).await.unwrap();
    subscribers(&b, "/t", 1).await;
    for text in ["one", "two"] {
        b.publish(topic("/t"), &self::text(text)).await.unwrap();
        assert_eq!(next_text(&mut subscriber).await, text);
    }
}

#[tokio::test]
async fn connections_that_this_side_opens_take_no_peer_slot() {
    let endpoint = endpoint_with(|config| config.max_peers = 1);
    let others = [self::endpoint(), self::endpoint()];
    for other in &others {
        connect(&endpoint, &listen(other).await).await.unwrap();
    }
    let listener = listen(&endpoint).await;
    Raw::connect(id(1), listener.local_addr(), &[]).await.settle().await;
    for other in &others {
        assert!(endpoint.unpeer(other.id()).await, "the peering still exists");
    }
}

#[tokio::test]
async fn an_error_of_a_handshake_says_whether_the_stream_is_tls() {
    for (listener_tls, connector_tls) in kinds_of_tls() {
        let endpoint = endpoint();
        let mut statuses = endpoint.status();
        let is_tls = connector_tls.certificates().is_some();
        let listener = listen_with(&endpoint, listener_tls).await;
        let tcp = TcpStream::connect(listener.local_addr()).await.unwrap();
        let mut stream = within("the TLS handshake", connector_tls.connect(tcp)).await.unwrap();
        stream.shutdown().await.unwrap();
        let error = handshake_error(&mut statuses).await;
        let Some(ConnectError::Peering(PeeringError::ClosedInHandshake { tls, .. })) = error else {
            panic!("{error:?}");
        };
        assert_eq!(tls, is_tls);
    }
}

#[tokio::test]
async fn the_admission_of_each_peer_is_decided_once() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let admits = Admits::new(move |_| counter.fetch_add(1, Ordering::Relaxed) < usize::MAX);
    let endpoint = endpoint_with(|config| config.admits = Some(admits));
    let other = self::endpoint();
    for scheme in ["", "ws://"] {
        let listener = endpoint.listen(format!("{scheme}127.0.0.1:0"), Tls::Off).await.unwrap();
        within("the peering", self::endpoint().connect(listener.url(), Tls::Off).into_future())
            .await
            .unwrap();
        let listener = other.listen(format!("{scheme}127.0.0.1:0"), Tls::Off).await.unwrap();
        within("the peering", endpoint.connect(listener.url(), Tls::Off).into_future()).await.unwrap();
    }
    assert_eq!(calls.load(Ordering::Relaxed), 4);
}
