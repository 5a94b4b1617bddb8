use bytes::{Bytes, BytesMut};
use wildmatch::WildMatch;
use zeek_bridge::data::{EndpointId, Set, Table, Timestamp, Topic, Value};
use zeek_bridge::trace::{Content, Frame};
use zeek_bridge::wire::{Envelope, LENGTH_FIELD};
use zeek_bridge::zeek::{Event, ZeekMessage};

use super::compare::{Comparison, Seen, label};
use super::names::Names;

fn id(n: u8) -> EndpointId {
    EndpointId::from_bytes([n; 16])
}

fn envelope(value: &Value) -> Envelope {
    Envelope::data(id(1), Topic::from_static("/t"), value).unwrap()
}

fn frame(envelope: &Envelope) -> Frame {
    let mut bytes = BytesMut::new();
    envelope.encode(&mut bytes).unwrap();
    Frame::decode(0, true, bytes.freeze().slice(LENGTH_FIELD..))
}

/// Returns the differences as path, recorded and received content.
fn compare(names: &mut Names, ignore: &[&str], recorded: &Value, received: &Value) -> Vec<[String; 3]> {
    let ignore: Vec<WildMatch> = ignore.iter().map(|pattern| WildMatch::new(pattern)).collect();
    let mut comparison = Comparison { names, ignore: &ignore, found: Vec::new() };
    let (recorded, received) = (envelope(recorded), envelope(received));
    comparison.envelopes(&label(&recorded), &recorded, &received);
    let text = |seen: Seen| match seen {
        Seen::Nothing => "-".to_owned(),
        Seen::Value(value) => value.to_string(),
        Seen::Words(words) => words,
    };
    comparison
        .found
        .into_iter()
        .map(|difference| [difference.at, text(difference.recorded), text(difference.received)])
        .collect()
}

fn event(name: &str, args: Vec<Value>) -> Value {
    ZeekMessage::Event(Event::new(name, args)).into_value()
}

#[track_caller]
fn found(recorded: Value, received: Value, expected: &[[&str; 3]]) {
    let found = compare(&mut Names::default(), &[], &event("e", vec![recorded]), &event("e", vec![received]));
    assert_eq!(found, expected);
}

