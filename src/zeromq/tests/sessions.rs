//! Established sessions, and their end.

use std::time::Duration;

use super::*;
use crate::wire::EnvelopeType;
use crate::zeek::LogWrite;

/// Returns two sides that are connected.
fn pair(publisher: impl FnOnce(&mut Config), subscriber: impl FnOnce(&mut Config)) -> [End; 2] {
    let mut publisher = End::new(SocketType::XPub, publisher);
    let mut subscriber = End::new(SocketType::XSub, |config| {
        (config.own_id, config.peer_id) = (id(3), id(4));
        subscriber(config);
    });
    exchange(&mut publisher, &mut subscriber);
    assert!(publisher.session.is_established() && subscriber.session.is_established());
    publisher.events.drain(..2);
    subscriber.events.drain(..2);
    [publisher, subscriber]
}

#[test]
fn a_publisher_and_a_subscriber_exchange_events() {
    for format in [EventFormat::Binary, EventFormat::Json] {
        let [mut publisher, mut subscriber] =
            pair(|config| config.format = format, |config| config.common.filter = filter(&["/t"]));
        assert_eq!(publisher.take_events(), [Event::FilterChanged(filter(&["/t"]))]);
        // An XPUB may send topics that begin with the bytes of subscriptions.
        for (topic, length) in [("/t", 1), ("\x01/t", 10), ("\0", 10_000)] {
            let sent = envelope(topic, &event("x".repeat(length)));
            publisher.session.send(&sent).unwrap();
            publisher.poll();
            exchange(&mut publisher, &mut subscriber);
            let received = Envelope { sender: id(1), ..sent };
            assert_eq!(subscriber.take_events(), [Event::Message(received)]);
            assert_eq!(subscriber.session.sender_name(id(1)).as_deref(), Some(&*id(1).to_string()));
        }
    }
}

/// The beginning of a binary event: a vector with three elements, the version 1 and the kind 1.
const BINARY_EVENT: &[u8] = b"\x0e\x03\x02\0\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x01";

#[test]
fn the_content_of_binary_events_is_not_copied_and_not_checked() {
    let mut end = End::established(SocketType::XSub, |_| {});
    let payload = [BINARY_EVENT, b"\xff not a value"].concat();
    let message = message(&[b"/t", SENDER, b"broker-bin-v1", &payload]);
    end.input.extend_from_slice(&message);
    let memory = end.input.as_ptr().addr();
    end.session.handle_input(end.now, &mut end.input);
    let Some(Event::Message(envelope)) = end.session.poll_event() else { panic!() };
    assert_eq!(envelope.payload, payload);
    assert!((memory..memory + message.len()).contains(&envelope.payload.as_ptr().addr()));
    assert_eq!((envelope.kind, envelope.receiver), (EnvelopeType::Data, EndpointId::NIL));
    assert_eq!(end.session.sender_name(envelope.sender).as_deref().map(str::as_bytes), Some(SENDER));
}

#[test]
fn payloads_that_are_not_events_are_malformed() {
    let log = LogWrite { stream: "S".into(), writer: "W".into(), path: "p".into(), rows: "rows".into() };
    let messages = [log.into(), ZeekMessage::Batch(vec![ZeekEvent::new("e", ()).into()])];
    let mut values: Vec<Value> = messages.into_iter().map(ZeekMessage::into_value).collect();
    values.push(Value::Count(1));
    for value in values {
        let mut payload = Vec::new();
        crate::wire::encode_value(&value, &mut payload).unwrap();
        let json = value.to_json().to_string();
        for (format, payload) in [("broker-bin-v1", &*payload), ("broker-json-v1", json.as_bytes())] {
            let mut end = End::established(SocketType::XSub, |_| {});
            let mut bytes = message(&[b"/t", SENDER, format.as_bytes()]);
            // The third part is not the last one.
            bytes[4 + 2 + SENDER.len()] = 1;
            bytes.push(2);
            bytes.extend(u64::try_from(payload.len()).unwrap().to_be_bytes());
            bytes.extend(payload);
            end.receive(&bytes);
            end.receive(&message(&[b"/t", SENDER, b"broker-bin-v1", b""]));
            let error = Event::Malformed(crate::wire::PartsError::NotAnEvent.into());
            assert_eq!(end.take_events(), [error.clone(), error], "{value:?} {format}");
        }
    }
}

