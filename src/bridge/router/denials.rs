//! Denied messages: counted by reason, and logged at a limited rate.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::bridge::link::Link;
use crate::bridge::policy::Refusal;
use crate::endpoint::Peer;

/// The number of messages that a bridge denied, by reason.
#[derive(Debug, Default)]
pub(in crate::bridge) struct Denials(Mutex<BTreeMap<&'static str, u64>>);

impl Denials {
    /// Counts a denied message, and logs it unless the owner of the peer causes too many log lines with this reason on
    /// this link. `refusal` is called only if the line is logged.
    pub(in crate::bridge) fn deny(
        &self,
        reason: &'static str,
        link: Option<&Link>,
        from: &Peer,
        refusal: impl FnOnce() -> Refusal,
    ) {
        self.add(reason);
        if let Some(link) = link
            && let Some(suppressed) = link.endpoint.log_limiter().pass(reason, &from.owner)
        {
            let identity = from.identity.as_deref().map(ToString::to_string);
            let Refusal { text, rule, topic, event, action, node, request } = refusal();
            tracing::warn!(
                reason,
                rule,
                topic,
                event,
                action,
                node,
                request,
                identity,
                suppressed,
                "refused: {text}"
            );
        }
    }

    /// Counts a message that is dropped in normal operation. It is logged at debug level only.
    pub(in crate::bridge) fn count(&self, reason: &'static str) {
        self.add(reason);
        tracing::debug!(reason, "refused");
    }

    fn add(&self, reason: &'static str) {
        let mut counts = self.0.lock();
        let count = counts.entry(reason).or_default();
        *count = count.saturating_add(1);
    }

    /// Returns the counts by reason.
    pub(in crate::bridge) fn counts(&self) -> BTreeMap<String, u64> {
        self.0.lock().iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect()
    }
}
