//! An endpoint with a second protocol. Messages from and to its peers are routed, filtered, queued and counted like those of
//! Broker peers.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::peer_connection::{self, NewConnection};
use super::protocol::Protocol;
use super::*;
use crate::net::{Format, Losses, Sender, Session, sealed};
use crate::peering::{CloseReason, Role, SendError};
use crate::zeek::events::LeftOut;

/// A session of a line-based protocol. The peer sends `hello NUMBER TOPIC..`, `topics TOPIC..` and `send TOPIC TEXT`; it
/// receives `TOPIC TEXT`.
#[derive(Debug)]
struct LineSession {
    id: EndpointId,
    /// The peer's id and filter, until the peer is admitted.
    hello: Option<(EndpointId, Filter)>,
    established: bool,
    closed: bool,
    events: VecDeque<Event>,
    out: VecDeque<Bytes>,
}

static LINES: Format = Format { overhead: 0, margin: 0, encode, first_length };

/// The number of messages with the topic `/counted` that were encoded.
static ENCODED: AtomicUsize = AtomicUsize::new(0);

fn encode(
    envelope: &Envelope,
    _: Sender<'_>,
    out: &mut BytesMut,
    _: &mut Losses,
) -> Result<Option<Bytes>, LeftOut> {
    if envelope.topic == Topic::from_static("/counted") {
        ENCODED.fetch_add(1, Ordering::Relaxed);
    }
    if envelope.topic == Topic::from_static("/too_long") {
        return Err(EncodeError::TooLong { what: "a line", length: 2, max: 1 }.into());
    }
    out.put_slice(format!("{} {}\n", envelope.topic, text(envelope)).as_bytes());
    Ok(None)
}

fn first_length(lines: &[u8]) -> Option<usize> {
    Some(lines.iter().position(|byte| *byte == b'\n')? + 1)
}

impl LineSession {
    fn new(config: &peering::Config) -> Self {
        let (hello, events, out) = Default::default();
        LineSession { id: config.id, hello, established: false, closed: false, events, out }
    }

    fn handle_line(&mut self, line: &str) {
        let mut words = line.split(' ');
        let (command, first) = (words.next(), words.next().unwrap_or_default());
        let topic = |topic: &str| Topic::new(topic.to_owned()).unwrap();
        match command {
            Some("hello") => {
                let peer = EndpointId::from_bytes([first.parse().unwrap(); 16]);
                self.hello = Some((peer, words.map(topic).collect()));
                self.events.push_back(Event::Introduced { peer, role: Role::Responder });
            }
            Some("topics") => {
                let topics = [first].into_iter().chain(words).map(topic);
                self.events.push_back(Event::FilterChanged(topics.collect()));
            }
            Some("send") => {
                let value = Value::String(words.collect::<Vec<_>>().join(" ").into());
                let envelope = Envelope::data(self.id, topic(first), &value).unwrap();
                self.events.push_back(Event::Message(envelope));
            }
            _ => self.close(CloseReason::Lost),
        }
    }

    fn close(&mut self, reason: CloseReason) {
        if !self.closed {
            self.closed = true;
            self.events.push_back(Event::Closed(reason));
        }
    }
}

impl sealed::Sealed for LineSession {}

impl Session for LineSession {
    const COPIED: usize = 0;

    fn format(&self) -> &'static Format {
        &LINES
    }

    fn handle_input(&mut self, _: Instant, input: &mut BytesMut) -> bool {
        while self.takes_input()
            && let Some(length) = first_length(input)
        {
            let line = input.split_to(length);
            self.handle_line(std::str::from_utf8(&line).unwrap().trim_end());
        }
        false
    }

    fn handle_eof(&mut self) {
        self.close(CloseReason::PeerLeft);
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn take_messages(&mut self) -> VecDeque<Envelope> {
        let mut messages = VecDeque::new();
        while let Some(Event::Message(envelope)) = self.events.front() {
            messages.push_back(envelope.clone());
            self.events.pop_front();
        }
        messages
    }

    fn poll_transmit(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }

    fn unsent(&self) -> usize {
        self.out.iter().map(Bytes::len).sum()
    }

    fn send_encoded(&mut self, pieces: [Bytes; 2]) -> Result<(), SendError> {
        self.out.extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
        Ok(())
    }

    fn set_filter(&mut self, _: Filter) -> Result<(), EncodeError> {
        Ok(())
    }

    fn admit(&mut self) {
        if let Some((peer, filter)) = self.hello.take() {
            self.established = true;
            self.events.push_back(Event::Established { peer, filter });
        }
    }

    fn refuse_redundant(&mut self) {
        if let Some((peer, _)) = self.hello.take() {
            self.close(CloseReason::Redundant { peer });
        }
    }

    fn refuse(&mut self) {
        self.close(CloseReason::Left);
    }

    fn leave(&mut self, _: Instant) {
        self.close(CloseReason::Left);
    }

    fn pause(&mut self, _: Instant, _: bool) {}

    fn takes_input(&self) -> bool {
        self.hello.is_none()
    }

    fn is_closed(&self) -> bool {
        self.closed
    }

    fn is_established(&self) -> bool {
        self.established && !self.closed
    }

    fn shrink_buffers(&mut self) {}
}

/// A peer with the line-based protocol.
struct LinePeer(BufReader<TcpStream>);

