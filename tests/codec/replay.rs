//! Every captured peering again, with this crate's machine in the place of each of its two sides.
//!
//! The machine has the side's endpoint id and filter, is given the very bytes that the other side sent, and
//! has to send the very bytes that its side sent: the handshake by itself, the answers to pings by itself,
//! and messages, filters and the BYE when it is told to say what that side said. Whatever the other
//! side sent has to come out whole. Each replay is done in four ways: frame by frame, byte by byte,
//! in chunks that do not care for frames, and with all bytes of the other side there at once.
//!
//! What cannot be the same: the 8 bytes of a BYE are the sender's own choice, so the recorded ones and ours
//! are exchanged for one another; Broker 2.3 sends its pongs with another ttl. Both are
//! compared in all other bytes. Some sides were no endpoints at all; their tests say what is checked instead.

use std::time::{Duration, Instant};

use crate::common::{Fixture, Frame, Phase, Side};
use bytes::{Bytes, BytesMut};
use serde_json::Value as Json;
use zeek_bridge::data::{EndpointId, Filter, Topic};
use zeek_bridge::peering::{CloseReason, Config, Event, Peering, PeeringError, Role};
use zeek_bridge::wire::{Envelope, EnvelopeType, ErrorCode, Handshake, Limits};

/// How the bytes of the other side arrive.
#[derive(Clone, Copy, Debug)]
enum Arrival {
    /// Frame by frame, in the recorded order.
    Frames,
    /// The same, byte by byte.
    Bytes,
    /// In chunks of this many bytes, and each as late as it can be.
    Chunks(usize),
    /// All that there is before this side says anything.
    AtOnce,
}

const ARRIVALS: [Arrival; 5] =
    [Arrival::Frames, Arrival::Bytes, Arrival::Chunks(3), Arrival::Chunks(1000), Arrival::AtOnce];

/// Where the ttl and the payload of an envelope with the topic `<$>` stand in its frame.
const TTL: std::ops::Range<usize> = 4 + 33..4 + 35;
const PAYLOAD: usize = 4 + 37 + 3;

/// What the machine said and told.
#[derive(Default)]
struct Seen {
    /// Its frames, with their length fields.
    frames: Vec<Bytes>,
    events: Vec<Event>,
}

/// A machine in the place of one side.
struct Played {
    peering: Peering,
    input: BytesMut,
    seen: Seen,
    /// Whether to refuse the other side as redundant.
    refuse: bool,
    now: Instant,
}

impl Played {
    fn new(id: EndpointId, side: Side, filter: Filter) -> Self {
        let now = Instant::now();
        let peering = Peering::new(Config { filter, ..Config::new(id, side) }, now);
        let mut played =
            Played { peering, input: BytesMut::new(), seen: Seen::default(), refuse: false, now };
        played.note();
        played
    }

    /// The machine for this side of a fixture.
    fn of(fixture: &Fixture, side: Side) -> Self {
        let id = fixture.endpoint_id(side).expect("a side that said who it is");
        Self::new(id, side, filter(fixture.initial_filter(side).unwrap_or_default()))
    }

    fn arrive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.peering.handle_input(self.now, &mut self.input);
        self.note();
    }

    fn note(&mut self) {
        while let Some(event) = self.peering.poll_event() {
            if let Event::Introduced { .. } = event {
                if self.refuse {
                    self.peering.refuse_redundant();
                } else {
                    self.peering.admit();
                    self.peering.handle_input(self.now, &mut self.input);
                }
            }
            self.seen.events.push(event);
        }
        let mut bytes = BytesMut::new();
        while let Some(piece) = self.peering.poll_transmit() {
            bytes.extend_from_slice(&piece);
        }
        while let Some(length) = bytes.first_chunk() {
            let length = u32::from_be_bytes(*length) as usize;
            self.seen.frames.push(bytes.split_to(4 + length).freeze());
        }
        assert!(bytes.is_empty(), "only whole frames are written");
    }

    fn established(&self) -> Option<(EndpointId, Filter)> {
        self.seen.events.iter().find_map(|event| match event {
            Event::Established { peer, filter } => Some((*peer, filter.clone())),
            _ => None,
        })
    }

    fn closed(&self) -> Option<&CloseReason> {
        let closed = self.seen.events.iter().filter(|event| matches!(event, Event::Closed(_))).count();
        match self.seen.events.last() {
            Some(Event::Closed(reason)) => {
                assert_eq!(closed, 1, "the end comes once");
                Some(reason)
            }
            _ => {
                assert_eq!(closed, 0, "nothing comes after the end");
                None
            }
        }
    }

    /// Everything it said, as one stream.
    fn said(&self) -> Bytes {
        self.seen.frames.concat().into()
    }
}

