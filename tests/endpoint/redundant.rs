//! Several connections between two endpoints result in one peering.

use zeek_bridge::data::{EndpointId, Filter};
use zeek_bridge::endpoint::{ConnectError, Endpoint, Status, StatusReceiver};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::peering::CloseReason;
use zeek_bridge::wire::{ErrorCode, Handshake, PROTOCOL_VERSION};

use crate::raw::Raw;
use crate::support::*;

/// Asserts that the endpoints have exactly one peering, that it works, and that no other status was reported.
async fn assert_one_peering(ends: [(&Endpoint, StatusReceiver); 2]) {
    let [(a, mut at_a), (b, mut at_b)] = ends;
    let (mut subscriber_at_a, mut subscriber_at_b) = (subscribe(a, "/t").await, subscribe(b, "/t").await);
    for (from, to, subscriber) in [(a, b, &mut subscriber_at_b), (b, a, &mut subscriber_at_a)] {
        assert_eq!(subscribers(from, "/t", 1).await, [to.id()]);
        assert_eq!(from.publish(topic("/t"), &text("once")).await, Ok(1));
        from.publish(topic("/t"), &text("end")).await.unwrap();
        assert_eq!(next_text(subscriber).await, "once");
        assert_eq!(next_text(subscriber).await, "end");
    }
    // After the status of the new peering, the next status reports the end of the peering.
    assert_eq!(added(&mut at_a).await, b.id());
    assert_eq!(added(&mut at_b).await, a.id());
    a.shutdown().await;
    for statuses in [&mut at_a, &mut at_b] {
        let next = within("a status", statuses.recv()).await.unwrap();
        let end = matches!(next, Status::PeerRemoved { error: None, .. })
            || matches!(next, Status::PeerLost { error: ConnectError::Closed(CloseReason::PeerLeft), .. });
        assert!(end, "{next}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_endpoints_that_connect_to_each_other_at_the_same_time_have_one_peering() {
    for (tls_a, tls_b) in kinds_of_tls() {
        for round in 0..20 {
            let ids = if round % 2 == 0 { [id(1), id(2)] } else { [id(2), id(1)] };
            let [a, b] = ids.map(endpoint_of);
            let (at_a, at_b) = (a.status(), b.status());
            let (listener_a, listener_b) =
                (listen_with(&a, tls_a.clone()).await, listen_with(&b, tls_b.clone()).await);
            let (address_a, address_b) =
                (listener_a.local_addr().to_string(), listener_b.local_addr().to_string());
            let mut to_b = a.connect_with_retry(&address_b, tls_a.clone(), SOON);
            let mut to_a = b.connect_with_retry(&address_a, tls_b.clone(), SOON);
            let (first, second) =
                within("both attempts", async { tokio::join!(to_b.first_attempt(), to_a.first_attempt()) })
                    .await;
            assert_eq!((first.unwrap(), second.unwrap()), (b.id(), a.id()));
            assert_one_peering([(&a, at_a), (&b, at_b)]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_between_two_endpoints_result_in_one_peering() {
    for ids in [[id(1), id(2)], [id(2), id(1)]] {
        let [a, b] = ids.map(endpoint_of);
        let (at_a, at_b) = (a.status(), b.status());
        let listener = listen(&a).await;
        let address = listener.local_addr().to_string();
        let mut connectors: Vec<_> =
            (0..10).map(|_| b.connect_with_retry(&address, Tls::Off, SOON)).collect();
        for connector in &mut connectors {
            assert_eq!(within("an attempt", connector.first_attempt()).await.unwrap(), a.id());
        }
        assert_one_peering([(&a, at_a), (&b, at_b)]).await;
    }
}

#[tokio::test]
async fn a_redundant_connector_takes_over_when_the_peering_ends() {
    let (a, b) = (endpoint(), endpoint());
    let mut at_b = b.status();
    let (first, second) = (listen(&a).await, listen(&a).await);
    let _first = connect(&b, &first).await.unwrap();
    added(&mut at_b).await;
    let mut redundant = b.connect_with_retry(second.local_addr(), Tls::Off, SOON);
    assert_eq!(within("an attempt", redundant.first_attempt()).await.unwrap(), a.id());
    assert!(a.unpeer(b.id()).await);
    lost(&mut at_b).await;
    assert_eq!(added(&mut at_b).await, a.id());
}

/// Additional connections of an established peer are refused. The error code depends on the role of the peer
/// (`PROTOCOL.md`, section 2).
#[tokio::test]
async fn a_second_connection_of_a_peer_is_refused_with_the_codes_of_broker() {
    for (raw_id, code) in [(id(0xff), ErrorCode::REDUNDANT_CONNECTION), (id(1), ErrorCode::LOGIC_ERROR)] {
        let endpoint = endpoint_of(id(0x80));
        let listener = listen(&endpoint).await;
        let first = Raw::connect(raw_id, listener.local_addr(), &[]).await;
        all_peers(&endpoint, 1).await;
        let mut second = Raw::open(raw_id, listener.local_addr()).await;
        second.send_handshake(&second.hello()).await;
        let refusal = within("a refusal", async {
            loop {
                match second.next_handshake().await {
                    Handshake::Hello { .. } => {
                        let (sender, version) = (second.id, PROTOCOL_VERSION);
                        second.send_handshake(&Handshake::VersionSelect { sender, version }).await;
                    }
                    Handshake::Probe => {}
                    other => break other,
                }
            }
        })
        .await;
        assert!(matches!(&refusal, Handshake::DropConn { code: c, .. } if *c == code), "{refusal:?}");
        assert!(within("the end of the connection", second.frame()).await.is_none());
        assert_eq!(endpoint.peers().len(), 1);
        drop(first);
    }
}

/// If two connections have the same id, the second connection is held until the handshake of the first one ends. If
/// this handshake fails, the second connection continues.
#[tokio::test]
async fn a_held_connection_continues_when_the_first_handshake_fails() {
    let endpoint = endpoint_of(id(1));
    let listener = listen(&endpoint).await;
    let mut first = Raw::open(id(2), listener.local_addr()).await;
    first.send_handshake(&first.hello()).await;
    while !matches!(first.next_handshake().await, Handshake::OriginatorSyn(_)) {}
    // The second handshake waits for the outcome of the first.
    let mut second = Raw::open(id(2), listener.local_addr()).await;
    second.send_handshake(&second.hello()).await;
    assert_eq!(second.next_handshake().await, Handshake::Probe);
    drop(first);
    within("the second handshake", second.handshake(&["/t"])).await;
    assert_eq!(subscribers(&endpoint, "/t", 1).await, [id(2)]);
}

async fn all_peers(endpoint: &Endpoint, count: usize) -> Vec<EndpointId> {
    within("all peers", async {
        let mut statuses = endpoint.status();
        loop {
            let peers: Vec<_> = endpoint.peers().into_iter().map(|(id, _)| id).collect();
            if peers.len() >= count {
                return peers;
            }
            statuses.recv().await.unwrap();
        }
    })
    .await
}

/// Every endpoint listens and connects to all others, so each pair has two connections and must have one peering.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_mesh_every_pair_has_one_peering() {
    const COUNT: usize = 8;
    for tls in kinds_of_tls().map(|(tls, _)| tls) {
        let mut mesh = Vec::new();
        for _ in 0..COUNT {
            let endpoint = endpoint();
            let subscriber = subscribe(&endpoint, "/t").await;
            let listener = listen_with(&endpoint, tls.clone()).await;
            mesh.push((endpoint, subscriber, listener.local_addr().to_string()));
        }
        let mut connectors = Vec::new();
        for (from, ..) in &mesh {
            for (to, _, address) in mesh.iter().filter(|(to, ..)| to.id() != from.id()) {
                connectors.push((from.connect_with_retry(address, tls.clone(), SOON), to.id()));
            }
        }
        for (connector, to) in &mut connectors {
            assert_eq!(within("an attempt", connector.first_attempt()).await.unwrap(), *to);
        }
        for (endpoint, ..) in &mesh {
            subscribers(endpoint, "/t", COUNT - 1).await;
            assert_eq!(endpoint.publish(topic("/t"), &text("first")).await, Ok(COUNT - 1));
        }
        for (endpoint, ..) in &mesh {
            assert_eq!(endpoint.publish(topic("/t"), &text("last")).await, Ok(COUNT - 1));
        }
        for (_, subscriber, _) in &mut mesh {
            let mut texts = Vec::new();
            while texts.iter().filter(|text| *text == "last").count() < COUNT - 1 {
                texts.push(next_text(subscriber).await);
            }
            assert_eq!(
                texts.len(),
                2 * (COUNT - 1),
                "each endpoint receives each message of the others once"
            );
        }
    }
}

/// Both sides repeatedly end the peering and reconnect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_peering_is_reestablished_after_each_unpeer() {
    for ids in [[id(1), id(2)], [id(2), id(1)]] {
        let [a, b] = ids.map(endpoint_of);
        let (mut subscriber_at_a, mut subscriber_at_b) =
            (subscribe(&a, "/t").await, subscribe(&b, "/t").await);
        let (listener_a, listener_b) = (listen(&a).await, listen(&b).await);
        let _to_b = a.connect_with_retry(listener_b.local_addr(), Tls::Off, SOON);
        let _to_a = b.connect_with_retry(listener_a.local_addr(), Tls::Off, SOON);
        for round in 0..30 {
            subscribers(&a, "/t", 1).await;
            subscribers(&b, "/t", 1).await;
            let (by_a, by_b) = match round % 3 {
                0 => (a.unpeer(b.id()).await, true),
                1 => (true, b.unpeer(a.id()).await),
                _ => tokio::join!(a.unpeer(b.id()), b.unpeer(a.id())),
            };
            assert!(by_a || by_b);
        }
        // Messages that are sent while a peering ends may be lost. Later ones are delivered.
        for (from, subscriber) in [(&a, &mut subscriber_at_b), (&b, &mut subscriber_at_a)] {
            within("a message", async {
                loop {
                    subscribers(from, "/t", 1).await;
                    from.publish(topic("/t"), &text("delivered")).await.unwrap();
                    let wait = std::time::Duration::from_millis(200);
                    if tokio::time::timeout(wait, subscriber.recv()).await.is_ok() {
                        return;
                    }
                }
            })
            .await;
        }
        assert_eq!((a.peers().len(), b.peers().len()), (1, 1));
    }
}

/// Performs a handshake up to its last message. The endpoint must have a higher id than the peer.
async fn all_but_last_message(peer: &mut Raw) {
    peer.send_handshake(&peer.hello()).await;
    loop {
        match peer.next_handshake().await {
            Handshake::Probe => {}
            Handshake::Hello { .. } => {
                let (sender, version) = (peer.id, PROTOCOL_VERSION);
                peer.send_handshake(&Handshake::VersionSelect { sender, version }).await;
                peer.send_handshake(&Handshake::OriginatorSyn(Filter::new())).await;
            }
            Handshake::ResponderSynAck(_) => return,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_handshake_that_is_completed_after_another_one_is_redundant_and_not_a_failure() {
    let endpoint = endpoint_of(id(9));
    let mut statuses = endpoint.status();
    let address = listen(&endpoint).await.local_addr();
    let mut peers = [Raw::open(id(1), address).await, Raw::open(id(1), address).await];
    for peer in &mut peers {
        all_but_last_message(peer).await;
    }
    let [first, second] = &mut peers;
    first.send_handshake(&Handshake::OriginatorAck).await;
    assert_eq!(added(&mut statuses).await, id(1));
    second.send_handshake(&Handshake::OriginatorAck).await;
    // Waits for the end of the connection.
    second.frame().await;
    // The next failure is that of a third connection.
    Raw::open(id(2), address).await.bytes(&[0xff; 64]).await;
    let error = failed(&mut statuses).await;
    assert!(matches!(error, ConnectError::Peering(_)), "{error}");
}
