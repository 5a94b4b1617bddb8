//! Tests of pings, pongs and silence.

use super::*;

#[test]
fn a_server_pings_and_closes_without_a_pong() {
    let [mut client, mut server] = established(|_| {}, |_| {});
    for _ in 0..3 {
        let before = server.now;
        server.time_out();
        assert_eq!(server.now - before, ServerConfig::PING_INTERVAL);
        exchange(&mut client, &mut server);
        assert!(server.session.is_established());
    }
    // A message does not count as a pong.
    server.time_out();
    server.receive(&from_client(Opcode::Text, b"?"));
    server.take_output();
    server.time_out();
    assert_eq!(frames(&server.take_output()), [(Opcode::Close, b"\x03\xf3Ping timeout".to_vec())]);
    assert_eq!(failure(&server), (ErrorKind::TimedOut, "silent"));
}

/// A client that reads slowly has much to read before it can answer a ping.
#[test]
fn the_time_for_a_pong_starts_when_the_ping_is_written() {
    let [_, mut server] = established(|_| {}, |_| {});
    let after_many_timeouts = |server: &mut End, count| {
        for _ in 0..count {
            server.time_out();
        }
        server.session.is_established()
    };
    server.session.send(&envelope("/t/x", &Value::String("x".repeat(1_000_000).into()))).unwrap();
    server.poll();
    server.time_out();
    let (now, interval) = (server.now, ServerConfig::PING_INTERVAL);
    // The connection accepts some bytes after every eleven timeouts.
    for unwritten in (1..=20).rev() {
        server.session.handle_written(now, unwritten * 1000);
        assert!(after_many_timeouts(&mut server, 11), "{unwritten}");
    }
    let written = server.now + SECOND;
    server.session.handle_written(written, 0);
    assert_eq!(server.session.poll_timeout(), Some(written + interval));
    assert!(!after_many_timeouts(&mut server, 9), "all is written");
    assert_eq!(failure(&server), (ErrorKind::TimedOut, "silent"));
}

#[test]
fn a_client_that_reads_nothing_is_disconnected() {
    let [_, mut server] = established(|_| {}, |_| {});
    let start = server.now;
    server.time_out();
    server.session.handle_written(server.now, 1000);
    while server.session.is_established() {
        server.time_out();
    }
    assert_eq!(failure(&server), (ErrorKind::TimedOut, "silent"));
    assert_eq!(server.now - start, 13 * ServerConfig::PING_INTERVAL);
}

/// The operating systems of both sides buffer megabytes, so the ping can be written long before the client can read it.
#[test]
fn a_client_has_more_time_for_a_pong_if_it_has_more_to_read() {
    let text = envelope("/t/x", &Value::String("x".repeat(1_000_000).into()));
    let [_, mut server] = established(|_| {}, |_| {});
    server.session.send(&text).unwrap();
    server.poll();
    let sent = frames(&server.take_output());
    let Some((Opcode::Ping, position)) = sent.last() else { panic!("no ping after a long message") };
    server.time_out();
    for _ in 0..7 {
        server.time_out();
        assert!(server.session.is_established());
    }
    // The pong for the ping after the message confirms that the message was read.
    server.receive(&from_client(Opcode::Pong, position));
    server.time_out();
    assert!(server.session.is_established());
    server.time_out();
    assert_eq!(failure(&server), (ErrorKind::TimedOut, "silent"));
}

/// No ping can be sent within a message, so a pong cannot show that the client reads it.
#[test]
fn a_client_may_need_minutes_for_one_message() {
    let text = envelope("/t/x", &Value::String("x".repeat(20_000_000).into()));
    let [_, mut server] = established(|_| {}, |_| {});
    server.session.send(&text).unwrap();
    server.poll();
    let start = server.now;
    while server.session.is_established() {
        server.time_out();
    }
    // The ping at the first timeout, and 60 more intervals without a pong.
    assert_eq!(server.now - start, 62 * ServerConfig::PING_INTERVAL);
}

#[test]
fn a_pong_may_be_late_if_a_long_message_is_received_or_reading_is_paused() {
    let [_, mut server] = established(|_| {}, |_| {});
    let long = from_client(Opcode::Text, &[b'x'; 10_000]);
    for part in long.chunks(1000).take(9) {
        server.receive(part);
        server.time_out();
    }
    assert!(server.session.is_established());
    server.session.pause(server.now, true);
    for _ in 0..5 {
        server.time_out();
    }
    server.session.pause(server.now, false);
    server.take_output();
    server.time_out();
    assert!(server.session.is_established());
    server.time_out();
    assert_eq!(failure(&server), (ErrorKind::TimedOut, "silent"));
}

