//! Replays every captured peering twice: a [`Peering`] replaces first one side and then the other.
//!
//! The [`Peering`] has the endpoint id and the filter of the replaced side, and receives the captured bytes of the other side.
//! It must send the captured bytes of the replaced side. It sends the handshake and the answers to pings by itself. It
//! sends messages, filters and the BYE when the test requests them. It must return every message of the other side.
//!
//! Each replay is repeated with the input divided in four ways: frame by frame, byte by byte, in chunks that are
//! independent of the frames, and all at once.
//!
//! Two parts are not compared: the 8 random bytes of a BYE, which are replaced, and the ttl of pongs, which Broker 2.3
//! sets differently. Some captured sides were not Broker endpoints. Their tests describe what is compared.

use std::time::{Duration, Instant};

use crate::common::{Fixture, Frame, Phase, Side};
use bytes::{Bytes, BytesMut};
use serde_json::Value as Json;
use zeek_bridge::data::{EndpointId, Filter, Topic};
use zeek_bridge::peering::{CloseReason, Config, Event, Peering, PeeringError, Role};
use zeek_bridge::wire::{Envelope, EnvelopeType, ErrorCode, Handshake, Limits};

/// How the bytes of the other side are divided.
#[derive(Clone, Copy, Debug)]
enum Arrival {
    /// Frame by frame, in the recorded order.
    Frames,
    /// Byte by byte, in the recorded order.
    Bytes,
    /// In chunks of this size. The bytes are passed as late as possible.
    Chunks(usize),
    /// All bytes at once, before the test requests any message of this side. The answer to a BYE of this side follows later.
    AtOnce,
}

const ARRIVALS: [Arrival; 5] =
    [Arrival::Frames, Arrival::Bytes, Arrival::Chunks(3), Arrival::Chunks(1000), Arrival::AtOnce];

/// The offsets of the ttl and the payload in the frame of an envelope with the topic `<$>`.
const TTL: std::ops::Range<usize> = 4 + 33..4 + 35;
const PAYLOAD: usize = 4 + 37 + 3;

/// The output of the peering.
#[derive(Default)]
struct Outcome {
    /// The sent frames, with their length fields.
    frames: Vec<Bytes>,
    events: Vec<Event>,
}

/// A peering in place of one side.
struct Replayed {
    peering: Peering,
    input: BytesMut,
    outcome: Outcome,
    /// Whether the peering refuses the other side as redundant.
    refuse: bool,
    now: Instant,
}

impl Replayed {
    fn new(id: EndpointId, side: Side, filter: Filter) -> Self {
        let now = Instant::now();
        let peering = Peering::new(Config { filter, ..Config::new(id, side) }, now);
        let mut replayed =
            Replayed { peering, input: BytesMut::new(), outcome: Outcome::default(), refuse: false, now };
        replayed.poll_all();
        replayed
    }

    /// Returns a peering for this side of a fixture.
    fn of(fixture: &Fixture, side: Side) -> Self {
        let id = fixture.endpoint_id(side).expect("a side with an endpoint id");
        Self::new(id, side, filter(fixture.initial_filter(side).unwrap_or_default()))
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.peering.handle_input(self.now, &mut self.input);
        self.poll_all();
    }

    fn poll_all(&mut self) {
        while let Some(event) = self.peering.poll_event() {
            if let Event::Introduced { .. } = event {
                if self.refuse {
                    self.peering.refuse_redundant();
                } else {
                    self.peering.admit();
                    self.peering.handle_input(self.now, &mut self.input);
                }
            }
            self.outcome.events.push(event);
        }
        let mut bytes = BytesMut::new();
        while let Some(piece) = self.peering.poll_transmit() {
            bytes.extend_from_slice(&piece);
        }
        while let Some(length) = bytes.first_chunk() {
            let length = u32::from_be_bytes(*length) as usize;
            self.outcome.frames.push(bytes.split_to(4 + length).freeze());
        }
        assert!(bytes.is_empty(), "only complete frames are sent");
    }

    fn established(&self) -> Option<(EndpointId, Filter)> {
        self.outcome.events.iter().find_map(|event| match event {
            Event::Established { peer, filter } => Some((*peer, filter.clone())),
            _ => None,
        })
    }

    fn closed(&self) -> Option<&CloseReason> {
        let closed = self.outcome.events.iter().filter(|event| matches!(event, Event::Closed(_))).count();
        match self.outcome.events.last() {
            Some(Event::Closed(reason)) => {
                assert_eq!(closed, 1, "there is only one event of the end");
                Some(reason)
            }
            _ => {
                assert_eq!(closed, 0, "no event follows the end");
                None
            }
        }
    }

