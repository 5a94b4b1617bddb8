//! The rules for the messages of one peer.

use std::sync::Arc;

use super::denial::{Denial, Fault, Reason, Refusal, shown};
use super::payload::PayloadKind;
use super::rule::{Inspected, Verdict};
use super::{Compiled, Route};
use crate::bridge::{LinkId, RuleId};
use crate::data::Topic;
use crate::endpoint::Candidate;
use crate::management::NodeMessage;
use crate::wire::{Envelope, Limits};

/// The rules for the messages of one peer: see [`super::Rules::for_peer`].
#[derive(Clone, Debug)]
pub(crate) struct PeerPolicy {
    rules: Arc<Compiled>,
    from: LinkId,
    /// Whether each rule applies to the peer. The index is the [`RuleId`].
    applies: Vec<bool>,
}

/// The decision on a message.
#[derive(Debug)]
pub(crate) struct Decision<'a> {
    /// The event of the node API in the message. `None` if the payload is not such an event, or if no rule for the
    /// topic and the sender needed the payload.
    ///
    /// An invalid event is allowed only by rules with `passthrough`. In this case, the field contains the event as Zeek
    /// would accept it; for a response, only the request id and the node of its result are set. If a message is allowed
    /// and this field is `None`, Zeek does not read the name of a node from the message.
    pub(crate) node: Option<NodeMessage>,
    /// The denial. It is set if no link receives the message, or if the message is invalid and at least one link does
    /// not receive it.
    pub(crate) denial: Option<Denial>,
    /// Whether the rules allow all valid events with this topic and this name, to the same links.
    pub(crate) is_for_class: bool,
    topic: &'a Topic,
    /// The name of the event, if the payload was read and is an event.
    pub(crate) event: Option<&'a [u8]>,
    fault: Option<Fault>,
}

impl Decision<'_> {
    /// Returns the log line for a denial of the message.
    pub(crate) fn refusal(&self, reason: Reason, rule: Option<&str>) -> Refusal {
        let mut refusal = Refusal::new(reason, self.topic);
        refusal.rule = rule.map(str::to_owned);
        refusal.event = self.event.map(shown);
        if let Some(node) = &self.node {
            refusal = refusal.with_node_event(node);
        }
        match &self.fault {
            Some(fault) => refusal.with_fault(fault),
            None => refusal,
        }
    }
}

impl PeerPolicy {
    pub(super) fn new(rules: Arc<Compiled>, from: LinkId, peer: &Candidate<'_>) -> Self {
        let applies = rules.rules.iter().map(|rule| rule.applies_to(peer)).collect();
        PeerPolicy { rules, from, applies }
    }

