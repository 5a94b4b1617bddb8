//! Messages that `passthrough` allows, and the nodes and request ids that are decoded from them.

use crate::bridge::policy::{Reason, Rules};
use crate::data::Value;
use crate::management::{DispatchRequest, NodeMessage};
use crate::wire::EnvelopeType;
use crate::zeek::{Event, ZeekMessage};

use super::smuggling::{hello_value, outer, vector};
use super::support::*;

fn unchecked() -> Rules {
    Rules::new(LINKS, &[rule(|rule| rule.passthrough = true)])
}

/// Returns the sending node and the request id, if they are known.
fn sender(incoming: &Incoming) -> Option<(String, Option<String>)> {
    match incoming.node(&unchecked())? {
        NodeMessage::Hello(hello) => Some((hello.node, None)),
        NodeMessage::Response(response) => {
            Some((response.result().node()?.into(), Some(response.reqid().into())))
        }
        NodeMessage::Request(_) => panic!("a request"),
    }
}

#[test]
fn passthrough_allows_invalid_messages() {
    let broken_store = Rules::new(LINKS, &[rule(|rule| (rule.commands, rule.passthrough) = (true, true))]);
    assert_eq!(Incoming::bytes(NODE, EnvelopeType::Command, "x").outcome(&broken_store), Ok(vec![(1, 0)]));
    assert_eq!(
        Incoming::bytes(NODE, EnvelopeType::Data, "x").outcome(&broken_store),
        Err(Reason::DataNotAllowed)
    );

    for incoming in [
        Incoming::bytes(NODE, EnvelopeType::Data, ""),
        Incoming::bytes(NODE, EnvelopeType::Data, vec![99; 10]),
        response_of(result("w")[..5].to_vec()),
        Incoming::message(Event::new(HELLO, [Value::Count(1)])),
        Incoming::message(Event::new(REQUEST, ())),
        Incoming::value(&outer(1u64, 1u64, vector([HELLO.into()]))),
    ] {
        assert_eq!(incoming.outcome(&unchecked()), Ok(vec![(1, 0)]));
        assert_eq!(sender(&incoming), None, "Zeek drops such a message");
    }
}

#[test]
fn the_node_of_an_invalid_event_is_known_if_zeek_accepts_the_event() {
    let good = result("w");
    let with = |at: usize, value: Value| {
        let mut result = good.clone();
        result[at] = value;
        response_of(result)
    };
    let known = Some(("w".to_string(), Some("r".to_string())));
    for (index, incoming) in [
        response("w"),
        response_of([&good[..], &[Value::None]].concat()),
        with(3, Value::Count(8192)),
        with(0, Value::None),
        with(0, "other".into()),
        with(4, Value::String(vec![0xff].into())),
        Incoming::value(&vector([
            2u64.into(),
            1u64.into(),
            vector([RESPONSE.into(), vector(["r".into(), vector(good.clone())]), Value::None, Value::None]),
        ])),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(incoming.outcome(&unchecked()), Ok(vec![(1, 0)]), "{index}");
        assert_eq!(sender(&incoming), known, "{index}");
    }
    let odd = Incoming::value(&outer(2u64, 1u64, vector([HELLO.into(), vector(["w".into()]), 1u64.into()])));
    assert_eq!(odd.outcome(&unchecked()), Ok(vec![(1, 0)]));
    assert_eq!(sender(&odd), Some(("w".to_string(), None)));
}

#[test]
fn the_nodes_and_the_action_of_an_invalid_request_are_known_if_zeek_accepts_it() {
    let odd = |action: &str, node: &str| {
        let request =
            DispatchRequest { reqid: "r".into(), action: names(&[action]), nodes: [node.into()].into() };
        let args = Value::Vector(Event::from(request).args);
        Incoming::value(&outer(2u64, 1u64, vector([REQUEST.into(), args])))
    };
    assert_eq!(odd("x", "w").outcome(&unchecked()), Ok(vec![(1, 0)]));
    assert!(matches!(odd("x", "w").node(&unchecked()), Some(NodeMessage::Request(_))));

    let checked = rule(|rule| {
        (rule.passthrough, rule.nodes) = (true, globs(&["w"]));
        rule.actions = Some([("x".to_owned(), vec![arguments(&["..."])])].into());
    });
    let rules = Rules::new(LINKS, &[checked]);
    assert_eq!(odd("x", "w").outcome(&rules), Ok(vec![(1, 0)]));
    assert_eq!(odd("x", "v").outcome(&rules), Err(Reason::NodeNotAllowed));
    assert_eq!(odd("y", "w").outcome(&rules), Err(Reason::ActionNotAllowed));
}

