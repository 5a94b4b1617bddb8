//! One rule, and its verdict on a message.

use std::cell::OnceCell;

use Verdict::{Allow, Deny, NoMatch};

use super::MAX_NAME;
use super::denial::{Fault, Reason};
use super::node_events::{Interpretation, NodeApiEvent, contains_name};
use super::payload::PayloadKind;
use crate::bridge::config::{Arguments, Glob, IdentityPattern, RuleConfig};
use crate::data::{Filter, Topic};
use crate::endpoint::Candidate;
use crate::management::{NamedNodes, NodeMessage};
use crate::wire::{Envelope, EnvelopeType, Limits, ValueRef};
use crate::zeromq::topics;

/// A rule, with its topics as a filter.
#[derive(Debug)]
pub(super) struct Rule {
    topics: Filter,
    config: RuleConfig,
}

/// The verdict of a rule on a message.
pub(super) enum Verdict {
    /// The rule allows the message.
    Allow,
    /// The rule does not match the message. The next rule is evaluated.
    NoMatch(Reason),
    /// The rule matches the message, but the message is invalid. No later rule is evaluated.
    Deny(Reason),
}

/// A message. Its payload is inspected at most once, when a rule needs it for the first time.
pub(super) struct Inspected<'a> {
    pub(super) envelope: &'a Envelope,
    limits: Limits,
    payload: OnceCell<PayloadKind<'a>>,
    command: OnceCell<Option<Fault>>,
    /// The other form of the topic, with dots instead of slashes or the reverse. `None` if the topic has only one.
    other_topic: OnceCell<Option<Topic>>,
}

impl<'a> Inspected<'a> {
    pub(super) fn new(envelope: &'a Envelope, limits: &Limits) -> Self {
        Inspected {
            envelope,
            limits: *limits,
            payload: OnceCell::new(),
            command: OnceCell::new(),
            other_topic: OnceCell::new(),
        }
    }

    fn other_topic(&self) -> Option<&Topic> {
        let topic = &self.envelope.topic;
        let translate = || topics::to_dots(topic).or_else(|| topics::to_slashes(topic));
        self.other_topic.get_or_init(translate).as_ref()
    }

    /// Returns whether the message is a valid event with one of these names.
    pub(super) fn is_event(&self, names: &[&[u8]]) -> bool {
        self.envelope.kind == EnvelopeType::Data
            && matches!(self.payload(), PayloadKind::Event { name, flaw: None, .. } if names.contains(name))
    }

    /// Returns the arguments of an event that has exactly two strings as arguments.
    pub(super) fn two_strings(&self) -> Option<[&'a [u8]; 2]> {
        let PayloadKind::Event { args: Some(ValueRef::Vector(args)), .. } = self.payload() else {
            return None;
        };
        let mut args = args.clone();
        match (args.next(), args.next(), args.next()) {
            (Some(ValueRef::String(one)), Some(ValueRef::String(other)), None) => Some([one, other]),
            _ => None,
        }
    }

    /// Decides whether the message, which a rule allows, may enter or leave a ZeroMQ cluster. A batch is
    /// allowed: the encoder leaves out its events that must not cross.
    pub(super) fn evaluate_crossing(&self) -> Verdict {
        let is_data = self.envelope.kind == EnvelopeType::Data;
        let event = match is_data.then(|| self.payload()) {
            Some(PayloadKind::Event { name, .. }) => *name,
            // A lenient receiver could find an event in the payload.
            Some(PayloadKind::Undecodable(_)) => return Deny(Reason::Malformed),
            _ => b"",
        };
        if topics::crosses(&self.envelope.topic, event) { Allow } else { NoMatch(Reason::ClusterOnly) }
    }

    fn payload(&self) -> &PayloadKind<'a> {
        self.payload.get_or_init(|| PayloadKind::of(self.envelope, &self.limits))
    }

    fn is_valid_command(&self) -> bool {
        let check = || self.envelope.check(&self.limits).err().map(Fault::Decode);
        self.command.get_or_init(check).is_none()
    }

    /// Returns the results of the inspections so far: the kind of a data payload, and the fault of a command.
    pub(super) fn into_results(self) -> (Option<PayloadKind<'a>>, Option<Fault>) {
        (self.payload.into_inner(), self.command.into_inner().flatten())
    }
}

impl Rule {
    pub(super) fn new(config: &RuleConfig) -> Self {
        Rule { topics: config.topics.iter().cloned().collect(), config: config.clone() }
    }

    /// Returns the names of the links in `from` and in `to`.
    pub(super) fn links(&self) -> [&[String]; 2] {
        [&self.config.from, &self.config.to]
    }

    pub(super) fn topics(&self) -> &[Topic] {
        self.topics.topics()
    }

    /// Returns whether the rule applies to a peer with these properties.
    pub(super) fn applies_to(&self, peer: &Candidate<'_>) -> bool {
        IdentityPattern::allow(&self.config.identities, peer)
    }

    pub(super) fn covers(&self, topic: &Topic) -> bool {
        self.topics.matches(topic)
    }

    /// Returns whether the rule covers the topic of a message. With `maps_topics`, it may cover either form of the topic.
    pub(super) fn covers_message(&self, message: &Inspected<'_>, maps_topics: bool) -> bool {
        self.covers(&message.envelope.topic)
            || maps_topics && message.other_topic().is_some_and(|topic| self.covers(topic))
    }

