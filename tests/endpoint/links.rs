//! Tests of connecting, disconnecting and reconnecting, and of the statuses that report them.

use std::time::Duration;

use tokio::net::TcpListener;
use zeek_bridge::endpoint::{ConnectError, Status};
use zeek_bridge::net::DialError;
use zeek_bridge::net::tls::Tls;
use zeek_bridge::peering::{CloseReason, PeeringError};
use zeek_bridge::wire::{Envelope, ErrorCode, Handshake};

use crate::raw::Raw;
use crate::support::*;

#[tokio::test]
async fn both_sides_report_a_new_peer_and_the_end_of_the_peering() {
    for (listener_tls, connector_tls) in kinds_of_tls() {
        let (a, b) = (endpoint(), endpoint());
        let (mut at_a, mut at_b) = (a.status(), b.status());
        let listener = listen_with(&a, listener_tls).await;
        connect_with(&b, &listener, connector_tls).await.unwrap();
        assert_eq!(added(&mut at_a).await, b.id());
        let address = status(&mut at_b, |status| match status {
            Status::PeerAdded { peer, address, .. } if *peer == a.id() => Some(address.clone()),
            _ => None,
        });
        assert_eq!(*address.await, *listener.local_addr().to_string());
        assert_eq!(a.peers()[0].0, b.id());
        b.shutdown().await;
        assert!(matches!(lost(&mut at_a).await, ConnectError::Closed(CloseReason::PeerLeft)));
        assert!(removed(&mut at_b).await.is_none());
        assert!(a.peers().is_empty() && b.peers().is_empty());
    }
}

#[tokio::test]
async fn a_failed_attempt_is_reported_and_not_repeated_without_a_retry() {
    let endpoint = endpoint();
    let mut statuses = endpoint.status();
    let target = dead_address();
    let mut connector = endpoint.connect(&target, Tls::Off);
    let error = within("the attempt", connector.first_attempt()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Dial(DialError::Connect { .. })), "{error}");
    let (address, retry_in) = status(&mut statuses, |status| match status {
        Status::PeerUnavailable {
            address,
            retry_in,
            error: ConnectError::Dial(DialError::Connect { .. }),
        } => Some((address.clone(), *retry_in)),
        _ => None,
    })
    .await;
    assert_eq!((&*address, retry_in), (&*target, None));
    let mut connector = endpoint.connect("no port", Tls::Off);
    let error = within("the attempt", connector.first_attempt()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Dial(DialError::Address(_))), "{error}");
}

/// The name localhost has the address 127.0.0.1, ::1 or both, and there is no listener at either.
#[tokio::test]
async fn an_error_contains_an_address_of_the_host_name() {
    let address = dead_address();
    let port = address.rsplit(':').next().unwrap();
    let endpoint = endpoint();
    let mut connector = endpoint.connect(format!("localhost:{port}"), Tls::Off);
    let error = within("the attempt", connector.first_attempt()).await.unwrap_err().to_string();
    let named = [format!("127.0.0.1:{port}: "), format!("[::1]:{port}: ")];
    assert!(named.iter().any(|address| error.contains(address)), "{error}");
}

#[tokio::test]
async fn an_address_may_contain_a_zone() {
    let (a, b) = (endpoint(), endpoint());
    let Ok(listener) = a.listen("[::1%lo]:0", Tls::Off).await else {
        eprintln!("skipped: there is no IPv6 loopback interface named lo");
        return;
    };
    let target = format!("[::1%lo]:{}", listener.local_addr().port());
    let mut connector = b.connect(&target, Tls::Off);
    assert_eq!(within("the attempt", connector.first_attempt()).await.unwrap(), a.id());
}

#[tokio::test]
async fn the_outcome_of_the_first_attempt_can_be_read_twice() {
    let (a, b) = (endpoint(), endpoint());
    let mut connector = a.connect(dead_address(), Tls::Off);
    for _ in 0..2 {
        let error = within("the attempt", connector.first_attempt()).await.unwrap_err();
        assert!(matches!(error, ConnectError::Dial(DialError::Connect { .. })), "{error}");
    }
    let listener = listen(&a).await;
    let mut connector = b.connect(listener.local_addr(), Tls::Off);
    for _ in 0..2 {
        assert_eq!(within("the attempt", connector.first_attempt()).await.unwrap(), a.id());
    }
}

