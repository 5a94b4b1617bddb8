//! The links and rules of a bridge at one moment.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::flows::Flows;
use super::reason_counts::ReasonCounts;
use crate::bridge::link::Link;
use crate::bridge::management::registry::PeeringKey;
use crate::bridge::policy::{Denial, PeerPolicy, Rules};
use crate::bridge::{LinkId, RuleId};
use crate::data::Topic;
use crate::endpoint::Peer;
use crate::wire::{Envelope, INITIAL_TTL};
use crate::zeromq::topics;

/// The links and rules of a bridge. Every change replaces the complete set, so that handling a message only reads it.
#[derive(Debug)]
pub(in crate::bridge) struct LinkSet {
    /// The links by [`LinkId`]. Slots of links that were removed stay empty.
    slots: Vec<Option<Slot>>,
    pub(in crate::bridge) rules: Rules,
    /// The name and counters of each rule, by [`RuleId`].
    counts: Vec<(String, Arc<RuleCount>)>,
    pub(in crate::bridge) flows: Flows,
}

#[derive(Debug)]
struct Slot {
    link: Arc<Link>,
    /// The rules for each peering, by its number.
    policies: RwLock<HashMap<u64, Arc<PeerPolicy>>>,
}

/// A link that a message goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bridge) struct Target {
    pub(in crate::bridge) link: LinkId,
    /// The rule that allows the message.
    pub(in crate::bridge) rule: RuleId,
    /// Whether only the bridges on this link need the message, because all other peers have already received a copy.
    pub(in crate::bridge) bridges_only: bool,
}

/// Translates a topic, or returns `None` if it stays the same.
pub(in crate::bridge) type Translate = fn(&Topic) -> Option<Topic>;

/// The counters of a rule.
#[derive(Debug, Default)]
pub(in crate::bridge) struct RuleCount {
    pub(in crate::bridge) passed: AtomicU64,
    pub(in crate::bridge) invalid: AtomicU64,
    /// The number of denied messages, by reason.
    denied: ReasonCounts,
}

impl RuleCount {
    /// Returns the number of messages that the rule denied, by reason.
    pub(in crate::bridge) fn denied(&self) -> BTreeMap<String, u64> {
        self.denied.counts()
    }
}

impl LinkSet {
    /// Returns a set of links. `flows` are the counters of the previous set; pairs of links that are in both sets keep theirs.
    pub(in crate::bridge) fn new(
        links: Vec<Option<Arc<Link>>>,
        rules: Rules,
        counts: Vec<(String, Arc<RuleCount>)>,
        flows: &Flows,
    ) -> Self {
        let running: Vec<_> = links.iter().flatten().map(|link| link.id()).collect();
        let flows = Flows::new(rules.pairs(), &running, flows);
        let slot = |link: Option<Arc<Link>>| link.map(|link| Slot { link, policies: RwLock::default() });
        LinkSet { slots: links.into_iter().map(slot).collect(), rules, counts, flows }
    }

    pub(in crate::bridge) fn empty() -> Self {
        LinkSet::new(Vec::new(), Rules::new([], &[]), Vec::new(), &Flows::default())
    }

    /// Returns a set of these links with the same rules.
    pub(in crate::bridge) fn with_links(&self, links: Vec<Option<Arc<Link>>>) -> Self {
        LinkSet::new(links, self.rules.clone(), self.counts.clone(), &self.flows)
    }

    pub(in crate::bridge) fn link(&self, id: LinkId) -> Option<&Arc<Link>> {
        Some(&self.slot(id)?.link)
    }

    /// Returns the links by [`LinkId`], with `None` for slots of links that were removed.
    pub(in crate::bridge) fn slots(&self) -> impl Iterator<Item = Option<&Arc<Link>>> {
        self.slots.iter().map(|slot| Some(&slot.as_ref()?.link))
    }

    /// Returns the links that are running.
    pub(in crate::bridge) fn iter(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.slots().flatten()
    }

    /// Returns whether the peers of a link speak Broker's protocol.
    pub(in crate::bridge) fn is_broker(&self, id: LinkId) -> bool {
        self.link(id).is_some_and(|link| link.config.zeromq.is_none() && link.config.websocket.is_none())
    }

    /// Returns the function by which the topics of messages are translated on the way from one link to another, if they are
    /// translated.
    pub(in crate::bridge) fn translation(&self, from: LinkId, to: LinkId) -> Option<Translate> {
        let zeromq = |link: LinkId| self.link(link)?.config.zeromq.as_ref();
        match (zeromq(from), zeromq(to)) {
            (None, Some(zeromq)) if zeromq.map_topics => Some(topics::to_dots),
            (Some(zeromq), None) if zeromq.map_topics => Some(topics::to_slashes),
            _ => None,
        }
    }

    /// Returns the rules for messages of a peer of this link.
    pub(in crate::bridge) fn policy(&self, link: LinkId, peer: &Peer) -> Option<Arc<PeerPolicy>> {
        let (slot, number) = (self.slot(link)?, peer.peering.number());
        if let Some(policy) = slot.known_policy(number) {
            return Some(policy);
        }
        let policy = Arc::new(self.rules.for_peer(link, &peer.candidate()));
        slot.policies.write().insert(number, policy.clone());
        Some(policy)
    }

