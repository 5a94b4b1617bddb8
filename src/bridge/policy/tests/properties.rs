//! Properties of the rules for any payload. The expected results come from a second decoder, which creates owned values
//! and works like Broker's C++ implementation.

use crate::bridge::policy::Rules;
use crate::data::{Timestamp, Value};
use crate::management::NodeMessage;
use crate::wire::{EnvelopeType, Limits, decode_value, encode_value};
use crate::zeek::{Event, ZeekMessage};
use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::smuggling::vector;
use super::support::*;

/// Returns the message of the node API in a payload, if it is valid.
fn valid_message(payload: &[u8]) -> Option<NodeMessage> {
    let value = decode_value(payload, &Limits::DEFAULT).ok()?;
    let Ok(ZeekMessage::Event(event)) = ZeekMessage::from_value(value) else { return None };
    let message = NodeMessage::parse(&event).ok()??;
    match &message {
        NodeMessage::Response(response) => {
            let result = response.result();
            (result.node().is_some() && result.reqid() == response.reqid()).then_some(message)
        }
        _ => Some(message),
    }
}

/// Returns the names of all events that the most lenient version of Zeek finds in a value.
fn event_names_seen_by_zeek(value: &Value) -> Vec<Vec<u8>> {
    let Value::Vector(outer) = value else { return vec![] };
    match outer.as_slice() {
        [_, Value::Count(1), Value::Vector(event), ..] => match event.as_slice() {
            [Value::String(name), Value::Vector(_), ..] => vec![name.as_bytes().to_vec()],
            _ => vec![],
        },
        [_, Value::Count(5), Value::Vector(batch), ..] => {
            batch.iter().flat_map(event_names_seen_by_zeek).collect()
        }
        _ => vec![],
    }
}

fn is_api(name: &[u8]) -> bool {
    [HELLO, REQUEST, RESPONSE].iter().any(|api| api.as_bytes() == name)
}

fn text() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => prop_oneof![Just("w"), Just("r"), Just("v"), Just("")].prop_map(Value::from),
        1 => any::<[u8; 2]>().prop_map(|bytes| Value::String(bytes.to_vec().into())),
    ]
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => text(),
        1 => Just(Value::None),
        2 => any::<bool>().prop_map(Value::Boolean),
        1 => (0..3u64).prop_map(Value::Count),
        1 => (0..3i64).prop_map(Value::Integer),
    ]
}

/// Generates values similar to the arguments of the node API's events.
fn args() -> BoxedStrategy<Value> {
    let strings = || vec(text(), 0..3);
    let ids = prop_oneof![
        4 => Just((Value::from("r"), Value::from("r"))),
        1 => (text(), scalar()),
    ];
    let middle = vec(prop_oneof![6 => Just(Value::None), 1 => scalar()], 3);
    let node = prop_oneof![6 => text(), 1 => scalar()];
    let more = prop_oneof![6 => Just(vec![]), 1 => vec(scalar(), 1..3)];
    let response = (ids, any::<bool>(), middle, node, more);
    let response = response.prop_map(|((outer, inner), success, middle, node, more)| {
        vector([outer, vector([vec![inner, success.into()], middle, vec![node], more].concat())])
    });
    let request = (text(), strings(), strings()).prop_map(|(reqid, action, nodes)| {
        vector([reqid, vector(action), Value::Set(nodes.into_iter().collect())])
    });
    prop_oneof![
        2 => text().prop_map(|node| vector([node])),
        4 => response,
        3 => request,
        1 => vec(scalar(), 0..4).prop_map(vector),
        1 => scalar(),
    ]
    .boxed()
}

fn name() -> BoxedStrategy<Value> {
    prop_oneof![
        4 => prop_oneof![Just(HELLO), Just(REQUEST), Just(RESPONSE)].prop_map(Value::from),
        1 => Just(format!("{HELLO}\0")).prop_map(Value::from),
        1 => Just(Value::enum_value(HELLO)),
        4 => Just("My::event").prop_map(Value::from),
        1 => scalar(),
    ]
    .boxed()
}

/// Returns the name of the event with such arguments.
fn name_for(args: &Value) -> Value {
    match args {
        Value::Vector(args) if args.len() == 1 => HELLO.into(),
        Value::Vector(args) if args.len() == 2 => RESPONSE.into(),
        _ => REQUEST.into(),
    }
}

/// Generates a vector of `elements`, sometimes with additional elements or without the last ones.
fn vector_of_about(elements: Vec<Value>) -> BoxedStrategy<Value> {
    (vec(scalar(), 1..3), 0..elements.len(), 0..12)
        .prop_map(move |(more, fewer, choice)| match choice {
            0 => vector([elements.clone(), more].concat()),
            1 => vector(&elements[..fewer]),
            _ => vector(&elements[..]),
        })
        .boxed()
}

fn version() -> BoxedStrategy<Value> {
    prop_oneof![12 => Just(Value::Count(1)), 1 => scalar()].boxed()
}

