//! Rules, messages and certificates for the tests.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::bridge::LinkId;
use crate::bridge::config::{Arguments, Glob, IdentityPattern, RuleConfig};
use crate::bridge::policy::{Decision, Reason, Rules};
use crate::data::{EndpointId, Topic, Value};
use crate::endpoint::Candidate;
use crate::management::{DispatchRequest, DispatchResponse, ManagementResult, NodeMessage, NotifyNodeHello};
use crate::net::tls::PeerIdentity;
use crate::wire::{
    Command, CommandContent, EntityId, Envelope, EnvelopeType, INITIAL_TTL, Limits, encode_value,
};
use crate::zeek::{Event, ZeekMessage};
use bytes::{Bytes, BytesMut};
use rcgen::{CertificateParams, DnType, KeyPair, SanType};

pub(super) const NODE: &str = "zeek/management/node";
pub(super) const HELLO: &str = NotifyNodeHello::NAME;
pub(super) const REQUEST: &str = DispatchRequest::NAME;
pub(super) const RESPONSE: &str = DispatchResponse::NAME;

/// The links of all tests: the name, and whether the link is a hub. A hub also forwards messages between its own peers.
pub(super) const LINKS: [(&str, bool); 4] = [("a", false), ("b", false), ("c", false), ("hub", true)];

/// Returns a rule from `a` to `b` for the topic of the node API, after `change` has changed it.
pub(super) fn rule(change: impl FnOnce(&mut RuleConfig)) -> RuleConfig {
    let mut rule = RuleConfig {
        name: "rule".into(),
        from: vec!["a".into()],
        to: vec!["b".into()],
        topics: vec![Topic::from_static(NODE)],
        events: vec![],
        nodes: vec![],
        actions: None,
        identities: vec![],
        commands: false,
        passthrough: false,
    };
    change(&mut rule);
    rule
}

/// Returns the default rules, for nodes on `a` and agents on `b`.
pub(super) fn default_rules() -> Rules {
    let answers = rule(|rule| rule.events = globs(&[HELLO, RESPONSE]));
    let requests = rule(|rule| {
        (rule.from, rule.to) = (rule.to.clone(), rule.from.clone());
        rule.events = globs(&[REQUEST]);
    });
    Rules::new(LINKS, &[answers, requests])
}

pub(super) fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

pub(super) fn globs(globs: &[&str]) -> Vec<Glob> {
    globs.iter().map(|glob| Glob::new(glob)).collect()
}

/// Returns the table `actions`: commands, each with the alternatives for its only argument.
pub(super) fn actions(actions: &[(&str, &[&str])]) -> Option<BTreeMap<String, Vec<Arguments>>> {
    let one = |pattern: &&str| arguments(&[*pattern]);
    Some(
        actions.iter().map(|(command, args)| (command.to_string(), args.iter().map(one).collect())).collect(),
    )
}

/// Returns an alternative for the arguments of a command. `...` at the end allows more arguments.
pub(super) fn arguments(patterns: &[&str]) -> Arguments {
    match patterns.split_last() {
        Some((&Arguments::REST, before)) => Arguments { patterns: globs(before), rest: true },
        _ => Arguments { patterns: globs(patterns), rest: false },
    }
}

/// Parses `subject:GLOB`; any other pattern is for subjectAltNames.
pub(super) fn identity(pattern: &str) -> IdentityPattern {
    match pattern.split_once(':') {
        Some(("subject", glob)) => IdentityPattern::Subject(Glob::new(glob)),
        _ => IdentityPattern::San(Glob::new(pattern)),
    }
}

/// A certificate with the subject `CN=worker-1,O=Example` and the subjectAltNames `worker-1.example` and 192.0.2.1.
pub(super) static WORKER: LazyLock<PeerIdentity> = LazyLock::new(|| certificate("worker-1", true));
/// A certificate with the subject `CN=worker-2,O=Example` and no subjectAltName.
pub(super) static NAMELESS: LazyLock<PeerIdentity> = LazyLock::new(|| certificate("worker-2", false));

fn certificate(name: &str, sans: bool) -> PeerIdentity {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::CommonName, name);
    if sans {
        params.subject_alt_names = vec![
            SanType::DnsName(format!("{name}.example").try_into().unwrap()),
            SanType::IpAddress("192.0.2.1".parse().unwrap()),
        ];
    }
    PeerIdentity::of(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
}

/// Returns a peer with this certificate.
pub(super) fn by(certificate: Option<&PeerIdentity>) -> Candidate<'_> {
    Candidate { certificate, ..Candidate::default() }
}

