//! Tests of a connection with a ZeroMQ session over TCP.

use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::data::{Topic, Value};
use crate::net::batch::Batch;
use crate::net::encoder::Encoder;
use crate::net::{Connection, Progress};
use crate::peering::{self, CloseReason, Side};
use crate::wire::Limits;
use crate::zeek::{Event as ZeekEvent, ZeekMessage};
use crate::zeromq::{Config, Mechanism, SocketType};

fn id(n: u8) -> EndpointId {
    EndpointId::from_bytes([n; 16])
}

async fn connections() -> [Connection<ZeroMq>; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let accepted = listener.accept().await.unwrap().0;
    let filter: Filter = [Topic::from_static("/t")].into_iter().collect();
    let connection = |stream: TcpStream, n, side, socket| {
        let common = peering::Config { filter: filter.clone(), ..peering::Config::new(id(n), side) };
        let config = Config {
            common,
            socket,
            own_id: id(n),
            peer_id: id(n + 2),
            mechanism: Mechanism::Null,
            format: EventFormat::Binary,
            reports_subscriptions: false,
        };
        let session = ZeroMq::new(config, Instant::now());
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