fn filter(topics: impl IntoIterator<Item = String>) -> Filter {
    topics.into_iter().map(|topic| Topic::new(topic).unwrap()).collect()
}

fn json_filter(json: &Json) -> Filter {
    filter(json["filter"].as_array().unwrap().iter().map(|topic| topic.as_str().unwrap().to_owned()))
}

fn kind(frame: &Frame) -> &str {
    frame.json["type"].as_str().unwrap()
}

fn is_bye(frame: &Frame) -> bool {
    kind(frame) == "ping" && frame.bytes[PAYLOAD..].starts_with(b"BYE")
}

/// Replays a peering that came about, with the machine on this side.
fn replay(fixture: &Fixture, side: Side, arrival: Arrival) {
    let here = format!("{} as {side:?}, {arrival:?}", fixture.name);
    let mut played = Played::of(fixture, side);
    let bye = fixture.from(side).find(|frame| is_bye(frame)).cloned();
    let mut waiting = BytesMut::new();
    let arrive = |played: &mut Played, waiting: &mut BytesMut| match arrival {
        Arrival::Bytes => waiting.split().iter().for_each(|byte| played.arrive(&[*byte])),
        Arrival::Chunks(size) => waiting.split().chunks(size).for_each(|chunk| played.arrive(chunk)),
        Arrival::Frames | Arrival::AtOnce => played.arrive(&waiting.split()),
    };
    // What the answer to this side's BYE is comes only once it was said.
    let after_bye = |frame: &Frame| bye.as_ref().is_some_and(|bye| frame.index > bye.index);
    if matches!(arrival, Arrival::AtOnce) {
        let before = fixture.from(side.other()).filter(|frame| !after_bye(frame));
        before.for_each(|frame| waiting.extend_from_slice(&frame.bytes));
        arrive(&mut played, &mut waiting);
    }
    for frame in &fixture.frames {
        if frame.from != side {
            if kind(frame) == "pong" && after_bye(frame) {
                // It echoes the recorded BYE; here it has to echo ours.
                let ours = played.seen.frames.last().unwrap();
                assert_eq!(&frame.bytes[PAYLOAD..], &bye.as_ref().unwrap().bytes[PAYLOAD..], "{here}");
                waiting.extend_from_slice(&frame.bytes[..PAYLOAD]);
                waiting.extend_from_slice(&ours[PAYLOAD..]);
            } else if !matches!(arrival, Arrival::AtOnce) {
                waiting.extend_from_slice(&frame.bytes);
            }
            if !matches!(arrival, Arrival::Chunks(_)) {
                arrive(&mut played, &mut waiting);
            }
            continue;
        }
        arrive(&mut played, &mut waiting);
        if frame.phase == Phase::Handshake {
            continue;
        }
        match kind(frame) {
            "data" | "command" => {
                let envelope = Envelope::decode(&frame.body()).unwrap();
                played.peering.send(&envelope).unwrap_or_else(|e| panic!("{here}: {e}"));
            }
            "routing_update" => played.peering.set_filter(json_filter(&frame.json)).unwrap(),
            "ping" if is_bye(frame) => played.peering.leave(played.now),
            // By itself.
            "pong" => {}
            other => panic!("{here}: {other}"),
        }
        played.note();
    }
    arrive(&mut played, &mut waiting);
    played.peering.handle_eof();
    played.note();

    // What it said.
    let recorded: Vec<&Frame> = fixture.from(side).collect();
    assert!(recorded.iter().any(|frame| frame.phase == Phase::Handshake), "{here}");
    if matches!(arrival, Arrival::AtOnce) {
        // Everything was answered before anything was said: the pongs stand elsewhere in the stream.
        let pong = |bytes: &&[u8]| bytes.get(4 + 32) == Some(&EnvelopeType::Pong.to_wire());
        let ours: Vec<&[u8]> = played.seen.frames.iter().map(|frame| &frame[..]).collect();
        let theirs: Vec<&[u8]> = recorded.iter().map(|frame| &frame.bytes[..]).collect();
        let split = |all: Vec<&'_ [u8]>| {
            let (pongs, others): (Vec<_>, Vec<_>) = all.into_iter().partition(pong);
            others.into_iter().chain(pongs).map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        let (ours, theirs) = (split(ours), split(theirs));
        compare(&here, &ours, &theirs);
    } else {
        let ours: Vec<Vec<u8>> = played.seen.frames.iter().map(|frame| frame.to_vec()).collect();
        let theirs: Vec<Vec<u8>> = recorded.iter().map(|frame| frame.bytes.to_vec()).collect();
        compare(&here, &ours, &theirs);
    }

    // What it told.
    let peer = fixture.endpoint_id(side.other()).unwrap();
    let first_filter = filter(fixture.initial_filter(side.other()).unwrap());
    assert_eq!(played.established(), Some((peer, first_filter)), "{here}");
    let originator = recorded.iter().any(|frame| kind(frame) == "originator_syn");
    let role = if originator { Role::Originator } else { Role::Responder };
    assert_eq!(played.seen.events.first(), Some(&Event::Introduced { peer, role }), "{here}");
    let mut told = played.seen.events[2..].iter();
    for frame in fixture.from(side.other()).filter(|frame| frame.phase == Phase::Peered) {
        let expected = match kind(frame) {
            "data" | "command" => Event::Message(Envelope::decode(&frame.body()).unwrap()),
            "routing_update" => Event::FilterChanged(json_filter(&frame.json)),
            "ping" if is_bye(frame) => Event::PeerLeaving,
            _ => continue,
        };
        assert_eq!(told.next(), Some(&expected), "{here} frame {}", frame.index);
    }
    let they_left = fixture.from(side.other()).any(is_bye);
    let end = match (&bye, they_left) {
        (Some(_), _) => CloseReason::Left,
        (None, true) => CloseReason::PeerLeft,
        (None, false) => CloseReason::Lost,
    };
    assert_eq!(told.as_slice(), [Event::Closed(end)], "{here}");
}

