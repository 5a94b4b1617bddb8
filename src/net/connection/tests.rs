//! Tests of a connection over TCP.

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::data::{EndpointId, Topic, Value};
use crate::net::for_keeping;
use crate::peering::{CloseReason, Config, Side};
use crate::websocket::{BinaryText, ServerConfig, WebSocket};
use crate::wire::Limits;

/// Returns the two ends of an established peering. `max_frame` is passed to [`Connection::new`].
async fn peers(max_frame: usize) -> [Connection; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let accepted = listener.accept().await.unwrap().0;
    let connection = |stream: TcpStream, n, side| {
        let peering = Peering::new(Config::new(EndpointId::from_bytes([n; 16]), side), Instant::now());
        Connection::new(stream.into(), peering, max_frame)
    };
    let mut peers = [connection(connecting, 1, Side::Connector), connection(accepted, 2, Side::Listener)];
    while !peers.iter().all(|peer| peer.is_established() && peer.is_written()) {
        let [a, b] = &mut peers;
        let (progress, peer) = tokio::select! {
            progress = a.progress() => (progress, a),
            progress = b.progress() => (progress, b),
        };
        if matches!(progress, Progress::Event(Event::Introduced { .. })) {
            peer.admit();
        }
    }
    peers
}

async fn next_message(from: &mut Connection, to: &mut Connection) -> Envelope {
    loop {
        let progress = tokio::select! {
            progress = from.progress() => match progress {
                Progress::CaughtUp => continue,
                other => panic!("{other:?}, {:?}", from.fault()),
            },
            progress = to.progress() => progress,
        };
        if let Progress::Event(Event::Message(envelope)) = progress {
            return envelope;
        }
    }
}

/// After a write error, the connection reads the peer's reason, which may take a while. If `progress` is dropped during
/// that time, the error must not be lost.
#[tokio::test]
async fn a_write_error_is_kept_if_progress_is_dropped() {
    let [mut from, to] = peers(Limits::DEFAULT.max_frame).await;
    from.writer.shutdown().await.unwrap();
    let value = Value::Boolean(true);
    from.send(&Envelope::data(EndpointId::NIL, Topic::from_static("/t"), &value).unwrap()).unwrap();
    while from.write_failure.is_none() {
        tokio::select! {
            biased;
            progress = from.progress() => panic!("{progress:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    assert!(from.owes_messages().await, "the message is not written");
    assert!(from.is_backlogged() && !from.is_written());
    drop(to);
    let Progress::Event(Event::Closed(reason)) = from.progress().await else { panic!("not closed") };
    assert_eq!(reason, CloseReason::Lost);
    let fault = from.fault().unwrap();
    assert!(matches!(fault, ConnectionFault::Io(error) if error.kind() == io::ErrorKind::BrokenPipe));
    assert!(from.owes_messages().await && !from.is_backlogged());
}

fn text(length: usize) -> Envelope {
    let value = Value::String("x".repeat(length).into());
    Envelope::data(EndpointId::NIL, Topic::from_static("/t"), &value).unwrap()
}

#[tokio::test]
async fn the_limit_for_received_messages_does_not_limit_sent_ones() {
    let [mut from, mut to] = peers(1000).await;
    let messages = [text(10_000_000), text(1)];
    messages.iter().for_each(|message| from.send(message).unwrap());
    for message in &messages {
        assert_eq!(next_message(&mut from, &mut to).await.payload, message.payload);
    }
}

/// The system buffers a few megabytes of a connection. The rest of the message, and the pongs after it, are unwritten.
#[tokio::test]
async fn a_peer_that_does_not_read_pongs_is_disconnected_also_after_a_large_message() {
    for message in [None, Some(text(20_000_000))] {
        let [mut one, mut other] = peers(1000).await;
        if let Some(message) = message {
            one.send(&message).unwrap();
        }
        let mut ping = BytesMut::new();
        let [id, receiver] = [2, 1].map(|n| EndpointId::from_bytes([n; 16]));
        Envelope::ping(id, receiver, vec![b'x'; 100_000].into()).encode(&mut ping).unwrap();
        let flood = async {
            for _ in 0..1000 {
                other.writer.write_all(&ping).await.unwrap();
            }
        };
        let closed = async { while !matches!(one.progress().await, Progress::Event(Event::Closed(_))) {} };
        tokio::select! {
            () = flood => panic!("the pongs are not limited"),
            () = closed => {}
        }
        assert!(matches!(one.fault(), Some(ConnectionFault::DoesNotRead)), "{:?}", one.fault());
    }
}

/// A client that reads only now and then is not considered dead, because the session knows how much is written.
#[tokio::test]
async fn a_session_receives_the_number_of_unwritten_bytes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let config = ServerConfig {
        common: Config { idle_timeout: None, ..Config::new(EndpointId::from_bytes([1; 16]), Side::Listener) },
        peer_id: EndpointId::from_bytes([2; 16]),
        access: Default::default(),
        endpoint: "e".into(),
        version: "1".into(),
        binary: BinaryText::Escape,
        ping_interval: ServerConfig::PING_INTERVAL,
    };
    let session = WebSocket::server(config, Instant::now());
    let stream = listener.accept().await.unwrap().0;
    let mut server = Connection::new(stream.into(), session, Limits::DEFAULT.max_frame);
    // The subscriptions are a text frame with a mask of zeros.
    let request = b"GET /v1/messages/json HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n\x81\x86\0\0\0\0[\"/t\"]";
    client.write_all(request).await.unwrap();
    while !server.is_established() {
        if let Progress::Event(Event::Introduced { .. }) = server.progress().await {
            server.admit();
        }
    }
    server.session.send(&text(30_000_000)).unwrap();
    server.output.end_message(server.session.unsent(), None);
    let timeouts = async |server: &mut Connection<WebSocket>| {
        for _ in 0..11 {
            // Writes until the connection accepts no more.
            tokio::select! {
                biased;
                progress = server.progress() => assert!(!matches!(progress, Progress::Event(Event::Closed(_)))),
                () = tokio::task::yield_now() => {}
            }
            let deadline = server.session.poll_timeout().unwrap();
            server.session.handle_timeout(deadline);
        }
    };
    timeouts(&mut server).await;
    assert!(!server.output.is_written());
    let mut read = vec![0; 1_000_000];
    while !server.output.is_written() {
        tokio::select! {
            _ = server.progress() => {}
            read = client.read(&mut read) => assert!(read.unwrap() > 0),
        }
    }
    timeouts(&mut server).await;
    assert!(server.is_established());
}

#[tokio::test]
async fn for_keeping_does_not_retain_the_memory_of_other_messages() {
    let [mut from, mut to] = peers(Limits::DEFAULT.max_frame).await;
    for length in [10_000_000, 100, LARGEST_READ, 100] {
        from.send(&text(length)).unwrap();
    }
    let large = next_message(&mut from, &mut to).await;
    let small = next_message(&mut from, &mut to).await;
    let kept = for_keeping(small.clone());
    assert_eq!(kept, small);
    assert_ne!(kept.payload.as_ptr(), small.payload.as_ptr(), "the small message is copied");
    let middle = next_message(&mut from, &mut to).await;
    assert_eq!(
        for_keeping(middle.clone()).payload.as_ptr(),
        middle.payload.as_ptr(),
        "the long message is not copied"
    );
    // If `middle` were in the memory of the large message, it would start shortly after it, as in the stream.
    let distance = middle.payload.as_ptr().addr().wrapping_sub(large.payload.as_ptr_range().end.addr());
    assert!(distance > 1000, "{distance}");
}