    /// Like [`LinkSet::policy`], but does not store the result. Used for a peer that may not have sent a message since
    /// the rules changed.
    fn policy_of(&self, key: PeeringKey) -> Option<Arc<PeerPolicy>> {
        let slot = self.slot(key.link)?;
        let compile = || {
            let peer = slot.link.endpoint.peer(key.peer);
            let candidate = peer.as_deref().map(Peer::candidate).unwrap_or_default();
            Arc::new(self.rules.for_peer(key.link, &candidate))
        };
        Some(slot.known_policy(key.peering).unwrap_or_else(compile))
    }

    /// Returns whether the current rules allow a node's hello to reach a link. If so, the hello is counted as passed.
    pub(in crate::bridge) fn allows_hello(&self, node: PeeringKey, hello: &Envelope, to: LinkId) -> bool {
        let mut allowed = false;
        // The ttl was checked when the hello was received, and has been decremented since.
        let hello = &Envelope { ttl: INITIAL_TTL, ..hello.clone() };
        if let (Some(link), Some(policy)) = (self.link(node.link), self.policy_of(node)) {
            let _ = policy.evaluate(hello, None, link.limits(), |link, rule| {
                if link == to {
                    allowed = true;
                    self.count_forwarded(rule, node.link, to, 1);
                }
            });
        }
        allowed
    }

    /// Forgets the rules for a peering that has ended.
    pub(in crate::bridge) fn forget_policy(&self, key: PeeringKey) {
        if let Some(slot) = self.slot(key.link) {
            slot.policies.write().remove(&key.peering);
        }
    }

    fn slot(&self, id: LinkId) -> Option<&Slot> {
        self.slots.get(id.0)?.as_ref()
    }

    /// Counts messages that are forwarded from one link to another, for the rule that allowed them and for the two links. A message that is
    /// forwarded to two links counts twice.
    pub(in crate::bridge) fn count_forwarded(&self, rule: RuleId, from: LinkId, to: LinkId, messages: usize) {
        self.flows.add(from, to, messages);
        if let Some((_, count)) = self.counts.get(rule.0) {
            count.passed.fetch_add(u64::try_from(messages).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// Counts a denied message for the rule in its denial.
    pub(in crate::bridge) fn count_denied(&self, rule: RuleId, denial: &Denial) {
        let Some((_, count)) = self.counts.get(rule.0) else { return };
        if denial.invalid {
            count.invalid.fetch_add(1, Ordering::Relaxed);
        }
        count.denied.add(denial.reason.name());
    }

    pub(in crate::bridge) fn rule_name(&self, rule: RuleId) -> Option<&str> {
        self.counts.get(rule.0).map(|(name, _)| name.as_str())
    }

    /// Returns the name and counters of each rule, in the order of the configuration.
    pub(in crate::bridge) fn rule_counts(&self) -> impl Iterator<Item = (&str, &Arc<RuleCount>)> {
        self.counts.iter().map(|(name, count)| (name.as_str(), count))
    }
}

impl Slot {
    fn known_policy(&self, peering: u64) -> Option<Arc<PeerPolicy>> {
        self.policies.read().get(&peering).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::Bridge;
    use crate::bridge::config::BridgeConfig;
    use crate::bridge::router::core::peering_key;
    use crate::data::{EndpointId, Value};
    use crate::endpoint::Endpoint;
    use crate::net::tls::Tls;

    const TOPIC: Topic = Topic::from_static("/t");

    #[tokio::test]
    async fn the_rules_for_a_peering_are_compiled_once_and_stored_until_it_ends() {
        let links =
            ["in", "out"].map(|name| format!("[link.{name}]\ntls = \"off\"\nlisten = \"127.0.0.1:0\"\n"));
        let rule = "[[rule]]\nname = \"all\"\nfrom = \"in\"\nto = \"out\"\ntopics = [\"/t\"]\n";
        let config = BridgeConfig::parse(&(links.concat() + rule), "bridge.toml").unwrap();
        let bridge = Bridge::start(config).await.unwrap();
        let stored = || bridge.core.links().slot(LinkId(0)).unwrap().policies.read().len();
        let until = async |count| {
            while stored() != count {
                tokio::task::yield_now().await;
            }
        };
        let peer = Endpoint::new().unwrap();
        let address = bridge.snapshot().links[0].listening[0].clone();
        peer.connect(address, Tls::Off).await.unwrap();
        peer.wait_for_subscribers(&TOPIC, 1).await;
        assert_eq!(stored(), 0);
        peer.publish(TOPIC, &Value::None).await.unwrap();
        until(1).await;
        peer.shutdown().await;
        until(0).await;

        let (links, peer) = (bridge.core.links(), Peer::of_host(EndpointId::NIL, [127, 0, 0, 1], 1));
        let policies = [(); 2].map(|()| links.policy(LinkId(0), &peer).unwrap());
        assert!(Arc::ptr_eq(&policies[0], &policies[1]));
        links.forget_policy(peering_key(LinkId(0), &peer));
        assert_eq!(stored(), 0);
    }
}