#[test]
fn own_messages_are_dropped() {
    let mut end = End::established(SocketType::XSub, |config| config.own_id = id(0xab));
    let event = |sender: &[u8], format: &[u8]| message(&[b"/t", sender, format, BINARY_EVENT]);
    end.receive(&event(id(0xab).to_string().as_bytes(), b"broker-bin-v1"));
    end.receive(&event(id(0xab).to_string().as_bytes(), b"broker-json-v1"));
    assert_eq!(end.take_events(), []);
    end.receive(&event(id(0xac).to_string().as_bytes(), b"broker-bin-v1"));
    let [Event::Message(envelope)] = &end.events[..] else { panic!("{:?}", end.events) };
    assert_eq!(envelope.sender, id(0xac));
}

#[test]
fn a_changed_filter_is_sent_as_its_difference() {
    let [mut publisher, mut subscriber] = pair(|_| {}, |config| config.common.filter = filter(&["a", "b"]));
    publisher.take_events();
    subscriber.session.set_filter(filter(&["b", "c"]));
    subscriber.poll();
    assert_eq!(subscriber.output, [message(&[b"\x01c"]), message(&[b"\x00a"])].concat());
    exchange(&mut publisher, &mut subscriber);
    assert_eq!(publisher.take_events(), [Event::FilterChanged(filter(&["b", "c"]))]);
    subscriber.session.set_filter(filter(&["b", "c"]));
    subscriber.poll();
    assert_eq!(subscriber.output, b"");
    subscriber.session.set_filter(Filter::new());
    subscriber.poll();
    exchange(&mut publisher, &mut subscriber);
    assert_eq!(publisher.take_events(), [Event::FilterChanged(Filter::new())]);
    // A publisher has no subscriptions.
    publisher.session.set_filter(filter(&["x"]));
    publisher.poll();
    assert_eq!(publisher.output, b"");
}

#[test]
fn changes_of_subscriptions_in_one_read_are_reported_once() {
    let mut end = End::established(SocketType::XPub, |_| {});
    let all = [
        message(&[b"\x01b"]),
        command("SUBSCRIBE", b"a"),
        command("CANCEL", b"b"),
        message(&[b"\x01c"]),
        message(&[b"\x00unknown"]),
    ];
    end.receive(&all.concat());
    assert_eq!(end.take_events(), [Event::FilterChanged(filter(&["a", "c"]))]);
    end.receive(&[message(&[b"\x01c"]), command("CANCEL", b"d")].concat());
    assert_eq!(end.take_events(), [], "the set of prefixes is the same");
    end.receive(&message(&[b"\x00c"]));
    assert_eq!(end.take_events(), [Event::FilterChanged(filter(&["a"]))]);
}

/// A publisher waits for a subscription of its own, which a shorter one may cover.
#[test]
fn a_covered_subscription_is_reported_and_known() {
    let mut end = End::established(SocketType::XPub, |_| {});
    end.receive(&message(&[b"\x01"]));
    assert_eq!(end.take_events(), [Event::FilterChanged(filter(&[""]))]);
    for (change, is_subscribed) in [(b"\x01z", true), (b"\x00z", false)] {
        end.receive(&message(&[change]));
        assert_eq!(end.take_events(), [Event::FilterChanged(filter(&[""]))]);
        assert_eq!(end.session.is_subscribed(&Topic::from_static("z")), is_subscribed);
    }
}