/// Generates values similar to a Zeek message, possibly a batch.
fn message() -> BoxedStrategy<Value> {
    let metadata = prop_oneof![
        3 => Just(None),
        2 => Just(Some(vector([]))),
        2 => Just(Some(vector([vector([1u64.into(), Value::Timestamp(Timestamp::from_nanos(1))])]))),
        1 => scalar().prop_map(Some),
        1 => scalar().prop_map(|entry| Some(vector([vector([1u64.into(), entry])]))),
    ];
    let named = (args(), prop::option::weighted(0.3, name()))
        .prop_map(|(args, name)| (name.unwrap_or_else(|| name_for(&args)), args));
    let event = (named, metadata).prop_flat_map(|((name, args), metadata)| {
        vector_of_about([name, args].into_iter().chain(metadata).collect())
    });
    let kind = prop_oneof![12 => Just(Value::Count(1)), 1 => Just(Value::Integer(1)), 1 => scalar()];
    let event = (version(), kind, event)
        .prop_flat_map(|(version, kind, content)| vector_of_about(vec![version, kind, content]))
        .boxed();
    let element = prop_oneof![5 => event.clone(), 1 => scalar()];
    let batch = (version(), vec(element, 0..3)).prop_flat_map(|(version, elements)| {
        vector_of_about(vec![version, Value::Count(5), vector(elements)])
    });
    let nested = (batch, prop_oneof![3 => Just(0), 1 => 1..10usize]).prop_map(|(batch, depth)| {
        (0..depth).fold(batch, |inner, _| vector([1u64.into(), 5u64.into(), vector([inner])]))
    });
    prop_oneof![2 => event, 1 => nested].boxed()
}

/// Generates payloads that are more or less similar to a message of the node API.
fn payload() -> BoxedStrategy<Vec<u8>> {
    let written = || {
        message().prop_map(|value| {
            let mut bytes = BytesMut::new();
            encode_value(&value, &mut bytes).unwrap();
            bytes.to_vec()
        })
    };
    prop_oneof![
        6 => written(),
        2 => (written(), vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)).prop_map(|(mut bytes, changes)| {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        }),
        1 => vec(any::<u8>(), 0..100),
    ]
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, max_shrink_iters: 1000, ..ProptestConfig::default() })]

    #[test]
    fn the_default_rules_allow_only_valid_node_api_events_in_their_direction(payload in payload()) {
        let rules = default_rules();
        let incoming = Incoming::bytes(NODE, EnvelopeType::Data, payload.clone());
        let (up, down) = match valid_message(&payload) {
            Some(NodeMessage::Request(_)) => (false, true),
            Some(_) => (true, false),
            None => (false, false),
        };
        prop_assert_eq!(incoming.outcome(&rules).is_ok(), up);
        prop_assert_eq!(incoming.clone().over("b").outcome(&rules).is_ok(), down);
        if up || down {
            prop_assert_eq!(incoming.node(&rules), valid_message(&payload));
        }
    }

    #[test]
    fn every_node_api_event_that_a_rule_allows_is_recognized(payload in payload()) {
        let seen = decode_value(&payload, &Limits::DEFAULT).map_or(vec![], |value| event_names_seen_by_zeek(&value));
        let has_api = seen.iter().any(|name| is_api(name));
        for passthrough in [false, true] {
            for events in [&[][..], &["*"]] {
                let rules = Rules::new(LINKS, &[rule(|rule| {
                    (rule.events, rule.passthrough) = (globs(events), passthrough);
                })]);
                let incoming = Incoming::bytes(NODE, EnvelopeType::Data, payload.clone());
                if incoming.outcome(&rules).is_err() || !has_api {
                    continue;
                }
                prop_assert_eq!(seen.len(), 1, "the event is not in a batch");
                if passthrough {
                    // A valid event is also in the decision.
                    if let Some(message) = valid_message(&payload) {
                        prop_assert_eq!(incoming.node(&rules), Some(message));
                    }
                } else {
                    prop_assert!(valid_message(&payload).is_some());
                    prop_assert_eq!(incoming.node(&rules), valid_message(&payload));
                }
            }
        }
    }

    #[test]
    fn a_rule_with_events_allows_only_these_events(payload in payload()) {
        let rules = Rules::new(LINKS, &[rule(|rule| rule.events = globs(&["My::*"]))]);
        if Incoming::bytes(NODE, EnvelopeType::Data, payload.clone()).outcome(&rules).is_ok() {
            fn is_only(message: &ZeekMessage) -> bool {
                match message {
                    ZeekMessage::Event(event) => event.name.starts_with("My::"),
                    ZeekMessage::Batch(messages) => !messages.is_empty() && messages.iter().all(is_only),
                    _ => false,
                }
            }
            let value = decode_value(&payload, &Limits::DEFAULT).unwrap();
            prop_assert!(is_only(&ZeekMessage::from_value(value).unwrap()));
        }
    }
}

#[test]
fn the_generated_payloads_cover_all_kinds() {
    let mut runner = prop::test_runner::TestRunner::deterministic();
    let (mut valid, mut in_batches, mut odd) = ([0; 3], 0, 0);
    for _ in 0..4000 {
        let payload = payload().new_tree(&mut runner).unwrap().current();
        match valid_message(&payload) {
            Some(NodeMessage::Hello(_)) => valid[0] += 1,
            Some(NodeMessage::Request(_)) => valid[1] += 1,
            Some(NodeMessage::Response(_)) => valid[2] += 1,
            None => {
                let value = decode_value(&payload, &Limits::DEFAULT).unwrap_or_default();
                let has_api = event_names_seen_by_zeek(&value).iter().any(|name| is_api(name));
                let is_batch =
                    matches!(&value, Value::Vector(outer) if outer.get(1) == Some(&Value::Count(5)));
                in_batches += usize::from(has_api && is_batch);
                odd += usize::from(has_api && !is_batch);
            }
        }
    }
    println!("{valid:?} valid, {in_batches} in batches, {odd} odd");
    assert!(valid.iter().all(|count| *count > 20) && in_batches > 50 && odd > 50);
    let hello = Event::new(HELLO, ["w"]);
    assert_eq!(event_names_seen_by_zeek(&ZeekMessage::from(hello).into_value()), [HELLO.as_bytes()]);
}
