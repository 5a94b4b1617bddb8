//! The number of messages that were forwarded from each link to each other link.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::bridge::LinkId;

/// The counters of all pairs of links between which messages may be forwarded. Created again when the links or the rules change; a pair
/// whose links are kept then keeps its counter.
#[derive(Debug, Default)]
pub(in crate::bridge) struct Flows(Vec<Vec<Flow>>);

/// The counter of the messages to one link. The index in [`Flows`] is the link over which they were received.
#[derive(Debug)]
struct Flow {
    to: LinkId,
    messages: Arc<AtomicU64>,
}

impl Flows {
    /// Returns counters for these pairs, the link over which messages are received first. Pairs of `old` with a count are added if both
    /// links are in `links`.
    pub(in crate::bridge) fn new(
        pairs: impl Iterator<Item = (LinkId, LinkId)>,
        links: &[LinkId],
        old: &Flows,
    ) -> Self {
        let mut flows = Flows::default();
        for (from, to) in pairs.filter(|(from, to)| links.contains(from) && links.contains(to)) {
            let counter = old.counter(from, to).cloned().unwrap_or_default();
            flows.insert(from, to, counter);
        }
        for (from, to, messages) in old.counts() {
            if messages > 0
                && links.contains(&from)
                && links.contains(&to)
                && let Some(counter) = old.counter(from, to)
            {
                flows.insert(from, to, counter.clone());
            }
        }
        flows
    }

    fn insert(&mut self, from: LinkId, to: LinkId, messages: Arc<AtomicU64>) {
        if self.counter(from, to).is_some() {
            return;
        }
        let slots = self.0.len().max(from.0.saturating_add(1));
        self.0.resize_with(slots, Vec::new);
        if let Some(flows) = self.0.get_mut(from.0) {
            flows.push(Flow { to, messages });
        }
    }

    fn counter(&self, from: LinkId, to: LinkId) -> Option<&Arc<AtomicU64>> {
        let flow = self.0.get(from.0)?.iter().find(|flow| flow.to == to)?;
        Some(&flow.messages)
    }

    /// Counts messages that were forwarded. Called once for each batch and link.
    pub(in crate::bridge) fn add(&self, from: LinkId, to: LinkId, messages: usize) {
        if let Some(counter) = self.counter(from, to) {
            counter.fetch_add(u64::try_from(messages).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// Returns the pairs with their number of messages.
    pub(in crate::bridge) fn counts(&self) -> impl Iterator<Item = (LinkId, LinkId, u64)> {
        self.0.iter().enumerate().flat_map(|(from, flows)| {
            flows.iter().map(move |flow| (LinkId(from), flow.to, flow.messages.load(Ordering::Relaxed)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: LinkId = LinkId(0);
    const B: LinkId = LinkId(1);
    const C: LinkId = LinkId(2);

    fn counts(flows: &Flows) -> Vec<(LinkId, LinkId, u64)> {
        flows.counts().collect()
    }

    #[test]
    fn counters_are_kept_for_pairs_of_kept_links() {
        let none = Flows::default();
        // The last pair occurs twice, and the link of the other one does not exist.
        let flows = Flows::new([(A, B), (B, A), (A, A), (A, A), (C, A)].into_iter(), &[A, B], &none);
        flows.add(A, B, 3);
        flows.add(A, A, 2);
        flows.add(A, B, 1);
        flows.add(A, C, 7);
        flows.add(C, A, 7);
        assert_eq!(counts(&flows), [(A, B, 4), (A, A, 2), (B, A, 0)]);
        // Another rule applies now.
        let next = Flows::new([(A, C), (A, B)].into_iter(), &[A, B, C], &flows);
        flows.add(A, B, 1);
        assert_eq!(counts(&next), [(A, C, 0), (A, B, 5), (A, A, 2)], "shared until the old set is dropped");
        let without = Flows::new([(A, C)].into_iter(), &[A, C], &next);
        assert_eq!(counts(&without), [(A, C, 0), (A, A, 2)]);
        assert_eq!(counts(&Flows::new(std::iter::empty(), &[C], &without)), []);
    }
}
