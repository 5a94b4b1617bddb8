//! A minimal proxy of a ZeroMQ cluster on plain sockets. It forwards frames as they are, and does not use the session of this crate.

#![allow(dead_code, reason = "each test binary uses a part of this module")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use zeek_bridge::wire::encode_value;
use zeek_bridge::zeek::{Event, IntoPayload as _};

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
    subscribers: Vec<Subscriber>,
    publishers: Vec<TcpStream>,
    published: Sender<Vec<Vec<u8>>>,
    changes: Sender<Vec<u8>>,
}

struct Subscriber {
    stream: TcpStream,
    topics: Vec<Vec<u8>>,
}

impl Proxy {
    pub fn start() -> Self {
        Self::with_subscriptions(&[], false)
    }

    /// Starts a proxy with these subscriptions of other nodes. If `are_late`, a publisher receives all but the first of them
    /// together with the next internal subscription.
    pub fn with_subscriptions(nodes: &[&str], are_late: bool) -> Self {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [xpub, xsub] = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port());
        let ((published_sender, published), (changes_sender, changes)) = (channel(), channel());
        let state = Arc::new(Mutex::new(State {
            nodes: nodes.iter().map(|topic| (*topic).to_owned()).collect(),
            are_late,
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
        let subscribers: Vec<_> = state.subscribers.drain(..).map(|subscriber| subscriber.stream).collect();
        for stream in subscribers.into_iter().chain(state.publishers.drain(..)) {
            let _ = stream.shutdown(Shutdown::Both);
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
        self.publishers.iter_mut().for_each(|publisher| _ = publisher.write_all(change));
    }

    fn deliver(&mut self, frames: &[u8]) {
        let topic = parts_of(frames).swap_remove(0);
        for subscriber in &mut self.subscribers {
            if subscriber.topics.iter().any(|prefix| topic.starts_with(prefix)) {
                let _ = subscriber.stream.write_all(frames);
            }
        }
    }
}

/// Serves a connection of the XPUB.
fn subscriber(mut stream: TcpStream, state: Arc<Mutex<State>>) -> Option<()> {
    handshake(&mut stream, "XPUB", "NULL")?;
    let port = stream.peer_addr().ok()?.port();
    let is_this =
        move |subscriber: &Subscriber| subscriber.stream.peer_addr().is_ok_and(|peer| peer.port() == port);
    state
        .lock()
        .unwrap()
        .subscribers
        .push(Subscriber { stream: stream.try_clone().ok()?, topics: Vec::new() });
    loop {
        let (flags, body) = frame(&mut stream)?;
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
fn publisher(mut stream: TcpStream, state: Arc<Mutex<State>>) -> Option<()> {
    let ended = receive(&mut stream, &state);
    let _ = stream.shutdown(Shutdown::Both);
    ended
}

fn receive(stream: &mut TcpStream, state: &Mutex<State>) -> Option<()> {
    handshake(stream, "XSUB", "NULL")?;
    {
        let mut state = state.lock().unwrap();
        let of_clients = state.subscribers.iter().flat_map(|subscriber| subscriber.topics.clone());
        let of_nodes = state.nodes.iter().take(if state.are_late { 1 } else { usize::MAX });
        let all = of_nodes.map(|topic| topic.clone().into_bytes()).chain(of_clients);
        let changes: Vec<u8> = all.flat_map(|topic| change(1, &topic)).collect();
        stream.write_all(&changes).ok()?;
        state.publishers.push(stream.try_clone().ok()?);
    }
    loop {
        let mut frames = Vec::new();
        loop {
            let (flags, body) = frame(stream)?;
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

/// Exchanges greetings and READY. Sends nothing after READY until that of the client has arrived.
pub fn handshake(stream: &mut TcpStream, socket: &str, mechanism: &str) -> Option<()> {
    let mut greeting = [0; 64];
    (greeting[0], greeting[8], greeting[9], greeting[10], greeting[11]) = (0xff, 1, 0x7f, 3, 1);
    greeting[12..12 + mechanism.len()].copy_from_slice(mechanism.as_bytes());
    stream.write_all(&greeting).ok()?;
    let mut greeting = [0; 64];
    stream.read_exact(&mut greeting).ok()?;
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

fn parts_of(mut frames: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    while let [flags, rest @ ..] = frames {
        let (length, rest) = match flags & 2 {
            0 => (usize::from(rest[0]), &rest[1..]),
            _ => {
                let (length, rest) = rest.split_first_chunk().unwrap();
                (usize::try_from(u64::from_be_bytes(*length)).unwrap(), rest)
            }
        };
        parts.push(rest[..length].to_vec());
        frames = &rest[length..];
    }
    parts
}

pub fn change(first: u8, topic: &[u8]) -> Vec<u8> {
    message(&[&[&[first], topic].concat()])
}
