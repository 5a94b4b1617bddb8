//! The beginning of a session.

use super::*;

#[test]
fn this_side_sends_what_libzmq_sends() {
    for socket in [SocketType::XPub, SocketType::XSub, SocketType::Push, SocketType::Pull] {
        let mut end = End::new(socket, |_| {});
        assert_eq!(end.take_output(), greeting("NULL")[..11]);
        end.receive(&greeting("NULL"));
        assert_eq!(end.take_output(), [&greeting("NULL")[11..], &ready(socket.name())].concat());
        assert_eq!(end.take_events(), []);
        end.receive(&ready(socket.peers()[1]));
        assert_eq!(
            end.take_events(),
            [
                Event::Introduced { peer: id(2), role: peering::Role::Responder },
                Event::Established { peer: id(2), filter: Filter::new() },
            ]
        );
        assert_eq!(end.take_output(), b"");
        assert_eq!(end.session.peer_socket(), Some(socket.peers()[1]));
    }
}

/// libzmq, as the side that listens, sends its mechanism after 11 bytes, but never after it has received a different one.
#[test]
fn a_side_that_connects_sends_its_mechanism_after_the_version_of_the_peer() {
    let own = greeting("NULL");
    let mut end = End::new(SocketType::XSub, |_| {});
    assert_eq!(end.take_output(), own[..11]);
    end.receive(&own[..10]);
    assert_eq!(end.take_output(), b"");
    end.receive(&own[10..11]);
    assert_eq!(end.take_output(), own[11..]);
    end.receive(&own[11..]);
    assert_eq!(end.take_output(), ready("XSUB"));

    let mut end = End::new(SocketType::XSub, |_| {});
    end.take_output();
    end.receive(&greeting("CURVE"));
    assert_eq!((end.take_output(), end.failure().1), (own[11..].to_vec(), "mechanism"));

    let mut end = End::new(SocketType::XSub, |_| {});
    end.take_output();
    end.receive(b"\xff\0\0\0\0\0\0\0\x01\x7f\x02");
    assert_eq!((end.take_output(), end.failure().1), (vec![], "handshake"));
}

/// libzmq reports a different mechanism of the peer as a violation of the protocol, and Zeek terminates with a fatal error.
#[test]
fn a_side_that_listens_does_not_send_its_mechanism_to_a_peer_with_another_one() {
    let listener = || End::new(SocketType::XSub, |config| config.common.side = Side::Listener);
    let own = greeting("NULL");
    let mut end = listener();
    assert_eq!(end.take_output(), own[..11]);
    for step in [&own[..10], &own[10..11], &own[11..63]] {
        end.receive(step);
        assert_eq!(end.take_output(), b"");
    }
    end.receive(&own[63..]);
    assert_eq!(end.take_output(), [&own[11..], &ready("XSUB")].concat());
    end.receive(&ready("XPUB"));
    assert!(end.session.is_established());

    let mut end = listener();
    end.take_output();
    end.receive(&greeting("CURVE"));
    assert_eq!((end.take_output(), end.failure()), (vec![], (ErrorKind::Incompatible, "mechanism")));
}

/// If libzmq receives a frame after READY before it has sent its own READY, it treats the frame as a part of the handshake, and
/// Zeek terminates with a fatal error.
#[test]
fn nothing_follows_ready_until_the_ready_of_the_peer() {
    let subscribe = |config: &mut Config| config.common.filter = filter(&["a", "b"]);
    let mut end = End::new(SocketType::XSub, subscribe);
    end.take_output();
    end.receive(&greeting("NULL"));
    assert!(end.take_output().ends_with(&ready("XSUB")));
    end.session.set_filter(filter(&["b", "c"]));
    end.poll();
    assert_eq!(end.take_output(), b"");

    end.input.extend_from_slice(&ready("XPUB"));
    end.session.handle_input(end.now, &mut end.input);
    end.poll();
    assert_eq!(end.take_output(), b"", "not before the peer is admitted");
    end.session.admit();
    end.poll();
    assert_eq!(end.take_output(), [message(&[b"\x01b"]), message(&[b"\x01c"])].concat());

    let mut end = End::new(SocketType::XPub, |_| {});
    let refused = end.session.send(&envelope("/t", &event(1_u64)));
    assert_eq!(refused, Err(SendError::NotEstablished));
}

