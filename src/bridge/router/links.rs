//! The links and rules of a bridge at one moment.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::bridge::link::Link;
use crate::bridge::management::registry::PeeringKey;
use crate::bridge::policy::{Denial, PeerPolicy, Rules};
use crate::endpoint::Peer;
use crate::wire::{Envelope, INITIAL_TTL};

/// Made anew at every change, and only read while messages move.
#[derive(Debug)]
pub(in crate::bridge) struct LinkSet {
    /// By slot. A link has the same slot as long as it runs, and no other has it later.
    slots: Vec<Option<Slot>>,
    pub(in crate::bridge) rules: Rules,
    /// By rule, with its name.
    counts: Vec<(String, Arc<RuleCount>)>,
}

#[derive(Debug)]
struct Slot {
    link: Arc<Link>,
    /// What each peering may say.
    policies: RwLock<HashMap<u64, Arc<PeerPolicy>>>,
}

/// A link that a message goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bridge) struct Target {
    pub(in crate::bridge) slot: usize,
    /// The rule that allows it.
    pub(in crate::bridge) rule: usize,
    /// Whether the other peers there have it already.
    pub(in crate::bridge) bridges_only: bool,
}

/// What became of the messages that a rule is about.
#[derive(Debug, Default)]
pub(in crate::bridge) struct RuleCount {
    pub(in crate::bridge) passed: AtomicU64,
    pub(in crate::bridge) invalid: AtomicU64,
    /// By reason.
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

impl RuleCount {
    /// How often it refused a message, by reason.
    pub(in crate::bridge) fn refused(&self) -> BTreeMap<String, u64> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect()
    }
}

impl LinkSet {
    pub(in crate::bridge) fn new(
        links: Vec<Option<Arc<Link>>>,
        rules: Rules,
        counts: Vec<(String, Arc<RuleCount>)>,
    ) -> Self {
        let slot = |link: Option<Arc<Link>>| link.map(|link| Slot { link, policies: RwLock::default() });
        LinkSet { slots: links.into_iter().map(slot).collect(), rules, counts }
    }

    pub(in crate::bridge) fn empty() -> Self {
        LinkSet::new(Vec::new(), Rules::new([], &[]), Vec::new())
    }

    /// With the same rules, and some of the links.
    pub(in crate::bridge) fn with(&self, links: Vec<Option<Arc<Link>>>) -> Self {
        LinkSet::new(links, self.rules.clone(), self.counts.clone())
    }

    pub(in crate::bridge) fn link(&self, slot: usize) -> Option<&Arc<Link>> {
        Some(&self.slots.get(slot)?.as_ref()?.link)
    }

    /// By slot.
    pub(in crate::bridge) fn links(&self) -> impl Iterator<Item = Option<&Arc<Link>>> {
        self.slots.iter().map(|slot| Some(&slot.as_ref()?.link))
    }

    /// What a peer of this link may say.
    pub(in crate::bridge) fn policy(&self, slot: usize, peer: &Peer) -> Option<Arc<PeerPolicy>> {
        let (policies, number) = (self.slot(slot)?, peer.peering.number());
        if let Some(policy) = policies.known(number) {
            return Some(policy);
        }
        let policy = Arc::new(self.rules.for_peer(slot, peer.identity.as_deref()));
        policies.policies.write().unwrap_or_else(PoisonError::into_inner).insert(number, policy.clone());
        Some(policy)
    }

    /// As [`LinkSet::policy`], of somebody who is not speaking just now.
    pub(in crate::bridge) fn policy_of(&self, key: PeeringKey) -> Option<Arc<PeerPolicy>> {
        let slot = self.slot(key.link)?;
        let known = slot.known(key.peering);
        // It has said nothing since the rules are new.
        let made =
            || Arc::new(self.rules.for_peer(key.link, slot.link.endpoint.identity(key.peer).as_deref()));
        Some(known.unwrap_or_else(made))
    }

    /// Whether rules let a node's hello pass to a link now. It then counts as passed.
    pub(in crate::bridge) fn lets_pass(&self, node: PeeringKey, hello: &Envelope, to: usize) -> bool {
        let mut passes = false;
        // The ttl was checked when the hello arrived, and has been decremented since.
        let hello = &Envelope { ttl: INITIAL_TTL, ..hello.clone() };
        if let (Some(link), Some(policy)) = (self.link(node.link), self.policy_of(node)) {
            let _ = policy.evaluate(hello, link.limits(), |slot, rule| {
                if slot == to {
                    passes = true;
                    self.passed(rule, 1);
                }
            });
        }
        passes
    }

    /// A peering is over.
    pub(in crate::bridge) fn forget(&self, slot: usize, peer: &Peer) {
        if let Some(slot) = self.slot(slot) {
            slot.policies.write().unwrap_or_else(PoisonError::into_inner).remove(&peer.peering.number());
        }
    }

    fn slot(&self, slot: usize) -> Option<&Slot> {
        self.slots.get(slot)?.as_ref()
    }

    pub(in crate::bridge) fn passed(&self, rule: usize, messages: usize) {
        if let Some((_, count)) = self.counts.get(rule) {
            count.passed.fetch_add(u64::try_from(messages).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// A message came closest to pass by this rule, and did not.
    pub(in crate::bridge) fn refused(&self, rule: usize, denial: &Denial) {
        let Some((_, count)) = self.counts.get(rule) else { return };
        if denial.invalid {
            count.invalid.fetch_add(1, Ordering::Relaxed);
        }
        let mut refused = count.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let of_reason = refused.entry(denial.reason.name()).or_default();
        *of_reason = of_reason.saturating_add(1);
    }

    pub(in crate::bridge) fn rule_name(&self, rule: usize) -> Option<&str> {
        self.counts.get(rule).map(|(name, _)| name.as_str())
    }

    /// What became of the messages that each rule is about.
    pub(in crate::bridge) fn rule_counts(&self) -> impl Iterator<Item = (&str, &Arc<RuleCount>)> {
        self.counts.iter().map(|(name, count)| (name.as_str(), count))
    }
}

impl Slot {
    fn known(&self, peering: u64) -> Option<Arc<PeerPolicy>> {
        self.policies.read().unwrap_or_else(PoisonError::into_inner).get(&peering).cloned()
    }
}
