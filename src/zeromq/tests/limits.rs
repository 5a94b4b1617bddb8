//! Limits on input, and input that violates the protocol.

use super::*;
use crate::wire::{DecodeReason, Limits, PartsError};

fn with(limits: Limits) -> impl FnOnce(&mut Config) {
    move |config| config.common.limits = limits
}

/// Returns the header of a frame with a size of eight bytes.
fn long_header(flags: u8, size: u64) -> Vec<u8> {
    [&[flags | 2], &size.to_be_bytes()[..]].concat()
}

#[test]
fn a_frame_beyond_the_limit_ends_the_session_before_its_body_arrives() {
    for size in [1001, 1 << 63, u64::MAX] {
        for flags in [0, 1, 4] {
            let mut end =
                End::established(SocketType::XSub, with(Limits { max_frame: 1000, ..Limits::DEFAULT }));
            end.receive(&long_header(flags, size));
            let expected = format!(
                "the peer sent an invalid frame: a frame of {size} bytes, more than the limit of 1000"
            );
            assert_eq!((end.closed_text(), end.failure()), (expected, (ErrorKind::Limit, "frame")));
        }
    }
    let limits = Limits { max_handshake_frame: 100, ..Limits::DEFAULT };
    let mut end = End::new(SocketType::XSub, with(limits));
    end.receive(&[greeting("NULL"), long_header(4, 101)].concat());
    assert_eq!(end.failure(), (ErrorKind::Limit, "frame"));
}

#[test]
fn frames_that_violate_the_protocol_end_the_session() {
    let cases: [(Vec<u8>, ErrorKind, &str); 6] = [
        (vec![8], ErrorKind::Malformed, "invalid frame: unknown flags 0x08"),
        (vec![5], ErrorKind::Malformed, "invalid frame: a command with the flag MORE"),
        (frame(4, b""), ErrorKind::Malformed, "invalid command: its name is incomplete"),
        (frame(4, b"\x05PING"), ErrorKind::Malformed, "invalid command: its name is incomplete"),
        (
            command("PING", b"\0"),
            ErrorKind::Malformed,
            "invalid command PING: its time to live is incomplete",
        ),
        (command("ERROR", b"\x03bye"), ErrorKind::Refused, "the peer reports an error: bye"),
    ];
    for (bytes, kind, text) in cases {
        for socket in [SocketType::XPub, SocketType::XSub, SocketType::Push, SocketType::Pull] {
            let mut end = End::established(socket, |_| {});
            end.receive(&[bytes.clone(), event_message(b"/t", &event(1_u64))].concat());
            assert!(end.closed_text().contains(text), "{}", end.closed_text());
            assert_eq!(end.failure().0, kind);
            assert_eq!(end.events.len(), 1, "nothing is read after the error");
        }
    }
}

#[test]
fn a_message_without_an_end_reaches_the_limit() {
    let limits = Limits { max_frame: 1000, ..Limits::DEFAULT };
    for part in [frame(1, b""), frame(1, &[b'x'; 200]), [long_header(1, 300), vec![b'x'; 300]].concat()] {
        for socket in [SocketType::XPub, SocketType::XSub, SocketType::Push, SocketType::Pull] {
            let mut end = End::established(socket, with(limits));
            let mut sent = 0;
            while !end.session.is_closed() {
                end.receive(&part);
                sent += part.len();
                assert!(sent <= 1000 + part.len(), "{sent} bytes");
            }
            assert!(sent > 1000);
            assert_eq!(end.closed_text(), "the peer sent a message of more than 1000 bytes");
            assert_eq!(end.failure(), (ErrorKind::Limit, "message"));
        }
    }
}

#[test]
fn a_message_of_the_maximum_length_is_accepted() {
    let message = event_message(b"/t", &event("x".repeat(100)));
    for (max_frame, accepted) in [(message.len(), true), (message.len() - 1, false)] {
        let mut end = End::established(SocketType::XSub, with(Limits { max_frame, ..Limits::DEFAULT }));
        // The limit counts from the start of each message.
        end.receive(&message);
        end.receive(&message);
        assert_eq!(matches!(end.events[..], [Event::Message(_), Event::Message(_)]), accepted);
        assert_eq!(end.session.is_closed(), !accepted);
    }
}

