//! Events that are read when they are polled, between messages that are read at once.

use super::*;

/// A message in a form that is read at once, and its events.
type Slow = (Vec<u8>, usize);

fn usual(topic: &str, number: u64) -> Vec<u8> {
    event_message(topic.as_bytes(), &event(number))
}

/// Returns messages with one event each, or with none, that do not have the usual form.
fn unusual() -> Vec<Slow> {
    let payload = {
        let mut payload = Vec::new();
        crate::wire::encode_value(&event(0u64), &mut payload).unwrap();
        payload
    };
    let head = [&frame(1, b"/t")[..], &frame(1, SENDER)].concat();
    let end = frame(0, &payload);
    let long_size = [&b"\x03\0\0\0\0\0\0\0\x0d"[..], b"broker-bin-v1"].concat();
    let json = br#"{"type":"data-message","topic":"/t","@data-type":"vector","data":[
        {"@data-type":"count","data":1},{"@data-type":"count","data":1},{"@data-type":"vector","data":[
        {"@data-type":"string","data":"e"},{"@data-type":"vector","data":[]}]}]}"#;
    let json = [&frame(1, b"broker-json-v1")[..], b"\x02\0\0\0\0\0\0", &to_size(json.len()), json].concat();
    let binary = frame(1, b"broker-bin-v1");
    vec![
        ([&head[..], &long_size, &end].concat(), 1),
        ([&head[..], &json].concat(), 1),
        ([&head[..], &command("PING", b"\0\0"), &binary, &end].concat(), 1),
        ([&head[..], &binary, &frame(0, b"\x01")].concat(), 1),
        ([&head[..], &frame(1, b"other"), &end].concat(), 1),
        (message(&[b"/t", SENDER]), 1),
        (message(&[b"/t", SENDER, b"broker-bin-v1", &payload, b"more"]), 1),
        ([&frame(1, b"/t")[..], &frame(1, id(1).to_string().as_bytes()), &binary, &end].concat(), 0),
        (command("PING", b"\0\0"), 0),
    ]
}

fn to_size(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap().to_be_bytes()
}

/// Returns the topics of events, and the other events as text.
fn names(events: &[Event]) -> Vec<String> {
    let name = |event: &Event| match event {
        Event::Message(envelope) => envelope.topic.to_string(),
        other => format!("{other:?}"),
    };
    events.iter().map(name).collect()
}

#[test]
fn the_order_of_messages_of_all_forms_is_kept() {
    for (between, count) in unusual() {
        let bytes = [usual("/1", 1), usual("/2", 2), between, usual("/3", 3), usual("/4", 4)].concat();
        let mut end = End::established(SocketType::XSub, |_| {});
        end.receive(&bytes);
        let at_once = names(&end.take_events());
        assert!(end.session.is_established() && end.input.is_empty());
        assert_eq!(at_once.len(), 4 + count, "{at_once:?}");
        assert_eq!(
            (&at_once[..2], &at_once[2 + count..]),
            (&["/1".to_owned(), "/2".into()][..], &["/3".to_owned(), "/4".into()][..])
        );
        // Byte by byte, each message is read when its last frame arrives.
        let mut end = End::established(SocketType::XSub, |_| {});
        bytes.iter().for_each(|byte| end.receive(&[*byte]));
        assert_eq!(names(&end.take_events()), at_once);
    }
}

#[test]
fn the_last_events_of_a_stream_are_reported_before_its_error() {
    let mut end = End::established(SocketType::XSub, |_| {});
    end.receive(&[usual("/1", 1), usual("/2", 2), vec![8]].concat());
    let events = end.take_events();
    assert_eq!(names(&events[..2]), ["/1", "/2"]);
    assert!(matches!(events[2..], [Event::Closed(CloseReason::Failed(_))]));
}

#[test]
fn events_over_the_limit_stay_in_the_input() {
    let mut end = End::established(SocketType::XSub, |_| {});
    let one = usual("/t", 1);
    end.input.extend_from_slice(&one.repeat(1025));
    assert!(end.session.handle_input(end.now, &mut end.input));
    assert_eq!(end.input.len(), one.len());
    end.poll();
    assert_eq!(end.take_events().len(), 1024);
    end.receive(&[]);
    assert_eq!((end.take_events().len(), end.input.len()), (1, 0));
}

#[cfg(feature = "net")]
#[test]
fn only_the_frames_of_usual_events_are_known() {
    let mut end = End::established(SocketType::XSub, |_| {});
    let mut poll = |bytes: &[u8]| {
        end.input.extend_from_slice(bytes);
        end.session.handle_input(end.now, &mut end.input);
        let mut all = Vec::new();
        while end.session.poll_event().is_some() {
            all.push(end.session.last_frames().map(|(memory, range)| memory.slice(range)));
        }
        assert_eq!(end.session.last_frames(), None, "the memory is released");
        all
    };
    let long = event_message(b"/t", &event("x".repeat(100)));
    assert_eq!(
        poll(&[usual("/1", 1), long.clone()].concat()),
        [Some(usual("/1", 1).into()), Some(long.into())]
    );
    for (bytes, count) in unusual() {
        assert_eq!(poll(&bytes), vec![None; count]);
    }
}
