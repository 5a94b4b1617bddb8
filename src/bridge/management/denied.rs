//! Failures for requests that the rules deny to a node.
//!
//! Without an answer, the agent would wait until its timeout, report an outage of the node, and lose the responses of all
//! other nodes to the request.

use std::collections::BTreeMap;

use super::answers::send_answers;
use super::registry::{Answer, DeniedNode};
use crate::bridge::LinkId;
use crate::bridge::policy::{Denial, Reason};
use crate::bridge::router::core::Core;
use crate::bridge::router::links::LinkSet;
use crate::bridge::router::routed::RoutedMessage;
use crate::endpoint::Blocked;
use crate::management::{DispatchRequest, NODE_TOPIC, NodeMessage};
use crate::wire::{Envelope, EnvelopeType, Limits};
use crate::zeek;

impl Core {
    /// Handles a message that no rule allows. If the message is a request of the node API, sends a failure for each
    /// live node that the request is addressed to. Returns the messages for which a queue has no room.
    pub(in crate::bridge) fn node_event_denied(
        &self,
        message: &RoutedMessage<'_>,
        event: Option<NodeMessage>,
        denial: Denial,
    ) -> Vec<Blocked> {
        let Some(here) = message.links.link(message.link) else { return Vec::new() };
        // If no rule for this link allows hellos or responses at all, the link does not lead to nodes, so the node must
        // be connected to a different endpoint. If a rule allows such events but denies this one for its node name or
        // its sender, the node may still be connected here.
        if denial.reason == Reason::EventNotAllowed
            && let Some(node) = event.as_ref().and_then(NodeMessage::sender_node)
        {
            self.nodes().seen_elsewhere(node);
        }
        let request = denied_request(&message.envelope, here.limits(), event, denial);
        let Some(request) = request.filter(|_| self.answers_denied()) else { return Vec::new() };
        let denied = self.nodes().denied(message.peering(), &request);
        send_answers(message.links, self.failures_for_denied(message, &request, &denied))
    }

    /// Returns the failures for the live nodes to which rules deny a request.
    pub(super) fn failures_for_denied(
        &self,
        message: &RoutedMessage<'_>,
        request: &DispatchRequest,
        denied: &[DeniedNode],
    ) -> Vec<Answer> {
        if denied.is_empty() || !self.answers_denied() {
            return Vec::new();
        }
        let Some(here) = message.links.link(message.link) else { return Vec::new() };
        let denials = message.policy.denials(&message.envelope, here.limits()).into_iter();
        let texts: BTreeMap<LinkId, Option<String>> =
            denials.map(|(link, denial)| (link, failure_text(message.links, denial))).collect();
        let no_rule = Some(not_allowed(None));
        let mut nodes = self.nodes();
        let answer = |denied: &DeniedNode| {
            let text = texts.get(&denied.link).unwrap_or(&no_rule).as_deref()?;
            Some(nodes.answer_denied(message.peering(), &request.reqid, &denied.node, text))
        };
        denied.iter().filter_map(answer).collect()
    }
}

/// Returns the text of the failure for the agent, or `None` if the request is invalid. A node would not answer an
/// invalid request either.
fn failure_text(links: &LinkSet, denial: Option<Denial>) -> Option<String> {
    match denial {
        Some(Denial { invalid: true, .. }) => None,
        Some(Denial { reason, rule: Some(rule), .. }) => {
            Some(not_allowed(links.rule_name(rule).map(|name| (name, reason))))
        }
        _ => Some(not_allowed(None)),
    }
}

fn not_allowed(rule: Option<(&str, Reason)>) -> String {
    let (name, denied) = match rule {
        Some((name, Reason::ActionNotAllowed)) => (name, "this action"),
        Some((name, Reason::NodeNotAllowed)) => (name, "a request to these nodes"),
        Some((name, Reason::IdentityNotAllowed)) => (name, "requests of this peer"),
        _ => return "not allowed by zeek-bridge: no rule allows requests to this node's link".to_owned(),
    };
    format!("not allowed by zeek-bridge: rule {name} does not allow {denied}")
}

