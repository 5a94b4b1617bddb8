//! One rule, and whether a message fits it.

use std::cell::OnceCell;

use super::super::config::{Arguments, Glob, IdentityPattern, RuleConfig};
use super::MAX_NAME;
use super::look::Look;
use super::node_api::{Claim, NodeApi, holds_a_name};
use super::refusal::{Fault, Reason};
use crate::data::{Filter, Topic};
use crate::management::NodeMessage;
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
    Pass,
    /// Nothing: it does not fit.
    Unfit(Reason),
    /// It fits, and is not valid.
    Refused(Reason),
}

use Verdict::{Pass, Refused, Unfit};

/// A message, looked at no sooner than a rule asks.
pub(super) struct Heard<'a> {
    pub(super) envelope: &'a Envelope,
    limits: Limits,
    look: OnceCell<Look<'a>>,
    command: OnceCell<Option<Fault>>,
}

impl<'a> Heard<'a> {
    pub(super) fn new(envelope: &'a Envelope, limits: &Limits) -> Self {
        Heard { envelope, limits: *limits, look: OnceCell::new(), command: OnceCell::new() }
    }

    fn look(&self) -> &Look<'a> {
        self.look.get_or_init(|| Look::at(self.envelope, &self.limits))
    }

    /// Whether a command is one.
    fn is_well_formed(&self) -> bool {
        let check = || self.envelope.check(&self.limits).err().map(Fault::Decode);
        self.command.get_or_init(check).is_none()
    }

    /// What was seen, if anybody asked: as data, as a command.
    pub(super) fn into_seen(self) -> (Option<Look<'a>>, Option<Fault>) {
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
    pub(super) fn judge(&self, heard: &Heard<'_>, admitted: bool) -> Verdict {
        let is_command = match heard.envelope.kind {
            EnvelopeType::Data => false,
            EnvelopeType::Command => true,
            _ => return Unfit(Reason::NoRule),
        };
        match (is_command, self.config.commands) {
            (true, false) => return Unfit(Reason::CommandNotAllowed),
            (false, true) => return Unfit(Reason::DataNotAllowed),
            _ if !admitted => return Unfit(Reason::IdentityNotAllowed),
            _ => {}
        }
        if is_command { self.judge_command(heard) } else { self.judge_data(heard) }
    }

    fn judge_command(&self, heard: &Heard<'_>) -> Verdict {
        if !self.config.events.is_empty() || self.is_of_node_api() {
            Unfit(Reason::CommandNotAllowed)
        } else if self.config.passthrough || heard.is_well_formed() {
            Pass
        } else {
            Refused(Reason::Malformed)
        }
    }

    fn judge_data(&self, heard: &Heard<'_>) -> Verdict {
        let passthrough = self.config.passthrough;
        // Whether it takes what is no event at all.
        let anything = self.config.events.is_empty() && !self.is_of_node_api();
        match heard.look() {
            Look::Event { name, .. } if !self.has_event(name) => Unfit(Reason::EventNotAllowed),
            Look::Event { api: Some(api), .. } => self.judge_node_api(api),
            Look::Event { .. } if self.is_of_node_api() => Unfit(Reason::EventNotAllowed),
            Look::Event { flaw: Some(_), .. } if !passthrough && !anything => Unfit(Reason::Malformed),
            Look::Event { .. } => Pass,

            Look::BatchedNodeApi(_) => Refused(Reason::BatchedNodeApi),
            Look::Batch(_) if anything => Pass,
            Look::Batch(_) if self.is_of_node_api() => Unfit(Reason::EventNotAllowed),
            Look::Batch(batch) if batch.holds_only(passthrough, &|name| self.has_event(name)) => Pass,
            Look::Batch(_) => Unfit(Reason::EventNotAllowed),

            Look::NoEvent | Look::NoMessage(_) if anything => Pass,
            Look::NoEvent => Unfit(Reason::EventNotAllowed),
            Look::NoMessage(_) => Unfit(Reason::Malformed),

            Look::Opaque(_) if !anything => Unfit(Reason::Malformed),
            Look::Opaque(_) if !passthrough => Refused(Reason::Malformed),
            Look::Opaque(_) if holds_a_name(&heard.envelope.payload) => Refused(Reason::InvalidNodeApi),
            Look::Opaque(_) => Pass,
        }
    }

    fn judge_node_api(&self, api: &NodeApi) -> Verdict {
        if self.is_of_node_api() {
            // What names nobody is not known to be another rule's.
            let Some(message) = api.message().filter(|message| names_somebody(message)) else {
                return Refused(Reason::InvalidNodeApi);
            };
            if !self.has_nodes(message) {
                return Unfit(Reason::NodeNotAllowed);
            }
            if !self.has_action(message) {
                return Unfit(Reason::ActionNotAllowed);
            }
        }
        match api {
            NodeApi::Valid(_) => Pass,
            NodeApi::Invalid(_, Claim::Says(_) | Claim::Nothing) if self.config.passthrough => Pass,
            NodeApi::Invalid(..) => Refused(Reason::InvalidNodeApi),
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
            || match message {
                NodeMessage::Hello(hello) => matches(nodes, &hello.node),
                NodeMessage::Response(response) => {
                    response.result().node().is_some_and(|node| matches(nodes, node))
                }
                NodeMessage::Request(request) => {
                    !request.nodes.is_empty() && request.nodes.iter().all(|node| matches(nodes, node))
                }
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

/// A response might not.
fn names_somebody(message: &NodeMessage) -> bool {
    !matches!(message, NodeMessage::Response(response) if response.result().node().is_none())
}

fn matches(globs: &[Glob], name: &str) -> bool {
    name.len() <= MAX_NAME && globs.iter().any(|glob| glob.matches(name))
}