/// A received message, by default over `a` and from a peer without a certificate.
#[derive(Clone)]
pub(super) struct Incoming {
    pub(super) link: usize,
    pub(super) identity: Option<&'static PeerIdentity>,
    /// The text of the sender, if the message is from a ZeroMQ link.
    pub(super) sender: Option<&'static str>,
    pub(super) envelope: Envelope,
}

impl Incoming {
    pub(super) fn bytes(topic: &'static str, kind: EnvelopeType, payload: impl Into<Bytes>) -> Self {
        let envelope = Envelope {
            sender: EndpointId::from_bytes([1; 16]),
            receiver: EndpointId::NIL,
            kind,
            ttl: INITIAL_TTL,
            topic: Topic::from_static(topic),
            payload: payload.into(),
        };
        Incoming { link: 0, identity: None, sender: None, envelope }
    }

    pub(super) fn value(value: &Value) -> Self {
        let mut payload = BytesMut::new();
        encode_value(value, &mut payload).unwrap();
        Self::bytes(NODE, EnvelopeType::Data, payload.freeze())
    }

    pub(super) fn message(message: impl Into<ZeekMessage>) -> Self {
        Self::value(&message.into().into_value())
    }

    pub(super) fn over(mut self, link: &str) -> Self {
        self.link = LINKS.iter().position(|(name, _)| *name == link).unwrap();
        self
    }

    pub(super) fn by(mut self, identity: &'static PeerIdentity) -> Self {
        self.identity = Some(identity);
        self
    }

    pub(super) fn on(mut self, topic: &'static str) -> Self {
        self.envelope.topic = Topic::from_static(topic);
        self
    }

    pub(super) fn decision<T>(
        &self,
        rules: &Rules,
        then: impl FnOnce(Vec<(usize, usize)>, Decision<'_>) -> T,
    ) -> T {
        let mut passes = Vec::new();
        let policy = rules.for_peer(LinkId(self.link), &by(self.identity));
        let sender = self.sender.map(str::as_bytes);
        let decision =
            policy.evaluate(&self.envelope, sender, &Limits::DEFAULT, |to, rule| passes.push((to.0, rule.0)));
        assert!(!passes.is_empty() || decision.denial.is_some(), "neither allowed nor denied");
        then(passes, decision)
    }

    /// Returns the links that the message may reach, each with the rule that allows it. If there is none, returns the
    /// reason.
    pub(super) fn outcome(&self, rules: &Rules) -> Result<Vec<(usize, usize)>, Reason> {
        self.decision(rules, |passes, decision| match decision.denial {
            Some(denial) if passes.is_empty() => Err(denial.reason),
            _ => Ok(passes),
        })
    }

    /// Returns the decoded event of the node API in the message.
    pub(super) fn node(&self, rules: &Rules) -> Option<NodeMessage> {
        self.decision(rules, |_, decision| decision.node)
    }
}

pub(super) fn event(name: &str) -> Incoming {
    Incoming::message(Event::new(name, [Value::Count(1)]))
}

pub(super) fn hello(node: &str) -> Incoming {
    Incoming::message(Event::from(NotifyNodeHello { node: node.into() }))
}

pub(super) fn request(action: &[&str], nodes: &[&str]) -> Incoming {
    let nodes = nodes.iter().map(|node| node.to_string()).collect();
    Incoming::message(Event::from(DispatchRequest { reqid: "r".into(), action: names(action), nodes }))
}

pub(super) fn response(node: &str) -> Incoming {
    let result = ManagementResult::success("r", node, Some("1".parse().unwrap()));
    Incoming::message(Event::from(DispatchResponse::from(result)))
}

/// Returns a response with this `Management::Result`.
pub(super) fn response_of(result: Vec<Value>) -> Incoming {
    Incoming::message(Event::new(RESPONSE, ("r", Value::Vector(result))))
}

/// Returns the elements of a valid result.
pub(super) fn result(node: &str) -> Vec<Value> {
    match ManagementResult::success("r", node, None).into() {
        Value::Vector(elements) => elements,
        other => panic!("{other:?}"),
    }
}

pub(super) fn command(topic: &'static str) -> Incoming {
    let mut payload = Vec::new();
    let entity = EntityId::default();
    let content = CommandContent::Clear { publisher: entity };
    Command { sequence: 1, sender: entity, receiver: entity, content }.encode(&mut payload).unwrap();
    Incoming::bytes(topic, EnvelopeType::Command, payload)
}
