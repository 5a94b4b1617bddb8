//! Two machines against each other, and one against a hostile peer, on a fake clock.

use super::*;
use crate::data::{Topic, Value};
use crate::wire::FrameError;

const SMALL: EndpointId = EndpointId::from_bytes([1; 16]);
const LARGE: EndpointId = EndpointId::from_bytes([2; 16]);

fn filter(topic: &'static str) -> Filter {
    [Topic::from_static(topic)].into_iter().collect()
}

fn machine(id: EndpointId, side: Side, now: Instant) -> Peering {
    let topic = if id == SMALL { "/small" } else { "/large" };
    Peering::new(Config { filter: filter(topic), ..Config::new(id, side) }, now)
}

/// A machine with the bytes that are on their way to it.
#[derive(Clone)]
struct End {
    peering: Peering,
    /// Frames as the peer wrote them, not yet arrived.
    wire: VecDeque<Vec<u8>>,
    input: BytesMut,
    seen: Vec<Event>,
}

impl End {
    fn new(peering: Peering) -> Self {
        End { peering, wire: VecDeque::new(), input: BytesMut::new(), seen: Vec::new() }
    }

    fn arrive(&mut self, now: Instant, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.peering.handle_input(now, &mut self.input);
        self.note();
    }

    fn note(&mut self) {
        while let Some(event) = self.peering.poll_event() {
            self.seen.push(event);
        }
    }

    /// What it has to say, frame by frame.
    fn frames(&mut self) -> Vec<Vec<u8>> {
        let mut bytes = BytesMut::new();
        while let Some(piece) = self.peering.poll_transmit() {
            bytes.extend_from_slice(&piece);
        }
        let mut frames = Vec::new();
        while bytes.len() >= 4 {
            let length = u32::from_be_bytes(bytes[..4].try_into().unwrap());
            frames.push(bytes.split_to(4 + usize::try_from(length).unwrap()).to_vec());
        }
        assert!(bytes.is_empty(), "only whole frames are written");
        frames
    }

    fn said(&mut self) -> Vec<Handshake> {
        self.frames().iter().map(|f| Handshake::decode(&f[4..], &Limits::DEFAULT).unwrap()).collect()
    }

    fn said_envelopes(&mut self) -> Vec<Envelope> {
        self.frames().iter().map(|f| Envelope::decode(&Bytes::copy_from_slice(&f[4..])).unwrap()).collect()
    }

    fn established(&self) -> Option<(EndpointId, Filter)> {
        self.seen.iter().find_map(|e| match e {
            Event::Established { peer, filter } => Some((*peer, filter.clone())),
            _ => None,
        })
    }

    fn closed(&self) -> Option<&CloseReason> {
        match self.seen.last() {
            Some(Event::Closed(reason)) => Some(reason),
            _ => None,
        }
    }
}

fn bytes(message: &Handshake) -> Vec<u8> {
    let mut out = BytesMut::new();
    message.encode(&mut out).unwrap();
    out.to_vec()
}

fn framed(envelope: &Envelope) -> Vec<u8> {
    let mut out = BytesMut::new();
    envelope.encode(&mut out).unwrap();
    out.to_vec()
}

/// Moves what each end has written onto the other's wire.
fn exchange(ends: &mut [End; 2]) {
    let [a, b] = ends;
    b.wire.extend(a.frames());
    a.wire.extend(b.frames());
}

/// Goes through every order in which frames can arrive and answers can be given, and counts them.
fn explore(now: Instant, mut ends: [End; 2], orders: &mut usize) {
    exchange(&mut ends);
    let mut moved = false;
    for i in 0..2 {
        if matches!(ends[i].seen.last(), Some(Event::Introduced { .. })) {
            let mut next = ends.clone();
            next[i].seen.pop();
            next[i].peering.admit();
            next[i].arrive(now, &[]);
            explore(now, next, orders);
            moved = true;
        }
        if !ends[i].wire.is_empty() {
            let mut next = ends.clone();
            let frame = next[i].wire.pop_front().unwrap();
            next[i].arrive(now, &frame);
            explore(now, next, orders);
            moved = true;
        }
    }
    if !moved {
        let [a, b] = &ends;
        assert_eq!(a.established(), Some((LARGE, filter("/large"))));
        assert_eq!(b.established(), Some((SMALL, filter("/small"))));
        *orders += 1;
    }
}

