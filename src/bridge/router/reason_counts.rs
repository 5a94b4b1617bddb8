//! The number of denied messages, by reason.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// The number of denied messages, by reason. The reasons are names from a fixed set.
#[derive(Debug, Default)]
pub(in crate::bridge) struct ReasonCounts(Mutex<BTreeMap<&'static str, u64>>);

impl ReasonCounts {
    pub(in crate::bridge) fn add(&self, reason: &'static str) {
        let mut counts = self.0.lock();
        let count = counts.entry(reason).or_default();
        *count = count.saturating_add(1);
    }

    /// Returns the counts by reason.
    pub(in crate::bridge) fn counts(&self) -> BTreeMap<String, u64> {
        self.0.lock().iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect()
    }
}
