//! What `passthrough` lets pass, and what is still known of it.

use crate::bridge::policy::{Reason, Rules};
use crate::data::Value;
use crate::management::NodeMessage;
use crate::wire::EnvelopeType;
use crate::zeek::{Event, Message};

use super::smuggling::{hello_value, outer, vector};
use super::support::*;

fn unchecked() -> Rules {
    Rules::new(LINKS, &[rule(|rule| rule.passthrough = true)])
}

/// Who speaks, if that can be told.
fn speaker(said: &Said) -> Option<(String, Option<String>)> {
    match said.node(&unchecked())? {
        NodeMessage::Hello(hello) => Some((hello.node, None)),
        NodeMessage::Response(response) => {
            Some((response.result().node()?.into(), Some(response.reqid().into())))
        }
        NodeMessage::Request(_) => panic!("a request"),
    }
}

#[test]
fn what_is_not_valid_passes_unchecked() {
    let broken_store = Rules::new(LINKS, &[rule(|rule| (rule.commands, rule.passthrough) = (true, true))]);
    assert_eq!(Said::bytes(NODE, EnvelopeType::Command, "x").outcome(&broken_store), Ok(vec![(1, 0)]));
    assert_eq!(
        Said::bytes(NODE, EnvelopeType::Data, "x").outcome(&broken_store),
        Err(Reason::DataNotAllowed)
    );

    for said in [
        Said::bytes(NODE, EnvelopeType::Data, ""),
        Said::bytes(NODE, EnvelopeType::Data, vec![99; 10]),
        response_of(result("w")[..5].to_vec()),
        Said::message(Event::new(HELLO, [Value::Count(1)])),
        Said::message(Event::new(REQUEST, ())),
        Said::value(&outer(1u64, 1u64, vector([HELLO.into()]))),
    ] {
        assert_eq!(said.outcome(&unchecked()), Ok(vec![(1, 0)]));
        assert_eq!(speaker(&said), None, "Zeek drops it");
    }
}

#[test]
fn who_speaks_in_what_zeek_would_take_is_known_however_odd_it_is() {
    let good = result("w");
    let with = |at: usize, value: Value| {
        let mut result = good.clone();
        result[at] = value;
        response_of(result)
    };
    let known = Some(("w".to_string(), Some("r".to_string())));
    for (index, said) in [
        response("w"),
        response_of([&good[..], &[Value::None]].concat()),
        with(3, Value::Count(8192)),
        with(0, Value::None),
        with(0, "other".into()),
        with(4, Value::String(vec![0xff].into())),
        Said::value(&vector([
            2u64.into(),
            1u64.into(),
            vector([RESPONSE.into(), vector(["r".into(), vector(good.clone())]), Value::None, Value::None]),
        ])),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(said.outcome(&unchecked()), Ok(vec![(1, 0)]), "{index}");
        assert_eq!(speaker(&said), known, "{index}");
    }
    let odd = Said::value(&outer(2u64, 1u64, vector([HELLO.into(), vector(["w".into()]), 1u64.into()])));
    assert_eq!(odd.outcome(&unchecked()), Ok(vec![(1, 0)]));
    assert_eq!(speaker(&odd), Some(("w".to_string(), None)));
}

#[test]
fn a_name_that_is_no_text_passes_not_even_unchecked() {
    let name = || Value::String(vec![b'w', 0xff].into());
    let mut with_name = result("w");
    with_name[5] = name();
    for said in [
        Said::message(Event::new(HELLO, [name()])),
        response_of(with_name),
        Said::message(Event::new(RESPONSE, (name(), vector(result("w"))))),
    ] {
        assert_eq!(said.outcome(&unchecked()), Err(Reason::InvalidNodeApi));
    }
}

#[test]
fn a_response_of_nobody_passes_unchecked_and_names_nobody() {
    let said = response_of([&result("w")[..5], &[Value::None]].concat());
    assert_eq!(said.outcome(&unchecked()), Ok(vec![(1, 0)]));
    assert_eq!(speaker(&said), None);
}

#[test]
fn unchecked_is_not_unasked() {
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
    assert_eq!(Said::bytes(NODE, EnvelopeType::Data, "x").outcome(&events), Err(Reason::Malformed));
    // An event of more elements is one, to some.
    let odd = |name: &str| outer(1u64, 1u64, vector([name.into(), vector([]), vector([]), Value::None]));
    assert_eq!(Said::value(&odd("My::event")).outcome(&events), Ok(vec![(1, 0)]));
    assert_eq!(Said::value(&odd("Your::event")).outcome(&events), Err(Reason::EventNotAllowed));
    let batch = |value| outer(1u64, 5u64, vector([value]));
    assert_eq!(Said::value(&batch(odd("My::event"))).outcome(&events), Ok(vec![(1, 0)]));
    assert_eq!(Said::value(&batch(odd("Your::event"))).outcome(&events), Err(Reason::EventNotAllowed));
    assert_eq!(Said::value(&batch(hello_value())).outcome(&events), Err(Reason::BatchedNodeApi));

    let nodes = rules(|rule| rule.nodes = globs(&["w"]));
    let mut numbers = result("w");
    numbers[3] = Value::Count(1);
    assert_eq!(response_of(numbers.clone()).outcome(&nodes), Ok(vec![(1, 0)]));
    numbers[5] = "v".into();
    assert_eq!(response_of(numbers).outcome(&nodes), Err(Reason::NodeNotAllowed));
    assert_eq!(five.outcome(&nodes), Err(Reason::InvalidNodeApi), "whose it is cannot be told");

    // Checked, the odd ones pass by no name.
    let checked = Rules::new(LINKS, &[rule(|rule| rule.events = globs(&["My::*"]))]);
    assert_eq!(Said::value(&odd("My::event")).outcome(&checked), Err(Reason::Malformed));
    assert_eq!(Said::value(&batch(odd("My::event"))).outcome(&checked), Err(Reason::EventNotAllowed));
    let everything = Rules::new(LINKS, &[rule(|_| {})]);
    assert_eq!(Said::value(&odd("My::event")).outcome(&everything), Ok(vec![(1, 0)]));
    assert_eq!(Said::message(Message::Batch(vec![])).outcome(&everything), Ok(vec![(1, 0)]));
}
