//! Failures for requests that rules keep from a node. Without them, the agent would wait in vain, and take for an outage
//! what is a rule; and it would lose the responses of all other nodes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use crate::bridge::management::registry::{Answer, Denied};
use crate::bridge::management::relay::send_answers;
use crate::bridge::policy::{Denial, Reason};
use crate::bridge::router::link_relay::{LinkRelay, Passing};
use crate::bridge::router::links::LinkSet;
use crate::endpoint::Blocked;
use crate::management::{DispatchRequest, NODE_TOPIC, NodeMessage};
use crate::wire::{Envelope, EnvelopeType, Limits};
use crate::zeek;

impl LinkRelay {
    /// Answers a request that passes nowhere, for each live node that it is for. What has to wait for room is returned.
    pub(in crate::bridge) fn deny(&self, passing: &Passing<'_>, request: &DispatchRequest) -> Vec<Blocked> {
        if !self.core.answer_denied.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let denied = self.core.nodes().denied(self.key(passing.from), request);
        send_answers(passing.table, self.denials(passing, request, &denied))
    }

    /// The failures for live nodes that a request does not reach.
    pub(in crate::bridge) fn denials(
        &self,
        passing: &Passing<'_>,
        request: &DispatchRequest,
        denied: &[Denied],
    ) -> Vec<Answer> {
        if denied.is_empty() || !self.core.answer_denied.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let Some(here) = passing.table.link(self.slot) else { return Vec::new() };
        let denials: BTreeMap<_, _> =
            passing.policy.denials(&passing.envelope, here.limits()).into_iter().collect();
        let words: BTreeMap<usize, Option<String>> =
            denials.into_iter().map(|(link, denial)| (link, why(passing.table, denial))).collect();
        let no_rule = Some(why_not(None));
        let key = self.key(passing.from);
        let mut nodes = self.core.nodes();
        let answer = |denied: &Denied| {
            let why = words.get(&denied.link).unwrap_or(&no_rule).as_deref()?;
            Some(nodes.deny(key, &request.reqid, &denied.node, why))
        };
        denied.iter().filter_map(answer).collect()
    }
}

/// What to tell the agent; `None` if the request is not one that a node would answer.
fn why(table: &LinkSet, denial: Option<Denial>) -> Option<String> {
    match denial {
        Some(Denial { invalid: true, .. }) => None,
        Some(Denial { reason, rule: Some(rule), .. }) => {
            Some(why_not(table.rule_name(rule).map(|name| (name, reason))))
        }
        _ => Some(why_not(None)),
    }
}

fn why_not(rule: Option<(&str, Reason)>) -> String {
    let what = match rule {
        Some((_, Reason::ActionNotAllowed)) => "this action",
        Some((_, Reason::NodeNotAllowed)) => "a request to these nodes",
        Some((_, Reason::IdentityNotAllowed)) => "requests of this peer",
        _ => return "not allowed by zeek-bridge: no rule allows requests to this node's link".to_owned(),
    };
    let name = rule.map_or("", |(name, _)| name);
    format!("not allowed by zeek-bridge: rule {name} does not allow {what}")
}

/// The request in a message that was refused. A rule that is not for this peer does not look at what it sends.
pub(in crate::bridge) fn request_of(
    envelope: &Envelope,
    limits: &Limits,
    seen: Option<NodeMessage>,
    denial: Denial,
) -> Option<DispatchRequest> {
    let not_seen = denial.reason == Reason::IdentityNotAllowed
        && envelope.kind == EnvelopeType::Data
        && envelope.topic.as_bytes().starts_with(NODE_TOPIC.as_bytes());
    let seen = match seen {
        None if not_seen => {
            let message = zeek::Message::from_value(envelope.value(limits).ok()?).ok()?;
            let zeek::Message::Event(event) = message else { return None };
            NodeMessage::parse(&event).ok()?
        }
        seen => seen,
    };
    match seen {
        Some(NodeMessage::Request(request)) if !denial.invalid => Some(request),
        _ => None,
    }
}