#[test]
fn the_handshake_succeeds_in_every_order_of_arrival() {
    let now = Instant::now();
    for (small, large) in [(Side::Connector, Side::Listener), (Side::Listener, Side::Connector)] {
        let ends = [End::new(machine(SMALL, small, now)), End::new(machine(LARGE, large, now))];
        let mut orders = 0;
        explore(now, ends, &mut orders);
        assert!(orders > 3, "{small:?}: {orders}");
    }
}

/// Two machines with a standing peering and nothing on the wires.
fn standing(now: Instant) -> [End; 2] {
    let mut ends =
        [End::new(machine(SMALL, Side::Connector, now)), End::new(machine(LARGE, Side::Listener, now))];
    settle(now, &mut ends);
    assert!(ends.iter().all(|end| end.established().is_some()));
    ends.iter_mut().for_each(|end| end.seen.clear());
    ends
}

/// Lets everything that is on its way arrive, byte by byte.
fn settle(now: Instant, ends: &mut [End; 2]) {
    loop {
        exchange(ends);
        if ends.iter().all(|end| end.wire.is_empty()) {
            return;
        }
        for end in ends.iter_mut() {
            for byte in std::mem::take(&mut end.wire).into_iter().flatten() {
                end.arrive(now, &[byte]);
                if matches!(end.seen.last(), Some(Event::Introduced { .. })) {
                    end.peering.admit();
                    end.arrive(now, &[]);
                }
            }
        }
    }
}

fn hello_from(sender: EndpointId) -> Handshake {
    handshake::hello(sender)
}

/// A machine brought to each point of the handshake, with what it waits for.
fn points(now: Instant) -> Vec<(End, &'static str)> {
    let select = |sender| bytes(&Handshake::VersionSelect { sender, version: 1 });
    let syn = bytes(&Handshake::OriginatorSyn(Filter::new()));
    let small = |side| End::new(machine(SMALL, side, now));
    let large = |side| End::new(machine(LARGE, side, now));
    let mut points =
        vec![(small(Side::Connector), "hello or version_select"), (small(Side::Listener), "hello")];
    let mut end = large(Side::Listener);
    end.arrive(now, &bytes(&hello_from(SMALL)));
    points.push((end.clone(), "version_select"));
    end.arrive(now, &select(SMALL));
    end.peering.admit();
    points.push((end.clone(), "originator_syn"));
    end.arrive(now, &syn);
    points.push((end, "originator_ack"));
    let mut end = small(Side::Listener);
    end.arrive(now, &bytes(&hello_from(LARGE)));
    end.peering.admit();
    points.push((end, "responder_syn_ack"));
    for (end, _) in &mut points {
        end.frames();
        end.seen.clear();
    }
    points
}

#[test]
fn every_message_out_of_order_is_refused_with_its_code() {
    let now = Instant::now();
    let messages = [
        hello_from(LARGE),
        Handshake::Probe,
        Handshake::VersionSelect { sender: LARGE, version: 1 },
        Handshake::OriginatorSyn(Filter::new()),
        Handshake::ResponderSynAck(Filter::new()),
        Handshake::OriginatorAck,
    ];
    let mut refused = 0;
    for (end, expected) in points(now) {
        for message in &messages {
            let right = expected.contains(message.name())
                || (matches!(message, Handshake::Probe)
                    && (expected.contains("hello") || expected == "version_select"));
            if right {
                continue;
            }
            let mut end = end.clone();
            end.arrive(now, &bytes(message));
            let received = message.name();
            assert_eq!(end.closed(), Some(&PeeringError::Unexpected { expected, received }.into()));
            let said = end.said();
            let [Handshake::DropConn { code, .. }] = said.as_slice() else { panic!("{said:?}") };
            assert_eq!(*code, ErrorCode::UNEXPECTED_HANDSHAKE_MESSAGE);
            refused += 1;
        }
    }
    assert!(refused >= 24, "{refused}");
}

