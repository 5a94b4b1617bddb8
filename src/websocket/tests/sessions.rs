//! Two sessions that are connected to each other.

use super::*;
use crate::data::Timestamp;
use crate::wire::Limits;
use crate::zeek::{Event as ZeekEvent, ZeekMessage};

fn messages(end: &mut End) -> Vec<(Topic, Value)> {
    let events = end.take_events().into_iter();
    events
        .map(|event| match event {
            Event::Message(envelope) => {
                let value = envelope.value(&Limits::DEFAULT).unwrap();
                assert!(envelope.receiver.is_nil() && envelope.ttl == crate::wire::INITIAL_TTL);
                (envelope.topic, value)
            }
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn both_sides_exchange_messages() {
    let (mut client, mut server) = (End::client(|_| {}), End::server(|_| {}));
    exchange(&mut client, &mut server);
    let role = peering::Role::Responder;
    let everything: Filter = [Topic::default()].into_iter().collect();
    assert_eq!(
        client.take_events(),
        [Event::Introduced { peer: id(2), role }, Event::Established { peer: id(2), filter: everything }]
    );
    let subscriptions = filter(&["/t"]);
    assert_eq!(
        server.take_events(),
        [Event::Introduced { peer: id(4), role }, Event::Established { peer: id(4), filter: subscriptions }]
    );
    assert_eq!(client.session.peer_name().as_deref(), Some(&*format!("{}-websocket-0", id(3))));
    assert_eq!(client.session.peer_version().as_deref(), Some("1.0"));
    assert_eq!(server.session.peer_name().as_deref(), Some("zeek-bridge/test"));
    assert_eq!((server.session.token(), server.session.peer_version()), (None, None));

    let value = ZeekMessage::Event(ZeekEvent::new("ping", (1u64, "x"))).into_value();
    client.session.send(&envelope("/c", &value)).unwrap();
    server.session.send(&envelope("/t/s", &value)).unwrap();
    client.poll();
    server.poll();
    exchange(&mut client, &mut server);
    assert_eq!(messages(&mut server), [(Topic::from_static("/c"), value.clone())]);
    assert_eq!(messages(&mut client), [(Topic::from_static("/t/s"), value)]);
}

/// Zeek reads these texts, see `fixtures/json-v1`.
#[test]
fn an_event_is_read_as_zeek_reads_it() {
    let [_, mut server] = established(|_| {}, |_| {});
    let event = ZeekEvent::new("ping", (7.0,));
    let timed = event.clone().with_network_timestamp(Timestamp::from_nanos(1_500_000_000));
    let empty = event.clone().with_metadata::<Value>([]);
    let args = r#"{"@data-type":"vector","data":[{"data":7.0,"@data-type":"real"}]}"#;
    let name = r#"{"@data-type":"string","data":"ping"}"#;
    let one = r#"{"@data-type":"count","data":1}"#;
    let two = r#"{"@data-type":"count","data":2}"#;
    let time = r#"{"@data-type":"vector","data":[{"@data-type":"vector","data":[{"@data-type":"count","data":1},{"@data-type":"timestamp","data":"1970-01-01T00:00:01.500"}]}]}"#;
    let nothing = r#"{"@data-type":"vector","data":[]}"#;
    for (head, content, expected) in [
        (format!("{one},{one}"), format!("{name},{args}"), &event),
        (format!("{two},{one}"), format!("{name},{args}"), &event),
        (format!("{one},{one}"), format!("{name},{args},{nothing}"), &empty),
        (format!("{one},{one}"), format!("{name},{args},{time}"), &timed),
        (format!("{one},{one}"), format!("{name},{args},{time},{nothing}"), &timed),
    ] {
        let text = format!(
            r#" {{"data":[{head},{{"@data-type":"vector","data":[{content}]}}],"other":[],"@data-type":"vector","topic":"/x"}} "#
        );
        server.receive(&from_client(Opcode::Binary, text.as_bytes()));
        let expected = ZeekMessage::Event(expected.clone()).into_value();
        assert_eq!(messages(&mut server), [(Topic::from_static("/x"), expected)], "{text}");
    }
    // A value that is not a Zeek message is accepted, as by the server of earlier versions of Broker.
    server.receive(&from_client(Opcode::Text, br#"{"topic":"/x","@data-type":"count","data":5}"#));
    assert_eq!(messages(&mut server), [(Topic::from_static("/x"), Value::Count(5))]);
}

#[test]
fn an_invalid_message_is_answered_and_reported() {
    let [_, mut server] = established(|_| {}, |_| {});
    for (text, context) in [
        ("", "failed to decode JSON object"),
        ("[1]", "failed to decode JSON object"),
        (r#"{"topic":"/t"}"#, "failed to decode JSON object"),
        (r#"{"@data-type":"count","data":5}"#, "no topic in top-level JSON object"),
        (r#"{"topic":5,"@data-type":"count","data":5}"#, "no topic in top-level JSON object"),
        (
            r#"{"topic":"/t","@data-type":"vector","data":[{"@data-type":"count","data":1},{"@data-type":"count","data":3}]}"#,
            "failed to create Zeek event",
        ),
    ] {
        server.receive(&from_client(Opcode::Text, text.as_bytes()));
        let error = format!(r#"{{"type":"error","code":"deserialization_failed","context":"{context}"}}"#);
        assert_eq!(text_frames(&server.take_output()), [error]);
        assert!(matches!(server.take_events()[..], [Event::Malformed(_)]), "{text}");
    }
    assert!(server.session.is_established());
}

#[test]
fn a_client_reports_errors_and_continues() {
    let [mut client, _] = established(|_| {}, |_| {});
    for (text, code, context) in [
        (r#"{"type":"error","code":"a","context":"b"}"#, "a", "b"),
        (r#"{"type":"error","code":"a","message":"b\u001b"}"#, "a", "b\u{fffd}"),
        (r#"{"type":"error"}"#, "", ""),
    ] {
        client.receive(&from_server(Opcode::Text, text.as_bytes()));
        let notice = peering::Notice { code: code.into(), context: context.into() };
        assert_eq!(client.take_events(), [Event::Notice(notice)]);
    }
    client.receive(&from_server(
        Opcode::Text,
        b"{\"type\":\"data-message\",\"topic\":\"\xff\",\"@data-type\":\"string\",\"data\":\"\xfe\"}",
    ));
    assert_eq!(
        messages(&mut client),
        [(Topic::new(&b"\xff"[..]).unwrap(), Value::String(b"\xfe"[..].into()))]
    );
    client.receive(&from_server(Opcode::Text, b"?"));
    assert!(matches!(client.take_events()[..], [Event::Malformed(_)]));
}

#[test]
fn leaving_ends_when_the_close_frame_is_echoed() {
    let [mut client, mut server] = established(|_| {}, |_| {});
    let value = Value::Count(1);
    client.session.send(&envelope("/c", &value)).unwrap();
    client.session.leave(client.now);
    assert_eq!(client.session.send(&envelope("/c", &value)), Err(SendError::NotEstablished));
    assert!(client.session.is_established());
    client.poll();
    server.session.send(&envelope("/t", &value)).unwrap();
    server.poll();
    exchange(&mut client, &mut server);
    assert_eq!(client.take_events().len(), 2, "the message of the server, and the end");
    assert_eq!(server.close_reason(), Some(&CloseReason::PeerLeft));
    assert_eq!(server.take_events().len(), 2, "the message of the client, and the end");

    let [mut client, mut server] = established(|_| {}, |_| {});
    server.session.leave(server.now);
    server.poll();
    let output = server.take_output();
    assert_eq!(frames(&output), [(Opcode::Close, b"\x03\xe9Terminating".to_vec())]);
    client.receive(&output);
    assert_eq!(client.close_reason(), Some(&CloseReason::PeerLeft));
    server.receive(&client.take_output());
    assert_eq!(server.close_reason(), Some(&CloseReason::Left));

    let [mut client, _] = established(|_| {}, |_| {});
    client.session.leave(client.now);
    client.time_out();
    assert_eq!(client.close_reason(), Some(&CloseReason::LeftUnconfirmed));
}

#[test]
fn the_reason_of_the_peer_is_reported() {
    for (payload, text) in [
        (
            &b"\x03\xf0not\x1b allowed"[..],
            "the peer closed the WebSocket connection: 1008 not\u{fffd} allowed",
        ),
        (b"\x0f\xa0", "the peer closed the WebSocket connection: 4000"),
        (b"\x03\xe8bye", "the peer left"),
        (b"\x03\xe9", "the peer left"),
        (b"", "the peer left"),
    ] {
        let [mut client, mut server] = established(|_| {}, |_| {});
        client.receive(&from_server(Opcode::Close, payload));
        server.receive(&from_client(Opcode::Close, payload));
        for end in [&mut client, &mut server] {
            assert_eq!(end.closed_text(), text);
            assert_eq!(
                frames(&end.take_output()),
                [(Opcode::Close, payload.to_vec())],
                "the close frame is echoed"
            );
        }
    }
    let [mut client, _] = established(|_| {}, |_| {});
    client.session.handle_eof();
    client.poll();
    assert_eq!(client.close_reason(), Some(&CloseReason::Lost));
}

#[test]
fn a_changed_filter_needs_a_new_session() {
    let topics = |config: &mut ClientConfig| config.common.filter = filter(&["/a", "/b"]);
    let [mut client, mut server] = established(topics, |_| {});
    for covered in [&["/a"][..], &["/a/x", "/b"], &[], &["/a", "/b"]] {
        client.session.set_filter(filter(covered));
        assert!(client.session.is_established(), "{covered:?}");
    }
    client.session.set_filter(filter(&["/a", "/c"]));
    assert!(!client.session.is_established(), "new messages stay in their queue");
    // The timeout starts at the next call with a `now` argument.
    client.now += 1000 * SECOND;
    client.session.handle_timeout(client.now);
    client.poll();
    assert!(client.close_reason().is_none());
    server.session.send(&envelope("/a", &Value::Count(1))).unwrap();
    server.poll();
    exchange(&mut client, &mut server);
    assert!(matches!(client.events[0], Event::Message(_)), "sent before the server closed");
    assert_eq!(failure(&client), (ErrorKind::Closed, "resubscribe"));
    assert_eq!(server.close_reason(), Some(&CloseReason::PeerLeft));

    let [mut silent, _] = established(topics, |_| {});
    silent.session.set_filter(filter(&["/c"]));
    silent.time_out();
    silent.time_out();
    assert_eq!(failure(&silent), (ErrorKind::Closed, "resubscribe"));

    let (mut early, mut server) = (End::client(topics), End::server(|_| {}));
    early.session.set_filter(filter(&["/c"]));
    exchange(&mut early, &mut server);
    assert!(early.session.is_established());
    assert!(
        matches!(&server.events[1], Event::Established { filter: topics, .. } if *topics == filter(&["/c"]))
    );

    server.session.set_filter(filter(&["/x"]));
    assert!(server.session.is_established() && server.take_output().is_empty(), "a server has no filter");
}

#[test]
fn tokens_decide_who_is_accepted() {
    let token = |text| Token::new(text).unwrap();
    let access = || {
        Arc::new(Access { tokens: [("soar", token("secret"))].into_iter().collect(), ..Access::default() })
    };
    let with_access = |config: &mut ServerConfig| config.access = access();
    let [_, server] = established(|config| config.token = Some(token("secret")), with_access);
    assert_eq!(server.session.token().as_deref(), Some("soar"));

    for (wrong, expected) in
        [(None, "no bearer token"), (Some(token("Secret")), "the bearer token is unknown")]
    {
        let (mut client, mut server) = (End::client(|config| config.token = wrong), End::server(with_access));
        let request = client.take_output();
        server.receive(&request);
        let response = server.take_output();
        let text = String::from_utf8_lossy(&response);
        assert!(text.starts_with("HTTP/1.1 401 ") && text.contains("WWW-Authenticate: Bearer\r\n"), "{text}");
        assert!(server.closed_text().contains(expected), "{}", server.closed_text());
        assert_eq!(failure(&server), (ErrorKind::Denied, "token"));
        client.receive(&response);
        assert_eq!(failure(&client), (ErrorKind::Refused, "refused"));
        assert!(client.closed_text().contains("HTTP status 401"), "{}", client.closed_text());
    }
}

#[test]
fn a_request_of_a_foreign_web_page_is_refused() {
    let access = || Arc::new(Access { loopback: true, ..Access::default() });
    for headers in [
        "Host: localhost:1\r\nOrigin: http://evil.example\r\n",
        "Host: evil.example:1\r\nOrigin: http://evil.example:1\r\n",
    ] {
        let mut server = End::server(|config| config.access = access());
        server.receive(&request(headers));
        assert!(server.take_output().starts_with(b"HTTP/1.1 403 "), "{headers}");
        assert_eq!(failure(&server), (ErrorKind::Denied, "origin"));
    }
    let mut server = End::server(|config| config.access = access());
    server.receive(&request("Host: localhost:1\r\nOrigin: http://localhost:1\r\n"));
    assert!(server.take_output().starts_with(b"HTTP/1.1 101 "));
}

#[test]
fn a_peer_is_refused_before_or_after_its_introduction() {
    let (mut client, mut server) = (End::client(|_| {}), End::server(|_| {}));
    for end in [&mut client, &mut server] {
        end.session.refuse();
        end.poll();
        assert_eq!(end.close_reason(), Some(&CloseReason::Left));
    }
    assert!(server.take_output().starts_with(b"HTTP/1.1 403 "));

    let mut server = End::server(|_| {});
    let input = [request(""), from_client(Opcode::Text, b"[]")].concat();
    server.session.handle_input(server.now, &mut BytesMut::from(&input[..]));
    server.session.refuse_redundant();
    server.poll();
    assert_eq!(server.close_reason(), Some(&CloseReason::Redundant { peer: id(4) }));
    assert!(frames(&server.take_output())[0].1.starts_with(&1008u16.to_be_bytes()));
}

#[test]
fn messages_before_the_ack_are_accepted_in_order() {
    let mut server = End::server(|_| {});
    let message = |n| format!(r#"{{"topic":"/x","@data-type":"count","data":{n}}}"#);
    let mut input = [request(""), from_client(Opcode::Text, br#"["/a"]"#)].concat();
    for n in 0..10 {
        input.extend(from_client(Opcode::Text, message(n).as_bytes()));
    }
    server.receive(&input);
    let ack = text_frames(&server.take_output());
    assert_eq!(ack, [format!(r#"{{"type":"ack","endpoint":"{}-websocket-0","version":"1.0"}}"#, id(3))]);
    let events = server.take_events().split_off(2);
    server.events = events;
    let counts: Vec<Value> = messages(&mut server).into_iter().map(|(_, value)| value).collect();
    assert_eq!(counts, (0..10).map(Value::Count).collect::<Vec<_>>());
}

#[test]
fn a_failed_handshake_is_reported_with_its_cause() {
    let answer = |bytes: &[u8]| {
        let mut client = End::client(|_| {});
        client.receive(bytes);
        client.session.handle_eof();
        client.poll();
        client.closed_text()
    };
    // Zeek does not send an empty line.
    let refused = b"HTTP/1.1 400 Missing Upgrade header\r\nServer: ixwebsocket\r\n";
    for (bytes, expected) in [
        (
            &b""[..],
            "the peer closed the connection before the HTTP response; it may expect TLS (wss instead of ws)",
        ),
        (refused, "the server refused the WebSocket connection: HTTP status 400 Missing Upgrade header"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "HTTP status 404 Not Found; there may be a different service"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "HTTP status 200 OK; there may be a different service"),
        (
            b"HTTP/1.1 302 Found\r\n\r\n",
            "HTTP status 302 Found; the server redirects to a different address: use that address",
        ),
        (
            b"HTTP/1.1 503 x\r\n\r\n",
            "HTTP status 503 x; the server, or a server behind the proxy at this address,",
        ),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "the peer does not speak HTTP; it may be an SSH server"),
        (b"HTTP/1.1 101 x\r\n\r\n", "there is no header Upgrade: websocket"),
        (
            b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n",
            "does not belong to the request",
        ),
        (b"H\x01\r\n\r\n", "the peer sent an invalid HTTP response"),
        (
            b"\x15\x03\x01",
            "the peer does not speak HTTP; it answers with a TLS alert: use TLS on both sides (wss)",
        ),
        (b"\0", "it may be an endpoint with Broker's native protocol"),
    ] {
        let text = answer(bytes);
        assert!(text.contains(expected), "{text}");
    }
    for (status, kind) in [
        (200, ErrorKind::Misbehaved),
        (302, ErrorKind::Misbehaved),
        (404, ErrorKind::Misbehaved),
        (400, ErrorKind::Refused),
        (401, ErrorKind::Refused),
        (503, ErrorKind::Refused),
    ] {
        let mut client = End::client(|_| {});
        client.receive(format!("HTTP/1.1 {status} x\r\n\r\n").as_bytes());
        assert_eq!(failure(&client), (kind, "refused"), "{status}");
    }
    let mut client = End::client(|config| config.common.tls = true);
    client.time_out();
    assert!(
        client
            .closed_text()
            .starts_with("timed out while waiting for the HTTP response; TLS was established")
    );
    let mut server = End::server(|_| {});
    server.receive(&request(""));
    server.time_out();
    assert_eq!(failure(&server), (ErrorKind::TimedOut, "timeout"));
    // After the upgrade, both sides agree about TLS.
    assert_eq!(server.closed_text(), "timed out while waiting for the subscriptions");
    let (mut client, mut server) = (End::client(|_| {}), End::server(|_| {}));
    server.receive(&client.take_output());
    client.receive(&server.take_output());
    client.session.handle_eof();
    client.poll();
    assert_eq!(client.closed_text(), "the peer closed the connection before the ack");
    let broken = End::client(|config| config.host = "a\r\nEvil: b".into());
    assert_eq!(failure(&broken), (ErrorKind::Local, "handshake"));
}

#[test]
fn only_an_ack_establishes_a_client() {
    for (text, expected) in [
        (&br#"{"type":"data-message","topic":"/t","@data-type":"none","data":{}}"#[..], "instead of an ack"),
        (br#"{"type":"ack","endpoint":"x"}"#, "instead of an ack"),
        (br#"{"type":"error","code":"c","context":"d"}"#, "the peer refused the subscriptions: c: d"),
    ] {
        let (mut client, mut server) = (End::client(|_| {}), End::server(|_| {}));
        server.receive(&client.take_output());
        client.receive(&server.take_output());
        client.take_output();
        client.receive(&from_server(Opcode::Text, text));
        assert!(!client.session.is_established());
        client.receive(&from_server(Opcode::Close, b""));
        assert!(client.closed_text().contains(expected), "{}", client.closed_text());
    }
}

#[test]
fn only_an_answer_to_the_close_frame_confirms_the_end() {
    for (code, confirmed) in [(Some(1000u16), true), (None, true), (Some(1001), false), (Some(1011), false)] {
        let [mut client, _] = established(|_| {}, |_| {});
        client.session.leave(client.now);
        let payload = code.map_or(Vec::new(), |code| [&code.to_be_bytes(), &b"why"[..]].concat());
        client.receive(&from_server(Opcode::Close, &payload));
        match client.close_reason().unwrap() {
            CloseReason::Left => assert!(confirmed, "{code:?}"),
            CloseReason::PeerLeft => assert_eq!(code, Some(1001)),
            reason => assert!(!confirmed && reason.to_string().contains(" why"), "{code:?}: {reason}"),
        }
        assert_eq!(frames(&client.take_output()), [(Opcode::Close, b"\x03\xe8".to_vec())]);
    }
}
