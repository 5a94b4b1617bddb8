//! Denied messages: counted by reason, and logged at a limited rate.

use super::reason_counts::ReasonCounts;
use super::recent::{Recent, RecentEntry};
use crate::bridge::link::Link;
use crate::bridge::policy::Refusal;
use crate::endpoint::Peer;

/// The number of messages that a bridge denied, by reason.
#[derive(Debug, Default)]
pub(in crate::bridge) struct Denials(ReasonCounts);

impl Denials {
    /// Counts a denied message. Logs it and adds it to the recent entries, unless the owner of the peer causes too many log lines
    /// with this reason on this link. `refusal` is called only if the line is logged.
    pub(in crate::bridge) fn deny(
        &self,
        reason: &'static str,
        link: Option<&Link>,
        from: &Peer,
        refusal: impl FnOnce() -> Refusal,
        recent: &Recent,
    ) {
        self.add(reason, link);
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
            let suppressed = suppressed.map_or(0, Into::into);
            let entry = RecentEntry {
                reason: Some(reason.to_owned()),
                rule,
                topic,
                event,
                node,
                suppressed,
                text,
                ..RecentEntry::default()
            };
            recent.denied(&link.config.name, from, entry);
        }
    }

    /// Counts a message that is dropped in normal operation. It is logged at debug level only.
    pub(in crate::bridge) fn count(&self, reason: &'static str, link: Option<&Link>) {
        self.add(reason, link);
        tracing::debug!(reason, "refused");
    }

    fn add(&self, reason: &'static str, link: Option<&Link>) {
        self.0.add(reason);
        if let Some(link) = link {
            link.denied.add(reason);
        }
    }

    /// Returns the counts of all links, by reason.
    pub(in crate::bridge) fn counts(&self) -> std::collections::BTreeMap<String, u64> {
        self.0.counts()
    }
}