#[test]
fn a_message_that_is_not_an_event_is_dropped_and_the_session_continues() {
    let topic = [b'x'; Topic::MAX_LEN + 1];
    let long_topic = [&long_header(1, 65_536)[..], &topic].concat();
    let rest = |format: &[u8], payload: &[u8]| message(&[SENDER, format, payload]);
    let long_sender =
        [&frame(1, b"/t")[..], &long_header(1, 1025), &[b's'; 1025], &message(&[b"broker-bin-v1", b"\0"])]
            .concat();
    let formats = "broker-bin-v1 or broker-json-v1";
    let cases: [(Vec<u8>, &str); 9] = [
        (message(&[b"/t"]), "a message has 1 instead of 4 parts"),
        (message(&[b"/t", SENDER, b"broker-bin-v1"]), "a message has 3 instead of 4 parts"),
        (message(&[b"/t", SENDER, b"broker-bin-v1", b"\0", b"\0"]), "a message has 5 instead of 4 parts"),
        (message(&[&b""[..]; 100]), "a message has 100 instead of 4 parts"),
        (
            message(&[b"/t", SENDER, b"broker-\x1bbin-v2", b"\0"]),
            &format!("unknown format broker-\u{fffd}bin-v2; expected {formats}"),
        ),
        (
            message(&[b"log-write", SENDER, b"zeek-bin-serializer", b""]),
            &format!("unknown format zeek-bin-serializer; expected {formats}"),
        ),
        (long_sender, "a sender of 1025 bytes, more than the limit of 1024"),
        (
            [&long_topic[..], &rest(b"broker-bin-v1", b"\0")].concat(),
            "byte 0: topic of 65536 bytes, more than an envelope allows",
        ),
        (message(&[b"/t", SENDER, b"broker-json-v1", b"{"]), "the JSON"),
    ];
    for (bytes, text) in cases {
        let mut end = End::established(SocketType::XSub, |_| {});
        end.receive(&bytes);
        end.receive(&event_message(b"/t", &event(1_u64)));
        let [Event::Malformed(error), Event::Message(_)] = &end.events[..] else {
            panic!("{:?}", end.events)
        };
        if text == "the JSON" {
            assert!(matches!(error.reason(), DecodeReason::Json(_)), "{error}");
        } else {
            assert_eq!(error.to_string(), text);
        }
    }
}

#[test]
fn messages_in_the_wrong_direction_are_dropped() {
    for socket in [SocketType::XPub, SocketType::Push] {
        let mut end = End::established(socket, |_| {});
        end.receive(&event_message(b"/t", &event(1_u64)));
        end.receive(&message(&[b"\x02"]));
        end.receive(&message(&[b""]));
        // Only a message with one part is a subscription.
        end.receive(&message(&[b"\x01/t", b""]));
        let error = Event::Malformed(PartsError::WrongDirection.into());
        assert_eq!(end.take_events(), vec![error; 4]);
        assert!(end.session.is_established());
    }
    let mut end = End::established(SocketType::Pull, |_| {});
    end.receive(&message(&[b"log-write", SENDER, b"broker-bin-v1", b""]));
    let [Event::Malformed(error)] = &end.events[..] else { panic!("{:?}", end.events) };
    assert_eq!(error.to_string(), "unknown format broker-bin-v1; expected zeek-bin-serializer");
}

