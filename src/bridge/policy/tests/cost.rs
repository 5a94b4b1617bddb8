//! Allocations during the evaluation of messages, as counted by the allocator.

use crate::bridge::LinkId;
use crate::bridge::config::RuleConfig;
use crate::bridge::policy::{Reason, Rules};
use crate::data::Topic;
use crate::management::NODE_TOPIC;
use crate::wire::{Envelope, EnvelopeType, Limits};
use allocation_counter::measure;

use super::common::{Fixture, Phase};
use super::support::*;

/// Counts the captured messages outside the node API that a rule allows. Asserts that evaluating them needs no
/// allocation.
fn count_allowed_without_allocation(rule: RuleConfig) -> usize {
    let rules = Rules::new(LINKS, &[rule]);
    let policy = rules.for_peer(LinkId(0), &by(Some(&WORKER)));
    let mut count = 0;
    for fixture in Fixture::all() {
        for frame in fixture.frames.iter().filter(|frame| frame.phase == Phase::Peered) {
            let envelope = Envelope::decode(&frame.body()).unwrap();
            if envelope.kind != EnvelopeType::Data || envelope.topic == NODE_TOPIC {
                continue;
            }
            let mut links_reached = 0;
            let cost = measure(|| {
                drop(policy.evaluate(&envelope, None, &Limits::DEFAULT, |_, _| links_reached += 1));
            });
            if links_reached > 0 {
                assert_eq!(cost.count_total, 0, "{} frame {}", fixture.name, frame.index);
                count += 1;
            }
        }
    }
    count
}

#[test]
fn allowed_messages_outside_the_node_api_need_no_allocation() {
    let all = || {
        rule(|rule| {
            rule.topics = vec![Topic::from_static("")];
            rule.identities = vec![identity("subject:CN=worker-*"), identity("DNS:worker-?.example")];
        })
    };
    for (rule, count) in [
        (all(), 147),
        (RuleConfig { passthrough: true, ..all() }, 147),
        (RuleConfig { events: globs(&["no such", "*"]), ..all() }, 47),
    ] {
        assert_eq!(count_allowed_without_allocation(rule), count);
    }
}

#[test]
fn a_payload_without_a_matching_rule_is_not_inspected() {
    let rules = Rules::new(LINKS, &[rule(|rule| rule.identities = vec![identity("subject:CN=worker-1,*")])]);
    // If this payload is inspected, the description of its fault needs an allocation.
    let payload = [14, 1, 14, 1, 99];
    for (topic, identity, reason) in [
        ("other", &*WORKER, Reason::NoRule),
        (NODE, &*NAMELESS, Reason::IdentityNotAllowed),
        (NODE, &*WORKER, Reason::Malformed),
    ] {
        let incoming = Incoming::bytes(topic, EnvelopeType::Data, payload.to_vec());
        let policy = rules.for_peer(LinkId(0), &by(Some(identity)));
        let mut denied = None;
        let cost = measure(|| {
            let decision = policy.evaluate(&incoming.envelope, None, &Limits::DEFAULT, |_, _| {
                panic!("the message is allowed")
            });
            denied = decision.denial.map(|denial| denial.reason);
        });
        assert_eq!(denied, Some(reason));
        assert_eq!(cost.count_total == 0, reason != Reason::Malformed, "{reason:?}");
    }
}
