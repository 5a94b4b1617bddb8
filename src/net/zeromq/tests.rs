//! Tests of a connection with a ZeroMQ session over TCP.

use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::data::{Topic, Value};
use crate::net::batch::Batch;
use crate::net::encoder::Encoder;
#[cfg(feature = "bridge")]
use crate::net::original::Original;
use crate::net::{Connection, Progress};
use crate::peering::{self, CloseReason, Side};
use crate::wire::Limits;
use crate::zeek::{Event as ZeekEvent, ZeekMessage};
use crate::zeromq::{Config, Mechanism, SocketType};

fn id(n: u8) -> EndpointId {
    EndpointId::from_bytes([n; 16])
}

fn config(n: u8, side: Side, socket: SocketType, filter: Filter) -> Config {
    Config {
        common: peering::Config { filter, ..peering::Config::new(id(n), side) },
        socket,
        own_id: id(n),
        peer_id: id(n + 2),
        mechanism: Mechanism::Null,
        format: EventFormat::Binary,
        reports_subscriptions: false,
    }
}

async fn connections() -> [Connection<ZeroMq>; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let accepted = listener.accept().await.unwrap().0;
    let filter: Filter = [Topic::from_static("/t")].into_iter().collect();
    let connection = |stream: TcpStream, n, side, socket| {
        let session = ZeroMq::new(config(n, side, socket, filter.clone()), Instant::now());
        Connection::new(stream.into(), session, Limits::DEFAULT.max_frame)
    };
    [
        connection(connecting, 1, Side::Connector, SocketType::XPub),
        connection(accepted, 2, Side::Listener, SocketType::XSub),
    ]
}

fn event(text: &str) -> Envelope {
    let value = ZeekMessage::from(ZeekEvent::new("e", (Value::String(text.into()),))).into_value();
    Envelope::data(id(1), Topic::from_static("/t"), &value).unwrap()
}

/// All messages that were queued before this side leaves arrive, even if they exceed the buffers of the connection.
#[tokio::test]
async fn a_side_that_leaves_sends_everything() {
    let [mut publisher, mut subscriber] = connections().await;
    let sent = ["small".to_owned(), "x".repeat(10_000_000), "last".to_owned()].map(|text| event(&text));
    let publish = async {
        loop {
            match publisher.progress().await {
                Progress::CaughtUp => {}
                Progress::Event(Event::Introduced { .. }) => publisher.admit(),
                Progress::Event(Event::Established { filter, .. }) => assert!(filter.is_empty()),
                Progress::Event(Event::FilterChanged(filter)) => {
                    assert_eq!(filter.topics(), [Topic::from_static("/t")]);
                    let mut encoder = Encoder::default();
                    for envelope in &sent {
                        encoder.begin();
                        let batch = Batch::of(envelope.clone(), None);
                        let (frames, losses) = encoder.frames(publisher.format(), &batch, &|_| id(1).into());
                        assert_eq!(losses, Losses::default());
                        publisher.send_frames(frames.unwrap().clone()).unwrap();
                    }
                    publisher.leave();
                }
                Progress::Event(Event::Closed(reason)) => {
                    publisher.finish().await;
                    break reason;
                }
                other => panic!("{other:?}"),
            }
        }
    };
    let subscribe = async {
        let mut received = Vec::new();
        loop {
            match subscriber.progress().await {
                Progress::CaughtUp => {}
                Progress::Event(Event::Introduced { .. }) => subscriber.admit(),
                Progress::Event(Event::Established { filter, .. }) => assert!(filter.is_empty()),
                Progress::Event(Event::Message(envelope)) => received.push(envelope),
                Progress::Event(Event::Closed(reason)) => break (received, reason),
                other => panic!("{other:?}"),
            }
        }
    };
    let (left, (received, lost)) = tokio::join!(publish, subscribe);
    assert_eq!((left, lost), (CloseReason::Left, CloseReason::PeerLeft));
    assert_eq!(received, sent);
}

/// Reads the messages of `input` as the proxy of a cluster does, and returns them as a batch with their original frames.
#[cfg(feature = "bridge")]
fn received(session: &mut ZeroMq, input: &[u8]) -> Batch {
    let mut bytes = BytesMut::from(input);
    assert!(!session.handle_input(Instant::now(), &mut bytes));
    let mut batch = Batch::default();
    while let Some(envelope) = session.poll_message() {
        let original = session.last_frames();
        let original = original.map(|(memory, range)| Original { memory, range, allocation: (1, 2) });
        batch.push_original(envelope, original);
    }
    batch
}

#[cfg(feature = "bridge")]
#[test]
fn events_return_to_their_cluster_in_the_bytes_that_were_received() {
    let mut session = ZeroMq::new(config(2, Side::Listener, SocketType::XSub, Filter::new()), Instant::now());
    let mut handshake =
        BytesMut::from(&[&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1][..], b"NULL", &[0; 48]].concat()[..]);
    handshake.extend_from_slice(b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04XPUB");
    session.handle_input(Instant::now(), &mut handshake);
    session.admit();
    while session.poll_event().is_some() {}

    let (text, sent) = (&b"zeromq_worker-1_host_1_N"[..], ["one", "two", "three"].map(event));
    let format = ZeroMq::format(&session);
    let in_cluster = Sender { id: id(9), text: Some(text), format: Some(EventFormat::Binary) };
    let encode = |batch: &Batch, sender: Sender<'_>| {
        let frames = Encoder::default().frames(format, batch, &|_| sender).0.unwrap().clone();
        (frames.messages(), frames.allocation(), Bytes::from(frames.pieces().concat()))
    };
    let mut published = Batch::default();
    sent.iter().for_each(|envelope| published.push(envelope.clone()));
    let (_, _, bytes) = encode(&published, in_cluster);

    let batch = received(&mut session, &bytes);
    assert_eq!(encode(&batch, in_cluster), (3, (1, 2), bytes.clone()));
    // The recipients on other links have another sender.
    let (messages, allocation, encoded) = encode(&batch, id(9).into());
    assert_eq!((messages, encoded.len()), (3, bytes.len() + 3 * (36 - text.len())));
    assert_ne!(allocation, (1, 2));
    // A message in between that is not sent again, such as one that a rule denies.
    let mut some = Batch::default();
    let mut all = received(&mut session, &bytes);
    for at in 0..3 {
        if at == 1 {
            all.pop();
        } else {
            all.move_front(1, &mut some);
        }
    }
    let (messages, allocation, encoded) = encode(&some, in_cluster);
    let lengths =
        sent.each_ref().map(|envelope| encode(&Batch::of(envelope.clone(), None), in_cluster).2.len());
    let expected = [&bytes[..lengths[0]], &bytes[lengths[0] + lengths[1]..]].concat();
    assert_eq!((messages, &*encoded), (2, &*expected));
    assert_ne!(allocation, (1, 2));
}
