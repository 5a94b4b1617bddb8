//! Tests of complete sessions.

mod captures;
#[cfg(feature = "curve")]
mod curve;
mod discovery;
mod handshake;
mod limits;
mod received;
mod sessions;
mod specification;

use bytes::BytesMut;

use super::*;
use crate::data::{Topic, Value};
use crate::peering::{self, CloseReason, ErrorKind, PeeringError, Side};
use crate::zeek::{Event as ZeekEvent, ZeekMessage};

/// One side of a connection, with its input, output and reported events.
pub(super) struct End {
    session: ZeroMq,
    input: BytesMut,
    events: Vec<Event>,
    output: Vec<u8>,
    now: Instant,
}

impl End {
    fn new(socket: SocketType, change: impl FnOnce(&mut Config)) -> Self {
        let (mut config, now) = (config(socket), Instant::now());
        change(&mut config);
        let session = ZeroMq::new(config, now);
        let mut end = End { session, input: BytesMut::new(), events: Vec::new(), output: Vec::new(), now };
        end.poll();
        end
    }

    /// Returns a side whose session is established with a peer that has this socket.
    fn established(socket: SocketType, change: impl FnOnce(&mut Config)) -> Self {
        let mut end = End::new(socket, change);
        end.receive(&greeting("NULL"));
        end.receive(&ready(socket.peers()[0]));
        assert!(end.session.is_established());
        end.take_events();
        end.take_output();
        end
    }

    /// Passes bytes, and admits the peer when it is introduced.
    fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        loop {
            let more = self.session.handle_input(self.now, &mut self.input);
            let introduced = !self.session.takes_input();
            self.poll();
            if introduced {
                self.session.admit();
            } else if !more {
                break;
            }
        }
        self.poll();
    }

    fn poll(&mut self) {
        while let Some(event) = self.session.poll_event() {
            assert!(!matches!(self.events.last(), Some(Event::Closed(_))), "after the end: {event:?}");
            self.events.push(event);
        }
        while let Some(bytes) = self.session.poll_transmit() {
            self.output.extend_from_slice(&bytes);
        }
        assert_eq!(self.session.unsent(), 0);
    }

    fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Lets time pass until the next deadline.
    fn time_out(&mut self) {
        self.now = self.now.max(self.session.poll_timeout().expect("a deadline"));
        self.session.handle_timeout(self.now);
        self.poll();
    }

    fn close_reason(&self) -> Option<&CloseReason> {
        match self.events.last() {
            Some(Event::Closed(reason)) => Some(reason),
            _ => None,
        }
    }

    fn closed_text(&self) -> String {
        self.close_reason().expect("the end of the session").to_string()
    }

    fn failure(&self) -> (ErrorKind, &'static str) {
        match self.close_reason() {
            Some(CloseReason::Failed(PeeringError::Session(error))) => (error.kind, error.cause),
            other => panic!("{other:?}"),
        }
    }
}

/// Passes all bytes between two sides.
fn exchange(one: &mut End, other: &mut End) {
    loop {
        let (to_other, to_one) = (one.take_output(), other.take_output());
        if to_other.is_empty() && to_one.is_empty() {
            return;
        }
        other.receive(&to_other);
        one.receive(&to_one);
    }
}

fn id(n: u8) -> EndpointId {
    EndpointId::from_bytes([n; 16])
}

fn config(socket: SocketType) -> Config {
    Config {
        common: peering::Config::new(id(1), Side::Connector),
        socket,
        own_id: id(1),
        peer_id: id(2),
        mechanism: Mechanism::Null,
        format: EventFormat::Binary,
        reports_subscriptions: false,
    }
}

fn filter(topics: &[&'static str]) -> Filter {
    topics.iter().map(|topic| Topic::from_static(topic)).collect()
}

fn event(arg: impl Into<Value>) -> Value {
    ZeekMessage::from(ZeekEvent::new("e", (arg.into(),))).into_value()
}

fn envelope(topic: &'static str, value: &Value) -> Envelope {
    Envelope::data(id(9), Topic::from_static(topic), value).unwrap()
}

/// Returns the greeting of libzmq with this mechanism.
fn greeting(mechanism: &str) -> Vec<u8> {
    let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1];
    greeting.extend(mechanism.as_bytes());
    greeting.resize(64, 0);
    greeting
}

/// Returns a frame with a size of one byte.
fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    [&[flags, body.len().try_into().unwrap()], body].concat()
}

fn command(name: &str, data: &[u8]) -> Vec<u8> {
    let length: u8 = name.len().try_into().unwrap();
    frame(4, &[&[length], name.as_bytes(), data].concat())
}

fn ready(socket: &str) -> Vec<u8> {
    let length: u8 = socket.len().try_into().unwrap();
    command("READY", &[&b"\x0bSocket-Type\0\0\0"[..], &[length], socket.as_bytes()].concat())
}

fn message(parts: &[&[u8]]) -> Vec<u8> {
    let last = parts.len() - 1;
    parts.iter().enumerate().flat_map(|(at, part)| frame(u8::from(at < last), part)).collect()
}

const SENDER: &[u8] = b"zeromq_worker-1_host_1_N";

/// Returns a message with an event from [`SENDER`].
fn event_message(topic: &[u8], value: &Value) -> Vec<u8> {
    let mut payload = Vec::new();
    crate::wire::encode_value(value, &mut payload).unwrap();
    message(&[topic, SENDER, b"broker-bin-v1", &payload])
}
