//! A minimal proxy of a ZeroMQ cluster on plain sockets, with or without CURVE. It forwards frames as they are, and does not use the
//! session of this crate.

#![allow(dead_code, reason = "each test binary uses a part of this module")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use zeek_bridge::wire::encode_value;
use zeek_bridge::zeek::{Event, IntoPayload as _};
use zeek_bridge::zeromq::curve::{AllowedClients, Channel, Flags, KeyPair, Server, ServerStep};

/// The time limit for each wait.
const LONG: Duration = Duration::from_secs(60);

/// The topics with which publishers find out that they have received all subscriptions.
pub const INTERNAL: &str = "zeek.zeromq.internal.";

/// Returns the last part of a message with an event.
pub fn payload(event: Event) -> Vec<u8> {
    let mut payload = Vec::new();
    encode_value(&event.into_payload(), &mut payload).unwrap();
    payload
}

pub struct Proxy {
    /// The address of both sockets.
    pub url: String,
    state: Arc<Mutex<State>>,
    /// The messages that were published by clients of this proxy, as parts.
    pub published: Receiver<Vec<Vec<u8>>>,
    /// The changes of subscriptions by clients of this proxy, in the notation of the protocol: 01 or 00, and the topic.
    pub changes: Receiver<Vec<u8>>,
}

struct State {
    /// The subscriptions of other nodes.
    nodes: Vec<String>,
    /// Whether new publishers receive all but the first of them together with the next internal subscription only.
    are_late: bool,
    /// The keys of the server and the clients that it accepts, with CURVE.
    curve: Option<(KeyPair, Arc<AllowedClients>)>,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Connection>,
    published: Sender<Vec<Vec<u8>>>,
    changes: Sender<Vec<u8>>,
}

struct Subscriber {
    connection: Connection,
    topics: Vec<Vec<u8>>,
}

impl Proxy {
    pub fn start() -> Self {
        Self::with_subscriptions(&[], false)
    }

    /// Starts a proxy with these subscriptions of other nodes. If `are_late`, a publisher receives all but the first of them
    /// together with the next internal subscription.
    pub fn with_subscriptions(nodes: &[&str], are_late: bool) -> Self {
        Self::new(nodes, are_late, None)
    }

    /// Starts a proxy with CURVE. The other nodes subscribe to all topics.
    pub fn with_curve(keys: KeyPair, clients: AllowedClients) -> Self {
        Self::new(&[""], false, Some((keys, Arc::new(clients))))
    }

    fn new(nodes: &[&str], are_late: bool, curve: Option<(KeyPair, Arc<AllowedClients>)>) -> Self {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [xpub, xsub] = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port());
        let ((published_sender, published), (changes_sender, changes)) = (channel(), channel());
        let state = Arc::new(Mutex::new(State {
            nodes: nodes.iter().map(|topic| (*topic).to_owned()).collect(),
            are_late,
            curve,
            subscribers: Vec::new(),
            publishers: Vec::new(),
            published: published_sender,
            changes: changes_sender,
        }));
        let [xpub_listener, xsub_listener] = listeners;
        for (listener, serve) in [
            (xpub_listener, subscriber as fn(TcpStream, Arc<Mutex<State>>) -> Option<()>),
            (xsub_listener, publisher),
        ] {
            let state = state.clone();
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let (stream, state) = (stream.unwrap(), state.clone());
                    thread::spawn(move || serve(stream, state));
                }
            });
        }
        Proxy { url: format!("zeromq://127.0.0.1:{xpub},{xsub}"), state, published, changes }
    }

    /// Another node subscribes to a topic.
    pub fn subscribe(&self, topic: &str) {
        let mut state = self.state.lock().unwrap();
        state.nodes.push(topic.to_owned());
        state.forward_change(&change(1, topic.as_bytes()));
    }

    /// Another node publishes a message.
    pub fn publish(&self, parts: &[&[u8]]) {
        self.state.lock().unwrap().deliver(&message(parts));
    }

    /// Closes all connections.
    pub fn disconnect(&self) {
        let mut state = self.state.lock().unwrap();
        let subscribers: Vec<_> =
            state.subscribers.drain(..).map(|subscriber| subscriber.connection).collect();
        for connection in subscribers.into_iter().chain(state.publishers.drain(..)) {
            let _ = connection.stream.shutdown(Shutdown::Both);
        }
    }

    pub fn next_published(&self) -> Vec<Vec<u8>> {
        self.published.recv_timeout(LONG).expect("a message is published")
    }

    /// Returns the next change of subscriptions.
    pub fn next_change(&self) -> Vec<u8> {
        self.changes.recv_timeout(LONG).expect("a subscription changes")
    }
}