impl LinePeer {
    /// Connects a peer, and waits until the endpoint has it as a peer.
    async fn connect(relayed: &Relayed, number: u8, topics: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        let peer = socket.connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, address) = listener.accept().await.unwrap();
        let new = NewConnection {
            protocol: Protocol::Broker,
            filter: relayed.endpoint.0.context.hub.filter.clone(),
            stream: stream.into(),
            side: Side::Listener,
            address: address.to_string().into(),
            deadline: Instant::now() + Duration::from_secs(60),
            evicted: None,
            logs: None,
        };
        let context = relayed.endpoint.task_context();
        tokio::spawn(peer_connection::run(context, new, |config, _| LineSession::new(&config), |_| {}));
        let mut peer = LinePeer(BufReader::new(peer));
        peer.write(&format!("hello {number} {topics}")).await;
        relayed.wait_for_peer(id(number)).await;
        peer
    }

    async fn write(&mut self, line: &str) {
        self.0.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn read(&mut self) -> String {
        let mut line = String::new();
        within("a line", self.0.read_line(&mut line)).await.unwrap();
        line.trim_end().to_owned()
    }
}

#[tokio::test]
async fn messages_of_the_second_protocol_are_routed_filtered_and_counted() {
    let mut relayed = Relayed::new(EndpointConfig::default(), None).await;
    let mut statuses = relayed.endpoint.status();
    let mut subscriber = relayed.endpoint.subscribe([Topic::from_static("/a")]).await;
    let mut broker = relayed.connect_peer(id(1), &["/a"]).await;
    let mut line = LinePeer::connect(&relayed, 2, "/b").await;
    for peer in [1, 2] {
        let status = within("a status", statuses.recv()).await.unwrap();
        assert!(matches!(status, Status::PeerAdded { peer: added, .. } if added == id(peer)), "{status}");
    }

    line.write("send /a hello there").await;
    assert_eq!(broker.next_text().await, "hello there");
    assert_eq!(within("a message", subscriber.recv()).await.unwrap().peer(), id(2));

    broker.send(&message("/a", "not subscribed")).await;
    broker.send(&message("/b", "subscribed")).await;
    assert_eq!(line.read().await, "/b subscribed");
    // A message with a receiver is sent to that receiver even if it is not subscribed to the topic.
    broker.send(&Envelope { receiver: id(2), ..message("/c", "addressed") }).await;
    assert_eq!(line.read().await, "/c addressed");

    line.write("topics /c").await;
    while relayed.call().await != Call::Filter(id(2), filter(&["/c"])) {}
    broker.send(&message("/b", "no longer subscribed")).await;
    broker.send(&message("/c", "now subscribed")).await;
    assert_eq!(line.read().await, "/c now subscribed");

    let stats = relayed.endpoint.stats();
    assert_eq!((stats.received, stats.sent, stats.delivered), (6, 4, 2), "{stats:?}");
    let state = relayed.endpoint.peer_states().into_iter().find(|state| state.id == id(2)).unwrap();
    assert_eq!((&*state.filter, state.queued), (&filter(&["/c"]), 0));
    drop(line);
    while relayed.call().await != Call::Closed(id(2)) {}
}

#[tokio::test]
async fn the_queue_of_a_peer_of_the_second_protocol_is_bounded() {
    let right = Relayed::new(config_with_small_queue(WhenFull::DropNewest), None).await;
    let mut left = Relayed::new(EndpointConfig::default(), Some(&right.endpoint)).await;
    let mut slow = LinePeer::connect(&right, 1, "/a").await;
    let sender = flood(left.connect_peer(id(2), &[]).await, "/a");
    left.received(id(2), MANY).await;
    let dropped = usize::try_from(right.endpoint.stats().dropped_for_peers).unwrap();
    assert!(dropped > 0, "the system buffered everything");
    assert_eq!(right.endpoint.peer_states().pop().unwrap().dropped, u64::try_from(dropped).unwrap());
    for _ in 0..MANY - dropped {
        assert!(slow.read().await.starts_with("/a "));
    }
    within("the sender", sender).await.unwrap();
}

#[tokio::test]
async fn a_message_is_encoded_once_for_all_peers_of_a_protocol() {
    let relayed = Relayed::new(EndpointConfig::default(), None).await;
    let mut sender = relayed.connect_peer(id(1), &[]).await;
    let mut broker = relayed.connect_peer(id(2), &["/counted"]).await;
    let mut first = LinePeer::connect(&relayed, 3, "/counted").await;
    let mut second = LinePeer::connect(&relayed, 4, "/counted").await;
    sender.send(&message("/counted", "once")).await;
    assert_eq!(broker.next_text().await, "once");
    assert_eq!([first.read().await, second.read().await], ["/counted once", "/counted once"]);
    assert_eq!(ENCODED.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_message_that_one_protocol_cannot_encode_is_published_to_the_other_peers() {
    let publish = async |relayed: &Relayed| {
        relayed.endpoint.publish(Topic::from_static("/too_long"), &Value::String("text".into())).await
    };
    let relayed = Relayed::new(EndpointConfig::default(), None).await;
    let _lines = [
        LinePeer::connect(&relayed, 1, "/too_long").await,
        LinePeer::connect(&relayed, 3, "/too_long").await,
    ];
    assert!(matches!(publish(&relayed).await, Err(PublishError::Encode(EncodeError::TooLong { .. }))));
    let mut broker = relayed.connect_peer(id(2), &["/too_long"]).await;
    assert_eq!(publish(&relayed).await, Ok(1));
    assert_eq!(broker.next_text().await, "text");
    let states = relayed.endpoint.peer_states();
    assert_eq!(states.iter().map(|state| state.not_carried).sum::<u64>(), 4);
    assert!(states.iter().all(|state| state.not_carried == if state.id == id(2) { 0 } else { 2 }));
    assert_eq!(relayed.endpoint.stats().not_carried, 4);
}