#[test]
fn a_peer_may_send_everything_in_one_segment() {
    let mut end = End::new(SocketType::XPub, |_| {});
    let all = [greeting("NULL"), ready("XSUB"), message(&[b"\x01/t"]), command("SUBSCRIBE", b"/u")];
    end.receive(&all.concat());
    assert_eq!(end.take_events().split_off(2), [Event::FilterChanged(filter(&["/t", "/u"]))]);

    let mut end = End::new(SocketType::XSub, |_| {});
    end.receive(&[greeting("NULL"), ready("XPUB"), event_message(b"/t", &event(1_u64))].concat());
    assert!(matches!(end.take_events()[2], Event::Message(_)));
}

#[test]
fn input_waits_until_the_peer_is_admitted() {
    let mut end = End::new(SocketType::XPub, |_| {});
    end.input.extend_from_slice(&[greeting("NULL"), ready("SUB"), message(&[b"\x01/t"])].concat());
    assert!(!end.session.handle_input(end.now, &mut end.input));
    assert!(!end.session.takes_input() && !end.session.is_established());
    assert_eq!(end.input, message(&[b"\x01/t"])[..]);
    end.session.refuse_redundant();
    end.poll();
    assert_eq!(end.close_reason(), Some(&CloseReason::Redundant { peer: id(2) }));
}

#[test]
fn greetings_of_other_versions_are_accepted() {
    for (at, byte) in [(1, 7), (8, 0x7f), (10, 4), (11, 0), (11, 7), (32, 1), (63, 1)] {
        let mut greeting = greeting("NULL");
        greeting[at] = byte;
        let mut end = End::new(SocketType::Pull, |_| {});
        // libzmq sends the greeting in three steps.
        for step in [&greeting[..10], &greeting[10..11], &greeting[11..], &ready("PUSH")] {
            end.receive(step);
        }
        assert!(end.session.is_established(), "byte {at}");
    }
}

#[test]
fn an_incompatible_peer_is_refused_with_the_cause() {
    let with = |at: usize, byte: u8| {
        let mut greeting = greeting("NULL");
        greeting[at] = byte;
        greeting
    };
    let after_greeting = |more: Vec<u8>| [greeting("NULL"), more].concat();
    use ErrorKind::{Incompatible, Malformed, Misbehaved, Refused};
    let cases: [(Vec<u8>, ErrorKind, &str); 21] = [
        (b"GET / HT".to_vec(), Malformed, "it speaks HTTP: check the address"),
        (b"\x16\x03\x01\x02".to_vec(), Malformed, "it speaks TLS, which ZeroMQ does not use"),
        (b"SSH-2.0-".to_vec(), Malformed, "it is an SSH server"),
        (
            vec![0, 0, 0, 5],
            Malformed,
            "does not speak ZMTP, the protocol of ZeroMQ; check the address: it may be that of an endpoint",
        ),
        (with(9, 0x7e)[..10].to_vec(), Malformed, "does not speak ZMTP"),
        (with(10, 1)[..11].to_vec(), Incompatible, "version 1 of ZMTP, but version 3 is required; update"),
        (
            greeting("CURVE"),
            Incompatible,
            "mechanism CURVE, and this side NULL; both sides must use the same mechanism, and CURVE requires keys",
        ),
        (
            greeting("PLAIN"),
            Incompatible,
            "mechanism PLAIN, and this side NULL; this mechanism is not supported",
        ),
        (greeting("\x1b[2J"), Incompatible, "mechanism \u{fffd}[2J, "),
        (
            after_greeting(ready("PUB")),
            Incompatible,
            "socket type \"PUB\" cannot be connected to XPUB; check that the address is that of the XSUB socket",
        ),
        (after_greeting(ready("XPUB")), Incompatible, "socket type \"XPUB\" cannot"),
        (after_greeting(ready("")), Incompatible, "socket type \"\" cannot"),
        (after_greeting(command("READY", b"")), Malformed, "invalid command READY: it has no Socket-Type"),
        (after_greeting(command("READY", b"\x0bSocket-Ty")), Malformed, "READY: a property is incomplete"),
        (
            after_greeting(command("READY", b"\x01x\xff\xff\xff\xff")),
            Malformed,
            "READY: a property is incomplete",
        ),
        (after_greeting(frame(4, b"")), Malformed, "invalid command: its name is incomplete"),
        (after_greeting(frame(4, b"\x06READY")), Malformed, "its name is incomplete"),
        (
            after_greeting(command("SUBSCRIBE", b"")),
            Misbehaved,
            "the peer sent the command SUBSCRIBE instead of READY",
        ),
        (after_greeting(message(&[b"\x01/t"])), Misbehaved, "the peer sent a message instead of READY"),
        (
            after_greeting(command("ERROR", b"\x07not\nyou")),
            Refused,
            "the peer reports an error: not\u{fffd}you",
        ),
        (
            after_greeting(command("ERROR", b"\x07not")),
            Malformed,
            "invalid command ERROR: its text is incomplete",
        ),
    ];
    for (bytes, kind, text) in cases {
        let mut end = End::new(SocketType::XPub, |_| {});
        end.receive(&bytes);
        assert!(end.closed_text().contains(text), "{}", end.closed_text());
        assert_eq!(end.failure().0, kind, "{text}");
        assert_eq!(end.input.len(), 0);
        // Byte by byte, the error is the same.
        let mut slow = End::new(SocketType::XPub, |_| {});
        bytes.iter().for_each(|byte| slow.receive(&[*byte]));
        assert_eq!(slow.events, end.events);
    }
}

