//! Brokers that violate the protocol. `tests/cli/probe.rs` tests the other cases.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::data::{Filter, Topic};
use crate::wire::{ErrorCode, Handshake, Limits, PROTOCOL_VERSION, cut_frame};

const LONG: Duration = Duration::from_secs(30);

fn id(byte: u8) -> EndpointId {
    EndpointId::from_bytes([byte; 16])
}

fn frames(messages: &[Handshake]) -> BytesMut {
    let mut bytes = BytesMut::new();
    messages.iter().for_each(|message| message.encode(&mut bytes).unwrap());
    bytes
}

fn hello(sender: EndpointId, min_version: u8, max_version: u8) -> Handshake {
    Handshake::Hello { sender, min_version, max_version }
}

/// What is found of somebody who says this at once, and then closes; and what that one heard.
async fn found(words: &[u8], timeout: Duration) -> (Found, Vec<Handshake>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let broker = async {
        let mut stream = listener.accept().await.unwrap().0;
        stream.write_all(words).await.unwrap();
        if timeout == LONG {
            stream.shutdown().await.unwrap();
        }
        let (mut input, mut heard) = (BytesMut::new(), Vec::new());
        while stream.read_buf(&mut input).await.unwrap_or(0) > 0 {
            while let Some(frame) = cut_frame(&mut input, usize::MAX).unwrap() {
                heard.push(Handshake::decode(&frame, &Limits::DEFAULT).unwrap());
            }
        }
        heard
    };
    let (report, heard) = tokio::join!(probe(&address, None, timeout), broker);
    let report = report.unwrap();
    assert_eq!(report.address.unwrap().to_string(), address);
    (report.found, heard)
}

fn plain(found: Found) -> BrokerInfo {
    let Found::Plain(broker) = found else { panic!("{found:?}") };
    broker
}

/// The refusal, which has to be the last word, and never more than a peering's first half before it.
fn refused(heard: &[Handshake]) {
    let Some((Handshake::DropConn { code, .. }, before)) = heard.split_last() else { panic!("{heard:?}") };
    assert_eq!(*code, ErrorCode::UNSPECIFIED);
    let half = |message: &Handshake| {
        matches!(
            message,
            Handshake::Hello { .. } | Handshake::VersionSelect { .. } | Handshake::OriginatorSyn(_)
        )
    };
    assert!(before.iter().all(half), "{heard:?}");
}

fn filter() -> Filter {
    [Topic::from_static("/a")].into_iter().collect()
}

#[tokio::test]
async fn the_filter_of_an_originator_is_taken_and_not_answered() {
    let select = Handshake::VersionSelect { sender: id(0), version: PROTOCOL_VERSION };
    let words = frames(&[Handshake::Probe, select, Handshake::OriginatorSyn(filter())]);
    let (found, heard) = found(&words, LONG).await;
    let expected =
        BrokerInfo { id: Some(id(0)), versions: Some(1..=1), filter: Some(filter()), cut_short: None };
    assert_eq!(plain(found), expected);
    refused(&heard);
    assert_eq!(heard.len(), 2, "hello and the refusal: {heard:?}");
}

#[tokio::test]
async fn the_filter_of_a_responder_is_taken_and_not_acknowledged() {
    let words = frames(&[hello(id(9), 1, 3), Handshake::ResponderSynAck(filter())]);
    let (found, heard) = found(&words, LONG).await;
    let expected =
        BrokerInfo { id: Some(id(9)), versions: Some(1..=3), filter: Some(filter()), cut_short: None };
    assert_eq!(plain(found), expected);
    refused(&heard);
    assert_eq!(heard.len(), 4, "{heard:?}");
}

#[tokio::test]
async fn what_a_broker_says_before_it_breaks_off_is_reported_with_the_reason() {
    let drop_conn = Handshake::DropConn {
        sender: id(7),
        code: ErrorCode::PEER_INCOMPATIBLE,
        description: "no\n\x1b[2J".into(),
    };
    let cases: [(Vec<Handshake>, Option<EndpointId>, &str); 6] = [
        (vec![Handshake::Probe], None, "closed the connection in the middle"),
        (vec![hello(id(9), 2, 3)], Some(id(9)), "does not speak version 1"),
        (vec![hello(id(9), 1, 1), hello(id(9), 1, 1)], Some(id(9)), "hello again and again"),
        (vec![Handshake::Probe, drop_conn], Some(id(7)), "it refuses: peer_incompatible: no\\n\\x1b[2J"),
        (vec![Handshake::Probe, Handshake::OriginatorAck], None, "has not begun"),
        (vec![hello(id(0), 1, 1)], Some(id(0)), "closed the connection in the middle"),
    ];
    for (words, id, why) in cases {
        let (found, heard) = found(&frames(&words), LONG).await;
        let broker = plain(found);
        assert_eq!((broker.id, &broker.filter), (id, &None), "{words:?}");
        assert!(broker.cut_short.as_ref().unwrap().contains(why), "{words:?}: {broker:?}");
        refused(&heard);
    }
    for (words, why) in [(&b"\0\0\0\x01\x63"[..], "malformed"), (b"GET ", "HTTP"), (b"\0\0\0\0", "length 0")]
    {
        let words = [&frames(&[Handshake::Probe]), words].concat();
        let broker = plain(found(&words, LONG).await.0);
        assert!(broker.cut_short.as_ref().unwrap().contains(why), "{broker:?}");
    }
}

#[tokio::test]
async fn a_broker_that_falls_silent_is_waited_for_no_longer_than_was_asked() {
    let (found, heard) = found(&frames(&[hello(id(9), 1, 1)]), Duration::from_millis(100)).await;
    let broker = plain(found);
    assert_eq!((broker.id, broker.versions), (Some(id(9)), Some(1..=1)));
    assert!(broker.cut_short.unwrap().contains("fell silent"));
    refused(&heard);
}

#[tokio::test]
async fn a_broker_that_talks_without_end_does_not_hold_the_probe() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap().0;
        let probes = frames(&vec![Handshake::Probe; 100]);
        while stream.write_all(&probes).await.is_ok() {}
    });
    let report = probe(&address, None, Duration::from_millis(200)).await.unwrap();
    assert!(plain(report.found).cut_short.unwrap().contains("in the middle"));
}

#[tokio::test]
async fn ids_of_probes_are_uuids_and_different() {
    let [one, other] = [our_id().unwrap(), our_id().unwrap()];
    assert_ne!(one, other);
    assert!(one.to_string().starts_with("00000000-0000-4000-80"), "{one}");
}
