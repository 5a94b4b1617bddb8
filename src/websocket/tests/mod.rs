//! Tests of complete sessions.

mod captures;
mod formats;
mod limits;
mod liveness;
mod sessions;

use std::time::{Duration, Instant};

use super::*;
use crate::data::{Topic, Value};
use crate::peering::{Config, ErrorKind, PeeringError, Side};

/// One side of a connection, and what it has received and reported.
pub(super) struct End {
    session: WebSocket,
    input: BytesMut,
    events: Vec<Event>,
    output: Vec<u8>,
    now: Instant,
}

impl End {
    fn new(session: WebSocket, now: Instant) -> Self {
        let mut end = End { session, input: BytesMut::new(), events: Vec::new(), output: Vec::new(), now };
        end.poll();
        end
    }

    fn client(change: impl FnOnce(&mut ClientConfig)) -> Self {
        let (mut config, now) = (client_config(), Instant::now());
        change(&mut config);
        End::new(WebSocket::client(config, now), now)
    }

    fn server(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let (mut config, now) = (server_config(), Instant::now());
        change(&mut config);
        End::new(WebSocket::server(config, now), now)
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

    /// Lets time pass until the next deadline.
    fn time_out(&mut self) {
        self.now = self.session.poll_timeout().expect("a deadline");
        self.session.handle_timeout(self.now);
        self.poll();
    }

    fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
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

/// Returns an established session, without the events so far.
fn established(client: impl FnOnce(&mut ClientConfig), server: impl FnOnce(&mut ServerConfig)) -> [End; 2] {
    let (mut client, mut server) = (End::client(client), End::server(server));
    exchange(&mut client, &mut server);
    assert!(client.session.is_established() && server.session.is_established());
    client.take_events();
    server.take_events();
    [client, server]
}

fn id(n: u8) -> EndpointId {
    EndpointId::from_bytes([n; 16])
}

fn filter(topics: &[&'static str]) -> Filter {
    topics.iter().map(|topic| Topic::from_static(topic)).collect()
}

fn envelope(topic: &'static str, value: &Value) -> Envelope {
    Envelope::data(id(9), Topic::from_static(topic), value).unwrap()
}

fn failure(end: &End) -> (ErrorKind, &'static str) {
    match end.close_reason() {
        Some(CloseReason::Failed(PeeringError::Session(error))) => (error.kind, error.cause),
        other => panic!("{other:?}"),
    }
}

fn client_config() -> ClientConfig {
    ClientConfig {
        common: Config { filter: filter(&["/t"]), ..Config::new(id(1), Side::Connector) },
        peer_id: id(2),
        host: "localhost:27759".into(),
        application: "zeek-bridge/test".into(),
        token: None,
    }
}

fn server_config() -> ServerConfig {
    ServerConfig {
        common: Config { idle_timeout: None, ..Config::new(id(3), Side::Listener) },
        peer_id: id(4),
        access: Arc::default(),
        endpoint: format!("{}-websocket-0", id(3)),
        version: "1.0".into(),
        binary: BinaryText::Escape,
        ping_interval: ServerConfig::PING_INTERVAL,
    }
}

/// Returns the head of a request with additional headers.
fn request(headers: &str) -> Vec<u8> {
    format!(
        "GET /v1/messages/json HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: \
         13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{headers}\r\n"
    )
    .into_bytes()
}

/// Returns a complete message of a client.
fn from_client(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    frame_with(Some([1, 2, 3, 4]), opcode, payload)
}

/// Returns a complete message of a server.
fn from_server(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    frame_with(None, opcode, payload)
}

fn frame_with(mask: Option<[u8; 4]>, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame::put_message(&mut out, mask, |out| {
        out.put_slice(payload);
        Ok(opcode)
    })
    .unwrap();
    out.to_vec()
}

/// Splits output after an HTTP head into its frames.
fn frames(output: &[u8]) -> Vec<(Opcode, Vec<u8>)> {
    let mut input = BytesMut::from(output);
    if output.starts_with(b"HTTP/") {
        let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let _ = input.split_to(end + 4);
    }
    let mut frames = Vec::new();
    while let Some((header, payload)) = Fragments::default().cut(&mut input, usize::MAX).unwrap() {
        assert!(header.last);
        frames.push((header.opcode, payload.to_vec()));
    }
    assert!(input.is_empty(), "an incomplete frame");
    frames
}

fn text_frames(output: &[u8]) -> Vec<String> {
    let data = frames(output).into_iter().filter(|(opcode, _)| !opcode.is_control());
    data.map(|(_, text)| String::from_utf8(text).unwrap()).collect()
}

const SECOND: Duration = Duration::from_secs(1);
