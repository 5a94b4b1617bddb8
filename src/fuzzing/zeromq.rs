//! A fuzz target with one session of Zeek's ZeroMQ back end, whose peer sends any bytes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::TIGHT;
use super::decode::{chunks, decode};
use crate::data::{EndpointId, Filter, Topic, one_line};
use crate::peering::{self, Event, Side};
use crate::trace::Protocol;
use crate::wire::{Envelope, Limits};
use crate::zeek::Event as ZeekEvent;
use crate::zeromq::discovery::Discovery;
use crate::zeromq::{Config, EventFormat, Mechanism, SocketType, SubscriptionChange, ZeroMq};

/// The bits of the settings: two for the socket, and flags.
const SOCKETS: [SocketType; 4] = [SocketType::XPub, SocketType::XSub, SocketType::Pull, SocketType::Push];
const TIGHT_LIMITS: u8 = 4;
/// The session is established before the stream begins.
const ESTABLISHED: u8 = 8;
/// This side listens.
const LISTENER: u8 = 16;

/// The length of a greeting, and the greeting of a peer without the zeros at its end.
const GREETING_LENGTH: usize = 64;
const GREETING: &[u8; 16] = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01NULL";
/// The READY of a peer, without the type of its socket.
const READY: &[u8] = b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04";

/// Passes a stream to a session, at once and in chunks. The input consists of the settings, the number of chunk sizes, the
/// sizes (one byte each, used in turn), and the stream.
pub fn zeromq(input: &[u8]) {
    let Some((&settings, input)) = input.split_first() else { return };
    let Some((&count, input)) = input.split_first() else { return };
    let (sizes, stream) = input.split_at(input.len().min(count.into()));
    let at_once = run(settings, stream, &[]);
    let chunked = run(settings, stream, sizes);
    assert_eq!(chunked.events, at_once.events, "the events do not depend on the size of reads");
    assert_eq!(chunked.output, at_once.output, "the output does not depend on the size of reads");
    // Subscriptions may have changed in the read with the error that ended the session.
    if !at_once.failed {
        assert_eq!(chunked.hellos, at_once.hellos, "the hellos do not depend on the size of reads");
        assert_eq!(chunked.filter, at_once.filter, "the last filter does not depend on the size of reads");
    }
    let established = settings & ESTABLISHED != 0;
    let frames = decode(Protocol::ZeroMq, Side::Connector, established, stream, &[]);
    assert_eq!(
        decode(Protocol::ZeroMq, Side::Connector, established, stream, sizes),
        frames,
        "the decoded messages do not depend on the size of reads"
    );
}

/// Returns a run after a stream in chunks of these sizes, used in turn, or all at once if there are no sizes.
fn run(settings: u8, stream: &[u8], sizes: &[u8]) -> Run {
    let limits = if settings & TIGHT_LIMITS == 0 { Limits::DEFAULT } else { TIGHT };
    let socket = SOCKETS[usize::from(settings & 3)];
    let own_id = EndpointId::from_bytes([1; 16]);
    let filter: Filter = [Topic::from_static("/t")].into_iter().collect();
    let side = if settings & LISTENER == 0 { Side::Connector } else { Side::Listener };
    let common = peering::Config { limits, filter, ..peering::Config::new(own_id, side) };
    let peer_id = EndpointId::from_bytes([2; 16]);
    let mechanism = Mechanism::Null;
    let config = Config {
        common,
        socket,
        own_id,
        peer_id,
        mechanism,
        format: EventFormat::Binary,
        reports_subscriptions: true,
    };
    let now = Instant::now();
    let mut run = Run {
        session: ZeroMq::new(config, now),
        limits,
        now,
        input: BytesMut::new(),
        events: Vec::new(),
        filter: Filter::new(),
        subscribed: BTreeSet::new(),
        discovery: Discovery::new("fuzz", own_id.to_string()),
        hellos: Vec::new(),
        failed: false,
        output: Vec::new(),
    };
    if settings & ESTABLISHED != 0 {
        run.receive(GREETING);
        run.receive(&[0; GREETING_LENGTH - GREETING.len()]);
        run.receive(READY);
        run.receive(match socket {
            SocketType::XPub => b"XSUB",
            SocketType::XSub => b"XPUB",
            SocketType::Push => b"PULL",
            SocketType::Pull => b"PUSH",
        });
        assert!(run.session.is_established());
    }
    for chunk in chunks(stream, sizes) {
        run.receive(chunk);
    }
    run.failed = run.session.is_closed();
    // A change of the filter may have to wait.
    run.session.handle_timeout(run.now + Duration::from_secs(1));
    run.poll();
    run.session.handle_eof();
    run.poll();
    assert!(matches!(run.events.last(), Some(Event::Closed(_))), "the session ends with the stream");
    run
}

