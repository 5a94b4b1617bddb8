//! The number of peers of a link, by kind.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of peers of a link that are other bridges, and the number of all other peers.
#[derive(Debug, Default)]
pub(in crate::bridge) struct PeerCounts {
    bridges: AtomicUsize,
    others: AtomicUsize,
}

impl PeerCounts {
    pub(in crate::bridge) fn add(&self, is_bridge: bool) {
        self.of(is_bridge).fetch_add(1, Ordering::Release);
    }

    pub(in crate::bridge) fn remove(&self, is_bridge: bool) {
        self.of(is_bridge).fetch_sub(1, Ordering::Release);
    }

    /// Returns whether there are peers that are other bridges, and whether there are peers that are not bridges.
    pub(in crate::bridge) fn any(&self) -> [bool; 2] {
        [&self.bridges, &self.others].map(|count| count.load(Ordering::Acquire) > 0)
    }

    fn of(&self, is_bridge: bool) -> &AtomicUsize {
        if is_bridge { &self.bridges } else { &self.others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bridges_and_other_peers_are_counted_separately() {
        let counts = PeerCounts::default();
        assert_eq!(counts.any(), [false, false]);
        counts.add(true);
        counts.add(true);
        assert_eq!(counts.any(), [true, false]);
        counts.add(false);
        counts.remove(true);
        assert_eq!(counts.any(), [true, true]);
        counts.remove(true);
        assert_eq!(counts.any(), [false, true]);
    }
}
