//! Connections that violate the protocol.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zeek_bridge::endpoint::{ConnectError, Status};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::peering::PeeringError;
use zeek_bridge::wire::{ErrorCode, Handshake};

use crate::raw::Raw;
use crate::support::*;

/// Long enough that no test passes because of a timeout.
const NEVER: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn garbage_is_refused_at_once_and_the_protocol_is_named() {
    let endpoint = endpoint_with(|config| config.handshake_timeout = NEVER);
    let mut statuses = endpoint.status();
    let listener = listen(&endpoint).await;
    let garbage: [(&[u8], ErrorCode, &str); 8] = [
        (b"GET / HTTP/1.1\r\n\r\n", ErrorCode::INVALID_MESSAGE, "HTTP"),
        (b"SSH-2.0-OpenSSH\r\n", ErrorCode::INVALID_MESSAGE, "SSH"),
        (&[0xff; 100], ErrorCode::INVALID_MESSAGE, "frame"),
        (&[0, 0, 0, 0], ErrorCode::INVALID_MESSAGE, "length 0"),
        (&[0x7f, 0xff, 0xff, 0xff], ErrorCode::INVALID_MESSAGE, "limit"),
        (&[0, 0, 0, 1, 200], ErrorCode::INVALID_MESSAGE, "200"),
        (&[0, 0, 0, 1, 12], ErrorCode::UNEXPECTED_HANDSHAKE_MESSAGE, "originator_ack"),
        (&[0, 0, 0, 2, 12, 12], ErrorCode::INVALID_MESSAGE, "malformed"),
    ];
    for (bytes, code, word) in garbage {
        let mut raw = Raw::open(id(1), listener.local_addr()).await;
        raw.bytes(bytes).await;
        assert_eq!(within("a probe", raw.next_handshake()).await, Handshake::Probe);
        let refusal = within("a refusal", raw.next_handshake()).await;
        assert!(
            matches!(&refusal, Handshake::DropConn { code: c, .. } if *c == code),
            "{bytes:?}: {refusal:?}"
        );
        assert!(within("the end of the connection", raw.frame()).await.is_none());
        let error = failed(&mut statuses).await;
        assert!(error.to_string().contains(word), "{bytes:?}: {error}");
    }
}

/// Random bytes from a simple generator. Each round first sends a different number of valid handshake messages.
#[tokio::test]
async fn random_bytes_end_only_their_own_connection() {
    let endpoint = endpoint_with(|config| config.handshake_timeout = Duration::from_secs(1));
    let mut statuses = endpoint.status();
    let listener = listen(&endpoint).await;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..60 {
        let mut raw = Raw::open(id(if round % 2 == 0 { 1 } else { 0xff }), listener.local_addr()).await;
        if round % 3 > 0 {
            raw.send_handshake(&raw.hello()).await;
        }
        let bytes: Vec<u8> = (0..2000)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        // The endpoint may close the connection before everything is written.
        let _ = raw.stream.write_all(&bytes).await;
        let error = failed(&mut statuses).await;
        assert!(matches!(error, ConnectError::Peering(_) | ConnectError::Stream(_)), "{error}");
    }
    assert!(endpoint.peers().is_empty());
}