struct Run {
    session: ZeroMq,
    limits: Limits,
    now: Instant,
    input: BytesMut,
    /// The events without changes of the filter.
    events: Vec<Event>,
    filter: Filter,
    /// The subscriptions of the peer, according to the reported changes.
    subscribed: BTreeSet<Topic>,
    /// A node of the cluster that has received these changes and messages, and the events that it publishes.
    discovery: Discovery,
    hellos: Vec<(Topic, ZeekEvent)>,
    /// Whether the session ended before the stream.
    failed: bool,
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
                // The output does not depend on the size of reads, because this side subscribes before it reads on.
                self.poll();
            } else if !more {
                break;
            }
        }
        self.poll();
        let longest = self.limits.max_frame.max(self.limits.max_handshake_frame).max(GREETING_LENGTH) + 9;
        assert!(self.input.len() <= longest, "at most one incomplete frame is buffered");
    }

    fn poll_subscriptions(&mut self) {
        while let Some(change) = self.session.poll_subscription() {
            self.hellos.extend(self.discovery.handle_subscription(&change));
            match change {
                SubscriptionChange::Subscribed(topic) => {
                    self.subscribed.insert(topic);
                    assert!(self.subscribed.len() <= self.limits.max_filter_topics);
                }
                SubscriptionChange::Cancelled(topic) => drop(self.subscribed.remove(&topic)),
            }
        }
        if !self.session.is_closed() {
            assert!(self.subscribed.iter().all(|topic| self.session.is_subscribed(topic)));
        }
        let is_to_node =
            |(topic, _): &(Topic, ZeekEvent)| topic.as_bytes().starts_with(b"zeek.cluster.nodeid.");
        assert!(self.hellos.iter().all(is_to_node));
    }

    /// Sends subscriptions in addition to those of the filter, if this side is a subscriber.
    fn subscribe(&mut self) {
        let topic = Topic::from_static("/u");
        let sent = [self.session.subscribe(&topic), self.session.cancel(&topic)].map(|sent| sent.is_ok());
        let is_subscriber = self.session.peer_socket().is_some_and(|peer| matches!(peer, "XPUB" | "PUB"));
        assert!(sent == [is_subscriber; 2] || self.session.is_closed());
    }

    fn poll(&mut self) {
        self.poll_subscriptions();
        while let Some(event) = self.session.poll_event() {
            assert!(!matches!(self.events.last(), Some(Event::Closed(_))), "nothing follows the end");
            match &event {
                Event::Message(Envelope { sender, .. }) | Event::Logs { sender, .. } => {
                    let name = self.session.sender_name(*sender).expect("a recent sender");
                    let text = self.session.sender_text(*sender).expect("a recent sender");
                    assert_eq!(*name, one_line(&String::from_utf8_lossy(&text)));
                }
                Event::Established { .. } => self.subscribe(),
                Event::FilterChanged(filter) => {
                    assert!(filter.topics().len() <= self.limits.max_filter_topics);
                    let subscribed: Filter = self.subscribed.iter().cloned().collect();
                    assert_eq!(*filter, subscribed, "the changes lead to the filter");
                    self.filter = filter.clone();
                    continue;
                }
                Event::Notice(_) | Event::PeerLeaving => unreachable!("the protocol has no such message"),
                _ => {}
            }
            if let Event::Message(envelope) = &event {
                let own = envelope.topic == self.discovery.subscriptions()[0];
                let hello = self.discovery.handle_message(envelope);
                assert!(own || hello.is_empty(), "a hello to another node is ignored");
                self.hellos.extend(hello);
            }
            self.events.push(event);
        }
        while let Some(bytes) = self.session.poll_transmit() {
            self.output.extend_from_slice(&bytes);
        }
    }
}