#[test]
fn a_client_pings_a_silent_server_and_sends_pongs_while_it_is_paused() {
    let [mut client, mut server] = established(|_| {}, |_| {});
    let before = client.now;
    client.time_out();
    assert_eq!(client.now - before, ClientConfig::PING_INTERVAL);
    exchange(&mut client, &mut server);
    assert!(client.session.is_established());
    client.session.pause(client.now, true);
    client.take_output();
    let before = client.now;
    client.time_out();
    assert_eq!(client.now - before, SECOND, "before the server misses a pong");
    assert_eq!(frames(&client.take_output()), [(Opcode::Pong, vec![])]);
    client.session.pause(client.now, false);
    client.time_out();
    client.time_out();
    assert_eq!(failure(&client), (ErrorKind::TimedOut, "silent"));
}

#[test]
fn a_client_notices_a_server_that_has_vanished() {
    let [mut client, _] = established(|_| {}, |_| {});
    let start = client.now;
    client.time_out();
    assert!(matches!(frames(&client.take_output())[..], [(Opcode::Ping, _)]));
    client.time_out();
    assert_eq!(failure(&client), (ErrorKind::TimedOut, "silent"));
    assert_eq!(client.now - start, 2 * ClientConfig::PING_INTERVAL);
    let [client, _] = established(|config| config.common.idle_timeout = None, |_| {});
    assert_eq!(client.session.poll_timeout(), None);
}

/// The answers to the pings of a server are output, too. They must not make a client wait longer.
#[test]
fn many_answered_pings_do_not_delay_the_detection_of_a_server_that_has_vanished() {
    let [mut client, _] = established(|_| {}, |_| {});
    for _ in 0..20_000 {
        client.receive(&from_server(Opcode::Ping, &[b'x'; 100]));
    }
    assert!(client.take_output().len() > 12 * 128 * 1024);
    let start = client.now;
    client.time_out();
    assert!(matches!(frames(&client.take_output())[..], [(Opcode::Ping, _)]));
    client.time_out();
    assert_eq!(failure(&client), (ErrorKind::TimedOut, "silent"));
    assert_eq!(client.now - start, 2 * ClientConfig::PING_INTERVAL);
}

/// A server that is stopped must not wait for clients that confirm a few bytes at a time.
#[test]
fn a_slow_client_does_not_extend_the_time_to_answer_the_close_of_a_server() {
    let [_, mut server] = established(|_| {}, |_| {});
    for _ in 0..3 {
        server.session.send(&envelope("/t", &Value::String("x".repeat(140_000).into()))).unwrap();
    }
    server.poll();
    let pings: Vec<_> =
        frames(&server.take_output()).into_iter().filter(|(opcode, _)| *opcode == Opcode::Ping).collect();
    let start = server.now;
    server.session.leave(start);
    server.poll();
    let deadline = server.session.poll_timeout();
    server.now += SECOND;
    server.receive(&from_client(Opcode::Pong, &pings[0].1));
    assert!(deadline.is_some());
    assert_eq!(server.session.poll_timeout(), deadline);
}

#[test]
fn a_server_that_still_reads_has_more_time_to_answer_the_close() {
    let [mut client, _] = established(|_| {}, |_| {});
    for _ in 0..30 {
        client.session.send(&envelope("/t", &Value::String("x".repeat(140_000).into()))).unwrap();
    }
    client.poll();
    let pings: Vec<_> =
        frames(&client.take_output()).into_iter().filter(|(opcode, _)| *opcode == Opcode::Ping).collect();
    assert_eq!(pings.len(), 30);
    let (start, timeout) = (client.now, Config::LEAVE_TIMEOUT);
    client.session.leave(start);
    client.poll();
    for (number, (_, position)) in pings.iter().enumerate() {
        client.receive(&from_server(Opcode::Pong, position));
        let latest = start + 10 * timeout;
        assert_eq!(client.session.poll_timeout(), Some((client.now + timeout).min(latest)), "{number}");
        // A pong that confirms no more bytes does not extend the timeout.
        client.now += 2 * SECOND;
        client.receive(&from_server(Opcode::Pong, b""));
        client.receive(&from_server(Opcode::Pong, position));
        if client.now >= latest {
            break;
        }
        assert!(client.session.poll_timeout() < Some(client.now + timeout));
        client.session.handle_timeout(client.now);
        client.poll();
        assert!(client.session.is_established());
    }
    client.time_out();
    assert_eq!(client.close_reason(), Some(&CloseReason::LeftUnconfirmed));
}
