//! Tests with scripted listeners that refuse, stop, send unexpected messages or send nothing. `tests/cli/probe.rs` tests the
//! remaining cases.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::data::{Filter, Topic};
use crate::peering::Config;
use crate::wire::{ErrorCode, Handshake, Limits, PROTOCOL_VERSION, cut_frame};

const LONG: Duration = Duration::from_secs(30);

fn id(byte: u8) -> EndpointId {
    EndpointId::from_bytes([byte; 16])
}

/// An id that is smaller than the id of any probe.
const SMALLEST: EndpointId = EndpointId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

fn frames(messages: &[Handshake]) -> BytesMut {
    let mut bytes = BytesMut::new();
    messages.iter().for_each(|message| message.encode(&mut bytes).unwrap());
    bytes
}

fn hello(sender: EndpointId, min_version: u8, max_version: u8) -> Handshake {
    Handshake::Hello { sender, min_version, max_version }
}

/// Probes a listener that sends these bytes at once. If `timeout` is [`LONG`], the listener then closes its side. Returns the
/// result, and the messages that the listener received.
async fn probe_listener(bytes: &[u8], timeout: Duration) -> (Found, Vec<Handshake>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let broker = async {
        let mut stream = listener.accept().await.unwrap().0;
        stream.write_all(bytes).await.unwrap();
        if timeout == LONG {
            stream.shutdown().await.unwrap();
        }
        let (mut input, mut received) = (BytesMut::new(), Vec::new());
        while stream.read_buf(&mut input).await.unwrap_or(0) > 0 {
            while let Some(frame) = cut_frame(&mut input, usize::MAX).unwrap() {
                received.push(Handshake::decode(&frame, &Limits::DEFAULT).unwrap());
            }
        }
        received
    };
    let (report, received) = tokio::join!(probe(&address, None, timeout), broker);
    let report = report.unwrap();
    assert_eq!(report.address.unwrap().to_string(), address);
    (report.found, received)
}

fn plain(found: Found) -> BrokerInfo {
    let Found::Plain(broker) = found else { panic!("{found:?}") };
    broker
}

/// Asserts that the last message is a refusal, and that the messages before it do not establish a peering.
fn assert_refused(received: &[Handshake]) {
    let Some((Handshake::DropConn { code, .. }, before)) = received.split_last() else {
        panic!("{received:?}")
    };
    assert_eq!(*code, ErrorCode::UNSPECIFIED);
    let is_incomplete = |message: &Handshake| {
        matches!(
            message,
            Handshake::Hello { .. } | Handshake::VersionSelect { .. } | Handshake::OriginatorSyn(_)
        )
    };
    assert!(before.iter().all(is_incomplete), "{received:?}");
}

fn filter() -> Filter {
    [Topic::from_static("/a")].into_iter().collect()
}

#[tokio::test]
async fn the_filter_of_an_originator_is_not_answered() {
    let select = Handshake::VersionSelect { sender: SMALLEST, version: PROTOCOL_VERSION };
    let bytes = frames(&[Handshake::Probe, select, Handshake::OriginatorSyn(filter())]);
    let (found, received) = probe_listener(&bytes, LONG).await;
    let expected =
        BrokerInfo { id: Some(SMALLEST), versions: Some(1..=1), filter: Some(filter()), cut_short: None };
    assert_eq!(plain(found), expected);
    assert_refused(&received);
    assert_eq!(received.len(), 2, "hello and the refusal: {received:?}");
}

#[tokio::test]
async fn the_filter_of_a_responder_is_not_acknowledged() {
    let bytes = frames(&[hello(id(9), 1, 3), Handshake::ResponderSynAck(filter())]);
    let (found, received) = probe_listener(&bytes, LONG).await;
    let expected =
        BrokerInfo { id: Some(id(9)), versions: Some(1..=3), filter: Some(filter()), cut_short: None };
    assert_eq!(plain(found), expected);
    assert_refused(&received);
    assert_eq!(received.len(), 4, "{received:?}");
}

#[tokio::test]
async fn an_incomplete_handshake_is_reported_with_its_reason() {
    let drop_conn = Handshake::DropConn {
        sender: id(7),
        code: ErrorCode::PEER_INCOMPATIBLE,
        description: "no\n\x1b[2J".into(),
    };
    let cases: [(Vec<Handshake>, Option<EndpointId>, &str); 7] = [
        (vec![Handshake::Probe], None, "closed the connection before the handshake"),
        (vec![hello(id(9), 2, 3)], Some(id(9)), "does not support protocol version 1"),
        (vec![hello(id(9), 1, 1), hello(id(9), 1, 1)], Some(id(9)), "the peer sent hello instead of"),
        (
            vec![Handshake::Probe, drop_conn],
            Some(id(7)),
            "it refused the connection: peer_incompatible: no\u{fffd}\u{fffd}[2J",
        ),
        (
            vec![Handshake::Probe, Handshake::OriginatorAck],
            None,
            "sent originator_ack instead of hello or version_select",
        ),
        (vec![hello(SMALLEST, 1, 1)], Some(SMALLEST), "closed the connection before the handshake"),
        (vec![hello(EndpointId::NIL, 1, 1)], Some(EndpointId::NIL), "nil endpoint id"),
    ];
    for (messages, id, reason) in cases {
        let (found, received) = probe_listener(&frames(&messages), LONG).await;
        let broker = plain(found);
        assert_eq!((broker.id, &broker.filter), (id, &None), "{messages:?}");
        assert!(broker.cut_short.as_ref().unwrap().contains(reason), "{messages:?}: {broker:?}");
        assert_refused(&received);
    }
    for (bytes, reason) in
        [(&b"\0\0\0\x01\x63"[..], "malformed"), (b"GET ", "HTTP"), (b"\0\0\0\0", "length 0")]
    {
        let bytes = [&frames(&[Handshake::Probe]), bytes].concat();
        let broker = plain(probe_listener(&bytes, LONG).await.0);
        assert!(broker.cut_short.as_ref().unwrap().contains(reason), "{broker:?}");
    }
}

#[tokio::test]
async fn the_timeout_limits_the_wait_for_a_silent_endpoint() {
    let (found, received) = probe_listener(&frames(&[hello(id(9), 1, 1)]), Duration::from_millis(100)).await;
    let broker = plain(found);
    assert_eq!((broker.id, broker.versions), (Some(id(9)), Some(1..=1)));
    assert!(broker.cut_short.unwrap().contains("in time"));
    assert_refused(&received);
}

/// The caller's timeout applies, even if it is longer than the default handshake timeout of a peering.
#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_reported_as_silent_after_a_long_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let _silent = listener.accept().await.unwrap();
    let timeout = Config::HANDSHAKE_TIMEOUT * 6;
    let answer = talk::talk(stream.into(), id(1), after(timeout)).await;
    assert!(matches!(answer, Answer::Other(OtherProtocol::Silent)), "{answer:?}");
}

#[tokio::test]
async fn the_timeout_limits_an_endless_handshake() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap().0;
        let probes = frames(&vec![Handshake::Probe; 100]);
        while stream.write_all(&probes).await.is_ok() {}
    });
    let report = probe(&address, None, Duration::from_millis(200)).await.unwrap();
    assert!(plain(report.found).cut_short.unwrap().contains("in time"));
}

#[tokio::test]
async fn the_ids_of_probes_are_unique_uuids() {
    let [one, other] = [small_random_id().unwrap(), small_random_id().unwrap()];
    assert_ne!(one, other);
    assert!(one.to_string().starts_with("00000000-0000-4000-80"), "{one}");
}
