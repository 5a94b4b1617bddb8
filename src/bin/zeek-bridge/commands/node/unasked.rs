//! Peers that received the node's hello, but have not sent a request since then.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;
use zeek_bridge::data::EndpointId;

/// If a peer sends no request for this time after the hello, this is logged once.
const PATIENCE: Duration = Duration::from_secs(30);

/// The maximum number of peers to wait for. If there are more, hellos to them are not tracked.
const MAX_PEERS: usize = 64;

/// Peers that received a hello less than [`PATIENCE`] ago, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Unasked(VecDeque<(EndpointId, Instant)>);

impl Unasked {
    pub(super) fn hello(&mut self, peer: EndpointId, now: Instant) {
        self.request(peer);
        if self.0.len() < MAX_PEERS {
            self.0.push_back((peer, now.checked_add(PATIENCE).unwrap_or(now)));
        }
    }

    pub(super) fn request(&mut self, peer: EndpointId) {
        self.0.retain(|(other, _)| *other != peer);
    }

    /// Waits until a peer has sent no request for too long, and returns the peer. Does not return without a peer. Cancel safe.
    pub(super) async fn overdue(&mut self) -> EndpointId {
        let Some((peer, due)) = self.0.front().copied() else { return std::future::pending().await };
        tokio::time::sleep_until(due).await;
        self.0.pop_front();
        peer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_is_reported_once_if_it_sends_no_request() {
        let [silent, asking] = [1, 2].map(|byte| EndpointId::from_bytes([byte; 16]));
        let mut unasked = Unasked::default();
        let start = Instant::now();
        unasked.hello(asking, start);
        unasked.hello(silent, start);
        unasked.request(asking);
        assert_eq!(unasked.overdue().await, silent);
        assert_eq!(start.elapsed(), PATIENCE);
        assert!(tokio::time::timeout(PATIENCE, unasked.overdue()).await.is_err());
        let start = Instant::now();
        for byte in 0..=u8::MAX {
            unasked.hello(EndpointId::from_bytes([byte; 16]), start);
        }
        assert_eq!(unasked.0.len(), MAX_PEERS);
    }
}
