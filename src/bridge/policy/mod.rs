//! Rules: decide which messages are forwarded from one link to another.
//!
//! A message is forwarded only if a rule allows it. For each target link, the first rule in the file that *matches* the
//! message decides. A rule matches if all of these conditions match. They are checked in this order:
//!
//! | key of the rule | matches if |
//! | --- | --- |
//! | `from`, `to` | the message was received over a link in `from`, and the target is a link in `to`. Never if the two links are in one group, or if they are the same link and this link is not a hub |
//! | `topics` | one of the topics is a string prefix of the message's topic. If the source or the target is a ZeroMQ link with `map_topics`, it may also be a prefix of the other form of the topic, with dots or with slashes |
//! | `commands` | if set, the message is a data-store command; otherwise, it is data |
//! | `identities` | the key is absent, or one of the identities matches the peer: its certificate, its token, its CURVE key, or its address |
//! | `events` | the key is absent, or the message is an event whose name matches, or a batch that contains only such events |
//! | `nodes` | the key is absent, or the message is an event of the node API whose nodes match: the node of a hello or response, or all nodes that a request names (a request without names does not match) |
//! | `actions` | the key is absent, or the message is a hello or response, or it is a request whose command is in the table and whose arguments match one of the alternatives |
//!
//! In `actions`, each alternative has one pattern for each argument. A request with more arguments matches only if the
//! alternative ends with `...`. (Zeek's own action ignores additional arguments, but actions of other nodes may use
//! them.)
//!
//! | `get_id_value =` | allows |
//! | --- | --- |
//! | `["Site::*", "Cluster::node"]` | one argument, which matches one of the two patterns |
//! | `[["Site::*", "json"], ["Cluster::*", "..."]]` | two arguments, which match `Site::*` and `json`; or a first argument that matches `Cluster::*`, and any number of additional arguments |
//! | `[[]]` | no arguments |
//! | `"..."` | any arguments |
//!
//! A missing argument counts as empty text. So `["*"]` allows `get_id_value` without a name, and `["Cluster::*"]` does
//! not. Globs are case-sensitive, as names in Zeek are. They do not match text of more than [`MAX_NAME`] bytes.
//!
//! A message that matches a rule must also be valid. Otherwise it is denied, and no later rule is evaluated:
//! - An event of the node API must have the form that Zeek writes, and the arguments of its declaration. A response
//!   must contain the name of its node, and the same request id outside and inside the result. The data of a result
//!   must be a string or none. Neither the bridge nor the agent checks that the string is JSON; the final receiver
//!   does.
//! - Other data must be a value within the limits. A rule with `events` matches only Zeek messages.
//! - A command must be well-formed.
//!
//! No rule allows the events with which the nodes of a ZeroMQ cluster find each other, and the topics of node ids, to enter or
//! leave the cluster. Within the cluster whose proxy is the bridge, a hello needs no rule if its arguments are only the name of a node
//! and the sender's own id. It may have metadata, but its length is limited. The name and the id are not authenticated.
//!
//! A rule with `passthrough` also allows invalid messages. The bridge still decodes them as far as possible: see
//! [`Decision::node`].
//!
//! Receivers may be more lenient than this crate. Zeek ignores superfluous elements of events. Up to 6.0, it also
//! ignores the version of the message, and other messages in a batch. So every message that any receiver could
//! interpret as an event of the node API is treated as such an event, and must be valid:
//!
//! - A batch with such an event is denied by every rule, because Zeek never sends these events in a batch.
//! - A payload that cannot be decoded is denied, even with `passthrough`, if it contains the name of such an event.

mod denial;
mod event_class;
mod node_events;
mod payload;
mod peer_policy;
mod rule;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::as_conversions)]
mod tests;

pub(super) use denial::shown;
pub(crate) use denial::{Denial, Reason, Refusal};
pub(crate) use event_class::EventClass;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use peer_policy::Decision;
pub(crate) use peer_policy::PeerPolicy;

use std::sync::Arc;

use super::config::RuleConfig;
use super::{LinkId, RuleId};
use crate::data::{Filter, Topic};
use crate::endpoint::Candidate;
use crate::zeromq::topics::{NODE_ID_TOPICS, covering};
use rule::{Inspected, Rule};

/// Maximum length in bytes of a name that a glob can match. The limit prevents a peer from keeping the bridge busy with
/// long names. Zeek's names are far shorter.
pub(crate) const MAX_NAME: usize = 1024;

/// The events with which the nodes of a ZeroMQ cluster find each other.
const HELLOS: [&[u8]; 2] = [b"Cluster::Backend::ZeroMQ::hello", b"Cluster::hello"];