#[tokio::test]
async fn a_connector_may_start_before_the_listener() {
    let (a, b) = (endpoint(), endpoint());
    let (mut at_a, mut at_b) = (a.status(), b.status());
    let target = dead_address();
    let mut connector = b.connect_with_retry(&target, Tls::Off, SOON);
    within("the first attempt", connector.first_attempt()).await.unwrap_err();
    let retry_in = status(&mut at_b, |status| match status {
        Status::PeerUnavailable { retry_in, .. } => Some(*retry_in),
        _ => None,
    })
    .await;
    let (first, most) = (Duration::from_millis(20).mul_f32(0.74), Duration::from_millis(20).mul_f32(1.26));
    assert!(retry_in.is_some_and(|wait| wait >= first && wait <= most), "{retry_in:?}");
    let _listener = a.listen(&target, Tls::Off).await.unwrap();
    assert_eq!(added(&mut at_b).await, a.id());
    assert_eq!(added(&mut at_a).await, b.id());
}

#[tokio::test]
async fn a_connector_reconnects_after_the_listener_restarts() {
    let b = endpoint();
    let mut at_b = b.status();
    let mut subscriber = subscribe(&b, "/t").await;
    let mut first = endpoint();
    let listener = listen(&first).await;
    let target = listener.local_addr().to_string();
    let _connector = b.connect_with_retry(&target, Tls::Off, SOON);
    for round in 0..3 {
        assert_eq!(added(&mut at_b).await, first.id());
        subscribers(&first, "/t", 1).await;
        first.publish(topic("/t"), &text(round.to_string())).await.unwrap();
        assert_eq!(next_text(&mut subscriber).await, round.to_string());
        first.shutdown().await;
        assert!(matches!(lost(&mut at_b).await, ConnectError::Closed(CloseReason::PeerLeft)));
        first = endpoint();
        first.listen(&target, Tls::Off).await.unwrap();
    }
    assert_eq!(added(&mut at_b).await, first.id());
}

#[tokio::test]
async fn a_connector_reconnects_after_a_peering_is_lost() {
    let endpoint = endpoint();
    let mut statuses = endpoint.status();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _connector = endpoint.connect_with_retry(listener.local_addr().unwrap().to_string(), Tls::Off, SOON);
    for peer in [id(1), id(0xff), id(1)] {
        let raw = within("a connection", Raw::accept(peer, &listener, &[])).await;
        assert_eq!(added(&mut statuses).await, peer);
        drop(raw);
        let error = lost(&mut statuses).await;
        assert!(matches!(error, ConnectError::Closed(CloseReason::Lost)), "{error}");
    }
    // A connection that is lost during the handshake counts as a failed attempt.
    let raw = listener.accept().await.unwrap();
    drop(raw);
    let error = status(&mut statuses, |status| match status {
        Status::PeerUnavailable { error, retry_in: Some(_), .. } => Some(error.clone()),
        _ => None,
    })
    .await;
    assert!(
        matches!(
            error,
            ConnectError::Peering(PeeringError::ClosedInHandshake { .. }) | ConnectError::Stream(_)
        ),
        "{error}"
    );
    within("a connection", Raw::accept(id(3), &listener, &[])).await;
    assert_eq!(added(&mut statuses).await, id(3));
}

#[tokio::test]
async fn a_stopped_connector_does_not_reconnect() {
    let endpoint = endpoint();
    let mut statuses = endpoint.status();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap().to_string();
    let stopped = endpoint.connect_with_retry(&target, Tls::Off, SOON);
    let raw = within("a connection", Raw::accept(id(1), &listener, &[])).await;
    assert_eq!(added(&mut statuses).await, id(1));
    stopped.stop();
    assert_eq!(endpoint.peers().len(), 1, "an established peering continues");
    drop(raw);
    lost(&mut statuses).await;
    // The stopped connector makes no attempt while a second connector makes twenty attempts.
    let _other = endpoint.connect_with_retry(dead_address(), Tls::Off, SOON);
    for _ in 0..20 {
        status(&mut statuses, |status| matches!(status, Status::PeerUnavailable { .. }).then_some(())).await;
    }
    tokio::select! {
        biased;
        connection = listener.accept() => panic!("{connection:?}"),
        () = std::future::ready(()) => {}
    }
}