#[test]
fn names_of_properties_are_not_case_sensitive_and_unknown_ones_are_ignored() {
    let data = b"\x08Identity\0\0\0\x02\0\xff\x0bsocket-type\0\0\0\x03SUB\x01X\0\0\0\0";
    let mut end = End::new(SocketType::XPub, |_| {});
    end.receive(&[greeting("NULL"), command("READY", data)].concat());
    assert_eq!(end.session.peer_socket(), Some("SUB"));
}

#[test]
fn an_incomplete_handshake_ends_with_a_hint() {
    let steps: [(Vec<u8>, &str, &str); 3] = [
        (
            Vec::new(),
            "the peer closed the connection before the end of the peer's greeting; possible causes: it requires the security \
             mechanism CURVE, is not a ZeroMQ socket, or is shutting down",
            "timed out while waiting for the end of the peer's greeting; the peer may not be a ZeroMQ socket, or may expect TLS",
        ),
        (
            greeting("NULL"),
            "the peer closed the connection before the peer's READY; its socket may be of a type that cannot be connected to this \
             one, or it may be shutting down",
            "timed out while waiting for the peer's READY; one of the two sides may be overloaded",
        ),
        (
            [greeting("NULL"), ready("SUB")].concat(),
            "the peer closed the connection before this side's answer; it may be shutting down",
            "timed out while waiting for this side's answer; one of the two sides may be overloaded",
        ),
    ];
    for (bytes, closed, timeout) in steps {
        let new = || {
            let mut end = End::new(SocketType::XPub, |_| {});
            end.input.extend_from_slice(&bytes);
            end.session.handle_input(end.now, &mut end.input);
            end
        };
        let mut end = new();
        end.session.handle_eof();
        end.poll();
        assert_eq!(end.closed_text(), closed);
        assert_eq!(end.failure(), (ErrorKind::Closed, "closed"));
        let mut end = new();
        let start = end.now;
        end.session.handle_timeout(start);
        end.poll();
        assert_eq!(end.close_reason(), None, "the deadline is in the future");
        end.time_out();
        assert_eq!(end.now - start, peering::Config::HANDSHAKE_TIMEOUT);
        assert_eq!(end.closed_text(), timeout);
        assert_eq!(end.failure(), (ErrorKind::TimedOut, "timeout"));
        let mut end = new();
        end.session.leave(end.now);
        end.poll();
        assert_eq!(end.close_reason(), Some(&CloseReason::Left));
    }
}

#[test]
fn a_refused_peer_receives_nothing() {
    let (config, now) = (config(SocketType::XPub), Instant::now());
    let mut session = ZeroMq::new(config, now);
    session.refuse();
    assert_eq!(session.poll_event(), Some(Event::Closed(CloseReason::Left)));
    assert_eq!((session.poll_transmit(), session.poll_timeout()), (None, None));
}