#[test]
fn a_silent_peer_is_given_up_at_every_point_of_the_handshake() {
    let now = Instant::now();
    for (mut end, expected) in points(now) {
        let deadline = end.peering.poll_timeout().unwrap();
        assert_eq!(deadline, now + Config::HANDSHAKE_TIMEOUT);
        end.peering.handle_timeout(deadline - Duration::from_nanos(1));
        end.note();
        assert_eq!(end.closed(), None);
        end.peering.handle_timeout(deadline);
        end.note();
        assert_eq!(end.closed(), Some(&PeeringError::HandshakeTimeout { expected }.into()));
        assert!(matches!(end.said().as_slice(), [Handshake::DropConn { code: ErrorCode::PEER_TIMEOUT, .. }]));
        assert_eq!(end.peering.poll_timeout(), None);
    }
}

#[test]
fn a_stream_that_ends_in_the_handshake_names_what_was_missing() {
    for (mut end, expected) in points(Instant::now()) {
        end.peering.handle_eof();
        end.note();
        assert_eq!(end.closed(), Some(&PeeringError::ClosedInHandshake { expected }.into()));
        assert!(end.frames().is_empty());
    }
}

#[test]
fn a_refusal_by_the_peer_is_reported_at_every_point_of_the_handshake() {
    let now = Instant::now();
    for (end, _) in points(now) {
        for code in [ErrorCode::PEER_INCOMPATIBLE, ErrorCode::REDUNDANT_CONNECTION] {
            let mut end = end.clone();
            end.arrive(now, &bytes(&Handshake::DropConn { sender: LARGE, code, description: "why".into() }));
            let expected: CloseReason = if code == ErrorCode::REDUNDANT_CONNECTION {
                CloseReason::Redundant { peer: LARGE }
            } else {
                PeeringError::Refused { peer: LARGE, code, description: "why".into() }.into()
            };
            assert_eq!(end.closed(), Some(&expected));
            assert!(end.frames().is_empty());
        }
    }
}

#[test]
fn unacceptable_peers_are_refused() {
    let now = Instant::now();
    let select = |sender, version| Handshake::VersionSelect { sender, version };
    let versions = |min_version, max_version| Handshake::Hello { sender: LARGE, min_version, max_version };
    for (message, error, code) in [
        (hello_from(SMALL), PeeringError::SelfConnection(SMALL), ErrorCode::PEER_INVALID),
        (hello_from(EndpointId::NIL), PeeringError::NilPeer, ErrorCode::PEER_INVALID),
        (versions(2, 9), PeeringError::Incompatible { min: 2, max: 9 }, ErrorCode::PEER_INCOMPATIBLE),
        (versions(0, 0), PeeringError::Incompatible { min: 0, max: 0 }, ErrorCode::PEER_INCOMPATIBLE),
        (select(LARGE, 2), PeeringError::Incompatible { min: 2, max: 2 }, ErrorCode::PEER_INCOMPATIBLE),
        (select(SMALL, 1), PeeringError::SelfConnection(SMALL), ErrorCode::PEER_INVALID),
    ] {
        let mut end = End::new(machine(SMALL, Side::Connector, now));
        end.frames();
        end.arrive(now, &bytes(&message));
        assert_eq!(end.closed(), Some(&error.into()));
        let said = end.said();
        assert!(matches!(said.as_slice(), [Handshake::DropConn { code: c, .. }] if *c == code), "{said:?}");
    }
    let mut end = End::new(machine(LARGE, Side::Listener, now));
    end.arrive(now, &bytes(&hello_from(SMALL)));
    let other = EndpointId::from_bytes([0x11; 16]);
    end.arrive(now, &bytes(&select(other, 1)));
    assert_eq!(end.closed(), Some(&PeeringError::IdChanged { first: SMALL, then: other }.into()));
}

