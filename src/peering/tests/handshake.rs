//! Tests of the handshake.

use super::*;
use crate::wire::FrameError;

/// Tries every possible order in which frames arrive and the caller admits peers. Counts the orders.
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
        let ends = [End::new(peering(SMALL, small, now)), End::new(peering(LARGE, large, now))];
        let mut orders = 0;
        explore(now, ends, &mut orders);
        assert!(orders > 3, "{small:?}: {orders}");
    }
}

#[test]
fn messages_out_of_order_are_refused_with_a_drop_conn() {
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
    for (end, expected) in handshake_steps(now) {
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
            let sent_handshakes = end.sent_handshakes();
            let [Handshake::DropConn { code, .. }] = sent_handshakes.as_slice() else {
                panic!("{sent_handshakes:?}")
            };
            assert_eq!(*code, ErrorCode::UNEXPECTED_HANDSHAKE_MESSAGE);
            refused += 1;
        }
    }
    assert!(refused >= 24, "{refused}");
}

#[test]
fn the_handshake_times_out_at_every_step() {
    let now = Instant::now();
    for (mut end, expected) in handshake_steps(now) {
        let deadline = end.peering.poll_timeout().unwrap();
        assert_eq!(deadline, now + Config::HANDSHAKE_TIMEOUT);
        end.peering.handle_timeout(deadline - Duration::from_nanos(1));
        end.poll_events();
        assert_eq!(end.closed(), None);
        end.peering.handle_timeout(deadline);
        end.poll_events();
        assert_eq!(end.closed(), Some(&PeeringError::HandshakeTimeout { expected, tls: false }.into()));
        assert!(matches!(
            end.sent_handshakes().as_slice(),
            [Handshake::DropConn { code: ErrorCode::PEER_TIMEOUT, .. }]
        ));
        assert_eq!(end.peering.poll_timeout(), None);
    }
}

#[test]
fn eof_during_the_handshake_reports_the_expected_message() {
    for (mut end, expected) in handshake_steps(Instant::now()) {
        end.peering.handle_eof();
        end.poll_events();
        assert_eq!(end.closed(), Some(&PeeringError::ClosedInHandshake { expected, tls: false }.into()));
        assert!(end.frames().is_empty());
    }
}

#[test]
fn the_hint_after_a_failed_handshake_depends_on_tls() {
    let expected = "hello";
    for (tls, hint) in [(true, "; TLS was established, "), (false, "may expect TLS")] {
        for error in [
            PeeringError::ClosedInHandshake { expected, tls },
            PeeringError::HandshakeTimeout { expected, tls },
        ] {
            assert!(error.to_string().contains(hint), "{error}");
        }
    }
}

#[test]
fn the_longest_wait_is_a_century() {
    let now = Instant::now();
    let config = Config { handshake_timeout: Duration::MAX, ..Config::new(SMALL, Side::Listener) };
    let century = Duration::from_secs(3_153_600_000);
    assert_eq!(Peering::new(config, now).poll_timeout(), Some(now + century));
}

#[test]
fn a_refusal_by_the_peer_is_reported_at_every_point_of_the_handshake() {
    let now = Instant::now();
    for (end, _) in handshake_steps(now) {
        for code in [ErrorCode::PEER_INCOMPATIBLE, ErrorCode::REDUNDANT_CONNECTION] {
            let mut end = end.clone();
            let peer = if end.peering.config.id == SMALL { LARGE } else { SMALL };
            end.arrive(now, &bytes(&Handshake::DropConn { sender: peer, code, description: "why".into() }));
            let expected: CloseReason = if code == ErrorCode::REDUNDANT_CONNECTION {
                CloseReason::Redundant { peer }
            } else {
                PeeringError::Refused { peer, code, description: "why".into() }.into()
            };
            assert_eq!(end.closed(), Some(&expected));
            assert!(end.frames().is_empty());
        }
    }
}

#[test]
fn a_drop_conn_with_our_own_id_is_reported_as_a_self_connection() {
    let mut end = End::new(peering(SMALL, Side::Connector, Instant::now()));
    end.frames();
    let (code, description) = (ErrorCode::PEER_INVALID, "connected to itself".into());
    end.arrive(Instant::now(), &bytes(&Handshake::DropConn { sender: SMALL, code, description }));
    assert_eq!(end.closed(), Some(&PeeringError::SelfConnection(SMALL).into()));
    assert!(end.frames().is_empty(), "nothing is sent after the refusal");
}