    /// Returns all sent bytes.
    fn sent(&self) -> Bytes {
        self.outcome.frames.concat().into()
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

/// Replays an established peering on this side.
fn replay(fixture: &Fixture, side: Side, arrival: Arrival) {
    let context = format!("{} as {side:?}, {arrival:?}", fixture.name);
    let mut replayed = Replayed::of(fixture, side);
    let bye = fixture.from(side).find(|frame| is_bye(frame)).cloned();
    let mut waiting = BytesMut::new();
    let receive = |replayed: &mut Replayed, waiting: &mut BytesMut| match arrival {
        Arrival::Bytes => waiting.split().iter().for_each(|byte| replayed.receive(&[*byte])),
        Arrival::Chunks(size) => waiting.split().chunks(size).for_each(|chunk| replayed.receive(chunk)),
        Arrival::Frames | Arrival::AtOnce => replayed.receive(&waiting.split()),
    };
    // The answer to this side's BYE must not be received before this side has sent the BYE.
    let after_bye = |frame: &Frame| bye.as_ref().is_some_and(|bye| frame.index > bye.index);
    if matches!(arrival, Arrival::AtOnce) {
        let before = fixture.from(side.other()).filter(|frame| !after_bye(frame));
        before.for_each(|frame| waiting.extend_from_slice(&frame.bytes));
        receive(&mut replayed, &mut waiting);
    }
    for frame in &fixture.frames {
        if frame.from != side {
            if kind(frame) == "pong" && after_bye(frame) {
                // The recorded answer repeats the recorded BYE. Here it must repeat the BYE of the replay.
                let ours = replayed.outcome.frames.last().unwrap();
                assert_eq!(&frame.bytes[PAYLOAD..], &bye.as_ref().unwrap().bytes[PAYLOAD..], "{context}");
                waiting.extend_from_slice(&frame.bytes[..PAYLOAD]);
                waiting.extend_from_slice(&ours[PAYLOAD..]);
            } else if !matches!(arrival, Arrival::AtOnce) {
                waiting.extend_from_slice(&frame.bytes);
            }
            if !matches!(arrival, Arrival::Chunks(_)) {
                receive(&mut replayed, &mut waiting);
            }
            continue;
        }
        receive(&mut replayed, &mut waiting);
        if frame.phase == Phase::Handshake {
            continue;
        }
        match kind(frame) {
            "data" | "command" => {
                let envelope = Envelope::decode(&frame.body()).unwrap();
                replayed.peering.send(&envelope).unwrap_or_else(|e| panic!("{context}: {e}"));
            }
            "routing_update" => replayed.peering.set_filter(json_filter(&frame.json)).unwrap(),
            "ping" if is_bye(frame) => replayed.peering.leave(replayed.now),
            // The peering sends pongs without a request of the test.
            "pong" => {}
            other => panic!("{context}: {other}"),
        }
        replayed.poll_all();
    }
    receive(&mut replayed, &mut waiting);
    replayed.peering.handle_eof();
    replayed.poll_all();

    // The sent frames.
    let recorded: Vec<&Frame> = fixture.from(side).collect();
    assert!(recorded.iter().any(|frame| frame.phase == Phase::Handshake), "{context}");
    if matches!(arrival, Arrival::AtOnce) {
        // In this mode, all pings are received first, so the pongs are sent earlier than in the recording.
        let pong = |bytes: &&[u8]| bytes.get(4 + 32) == Some(&EnvelopeType::Pong.to_wire());
        let ours: Vec<&[u8]> = replayed.outcome.frames.iter().map(|frame| &frame[..]).collect();
        let theirs: Vec<&[u8]> = recorded.iter().map(|frame| &frame.bytes[..]).collect();
        let split = |all: Vec<&'_ [u8]>| {
            let (pongs, others): (Vec<_>, Vec<_>) = all.into_iter().partition(pong);
            others.into_iter().chain(pongs).map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        let (ours, theirs) = (split(ours), split(theirs));
        compare(&context, &ours, &theirs);
    } else {
        let ours: Vec<Vec<u8>> = replayed.outcome.frames.iter().map(|frame| frame.to_vec()).collect();
        let theirs: Vec<Vec<u8>> = recorded.iter().map(|frame| frame.bytes.to_vec()).collect();
        compare(&context, &ours, &theirs);
    }

    // The events.
    let peer = fixture.endpoint_id(side.other()).unwrap();
    let first_filter = filter(fixture.initial_filter(side.other()).unwrap());
    assert_eq!(replayed.established(), Some((peer, first_filter)), "{context}");
    let originator = recorded.iter().any(|frame| kind(frame) == "originator_syn");
    let role = if originator { Role::Originator } else { Role::Responder };
    assert_eq!(replayed.outcome.events.first(), Some(&Event::Introduced { peer, role }), "{context}");
    let mut events = replayed.outcome.events[2..].iter();
    for frame in fixture.from(side.other()).filter(|frame| frame.phase == Phase::Peered) {
        let expected = match kind(frame) {
            "data" | "command" => Event::Message(Envelope::decode(&frame.body()).unwrap()),
            "routing_update" => Event::FilterChanged(json_filter(&frame.json)),
            "ping" if is_bye(frame) => Event::PeerLeaving,
            _ => continue,
        };
        assert_eq!(events.next(), Some(&expected), "{context} frame {}", frame.index);
    }
    let they_left = fixture.from(side.other()).any(is_bye);
    let end = match (&bye, they_left) {
        (Some(_), _) => CloseReason::Left,
        (None, true) => CloseReason::PeerLeft,
        (None, false) => CloseReason::Lost,
    };
    assert_eq!(events.as_slice(), [Event::Closed(end)], "{context}");
}

/// Compares all bytes, except the 8 random ones of a BYE and the ttl of a pong.
fn compare(context: &str, ours: &[Vec<u8>], theirs: &[Vec<u8>]) {
    assert_eq!(ours.len(), theirs.len(), "{context}: frames");
    for (n, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        if ours == theirs {
            continue;
        }
        let (mut ours, mut theirs) = (ours.clone(), theirs.clone());
        let envelope = Envelope::decode(&Bytes::copy_from_slice(&theirs[4..])).expect(context);
        match envelope.kind {
            EnvelopeType::Ping => {
                assert!(theirs[PAYLOAD..].starts_with(b"BYE"), "{context}: frame {n}");
                ours.truncate(PAYLOAD + 3);
                theirs.truncate(PAYLOAD + 3);
            }
            EnvelopeType::Pong => {
                assert_eq!(
                    theirs[TTL],
                    [0, 1],
                    "{context}: frame {n}: the recorded pong has the ttl of Broker 2.3"
                );
                assert_eq!(ours[TTL], [0, 16], "{context}: frame {n}");
                ours.drain(TTL);
                theirs.drain(TTL);
            }
            _ => {}
        }
        assert_eq!(ours, theirs, "{context}: frame {n}");
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

/// Passes all bytes of the other side to a peering, first at once and then byte by byte. In both cases, the end of the
/// stream follows, and `check` is called with the result.
fn replay_failing_handshake(
    fixture: &Fixture,
    from: Side,
    new_peering: impl Fn() -> Replayed,
    check: impl Fn(&Replayed),
) {
    for byte_by_byte in [false, true] {
        let mut replayed = new_peering();
        let stream = fixture.stream(from);
        if byte_by_byte {
            stream.iter().for_each(|byte| replayed.receive(&[*byte]));
        } else {
            replayed.receive(stream);
        }
        replayed.peering.handle_eof();
        replayed.poll_all();
        check(&replayed);
    }
}

fn refused(fixture: &Fixture, code: ErrorCode, description: &str) -> CloseReason {
    let peer = fixture.endpoint_id(Side::Listener).unwrap();
    PeeringError::Refused { peer, code, description: description.to_owned() }.into()
}

/// All bytes of both captured sides are compared. The listener sends the same description as Broker.
#[test]
fn a_redundant_connection_is_refused_as_captured() {
    let fixture = Fixture::load("drop-redundant");
    let peer = fixture.endpoint_id(Side::Connector).unwrap();
    replay_failing_handshake(
        &fixture,
        Side::Connector,
        || Replayed { refuse: true, ..Replayed::of(&fixture, Side::Listener) },
        |replayed| {
            assert_eq!(&replayed.sent(), fixture.stream(Side::Listener));
            assert_eq!(replayed.closed(), Some(&CloseReason::Redundant { peer }));
        },
    );
    replay_failing_handshake(
        &fixture,
        Side::Listener,
        || Replayed::of(&fixture, Side::Connector),
        |replayed| {
            assert_eq!(&replayed.sent(), fixture.stream(Side::Connector));
            let description = "detected redundant connection at the responder";
            assert_eq!(replayed.closed(), Some(&refused(&fixture, ErrorCode::LOGIC_ERROR, description)));
        },
    );
}

/// The captured connector offers unsupported versions, which a peering never does. The peering sends the same bytes
/// except for the two versions, and reports the refusal.
#[test]
fn unsupported_versions_are_refused_as_captured() {
    let fixture = Fixture::load("drop-version");
    replay_failing_handshake(
        &fixture,
        Side::Connector,
        || Replayed::of(&fixture, Side::Listener),
        |replayed| {
            assert_eq!(&replayed.sent(), fixture.stream(Side::Listener));
            assert_eq!(replayed.closed(), Some(&PeeringError::Incompatible { min: 9, max: 10 }.into()));
        },
    );
    replay_failing_handshake(
        &fixture,
        Side::Listener,
        || Replayed::of(&fixture, Side::Connector),
        |replayed| {
            let mut theirs = fixture.stream(Side::Connector).to_vec();
            let versions = theirs.split_off(theirs.len() - 2);
            assert_eq!(versions, [9, 10]);
            theirs.extend([1, 1]);
            assert_eq!(replayed.sent(), theirs);
            let reason = refused(&fixture, ErrorCode::PEER_INCOMPATIBLE, "unsupported versions offered");
            assert_eq!(replayed.closed(), Some(&reason));
        },
    );
}

/// The captured connector sends BORK instead of the magic number ZEEK, which a peering never does. The peering sends
/// the same bytes except for the magic number, and reports the refusal.
#[test]
fn a_wrong_magic_number_is_refused_as_captured() {
    let fixture = Fixture::load("drop-magic");
    const MAGIC: std::ops::Range<usize> = 5..9;
    replay_failing_handshake(
        &fixture,
        Side::Connector,
        || Replayed::of(&fixture, Side::Listener),
        |replayed| {
            assert_eq!(&replayed.sent(), fixture.stream(Side::Listener));
            let Some(CloseReason::Failed(PeeringError::Malformed(error))) = replayed.closed() else {
                panic!("{:?}", replayed.closed())
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
    replay_failing_handshake(
        &fixture,
        Side::Listener,
        || Replayed::new(sender, Side::Connector, Filter::new()),
        |replayed| {
            assert_eq!(replayed.sent(), theirs);
            let reason = refused(&fixture, ErrorCode::WRONG_MAGIC_NUMBER, "wrong magic number");
            assert_eq!(replayed.closed(), Some(&reason));
        },
    );
}

/// The captured listener sent nothing, so its id is unknown. The test uses one id that is smaller than that of the
/// connector, and one that is larger. In both cases, the peering sends its handshake and reports that the connector has
/// closed the connection.
#[test]
fn an_aborted_handshake_is_reported_on_both_sides() {
    let fixture = Fixture::load("aborted");
    assert!(fixture.stream(Side::Listener).is_empty());
    replay_failing_handshake(
        &fixture,
        Side::Listener,
        || Replayed::of(&fixture, Side::Connector),
        |replayed| {
            assert_eq!(&replayed.sent(), fixture.stream(Side::Connector));
            let expected = "hello or version_select";
            assert_eq!(
                replayed.closed(),
                Some(&PeeringError::ClosedInHandshake { expected, tls: false }.into())
            );
        },
    );
    for (id, messages, expected) in [
        ([0x00; 15], &["probe", "version_select", "originator_syn"][..], "responder_syn_ack"),
        ([0xff; 15], &["probe", "hello"], "version_select"),
    ] {
        let mut bytes = [1; 16];
        bytes[..15].copy_from_slice(&id);
        let id = EndpointId::from_bytes(bytes);
        replay_failing_handshake(
            &fixture,
            Side::Connector,
            || Replayed::new(id, Side::Listener, Filter::new()),
            |replayed| {
                let sent: Vec<_> = replayed
                    .outcome
                    .frames
                    .iter()
                    .map(|frame| Handshake::decode(&frame[4..], &Limits::DEFAULT).unwrap().name())
                    .collect();
                assert_eq!(sent, messages);
                assert_eq!(
                    replayed.closed(),
                    Some(&PeeringError::ClosedInHandshake { expected, tls: false }.into())
                );
            },
        );
    }
}

/// Like the previous test, but the connection stays open, so the handshake times out.
#[test]
fn a_connector_that_stops_after_hello_times_out() {
    let fixture = Fixture::load("aborted");
    let mut replayed = Replayed::new(EndpointId::from_bytes([0xff; 16]), Side::Listener, Filter::new());
    replayed.receive(fixture.stream(Side::Connector));
    let deadline = replayed.peering.poll_timeout().unwrap();
    assert!(deadline <= replayed.now + Duration::from_secs(10));
    replayed.peering.handle_timeout(deadline);
    replayed.poll_all();
    assert_eq!(
        replayed.closed(),
        Some(&PeeringError::HandshakeTimeout { expected: "version_select", tls: false }.into())
    );
}