/// Maximum length in bytes of the name and the id in a hello that needs no rule, and of the id in its topic. Zeek's names and ids are far
/// shorter.
const MAX_HELLO: usize = 1024;

/// Maximum length in bytes of the payload of a hello that needs no rule. It leaves room for metadata.
const MAX_HELLO_PAYLOAD: usize = 2 * MAX_HELLO;

/// The rules of a bridge. Clones share the same data.
#[derive(Clone, Debug)]
pub(crate) struct Rules(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    rules: Vec<Rule>,
    /// The index is the [`LinkId`] of the link over which a message was received.
    links: Vec<Source>,
}

/// A link over which messages are received.
#[derive(Debug, Default)]
struct Source {
    zeromq: Option<ZeroMqSide>,
    /// The possible routes of a message.
    routes: Vec<Route>,
}

/// Links to which the same rules apply.
#[derive(Debug)]
struct Route {
    to: Vec<LinkId>,
    /// The rules in the order of the file. The list is not empty.
    rules: Vec<RuleId>,
    crossing: Crossing,
}

/// The properties of a route that depend on whether its two ends are ZeroMQ links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Crossing {
    /// Whether the topics of rules match both forms of a topic.
    maps_topics: bool,
    /// Whether the route leads into a ZeroMQ cluster, or out of one. The events with which the nodes of a cluster find each other
    /// are not forwarded on such a route.
    leaves_cluster: bool,
}

/// The properties of a link that rules depend on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RuleLink<'a> {
    pub(super) name: &'a str,
    pub(super) hub: bool,
    pub(super) group: Option<&'a str>,
    /// `None` for a link of another protocol.
    pub(super) zeromq: Option<ZeroMqSide>,
}

/// The properties of a ZeroMQ link that rules depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ZeroMqSide {
    pub(crate) maps_topics: bool,
    /// Whether the link is the proxy of the cluster.
    pub(crate) is_proxy: bool,
}

impl RuleLink<'_> {
    /// Returns whether both links are in the same group. No message is forwarded between such links.
    fn shares_group(&self, other: &RuleLink<'_>) -> bool {
        self.group.is_some() && self.group == other.group
    }

    fn crossing_to(&self, target: &RuleLink<'_>, is_same: bool) -> Crossing {
        let ends = [self.zeromq, target.zeromq];
        Crossing {
            maps_topics: ends.iter().flatten().any(|zeromq| zeromq.maps_topics),
            leaves_cluster: !is_same && ends.iter().any(Option::is_some),
        }
    }
}