#[test]
fn the_description_in_a_refusal_is_limited_to_one_line() {
    let now = Instant::now();
    for (sent_handshakes, kept) in [
        ("a\nb\u{1b}[31m".to_owned(), "a\u{fffd}b\u{fffd}[31m".to_owned()),
        ("a\u{202e}b\u{200b}c".to_owned(), "a\u{fffd}b\u{fffd}c".to_owned()),
        ("ä".repeat(256), "ä".repeat(256)),
        ("ä".repeat(257), "ä".repeat(256) + "…"),
    ] {
        let mut end = End::new(peering(SMALL, Side::Connector, now));
        let (code, description) = (ErrorCode::PEER_INVALID, sent_handshakes.as_str().into());
        end.arrive(now, &bytes(&Handshake::DropConn { sender: LARGE, code, description }));
        let expected = PeeringError::Refused { peer: LARGE, code, description: kept };
        assert_eq!(end.closed(), Some(&expected.into()));
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
        let mut end = End::new(peering(SMALL, Side::Connector, now));
        end.frames();
        end.arrive(now, &bytes(&message));
        assert_eq!(end.closed(), Some(&error.into()));
        let sent_handshakes = end.sent_handshakes();
        assert!(
            matches!(sent_handshakes.as_slice(), [Handshake::DropConn { code: c, .. }] if *c == code),
            "{sent_handshakes:?}"
        );
    }
    let mut end = End::new(peering(LARGE, Side::Listener, now));
    end.arrive(now, &bytes(&hello_from(SMALL)));
    let other = EndpointId::from_bytes([0x11; 16]);
    end.arrive(now, &bytes(&select(other, 1)));
    assert_eq!(end.closed(), Some(&PeeringError::IdChanged { first: SMALL, then: other }.into()));
}

#[test]
fn malformed_input_ends_the_handshake() {
    let now = Instant::now();
    let garbage: [(&[u8], ErrorCode); 4] = [
        (&[0, 0, 0, 0], ErrorCode::INVALID_MESSAGE),
        (b"GET / HTTP/1.1\r\n", ErrorCode::INVALID_MESSAGE),
        (&[0, 0, 0, 5, 7, b'B', b'O', b'R', b'K'], ErrorCode::WRONG_MAGIC_NUMBER),
        (&[0, 0, 0, 1, 99], ErrorCode::INVALID_MESSAGE),
    ];
    for (input, code) in garbage {
        let mut end = End::new(peering(SMALL, Side::Listener, now));
        end.frames();
        end.arrive(now, input);
        assert!(matches!(end.closed(), Some(CloseReason::Failed(_))), "{input:?}");
        assert!(end.input.is_empty(), "the malformed input is discarded");
        assert!(
            matches!(end.sent_handshakes().as_slice(), [Handshake::DropConn { code: c, .. }] if *c == code)
        );
    }
}

#[test]
fn the_frame_limit_is_larger_after_the_handshake() {
    let now = Instant::now();
    let large = u32::try_from(Limits::DEFAULT.max_handshake_frame + 1).unwrap().to_be_bytes();
    let mut end = End::new(peering(SMALL, Side::Listener, now));
    end.arrive(now, &large);
    assert!(matches!(
        end.closed(),
        Some(CloseReason::Failed(PeeringError::Framing(FrameError::TooLarge { .. })))
    ));
    let [mut end, _] = established_pair(now);
    end.arrive(now, &large);
    assert_eq!(end.closed(), None);
}

#[test]
fn the_code_in_a_redundant_refusal_depends_on_the_role() {
    let now = Instant::now();
    let mut originator = End::new(peering(SMALL, Side::Listener, now));
    originator.frames();
    originator.arrive(now, &bytes(&hello_from(LARGE)));
    let mut responder = End::new(peering(LARGE, Side::Connector, now));
    responder.frames();
    responder.arrive(now, &bytes(&Handshake::VersionSelect { sender: SMALL, version: 1 }));
    for (mut end, peer, role, expected) in [
        (originator, LARGE, Role::Originator, ErrorCode::REDUNDANT_CONNECTION),
        (responder, SMALL, Role::Responder, ErrorCode::LOGIC_ERROR),
    ] {
        assert_eq!(end.seen, [Event::Introduced { peer, role }]);
        end.peering.refuse_redundant();
        end.poll_events();
        assert_eq!(end.closed(), Some(&CloseReason::Redundant { peer }));
        assert!(
            matches!(end.sent_handshakes().as_slice(), [Handshake::DropConn { code, .. }] if *code == expected)
        );
    }
}

#[test]
fn no_input_is_consumed_between_introduction_and_answer() {
    let now = Instant::now();
    let mut end = End::new(peering(LARGE, Side::Connector, now));
    let mut input = bytes(&Handshake::VersionSelect { sender: SMALL, version: 1 });
    input.extend(bytes(&Handshake::OriginatorSyn(filter("/x"))));
    end.arrive(now, &input);
    end.frames();
    assert_eq!(end.input.len(), 4 + 5, "the originator_syn stays in the input");
    assert!(!end.peering.takes_input());
    end.peering.admit();
    assert!(end.peering.takes_input());
    end.arrive(now, &[]);
    assert!(matches!(end.sent_handshakes().as_slice(), [Handshake::ResponderSynAck(_)]));
}
