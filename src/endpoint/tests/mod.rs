//! A relay between two endpoints, over loopback TCP.

#[cfg(feature = "cli")]
mod admission;
mod batches;
mod blocking;
mod forwarding;
mod sampling;
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
use crate::net::tls::Tls;
use crate::net::{BROKER, Connection, Progress};
use crate::peering::{self, Event, Peering, Side};
use crate::wire::{EnvelopeType, Limits};

async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let wait = tokio::time::timeout(Duration::from_secs(60), wait);
    wait.await.unwrap_or_else(|_| panic!("timed out while waiting for {what}"))
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

/// A recorded call of a method of the relay.
#[derive(Debug, PartialEq)]
enum Call {
    Established(EndpointId),
    Filter(EndpointId, Filter),
    Closed(EndpointId),
    /// A message with its payload length, and the number of peers whose queues had no room for it.
    Message(EndpointId, usize, usize),
}

/// A relay that forwards each message to all other peers of one endpoint, and records its calls.
#[derive(Debug)]
struct ForwardingRelay {
    /// The endpoint to whose peers messages are forwarded.
    to: OnceLock<Endpoint>,
    calls: mpsc::UnboundedSender<Call>,
}

impl ForwardingRelay {
    fn record(&self, call: Call) {
        let _ = self.calls.send(call);
    }
}

impl ForwardingRelay {
    fn forward(&self, from: &Peer, envelope: Envelope, received: Option<Instant>) -> Vec<Blocked> {
        let length = envelope.payload.len();
        let batch = Batch::of(envelope, received);
        let forwarded = forward(self.to.get().unwrap(), &batch, |peer| peer.id != from.id);
        self.record(Call::Message(from.id, length, forwarded.blocked.len()));
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

impl Relay for ForwardingRelay {
    /// Forwards the messages one by one, up to the first that is blocked.
    fn on_messages(&self, from: &Peer, batch: &mut Batch) -> Vec<Blocked> {
        while let Some(envelope) = batch.pop() {
            let blocked = self.forward(from, envelope, batch.received());
            if !blocked.is_empty() {
                return blocked;
            }
        }
        Vec::new()
    }

    fn on_established(&self, peer: &Peer) {
        self.record(Call::Established(peer.id));
    }

    fn on_filter(&self, peer: &Peer, filter: &Filter) {
        self.record(Call::Filter(peer.id, filter.clone()));
    }

    fn on_closed(&self, peer: &Peer, _: Option<&Status>) {
        self.record(Call::Closed(peer.id));
    }

    fn on_failed(&self, _: &Arc<str>, _: &ConnectError, _: &Owner) {}
}

/// An endpoint with a relay, and the address that it listens on.
struct Relayed {
    endpoint: Endpoint,
    address: SocketAddr,
    calls: mpsc::UnboundedReceiver<Call>,
}

impl Relayed {
    /// Creates an endpoint that forwards messages to the peers of `to`, or to its own peers if `to` is `None`.
    async fn new(config: EndpointConfig, to: Option<&Endpoint>) -> Self {
        let (sender, calls) = mpsc::unbounded_channel();
        let relay = Arc::new(ForwardingRelay { to: OnceLock::new(), calls: sender });
        let endpoint = Endpoint::with_relay(config, relay.clone()).unwrap();
        relay.to.set(to.unwrap_or(&endpoint).clone()).unwrap();
        endpoint.announce(filter(&["/"])).await;
        let address = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr();
        Relayed { endpoint, address, calls }
    }

    /// Connects a peer, and waits until the endpoint has it as a peer.
    async fn connect_peer(&self, id: EndpointId, topics: &[&'static str]) -> ManualPeer {
        let peer = ManualPeer::connect(id, self.address, topics).await;
        self.wait_for_peer(id).await;
        peer
    }

    /// Waits until the endpoint has a peer with this id.
    async fn wait_for_peer(&self, id: EndpointId) {
        static ANY: Topic = Topic::from_static("");
        let mut peers = self.endpoint.watch_interest(&ANY);
        while !peers.peers().iter().any(|(_, peer)| *peer == id) {
            within("the peering", peers.changed()).await;
        }
    }

    async fn call(&mut self) -> Call {
        within("a call of the relay", self.calls.recv()).await.unwrap()
    }

    /// Waits until the relay has received `count` messages of this peer.
    async fn received(&mut self, from: EndpointId, mut count: usize) {
        while count > 0 {
            if matches!(self.call().await, Call::Message(id, ..) if id == from) {
                count -= 1;
            }
        }
    }

    /// Removes all recorded calls. Returns how many of them are messages of this peer.
    fn take_received_count(&mut self, from: EndpointId) -> usize {
        let calls = std::iter::from_fn(|| self.calls.try_recv().ok());
        calls.filter(|call| matches!(call, Call::Message(id, ..) if *id == from)).count()
    }
}

/// A peer whose connection makes progress only while a test calls one of its methods.
struct ManualPeer {
    id: EndpointId,
    connection: Connection,
    events: VecDeque<Event>,
}

impl ManualPeer {
    async fn connect(id: EndpointId, address: SocketAddr, topics: &[&'static str]) -> Self {
        // A small buffer, because the system may otherwise buffer tens of megabytes for a peer that does not read.
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
        let mut peer = ManualPeer { id, connection, events: VecDeque::new() };
        loop {
            match peer.event().await {
                Event::Introduced { .. } => peer.connection.admit(),
                Event::Established { .. } => break,
                event => panic!("{event:?}"),
            }
        }
        peer.written().await;
        peer
    }

    /// Waits until all queued bytes are written.
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

    /// Returns the next message. Discards all events that are not messages.
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

/// The length of a large message. The system buffers only a few of these for a connection.
const LARGE: usize = 50_000;
/// A number of large messages that exceeds what the system buffers.
const MANY: usize = 600;

fn numbered(topic: &'static str, number: usize) -> Envelope {
    message(topic, &format!("{number:LARGE$}"))
}

fn number(envelope: &Envelope) -> usize {
    text(envelope).trim().parse().unwrap()
}

/// Sends [`MANY`] large messages in a task that does not read in the meantime. The task returns the peer.
fn flood(mut peer: ManualPeer, topic: &'static str) -> tokio::task::JoinHandle<ManualPeer> {
    peer.connection.pause(true);
    tokio::spawn(async move {
        for n in 0..MANY {
            peer.send(&numbered(topic, n)).await;
        }
        peer.connection.pause(false);
        peer
    })
}

fn config_with_small_queue(when_full: WhenFull) -> EndpointConfig {
    let peer_queue = QueueLimits { messages: 8, bytes: 1_000_000 };
    EndpointConfig { peer_queue, when_full, idle_timeout: None, ..EndpointConfig::default() }
}

#[tokio::test]
async fn a_message_to_an_endpoint_that_is_not_a_peer_is_not_sent() {
    let endpoint = Endpoint::new().unwrap();
    let sent =
        endpoint.publish_via(EndpointId::from_bytes([7; 16]), Topic::from_static("/t"), &Value::None).await;
    assert_eq!(sent, Ok(false));
}