impl State {
    fn forward_change(&mut self, change: &[u8]) {
        self.publishers.iter_mut().for_each(|publisher| _ = publisher.write(change));
    }

    fn deliver(&mut self, frames: &[u8]) {
        let topic = parts_of(frames).swap_remove(0);
        for subscriber in &mut self.subscribers {
            if subscriber.topics.iter().any(|prefix| topic.starts_with(prefix)) {
                let _ = subscriber.connection.write(frames);
            }
        }
    }
}

/// Serves a connection of the XPUB.
fn subscriber(stream: TcpStream, state: Arc<Mutex<State>>) -> Option<()> {
    let mut connection = Connection::establish(stream, "XPUB", &state)?;
    let port = connection.stream.peer_addr().ok()?.port();
    let is_this = move |subscriber: &Subscriber| {
        subscriber.connection.stream.peer_addr().is_ok_and(|peer| peer.port() == port)
    };
    state.lock().unwrap().subscribers.push(Subscriber { connection: connection.clone(), topics: Vec::new() });
    loop {
        let (flags, body) = connection.frame()?;
        assert_eq!(flags, 0, "a subscription is a message of one part");
        let mut state = state.lock().unwrap();
        let (first, topic) = body.split_first()?;
        if state.are_late && topic.starts_with(INTERNAL.as_bytes()) {
            state.are_late = false;
            for node in state.nodes.clone().iter().skip(1) {
                state.forward_change(&change(1, node.as_bytes()));
            }
        }
        let subscriber = state.subscribers.iter_mut().find(|subscriber| is_this(subscriber))?;
        match first {
            1 => subscriber.topics.push(topic.to_vec()),
            _ => subscriber.topics.retain(|other| other != topic),
        }
        state.forward_change(&change(*first, topic));
        let _ = state.changes.send(body);
    }
}

/// Serves a connection of the XSUB, and closes it at its end.
fn publisher(stream: TcpStream, state: Arc<Mutex<State>>) -> Option<()> {
    let mut connection = Connection::establish(stream, "XSUB", &state)?;
    let ended = receive(&mut connection, &state);
    let _ = connection.stream.shutdown(Shutdown::Both);
    ended
}

fn receive(connection: &mut Connection, state: &Mutex<State>) -> Option<()> {
    {
        let mut state = state.lock().unwrap();
        let of_clients = state.subscribers.iter().flat_map(|subscriber| subscriber.topics.clone());
        let of_nodes = state.nodes.iter().take(if state.are_late { 1 } else { usize::MAX });
        let all = of_nodes.map(|topic| topic.clone().into_bytes()).chain(of_clients);
        let changes: Vec<u8> = all.flat_map(|topic| change(1, &topic)).collect();
        connection.write(&changes)?;
        state.publishers.push(connection.clone());
    }
    loop {
        let mut frames = Vec::new();
        loop {
            let (flags, body) = connection.frame()?;
            put_frame(flags, &body, &mut frames);
            if flags & 1 == 0 {
                break;
            }
        }
        let mut state = state.lock().unwrap();
        state.deliver(&frames);
        let _ = state.published.send(parts_of(&frames));
    }
}

/// An established connection.
struct Connection {
    stream: TcpStream,
    /// The keys, with CURVE.
    channel: Option<Arc<Mutex<Channel>>>,
}

impl Clone for Connection {
    fn clone(&self) -> Self {
        Connection { stream: self.stream.try_clone().unwrap(), channel: self.channel.clone() }
    }
}

impl Connection {
    /// Performs the handshake of the mechanism.
    fn establish(mut stream: TcpStream, socket: &str, state: &Mutex<State>) -> Option<Self> {
        let curve = state.lock().unwrap().curve.clone();
        let Some((keys, clients)) = curve else {
            handshake(&mut stream, socket, "NULL")?;
            return Some(Connection { stream, channel: None });
        };
        exchange_greetings(&mut stream, "CURVE")?;
        let metadata = [&b"\x0bSocket-Type\0\0\0\x04"[..], socket.as_bytes()].concat();
        let mut server = Server::new(keys, clients, metadata.into());
        loop {
            let (flags, body) = frame(&mut stream)?;
            assert_eq!(flags, 4, "a command of the handshake");
            let (answer, channel): (Bytes, _) = match server.receive(&body).ok()? {
                ServerStep::Welcome(welcome) => (welcome, None),
                ServerStep::Established { ready, channel, .. } => (ready, Some(channel)),
                ServerStep::Denied { error, .. } => (error, None),
                step => panic!("{step:?}"),
            };
            let mut frames = Vec::new();
            put_frame(4, &answer, &mut frames);
            stream.write_all(&frames).ok()?;
            if let Some(channel) = channel {
                return Some(Connection { stream, channel: Some(Arc::new(Mutex::new(channel))) });
            }
        }
    }

