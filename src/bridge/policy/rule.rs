//! One rule, and whether a message fits it.

use std::cell::OnceCell;

use super::super::config::{Arguments, Glob, IdentityPattern, RuleConfig};
use super::MAX_NAME;
use super::denial::{Fault, Reason};
use super::node_events::{Claim, NodeApiEvent, holds_a_name};
use super::payload::PayloadKind;
use crate::data::{Filter, Topic};
use crate::management::{NamedNodes, NodeMessage};
use crate::net::tls::PeerIdentity;
use crate::wire::{Envelope, EnvelopeType, Limits};

/// A rule, with its topics as the filter that they are.
#[derive(Debug)]
pub(super) struct Rule {
    topics: Filter,
    config: RuleConfig,
}

/// What a rule says to a message.
pub(super) enum Verdict {
    /// It passes.
    Allow,
    /// Nothing: it does not fit.
    NoMatch(Reason),
    /// It fits, and is not valid.
    Deny(Reason),
}

use Verdict::{Allow, Deny, NoMatch};

/// A message, looked at no sooner than a rule asks.
pub(super) struct Inspected<'a> {
    pub(super) envelope: &'a Envelope,
    limits: Limits,
    look: OnceCell<PayloadKind<'a>>,
    command: OnceCell<Option<Fault>>,
}

impl<'a> Inspected<'a> {
    pub(super) fn new(envelope: &'a Envelope, limits: &Limits) -> Self {
        Inspected { envelope, limits: *limits, look: OnceCell::new(), command: OnceCell::new() }
    }

    fn look(&self) -> &PayloadKind<'a> {
        self.look.get_or_init(|| PayloadKind::at(self.envelope, &self.limits))
    }

    /// Whether a command is one.
    fn is_well_formed(&self) -> bool {
        let check = || self.envelope.check(&self.limits).err().map(Fault::Decode);
        self.command.get_or_init(check).is_none()
    }

    /// What was seen, if anybody asked: as data, as a command.
    pub(super) fn into_seen(self) -> (Option<PayloadKind<'a>>, Option<Fault>) {
        (self.look.into_inner(), self.command.into_inner().flatten())
    }
}

impl Rule {
    pub(super) fn new(config: &RuleConfig) -> Self {
        Rule { topics: config.topics.iter().cloned().collect(), config: config.clone() }
    }

    pub(super) fn topics(&self) -> &[Topic] {
        self.topics.topics()
    }

    /// Whether a peer of this certificate may use it.
    pub(super) fn admits(&self, identity: Option<&PeerIdentity>) -> bool {
        IdentityPattern::allow(&self.config.identities, identity)
    }

    pub(super) fn covers(&self, topic: &Topic) -> bool {
        self.topics.matches(topic)
    }

    /// Whether an event of this name under this topic can fit.
    pub(super) fn is_about(&self, topic: &Topic, event: &str) -> bool {
        let events = &self.config.events;
        self.covers(topic)
            && !self.config.commands
            && (events.is_empty() || events.iter().any(|glob| glob.matches(event)))
    }

    /// Of a message under one of its topics; `admitted` is what [`Rule::admits`] said of its sender.
    pub(super) fn evaluate(&self, heard: &Inspected<'_>, admitted: bool) -> Verdict {
        let is_command = match heard.envelope.kind {
            EnvelopeType::Data => false,
            EnvelopeType::Command => true,
            _ => return NoMatch(Reason::NoRule),
        };
        match (is_command, self.config.commands) {
            (true, false) => return NoMatch(Reason::CommandNotAllowed),
            (false, true) => return NoMatch(Reason::DataNotAllowed),
            _ if !admitted => return NoMatch(Reason::IdentityNotAllowed),
            _ => {}
        }
        if is_command { self.evaluate_command(heard) } else { self.evaluate_data(heard) }
    }

    fn evaluate_command(&self, heard: &Inspected<'_>) -> Verdict {
        if !self.config.events.is_empty() || self.is_of_node_api() {
            NoMatch(Reason::CommandNotAllowed)
        } else if self.config.passthrough || heard.is_well_formed() {
            Allow
        } else {
            Deny(Reason::Malformed)
        }
    }

