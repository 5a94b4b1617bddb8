//! Limits on the input, and input that violates the protocol.

use super::*;
use crate::wire::Limits;

/// Limits that are easy to reach.
fn small(common: &mut Config) {
    common.limits = Limits {
        max_frame: 1000,
        max_handshake_frame: 200,
        max_depth: 3,
        max_elements: 20,
        max_filter_bytes: 64,
        max_filter_topics: 3,
    };
}

fn small_server() -> End {
    established(|_| {}, |config| small(&mut config.common)).into_iter().nth(1).unwrap()
}

fn kind(end: &End) -> ErrorKind {
    end.close_reason().unwrap().kind()
}

/// Returns a server that has received a request. Its response is already removed.
fn upgraded(change: impl FnOnce(&mut ServerConfig)) -> End {
    let mut server = End::server(change);
    server.receive(&request(""));
    server.take_output();
    server
}

#[test]
fn a_long_head_is_refused() {
    let mut server = End::server(|_| {});
    server.receive(b"GET / HTTP/1.1\r\n");
    for _ in 0..http::MAX_HEAD / 10 {
        server.receive(b"a: 56789\r\n");
        assert!(server.input.is_empty() || server.close_reason().is_some());
    }
    assert!(server.take_output().starts_with(b"HTTP/1.1 431 "));
    assert_eq!(kind(&server), ErrorKind::Limit);

    let mut client = End::client(|_| {});
    client.receive(&[b'H'; http::MAX_HEAD]);
    assert_eq!(client.closed_text(), "the peer sent an HTTP response of more than 16384 bytes");
}