/// Every byte is the same, but for a BYE's own 8 and the ttl of a pong.
fn compare(here: &str, ours: &[Vec<u8>], theirs: &[Vec<u8>]) {
    assert_eq!(ours.len(), theirs.len(), "{here}: frames");
    for (n, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        if ours == theirs {
            continue;
        }
        let (mut ours, mut theirs) = (ours.clone(), theirs.clone());
        let envelope = Envelope::decode(&Bytes::copy_from_slice(&theirs[4..])).expect(here);
        match envelope.kind {
            EnvelopeType::Ping => {
                assert!(theirs[PAYLOAD..].starts_with(b"BYE"), "{here}: frame {n}");
                ours.truncate(PAYLOAD + 3);
                theirs.truncate(PAYLOAD + 3);
            }
            EnvelopeType::Pong => {
                assert_eq!(theirs[TTL], [0, 1], "{here}: frame {n}: as Broker 2.3 says it");
                assert_eq!(ours[TTL], [0, 16], "{here}: frame {n}");
                ours.drain(TTL);
                theirs.drain(TTL);
            }
            _ => {}
        }
        assert_eq!(ours, theirs, "{here}: frame {n}");
    }
}

fn replay_all(name: &str) {
    let fixture = Fixture::load(name);
    for side in Side::BOTH {
        for arrival in ARRIVALS {
            replay(&fixture, side, arrival);
        }
    }
}

