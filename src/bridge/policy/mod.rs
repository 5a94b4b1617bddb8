//! Rules: which messages pass from which link to which, and why not.
//!
//! Nothing passes but by a rule. For each link that a message may go to, the first rule of the file that it *fits*
//! decides. All of these have to fit, and are asked in this order:
//!
//! | of the rule | fits if |
//! | --- | --- |
//! | `from`, `to` | the message came over the one and may go to the other, which is not in the same group; to where it came from only on a hub |
//! | `topics` | one of them is a string prefix of the message's topic |
//! | `commands` | the message is a data-store command; without it, if it is data |
//! | `identities` | there are none, or one is that of the peer's certificate |
//! | `events` | there are none, or the message is an event of such a name, or a batch of nothing else |
//! | `nodes` | there are none, or it is an event of the node API: a hello or response of such a node, a request that names nodes, all of them such |
//! | `actions` | there are none, or it is an event of the node API; of a request, the command has to be in the table and its arguments have to match one of the alternatives there |
//!
//! In `actions`, each alternative has a pattern for each argument, and a request with more arguments does not match
//! (Zeek's own action ignores further arguments; a node's own action may not) unless the alternative ends with `...`:
//!
//! | `get_id_value =` | allows |
//! | --- | --- |
//! | `["Site::*", "Cluster::node"]` | one argument, which matches one of the two |
//! | `[["Site::*", "json"], ["Cluster::*", "..."]]` | either two arguments, which match `Site::*` and `json`; or a first that matches `Cluster::*` and any others |
//! | `[[]]` | no arguments |
//! | `"..."` | any arguments |
//!
//! An argument that is not given counts as an empty one: `["Cluster::*"]` allows no `get_id_value` without a name, `["*"]`
//! does. Globs know upper from lower case, as Zeek does. They match text of at most [`MAX_NAME`] bytes only.
//!
//! A message that fits a rule still has to be valid, or it is refused there, and no later rule is asked:
//! - an event of the node API has to be one: in Zeek's form, with the arguments of its declaration, a response with the
//!   name of the node and the same request id inside and outside. Its data is a string or none (that it is JSON is for
//!   the one to say who reads it: the agent does not);
//! - other data has to be a value within the limits, and where a rule has `events`, a message of Zeek's (else it does not fit);
//! - a command has to be one.
//!
//! With `passthrough` it need not. Even so, what can be read in it is read: see [`Decision::node`].
//!
//! Whoever receives may be less strict than this crate: Zeek ignores superfluous elements of events, and up to 6.0 the
//! version of the message, and what else is in a batch. So whatever anybody might take as an event of the node API is taken as one,
//! and has to be valid. In a batch, where Zeek never puts it, it is refused, by every rule. So is a passed-through
//! payload that cannot be read, but holds the name of such an event.

mod denial;
mod identity;
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

/// The most bytes that a name may have to fit a glob. It bounds what a peer's names can cost; Zeek's are far shorter.
pub(crate) const MAX_NAME: usize = 1024;

/// All rules of a bridge. Links and rules go by their place in the configuration. Cloning shares them.
#[derive(Clone, Debug)]
pub(crate) struct Rules(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    rules: Vec<Rule>,
    /// By the link that messages come from.
    links: Vec<Vec<Route>>,
}

/// Links that the same rules lead to.
#[derive(Debug)]
struct Route {
    to: Vec<LinkId>,
    /// In the order of the file; there is at least one.
    rules: Vec<RuleId>,
}

/// A link, as far as rules depend on it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RuleLink<'a> {
    pub(super) name: &'a str,
    pub(super) hub: bool,
    pub(super) group: Option<&'a str>,
}

impl RuleLink<'_> {
    /// Whether both are in one group, so that nothing passes between them.
    fn shares_group(&self, other: &RuleLink<'_>) -> bool {
        self.group.is_some() && self.group == other.group
    }
}

impl Rules {
    /// Compiles rules over links without groups: the name of each, and whether it is a hub. Names that no link has lead
    /// nowhere.
    #[must_use]
    pub(crate) fn new<'a>(links: impl IntoIterator<Item = (&'a str, bool)>, rules: &[RuleConfig]) -> Self {
        Self::of_links(links.into_iter().map(|(name, hub)| RuleLink { name, hub, group: None }), rules)
    }

    /// As [`Rules::new`]. What arrives over a link with a group goes to no link of that group.
    pub(super) fn of_links<'a>(links: impl Iterator<Item = RuleLink<'a>>, rules: &[RuleConfig]) -> Self {
        let links: Vec<_> = links.collect();
        let is_among = |names: &[String], link: &str| names.iter().any(|name| name == link);
        let routes = |(from, source): (usize, &RuleLink<'_>)| {
            let mut routes: Vec<Route> = Vec::new();
            let is_reached = |(to, target): &(usize, &RuleLink<'_>)| {
                (*to != from || source.hub) && !source.shares_group(target)
            };
            for (to, target) in links.iter().enumerate().filter(is_reached) {
                let leads =
                    |rule: &RuleConfig| is_among(&rule.from, source.name) && is_among(&rule.to, target.name);
                let numbered = rules.iter().enumerate();
                let rules: Vec<_> =
                    numbered.filter(|(_, rule)| leads(rule)).map(|(index, _)| RuleId(index)).collect();
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

    /// What to announce on a link: the topics of all rules by which something may pass from there.
    #[must_use]
    pub(crate) fn filter(&self, from: LinkId) -> Filter {
        let rules = self.0.routes(from).iter().flat_map(|route| &route.rules);
        rules.filter_map(|rule| self.0.rules.get(rule.0)).flat_map(Rule::topics).cloned().collect()
    }

    /// Whether an event of this name may come to a link at all, under this topic.
    #[must_use]
    pub(crate) fn may_reach(&self, to: LinkId, topic: &Topic, event: &str) -> bool {
        let routes = self.0.links.iter().flatten().filter(|route| route.to.contains(&to));
        let mut rules = routes.flat_map(|route| &route.rules).filter_map(|rule| self.0.rules.get(rule.0));
        rules.any(|rule| rule.is_about(topic, event))
    }

    /// The rules as they are for a peer of the link `from`; `identity` by its certificate, if it showed one. To be made
    /// once for each peering, and anew when there are new rules.
    #[must_use]
    pub(crate) fn for_peer(&self, from: LinkId, identity: Option<&PeerIdentity>) -> PeerPolicy {
        PeerPolicy::new(self.0.clone(), from, identity)
    }
}

impl Compiled {
    fn routes(&self, from: LinkId) -> &[Route] {
        self.links.get(from.0).map_or(&[], Vec::as_slice)
    }
}