#[test]
fn invalid_requests_are_refused() {
    for (bytes, line) in [
        (&b"GET /v1/messages/json HTTP/1.1\r\n\r\n"[..], "HTTP/1.1 400 Missing Upgrade header"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 Missing Upgrade header"),
        (b"DELETE / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Invalid HTTP method, need GET, got DELETE"),
        (
            b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
            "HTTP/1.1 400 Invalid Sec-WebSocket-Version, need 13, got ",
        ),
        (
            b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8 <b>\r\n\r\n",
            "HTTP/1.1 400 Invalid Sec-WebSocket-Version, need 13, got ?",
        ),
        (b"?\x01\r\n\r\n", "HTTP/1.1 400 Error parsing HTTP request"),
    ] {
        let mut server = End::server(|_| {});
        server.receive(bytes);
        let output = String::from_utf8(server.take_output()).unwrap();
        assert_eq!(output.lines().next(), Some(line));
        assert!(
            output.contains("\r\nContent-Length: 0\r\nConnection: close\r\n") && output.ends_with("\r\n\r\n")
        );
        assert_eq!(kind(&server), ErrorKind::Malformed);
    }
    for twice in
        ["Host: a\r\nHost: a\r\n", "Origin: a\r\nOrigin: a\r\n", "Authorization: a\r\nAuthorization: a\r\n"]
    {
        let mut server = End::server(|_| {});
        server.receive(&request(twice));
        assert!(server.take_output().starts_with(b"HTTP/1.1 400 Invalid "), "{twice}");
    }
    let many: String = (0..100).map(|n| format!("x-{n}: y\r\n")).collect();
    let mut server = End::server(|_| {});
    server.receive(&request(&many));
    assert!(server.take_output().starts_with(b"HTTP/1.1 400 "));
}

#[test]
fn subscriptions_are_limited() {
    for (text, context) in [
        (r#"["a","b","c","d"]"#, "too many subscriptions"),
        (&*format!("[\"{}\",\"{}\"]", "x".repeat(40), "y".repeat(40)), "subscriptions too long"),
        (r#"["a",1]"#, "individual subscription not a string"),
        (r#"{"a":1}"#, "subscriptions not an array"),
        (&"[".repeat(190), "too many subscriptions"),
    ] {
        let mut server = upgraded(|config| small(&mut config.common));
        server.receive(&from_client(Opcode::Text, text.as_bytes()));
        let output = server.take_output();
        let error = format!(r#"{{"type":"error","code":"deserialization_failed","context":"{context}"}}"#);
        let close = [&1008u16.to_be_bytes(), context.as_bytes()].concat();
        assert_eq!(frames(&output), [(Opcode::Text, error.into_bytes()), (Opcode::Close, close)], "{text}");
        // A later valid message changes nothing.
        server.receive(&from_client(Opcode::Text, b"[]"));
        assert!(server.take_output().is_empty() && server.take_events().is_empty());
        server.receive(&from_client(Opcode::Close, b""));
        assert_eq!(server.closed_text(), format!("refused the subscriptions: {context}"));
    }
    let mut server = upgraded(|config| small(&mut config.common));
    server.receive(&from_client(Opcode::Text, &[b' '; 201])[..20]);
    assert_eq!(frames(&server.take_output()), [(Opcode::Close, b"\x03\xf1Message too big".to_vec())]);
}

#[test]
fn the_wait_for_a_close_frame_ends_by_timeout_or_end_of_stream() {
    let mut server = upgraded(|_| {});
    server.receive(&from_client(Opcode::Text, b"?"));
    assert!(server.close_reason().is_none());
    server.receive(&from_client(Opcode::Ping, b"?"));
    server.take_output();
    server.time_out();
    assert_eq!(server.closed_text(), "refused the subscriptions: subscriptions not an array");
    let mut server = upgraded(|_| {});
    server.receive(&from_client(Opcode::Text, b"?"));
    server.session.handle_eof();
    server.poll();
    assert_eq!(server.closed_text(), "refused the subscriptions: subscriptions not an array");
}

#[test]
fn the_length_of_a_message_is_limited_even_in_fragments() {
    let mut server = small_server();
    // The message is refused after its header.
    server.receive(&from_client(Opcode::Text, &[b'x'; 1001])[..8]);
    assert_eq!(frames(&server.take_output()), [(Opcode::Close, b"\x03\xf1Message too big".to_vec())]);
    server.receive(&[b'x'; 5000]);
    assert!(server.input.is_empty(), "the rest is discarded");
    server.session.handle_eof();
    server.poll();
    assert_eq!(kind(&server), ErrorKind::Limit);

    let mut server = small_server();
    let part = |first: u8| [&[first, 0x7e, 0, 200][..], &[b'x'; 200]].concat();
    server.receive(&part(0x01));
    for _ in 0..4 {
        server.receive(&part(0x00));
        assert!(server.session.is_established());
    }
    // An endless series of empty fragments needs no memory.
    for _ in 0..1000 {
        server.receive(&[0x00, 0x00]);
    }
    assert!(server.session.is_established());
    server.receive(&part(0x00));
    assert_eq!(frames(&server.take_output()), [(Opcode::Close, b"\x03\xf1Message too big".to_vec())]);
}

#[test]
fn the_depth_of_values_is_limited_and_not_the_depth_of_brackets() {
    let nested = |depth: usize| {
        let none = r#"{"@data-type":"none","data":{}}"#.to_owned();
        let value =
            (0..depth).fold(none, |inner, _| format!(r#"{{"@data-type":"vector","data":[{inner}]}}"#));
        format!(r#"{{"topic":"/t",{}"#, value.strip_prefix('{').unwrap())
    };
    let mut server = small_server();
    for (depth, accepted) in [(0, true), (3, true), (4, false), (10, false)] {
        server.receive(&from_client(Opcode::Text, nested(depth).as_bytes()));
        let events = server.take_events();
        assert_eq!(matches!(events[..], [Event::Message(_)]), accepted, "{depth}: {events:?}");
        assert_eq!(server.take_output().is_empty(), accepted);
    }
    let [_, mut server] = established(|_| {}, |_| {});
    for (depth, accepted) in [(128, true), (129, false)] {
        server.receive(&from_client(Opcode::Text, nested(depth).as_bytes()));
        assert_eq!(matches!(server.take_events()[..], [Event::Message(_)]), accepted, "{depth}");
    }
    for bomb in ["[".repeat(1_000_000), "{\"a\":".repeat(200_000), "[[],".repeat(250_000)] {
        server.receive(&from_client(Opcode::Text, bomb.as_bytes()));
        assert!(matches!(server.take_events()[..], [Event::Malformed(_)]));
    }
    assert!(server.session.is_established());
}

#[test]
fn frames_that_violate_the_protocol_are_refused_as_by_zeek() {
    let protocol = (1002, "Protocol error");
    for (bytes, (code, text)) in [
        (&[0xc1, 0x80, 0, 0, 0, 0][..], (1002, "Reserved bit used")),
        (&[0x83, 0x80, 0, 0, 0, 0], protocol),
        (&[0x80, 0x80, 0, 0, 0, 0], protocol),
        (&[0x01, 0x80, 0, 0, 0, 0, 0x81, 0x80, 0, 0, 0, 0], protocol),
        (&[0x09, 0x80, 0, 0, 0, 0], protocol),
        (&[0x89, 0xfe, 0, 126], protocol),
        (&[0x88, 0x81, 0, 0, 0, 0, 3], protocol),
        (&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], (1009, "Message too big")),
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff], (1007, "Invalid frame payload data")),
    ] {
        let [_, mut server] = established(|_| {}, |_| {});
        server.receive(bytes);
        let close = [&u16::to_be_bytes(code), text.as_bytes()].concat();
        assert_eq!(frames(&server.take_output()), [(Opcode::Close, close)], "{bytes:x?}");
        assert!(!server.session.is_established() && server.take_events().is_empty());
        server.session.handle_eof();
        server.poll();
        let reason = server.close_reason().unwrap();
        assert!(
            matches!(reason, CloseReason::Failed(PeeringError::Session(error)) if error.cause == "frame"),
            "{reason}"
        );
    }
    // Text in fragments is checked as a whole.
    let [_, mut server] = established(|_| {}, |_| {});
    server.receive(b"\x01\x01\xc3");
    server.receive(b"\x80\x01\xa4");
    assert!(matches!(server.take_events()[..], [Event::Malformed(_)]));
    // A server accepts frames without a mask, as Zeek does. A client refuses frames with a mask.
    server.receive(&from_server(Opcode::Text, br#"{"topic":"/t","@data-type":"count","data":1}"#));
    assert!(matches!(server.take_events()[..], [Event::Message(_)]));
    let [mut client, _] = established(|_| {}, |_| {});
    client.receive(&from_client(Opcode::Text, b"{}"));
    assert_eq!(frames(&client.take_output()), [(Opcode::Close, b"\x03\xeaProtocol error".to_vec())]);
}

#[test]
fn close_codes_that_may_not_be_sent_are_answered_with_1002() {
    let refused = [0, 999, 1004, 1005, 1006, 1015, 5000, 65535].map(|code| (code, false));
    let echoed = [1000, 1001, 1003, 1007, 1014, 1016, 3000, 4999].map(|code| (code, true));
    for (code, is_echoed) in refused.into_iter().chain(echoed) {
        let payload = [&u16::to_be_bytes(code), &b"why"[..]].concat();
        let expected = if is_echoed { payload.clone() } else { b"\x03\xeaProtocol error".to_vec() };
        let [mut client, mut server] = established(|_| {}, |_| {});
        client.receive(&from_server(Opcode::Close, &payload));
        server.receive(&from_client(Opcode::Close, &payload));
        for mut end in [client, server] {
            assert_eq!(frames(&end.take_output()), [(Opcode::Close, expected.clone())], "{code}");
            assert!(!end.session.is_established());
        }
    }
    // Such a code also ends the session if this side has sent its close frame.
    let [_, mut server] = established(|_| {}, |_| {});
    server.session.leave(server.now);
    server.receive(&from_client(Opcode::Close, b"\0\0"));
    assert!(server.closed_text().contains("the code 0"), "{}", server.closed_text());
    assert!(matches!(frames(&server.take_output())[..], [(Opcode::Close, _)]));
}

#[test]
fn pings_are_answered_unless_the_peer_does_not_read() {
    let [_, mut server] = established(|_| {}, |_| {});
    server.receive(&[from_client(Opcode::Ping, b"a"), from_client(Opcode::Ping, &[b'x'; 125])].concat());
    assert_eq!(
        frames(&server.take_output()),
        [(Opcode::Pong, b"a".to_vec()), (Opcode::Pong, vec![b'x'; 125])]
    );
    let flood = from_client(Opcode::Ping, &[b'x'; 125]).repeat(10_000);
    assert!(!server.session.handle_input(server.now, &mut BytesMut::from(&flood[..])));
    assert!(server.session.unsent() < 70_000, "{} bytes of pongs", server.session.unsent());
}

#[test]
fn a_server_that_has_sent_a_close_frame_answers_no_bad_messages() {
    let [_, mut server] = established(|_| {}, |_| {});
    server.receive(&from_client(Opcode::Text, b"?"));
    assert!(matches!(frames(&server.take_output())[..], [(Opcode::Text, _)]));
    server.session.leave(server.now);
    server.poll();
    assert!(matches!(frames(&server.take_output())[..], [(Opcode::Close, _)]));
    server.take_events();
    server.receive(&from_client(Opcode::Text, b"?"));
    assert_eq!(frames(&server.take_output()), []);
    assert!(matches!(server.take_events()[..], [Event::Malformed(_)]));
}

#[test]
fn a_flood_of_messages_stops_until_the_events_are_taken() {
    let [_, mut server] = established(|_| {}, |_| {});
    let flood = from_client(Opcode::Text, b"?").repeat(3000);
    let mut input = BytesMut::from(&flood[..]);
    let mut events = 0;
    loop {
        let more = server.session.handle_input(server.now, &mut input);
        let queued = std::iter::from_fn(|| server.session.poll_event()).count();
        assert!(queued <= 1024);
        events += queued;
        while server.session.poll_transmit().is_some() {}
        if !more {
            break;
        }
    }
    assert_eq!((events, input.len()), (3000, 0));
}