#[test]
fn at_most_one_change_of_the_filter_is_queued() {
    let mut end = End::established(SocketType::XPub, |_| {});
    for number in 0..2000_u16 {
        end.input.extend(message(&[&[&[1], &number.to_be_bytes()[..]].concat()]));
        assert!(!end.session.handle_input(end.now, &mut end.input));
    }
    assert_eq!(end.session.events.len(), 0);
    #[cfg(feature = "net")]
    assert!(end.session.poll_message().is_none(), "the change is not a message");
    // Other events are reported first.
    end.input.extend(message(&[b"/t", b""]));
    end.session.handle_input(end.now, &mut end.input);
    assert!(matches!(end.session.poll_event(), Some(Event::Malformed(_))));
    let Some(Event::FilterChanged(filter)) = end.session.poll_event() else { panic!() };
    assert_eq!(filter.topics().len(), 2000);
    assert_eq!(end.session.poll_event(), None);
    // Nothing follows the end of a session.
    end.input.extend(message(&[b"\x01/t"]));
    end.session.handle_input(end.now, &mut end.input);
    end.session.handle_eof();
    assert_eq!(end.session.poll_event(), Some(Event::Closed(CloseReason::Lost)));
    assert_eq!(end.session.poll_event(), None);
}

/// Two subscribers of a proxy of libzmq 4.3.5 (`zmq_proxy` with an XSUB and an XPUB that is verbose) subscribe to the same topic
/// and leave. These are the bytes that the proxy sends to a publisher.
#[test]
fn a_proxy_repeats_subscriptions_and_cancels_them_once() {
    let mut end = End::established(SocketType::XPub, |_| {});
    end.receive(b"\x00\x05\x01same\x00\x05\x01same");
    assert_eq!(end.take_events(), [Event::FilterChanged(filter(&["same"]))]);
    end.receive(b"\x00\x05\x00same");
    assert_eq!(end.take_events(), [Event::FilterChanged(Filter::new())]);
}

#[test]
fn log_batches_are_passed_on_undecoded() {
    let mut push = End::new(SocketType::Push, |_| {});
    let mut pull = End::new(SocketType::Pull, |_| {});
    exchange(&mut push, &mut pull);
    pull.take_events();
    // The first part has no meaning.
    for (name, length) in [(&b"log-write"[..], 10), (b"", 200)] {
        let batch = vec![7; length];
        let frames = message(&[name, SENDER, b"zeek-bin-serializer", &batch]);
        let (first, rest) = frames.split_at(20);
        push.session.send_encoded([first, rest].map(Bytes::copy_from_slice)).unwrap();
        push.poll();
        exchange(&mut push, &mut pull);
        let events = pull.take_events();
        let [Event::Logs { sender, batch: received }] = &events[..] else { panic!("{events:?}") };
        assert_eq!(received, &batch);
        assert_eq!(pull.session.sender_name(*sender).as_deref().map(str::as_bytes), Some(SENDER));
    }
}

#[test]
fn only_publishers_send_messages() {
    let sent = envelope("\x01/t", &event(1_u64));
    for (socket, text) in [
        (SocketType::XSub, "the peer's protocol cannot carry a message to a peer that only sends messages"),
        (SocketType::Pull, "the peer's protocol cannot carry a message to a peer that only sends messages"),
        (SocketType::Push, "the peer's protocol cannot carry an event to a logger"),
    ] {
        let mut end = End::established(socket, |_| {});
        assert_eq!(end.session.send(&sent).unwrap_err().to_string(), text);
        let encoded = end.session.send_encoded([Bytes::from_static(b"x"), Bytes::new()]);
        assert_eq!(encoded.is_ok(), socket == SocketType::Push);
        end.poll();
        assert_eq!(end.output.len(), usize::from(socket == SocketType::Push));
    }
    let mut end = End::established(SocketType::XPub, |_| {});
    let log = LogWrite { stream: "S".into(), writer: "W".into(), path: "p".into(), rows: "rows".into() };
    let refused = end.session.send(&envelope("/t", &ZeekMessage::from(log).into_value()));
    assert_eq!(
        refused.unwrap_err().to_string(),
        "the peer's protocol cannot carry a log or an identifier update"
    );
    end.poll();
    assert_eq!(end.output, b"");
}

