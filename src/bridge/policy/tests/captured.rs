//! What real Zeek sent.

use crate::bridge::policy::{Reason, Rules};
use crate::data::Topic;
use crate::management::{NODE_TOPIC, NodeMessage};
use crate::wire::{Envelope, EnvelopeType, Limits};

use super::common::{Fixture, Frame, Phase, Side};
use super::support::*;

fn frames(fixture: &Fixture) -> impl Iterator<Item = (&Frame, Said)> {
    fixture.frames.iter().filter(|frame| frame.phase == Phase::Peered).filter_map(|frame| {
        let envelope = Envelope::decode(&frame.body()).unwrap();
        // Nodes are on `a`, agents on `b`: to an agent, nodes connect.
        let is_agent = fixture.name.starts_with("node-") && frame.from == Side::Listener;
        let link = usize::from(is_agent);
        let is_relayed = matches!(envelope.kind, EnvelopeType::Data | EnvelopeType::Command);
        is_relayed.then_some((frame, Said { link, identity: None, envelope }))
    })
}

#[test]
fn all_that_zeek_s_nodes_and_agents_say_to_each_other_passes_by_the_default_rules_and_nothing_else() {
    let rules = default_rules();
    let (mut hellos, mut requests, mut responses, mut others) = (0, 0, 0, 0);
    for fixture in Fixture::all() {
        for (frame, said) in frames(&fixture) {
            let place = format!("{} frame {}", fixture.name, frame.index);
            if said.envelope.topic != NODE_TOPIC {
                assert_eq!(said.outcome(&rules), Err(Reason::NoRule), "{place}");
                others += 1;
                continue;
            }
            assert_eq!(said.outcome(&rules).map(|passes| passes[0].0), Ok(1 - said.link), "{place}");
            match said.node(&rules).unwrap() {
                NodeMessage::Hello(_) => hellos += 1,
                NodeMessage::Request(_) => requests += 1,
                NodeMessage::Response(_) => responses += 1,
            }
            // The other way round it is refused.
            let back = Said { link: 1 - said.link, ..said };
            assert_eq!(back.outcome(&rules), Err(Reason::EventNotAllowed), "{place}");
        }
    }
    println!("{hellos} hellos, {requests} requests, {responses} responses, {others} others");
    assert!(hellos >= 2 && requests > 20 && responses > 15 && others > 200);
}

#[test]
fn all_that_zeek_says_passes_by_a_rule_for_everything() {
    let all = |commands| {
        rule(|rule| {
            (rule.from, rule.to) = (names(&["a", "b"]), names(&["c"]));
            (rule.topics, rule.commands) = (vec![Topic::from_static("")], commands);
        })
    };
    let rules = Rules::new(LINKS, &[all(false), all(true)]);
    let mut kinds = [0, 0];
    for fixture in Fixture::all() {
        for (frame, said) in frames(&fixture) {
            let rule = if said.envelope.kind == EnvelopeType::Command { 1 } else { 0 };
            kinds[rule] += 1;
            assert_eq!(said.outcome(&rules), Ok(vec![(2, rule)]), "{} frame {}", fixture.name, frame.index);
        }
    }
    assert!(kinds.iter().all(|count| *count > 10), "{kinds:?}");
}

#[test]
fn every_change_of_one_byte_of_a_hello_is_judged_as_what_it_became() {
    let rules = default_rules();
    let fixture = Fixture::load("node-worker");
    let (_, hello) =
        frames(&fixture).find(|(_, said)| matches!(said.node(&rules), Some(NodeMessage::Hello(_)))).unwrap();
    let mut passed = 0;
    for at in 0..hello.envelope.payload.len() {
        for change in 1..=255u8 {
            let mut payload = hello.envelope.payload.to_vec();
            payload[at] ^= change;
            let mut said = hello.clone();
            said.envelope.payload = payload.into();
            match said.outcome(&rules) {
                Ok(_) => {
                    assert!(matches!(said.node(&rules), Some(NodeMessage::Hello(_))));
                    assert!(said.envelope.value(&Limits::DEFAULT).is_ok());
                    passed += 1;
                }
                Err(reason) => assert!(
                    matches!(reason, Reason::Malformed | Reason::EventNotAllowed | Reason::InvalidNodeApi),
                    "{reason}"
                ),
            }
        }
    }
    // The letters of the node's name, as far as they stay text, and nothing else.
    let Some(NodeMessage::Hello(hello)) = hello.node(&rules) else { panic!() };
    assert_eq!(passed, 127 * hello.node.len());
}