macro_rules! peerings {
    ($($test:ident: $name:literal,)*) => {
        const PEERINGS: &[&str] = &[$($name),*];
        $(#[test] fn $test() { replay_all($name); })*
    };
}

peerings! {
    all_types: "all-types",
    cluster_logs: "cluster-logs",
    cluster_stores: "cluster-stores",
    event_metadata: "event-metadata",
    node_manager: "node-manager",
    node_worker: "node-worker",
    ping_pong_2_3_8: "ping-pong-2.3.8",
    ping_pong_2_6_0: "ping-pong-2.6.0",
    ping_pong_mixed: "ping-pong-mixed",
    plain_peering: "plain-peering",
    store_operations: "store-operations",
    supervisor: "supervisor",
}

#[test]
fn every_fixture_has_a_test() {
    let mut tested = [PEERINGS, &["aborted", "drop-magic", "drop-redundant", "drop-version"]].concat();
    tested.sort_unstable();
    assert_eq!(Fixture::names(), tested);
}

/// Gives a machine all that the other side sent, whole and byte by byte, then the end of the stream, and
/// looks at what came of each.
fn attempt(fixture: &Fixture, from: Side, machine: impl Fn() -> Played, check: impl Fn(&Played)) {
    for byte_by_byte in [false, true] {
        let mut played = machine();
        let stream = fixture.stream(from);
        if byte_by_byte {
            stream.iter().for_each(|byte| played.arrive(&[*byte]));
        } else {
            played.arrive(stream);
        }
        played.peering.handle_eof();
        played.note();
        check(&played);
    }
}

fn refused(fixture: &Fixture, code: ErrorCode, words: &str) -> CloseReason {
    let peer = fixture.endpoint_id(Side::Listener).unwrap();
    PeeringError::Refused { peer, code, description: words.to_owned() }.into()
}

/// Both sides are endpoints; the listener says what the reference says, words included.
#[test]
fn drop_redundant() {
    let fixture = Fixture::load("drop-redundant");
    let peer = fixture.endpoint_id(Side::Connector).unwrap();
    attempt(
        &fixture,
        Side::Connector,
        || Played { refuse: true, ..Played::of(&fixture, Side::Listener) },
        |played| {
            assert_eq!(&played.said(), fixture.stream(Side::Listener));
            assert_eq!(played.closed(), Some(&CloseReason::Redundant { peer }));
        },
    );
    attempt(
        &fixture,
        Side::Listener,
        || Played::of(&fixture, Side::Connector),
        |played| {
            assert_eq!(&played.said(), fixture.stream(Side::Connector));
            let words = "detected redundant connection at the responder";
            assert_eq!(played.closed(), Some(&refused(&fixture, ErrorCode::LOGIC_ERROR, words)));
        },
    );
}

/// The connector was made to offer versions that nobody has: ours cannot offer them. In its place, ours says the same
/// but for the two version bytes, and reports the refusal.
#[test]
fn drop_version() {
    let fixture = Fixture::load("drop-version");
    attempt(
        &fixture,
        Side::Connector,
        || Played::of(&fixture, Side::Listener),
        |played| {
            assert_eq!(&played.said(), fixture.stream(Side::Listener));
            assert_eq!(played.closed(), Some(&PeeringError::Incompatible { min: 9, max: 10 }.into()));
        },
    );
    attempt(
        &fixture,
        Side::Listener,
        || Played::of(&fixture, Side::Connector),
        |played| {
            let mut theirs = fixture.stream(Side::Connector).to_vec();
            let versions = theirs.split_off(theirs.len() - 2);
            assert_eq!(versions, [9, 10]);
            theirs.extend([1, 1]);
            assert_eq!(played.said(), theirs);
            let reason = refused(&fixture, ErrorCode::PEER_INCOMPATIBLE, "unsupported versions offered");
            assert_eq!(played.closed(), Some(&reason));
        },
    );
}

/// The connector was made to say BORK where ZEEK had to stand: ours cannot. In its place, ours says the same but
/// for the magic, and reports the refusal.
#[test]
fn drop_magic() {
    let fixture = Fixture::load("drop-magic");
    const MAGIC: std::ops::Range<usize> = 5..9;
    attempt(
        &fixture,
        Side::Connector,
        || Played::of(&fixture, Side::Listener),
        |played| {
            assert_eq!(&played.said(), fixture.stream(Side::Listener));
            let Some(CloseReason::Failed(PeeringError::Malformed(error))) = played.closed() else {
                panic!("{:?}", played.closed())
            };
            assert!(error.to_string().contains("424f524b"), "{error}");
        },
    );
    let mut theirs = fixture.stream(Side::Connector).to_vec();
    assert_eq!(theirs[MAGIC], *b"BORK");
    theirs[MAGIC].copy_from_slice(b"ZEEK");
    let Ok(Handshake::Hello { sender, .. }) = Handshake::decode(&theirs[4..], &Limits::DEFAULT) else {
        panic!("{theirs:?}")
    };
    attempt(
        &fixture,
        Side::Listener,
        || Played::new(sender, Side::Connector, Filter::new()),
        |played| {
            assert_eq!(played.said(), theirs);
            let reason = refused(&fixture, ErrorCode::WRONG_MAGIC_NUMBER, "wrong magic number");
            assert_eq!(played.closed(), Some(&reason));
        },
    );
}

/// The listener never said a word, and who it was is not known: ours, with a smaller and with a larger id, says
/// what it has to and reports the connector that went.
#[test]
fn aborted() {
    let fixture = Fixture::load("aborted");
    assert!(fixture.stream(Side::Listener).is_empty());
    attempt(
        &fixture,
        Side::Listener,
        || Played::of(&fixture, Side::Connector),
        |played| {
            assert_eq!(&played.said(), fixture.stream(Side::Connector));
            let expected = "hello or version_select";
            assert_eq!(played.closed(), Some(&PeeringError::ClosedInHandshake { expected }.into()));
        },
    );
    for (id, says, expected) in [
        ([0x00; 15], &["probe", "version_select", "originator_syn"][..], "responder_syn_ack"),
        ([0xff; 15], &["probe", "hello"], "version_select"),
    ] {
        let mut bytes = [1; 16];
        bytes[..15].copy_from_slice(&id);
        let id = EndpointId::from_bytes(bytes);
        attempt(
            &fixture,
            Side::Connector,
            || Played::new(id, Side::Listener, Filter::new()),
            |played| {
                let said: Vec<_> = played
                    .seen
                    .frames
                    .iter()
                    .map(|frame| Handshake::decode(&frame[4..], &Limits::DEFAULT).unwrap().name())
                    .collect();
                assert_eq!(said, says);
                assert_eq!(played.closed(), Some(&PeeringError::ClosedInHandshake { expected }.into()));
            },
        );
    }
}

/// The listener of `aborted` again: a peer that says hello and then nothing is given up in time.
#[test]
fn a_connector_that_says_hello_and_stays_is_given_up() {
    let fixture = Fixture::load("aborted");
    let mut played = Played::new(EndpointId::from_bytes([0xff; 16]), Side::Listener, Filter::new());
    played.arrive(fixture.stream(Side::Connector));
    let deadline = played.peering.poll_timeout().unwrap();
    assert!(deadline <= played.now + Duration::from_secs(10));
    played.peering.handle_timeout(deadline);
    played.note();
    assert_eq!(played.closed(), Some(&PeeringError::HandshakeTimeout { expected: "version_select" }.into()));
}