#[test]
fn what_is_no_frame_or_message_ends_the_handshake_at_once() {
    let now = Instant::now();
    let garbage: [(&[u8], ErrorCode); 4] = [
        (&[0, 0, 0, 0], ErrorCode::INVALID_MESSAGE),
        (b"GET / HTTP/1.1\r\n", ErrorCode::INVALID_MESSAGE),
        (&[0, 0, 0, 5, 7, b'B', b'O', b'R', b'K'], ErrorCode::WRONG_MAGIC_NUMBER),
        (&[0, 0, 0, 1, 99], ErrorCode::INVALID_MESSAGE),
    ];
    for (input, code) in garbage {
        let mut end = End::new(machine(SMALL, Side::Listener, now));
        end.frames();
        end.arrive(now, input);
        assert!(matches!(end.closed(), Some(CloseReason::Failed(_))), "{input:?}");
        assert!(end.input.is_empty(), "nothing is kept of it");
        assert!(matches!(end.said().as_slice(), [Handshake::DropConn { code: c, .. }] if *c == code));
    }
}

#[test]
fn a_frame_too_large_for_a_handshake_is_taken_once_peered() {
    let now = Instant::now();
    let large = u32::try_from(Limits::DEFAULT.max_handshake_frame + 1).unwrap().to_be_bytes();
    let mut end = End::new(machine(SMALL, Side::Listener, now));
    end.arrive(now, &large);
    assert!(matches!(
        end.closed(),
        Some(CloseReason::Failed(PeeringError::Framing(FrameError::TooLarge { .. })))
    ));
    let [mut end, _] = standing(now);
    end.arrive(now, &large);
    assert_eq!(end.closed(), None);
}

#[test]
fn a_redundant_connection_is_refused_in_each_role_s_own_code() {
    let now = Instant::now();
    let mut originator = End::new(machine(SMALL, Side::Listener, now));
    originator.frames();
    originator.arrive(now, &bytes(&hello_from(LARGE)));
    let mut responder = End::new(machine(LARGE, Side::Connector, now));
    responder.frames();
    responder.arrive(now, &bytes(&Handshake::VersionSelect { sender: SMALL, version: 1 }));
    for (mut end, peer, role, expected) in [
        (originator, LARGE, Role::Originator, ErrorCode::REDUNDANT_CONNECTION),
        (responder, SMALL, Role::Responder, ErrorCode::LOGIC_ERROR),
    ] {
        assert_eq!(end.seen, [Event::Introduced { peer, role }]);
        end.peering.refuse_redundant();
        end.note();
        assert_eq!(end.closed(), Some(&CloseReason::Redundant { peer }));
        assert!(matches!(end.said().as_slice(), [Handshake::DropConn { code, .. }] if *code == expected));
    }
}

#[test]
fn nothing_is_read_past_an_introduction() {
    let now = Instant::now();
    let mut end = End::new(machine(LARGE, Side::Connector, now));
    let mut input = bytes(&Handshake::VersionSelect { sender: SMALL, version: 1 });
    input.extend(bytes(&Handshake::OriginatorSyn(filter("/x"))));
    end.arrive(now, &input);
    end.frames();
    assert_eq!(end.input.len(), 4 + 5, "the syn waits");
    end.peering.admit();
    end.arrive(now, &[]);
    assert!(matches!(end.said().as_slice(), [Handshake::ResponderSynAck(_)]));
}

