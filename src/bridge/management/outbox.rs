//! Messages of the bridge itself to peers that have no room for them yet: hellos of many nodes to an agent that
//! reconnects, and failures in the place of a node that owed many answers.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::data::EndpointId;
use crate::endpoint::Blocked;

/// How many bytes a message counts that waits, beside its own.
const WAITING_COST: usize = 256;

/// By peer, the messages that wait for it; one task per peer hands them on.
#[derive(Clone, Debug, Default)]
pub(in crate::bridge) struct Outbox(Arc<Mutex<HashMap<EndpointId, Waiting>>>);

#[derive(Debug, Default)]
struct Waiting {
    blocked: VecDeque<Blocked>,
    bytes: usize,
}

impl Waiting {
    /// Takes what there is room for. The rest is dropped, and counted as dropped.
    fn extend(&mut self, blocked: Vec<Blocked>, most: usize) {
        for blocked in blocked {
            let bytes = self.bytes.saturating_add(cost(&blocked));
            if bytes <= most {
                self.bytes = bytes;
                self.blocked.push_back(blocked);
            }
        }
    }
}

fn cost(blocked: &Blocked) -> usize {
    blocked.bytes().saturating_add(WAITING_COST)
}

impl Outbox {
    /// Hands messages on when there is room for them. At most `most` bytes wait for a peer.
    pub(in crate::bridge) fn keep(&self, peer: EndpointId, blocked: Vec<Blocked>, most: usize) {
        if blocked.is_empty() {
            return;
        }
        match self.peers().entry(peer) {
            Entry::Occupied(mut waiting) => waiting.get_mut().extend(blocked, most),
            Entry::Vacant(waiting) => {
                waiting.insert(Waiting::default()).extend(blocked, most);
                tokio::spawn(self.clone().hand_on(peer));
            }
        }
    }

    /// Whether messages wait for a peer.
    pub(in crate::bridge) fn has(&self, peer: EndpointId) -> bool {
        self.peers().contains_key(&peer)
    }

    async fn hand_on(self, peer: EndpointId) {
        while let Some(blocked) = self.next(peer) {
            blocked.pushed().await;
        }
    }

    /// The next message for a peer. Without any, the entry of the peer is removed.
    fn next(&self, peer: EndpointId) -> Option<Blocked> {
        let mut peers = self.peers();
        let waiting = peers.get_mut(&peer)?;
        let next = waiting.blocked.pop_front();
        match &next {
            Some(next) => waiting.bytes = waiting.bytes.saturating_sub(cost(next)),
            None => {
                peers.remove(&peer);
            }
        }
        next
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<EndpointId, Waiting>> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
