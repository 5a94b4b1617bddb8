//! Messages that were refused: counted by reason, and logged, but not as often as a peer likes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::bridge::link::Link;
use crate::endpoint::Peer;

/// The number of denials of a bridge, by reason.
#[derive(Debug, Default)]
pub(in crate::bridge) struct Denials(Mutex<BTreeMap<&'static str, u64>>);

impl Denials {
    /// Counts a denial, and logs it unless this peer's owner causes too many such lines on this link; `detail` is only
    /// called if it is logged.
    pub(in crate::bridge) fn refuse(
        &self,
        reason: &'static str,
        link: Option<&Link>,
        from: &Peer,
        detail: impl FnOnce() -> String,
    ) {
        self.add(reason);
        if let Some(link) = link
            && let Some(suppressed) = link.endpoint.log_limiter().pass(reason, &from.owner)
        {
            let identity = from.identity.as_deref().map(ToString::to_string);
            tracing::warn!(
                reason, link = link.config.name, peer = %from.id, address = %from.address, identity, suppressed,
                "refused: {}", detail()
            );
        }
    }

    /// Counts a denial in normal operation: it is logged at debug level only.
    pub(in crate::bridge) fn count(&self, reason: &'static str, link: &str, from: &Peer) {
        self.add(reason);
        tracing::debug!(reason, link, peer = %from.id, address = %from.address, "refused");
    }

    fn add(&self, reason: &'static str) {
        let mut counts = self.counts_by_reason();
        let count = counts.entry(reason).or_default();
        *count = count.saturating_add(1);
    }

    fn counts_by_reason(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there were, by reason.
    pub(in crate::bridge) fn counts(&self) -> BTreeMap<String, u64> {
        self.counts_by_reason().iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect()
    }
}
