//! Attempts to hide an event of the node API from the rules, in forms that some receivers still accept.

use crate::bridge::RuleId;
use crate::bridge::config::RuleConfig;
use crate::bridge::policy::{Denial, Reason, Rules};
use crate::data::{Timestamp, Value};
use crate::wire::EnvelopeType;
use crate::zeek::{Event, IdentifierUpdate, ZeekMessage};
use proptest::prelude::*;

use super::support::*;

pub(super) fn vector(elements: impl Into<Vec<Value>>) -> Value {
    Value::Vector(elements.into())
}

/// `[version, kind, content]`
pub(super) fn outer(version: impl Into<Value>, kind: impl Into<Value>, content: Value) -> Value {
    vector([version.into(), kind.into(), content])
}

pub(super) fn hello_value() -> Value {
    ZeekMessage::from(Event::new(HELLO, ["w"])).into_value()
}

fn content(name: impl Into<Value>) -> Value {
    vector([name.into(), vector(["w".into()])])
}

fn batch(elements: impl Into<Vec<Value>>) -> Value {
    outer(1u64, 5u64, vector(elements))
}

/// Rules that must not allow a smuggled event, each with a description.
fn rules() -> Vec<(&'static str, RuleConfig)> {
    vec![
        ("everything", rule(|_| {})),
        ("everything, with passthrough", rule(|rule| rule.passthrough = true)),
        ("all events", rule(|rule| rule.events = globs(&["*"]))),
        (
            "all events, with passthrough",
            rule(|rule| (rule.events, rule.passthrough) = (globs(&["*"]), true)),
        ),
        ("hellos", rule(|rule| rule.events = globs(&[HELLO]))),
        ("other events", rule(|rule| rule.events = globs(&["My::*"]))),
        ("other nodes", rule(|rule| rule.nodes = globs(&["v"]))),
        (
            "other nodes, with passthrough",
            rule(|rule| (rule.nodes, rule.passthrough) = (globs(&["v"]), true)),
        ),
        ("actions", rule(|rule| rule.actions = actions(&[]))),
    ]
}

#[test]
fn no_rule_allows_a_node_api_event_in_a_batch() {
    let other = || ZeekMessage::from(Event::new("My::event", ())).into_value();
    for (what, value) in [
        ("alone", batch([hello_value()])),
        ("after another", batch([other(), hello_value()])),
        ("after elements that are not messages", batch([Value::None, vector([]), hello_value()])),
        ("in a batch in a batch", batch([other(), batch([other(), batch([hello_value()])])])),
        ("in another version", batch([outer(2u64, 1u64, content(HELLO))])),
        ("in a batch of another version", outer("x", 5u64, vector([hello_value()]))),
        (
            "in a batch with more elements",
            vector([1u64.into(), 5u64.into(), vector([hello_value()]), Value::None]),
        ),
        ("with more elements", batch([outer(1u64, 1u64, vector([HELLO.into(), vector([]), 1u64.into()]))])),
    ] {
        for (name, rule) in rules() {
            let rules = Rules::new(LINKS, &[rule]);
            let denial = Denial { reason: Reason::BatchedNodeApi, rule: Some(RuleId(0)), invalid: true };
            Incoming::value(&value).decision(&rules, |passes, decision| {
                assert_eq!((passes, decision.denial), (vec![], Some(denial)), "{what}, {name}");
            });
        }
    }
}

#[test]
fn a_batch_nested_too_deep_is_allowed_only_with_passthrough_and_without_a_node_api_name() {
    let nested = |inner: Value, depth| (0..depth).fold(inner, |inner, _| batch([inner]));
    let harmless = ZeekMessage::from(Event::new("My::event", ())).into_value();
    for (name, rule) in rules() {
        let rules = Rules::new(LINKS, &[rule]);
        let passes = |value: &Value| Incoming::value(value).outcome(&rules).is_ok();
        assert!(!passes(&nested(hello_value(), 8)), "{name}");
        assert!(!passes(&nested(hello_value(), 9)), "{name}");
        assert!(!passes(&nested(hello_value(), 40)), "{name}");
        assert_eq!(passes(&nested(harmless.clone(), 9)), name == "everything, with passthrough", "{name}");
        let matches_events = name.starts_with("everything") || name.contains("events");
        assert_eq!(passes(&nested(harmless.clone(), 8)), matches_events, "{name}");
    }
}

