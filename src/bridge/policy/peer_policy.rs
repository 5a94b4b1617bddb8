//! The rules as they are for one peer.

use std::sync::Arc;

use super::denial::{Denial, Detail, Fault, Reason};
use super::payload::PayloadKind;
use super::rule::{Inspected, Verdict};
use super::{Compiled, Route};
use crate::bridge::{LinkId, RuleId};
use crate::data::Topic;
use crate::management::NodeMessage;
use crate::net::tls::PeerIdentity;
use crate::wire::{Envelope, Limits};

/// What a peer may say, and to whom: see [`super::Rules::policy`].
#[derive(Clone, Debug)]
pub(crate) struct PeerPolicy {
    rules: Arc<Compiled>,
    from: LinkId,
    /// By rule, whether it is for this peer.
    admitted: Vec<bool>,
    /// Who it is, in words.
    identity: Option<String>,
}

/// What was made of a message.
#[derive(Debug)]
pub(crate) struct Decision<'a> {
    /// What it says in the node API, if it does, and a rule by its topic and sender was there to read it for.
    ///
    /// Of an event that is not as it should be, which only a rule with `passthrough` lets pass, it is what Zeek would
    /// take it for: of a response's result only the request and the node are there. Whatever passes and
    /// is not here names no node that Zeek would take.
    pub(crate) node: Option<NodeMessage>,
    /// Why it does not pass: if it went nowhere, or if a rule held it back from some links as invalid.
    pub(crate) denial: Option<Denial>,
    topic: &'a Topic,
    event: Option<&'a [u8]>,
    identity: Option<&'a str>,
    fault: Option<Fault>,
}

impl Decision<'_> {
    /// What there is to say of the message in a log.
    #[must_use]
    pub(crate) fn detail(&self) -> Detail<'_> {
        Detail {
            topic: self.topic,
            event: self.event,
            node: self.node.as_ref(),
            identity: self.identity,
            fault: self.fault.as_ref(),
        }
    }
}

impl PeerPolicy {
    pub(super) fn new(rules: Arc<Compiled>, from: LinkId, identity: Option<&PeerIdentity>) -> Self {
        let admitted = rules.rules.iter().map(|rule| rule.admits(identity)).collect();
        PeerPolicy { rules, from, admitted, identity: identity.map(ToString::to_string) }
    }

    /// Judges a message from this peer: calls `pass` with each link that it may go to and the rule that lets it.
    ///
    /// The payload is not looked at unless there is a rule for the topic and the sender. Nothing is allocated for what passes
    /// and is no event of the node API, unless its sets and tables are out of order (see
    /// [`check_value`](crate::wire::check_value)).
    pub(crate) fn evaluate<'a>(
        &'a self,
        envelope: &'a Envelope,
        limits: &Limits,
        mut pass: impl FnMut(LinkId, RuleId),
    ) -> Decision<'a> {
        let heard = Inspected::new(envelope, limits);
        let mut passed = false;
        let mut denial = None;
        let why_nowhere = if envelope.topic.is_local() {
            Reason::LocalTopic
        } else if envelope.ttl <= 1 {
            Reason::Ttl
        } else {
            for route in self.rules.routes(self.from) {
                match self.on(route, &heard) {
                    Ok(rule) => {
                        passed = true;
                        route.to.iter().for_each(|to| pass(*to, rule));
                    }
                    Err(other) => denial = closer(denial, other),
                }
            }
            Reason::NoRule
        };
        let denial = match denial {
            Some(denial) if passed => Some(denial).filter(|denial| denial.invalid),
            None if !passed => Some(Denial { reason: why_nowhere, rule: None, invalid: false }),
            denial => denial,
        };
        self.decision(heard, denial)
    }

    /// Why a message does not pass to links that rules lead to from here; `None`: no rule is about its topic.
    pub(crate) fn denials(&self, envelope: &Envelope, limits: &Limits) -> Vec<(LinkId, Option<Denial>)> {
        let heard = Inspected::new(envelope, limits);
        let routes = self.rules.routes(self.from).iter();
        let refused = routes.filter_map(|route| Some((&route.to, self.on(route, &heard).err()?)));
        refused.flat_map(|(to, denial)| to.iter().map(move |to| (*to, denial))).collect()
    }

    /// The rule by which a message passes on a route, or why there is none.
    fn on(&self, route: &Route, heard: &Inspected<'_>) -> Result<RuleId, Option<Denial>> {
        let mut closest = None;
        for &id in &route.rules {
            let Some(rule) = self.rules.rules.get(id.0).filter(|rule| rule.covers(&heard.envelope.topic))
            else {
                continue;
            };
            let admitted = self.admitted.get(id.0).is_some_and(|admitted| *admitted);
            let denial = |reason, invalid| Some(Denial { reason, rule: Some(id), invalid });
            match rule.evaluate(heard, admitted) {
                Verdict::Allow => return Ok(id),
                Verdict::Deny(reason) => return Err(denial(reason, true)),
                Verdict::NoMatch(reason) => closest = closer(closest, denial(reason, false)),
            }
        }
        Err(closest)
    }

    fn decision<'a>(&'a self, heard: Inspected<'a>, denial: Option<Denial>) -> Decision<'a> {
        let topic = &heard.envelope.topic;
        let (look, command) = heard.into_seen();
        let (event, node, fault) = match look {
            None => (None, None, command),
            Some(PayloadKind::Event { name, api: Some(api), .. }) => {
                let (node, fault) = api.into_parts();
                (Some(name), node, fault)
            }
            Some(PayloadKind::Event { name, flaw, api: None }) => (Some(name), None, flaw.map(Fault::Text)),
            Some(PayloadKind::BatchedNodeApi(name)) => (Some(name), None, Some(Fault::Text("in a batch"))),
            Some(PayloadKind::Batch(_)) => (None, None, Some(Fault::Text("a batch"))),
            Some(PayloadKind::NoEvent) => (None, None, Some(Fault::Text("no event"))),
            Some(PayloadKind::NoMessage(flaw)) => (None, None, Some(Fault::Text(flaw))),
            Some(PayloadKind::Opaque(fault)) => (None, None, Some(fault)),
        };
        Decision { node, denial, topic, event, identity: self.identity.as_deref(), fault }
    }
}

/// The denial that came closer to passing; the first of two that came as close.
fn closer(one: Option<Denial>, other: Option<Denial>) -> Option<Denial> {
    let rank = |denial: &Denial| (denial.invalid, denial.reason);
    match (one, other) {
        (Some(one), Some(other)) => Some(if rank(&other) > rank(&one) { other } else { one }),
        (one, other) => one.or(other),
    }
}
