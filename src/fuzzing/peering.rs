//! A fuzz target with two peerings that are connected to each other. Bytes can be in transit between the two peerings,
//! and a third party can inject bytes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};

use super::TIGHT;
use crate::data::{EndpointId, Filter, Topic, Value};
use crate::peering::{CloseReason, Config, Event, Peering, PeeringError, Side};
use crate::wire::{
    Envelope, EnvelopeType, ErrorCode, Handshake, LENGTH_FIELD, Limits, PROTOCOL_VERSION, cut_frame,
};

/// The ids of senders and receivers. An envelope begins with an id. No byte of these ids is the tag of a handshake
/// message, so an envelope is never decoded as a handshake message.
const IDS: [EndpointId; 4] = [
    EndpointId::from_bytes([1; 16]),
    EndpointId::from_bytes([2; 16]),
    EndpointId::from_bytes([0x20; 16]),
    EndpointId::NIL,
];

/// Runs a sequence of operations on two connected peerings. The first byte of the input contains settings. Each
/// operation is one byte, followed by the arguments of the operation.
pub fn peering(input: &[u8]) {
    let Some((&settings, rest)) = input.split_first() else { return };
    Operations { ends: ends(settings), rest, now: Instant::now(), disturbed: false }.run();
}

fn ends(settings: u8) -> [End; 2] {
    let bit = |n: u8| settings & (1 << n) != 0;
    let limits = if bit(0) { TIGHT } else { Limits::DEFAULT };
    let ids = if bit(1) { [IDS[1], IDS[0]] } else { [IDS[0], IDS[1]] };
    let sides = if bit(2) { [Side::Listener, Side::Connector] } else { [Side::Connector, Side::Listener] };
    let idle_timeout = bit(3).then(|| Duration::from_secs(20));
    let now = Instant::now();
    [0, 1].map(|n| End::new(Config { limits, idle_timeout, ..Config::new(ids[n], sides[n]) }, now))
}

struct Operations<'a> {
    ends: [End; 2],
    rest: &'a [u8],
    now: Instant,
    /// Whether bytes were injected or a peering was ended by force. In that case, the two peerings may disagree.
    disturbed: bool,
}