    /// Returns whether the rule can match an event of this name under this topic.
    pub(super) fn may_match(&self, topic: &Topic, event: &str) -> bool {
        let events = &self.config.events;
        self.covers(topic)
            && !self.config.commands
            && (events.is_empty() || events.iter().any(|glob| glob.matches(event)))
    }

    /// Evaluates the rule for a message that matches one of the rule's topics. `applies` is the result of
    /// [`Rule::applies_to`] for the sender.
    ///
    /// All checks that do not need the payload are made before the payload is inspected.
    pub(super) fn evaluate(&self, message: &Inspected<'_>, applies: bool) -> Verdict {
        let is_command = match message.envelope.kind {
            EnvelopeType::Data => false,
            EnvelopeType::Command => true,
            _ => return NoMatch(Reason::NoRule),
        };
        match (is_command, self.config.commands) {
            (true, false) => return NoMatch(Reason::CommandNotAllowed),
            (false, true) => return NoMatch(Reason::DataNotAllowed),
            _ if !applies => return NoMatch(Reason::IdentityNotAllowed),
            _ => {}
        }
        if is_command { self.evaluate_command(message) } else { self.evaluate_data(message) }
    }

    fn evaluate_command(&self, message: &Inspected<'_>) -> Verdict {
        if !self.config.events.is_empty() || self.is_for_node_api() {
            NoMatch(Reason::CommandNotAllowed)
        } else if self.config.passthrough || message.is_valid_command() {
            Allow
        } else {
            Deny(Reason::Malformed)
        }
    }

    fn evaluate_data(&self, message: &Inspected<'_>) -> Verdict {
        let passthrough = self.config.passthrough;
        // True if the rule matches payloads that are not events.
        let any_payload = self.config.events.is_empty() && !self.is_for_node_api();
        match message.payload() {
            PayloadKind::Event { name, .. } if !self.has_event(name) => NoMatch(Reason::EventNotAllowed),
            PayloadKind::Event { node_api: Some(event), .. } => self.evaluate_node_event(event),
            PayloadKind::Event { .. } if self.is_for_node_api() => NoMatch(Reason::EventNotAllowed),
            PayloadKind::Event { flaw: Some(_), .. } if !passthrough && !any_payload => {
                NoMatch(Reason::Malformed)
            }
            PayloadKind::Event { .. } => Allow,

            PayloadKind::BatchedNodeApi(_) => Deny(Reason::BatchedNodeApi),
            PayloadKind::Batch(_) if any_payload => Allow,
            PayloadKind::Batch(_) if self.is_for_node_api() => NoMatch(Reason::EventNotAllowed),
            PayloadKind::Batch(batch) if batch.contains_only(passthrough, &|name| self.has_event(name)) => {
                Allow
            }
            PayloadKind::Batch(_) => NoMatch(Reason::EventNotAllowed),

            PayloadKind::OtherMessage | PayloadKind::NotMessage(_) if any_payload => Allow,
            PayloadKind::OtherMessage => NoMatch(Reason::EventNotAllowed),
            PayloadKind::NotMessage(_) => NoMatch(Reason::Malformed),

            PayloadKind::Undecodable(_) if !any_payload => NoMatch(Reason::Malformed),
            PayloadKind::Undecodable(_) if !passthrough => Deny(Reason::Malformed),
            // A lenient receiver could find an event of the node API in the payload. No rule has checked this event.
            PayloadKind::Undecodable(_) if contains_name(&message.envelope.payload) => {
                Deny(Reason::InvalidNodeApi)
            }
            PayloadKind::Undecodable(_) => Allow,
        }
    }

    fn evaluate_node_event(&self, event: &NodeApiEvent) -> Verdict {
        if self.is_for_node_api() {
            // If the nodes of an event are unknown, no later rule can be matched either, so deny the message here.
            let message = event.message().filter(|message| message.nodes() != NamedNodes::Sender(None));
            let Some(message) = message else { return Deny(Reason::InvalidNodeApi) };
            if !self.has_nodes(message) {
                return NoMatch(Reason::NodeNotAllowed);
            }
            if !self.has_action(message) {
                return NoMatch(Reason::ActionNotAllowed);
            }
        }
        match event {
            NodeApiEvent::Valid(_) => Allow,
            NodeApiEvent::Invalid(_, Interpretation::Accepted(_) | Interpretation::Dropped)
                if self.config.passthrough =>
            {
                Allow
            }
            NodeApiEvent::Invalid(..) => Deny(Reason::InvalidNodeApi),
        }
    }

    /// Returns whether the rule matches events of the node API only.
    fn is_for_node_api(&self) -> bool {
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
        let Some((command, args)) = request.command() else { return false };
        let alternatives = actions.get(command).map_or(&[][..], Vec::as_slice);
        alternatives.iter().any(|arguments| allows(arguments, args))
    }
}

/// Returns whether arguments match an alternative of a rule. Missing arguments count as empty.
fn allows(arguments: &Arguments, args: &[String]) -> bool {
    let Arguments { patterns, rest } = arguments;
    let args_or_empty = args.iter().map(String::as_str).chain(std::iter::repeat(""));
    (*rest || args.len() <= patterns.len())
        && patterns.iter().zip(args_or_empty).all(|(glob, arg)| matches(std::slice::from_ref(glob), arg))
}

fn matches(globs: &[Glob], name: &str) -> bool {
    name.len() <= MAX_NAME && globs.iter().any(|glob| glob.matches(name))
}
