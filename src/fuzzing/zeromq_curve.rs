//! A fuzz target with two ZeroMQ sessions that are connected to each other with CURVE, and bytes that are changed between them.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use crate::data::{EndpointId, Filter, Topic, Value};
use crate::peering::{self, Event, Side};
use crate::wire::Envelope;
use crate::zeek::{Event as ZeekEvent, ZeekMessage};
use crate::zeromq::curve::{AllowedClients, KeyPair, SecretKey};
use crate::zeromq::{Config, EventFormat, Mechanism, SocketType, ZeroMq};

/// The publisher is the client of CURVE, and not the server.
const PUBLISHER_IS_CLIENT: u8 = 1;

/// Runs operations on a publisher and a subscriber. The first byte of the input contains the settings. Each operation is one byte
/// and its arguments: the lowest bit selects the publisher (0) or the subscriber.
pub fn zeromq_curve(input: &[u8]) {
    let Some((&settings, rest)) = input.split_first() else { return };
    let mut connection = Connection::new(settings);
    let mut arguments = rest.iter().copied();
    while let Some(operation) = arguments.next() {
        let n = usize::from(operation & 1);
        let mut argument = || usize::from(arguments.next().unwrap_or_default());
        match (operation >> 1) % 8 {
            0 => connection.publish(argument() * 40),
            1 => connection.subscribe(argument()),
            2 => connection.deliver(n, argument()),
            3 => connection.deliver(n, usize::MAX),
            4 => connection.change(n, |bytes| {
                let (at, with) = (argument(), argument());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= u8::try_from(with).unwrap_or_default();
                }
            }),
            5 => connection.change(n, |bytes| bytes.truncate(bytes.len().saturating_sub(argument()))),
            6 => connection.change(n, |bytes| {
                let again = bytes[..argument().min(bytes.len())].to_vec();
                bytes.extend_from_slice(&again);
            }),
            _ => connection.change(n, |bytes| {
                bytes.extend_from_slice(&[0, u8::try_from(argument()).unwrap_or_default()])
            }),
        }
    }
    connection.finish();
}

/// One side, and the bytes to it that are in transit.
struct End {
    session: ZeroMq,
    input: BytesMut,
    transit: Vec<u8>,
    events: Vec<Event>,
}

struct Connection {
    /// The publisher and the subscriber.
    ends: [End; 2],
    now: Instant,
    /// The messages that the publisher has sent.
    sent: Vec<Envelope>,
    /// Whether bytes in transit were changed.
    disturbed: bool,
}

fn keys(seed: u8) -> KeyPair {
    SecretKey::from_bytes([seed; 32]).into()
}

impl Connection {
    fn new(settings: u8) -> Self {
        let (now, [server, client]) = (Instant::now(), [1, 2].map(keys));
        let clients: AllowedClients = (*client.public(), "client").into();
        let as_client = Mechanism::CurveClient { server: *server.public(), keys: client };
        let as_server = Mechanism::CurveServer { keys: server, clients: Arc::new(clients) };
        let mechanisms =
            if settings & PUBLISHER_IS_CLIENT == 0 { [as_server, as_client] } else { [as_client, as_server] };
        let sides = [(SocketType::XPub, Side::Listener, 1), (SocketType::XSub, Side::Connector, 2)];
        let mut mechanisms = mechanisms.into_iter();
        let ends = sides.map(|(socket, side, id)| {
            let own_id = EndpointId::from_bytes([id; 16]);
            let filter: Filter = [Topic::from_static("/t")].into_iter().collect();
            let config = Config {
                common: peering::Config { filter, ..peering::Config::new(own_id, side) },
                socket,
                own_id,
                peer_id: EndpointId::from_bytes([id + 2; 16]),
                mechanism: mechanisms.next().unwrap_or_default(),
                format: EventFormat::Binary,
                reports_subscriptions: false,
            };
            let session = ZeroMq::new(config, now);
            End { session, input: BytesMut::new(), transit: Vec::new(), events: Vec::new() }
        });
        let mut connection = Connection { ends, now, sent: Vec::new(), disturbed: false };
        connection.transmit();
        connection
    }

    /// Moves the output of both sides into transit, and takes their events.
    fn transmit(&mut self) {
        for n in [0, 1] {
            while let Some(bytes) = self.ends[n].session.poll_transmit() {
                self.ends[1 - n].transit.extend_from_slice(&bytes);
            }
            while let Some(event) = self.ends[n].session.poll_event() {
                self.ends[n].events.push(event);
            }
        }
    }

    fn publish(&mut self, length: usize) {
        let text = format!("{}{}", self.sent.len(), "x".repeat(length));
        let value = ZeekMessage::from(ZeekEvent::new("e", (Value::from(text),))).into_value();
        let envelope = Envelope::data(EndpointId::from_bytes([1; 16]), Topic::from_static("/t"), &value);
        let envelope = envelope.expect("a short event");
        if self.ends[0].session.send(&envelope).is_ok() {
            self.sent.push(envelope);
        }
        self.transmit();
    }

    fn subscribe(&mut self, number: usize) {
        let topic = Topic::from(format!("/{number}"));
        // Fails before the session is established, and after its end.
        let _ = self.ends[1].session.subscribe(&topic);
        self.transmit();
    }

    /// Delivers bytes to one side.
    fn deliver(&mut self, n: usize, most: usize) {
        let end = &mut self.ends[n];
        let count = end.transit.len().min(most);
        end.input.extend(end.transit.drain(..count));
        loop {
            let more = self.ends[n].session.handle_input(self.now, &mut self.ends[n].input);
            self.transmit();
            if !self.ends[n].session.takes_input() {
                self.ends[n].session.admit();
            } else if !more {
                break;
            }
        }
        self.transmit();
    }

    /// Changes the bytes in transit to one side.
    fn change(&mut self, n: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let before = self.ends[n].transit.clone();
        change(&mut self.ends[n].transit);
        self.disturbed |= self.ends[n].transit != before;
    }

    fn finish(mut self) {
        while self.ends.iter().any(|end| !end.transit.is_empty()) {
            self.deliver(0, usize::MAX);
            self.deliver(1, usize::MAX);
        }
        let received = self.ends[1].events.iter().filter_map(|event| match event {
            Event::Message(envelope) => Some(envelope),
            Event::Malformed(error) => panic!("an authentic message is not malformed: {error}"),
            _ => None,
        });
        let received: Vec<&Envelope> = received.collect();
        let sent: Vec<&Envelope> = self.sent.iter().take(received.len()).collect();
        assert_eq!(received, sent, "only the messages of the peer are received, in their order");
        if !self.disturbed {
            assert!(self.ends.iter().all(|end| end.session.is_established()), "the keys are correct");
            assert_eq!(received.len(), self.sent.len(), "no message is lost");
        }
        for end in &mut self.ends {
            end.session.handle_eof();
            let last = std::iter::from_fn(|| end.session.poll_event()).last();
            assert!(matches!(last.as_ref().or(end.events.last()), Some(Event::Closed(_))));
        }
    }
}
