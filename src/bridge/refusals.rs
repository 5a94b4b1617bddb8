//! What did not pass: counted by reason, and said, but not as often as a peer likes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::endpoint::{Peer, Throttle};

/// All refusals of a bridge.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<BTreeMap<Key, Arc<OneReason>>>);

/// The reason, and the slot of the link: one link's noise hides no other's.
type Key = (&'static str, usize);

#[derive(Debug, Default)]
struct OneReason {
    count: AtomicU64,
    throttle: Throttle,
}

impl Refusals {
    /// Counts a refusal, and says it: who, over which link, and what; `detail` is only made if it is said.
    pub(super) fn refuse(
        &self,
        reason: &'static str,
        (slot, link): (usize, &str),
        from: &Peer,
        detail: impl FnOnce() -> String,
    ) {
        let of_reason = self.reasons().entry((reason, slot)).or_default().clone();
        of_reason.count.fetch_add(1, Ordering::Relaxed);
        if let Some(unsaid) = of_reason.throttle.pass() {
            let identity = from.identity.as_deref().map(ToString::to_string);
            tracing::warn!(
                reason, link, peer = %from.id, address = %from.address, identity, unsaid,
                "refused: {}", detail()
            );
        }
    }

    /// Counts a refusal that is nobody's mistake: it is logged at debug level only.
    pub(super) fn count(&self, reason: &'static str, (slot, link): (usize, &str), from: &Peer) {
        let of_reason = self.reasons().entry((reason, slot)).or_default().clone();
        of_reason.count.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(reason, link, peer = %from.id, address = %from.address, "refused");
    }

    fn reasons(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<OneReason>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there were, by reason.
    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for ((reason, _), of) in self.reasons().iter() {
            let count: &mut u64 = counts.entry((*reason).to_owned()).or_default();
            *count = count.saturating_add(of.count.load(Ordering::Relaxed));
        }
        counts
    }
}
