//! Slots for the peers that connect to an endpoint.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::Owner;
use super::shares::Shares;

/// All peer slots of an endpoint.
///
/// When all slots are taken, a new peer may get the slot of a different owner. In that case, the newest peering of the
/// owner with the most peers is closed. This happens only if that owner then still has at least as many peers as the owner
/// of the new peer. Otherwise, the new peer is refused.
#[derive(Debug)]
pub(in super::super) struct PeerSlots {
    limit: usize,
    /// The entry of a slot is a sender. A message on it closes the peering that has the slot.
    taken: Mutex<Shares<oneshot::Sender<()>>>,
}

/// A slot, until it is dropped.
#[derive(Debug)]
pub(in super::super) struct PeerSlot {
    id: u64,
    owner: Owner,
    slots: Arc<PeerSlots>,
    evicted: Option<oneshot::Receiver<()>>,
}

impl PeerSlots {
    pub(in super::super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(PeerSlots { limit, taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, Shares<oneshot::Sender<()>>> {
        // No code panics while it holds the lock.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slot. Returns `None` if no slot is free and this owner already has its share.
    pub(in super::super) fn take(self: &Arc<Self>, owner: &Owner) -> Option<PeerSlot> {
        let mut taken = self.taken();
        if taken.total() >= self.limit {
            let victim = taken.exceeds(owner)?;
            let _ = taken.pop_newest(&victim)?.send(());
        }
        let (evict, evicted) = oneshot::channel();
        let id = taken.insert(owner, evict);
        drop(taken);
        Some(PeerSlot { id, owner: owner.clone(), slots: self.clone(), evicted: Some(evicted) })
    }

    /// Returns whether [`PeerSlots::take`] would succeed now for this owner. With `None`, returns whether it would succeed
    /// for some owner.
    pub(in super::super) fn may_take(&self, owner: Option<&Owner>) -> bool {
        let taken = self.taken();
        taken.total() < self.limit
            || match owner {
                Some(owner) => taken.exceeds(owner).is_some(),
                None => taken.largest() > 1,
            }
    }
}

impl PeerSlot {
    /// Resolves when the slot is given to a different owner.
    pub(in super::super) async fn evicted(&mut self) {
        if let Some(evicted) = &mut self.evicted {
            let was_evicted = evicted.await.is_ok();
            self.evicted = None;
            if was_evicted {
                return;
            }
        }
        std::future::pending().await
    }
}

impl Drop for PeerSlot {
    fn drop(&mut self) {
        self.slots.taken().remove(&self.owner, self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(n: u8) -> Owner {
        Owner::Certificate([n; 32])
    }

    #[tokio::test]
    async fn an_owner_with_fewer_peers_gets_a_slot_of_the_one_with_the_most() {
        let slots = PeerSlots::new(3);
        let mut greedy: Vec<_> = (0..3).map(|_| slots.take(&owner(1)).unwrap()).collect();
        assert!(slots.take(&owner(1)).is_none() && !slots.may_take(Some(&owner(1))));
        assert!(slots.may_take(Some(&owner(2))) && slots.may_take(None));
        let second = slots.take(&owner(2)).unwrap();
        // The newest one is evicted.
        greedy.pop().unwrap().evicted().await;
        assert!(
            slots.take(&owner(2)).is_none(),
            "2 and 1: another slot would give the second owner more than the first"
        );
        let third = slots.take(&owner(3)).unwrap();
        greedy.pop().unwrap().evicted().await;
        assert!(slots.take(&owner(4)).is_none() && !slots.may_take(None), "each has one");
        drop((second, third));
        assert!(slots.take(&owner(4)).is_some());
        assert_eq!(slots.taken().total(), 1);
    }

    #[test]
    fn with_zero_slots_no_peer_is_admitted() {
        let slots = PeerSlots::new(0);
        assert!(slots.take(&owner(1)).is_none() && !slots.may_take(None));
    }
}
