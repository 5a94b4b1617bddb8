//! A fuzz target that evaluates the rules of the bridge for any payload.

use std::sync::LazyLock;

use bytes::Bytes;

use crate::bridge::LinkId;
use crate::bridge::config::{Glob, RuleConfig};
use crate::bridge::policy::{Decision, EventClass, PeerPolicy, Refusal, Rules};
use crate::data::{EndpointId, Value};
use crate::endpoint::Candidate;
use crate::management::{DispatchRequest, DispatchResponse, NODE_TOPIC, NodeMessage, NotifyNodeHello};
use crate::wire::{Envelope, EnvelopeType, INITIAL_TTL, Limits};
use crate::zeek::ZeekMessage;

const FROM_NODES: [&str; 2] = [NotifyNodeHello::NAME, DispatchResponse::NAME];

/// Returns the policy of a rule from one link to another.
fn policy(events: &[&str], passthrough: bool) -> PeerPolicy {
    let rule = RuleConfig {
        name: "rule".into(),
        from: vec!["a".into()],
        to: vec!["b".into()],
        topics: vec![NODE_TOPIC.clone()],
        events: events.iter().map(|event| Glob::new(event)).collect(),
        nodes: vec![],
        actions: None,
        identities: vec![],
        commands: false,
        passthrough,
    };
    Rules::new([("a", false), ("b", false)], &[rule]).for_peer(LinkId(0), &Candidate::default())
}

static UP: LazyLock<PeerPolicy> = LazyLock::new(|| policy(&FROM_NODES, false));
static DOWN: LazyLock<PeerPolicy> = LazyLock::new(|| policy(&[DispatchRequest::NAME], false));
static OTHERS: LazyLock<[PeerPolicy; 4]> =
    LazyLock::new(|| [policy(&[], false), policy(&[], true), policy(&["*"], false), policy(&["*"], true)]);

/// Evaluates rules for a data message on the topic of the node API. The payload consists of the input bytes.
pub fn rules(input: &[u8]) {
    let envelope = Envelope {
        sender: EndpointId::NIL,
        receiver: EndpointId::NIL,
        kind: EnvelopeType::Data,
        ttl: INITIAL_TTL,
        topic: NODE_TOPIC.clone(),
        payload: Bytes::copy_from_slice(input),
    };
    let value = envelope.value(&Limits::DEFAULT);
    let valid = value.clone().ok().and_then(valid);
    let (up, decision) = evaluate(&UP, &envelope);
    assert_eq!(up, matches!(valid, Some(NodeMessage::Hello(_) | NodeMessage::Response(_))));
    if up {
        assert_eq!(decision.node, valid);
    }
    assert_eq!(evaluate(&DOWN, &envelope).0, matches!(valid, Some(NodeMessage::Request(_))));

    let (mut seen, mut api) = (0, 0);
    if let Ok(value) = &value {
        events(value, &mut |name| {
            seen += 1;
            api += usize::from(FROM_NODES.contains(&name) || name == DispatchRequest::NAME);
        });
    }
    if let (Some(class), [any, ..]) = (EventClass::of(&envelope), &*OTHERS) {
        let (member, decision) = (class.name_of(&envelope, &Limits::DEFAULT), evaluate(any, &envelope).1);
        assert!(class.may_contain(&envelope));
        if decision.is_for_class {
            assert_eq!(member, decision.event, "the payload is of its own class");
        } else if let Some(name) = member {
            assert!(is_node_api(name), "the decision on any other member is for its class");
        }
    }
    for (index, policy) in OTHERS.iter().enumerate() {
        let (passes, decision) = evaluate(policy, &envelope);
        if passes && api > 0 {
            assert_eq!(seen, 1, "the message is not a batch");
            let is_unchecked = index % 2 == 1;
            assert!(is_unchecked || valid.is_some(), "a checked message is valid");
            assert!(valid.is_none() || decision.node == valid);
        }
    }
}

fn is_node_api(name: &[u8]) -> bool {
    // Some receivers ignore everything after a NUL.
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    NodeMessage::NAMES.iter().any(|known| known.as_bytes() == name)
}

/// Returns whether a message is allowed, and the decision.
fn evaluate<'a>(policy: &'a PeerPolicy, envelope: &'a Envelope) -> (bool, Decision<'a>) {
    let mut passes = false;
    let decision = policy.evaluate(envelope, None, &Limits::DEFAULT, |_, _| passes = true);
    assert_eq!(passes, decision.denial.is_none());
    if let Some(denial) = decision.denial {
        let Refusal { text, rule, topic, event, action, node, request } =
            decision.refusal(denial.reason, None);
        assert!(!text.contains(char::is_control), "{text}");
        let fields = [rule, topic, event, action, node, request].into_iter().flatten();
        let length = fields.fold(text.len(), |length, field| length.saturating_add(field.len()));
        assert!(length < 8192, "{length}");
    }
    (passes, decision)
}

/// Returns the message of the node API in a value, if it is valid.
fn valid(value: Value) -> Option<NodeMessage> {
    let ZeekMessage::Event(event) = ZeekMessage::from_value(value).ok()? else { return None };
    let message = NodeMessage::parse(&event).ok()??;
    if let NodeMessage::Response(response) = &message {
        let result = response.result();
        if result.node().is_none() || result.reqid() != response.reqid() {
            return None;
        }
    }
    Some(message)
}

/// Calls `seen` with the name of each event that the most lenient version of Zeek finds in a value.
fn events(value: &Value, seen: &mut dyn FnMut(&str)) {
    let Value::Vector(outer) = value else { return };
    match outer.as_slice() {
        [_, Value::Count(1), Value::Vector(event), ..] => {
            if let [Value::String(name), Value::Vector(_), ..] = event.as_slice() {
                seen(name.as_str().unwrap_or_default());
            }
        }
        [_, Value::Count(5), Value::Vector(batch), ..] => {
            batch.iter().for_each(|message| events(message, seen));
        }
        _ => {}
    }
}