impl<'a> Operations<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    /// Reads a length and that many bytes, or fewer at the end of the input.
    fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte().unwrap_or(0)).min(self.rest.len());
        let (bytes, rest) = self.rest.split_at(length);
        self.rest = rest;
        bytes
    }

    fn run(mut self) {
        for end in &mut self.ends {
            end.check();
        }
        while let Some(operation) = self.byte() {
            let n = usize::from(operation & 1);
            self.operation(n, operation >> 1);
            for end in &mut self.ends {
                end.check();
            }
        }
        if !self.disturbed {
            self.deliver_all();
        }
        for end in &mut self.ends {
            end.peering.handle_eof();
            end.check();
            assert!(end.closed.is_some(), "the peering is closed at the end of the stream");
        }
    }

    fn operation(&mut self, n: usize, operation: u8) {
        let now = self.now;
        match operation % 14 {
            0 => {
                let bytes = self.bytes();
                self.inject(n, bytes);
            }
            1 => {
                let message = handshake(self.byte().unwrap_or(0));
                let mut bytes = BytesMut::new();
                message.encode(&mut bytes).expect("small enough");
                self.inject(n, &bytes);
            }
            2 => {
                let envelope = envelope(self.byte().unwrap_or(0));
                let mut bytes = BytesMut::new();
                envelope.encode(&mut bytes).expect("small enough");
                self.inject(n, &bytes);
            }
            // Delivers all or some of the bytes in transit.
            3 => self.arrive(n, usize::MAX),
            4 => {
                let count = self.byte().unwrap_or(1);
                self.arrive(n, count.into());
            }
            5 => self.ends[n].admit(now),
            6 => {
                let end = &mut self.ends[n];
                self.disturbed |= end.introduced && !end.answered;
                end.answered |= end.introduced;
                end.peering.refuse_redundant();
            }
            7 => {
                let seconds = self.byte().unwrap_or(0);
                self.now += Duration::from_secs(seconds.into());
                self.disturbed = true;
                for end in &mut self.ends {
                    end.handle_timeout(self.now);
                }
            }
            8 => {
                let text = Bytes::copy_from_slice(self.bytes());
                self.ends[n].send(text);
            }
            9 => {
                // The number of topics is within the tight limits.
                let filter = filter(self.byte().unwrap_or(0) & 3);
                self.ends[n].peering.set_filter(filter.clone()).expect("small enough");
                self.ends[n].filter = filter;
            }
            10 => {
                self.ends[n].peering.leave(now);
                self.ends[n].left = true;
            }
            11 => {
                self.ends[n].peering.handle_eof();
                self.disturbed = true;
            }
            12 => self.ping(n),
            _ => self.ends[n].handle_timeout(now),
        }
    }

    /// Injects bytes into the stream to one side.
    fn inject(&mut self, n: usize, bytes: &[u8]) {
        self.disturbed |= !bytes.is_empty();
        self.ends[n].arrive(self.now, bytes);
    }

    fn arrive(&mut self, n: usize, most: usize) {
        let [a, b] = &mut self.ends;
        let (end, other) = if n == 0 { (a, b) } else { (b, a) };
        let count = other.out.len().min(most);
        let bytes = other.out.split_to(count);
        end.arrive(self.now, &bytes);
    }

    /// If the peering is established and has no incomplete frame, checks that it answers a ping with a pong of the same
    /// payload.
    fn ping(&mut self, n: usize) {
        let (now, end) = (self.now, &mut self.ends[n]);
        end.check();
        if !end.peering.is_established() || !end.input.is_empty() {
            return;
        }
        let payload = Bytes::from_static(b"some bytes");
        let mut bytes = BytesMut::new();
        Envelope::ping(IDS[2], end.id, payload.clone()).encode(&mut bytes).expect("small enough");
        let before = end.out.len();
        end.arrive(now, &bytes);
        let mut pong = BytesMut::new();
        Envelope::pong(end.id, IDS[2], payload).encode(&mut pong).expect("small enough");
        assert_eq!(end.out[before..], pong);
        // The other side ignores the pong.
    }

    /// Delivers all bytes and admits both peers. Then checks that the two peerings agree.
    fn deliver_all(&mut self) {
        for _ in 0..100 {
            for n in [0, 1] {
                self.arrive(n, usize::MAX);
                self.ends[n].admit(self.now);
                self.ends[n].check();
            }
        }
        let [a, b] = &self.ends;
        assert!(a.out.is_empty() && b.out.is_empty(), "no more bytes are in transit");
        for (one, other) in [(a, b), (b, a)] {
            if !one.left && !other.left {
                assert_eq!(one.closed, None);
                assert!(one.established);
                assert_eq!(one.peer_filter, other.filter);
            }
            if one.established && other.established {
                // Messages are lost only if the receiver has left.
                let complete = !one.left && !other.left;
                assert!(other.sent.starts_with(&one.received) && (!complete || one.received == other.sent));
            }
            let expected = match &one.closed {
                None | Some(CloseReason::Left) => true,
                Some(CloseReason::Failed(PeeringError::Refused { code, .. })) => {
                    other.left && *code == ErrorCode::SHUTTING_DOWN
                }
                _ => false,
            };
            assert!(expected, "{:?}", one.closed);
            // The last handshake message of one side may be in transit while the other side sends its BYE.
            assert!(one.malformed <= usize::from(other.left && !other.established));
        }
    }
}

/// A peering, with the state that the checks need.
struct End {
    id: EndpointId,
    limits: Limits,
    peering: Peering,
    input: BytesMut,
    /// The bytes in transit to the other side.
    out: BytesMut,
    filter: Filter,
    peer_filter: Filter,
    introduced: bool,
    answered: bool,
    established: bool,
    peer_leaving: bool,
    /// Whether `leave` was called.
    left: bool,
    closed: Option<CloseReason>,
    malformed: usize,
    sent: Vec<Bytes>,
    received: Vec<Bytes>,
    /// Whether this side has sent its last handshake message or its first envelope.
    sends_envelopes: bool,
    refused: bool,
}