impl Rules {
    /// Compiles rules for links without groups. Each link is a pair of its name and whether it is a hub. If a rule
    /// names a link that does not exist, this name is ignored.
    pub(crate) fn new<'a>(links: impl IntoIterator<Item = (&'a str, bool)>, rules: &[RuleConfig]) -> Self {
        Self::of_links(
            links.into_iter().map(|(name, hub)| RuleLink { name, hub, ..RuleLink::default() }),
            rules,
        )
    }

    /// Like [`Rules::new`], for links that may have groups. Messages that are received over a link of a group are not
    /// forwarded to any link of this group.
    pub(super) fn of_links<'a>(links: impl Iterator<Item = RuleLink<'a>>, rules: &[RuleConfig]) -> Self {
        let links: Vec<_> = links.collect();
        let contains = |names: &[String], link: &str| names.iter().any(|name| name == link);
        let routes = |(from, source): (usize, &RuleLink<'_>)| {
            let mut routes: Vec<Route> = Vec::new();
            let is_reached = |(to, target): &(usize, &RuleLink<'_>)| {
                (*to != from || source.hub) && !source.shares_group(target)
            };
            for (to, target) in links.iter().enumerate().filter(is_reached) {
                let applies =
                    |rule: &RuleConfig| contains(&rule.from, source.name) && contains(&rule.to, target.name);
                let numbered = rules.iter().enumerate();
                let rules: Vec<_> =
                    numbered.filter(|(_, rule)| applies(rule)).map(|(index, _)| RuleId(index)).collect();
                let crossing = source.crossing_to(target, to == from);
                let same = |route: &&mut Route| route.rules == rules && route.crossing == crossing;
                match routes.iter_mut().find(same) {
                    _ if rules.is_empty() => {}
                    Some(route) => route.to.push(LinkId(to)),
                    None => routes.push(Route { to: vec![LinkId(to)], rules, crossing }),
                }
            }
            Source { zeromq: source.zeromq, routes }
        };
        Rules(Arc::new(Compiled {
            links: links.iter().enumerate().map(routes).collect(),
            rules: rules.iter().map(Rule::new).collect(),
        }))
    }

    /// Returns the pairs of links between which a message can be forwarded: first the link over which it is received. Includes the
    /// pair of each proxy of a ZeroMQ cluster with itself, because its nodes exchange hellos without a rule.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (LinkId, LinkId)> {
        self.0.links.iter().enumerate().flat_map(|(from, source)| {
            let from = LinkId(from);
            let own = source.zeromq.filter(|zeromq| zeromq.is_proxy).map(|_| from);
            let to = source.routes.iter().flat_map(|route| &route.to).copied();
            to.chain(own).map(move |to| (from, to))
        })
    }

    /// Returns whether a rule can allow messages to be forwarded from one link to another.
    pub(crate) fn connects(&self, from: LinkId, to: LinkId) -> bool {
        self.0.routes(from).iter().any(|route| route.to.contains(&to))
    }

    /// Returns the names of the links in `from` and in `to` of a rule.
    pub(crate) fn links_of(&self, rule: RuleId) -> [&[String]; 2] {
        self.0.rules.get(rule.0).map(Rule::links).unwrap_or_default()
    }

    /// Returns the topics to subscribe to on a link: the topics of all rules that can allow a message received on this
    /// link.
    ///
    /// On a ZeroMQ link, the topics of node ids are left out: the nodes would treat each subscriber as a node. On the proxy of a
    /// cluster, the topics of rules between its own peers are left out too: the publishers receive the subscriptions of the
    /// subscribers.
    pub(crate) fn filter(&self, from: LinkId) -> Filter {
        let Some(source) = self.0.links.get(from.0) else { return Filter::new() };
        let is_proxy = source.zeromq.is_some_and(|zeromq| zeromq.is_proxy);
        let routes = source.routes.iter().filter(|route| !is_proxy || route.crossing.leaves_cluster);
        let topics = routes.flat_map(|route| {
            let rules = route.rules.iter().filter_map(|rule| self.0.rules.get(rule.0));
            rules.flat_map(Rule::topics).flat_map(|topic| {
                let other = if route.crossing.maps_topics { covering(topic) } else { Vec::new() };
                other.into_iter().chain([topic.clone()])
            })
        });
        let is_zeromq = source.zeromq.is_some();
        topics
            .filter(|topic| !is_zeromq || !topic.as_bytes().starts_with(NODE_ID_TOPICS.as_bytes()))
            .collect()
    }

    /// Returns whether any rule can allow an event of this name, under this topic, to reach a link.
    pub(crate) fn may_reach(&self, to: LinkId, topic: &Topic, event: &str) -> bool {
        let routes = self.0.links.iter().flat_map(|source| &source.routes);
        let routes = routes.filter(|route| route.to.contains(&to));
        let mut rules = routes.flat_map(|route| &route.rules).filter_map(|rule| self.0.rules.get(rule.0));
        rules.any(|rule| rule.may_match(topic, event))
    }

    /// Returns the rules for a peer of the link `from`. Call this once for each peering, and again when the rules change.
    pub(crate) fn for_peer(&self, from: LinkId, peer: &Candidate<'_>) -> PeerPolicy {
        PeerPolicy::new(self.0.clone(), from, peer)
    }
}

impl Compiled {
    fn routes(&self, from: LinkId) -> &[Route] {
        self.links.get(from.0).map_or(&[], |source| source.routes.as_slice())
    }

    /// If a message is a hello between two nodes of the cluster whose proxy is the link `from`, returns whether it needs no rule.
    /// `sender` is the exact text of its sender.
    ///
    /// Without hellos, nodes do not find each other. A peer that no rule allows to send anything must not be able to
    /// send data as a hello. So the arguments are exactly two strings, the name of a node and the id of the sender, and the length of the
    /// hello, with its metadata, is limited.
    fn hello(&self, from: LinkId, message: &Inspected<'_>, sender: Option<&[u8]>) -> Option<bool> {
        let zeromq = self.links.get(from.0).and_then(|source| source.zeromq);
        let receiver = message.envelope.topic.as_bytes().strip_prefix(NODE_ID_TOPICS.as_bytes())?;
        if !zeromq.is_some_and(|zeromq| zeromq.is_proxy) || !message.is_event(&HELLOS) {
            return None;
        }
        let is_receiver_valid =
            matches!(receiver.strip_suffix(b"."), Some([_, ..])) && receiver.len() <= MAX_HELLO;
        let is_content_valid = message
            .two_strings()
            .is_some_and(|[name, id]| name.len().saturating_add(id.len()) <= MAX_HELLO && sender == Some(id));
        let is_short = message.envelope.payload.len() <= MAX_HELLO_PAYLOAD;
        Some(is_receiver_valid && is_content_valid && is_short)
    }
}