/// Returns the request in a denied message.
///
/// Rules that do not apply to the sender do not decode the payload. If no rule for the topic applies to the sender,
/// `decoded` is `None`, and the request is decoded here.
fn denied_request(
    envelope: &Envelope,
    limits: &Limits,
    decoded: Option<NodeMessage>,
    denial: Denial,
) -> Option<DispatchRequest> {
    let is_undecoded = denial.reason == Reason::IdentityNotAllowed
        && envelope.kind == EnvelopeType::Data
        && envelope.topic.as_bytes().starts_with(NODE_TOPIC.as_bytes());
    let event = match decoded {
        None if is_undecoded => {
            let message = zeek::ZeekMessage::from_value(envelope.value(limits).ok()?).ok()?;
            let zeek::ZeekMessage::Event(event) = message else { return None };
            NodeMessage::parse(&event).ok()?
        }
        decoded => decoded,
    };
    match event {
        Some(NodeMessage::Request(request)) if !denial.invalid => Some(request),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::bridge::RuleId;
    use crate::bridge::policy::Rules;
    use crate::data::{EndpointId, Topic};
    use crate::management::NotifyNodeHello;
    use crate::zeek::Event;

    fn denial(reason: Reason, rule: Option<RuleId>) -> Denial {
        Denial { reason, rule, invalid: false }
    }

    #[test]
    fn the_failure_names_the_rule_and_what_it_does_not_allow() {
        let counts = vec![("requests".to_owned(), Arc::default())];
        let links = LinkSet::new(Vec::new(), Rules::new([], &[]), counts, &Default::default());
        let no_rule = "no rule allows requests to this node's link";
        for (rule, reason, expected) in [
            (0, Reason::ActionNotAllowed, "rule requests does not allow this action"),
            (0, Reason::NodeNotAllowed, "rule requests does not allow a request to these nodes"),
            (0, Reason::IdentityNotAllowed, "rule requests does not allow requests of this peer"),
            (0, Reason::EventNotAllowed, no_rule),
            (1, Reason::ActionNotAllowed, no_rule),
        ] {
            let text = failure_text(&links, Some(denial(reason, Some(RuleId(rule)))));
            assert_eq!(text, Some(format!("not allowed by zeek-bridge: {expected}")), "{reason:?}");
        }
        assert_eq!(failure_text(&links, None), Some(format!("not allowed by zeek-bridge: {no_rule}")));
        let without_rule = denial(Reason::NoRule, None);
        assert_eq!(failure_text(&links, Some(without_rule)), failure_text(&links, None));
        let invalid = Denial { invalid: true, ..denial(Reason::InvalidNodeApi, Some(RuleId(0))) };
        assert_eq!(failure_text(&links, Some(invalid)), None);
    }

    fn envelope(topic: &Topic, event: impl Into<Event>) -> Envelope {
        let value = zeek::ZeekMessage::Event(event.into()).into_value();
        Envelope::data(EndpointId::NIL, topic.clone(), &value).unwrap()
    }

    #[test]
    fn a_request_is_answered_if_a_rule_decoded_it_or_applies_only_to_other_peers() {
        let action = vec!["x".to_owned()];
        let request = DispatchRequest { reqid: "1".to_owned(), action, nodes: ["w".to_owned()].into() };
        let hello = NotifyNodeHello { node: "w".to_owned() };
        let data = envelope(&NODE_TOPIC, request.clone());
        let decoded = || Some(NodeMessage::Request(request.clone()));
        let find = |envelope: &Envelope, decoded, denial| {
            denied_request(envelope, &Limits::DEFAULT, decoded, denial)
        };
        let action = denial(Reason::ActionNotAllowed, None);
        assert_eq!(find(&data, decoded(), action).as_ref(), Some(&request));
        assert_eq!(find(&data, decoded(), Denial { invalid: true, ..action }), None);
        assert_eq!(find(&data, Some(NodeMessage::Hello(hello.clone())), action), None);
        assert_eq!(find(&data, None, action), None, "not inspected, because no rule is for such data");

        let identity = denial(Reason::IdentityNotAllowed, None);
        assert_eq!(find(&data, None, identity).as_ref(), Some(&request));
        assert_eq!(find(&data, None, Denial { invalid: true, ..identity }), None);
        assert_eq!(find(&envelope(&NODE_TOPIC, hello), None, identity), None);
        assert_eq!(find(&envelope(&Topic::from_static("zeek/other"), request.clone()), None, identity), None);
        assert_eq!(find(&Envelope { kind: EnvelopeType::Command, ..data }, None, identity), None);
    }
}