#[tokio::test]
async fn a_refusal_is_reported_with_its_code_and_a_shortened_description() {
    let endpoint = endpoint();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap().to_string();
    for words in ["come back later".to_owned(), "x".repeat(500_000)] {
        let mut connector = endpoint.connect(&target, Tls::Off);
        let mut raw = Raw::on(id(1), listener.accept().await.unwrap().0);
        let description = words.as_str().into();
        raw.send_handshake(&Handshake::DropConn {
            sender: raw.id,
            code: ErrorCode::PEER_INVALID,
            description,
        })
        .await;
        let error = within("the attempt", connector.first_attempt()).await.unwrap_err();
        let ConnectError::Peering(PeeringError::Refused { peer, code, description }) = &error else {
            panic!("{error}")
        };
        assert_eq!((*peer, *code), (id(1), ErrorCode::PEER_INVALID));
        assert!(words.starts_with(description.trim_end_matches('…')), "{description}");
        assert!(error.to_string().len() < 1000);
    }
}

#[tokio::test]
async fn an_endpoint_does_not_peer_with_itself() {
    let endpoint = endpoint();
    let mut statuses = endpoint.status();
    let listener = listen(&endpoint).await;
    let error = connect(&endpoint, &listener).await.unwrap_err();
    assert!(matches!(error, ConnectError::Peering(PeeringError::SelfConnection(_))), "{error}");
    let error = failed(&mut statuses).await;
    assert!(matches!(error, ConnectError::Peering(PeeringError::SelfConnection(_))), "{error}");
    assert!(endpoint.peers().is_empty());
}

#[tokio::test]
async fn a_stopped_listener_accepts_no_connections() {
    let (a, b) = pair().await;
    let listener = listen(&a).await;
    let address = listener.local_addr();
    listener.stop();
    // The port is free again.
    within("the port to become free", async {
        while TcpListener::bind(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(b.peers().len(), 1, "established peerings continue");
}

#[tokio::test]
async fn listening_on_a_port_in_use_fails() {
    let (a, b) = (endpoint(), endpoint());
    let listener = listen(&a).await;
    let error = b.listen(&listener.local_addr().to_string(), Tls::Off).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn handshakes_with_a_silent_listener_and_a_silent_connector_time_out() {
    let endpoint = endpoint_with(|config| config.handshake_timeout = Duration::from_millis(50));
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut connector = endpoint.connect(silent.local_addr().unwrap(), Tls::Off);
    let error = within("the attempt", connector.first_attempt()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Peering(PeeringError::HandshakeTimeout { .. })), "{error}");
    let mut statuses = endpoint.status();
    let listener = listen(&endpoint).await;
    let mut raw = Raw::open(id(1), listener.local_addr()).await;
    let error = failed(&mut statuses).await;
    assert!(matches!(error, ConnectError::Peering(PeeringError::HandshakeTimeout { .. })), "{error}");
    assert_eq!(raw.next_handshake().await, Handshake::Probe);
    let refused = raw.next_handshake().await;
    assert!(matches!(refused, Handshake::DropConn { code: ErrorCode::PEER_TIMEOUT, .. }), "{refused:?}");
    assert!(within("the end of the connection", raw.frame()).await.is_none());
}

#[tokio::test]
async fn a_silent_peer_is_pinged_and_then_disconnected() {
    let endpoint = endpoint_with(|config| config.idle_timeout = Some(Duration::from_millis(50)));
    let mut statuses = endpoint.status();
    let listener = listen(&endpoint).await;
    let mut raw = Raw::connect(id(1), listener.local_addr(), &[]).await;
    // The peer answers the ping, and the peering continues.
    for _ in 0..3 {
        let ping = within("a ping", raw.envelope()).await.unwrap();
        raw.send(&Envelope::pong(raw.id, ping.sender, ping.payload)).await;
    }
    within("a ping", raw.envelope()).await.unwrap();
    let error = lost(&mut statuses).await;
    assert!(matches!(error, ConnectError::Peering(PeeringError::Silent)), "{error}");
    assert!(within("the end of the connection", raw.envelope()).await.is_none());
}