#[test]
fn messages_go_both_ways_and_keep_their_payload() {
    let now = Instant::now();
    let mut ends = standing(now);
    let value = |text: String| Value::String(text.into());
    let texts = ["short".to_owned(), "long".repeat(5000), "short again".to_owned()];
    for text in &texts {
        let envelope = Envelope::data(SMALL, Topic::from_static("/t"), &value(text.clone())).unwrap();
        for end in &mut ends {
            end.peering.send(&envelope).unwrap();
        }
    }
    settle(now, &mut ends);
    for (end, peer) in ends.iter().zip([LARGE, SMALL]) {
        let received: Vec<_> = end
            .seen
            .iter()
            .map(|event| match event {
                Event::Message(envelope) => {
                    assert_eq!(envelope.sender, peer, "the sender is the last hop");
                    envelope.value(&Limits::DEFAULT).unwrap()
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(received, texts.clone().map(value));
    }
}

#[test]
fn nothing_can_be_sent_before_the_peering_stands_or_after_bye() {
    let now = Instant::now();
    let envelope = Envelope::data(SMALL, Topic::from_static("/t"), &Value::None).unwrap();
    for (mut end, _) in points(now) {
        assert_eq!(end.peering.send(&envelope), Err(SendError::NotEstablished));
        assert!(end.frames().is_empty());
    }
    let [mut end, _] = standing(now);
    end.peering.leave(now);
    assert_eq!(end.peering.send(&envelope), Err(SendError::NotEstablished));
}

#[test]
fn pings_are_echoed_to_their_sender() {
    let now = Instant::now();
    let [mut end, _] = standing(now);
    let other = EndpointId::from_bytes([9; 16]);
    for (receiver, echoed) in [(SMALL, true), (EndpointId::NIL, true), (other, false)] {
        end.arrive(now, &framed(&Envelope::ping(LARGE, receiver, Bytes::from_static(b"\0any"))));
        let answer = end.said_envelopes();
        let expected = Envelope::pong(SMALL, LARGE, Bytes::from_static(b"\0any"));
        assert_eq!(answer, if echoed { vec![expected] } else { vec![] });
    }
    assert!(end.seen.is_empty());
}

#[test]
fn filters_change_while_connected() {
    let now = Instant::now();
    let mut ends = standing(now);
    ends[0].peering.set_filter(filter("/new")).unwrap();
    settle(now, &mut ends);
    assert_eq!(ends[1].seen, [Event::FilterChanged(filter("/new"))]);
}

#[test]
fn a_filter_changed_during_the_handshake_reaches_the_peer() {
    let now = Instant::now();
    for (mut end, _) in points(now) {
        end.peering.set_filter(filter("/new")).unwrap();
        let (id, side) = if end.peering.config.id == SMALL { (LARGE, SMALL) } else { (SMALL, LARGE) };
        // The rest of the handshake, from the other side.
        for message in [
            hello_from(id),
            Handshake::VersionSelect { sender: id, version: 1 },
            Handshake::OriginatorSyn(Filter::new()),
            Handshake::ResponderSynAck(Filter::new()),
            Handshake::OriginatorAck,
        ] {
            let mut tried = end.clone();
            tried.arrive(now, &bytes(&message));
            if tried.closed().is_none() {
                end = tried;
                end.peering.admit();
            }
        }
        assert!(end.established().is_some(), "{side}");
        let mut last = None;
        for frame in end.frames() {
            let body = Bytes::copy_from_slice(&frame[4..]);
            last = match Handshake::decode(&body, &Limits::DEFAULT) {
                Ok(Handshake::OriginatorSyn(f) | Handshake::ResponderSynAck(f)) => Some(f),
                Ok(_) => last,
                Err(_) => Some(Envelope::decode(&body).unwrap().filter(&Limits::DEFAULT).unwrap()),
            };
        }
        assert_eq!(last, Some(filter("/new")));
    }
}

#[test]
fn leaving_ends_when_the_peer_confirms() {
    let now = Instant::now();
    let mut ends = standing(now);
    ends[0].peering.leave(now);
    settle(now, &mut ends);
    assert_eq!(ends[0].closed(), Some(&CloseReason::Left));
    assert_eq!(ends[1].seen, [Event::PeerLeaving]);
    ends[1].peering.handle_eof();
    ends[1].note();
    assert_eq!(ends[1].closed(), Some(&CloseReason::PeerLeft));
}

#[test]
fn leaving_ends_without_a_confirmation_too() {
    let now = Instant::now();
    let [mut end, _] = standing(now);
    end.peering.leave(now);
    let said = end.said_envelopes();
    assert!(said.len() == 1 && said[0].payload.starts_with(b"BYE") && said[0].payload.len() == 11);
    let foreign = Envelope::pong(LARGE, SMALL, Bytes::from_static(b"BYE12345678"));
    end.arrive(now, &framed(&foreign));
    assert_eq!(end.closed(), None, "not our BYE");
    let mut cut_off = end.clone();
    cut_off.peering.handle_eof();
    cut_off.note();
    assert_eq!(cut_off.closed(), Some(&CloseReason::LeftUnconfirmed));
    let deadline = end.peering.poll_timeout().unwrap();
    assert_eq!(deadline, now + Config::LEAVE_TIMEOUT);
    end.peering.handle_timeout(deadline);
    end.note();
    assert_eq!(end.closed(), Some(&CloseReason::LeftUnconfirmed));
}

#[test]
fn leaving_in_the_handshake_says_so() {
    let now = Instant::now();
    for (mut end, _) in points(now) {
        end.peering.leave(now);
        end.note();
        assert_eq!(end.closed(), Some(&CloseReason::Left));
        assert!(matches!(
            end.said().as_slice(),
            [Handshake::DropConn { code: ErrorCode::SHUTTING_DOWN, .. }]
        ));
    }
}

#[test]
fn a_stream_that_ends_without_bye_is_a_loss() {
    let [mut end, _] = standing(Instant::now());
    end.peering.handle_eof();
    end.note();
    assert_eq!(end.closed(), Some(&CloseReason::Lost));
}

#[test]
fn a_silent_peer_is_asked_and_then_given_up() {
    let start = Instant::now();
    let mut ends = standing(start);
    let idle = Config::IDLE_TIMEOUT;
    // Asked, the peer answers, and the clock starts anew.
    let asked = ends[0].peering.poll_timeout().unwrap();
    assert_eq!(asked, start + idle);
    ends[0].peering.handle_timeout(asked);
    settle(asked, &mut ends);
    assert_eq!(ends[0].peering.poll_timeout(), Some(asked + idle));
    // Asked again, it does not.
    let [mut end, _] = ends;
    end.peering.handle_timeout(asked + idle);
    assert_eq!(end.said_envelopes().len(), 1);
    let given_up = end.peering.poll_timeout().unwrap();
    assert_eq!(given_up, asked + idle + idle);
    end.peering.handle_timeout(given_up);
    end.note();
    assert_eq!(end.closed(), Some(&PeeringError::Silent.into()));
    assert!(end.frames().is_empty(), "a drop_conn would not be understood");
}

#[test]
fn malformed_envelopes_are_dropped_and_the_peering_goes_on() {
    let now = Instant::now();
    let [mut end, _] = standing(now);
    let good = Envelope::data(LARGE, Topic::from_static("/t"), &Value::None).unwrap();
    let mut unknown_type = framed(&good);
    unknown_type[4 + 32] = 77;
    let mut update = Envelope::routing_update(LARGE, SMALL, &filter("/x")).unwrap();
    update.payload = Bytes::from_static(&[1, 200]);
    for bad in [&[0, 0, 0, 3, 1, 2, 3][..], &unknown_type, &framed(&update)] {
        end.arrive(now, bad);
        let event = end.seen.pop();
        assert!(matches!(event, Some(Event::Malformed(_))), "{event:?}");
    }
    end.arrive(now, &framed(&good));
    assert_eq!(end.seen, [Event::Message(good)]);
}

#[test]
fn nothing_changes_after_the_end() {
    let now = Instant::now();
    let [mut end, _] = standing(now);
    end.peering.handle_eof();
    end.note();
    end.seen.clear();
    end.arrive(now, &bytes(&hello_from(LARGE)));
    end.peering.handle_eof();
    end.peering.leave(now);
    end.peering.admit();
    end.peering.refuse_redundant();
    end.peering.handle_timeout(now + Duration::from_secs(1000));
    end.note();
    assert!(end.seen.is_empty() && end.frames().is_empty() && end.peering.is_closed());
}