#[test]
fn each_difference_has_its_path() {
    let text = |text: &str| Value::from(text);
    let vector = |values: &[u64]| Value::Vector(values.iter().map(|n| Value::Count(*n)).collect());
    found(vector(&[1, 2, 3]), vector(&[1, 5, 3]), &[["e.args[0][1]", "2", "5"]]);
    found(vector(&[1]), vector(&[1, 5]), &[["e.args[0]", "(1)", "(1, 5)"]]);
    found(Value::Count(1), Value::Integer(1), &[["e.args[0]", "1", "1"]]);
    let set = |elements: &[&str]| Value::Set(elements.iter().copied().collect::<Set>());
    found(set(&["a", "b"]), set(&["b", "c"]), &[["e.args[0]", "a", "-"], ["e.args[0]", "-", "c"]]);
    let table = |pairs: &[(&str, u64)]| Value::Table(pairs.iter().copied().collect::<Table>());
    found(
        table(&[("a", 1), ("b", 2)]),
        table(&[("b", 3), ("c", 4)]),
        &[["e.args[0][a]", "1", "-"], ["e.args[0][b]", "2", "3"], ["e.args[0][c]", "-", "4"]],
    );
    // Objects and arrays of JSON are compared by content.
    found(text(r#"{"a": 1, "b": [2]}"#), text(r#"{"b":[2],"a":1}"#), &[]);
    found(text("[1]"), text("[2]"), &[["e.args[0]", "[1]", "[2]"]]);
    found(text("1.0"), text("1.00"), &[["e.args[0]", "1.0", "1.00"]]);
    let two = compare(&mut Names::default(), &[], &event("e", vec![]), &event("e", vec![text("x")]));
    assert_eq!(two, [["e.args", "()", "(x)"]]);
}

#[test]
fn batches_and_values_that_are_not_messages_are_compared() {
    let batch = |n| ZeekMessage::Batch(vec![ZeekMessage::Event(Event::new("e", (n,)))]).into_value();
    assert_eq!(
        compare(&mut Names::default(), &[], &batch(1u64), &batch(2u64)),
        [["batch[0] e.args[0]", "1", "2"]]
    );
    assert_eq!(
        compare(&mut Names::default(), &[], &Value::Count(1), &Value::Count(2)),
        [["value", "1", "2"]]
    );
}

#[test]
fn network_timestamps_are_not_compared_but_other_metadata_is() {
    let at = |time, user: u64| {
        let event = Event::new("e", ()).with_metadata([(200, user)]);
        ZeekMessage::Event(event.with_network_timestamp(Timestamp::from_nanos(time))).into_value()
    };
    let names = &mut Names::default();
    assert!(compare(names, &[], &at(1, 7), &at(2, 7)).is_empty());
    assert_eq!(compare(names, &[], &at(1, 7), &at(2, 8)), [["e.metadata[0][1]", "7", "8"]]);
    let none = ZeekMessage::Event(Event::new("e", ())).into_value();
    let empty =
        ZeekMessage::Event(Event::new("e", ()).with_network_timestamp(Timestamp::from_nanos(1))).into_value();
    assert!(compare(names, &[], &none, &empty).is_empty());
}

#[test]
fn ignored_parts_are_not_compared() {
    let [one, two] = [1u64, 2].map(|n| event("M::e", vec![Value::Count(n), Value::Count(n)]));
    for (pattern, left) in [("*", 0), ("M::e.args[1]", 1), ("M::e.args*", 0), ("*[?]", 0), ("M::f*", 2)] {
        assert_eq!(compare(&mut Names::default(), &[pattern], &one, &two).len(), left, "{pattern}");
    }
}

#[test]
fn random_ids_may_differ_but_must_be_consistent() {
    let names = &mut Names::default();
    let uuid = |n: u8| Value::from(id(n).to_string());
    let one = |n| event("e", vec![uuid(n)]);
    assert!(compare(names, &[], &one(1), &one(2)).is_empty());
    // The id is known now: recorded frames are translated before they are compared.
    let translated = Frame::decode(0, true, names.translate(&frame(&envelope(&one(1)))));
    let Ok(Content::Envelope(translated)) = translated.content else { panic!("no envelope") };
    assert_eq!(translated, envelope(&one(2)));
    assert_eq!(compare(names, &[], &one(3), &one(2)).len(), 1);
    assert_eq!(compare(names, &[], &one(2), &one(4)).len(), 1);
    // A request id may have any form.
    let request = |id: &str| event("M::do_request", vec![id.into(), "x".into()]);
    assert!(compare(names, &[], &request("pmSQL3N1DQ1"), &request("another")).is_empty());
    let response = |id: &str| envelope(&event("M::do_response", vec![id.into()]));
    let translated = Frame::decode(0, true, names.translate(&frame(&response("pmSQL3N1DQ1"))));
    let Ok(Content::Envelope(translated)) = translated.content else { panic!("no envelope") };
    assert_eq!(translated, response("another"));
    assert_eq!(compare(names, &[], &request("third"), &request("another")).len(), 1);
}

#[test]
fn endpoint_ids_are_translated_everywhere() {
    let mut names = Names::default();
    names.endpoint(id(1), id(0xa1));
    names.endpoint(id(2), id(0xa2));
    let topic = |n: u8| Topic::new(format!("/node/{}/", id(n))).unwrap();
    let translated = |ours: u8, theirs: u8| {
        let mut payload = BytesMut::new();
        let value = Value::from(format!("{} and {}", id(ours), id(theirs)));
        zeek_bridge::wire::encode_value(&value, &mut payload).unwrap();
        Envelope {
            receiver: id(theirs),
            topic: topic(theirs),
            payload: payload.freeze(),
            ..Envelope::ping(id(ours), id(ours), Bytes::new())
        }
    };
    assert_eq!(names.translate(&frame(&translated(1, 2))), frame(&translated(0xa1, 0xa2)).body);
    assert_eq!(names.live_topic(&topic(2)), topic(0xa2));
    assert_eq!(names.recorded_topic(&topic(0xa1)), topic(1));
}