#[test]
fn a_name_that_is_not_utf8_is_denied_even_with_passthrough() {
    let name = || Value::String(vec![b'w', 0xff].into());
    let mut with_name = result("w");
    with_name[5] = name();
    for incoming in [
        Incoming::message(Event::new(HELLO, [name()])),
        response_of(with_name),
        Incoming::message(Event::new(RESPONSE, (name(), vector(result("w"))))),
    ] {
        assert_eq!(incoming.outcome(&unchecked()), Err(Reason::InvalidNodeApi));
    }
}

#[test]
fn passthrough_allows_a_response_without_a_node() {
    let incoming = response_of([&result("w")[..5], &[Value::None]].concat());
    assert_eq!(incoming.outcome(&unchecked()), Ok(vec![(1, 0)]));
    assert_eq!(sender(&incoming), None);
}

#[test]
fn passthrough_does_not_replace_the_other_conditions_of_a_rule() {
    let rules = |change: fn(&mut crate::bridge::config::RuleConfig)| {
        Rules::new(
            LINKS,
            &[rule(|rule| {
                rule.passthrough = true;
                change(rule);
            })],
        )
    };
    let five = response_of(result("w")[..5].to_vec());
    let events = rules(|rule| rule.events = globs(&["My::*", RESPONSE]));
    assert_eq!(five.outcome(&events), Ok(vec![(1, 0)]));
    assert_eq!(hello("w").outcome(&events), Err(Reason::EventNotAllowed));
    assert_eq!(Incoming::bytes(NODE, EnvelopeType::Data, "x").outcome(&events), Err(Reason::Malformed));
    // Some receivers accept an event with additional elements.
    let odd = |name: &str| outer(1u64, 1u64, vector([name.into(), vector([]), vector([]), Value::None]));
    assert_eq!(Incoming::value(&odd("My::event")).outcome(&events), Ok(vec![(1, 0)]));
    assert_eq!(Incoming::value(&odd("Your::event")).outcome(&events), Err(Reason::EventNotAllowed));
    let batch = |value| outer(1u64, 5u64, vector([value]));
    assert_eq!(Incoming::value(&batch(odd("My::event"))).outcome(&events), Ok(vec![(1, 0)]));
    assert_eq!(Incoming::value(&batch(odd("Your::event"))).outcome(&events), Err(Reason::EventNotAllowed));
    assert_eq!(Incoming::value(&batch(hello_value())).outcome(&events), Err(Reason::BatchedNodeApi));

    let nodes = rules(|rule| rule.nodes = globs(&["w"]));
    let mut numbers = result("w");
    numbers[3] = Value::Count(1);
    assert_eq!(response_of(numbers.clone()).outcome(&nodes), Ok(vec![(1, 0)]));
    numbers[5] = "v".into();
    assert_eq!(response_of(numbers).outcome(&nodes), Err(Reason::NodeNotAllowed));
    assert_eq!(five.outcome(&nodes), Err(Reason::InvalidNodeApi), "the node is unknown");

    // Without passthrough, an event in an unusual form matches no name.
    let checked = Rules::new(LINKS, &[rule(|rule| rule.events = globs(&["My::*"]))]);
    assert_eq!(Incoming::value(&odd("My::event")).outcome(&checked), Err(Reason::Malformed));
    assert_eq!(Incoming::value(&batch(odd("My::event"))).outcome(&checked), Err(Reason::EventNotAllowed));
    let everything = Rules::new(LINKS, &[rule(|_| {})]);
    assert_eq!(Incoming::value(&odd("My::event")).outcome(&everything), Ok(vec![(1, 0)]));
    assert_eq!(Incoming::message(ZeekMessage::Batch(vec![])).outcome(&everything), Ok(vec![(1, 0)]));
}