    /// Writes complete frames.
    fn write(&mut self, frames: &[u8]) -> Option<()> {
        let Some(channel) = &self.channel else { return self.stream.write_all(frames).ok() };
        let mut channel = channel.lock().unwrap();
        let mut sealed = Vec::new();
        for (flags, body) in frames_of(frames) {
            let flags = Flags { more: flags & 1 != 0, command: flags & 4 != 0 };
            put_frame(0, &channel.seal(flags, body).unwrap(), &mut sealed);
        }
        self.stream.write_all(&sealed).ok()
    }

    /// Reads a frame, as [`frame`] does.
    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (flags, body) = frame(&mut self.stream)?;
        let Some(channel) = &self.channel else { return Some((flags, body)) };
        let (flags, body) = channel.lock().unwrap().open(BytesMut::from(&body[..])).unwrap();
        Some((u8::from(flags.more) | u8::from(flags.command) << 2, body.to_vec()))
    }
}

/// Exchanges greetings and READY. Sends nothing after READY until that of the client has arrived.
pub fn handshake(stream: &mut TcpStream, socket: &str, mechanism: &str) -> Option<()> {
    exchange_greetings(stream, mechanism)?;
    let mut ready = b"\x05READY\x0bSocket-Type\x00\x00\x00".to_vec();
    ready.push(u8::try_from(socket.len()).unwrap());
    ready.extend(socket.as_bytes());
    let mut frames = Vec::new();
    put_frame(4, &ready, &mut frames);
    stream.write_all(&frames).ok()?;
    let (flags, body) = frame(stream)?;
    assert!(flags == 4 && body.starts_with(b"\x05READY"), "{flags} {body:?}");
    Some(())
}

/// Sends a greeting, and reads that of the client. Returns `None` if the client has a different mechanism.
fn exchange_greetings(stream: &mut TcpStream, mechanism: &str) -> Option<()> {
    let mut greeting = [0; 64];
    (greeting[0], greeting[8], greeting[9], greeting[10], greeting[11]) = (0xff, 1, 0x7f, 3, 1);
    greeting[12..12 + mechanism.len()].copy_from_slice(mechanism.as_bytes());
    stream.write_all(&greeting).ok()?;
    let mut greeting = [0; 64];
    stream.read_exact(&mut greeting).ok()?;
    greeting[12..].starts_with(mechanism.as_bytes()).then_some(())
}

/// Reads a frame: its flags without that of the length, and its body. Returns `None` at the end of the stream.
pub fn frame(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut flags = [0];
    stream.read_exact(&mut flags).ok()?;
    let mut length = [0; 8];
    let at = if flags[0] & 2 == 0 { 7 } else { 0 };
    stream.read_exact(&mut length[at..]).ok()?;
    let mut body = vec![0; usize::try_from(u64::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut body).ok()?;
    Some((flags[0] & !2, body))
}

pub fn put_frame(flags: u8, body: &[u8], to: &mut Vec<u8>) {
    match u8::try_from(body.len()) {
        Ok(length) => to.extend([flags, length]),
        Err(_) => {
            to.push(flags | 2);
            to.extend(u64::try_from(body.len()).unwrap().to_be_bytes());
        }
    }
    to.extend(body);
}

pub fn message(parts: &[&[u8]]) -> Vec<u8> {
    let mut frames = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        put_frame(u8::from(index + 1 < parts.len()), part, &mut frames);
    }
    frames
}

fn parts_of(frames: &[u8]) -> Vec<Vec<u8>> {
    frames_of(frames).into_iter().map(|(_, body)| body.to_vec()).collect()
}

/// Returns the flags and the bodies of frames.
fn frames_of(mut frames: &[u8]) -> Vec<(u8, &[u8])> {
    let mut parts = Vec::new();
    while let [flags, rest @ ..] = frames {
        let (length, rest) = match flags & 2 {
            0 => (usize::from(rest[0]), &rest[1..]),
            _ => {
                let (length, rest) = rest.split_first_chunk().unwrap();
                (usize::try_from(u64::from_be_bytes(*length)).unwrap(), rest)
            }
        };
        parts.push((flags & !2, &rest[..length]));
        frames = &rest[length..];
    }
    parts
}

pub fn change(first: u8, topic: &[u8]) -> Vec<u8> {
    message(&[&[&[first], topic].concat()])
}