#[test]
fn a_json_event_is_read_as_zeek_reads_it() {
    let event = |json: &str| message(&[b"/t", SENDER, b"broker-json-v1", json.as_bytes()]);
    let mut end = End::established(SocketType::XSub, |_| {});
    let text = r#"{"@data-type":"vector","data":[{"@data-type":"count","data":1},{"@data-type":"count","data":KIND},{"@data-type":"vector","data":[{"@data-type":"string","data":"e"},{"@data-type":"vector","data":[{"@data-type":"count","data":7}]}]}]}"#;
    let text = text.replace("KIND", "1");
    let long = [&frame(1, b"/t")[..], &frame(1, SENDER), &frame(1, b"broker-json-v1"), &{
        let mut header = vec![2];
        header.extend(u64::try_from(text.len()).unwrap().to_be_bytes());
        header.extend(text.as_bytes());
        header
    }]
    .concat();
    end.receive(&long);
    let [Event::Message(envelope)] = &end.take_events()[..] else { panic!("{:?}", end.events) };
    assert_eq!(envelope.value(&crate::wire::Limits::DEFAULT).unwrap(), super::event(7_u64));
    for (json, error) in [
        (r#"{"@data-type":"count","data":"x"}"#, "expected"),
        (
            r#"{"@data-type":"vector","data":[{"@data-type":"count","data":1},{"@data-type":"count","data":2}]}"#,
            "an event",
        ),
    ] {
        end.receive(&event(json));
        let events = end.take_events();
        let [Event::Malformed(fault)] = &events[..] else { panic!("{events:?}") };
        assert!(fault.to_string().contains(error), "{fault}");
    }
}

#[test]
fn a_side_that_leaves_waits_until_everything_is_written() {
    let mut end = End::established(SocketType::XPub, |_| {});
    end.session.send(&envelope("/t", &event(1_u64))).unwrap();
    end.session.leave(end.now);
    assert_eq!(end.session.send(&envelope("/t", &event(1_u64))), Err(SendError::NotEstablished));
    assert!(end.session.is_established());
    assert_eq!(end.session.poll_timeout(), Some(end.now + peering::Config::LEAVE_TIMEOUT));
    end.poll();
    end.session.handle_written(10);
    assert_eq!(end.session.poll_timeout(), Some(end.now + peering::Config::LEAVE_TIMEOUT));
    // Input is still handled.
    end.receive(&message(&[b"\x01/t"]));
    assert_eq!(end.take_events(), [Event::FilterChanged(filter(&["/t"]))]);
    end.session.handle_written(0);
    assert_eq!(end.session.poll_timeout(), Some(end.now), "the session ends at once");
    end.time_out();
    assert_eq!(end.take_events(), [Event::Closed(CloseReason::Left)]);
    assert_eq!(end.session.poll_timeout(), None);
    assert!(end.session.is_closed() && !end.session.is_established());
    end.session.handle_eof();
    end.receive(b"more");
    assert_eq!((end.take_events(), end.input.len()), (vec![], 0));
}

#[test]
fn a_peer_that_does_not_read_delays_the_end_for_a_limited_time() {
    let leaving = || {
        let mut end = End::established(SocketType::XPub, |_| {});
        end.session.send(&envelope("/t", &event(1_u64))).unwrap();
        end.poll();
        end.session.handle_written(10);
        end.session.leave(end.now);
        end
    };
    let mut end = leaving();
    end.time_out();
    assert_eq!(end.take_events(), [Event::Closed(CloseReason::LeftUnconfirmed)]);
    for (unwritten, reason) in [(10, CloseReason::LeftUnconfirmed), (0, CloseReason::Left)] {
        let mut end = leaving();
        end.session.handle_written(unwritten);
        end.session.handle_eof();
        end.poll();
        assert_eq!(end.take_events(), [Event::Closed(reason)]);
    }
}

#[test]
fn a_silent_peer_is_pinged_and_then_considered_dead() {
    const IDLE: Duration = peering::Config::IDLE_TIMEOUT;
    for socket in [SocketType::XPub, SocketType::XSub, SocketType::Push, SocketType::Pull] {
        let mut end = End::established(socket, |_| {});
        let start = end.now;
        for answer in [command("PONG", b""), command("JOIN", b""), b"\x04".to_vec()] {
            let before = end.now;
            end.time_out();
            assert_eq!(end.now, before + IDLE / 2);
            assert_eq!(end.take_output(), command("PING", b"\0\0"));
            end.now += Duration::from_secs(10);
            end.receive(&answer);
        }
        assert_eq!(end.now, start + 3 * (IDLE / 2 + Duration::from_secs(10)));
        end.time_out();
        // Input without a new byte does not count as an answer.
        end.receive(b"");
        end.time_out();
        assert_eq!(end.now, start + 3 * (IDLE / 2 + Duration::from_secs(10)) + IDLE);
        assert_eq!(end.closed_text(), "the peer does not respond: a ping was not answered in time");
        assert_eq!(end.failure(), (ErrorKind::TimedOut, "silent"));
        assert_eq!(end.session.poll_timeout(), None);
    }
}

#[test]
fn a_late_timer_leaves_time_for_the_answer_to_a_ping() {
    let mut end = End::established(SocketType::XSub, |_| {});
    end.now += Duration::from_secs(1000);
    end.session.handle_timeout(end.now);
    assert_eq!(end.session.poll_timeout(), Some(end.now + peering::Config::IDLE_TIMEOUT / 2));
}

#[test]
fn silence_is_not_limited_without_pings_while_paused_and_without_a_timeout() {
    let mut greeting = greeting("NULL");
    greeting[11] = 0;
    let mut end = End::new(SocketType::XPub, |_| {});
    end.receive(&[greeting, ready("SUB")].concat());
    assert!(end.session.is_established());
    assert_eq!(end.session.poll_timeout(), None);
    end.session.handle_timeout(end.now + Duration::from_secs(1000));
    end.session.handle_eof();
    end.poll();
    assert_eq!(end.close_reason(), Some(&CloseReason::Lost));

    let end = End::established(SocketType::XPub, |config| config.common.idle_timeout = None);
    assert_eq!(end.session.poll_timeout(), None);

    let mut end = End::established(SocketType::XPub, |_| {});
    end.time_out();
    end.session.pause(end.now, true);
    assert_eq!(end.session.poll_timeout(), None);
    end.now += Duration::from_secs(1000);
    end.session.pause(end.now, false);
    assert_eq!(end.session.poll_timeout(), Some(end.now + peering::Config::IDLE_TIMEOUT / 2));
}

#[test]
fn each_change_of_subscriptions_is_reported_as_received() {
    use SubscriptionChange::{Cancelled, Subscribed};
    let [mut publisher, mut subscriber] = pair(
        |config| config.reports_subscriptions = true,
        |config| config.common.filter = filter(&["", "a"]),
    );
    publisher.take_events();
    assert_eq!(publisher.session.poll_subscription(), Some(Subscribed(Topic::default())));
    assert_eq!(publisher.session.poll_subscription(), None);
    let (a, b) = (Topic::from_static("a"), Topic::from_static("b"));
    subscriber.session.subscribe(&a).unwrap();
    subscriber.session.subscribe(&a).unwrap();
    subscriber.session.cancel(&b).unwrap();
    subscriber.session.cancel(&a).unwrap();
    subscriber.poll();
    let messages = [b"\x01a", b"\x01a", b"\x00b", b"\x00a"].map(|body| message(&[body]));
    assert_eq!(subscriber.output, messages.concat());
    exchange(&mut publisher, &mut subscriber);
    publisher.receive(&command("SUBSCRIBE", b"b"));
    let changes: Vec<_> = std::iter::from_fn(|| publisher.session.poll_subscription()).collect();
    assert_eq!(
        changes,
        [Subscribed(a.clone()), Subscribed(a.clone()), Cancelled(b.clone()), Cancelled(a), Subscribed(b)]
    );
    // A cancellation of a prefix that is too long has no effect, and nothing follows the end of a session.
    let too_long = [&[2][..], &65_537_u64.to_be_bytes(), &[0; 65_537]].concat();
    publisher.receive(&[too_long, message(&[b"\x01c"])].concat());
    assert_eq!(publisher.session.poll_subscription(), Some(Subscribed(Topic::from_static("c"))));
    assert_eq!(publisher.session.poll_subscription(), None);
    publisher.receive(&message(&[b"\x01d"]));
    publisher.session.handle_eof();
    assert_eq!(publisher.session.poll_subscription(), None);
    let mut full = End::established(SocketType::XPub, |config| config.reports_subscriptions = true);
    full.input.extend(message(&[b"\x01a"]).repeat(2000));
    assert!(full.session.handle_input(full.now, &mut full.input));
    full.session.handle_eof();
    assert!(!full.session.handle_input(full.now, &mut full.input), "no input is left");

    let mut silent = End::established(SocketType::XPub, |_| {});
    silent.receive(&message(&[b"\x01a"]));
    assert_eq!(silent.session.poll_subscription(), None, "changes are not reported");
}

#[test]
fn input_stops_until_the_changes_of_subscriptions_are_polled() {
    let long = vec![b'x'; 10_000];
    for (topic, at_once) in [(&b"t"[..], 1024), (&long, 7)] {
        let mut end = End::established(SocketType::XPub, |config| config.reports_subscriptions = true);
        let body = [&[1], topic].concat();
        let header = [&[2][..], &u64::try_from(body.len()).unwrap().to_be_bytes()].concat();
        end.input.extend([header, body].concat().repeat(2000));
        let mut changes = 0;
        loop {
            let more = end.session.handle_input(end.now, &mut end.input);
            let polled = std::iter::from_fn(|| end.session.poll_subscription()).count();
            changes += polled;
            if !more {
                break;
            }
            assert_eq!(polled, at_once);
        }
        assert_eq!(changes, 2000);
    }
}

#[test]
fn only_an_established_subscriber_sends_subscriptions() {
    let topic = Topic::from_static("/t");
    let mut end = End::new(SocketType::XSub, |_| {});
    assert_eq!(end.session.subscribe(&topic), Err(SendError::NotEstablished));
    let too_long = Topic::from("x".repeat(Topic::MAX_LEN + 1));
    for (socket, topic, text) in [
        (SocketType::XPub, topic, "the peer's protocol cannot carry a subscription from this socket"),
        (SocketType::XSub, too_long, "a topic of length 65536 is too long; the maximum is 65535"),
    ] {
        let mut end = End::established(socket, |_| {});
        assert_eq!(end.session.subscribe(&topic).unwrap_err().to_string(), text);
        assert_eq!(end.session.cancel(&topic).unwrap_err().to_string(), text);
        end.poll();
        assert_eq!(end.output, b"");
    }
}

#[test]
fn a_change_of_the_filter_that_must_wait_is_reported_at_its_time() {
    let mut end = End::established(SocketType::XPub, |_| {});
    let subscribe = |number: u16| message(&[&[&[1], &number.to_be_bytes()[..]].concat()]);
    end.receive(&(0..16_000).flat_map(subscribe).collect::<Vec<u8>>());
    assert!(matches!(end.take_events()[..], [Event::FilterChanged(_)]));
    let mut reported = 0;
    for number in 16_000..16_010 {
        end.receive(&subscribe(number));
        reported += end.take_events().len();
    }
    assert!((1..10).contains(&reported), "{reported}");
    let before = end.now;
    // Without a call of `poll_event`, the time is not returned again, so a caller that is paused does not spin.
    let due = end.session.poll_timeout().unwrap();
    end.session.handle_timeout(due);
    assert_eq!(end.session.poll_timeout(), Some(before + peering::Config::IDLE_TIMEOUT / 2));
    end.now = due;
    end.poll();
    assert!(end.now > before && end.now <= before + Duration::from_millis(100));
    let [Event::FilterChanged(filter)] = &end.take_events()[..] else { panic!() };
    assert_eq!(filter.topics().len(), 16_010);
    assert_eq!(end.session.poll_timeout(), Some(before + peering::Config::IDLE_TIMEOUT / 2));
}
