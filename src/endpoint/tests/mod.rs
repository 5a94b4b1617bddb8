//! A relay between two endpoints, over loopback TCP.

#[cfg(feature = "cli")]
mod admission;
mod batches;
mod blocking;
mod forwarding;
mod second_protocol;

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::net::TcpSocket;
use tokio::sync::{Notify, mpsc};

use super::counters::Counters;
use super::*;
use crate::net::{BROKER, Connection, Progress};
use crate::peering::{self, Event, Peering, Side};
use crate::wire::{EnvelopeType, Limits};

async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let wait = tokio::time::timeout(Duration::from_secs(60), wait);
    wait.await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

fn id(n: u8) -> EndpointId {
    EndpointId::from_bytes([n; 16])
}

fn filter(topics: &[&'static str]) -> Filter {
    topics.iter().map(|topic| Topic::from_static(topic)).collect()
}

fn message(topic: &'static str, text: &str) -> Envelope {
    Envelope::data(EndpointId::NIL, Topic::from_static(topic), &Value::String(text.into())).unwrap()
}

fn text(envelope: &Envelope) -> String {
    match envelope.value(&Limits::DEFAULT).unwrap() {
        Value::String(text) => text.to_string(),
        other => panic!("{other:?}"),
    }
}

/// What the relay was told.
#[derive(Debug, PartialEq)]
enum Told {
    Stands(EndpointId),
    Wants(EndpointId, Filter),
    Gone(EndpointId),
    /// A message of so many bytes, and how many peers it then waited for.
    Heard(EndpointId, usize, usize),
}

/// Passes on everything to the other peers of one endpoint.
#[derive(Debug)]
struct PassOn {
    to: OnceLock<Endpoint>,
    told: mpsc::UnboundedSender<Told>,
}

impl PassOn {
    fn tell(&self, told: Told) {
        let _ = self.told.send(told);
    }
}

impl PassOn {
    fn forward(&self, from: &Peer, envelope: Envelope, received: Option<Instant>) -> Vec<Blocked> {
        let length = envelope.payload.len();
        let batch = Batch::of(envelope, received);
        let forwarded = forward(self.to.get().unwrap(), &batch, |peer| peer.id != from.id);
        self.tell(Told::Heard(from.id, length, forwarded.blocked.len()));
        forwarded.blocked
    }
}

/// Forwards a batch with the endpoint as the sender.
fn forward(endpoint: &Endpoint, batch: &Batch, choose: impl Fn(&Peer) -> bool) -> Forwarded {
    let (mut encoder, mut forwarded) = (Encoder::default(), Forwarded::default());
    let sender = |_: &Envelope| endpoint.id();
    endpoint.forward(batch, &endpoint.routes(), &mut encoder, sender, choose, &mut forwarded);
    forwarded
}

impl Relay for PassOn {
    /// Forwards one message after another, until one is blocked.
    fn on_messages(&self, from: &Peer, batch: &mut Batch) -> Vec<Blocked> {
        while let Some(envelope) = batch.pop() {
            let blocked = self.forward(from, envelope, batch.received());
            if !blocked.is_empty() {
                return blocked;
            }
        }
        batch.set_received(None);
        Vec::new()
    }

    fn on_established(&self, peer: &Peer) {
        self.tell(Told::Stands(peer.id));
    }

    fn on_filter(&self, peer: &Peer, filter: &Filter) {
        self.tell(Told::Wants(peer.id, filter.clone()));
    }

    fn on_closed(&self, peer: &Peer) {
        self.tell(Told::Gone(peer.id));
    }
}

/// An endpoint with a relay, and where it listens.
struct Relayed {
    endpoint: Endpoint,
    address: SocketAddr,
    told: mpsc::UnboundedReceiver<Told>,
}

impl Relayed {
    /// `to`: where what is heard goes; `None`: to its own peers.
    async fn new(config: EndpointConfig, to: Option<&Endpoint>) -> Self {
        let (sender, told) = mpsc::unbounded_channel();
        let relay = Arc::new(PassOn { to: OnceLock::new(), told: sender });
        let endpoint = Endpoint::with_relay(config, relay.clone()).unwrap();
        relay.to.set(to.unwrap_or(&endpoint).clone()).unwrap();
        endpoint.announce(filter(&["/"])).await;
        let address = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr();
        Relayed { endpoint, address, told }
    }

    /// A peer, which the endpoint knows of.
    async fn hand(&self, id: EndpointId, topics: &[&'static str]) -> Hand {
        let hand = Hand::connect(id, self.address, topics).await;
        self.is_peer(id).await;
        hand
    }

    /// Waits until this is a peer.
    async fn is_peer(&self, id: EndpointId) {
        static ANY: Topic = Topic::from_static("");
        let mut peers = self.endpoint.watch_interest(&ANY);
        while !peers.peers().iter().any(|(_, peer)| *peer == id) {
            within("the peering", peers.changed()).await;
        }
    }

    async fn told(&mut self) -> Told {
        within("the relay", self.told.recv()).await.unwrap()
    }

    /// Waits until the relay has heard so many messages of this peer.
    async fn heard(&mut self, from: EndpointId, mut count: usize) {
        while count > 0 {
            if matches!(self.told().await, Told::Heard(id, ..) if id == from) {
                count -= 1;
            }
        }
    }

    /// How many messages of this peer the relay has heard since the last time. The others are forgotten.
    fn heard_now(&mut self, from: EndpointId) -> usize {
        let told = std::iter::from_fn(|| self.told.try_recv().ok());
        told.filter(|told| matches!(told, Told::Heard(id, ..) if *id == from)).count()
    }
}

/// A peer that does what it is told: it reads and writes only when it is asked to.
struct Hand {
    id: EndpointId,
    connection: Connection,
    events: VecDeque<Event>,
}

impl Hand {
    async fn connect(id: EndpointId, address: SocketAddr, topics: &[&'static str]) -> Self {
        // The system would keep tens of megabytes for one that does not read.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        let stream = socket.connect(address).await.unwrap();
        let config = peering::Config {
            filter: filter(topics),
            idle_timeout: None,
            ..peering::Config::new(id, Side::Connector)
        };
        let max_frame = config.limits.max_frame;
        let connection = Connection::new(stream.into(), Peering::new(config, Instant::now()), max_frame);
        let mut hand = Hand { id, connection, events: VecDeque::new() };
        loop {
            match hand.event().await {
                Event::Introduced { .. } => hand.connection.admit(),
                Event::Established { .. } => break,
                event => panic!("{event:?}"),
            }
        }
        hand.written().await;
        hand
    }

    async fn written(&mut self) {
        while !self.connection.is_written() {
            within("room to write", self.step()).await;
        }
    }

    async fn step(&mut self) {
        if let Progress::Event(event) = self.connection.progress().await {
            self.events.push_back(event);
        }
    }

    async fn send(&mut self, envelope: &Envelope) {
        self.connection.send(envelope).unwrap();
        self.written().await;
    }

    async fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            within("an event", self.step()).await;
        }
    }

    /// The next message; what else comes is let go.
    async fn next(&mut self) -> Envelope {
        loop {
            match self.event().await {
                Event::Message(envelope) => return envelope,
                Event::Closed(reason) => panic!("{reason}"),
                _ => {}
            }
        }
    }

    async fn next_text(&mut self) -> String {
        text(&self.next().await)
    }
}

/// So large that not many fit what the system keeps for a connection.
const LARGE: usize = 50_000;
/// So many that not all of them do, by far.
const MANY: usize = 600;

fn numbered(topic: &'static str, number: usize) -> Envelope {
    message(topic, &format!("{number:LARGE$}"))
}

fn number(envelope: &Envelope) -> usize {
    text(envelope).trim().parse().unwrap()
}

/// Sends many large messages without reading anything, and then gives the hand back.
fn flood(mut hand: Hand, topic: &'static str) -> tokio::task::JoinHandle<Hand> {
    hand.connection.pause(true);
    tokio::spawn(async move {
        for n in 0..MANY {
            hand.send(&numbered(topic, n)).await;
        }
        hand.connection.pause(false);
        hand
    })
}

fn few_at_a_time(when_full: WhenFull) -> EndpointConfig {
    let peer_queue = QueueLimits { messages: 8, bytes: 1_000_000 };
    EndpointConfig { peer_queue, when_full, idle_timeout: None, ..EndpointConfig::default() }
}
