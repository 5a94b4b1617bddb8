//! Establishing, closing and re-establishing peerings.

use zeek_bridge::endpoint::{ConnectError, Status};
use zeek_bridge::peering::CloseReason;

use crate::driver::*;
use crate::support::*;

#[tokio::test]
async fn each_side_reports_that_the_other_has_left() {
    let program = reference_or_skip!();
    for kind in TlsSetup::both() {
        for connector in [Connector::Ours, Connector::Theirs] {
            // Our endpoint leaves with a BYE, and libbroker confirms it.
            let options = ["--subscribe", "/theirs", "--retry", "0"];
            let mut pair = Pair::new(endpoint(), &program, &kind, connector, &options).await;
            subscribers(&pair.ours, "/theirs", 1).await;
            let mut statuses = pair.ours.status();
            for n in 0..1000 {
                pair.ours.publish(topic("/theirs"), &text(n.to_string())).await.unwrap();
            }
            within("the shutdown", pair.ours.shutdown()).await;
            assert!(removed(&mut statuses).await.is_none(), "libbroker has confirmed the BYE");
            for n in 0..1000 {
                assert_eq!(pair.theirs.line("message /theirs ").await, n.to_string());
            }
            pair.theirs.status("peer_lost", pair.ours.id()).await;
            // The libbroker endpoint leaves when its process ends.
            let ours = endpoint();
            let mut subscriber = subscribe(&ours, "/ours").await;
            let mut pair = Pair::new(ours, &program, &kind, connector, &options).await;
            let mut statuses = pair.ours.status();
            pair.theirs.send_line("publish /ours string last words").await;
            assert_eq!(next_text(&mut subscriber).await, "last words");
            pair.theirs.send_line("quit").await;
            let error = lost(&mut statuses).await;
            assert!(matches!(error, ConnectError::Closed(CloseReason::PeerLeft)), "{error}");
            pair.theirs.wait_for_exit().await;
        }
    }
}

#[tokio::test]
async fn unpeering_is_reported_by_the_other_side_and_can_be_reversed() {
    let program = reference_or_skip!();
    // The libbroker endpoint is the connector. It unpeers and reconnects on command.
    let ours = endpoint();
    let mut statuses = ours.status();
    let listener = listen(&ours).await;
    let port = listener.local_addr().port();
    let mut theirs = LibbrokerProcess::start(&program, &["--disable-ssl"]).await;
    for _ in 0..3 {
        theirs.send_line(&format!("peer {port} 1")).await;
        assert_eq!(added(&mut statuses).await, theirs.id);
        theirs.status("peer_added", ours.id()).await;
        theirs.send_line("unpeer").await;
        let error = lost(&mut statuses).await;
        assert!(matches!(error, ConnectError::Closed(CloseReason::PeerLeft)), "{error}");
        theirs.status("peer_removed", ours.id()).await;
    }
    // Our endpoint is the connector. It unpeers and reconnects by itself.
    let mut pair = Pair::new(endpoint(), &program, &TlsSetup::plain(), Connector::Ours, &[]).await;
    let mut statuses = pair.ours.status();
    for _ in 0..3 {
        assert!(pair.ours.unpeer(pair.theirs.id).await);
        assert!(removed(&mut statuses).await.is_none(), "libbroker has confirmed the BYE");
        pair.theirs.status("peer_lost", pair.ours.id()).await;
        assert_eq!(added(&mut statuses).await, pair.theirs.id);
        pair.theirs.status("peer_added", pair.ours.id()).await;
    }
}

