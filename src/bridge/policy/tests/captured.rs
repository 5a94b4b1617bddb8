//! Messages captured from Zeek.

use crate::bridge::policy::{Reason, Rules};
use crate::data::Topic;
use crate::management::{NODE_TOPIC, NodeMessage};
use crate::wire::{Envelope, EnvelopeType, Limits};

use super::common::{Fixture, Frame, Phase, Side};
use super::support::*;

fn frames(fixture: &Fixture) -> impl Iterator<Item = (&Frame, Incoming)> {
    fixture.frames.iter().filter(|frame| frame.phase == Phase::Peered).filter_map(|frame| {
        let envelope = Envelope::decode(&frame.body()).unwrap();
        // Nodes are on `a`, agents on `b`. Nodes connect to agents.
        let is_agent = fixture.name.starts_with("node-") && frame.from == Side::Listener;
        let link = usize::from(is_agent);
        let is_relayed = matches!(envelope.kind, EnvelopeType::Data | EnvelopeType::Command);
        is_relayed.then_some((frame, Incoming { link, identity: None, sender: None, envelope }))
    })
}

#[test]
fn the_default_rules_allow_exactly_the_captured_node_api_messages() {
    let rules = default_rules();
    let (mut hellos, mut requests, mut responses, mut others) = (0, 0, 0, 0);
    for fixture in Fixture::all() {
        for (frame, incoming) in frames(&fixture) {
            let at = format!("{} frame {}", fixture.name, frame.index);
            if incoming.envelope.topic != NODE_TOPIC {
                assert_eq!(incoming.outcome(&rules), Err(Reason::NoRule), "{at}");
                others += 1;
                continue;
            }
            assert_eq!(incoming.outcome(&rules).map(|passes| passes[0].0), Ok(1 - incoming.link), "{at}");
            match incoming.node(&rules).unwrap() {
                NodeMessage::Hello(_) => hellos += 1,
                NodeMessage::Request(_) => requests += 1,
                NodeMessage::Response(_) => responses += 1,
            }
            // In the opposite direction, the message is denied.
            let back = Incoming { link: 1 - incoming.link, ..incoming };
            assert_eq!(back.outcome(&rules), Err(Reason::EventNotAllowed), "{at}");
        }
    }
    println!("{hellos} hellos, {requests} requests, {responses} responses, {others} others");
    assert!(hellos >= 2 && requests > 20 && responses > 15 && others > 200);
}

#[test]
fn a_rule_for_everything_allows_all_captured_messages() {
    let all = |commands| {
        rule(|rule| {
            (rule.from, rule.to) = (names(&["a", "b"]), names(&["c"]));
            (rule.topics, rule.commands) = (vec![Topic::from_static("")], commands);
        })
    };
    let rules = Rules::new(LINKS, &[all(false), all(true)]);
    let mut kinds = [0, 0];
    for fixture in Fixture::all() {
        for (frame, incoming) in frames(&fixture) {
            let rule = if incoming.envelope.kind == EnvelopeType::Command { 1 } else { 0 };
            kinds[rule] += 1;
            assert_eq!(
                incoming.outcome(&rules),
                Ok(vec![(2, rule)]),
                "{} frame {}",
                fixture.name,
                frame.index
            );
        }
    }
    assert!(kinds.iter().all(|count| *count > 10), "{kinds:?}");
}

#[test]
fn a_hello_with_one_changed_byte_is_evaluated_by_its_new_content() {
    let rules = default_rules();
    let fixture = Fixture::load("node-worker");
    let (_, hello) = frames(&fixture)
        .find(|(_, incoming)| matches!(incoming.node(&rules), Some(NodeMessage::Hello(_))))
        .unwrap();
    let mut passed = 0;
    for at in 0..hello.envelope.payload.len() {
        for change in 1..=255u8 {
            let mut payload = hello.envelope.payload.to_vec();
            payload[at] ^= change;
            let mut incoming = hello.clone();
            incoming.envelope.payload = payload.into();
            match incoming.outcome(&rules) {
                Ok(_) => {
                    assert!(matches!(incoming.node(&rules), Some(NodeMessage::Hello(_))));
                    assert!(incoming.envelope.value(&Limits::DEFAULT).is_ok());
                    passed += 1;
                }
                Err(reason) => assert!(
                    matches!(reason, Reason::Malformed | Reason::EventNotAllowed | Reason::InvalidNodeApi),
                    "{reason:?}"
                ),
            }
        }
    }
    // A changed hello is allowed only if the changed byte is in the node's name, and the name is still valid UTF-8.
    let Some(NodeMessage::Hello(hello)) = hello.node(&rules) else { panic!() };
    assert_eq!(passed, 127 * hello.node.len());
}