#[test]
fn an_event_that_any_zeek_version_accepts_as_a_node_api_event_is_treated_as_one() {
    let name = |bytes: &[u8]| Value::String(bytes.to_vec().into());
    let stamp = |value: Value| vector([vector([1u64.into(), value])]);
    let args = || vector(["w".into()]);
    let event = |elements: Vec<Value>| outer(1u64, 1u64, vector(elements));
    // Each of the first seven forms is accepted by at least one version of Zeek.
    for (what, value) in [
        ("another version", outer(2u64, 1u64, content(HELLO))),
        ("no version", outer(Value::None, 1u64, content(HELLO))),
        ("a fourth element", vector([1u64.into(), 1u64.into(), content(HELLO), Value::None])),
        ("elements after the metadata", event(vec![HELLO.into(), args(), vector([]), Value::None])),
        ("metadata that is `none`", event(vec![HELLO.into(), args(), Value::None])),
        ("metadata of another shape", event(vec![HELLO.into(), args(), vector([Value::None])])),
        ("a timestamp that is `none`", event(vec![HELLO.into(), args(), stamp(1u64.into())])),
        ("an integer as kind", outer(1u64, 1i64, content(HELLO))),
        ("an enum label as name", outer(1u64, 1u64, content(Value::enum_value(HELLO)))),
        ("no arguments", event(vec![HELLO.into()])),
        ("arguments that are not a vector", event(vec![HELLO.into(), "w".into()])),
        ("a NUL after the name", outer(1u64, 1u64, content(name(&[HELLO.as_bytes(), b"\0x"].concat())))),
        ("not UTF-8 after a NUL", outer(1u64, 1u64, content(name(&[HELLO.as_bytes(), b"\0\xff"].concat())))),
    ] {
        for (kind, rule) in rules() {
            if rule.passthrough {
                continue;
            }
            let outcome = Incoming::value(&value).outcome(&Rules::new(LINKS, &[rule]));
            let reason = outcome.expect_err(&format!("{what}: {kind}"));
            let expected = match kind {
                "other events" => Reason::EventNotAllowed,
                // Globs compare the complete string, including the NUL.
                _ if what.contains("NUL") && kind == "hellos" => Reason::EventNotAllowed,
                _ if what.starts_with("not UTF-8") && kind == "all events" => Reason::EventNotAllowed,
                // The rule for the node `w` recognizes its hello in the unusual form.
                "other nodes" if reason == Reason::NodeNotAllowed => Reason::NodeNotAllowed,
                _ => Reason::InvalidNodeApi,
            };
            assert_eq!(reason, expected, "{what}: {kind}");
        }
    }
}