    fn evaluate_data(&self, heard: &Inspected<'_>) -> Verdict {
        let passthrough = self.config.passthrough;
        // Whether it takes what is no event at all.
        let anything = self.config.events.is_empty() && !self.is_of_node_api();
        match heard.look() {
            PayloadKind::Event { name, .. } if !self.has_event(name) => NoMatch(Reason::EventNotAllowed),
            PayloadKind::Event { api: Some(api), .. } => self.evaluate_node_api(api),
            PayloadKind::Event { .. } if self.is_of_node_api() => NoMatch(Reason::EventNotAllowed),
            PayloadKind::Event { flaw: Some(_), .. } if !passthrough && !anything => {
                NoMatch(Reason::Malformed)
            }
            PayloadKind::Event { .. } => Allow,

            PayloadKind::BatchedNodeApi(_) => Deny(Reason::BatchedNodeApi),
            PayloadKind::Batch(_) if anything => Allow,
            PayloadKind::Batch(_) if self.is_of_node_api() => NoMatch(Reason::EventNotAllowed),
            PayloadKind::Batch(batch) if batch.holds_only(passthrough, &|name| self.has_event(name)) => Allow,
            PayloadKind::Batch(_) => NoMatch(Reason::EventNotAllowed),

            PayloadKind::NoEvent | PayloadKind::NoMessage(_) if anything => Allow,
            PayloadKind::NoEvent => NoMatch(Reason::EventNotAllowed),
            PayloadKind::NoMessage(_) => NoMatch(Reason::Malformed),

            PayloadKind::Opaque(_) if !anything => NoMatch(Reason::Malformed),
            PayloadKind::Opaque(_) if !passthrough => Deny(Reason::Malformed),
            PayloadKind::Opaque(_) if holds_a_name(&heard.envelope.payload) => Deny(Reason::InvalidNodeApi),
            PayloadKind::Opaque(_) => Allow,
        }
    }

    fn evaluate_node_api(&self, api: &NodeApiEvent) -> Verdict {
        if self.is_of_node_api() {
            // What names nobody is not known to be another rule's.
            let Some(message) = api.message().filter(|message| message.nodes() != NamedNodes::Sender(None))
            else {
                return Deny(Reason::InvalidNodeApi);
            };
            if !self.has_nodes(message) {
                return NoMatch(Reason::NodeNotAllowed);
            }
            if !self.has_action(message) {
                return NoMatch(Reason::ActionNotAllowed);
            }
        }
        match api {
            NodeApiEvent::Valid(_) => Allow,
            NodeApiEvent::Invalid(_, Claim::Says(_) | Claim::Nothing) if self.config.passthrough => Allow,
            NodeApiEvent::Invalid(..) => Deny(Reason::InvalidNodeApi),
        }
    }

    /// Whether it has something to say of the node API only.
    fn is_of_node_api(&self) -> bool {
        !self.config.nodes.is_empty() || self.config.actions.is_some()
    }

    fn has_event(&self, name: &[u8]) -> bool {
        self.config.events.is_empty()
            || std::str::from_utf8(name).is_ok_and(|name| matches(&self.config.events, name))
    }

    fn has_nodes(&self, message: &NodeMessage) -> bool {
        let nodes = &self.config.nodes;
        nodes.is_empty()
            || match message.nodes() {
                NamedNodes::Sender(node) => node.is_some_and(|node| matches(nodes, node)),
                NamedNodes::Receivers(all) => !all.is_empty() && all.iter().all(|node| matches(nodes, node)),
            }
    }

    fn has_action(&self, message: &NodeMessage) -> bool {
        let (Some(actions), NodeMessage::Request(request)) = (&self.config.actions, message) else {
            return true;
        };
        let Some((command, given)) = request.command() else { return false };
        let alternatives = actions.get(command).map_or(&[][..], Vec::as_slice);
        alternatives.iter().any(|arguments| allows(arguments, given))
    }
}

/// Whether these arguments match one alternative of a rule.
fn allows(arguments: &Arguments, given: &[String]) -> bool {
    let Arguments { patterns, rest } = arguments;
    let given_or_empty = given.iter().map(String::as_str).chain(std::iter::repeat(""));
    (*rest || given.len() <= patterns.len())
        && patterns.iter().zip(given_or_empty).all(|(glob, name)| matches(std::slice::from_ref(glob), name))
}

fn matches(globs: &[Glob], name: &str) -> bool {
    name.len() <= MAX_NAME && globs.iter().any(|glob| glob.matches(name))
}