    /// Decides on a message from this peer. For each link that the message may be forwarded to, calls `allow` with the
    /// link and the rule that allows it. `sender` is the exact text of the sender, if the peer is a publisher of a ZeroMQ cluster.
    ///
    /// The payload is inspected only if there is a rule for the topic and the sender, or if the topic is that of a
    /// node id and the link is a proxy. No memory is allocated for a message that is allowed and is not an event of the node API, unless
    /// its topic must be translated for a rule, or its sets or tables are not sorted (see [`check_value`](crate::wire::check_value)).
    pub(crate) fn evaluate<'a>(
        &self,
        envelope: &'a Envelope,
        sender: Option<&[u8]>,
        limits: &Limits,
        mut allow: impl FnMut(LinkId, RuleId),
    ) -> Decision<'a> {
        let message = Inspected::new(envelope, limits);
        let mut allowed = false;
        let mut denial = None;
        let mut is_hello = false;
        let default_reason = if envelope.topic.is_local() {
            Reason::LocalTopic
        } else if envelope.ttl <= 1 {
            Reason::Ttl
        } else {
            let hello = self.rules.hello(self.from, &message, sender);
            if hello == Some(true) {
                allow(self.from, RuleId::NONE);
                return Self::decision(message, None, false);
            }
            is_hello = hello.is_some();
            for route in self.rules.routes(self.from) {
                match self.evaluate_route(route, &message) {
                    Ok(rule) => {
                        allowed = true;
                        route.to.iter().for_each(|to| allow(*to, rule));
                    }
                    Err(other) => denial = closer(denial, other),
                }
            }
            if is_hello { Reason::InvalidHello } else { Reason::NoRule }
        };
        let denial = match denial {
            Some(denial) if allowed => Some(denial).filter(|denial| denial.invalid),
            None if !allowed => Some(Denial { reason: default_reason, rule: None, invalid: false }),
            denial => denial,
        };
        Self::decision(message, denial, allowed && denial.is_none() && !is_hello)
    }

    /// Returns the links for which rules deny the message, each with the denial. The denial is `None` if no rule for
    /// the link has a matching topic. A link is left out if no rule has the peer's link in `from` and this link in
    /// `to`.
    pub(crate) fn denials(&self, envelope: &Envelope, limits: &Limits) -> Vec<(LinkId, Option<Denial>)> {
        let message = Inspected::new(envelope, limits);
        let routes = self.rules.routes(self.from).iter();
        let denied =
            routes.filter_map(|route| Some((&route.to, self.evaluate_route(route, &message).err()?)));
        denied.flat_map(|(to, denial)| to.iter().map(move |to| (*to, denial))).collect()
    }

    /// Returns the first rule of a route that allows a message, or the denial of the rule that matched the
    /// most conditions.
    fn evaluate_route(&self, route: &Route, message: &Inspected<'_>) -> Result<RuleId, Option<Denial>> {
        let mut closest = None;
        for &id in &route.rules {
            let rule = self.rules.rules.get(id.0);
            let maps_topics = route.crossing.maps_topics;
            let Some(rule) = rule.filter(|rule| rule.covers_message(message, maps_topics)) else { continue };
            let applies = self.applies.get(id.0).is_some_and(|applies| *applies);
            let denial = |reason, invalid| Some(Denial { reason, rule: Some(id), invalid });
            let verdict = match rule.evaluate(message, applies) {
                Verdict::Allow if route.crossing.leaves_cluster => message.evaluate_crossing(),
                verdict => verdict,
            };
            match verdict {
                Verdict::Allow => return Ok(id),
                Verdict::Deny(reason) => return Err(denial(reason, true)),
                Verdict::NoMatch(reason) => closest = closer(closest, denial(reason, false)),
            }
        }
        Err(closest)
    }

    /// `is_for_all` must be true only if the decision on a valid event depends on nothing but its topic and name.
    fn decision<'a>(message: Inspected<'a>, denial: Option<Denial>, is_for_all: bool) -> Decision<'a> {
        let topic = &message.envelope.topic;
        let (payload, command_fault) = message.into_results();
        let is_plain_event = matches!(payload, Some(PayloadKind::Event { flaw: None, node_api: None, .. }));
        let is_for_class = is_for_all && is_plain_event;
        let text = |text| Some(Fault::Text(text));
        let (event, node, fault) = match payload {
            None => (None, None, command_fault),
            Some(PayloadKind::Event { name, node_api: Some(event), .. }) => {
                let (node, fault) = event.into_parts();
                (Some(name), node, fault)
            }
            Some(PayloadKind::Event { name, flaw, node_api: None, .. }) => {
                (Some(name), None, flaw.and_then(text))
            }
            Some(PayloadKind::BatchedNodeApi(name)) => (Some(name), None, text("in a batch")),
            Some(PayloadKind::Batch(_)) => (None, None, text("a batch")),
            Some(PayloadKind::OtherMessage) => (None, None, text("not an event")),
            Some(PayloadKind::NotMessage(flaw)) => (None, None, text(flaw)),
            Some(PayloadKind::Undecodable(fault)) => (None, None, Some(fault)),
        };
        Decision { node, denial, is_for_class, topic, event, fault }
    }
}

/// Returns the denial of the rule that matched more conditions. If both matched equally many, returns the first denial.
fn closer(one: Option<Denial>, other: Option<Denial>) -> Option<Denial> {
    let rank = |denial: &Denial| (denial.invalid, denial.reason);
    match (one, other) {
        (Some(one), Some(other)) => Some(if rank(&other) > rank(&one) { other } else { one }),
        (one, other) => one.or(other),
    }
}