#[tokio::test]
async fn a_handshake_sent_byte_by_byte_times_out() {
    let endpoint = endpoint_with(|config| config.handshake_timeout = Duration::from_millis(200));
    let mut statuses = endpoint.status();
    let listener = listen(&endpoint).await;
    let mut slow = TcpStream::connect(listener.local_addr()).await.unwrap();
    let feeding = tokio::spawn(async move {
        // A frame of 1 MB at one byte per 10 ms would take hours.
        let _ = slow.write_all(&[0, 0x0f, 0xff, 0xff]).await;
        while slow.write_all(&[6]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let error = failed(&mut statuses).await;
    assert!(matches!(error, ConnectError::Peering(PeeringError::HandshakeTimeout { .. })), "{error}");
    within("the end of an invalid connection", feeding).await.unwrap();
}

#[tokio::test]
async fn garbage_from_a_peer_ends_the_peering_at_once() {
    for garbage in [[0, 0, 0, 0], [0xff; 4]] {
        let endpoint = endpoint();
        let mut statuses = endpoint.status();
        let listener = listen(&endpoint).await;
        let mut raw = Raw::connect(id(1), listener.local_addr(), &[]).await;
        raw.settle().await;
        raw.bytes(&garbage).await;
        let error = lost(&mut statuses).await;
        assert!(matches!(error, ConnectError::Peering(PeeringError::Framing(_))), "{error}");
        // No drop_conn is sent: the peer would decode it as an envelope.
        assert!(within("the end of the connection", raw.frame()).await.is_none());
    }
}

#[tokio::test]
async fn no_more_than_max_peers_are_admitted() {
    let endpoint = endpoint_with(|config| config.max_peers = 2);
    let mut statuses = endpoint.status();
    let listener = listen(&endpoint).await;
    let first = Raw::connect(id(1), listener.local_addr(), &[]).await;
    let _second = Raw::connect(id(2), listener.local_addr(), &[]).await;
    let mut third = Raw::open(id(3), listener.local_addr()).await;
    assert!(within("the end of the connection", third.frame()).await.is_none());
    let error = failed(&mut statuses).await;
    assert!(matches!(error, ConnectError::TooManyPeers(2)), "{error}");
    // A slot is free after the first peer has left. The status is reported shortly before the slot is free.
    drop(first);
    lost(&mut statuses).await;
    within("a free peer slot", async {
        loop {
            let mut raw = Raw::open(id(4), listener.local_addr()).await;
            if raw.frame().await.is_some() {
                let _ = raw.send_handshake(&raw.hello()).await;
                raw.handshake(&[]).await;
                break;
            }
        }
    })
    .await;
    assert_eq!(added(&mut statuses).await, id(4));
}

#[tokio::test]
async fn a_connection_without_an_id_takes_no_peer_slot() {
    let endpoint = endpoint_with(|config| (config.max_peers, config.handshake_timeout) = (1, NEVER));
    let mut statuses = endpoint.status();
    let listener = listen(&endpoint).await;
    let mut silent = Vec::new();
    for n in 0xfb..=0xff {
        let mut raw = Raw::open(id(n), listener.local_addr()).await;
        assert_eq!(within("a probe", raw.next_handshake()).await, Handshake::Probe);
        silent.push(raw);
    }
    let _peer = within("a peering", Raw::connect(id(6), listener.local_addr(), &[])).await;
    assert_eq!(added(&mut statuses).await, id(6));
    // The only slot is taken now. The late connection has the larger id, so it is the responder. If there were a free slot,
    // it would take the slot after its hello.
    let mut late = silent.pop().unwrap();
    late.send_handshake(&late.hello()).await;
    let error = failed(&mut statuses).await;
    assert!(matches!(error, ConnectError::TooManyPeers(1)), "{error}");
    assert!(within("the end of the connection", late.frame()).await.is_none());
}

#[tokio::test]
async fn fifty_connections_succeed_while_fifty_others_violate_the_protocol() {
    const EACH: usize = 50;
    for (listener_tls, connector_tls) in kinds_of_tls() {
        let hub = endpoint_with(|config| config.handshake_timeout = Duration::from_secs(20));
        let mut statuses = hub.status();
        let mut subscriber = subscribe(&hub, "/t").await;
        let listener = listen_with(&hub, listener_tls).await;
        let address = listener.local_addr();
        let mut good = Vec::new();
        let mut bad = Vec::new();
        for n in 0..EACH {
            let peer = endpoint();
            good.push((peer.connect(address.to_string(), connector_tls.clone()), peer));
            bad.push(tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let _ = stream.write_all(&vec![n as u8; n * 100]).await;
                if n % 5 == 0 {
                    // Disconnects without sending anything else.
                    return;
                }
                let mut reply = Vec::new();
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut reply).await;
            }));
        }
        for (connector, peer) in &mut good {
            assert_eq!(within("a peering", connector.first_attempt()).await.unwrap(), hub.id());
            subscribers(peer, "/t", 1).await;
            peer.publish(topic("/t"), &text("hello")).await.unwrap();
        }
        for bad in bad {
            within("the end of an invalid connection", bad).await.unwrap();
        }
        for _ in 0..EACH {
            assert_eq!(next_text(&mut subscriber).await, "hello");
        }
        let (mut added_count, mut failed_count) = (0, 0);
        while added_count < EACH || failed_count < EACH {
            match within("a status", statuses.recv()).await.unwrap() {
                Status::PeerAdded { .. } => added_count += 1,
                Status::HandshakeFailed { .. } => failed_count += 1,
                other => panic!("{other}"),
            }
        }
        assert_eq!(hub.peers().len(), EACH);
    }
}

/// Silent connections take all handshake slots. When they time out, peers are admitted.
#[tokio::test]
async fn silent_connections_keep_their_slots_no_longer_than_the_handshake_timeout() {
    let hub = endpoint_with(|config| {
        config.max_handshakes = 4;
        config.handshake_timeout = Duration::from_millis(300);
    });
    let mut statuses = hub.status();
    let listener = listen(&hub).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(listener.local_addr()).await.unwrap());
    }
    let peer = endpoint();
    let mut connector = peer.connect_with_retry(listener.local_addr(), Tls::Off, SOON);
    within("a peering", connector.first_attempt()).await.unwrap();
    assert_eq!(added(&mut statuses).await, peer.id());
}