#[test]
fn subscriptions_beyond_a_limit_end_the_session() {
    let limits = Limits { max_filter_topics: 10, max_filter_bytes: 100, ..Limits::DEFAULT };
    for as_command in [false, true] {
        let subscribe = |topic: &[u8]| {
            if as_command { command("SUBSCRIBE", topic) } else { message(&[&[&[1], topic].concat()]) }
        };
        let mut end = End::established(SocketType::XPub, with(limits));
        for n in 0..10_u8 {
            end.receive(&subscribe(&[n]));
            end.receive(&subscribe(&[n]));
        }
        assert!(end.session.is_established());
        end.receive(&subscribe(&[10]));
        assert_eq!(
            end.closed_text(),
            "the peer has more than 10 subscriptions; it must subscribe to fewer, shorter prefixes"
        );
        assert_eq!(end.failure(), (ErrorKind::Limit, "subscriptions"));

        let mut end = End::established(SocketType::XPub, with(limits));
        end.receive(&subscribe(&[b'a'; 60]));
        end.receive(&subscribe(&[b'b'; 41]));
        assert_eq!(
            end.closed_text(),
            "the topics of the peer's subscriptions have more than 100 bytes; it must subscribe to fewer, shorter prefixes"
        );
    }
    let mut end = End::established(SocketType::XPub, |_| {});
    end.receive(&[&long_header(0, 65_536)[..], &[1; 65_536]].concat());
    assert!(end.session.is_established());
    end.receive(&[&long_header(0, 65_537)[..], &[1; 65_537]].concat());
    assert_eq!(
        end.closed_text(),
        "the peer subscribed to a topic of 65536 bytes, more than the limit of 65535"
    );
    // The other sockets have no subscribers, and ignore the commands, as libzmq does.
    for socket in [SocketType::XSub, SocketType::Push, SocketType::Pull] {
        let mut end = End::established(socket, with(Limits { max_filter_topics: 0, ..Limits::DEFAULT }));
        end.receive(&command("SUBSCRIBE", b"/t"));
        assert_eq!((end.take_events(), end.session.is_established()), (vec![], true));
    }
}

#[test]
fn pings_are_answered_unless_the_peer_does_not_read() {
    let mut end = End::established(SocketType::XPub, |_| {});
    end.receive(&command("PING", b"\0\x0acontext"));
    assert_eq!(end.take_output(), command("PONG", b"context"));
    end.receive(&command("PING", b"\0\0"));
    assert_eq!(end.take_output(), command("PONG", b""));
    end.receive(&command("PING", b"\0\x000123456789abcdefgh"));
    assert_eq!(end.take_output(), command("PONG", b"0123456789abcdef"));

    let pings = command("PING", b"\0\0").repeat(100_000);
    end.input.extend_from_slice(&pings);
    end.session.handle_input(end.now, &mut end.input);
    assert!((64 * 1024..65 * 1024).contains(&end.session.unsent()), "{}", end.session.unsent());
}

/// libzmq with a heartbeat may send a ping after any frame.
#[test]
fn commands_between_the_parts_of_a_message_are_handled() {
    let message = event_message(b"/t", &event(1_u64));
    let (topic, rest) = message.split_at(4);
    let commands = [command("PING", b"\0\0x"), command("PONG", b""), command("JOIN", b"x")].concat();
    let mut end = End::established(SocketType::XSub, |_| {});
    end.receive(&[topic, &commands, rest].concat());
    assert_eq!(end.take_output(), command("PONG", b"x"));
    assert!(matches!(&end.events[..], [Event::Message(envelope)] if *envelope.topic.as_bytes() == *b"/t"));

    let mut end = End::established(SocketType::XPub, |_| {});
    end.receive(&[topic, &command("SUBSCRIBE", b"a")].concat());
    assert_eq!(end.take_events(), [Event::FilterChanged(filter(&["a"]))]);
    end.receive(rest);
    assert_eq!(end.take_events(), [Event::Malformed(PartsError::WrongDirection.into())]);
}

#[test]
fn unknown_commands_and_pongs_are_ignored() {
    let mut end = End::established(SocketType::XSub, |_| {});
    for bytes in [command("PONG", b""), command("JOIN", b"x"), command("", b""), ready("XPUB"), ready("REQ")]
    {
        end.receive(&bytes);
    }
    assert_eq!((end.take_events(), end.take_output()), (vec![], vec![]));
    assert!(end.session.is_established());
}

#[test]
fn input_stops_until_the_queued_events_are_polled() {
    let mut end = End::established(SocketType::XSub, |_| {});
    end.input.extend_from_slice(&event_message(b"/t", &event(1_u64)).repeat(3000));
    assert!(end.session.handle_input(end.now, &mut end.input));
    assert!(end.session.handle_input(end.now, &mut end.input), "no more than before");
    let queued = std::iter::from_fn(|| end.session.poll_event()).count();
    assert_eq!(queued, 1024);
    end.receive(b"");
    assert_eq!(end.events.len(), 3000 - 1024);
}