impl End {
    fn new(config: Config, now: Instant) -> Self {
        End {
            id: config.id,
            limits: config.limits,
            peering: Peering::new(config, now),
            input: BytesMut::new(),
            out: BytesMut::new(),
            filter: Filter::new(),
            peer_filter: Filter::new(),
            introduced: false,
            answered: false,
            established: false,
            peer_leaving: false,
            left: false,
            closed: None,
            malformed: 0,
            sent: Vec::new(),
            received: Vec::new(),
            sends_envelopes: false,
            refused: false,
        }
    }

    fn arrive(&mut self, now: Instant, bytes: &[u8]) {
        self.input.put_slice(bytes);
        self.peering.handle_input(now, &mut self.input);
        assert!(!self.peering.is_closed() || self.input.is_empty(), "no input is kept after the end");
        self.check();
    }

    fn admit(&mut self, now: Instant) {
        self.answered |= self.introduced;
        self.peering.admit();
        self.peering.handle_input(now, &mut self.input);
    }

    fn send(&mut self, text: Bytes) {
        let value = Value::String(text.to_vec().into());
        let envelope = Envelope::data(self.id, Topic::from_static("/t"), &value).expect("small enough");
        let sent = self.peering.send(&envelope);
        assert_eq!(sent.is_ok(), self.peering.is_established() && !self.left);
        if sent.is_ok() {
            self.sent.push(envelope.payload);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.peering.handle_timeout(now);
        let next = self.peering.poll_timeout();
        assert!(next.is_none_or(|next| next > now), "an expired timeout has been handled");
    }

    /// Handles the events and the output of the peering, and checks that they are allowed.
    fn check(&mut self) {
        let was_closed = self.closed.is_some();
        let mut events = VecDeque::new();
        while let Some(event) = self.peering.poll_event() {
            events.push_back(event);
        }
        for event in events {
            self.on_event(event);
        }
        assert_eq!(self.peering.is_closed(), self.closed.is_some());
        assert_eq!(self.peering.is_established(), self.established && self.closed.is_none());
        let mut output = BytesMut::new();
        let unsent = self.peering.unsent();
        while let Some(bytes) = self.peering.poll_transmit() {
            assert!(!bytes.is_empty());
            output.put_slice(&bytes);
        }
        assert_eq!((output.len(), self.peering.unsent()), (unsent, 0));
        assert!(!was_closed || output.is_empty(), "nothing is sent after the end");
        self.out.put_slice(&output);
        while let Some(frame) = cut_frame(&mut output, usize::MAX).expect("frames") {
            self.on_frame(&frame);
        }
        assert!(output.is_empty(), "only complete frames are sent");
        self.check_input_bound();
        if self.closed.is_some() {
            assert_eq!(self.peering.poll_timeout(), None);
        }
    }

    /// Checks that at most an incomplete frame is buffered, unless the peering waits for a decision.
    fn check_input_bound(&self) {
        let limit = if self.peering.is_established() {
            self.limits.max_frame
        } else {
            self.limits.max_handshake_frame
        };
        if self.peering.takes_input() && !self.peering.is_closed() {
            assert!(self.input.len() < LENGTH_FIELD + limit);
        }
    }

    fn on_event(&mut self, event: Event) {
        assert_eq!(self.closed, None, "an event after the end: {event:?}");
        let established = self.established;
        match event {
            Event::Introduced { peer, .. } => {
                assert!(!self.introduced && peer != self.id && !peer.is_nil());
                self.introduced = true;
            }
            Event::Established { peer, filter } => {
                assert!(self.answered && !established && peer != self.id && !peer.is_nil());
                self.established = true;
                self.peer_filter = filter;
            }
            Event::Message(envelope) => {
                assert!(established && matches!(envelope.kind, EnvelopeType::Data | EnvelopeType::Command));
                self.received.push(envelope.payload);
            }
            Event::FilterChanged(filter) => {
                assert!(established && filter.topics().len() <= self.limits.max_filter_topics);
                self.peer_filter = filter;
            }
            Event::Malformed(_) => {
                assert!(established);
                self.malformed += 1;
            }
            Event::PeerLeaving => {
                assert!(established && !self.peer_leaving);
                self.peer_leaving = true;
            }
            Event::Closed(reason) => self.closed = Some(reason),
            Event::Notice(_) | Event::Logs { .. } => {
                unreachable!("Broker's protocol has no notices and no separate log batches")
            }
        }
    }

    fn on_frame(&mut self, frame: &Bytes) {
        assert!(!self.refused, "a refusal is the last message");
        if let Ok(message) = Handshake::decode(frame, &Limits::DEFAULT) {
            match message {
                Handshake::Hello { sender, .. }
                | Handshake::VersionSelect { sender, .. }
                | Handshake::DropConn { sender, .. } => assert_eq!(sender, self.id),
                _ => {}
            }
            assert!(!self.sends_envelopes, "{message:?} after an envelope");
            self.sends_envelopes = matches!(message, Handshake::OriginatorAck);
            self.refused = matches!(message, Handshake::DropConn { .. });
            assert!(!self.refused || self.closed.is_some(), "a refusal closes the peering");
            return;
        }
        let envelope = Envelope::decode(frame).expect("an envelope");
        envelope.check(&Limits::DEFAULT).expect("a valid envelope");
        assert_eq!(envelope.sender, self.id);
        assert!(self.established);
        self.sends_envelopes = true;
    }
}

/// Returns a handshake message from one of the ids.
fn handshake(which: u8) -> Handshake {
    let sender = IDS[usize::from(which >> 3) % IDS.len()];
    let other = which & 0x40 != 0;
    match which & 7 {
        0 => Handshake::Hello { sender, min_version: if other { 2 } else { 0 }, max_version: 9 },
        1 => Handshake::Probe,
        2 => Handshake::VersionSelect { sender, version: if other { 2 } else { PROTOCOL_VERSION } },
        3 => Handshake::OriginatorSyn(filter(which >> 3)),
        4 => Handshake::ResponderSynAck(filter(which >> 3)),
        5 => Handshake::OriginatorAck,
        6 => Handshake::DropConn {
            sender,
            code: if other { ErrorCode::LOGIC_ERROR } else { ErrorCode::REDUNDANT_CONNECTION },
            description: "no".into(),
        },
        _ => Handshake::Hello { sender, min_version: PROTOCOL_VERSION, max_version: PROTOCOL_VERSION },
    }
}

/// Returns an envelope of an arbitrary type. The sender and the receiver are from the known ids.
fn envelope(which: u8) -> Envelope {
    let sender = IDS[usize::from(which >> 3) % IDS.len()];
    let receiver = IDS[usize::from(which >> 5) % IDS.len()];
    let bye = Bytes::from_static(b"BYE\x01\x01\x01\x01\x01\x01\x01\x01");
    let data = Envelope::data(sender, Topic::from_static("/t"), &Value::Count(1)).expect("small enough");
    match which & 7 {
        0 => Envelope { receiver, ..data },
        1 => Envelope { kind: EnvelopeType::Command, receiver, ..data },
        2 => Envelope::routing_update(sender, receiver, &filter(which)).expect("small enough"),
        3 => Envelope { kind: EnvelopeType::RoutingUpdate, receiver, ..data },
        4 => Envelope::ping(sender, receiver, Bytes::new()),
        5 => Envelope::ping(sender, receiver, bye),
        6 => Envelope::pong(sender, receiver, bye),
        _ => Envelope::pong(sender, receiver, Bytes::new()),
    }
}

/// Returns a filter of up to seven topics.
fn filter(which: u8) -> Filter {
    let topics = ["/a", "/b", "/c", "/a/b", "", "/d", "/e"];
    topics.iter().take(usize::from(which & 7)).map(|topic| Topic::from_static(topic)).collect()
}