#[test]
fn an_event_in_a_form_that_zeek_does_not_write_matches_no_name() {
    let (args, none) = (|| vector([]), || Value::None);
    let event = |elements: Vec<Value>| outer(1u64, 1u64, vector(elements));
    let metadata = |metadata: Value| event(vec!["My::event".into(), args(), metadata]);
    let plain = || vector(["My::event".into(), args()]);
    for (what, value) in [
        ("another version", outer(2u64, 1u64, plain())),
        ("an integer as version", outer(1i64, 1u64, plain())),
        ("an integer as kind", outer(1u64, 1i64, plain())),
        ("a fourth element", vector([1u64.into(), 1u64.into(), plain(), none()])),
        ("one element", event(vec!["My::event".into()])),
        ("four elements", event(vec!["My::event".into(), args(), args(), none()])),
        ("an enum label as name", event(vec![Value::enum_value("My::event"), args()])),
        ("arguments that are not a vector", event(vec!["My::event".into(), none()])),
        ("metadata that is `none`", metadata(none())),
        ("an entry that is `none`", metadata(vector([none()]))),
        ("an entry of one", metadata(vector([vector([9u64.into()])]))),
        ("an entry of three", metadata(vector([vector([9u64.into(), none(), none()])]))),
        ("an id that is not a count", metadata(vector([vector([9i64.into(), none()])]))),
        ("a timestamp that is `none`", metadata(vector([vector([1u64.into(), none()])]))),
    ] {
        let named = Rules::new(LINKS, &[rule(|rule| rule.events = globs(&["My::*"]))]);
        assert!(ZeekMessage::from_value(value.clone()).is_err(), "{what}");
        assert_eq!(Incoming::value(&value).outcome(&named), Err(Reason::Malformed), "{what}");
        let in_batch = Incoming::value(&batch([value.clone()]));
        assert_eq!(in_batch.outcome(&named), Err(Reason::EventNotAllowed), "{what}");
        // The payload is still a valid value.
        let everything = Rules::new(LINKS, &[rule(|_| {})]);
        assert_eq!(Incoming::value(&value).outcome(&everything), Ok(vec![(1, 0)]), "{what}");
    }
}

#[test]
fn metadata_in_zeeks_form_is_valid() {
    for (name, nodes) in [(HELLO, &["w"][..]), ("My::event", &[])] {
        let rules =
            Rules::new(LINKS, &[rule(|rule| (rule.events, rule.nodes) = (globs(&[name]), globs(nodes)))]);
        let event = || Event::new(name, ["w"]);
        for event in [
            event().with_metadata::<Value>([]),
            event().with_network_timestamp(Timestamp::from_nanos(1)),
            event().with_metadata([(900, Value::None), (1, Value::Timestamp(Timestamp::from_nanos(1)))]),
        ] {
            assert_eq!(Incoming::message(event).outcome(&rules), Ok(vec![(1, 0)]), "{name}");
        }
    }
}

#[test]
fn an_overlong_length_encoding_does_not_hide_the_name() {
    let payload = Incoming::message(Event::new(HELLO, ["w"])).envelope.payload;
    let at = payload.windows(HELLO.len()).position(|window| window == HELLO.as_bytes()).unwrap();
    let length = u8::try_from(HELLO.len()).unwrap();
    assert_eq!(payload[at - 1], length);
    let with = |length: &[u8]| {
        let payload = [&payload[..at - 1], length, &payload[at..]].concat();
        Incoming::bytes(NODE, EnvelopeType::Data, payload)
    };
    let rules = |name: &str| Rules::new(LINKS, &[rule(|rule| rule.events = globs(&[name]))]);
    for long in [&[length | 0x80, 0][..], &[length | 0x80, 0x80, 0x80, 0x80, 0]] {
        assert_eq!(with(long).outcome(&rules(HELLO)), Ok(vec![(1, 0)]));
        assert_eq!(with(long).outcome(&rules("My::*")), Err(Reason::EventNotAllowed));
    }
    // Broker's C++ implementation decodes this payload, but this crate does not. The bytes contain the name of the event,
    // so all rules deny the payload.
    let too_long = with(&[length | 0x80, 0x80, 0x80, 0x80, 0x80, 0]);
    for (name, rule) in self::rules() {
        assert!(too_long.outcome(&Rules::new(LINKS, &[rule])).is_err(), "{name}");
    }
}

#[test]
fn a_node_api_name_elsewhere_in_a_value_is_not_an_event() {
    let everything = Rules::new(LINKS, &[rule(|_| {})]);
    for value in [
        Value::from(HELLO),
        outer(1u64, 1u64, vector([vector([HELLO.into()]), vector([])])),
        ZeekMessage::from(IdentifierUpdate { id: HELLO.into(), value: hello_value() }).into_value(),
        ZeekMessage::from(Event::new("My::event", [hello_value()])).into_value(),
        ZeekMessage::from(Event::new(HELLO.to_lowercase(), ["w"])).into_value(),
        ZeekMessage::from(Event::new(format!("::{HELLO}"), ["w"])).into_value(),
    ] {
        assert_eq!(Incoming::value(&value).outcome(&everything), Ok(vec![(1, 0)]), "{value}");
        assert_eq!(Incoming::value(&value).node(&everything), None);
    }
}

