//! What the bridge itself has to say to peers that have no room for it yet: hellos of many nodes to an agent that comes
//! back, and failures in place of a node that owed many answers.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::nodes::MAX_OWED_PER_AGENT;
use crate::data::EndpointId;
use crate::endpoint::Blocked;

/// How much may wait for one peer: as much as it can be owed at once. What comes then is dropped, and counted.
const MOST: usize = MAX_OWED_PER_AGENT;

/// By peer, what waits for it; one task hands that on.
#[derive(Clone, Debug, Default)]
pub(super) struct Untold(Arc<Mutex<HashMap<EndpointId, VecDeque<Blocked>>>>);

impl Untold {
    /// Hands this on when there is room for it.
    pub(super) fn keep(&self, peer: EndpointId, blocked: Vec<Blocked>) {
        if blocked.is_empty() {
            return;
        }
        match self.peers().entry(peer) {
            Entry::Occupied(mut waiting) => {
                let room = MOST.saturating_sub(waiting.get().len());
                waiting.get_mut().extend(blocked.into_iter().take(room));
            }
            Entry::Vacant(waiting) => {
                waiting.insert(blocked.into());
                tokio::spawn(self.clone().hand_on(peer));
            }
        }
    }

    async fn hand_on(self, peer: EndpointId) {
        while let Some(blocked) = self.next(peer) {
            blocked.pushed().await;
        }
    }

    /// Without any, there is nothing to be known of the peer.
    fn next(&self, peer: EndpointId) -> Option<Blocked> {
        let mut peers = self.peers();
        let next = peers.get_mut(&peer)?.pop_front();
        if next.is_none() {
            peers.remove(&peer);
        }
        next
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<EndpointId, VecDeque<Blocked>>> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