#[tokio::test]
async fn our_endpoint_reports_an_aborted_libbroker_endpoint_and_reconnects() {
    let program = reference_or_skip!();
    for kind in TlsSetup::both() {
        let ours = endpoint();
        let mut statuses = ours.status();
        let (mut theirs, address) = LibbrokerProcess::listen(&program, &kind.theirs()).await;
        let port = address.rsplit(':').next().unwrap().to_owned();
        let _connector = ours.connect_with_retry(&address, kind.ours.clone(), SOON);
        for _ in 0..2 {
            assert_eq!(added(&mut statuses).await, theirs.id);
            theirs.send_line("abort").await;
            theirs.wait_for_exit().await;
            let error = lost(&mut statuses).await;
            assert!(
                matches!(error, ConnectError::Closed(CloseReason::Lost) | ConnectError::Stream(_)),
                "{error}"
            );
            status(&mut statuses, |status| matches!(status, Status::PeerUnavailable { .. }).then_some(()))
                .await;
            theirs =
                LibbrokerProcess::start(&program, &[&["--listen", &port], &kind.theirs()[..]].concat()).await;
        }
        assert_eq!(added(&mut statuses).await, theirs.id);
    }
}

#[tokio::test]
async fn a_libbroker_endpoint_reconnects_to_our_restarted_endpoint() {
    let program = reference_or_skip!();
    let ours = endpoint();
    let mut statuses = ours.status();
    let listener = listen(&ours).await;
    let address = listener.local_addr();
    let port = address.port().to_string();
    let mut theirs =
        LibbrokerProcess::start(&program, &["--disable-ssl", "--connect", &port, "--retry", "1"]).await;
    assert_eq!(added(&mut statuses).await, theirs.id);
    theirs.status("peer_added", ours.id()).await;
    // A new endpoint listens on the same port, as after a restart of the process.
    within("the shutdown", ours.shutdown()).await;
    theirs.status("peer_lost", ours.id()).await;
    let ours = endpoint();
    let mut statuses = ours.status();
    let _listener = ours.listen(&address.to_string(), zeek_bridge::net::tls::Tls::Off).await.unwrap();
    assert_eq!(added(&mut statuses).await, theirs.id);
    theirs.status("peer_added", ours.id()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simultaneous_connections_in_both_directions_result_in_one_peering() {
    let program = reference_or_skip!();
    for round in 0..20 {
        let ours = endpoint_of(our_ids()[round % 2]);
        let mut statuses = ours.status();
        let mut subscriber = subscribe(&ours, "/ours").await;
        let listener = listen(&ours).await;
        let (mut theirs, address) =
            LibbrokerProcess::listen(&program, &["--disable-ssl", "--subscribe", "/theirs"]).await;
        assert!(our_ids()[0] < theirs.id && theirs.id < our_ids()[1]);
        theirs.send_line(&format!("peer {} 1", listener.local_addr().port())).await;
        let mut connector = ours.connect_with_retry(&address, zeek_bridge::net::tls::Tls::Off, SOON);
        assert_eq!(within("the attempt", connector.first_attempt()).await.unwrap(), theirs.id);
        assert_eq!(added(&mut statuses).await, theirs.id);
        theirs.status("peer_added", ours.id()).await;
        subscribers(&ours, "/theirs", 1).await;
        assert_eq!(ours.publish(topic("/theirs"), &text("once")).await, Ok(1));
        assert_eq!(ours.publish(topic("/theirs"), &text("twice")).await, Ok(1));
        assert_eq!(theirs.line("message /theirs ").await, "once");
        assert_eq!(theirs.line("message /theirs ").await, "twice");
        theirs.send_line("publish /ours string once").await;
        theirs.send_line("publish /ours string twice").await;
        assert_eq!(next_text(&mut subscriber).await, "once");
        assert_eq!(next_text(&mut subscriber).await, "twice");
        // A third connection is redundant. Only the connector learns that it is redundant; no status is reported.
        let mut third = ours.connect_with_retry(&address, zeek_bridge::net::tls::Tls::Off, SOON);
        assert_eq!(within("the attempt", third.first_attempt()).await.unwrap(), theirs.id);
        // The next status reports the end of the peering.
        theirs.send_line("quit").await;
        let next = within("a status", statuses.recv()).await.unwrap();
        let left =
            matches!(&next, Status::PeerLost { error: ConnectError::Closed(CloseReason::PeerLeft), .. });
        assert!(left, "{next}");
    }
}