#[test]
fn invalid_messages_of_the_node_api_are_denied() {
    let rules = default_rules();
    let good = result("w");
    let with = |at: usize, value: Value| {
        let mut result = good.clone();
        result[at] = value;
        response_of(result)
    };
    let none = || Value::None;
    for (what, incoming) in [
        ("five elements", response_of(good[..5].to_vec())),
        ("seven elements", response_of([&good[..], &[none()]].concat())),
        ("no elements", response_of(vec![])),
        ("data that is not a string", with(3, Value::Count(8192))),
        ("data that is a record", with(3, vector(["x".into()]))),
        ("no request", with(0, none())),
        ("another request", with(0, "other".into())),
        ("no success", with(1, none())),
        ("success as a string", with(1, "T".into())),
        ("no node", with(5, none())),
        ("a node that is not a string", with(5, Value::Count(1))),
        ("a node that is not UTF-8", with(5, Value::String(vec![0xff].into()))),
        ("no result", Incoming::message(Event::new(RESPONSE, ["r"]))),
        ("one argument more", Incoming::message(Event::new(RESPONSE, ("r", vector(good.clone()), 1u64)))),
        ("a hello without a node", Incoming::message(Event::new(HELLO, ()))),
        ("a hello of two nodes", Incoming::message(Event::new(HELLO, ["w", "v"]))),
        ("a hello of a count", Incoming::message(Event::new(HELLO, [Value::Count(1)]))),
        (
            "a hello that is not UTF-8",
            Incoming::message(Event::new(HELLO, [Value::String(vec![0xff].into())])),
        ),
    ] {
        assert_eq!(incoming.outcome(&rules), Err(Reason::InvalidNodeApi), "{what}");
    }
    let to_nodes = |args: Vec<Value>| Incoming::message(Event::new(REQUEST, args)).over("b");
    let set = |names: &[&str]| Value::Set(names.iter().map(|name| Value::from(*name)).collect());
    let action = || vector(["get_id_value".into()]);
    assert_eq!(to_nodes(vec!["r".into(), action(), set(&["w"])]).outcome(&rules), Ok(vec![(0, 1)]));
    for args in [
        vec!["r".into(), "get_id_value".into(), set(&[])],
        vec!["r".into(), action(), vector(["w".into()])],
        vec!["r".into(), action(), Value::Set([vector(["w".into()])].into_iter().collect())],
        vec!["r".into(), action()],
        vec![1u64.into(), action(), set(&[])],
        vec!["r".into(), vector([1u64.into()]), set(&[])],
    ] {
        assert_eq!(to_nodes(args).outcome(&rules), Err(Reason::InvalidNodeApi));
    }
    // Unusual forms that do no harm are allowed.
    for incoming in [with(2, "agent".into()), with(3, "not JSON".into()), with(4, "why".into())] {
        assert_eq!(incoming.outcome(&rules), Ok(vec![(1, 0)]));
    }
}

proptest! {
    #[test]
    fn a_node_api_name_is_found_anywhere_in_an_undecodable_payload(
        before in proptest::collection::vec(any::<u8>(), 0..40),
        after in proptest::collection::vec(any::<u8>(), 0..40),
        name in prop_oneof![Just(HELLO), Just(REQUEST), Just(RESPONSE)],
    ) {
        // No value starts with this byte.
        let payload = [&[99][..], &before, name.as_bytes(), &after].concat();
        let incoming = Incoming::bytes(NODE, EnvelopeType::Data, payload);
        let rules = Rules::new(LINKS, &[rule(|rule| rule.passthrough = true)]);
        prop_assert_eq!(incoming.outcome(&rules), Err(Reason::InvalidNodeApi));
    }
}
