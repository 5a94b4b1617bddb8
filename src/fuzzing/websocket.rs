//! A fuzz target with one session of the WebSocket API, whose peer sends any bytes.

use std::time::Instant;

use bytes::BytesMut;

use super::TIGHT;
use super::decode::{chunks, decode};
use crate::data::{EndpointId, Filter, Topic};
use crate::peering::{Config, Event, Side};
use crate::trace::Protocol;
use crate::websocket::{Access, BinaryText, ClientConfig, ServerConfig, WebSocket};
use crate::wire::Limits;

/// The bits of the settings.
const CLIENT: u8 = 1;
const TIGHT_LIMITS: u8 = 2;
/// The session is established before the stream begins.
const ESTABLISHED: u8 = 4;

/// The id of the peer, from which a client derives its key, and the answer of a server to this key.
const PEER: EndpointId = EndpointId::from_bytes([0; 16]);
const ANSWER: &[u8] =
    b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n";
const ACK: &[u8] = b"\x81\x29{\"type\":\"ack\",\"endpoint\":\"\",\"version\":\"\"}";

/// The first bytes of a client: its request, and the subscription to everything.
const REQUEST: &[u8] = b"GET /v1/messages/json HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n\x81\x04[\"\"]";

/// Passes a stream to a session, at once and in chunks. The input consists of the settings, the number of chunk sizes, the
/// sizes (one byte each, used in turn), and the stream.
pub fn websocket(input: &[u8]) {
    let Some((&settings, input)) = input.split_first() else { return };
    let Some((&count, input)) = input.split_first() else { return };
    let (sizes, stream) = input.split_at(input.len().min(count.into()));
    let at_once = run(settings, stream, &[]);
    let chunked = run(settings, stream, sizes);
    assert_eq!(chunked.0, at_once.0, "the events do not depend on the size of reads");
    if settings & CLIENT == 0 {
        assert_eq!(chunked.1, at_once.1, "the output does not depend on the size of reads");
    }
    let established = settings & ESTABLISHED != 0;
    let side = if settings & CLIENT == 0 { Side::Connector } else { Side::Listener };
    let frames = decode(Protocol::WebSocket, side, established, stream, &[]);
    assert_eq!(
        decode(Protocol::WebSocket, side, established, stream, sizes),
        frames,
        "the decoded frames do not depend on the size of reads"
    );
}

/// Returns the events and the output of a session.
fn run(settings: u8, stream: &[u8], sizes: &[u8]) -> (Vec<Event>, Vec<u8>) {
    let limits = if settings & TIGHT_LIMITS == 0 { Limits::DEFAULT } else { TIGHT };
    let now = Instant::now();
    let is_client = settings & CLIENT != 0;
    let side = if is_client { Side::Connector } else { Side::Listener };
    let common = Config { limits, ..Config::new(EndpointId::from_bytes([1; 16]), side) };
    let session = if is_client {
        let (host, application) = ("localhost:1".to_owned(), "fuzz".to_owned());
        let filter: Filter = [Topic::from_static("/t")].into_iter().collect();
        let common = Config { filter, ..common };
        WebSocket::client(ClientConfig { common, peer_id: PEER, host, application, token: None }, now)
    } else {
        let config = ServerConfig {
            common,
            peer_id: PEER,
            access: Access::default().into(),
            endpoint: "e".to_owned(),
            version: "v".to_owned(),
            binary: BinaryText::Escape,
            ping_interval: ServerConfig::PING_INTERVAL,
        };
        WebSocket::server(config, now)
    };
    let mut run =
        Run { session, limits, now, input: BytesMut::new(), events: Vec::new(), output: Vec::new() };
    if settings & ESTABLISHED != 0 {
        if is_client {
            run.receive(ANSWER);
            run.receive(ACK);
        } else {
            run.receive(REQUEST);
        }
        assert!(run.session.is_established());
    }
    for chunk in chunks(stream, sizes) {
        run.receive(chunk);
    }
    run.session.handle_eof();
    run.poll();
    assert!(matches!(run.events.last(), Some(Event::Closed(_))), "the session ends with the stream");
    (run.events, run.output)
}

struct Run {
    session: WebSocket,
    limits: Limits,
    now: Instant,
    input: BytesMut,
    events: Vec<Event>,
    output: Vec<u8>,
}

impl Run {
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
        let longest = self.limits.max_frame.max(self.limits.max_handshake_frame) + 14;
        assert!(self.input.len() <= longest, "at most one incomplete frame is buffered");
    }

    fn poll(&mut self) {
        while let Some(event) = self.session.poll_event() {
            assert!(!matches!(self.events.last(), Some(Event::Closed(_))), "nothing follows the end");
            match &event {
                Event::Message(envelope) => {
                    assert!(
                        self.session.is_established() || self.session.is_closed() || !self.events.is_empty()
                    );
                    envelope.check(&Limits::DEFAULT).expect("the value can be decoded");
                }
                Event::Established { filter, .. } => {
                    assert!(filter.topics().len() <= self.limits.max_filter_topics);
                }
                _ => {}
            }
            self.events.push(event);
        }
        while let Some(bytes) = self.session.poll_transmit() {
            self.output.extend_from_slice(&bytes);
        }
    }
}
