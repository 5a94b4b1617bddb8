//! Rules: decide which messages are forwarded from one link to another.
//!
//! A message is forwarded only if a rule allows it. For each link that a message may go to, the first rule of the file
//! that *matches* it decides. All of these conditions have to match, and are checked in this order:
//!
//! | of the rule | matches if |
//! | --- | --- |
//! | `from`, `to` | the message was received over a link in `from` and may go to a link in `to` of another group; to the same link on a hub only |
//! | `topics` | one of them is a string prefix of the message's topic |
//! | `commands` | the message is a data-store command; if not set, the message is data |
//! | `identities` | there are none, or one matches the peer's certificate |
//! | `events` | there are none, or the message is an event with such a name, or a batch of such events only |
//! | `nodes` | there are none, or the message is an event of the node API: a hello or response of such a node, or a request that names nodes, and only such |
//! | `actions` | there are none, or the message is an event of the node API; if it is a request, its command is in the table and its arguments match one of the alternatives there |
//!
//! In `actions`, each alternative has a pattern for each argument. A request with more arguments does not match
//! (Zeek's own action ignores further arguments, but actions of other nodes may not) unless the alternative ends with `...`:
//!
//! | `get_id_value =` | allows |
//! | --- | --- |
//! | `["Site::*", "Cluster::node"]` | one argument, which matches one of the two |
//! | `[["Site::*", "json"], ["Cluster::*", "..."]]` | either two arguments, which match `Site::*` and `json`; or a first that matches `Cluster::*` and any others |
//! | `[[]]` | no arguments |
//! | `"..."` | any arguments |
//!
//! A missing argument counts as empty: `["Cluster::*"]` does not allow `get_id_value` without a name, `["*"]` does. Globs are
//! case-sensitive, as names in Zeek are. They match text of at most [`MAX_NAME`] bytes only.
//!
//! A message that matches a rule also has to be valid. Otherwise it is denied, and no later rule is evaluated:
//! - an event of the node API has the form that Zeek writes, the arguments of its declaration, and in a response the name of
//!   the node and the same request id outside and inside the result. The data of a result is a string or none; the receiver
//!   checks that it is JSON, which the agent does not;
//! - other data is a value within the limits; for a rule with `events`, a Zeek message (otherwise the rule does not match);
//! - a command is well-formed.
//!
//! A rule with `passthrough` also allows invalid messages. They are still decoded as far as possible: see [`Decision::node`].
//!
//! Receivers may be more lenient than this crate: Zeek ignores superfluous elements of events and, up to 6.0, the version of
//! the message and other messages in a batch. So a message that any receiver could take for an event of the node API is treated
//! as one, and has to be valid. In a batch, where Zeek never puts such events, every rule denies it. A payload that cannot be
//! decoded is denied even with `passthrough` if it contains the name of such an event.

mod denial;
mod node_events;
mod payload;
mod peer_policy;
mod rule;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::as_conversions)]
mod tests;

pub(super) use denial::quoted;
pub(crate) use denial::{Denial, Reason};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use peer_policy::Decision;
pub(crate) use peer_policy::PeerPolicy;

use std::sync::Arc;

use super::config::RuleConfig;
use super::{LinkId, RuleId};
use crate::data::{Filter, Topic};
use crate::net::tls::PeerIdentity;
use rule::Rule;

/// Maximum length of a name that globs match, in bytes. It bounds the time that a peer's names can cost; Zeek's names are far
/// shorter.
pub(crate) const MAX_NAME: usize = 1024;

/// The rules of a bridge. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Rules(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    rules: Vec<Rule>,
    /// By the [`LinkId`] of the link that a message was received over.
    links: Vec<Vec<Route>>,
}

/// Links to which the same rules apply.
#[derive(Debug)]
struct Route {
    to: Vec<LinkId>,
    /// In the order of the file; not empty.
    rules: Vec<RuleId>,
}

/// The properties of a link that rules depend on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RuleLink<'a> {
    pub(super) name: &'a str,
    pub(super) hub: bool,
    pub(super) group: Option<&'a str>,
}

impl RuleLink<'_> {
    /// Returns whether both are in the same group, so that no message passes between them.
    fn shares_group(&self, other: &RuleLink<'_>) -> bool {
        self.group.is_some() && self.group == other.group
    }
}

impl Rules {
    /// Compiles rules for links without groups, given as name and whether the link is a hub. Names in rules that no link has
    /// are ignored.
    pub(crate) fn new<'a>(links: impl IntoIterator<Item = (&'a str, bool)>, rules: &[RuleConfig]) -> Self {
        Self::of_links(links.into_iter().map(|(name, hub)| RuleLink { name, hub, group: None }), rules)
    }

    /// Like [`Rules::new`]. Messages that are received over a link with a group go to no link of that group.
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
                match routes.iter_mut().find(|route| route.rules == rules) {
                    _ if rules.is_empty() => {}
                    Some(route) => route.to.push(LinkId(to)),
                    None => routes.push(Route { to: vec![LinkId(to)], rules }),
                }
            }
            routes
        };
        Rules(Arc::new(Compiled {
            links: links.iter().enumerate().map(routes).collect(),
            rules: rules.iter().map(Rule::new).collect(),
        }))
    }

    /// Returns the topics to subscribe to on a link: those of all rules that can allow a message received there.
    pub(crate) fn filter(&self, from: LinkId) -> Filter {
        let rules = self.0.routes(from).iter().flat_map(|route| &route.rules);
        rules.filter_map(|rule| self.0.rules.get(rule.0)).flat_map(Rule::topics).cloned().collect()
    }

    /// Returns whether any rule can allow an event of this name, under this topic, to reach a link.
    pub(crate) fn may_reach(&self, to: LinkId, topic: &Topic, event: &str) -> bool {
        let routes = self.0.links.iter().flatten().filter(|route| route.to.contains(&to));
        let mut rules = routes.flat_map(|route| &route.rules).filter_map(|rule| self.0.rules.get(rule.0));
        rules.any(|rule| rule.may_match(topic, event))
    }

    /// Returns the rules for a peer of the link `from`, with its certificate's `identity`. Call this once for each peering, and
    /// again when the rules change.
    pub(crate) fn for_peer(&self, from: LinkId, identity: Option<&PeerIdentity>) -> PeerPolicy {
        PeerPolicy::new(self.0.clone(), from, identity)
    }
}

impl Compiled {
    fn routes(&self, from: LinkId) -> &[Route] {
        self.links.get(from.0).map_or(&[], Vec::as_slice)
    }
}
