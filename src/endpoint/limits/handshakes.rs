//! Slots for connections during their handshake.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Owner;
use super::shares::Shares;

/// When a connection waits for a slot, a handshake of this age or older is evicted. A handshake normally takes
/// milliseconds. If a host has more than its share of handshakes, one handshake of this host may be evicted
/// earlier.
pub(in super::super) const GRACE: Duration = Duration::from_secs(1);

/// The maximum number of accepted connections that wait for a slot. Each of them uses a socket. They are accepted although
/// there is no free slot. Otherwise, they would delay the connections of other hosts, which are after them in the operating
/// system's queue.
const MAX_WAITING: usize = 256;

/// All handshake slots of an endpoint.
///
/// - When all slots are taken, a new connection waits. A handshake of the host with the most handshakes is evicted if
///   this host has at least two more handshakes than the host of the new connection.
/// - A free slot is granted to a connection of the host with the fewest handshakes.
/// - When too many connections wait, the newest one of the host with the most waiting connections is refused. If the host
///   of the new connection has about as many, the new connection is refused instead.
#[derive(Debug)]
pub(in super::super) struct Handshakes {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: Shares<Running>,
    waiting: Shares<oneshot::Sender<Granted>>,
}

#[derive(Debug)]
struct Running {
    since: Instant,
    /// Ends the handshake. `None` after this sender was used: the slot will be released soon.
    evict: Option<oneshot::Sender<()>>,
}

/// A slot that was granted, but is not a [`Slot`] yet.
#[derive(Debug)]
struct Granted {
    id: u64,
    evicted: oneshot::Receiver<()>,
}

/// A request for a slot. The slot is granted now or later.
#[derive(Debug)]
pub(in super::super) struct Ticket {
    owner: Owner,
    handshakes: Arc<Handshakes>,
    granted: Option<Granted>,
    waits: Option<(u64, oneshot::Receiver<Granted>)>,
}

/// A slot, until it is dropped.
#[derive(Debug)]
pub(in super::super) struct Slot {
    id: u64,
    owner: Owner,
    handshakes: Arc<Handshakes>,
}

impl Handshakes {
    pub(in super::super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Handshakes { limit, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a ticket for a connection of this host, or `None` if too many wait.
    pub(in super::super) fn ticket(self: &Arc<Self>, owner: &Owner) -> Option<Ticket> {
        let mut state = self.state();
        let ticket =
            |granted, waits| Ticket { owner: owner.clone(), handshakes: self.clone(), granted, waits };
        if state.running.total() < self.limit {
            return Some(ticket(Some(state.grant(owner)), None));
        }
        if self.limit == 0 {
            return None;
        }
        if state.waiting.total() >= MAX_WAITING {
            let victim = state.waiting.exceeds(owner)?;
            state.waiting.pop_newest(&victim);
        }
        if let Some(victim) = state.running.exceeds(owner)
            && let Some(evict) = state.running.of_mut(&victim).find_map(|running| running.evict.take())
        {
            let _ = evict.send(());
        }
        let (sender, receiver) = oneshot::channel();
        let id = state.waiting.insert(owner, sender);
        Some(ticket(None, Some((id, receiver))))
    }

    /// Evicts the oldest handshake if it is old enough. Returns the time until the next one may be evicted.
    fn evict_old(&self, now: Instant) -> Duration {
        let mut state = self.state();
        let owners: Vec<Owner> = state.running.owners().cloned().collect();
        let mut oldest = None;
        for owner in owners {
            let running = state.running.of_mut(&owner).find(|running| running.evict.is_some());
            if let Some(since) = running.map(|running| running.since)
                && oldest.as_ref().is_none_or(|(oldest, _)| since < *oldest)
            {
                oldest = Some((since, owner));
            }
        }
        let Some((since, owner)) = oldest else { return GRACE };
        let age = now.saturating_duration_since(since);
        if age < GRACE {
            return GRACE.saturating_sub(age);
        }
        if let Some(evict) = state.running.of_mut(&owner).find_map(|running| running.evict.take()) {
            let _ = evict.send(());
        }
        GRACE
    }

    /// Releases a slot, and grants it to the next waiting connection.
    fn release(&self, owner: &Owner, id: u64) {
        let mut state = self.state();
        state.running.remove(owner, id);
        while state.running.total() < self.limit {
            let count = |owner: &&Owner| state.running.count(owner);
            let Some(next) = state.waiting.owners().min_by_key(count).cloned() else { return };
            let Some((_, waiting)) = state.waiting.pop_oldest(&next) else { return };
            let granted = state.grant(&next);
            // The waiting connection may have ended.
            if let Err(granted) = waiting.send(granted) {
                state.running.remove(&next, granted.id);
            }
        }
    }
}

impl State {
    fn grant(&mut self, owner: &Owner) -> Granted {
        let (evict, evicted) = oneshot::channel();
        let id = self.running.insert(owner, Running { since: Instant::now(), evict: Some(evict) });
        Granted { id, evicted }
    }
}

impl Ticket {
    /// Waits for the slot. Returns the slot and a signal that resolves when it must be released, or `None` if the
    /// connection is refused.
    pub(in super::super) async fn slot(mut self) -> Option<(Slot, oneshot::Receiver<()>)> {
        while let Some((_, granted)) = &mut self.waits {
            let wait = self.handshakes.evict_old(Instant::now());
            if let Ok(granted) = tokio::time::timeout(wait, granted).await {
                self.waits = None;
                self.granted = Some(granted.ok()?);
            }
            // Otherwise, the oldest handshake may be old enough by now.
        }
        let Granted { id, evicted } = self.granted.take()?;
        Some((Slot { id, owner: self.owner.clone(), handshakes: self.handshakes.clone() }, evicted))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some((id, mut granted)) = self.waits.take() {
            self.handshakes.state().waiting.remove(&self.owner, id);
            // The slot may have been granted just before.
            granted.close();
            self.granted = granted.try_recv().ok();
        }
        if let Some(Granted { id, .. }) = self.granted.take() {
            self.handshakes.release(&self.owner, id);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.handshakes.release(&self.owner, self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u8) -> Owner {
        Owner::Host([192, 0, 2, n].into())
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_old_handshake_is_evicted_for_its_own_host() {
        let handshakes = Handshakes::new(2);
        let (first, first_evicted) = handshakes.ticket(&host(1)).unwrap().slot().await.unwrap();
        let (second, mut second_evicted) = handshakes.ticket(&host(1)).unwrap().slot().await.unwrap();
        let start = Instant::now();
        let third = tokio::spawn(handshakes.ticket(&host(1)).unwrap().slot());
        first_evicted.await.unwrap();
        assert!(start.elapsed() >= GRACE, "the oldest one, and only after its grace period");
        assert!(second_evicted.try_recv().is_err());
        drop(first);
        let third = third.await.unwrap().unwrap();
        drop((second, third));
        let state = handshakes.state();
        assert_eq!((state.running.total(), state.waiting.total()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_handshake_of_all_hosts_is_evicted() {
        // The order of the hosts in the table is random, so a wrong choice may be right by chance.
        for [older, newer] in [[1, 2], [2, 1]].repeat(10) {
            let handshakes = Handshakes::new(2);
            let (_older, mut older_evicted) = handshakes.ticket(&host(older)).unwrap().slot().await.unwrap();
            tokio::time::advance(GRACE).await;
            let (_newer, mut newer_evicted) = handshakes.ticket(&host(newer)).unwrap().slot().await.unwrap();
            handshakes.evict_old(Instant::now());
            assert!(older_evicted.try_recv().is_ok() && newer_evicted.try_recv().is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_with_all_slots_loses_one_to_another_host_immediately() {
        let handshakes = Handshakes::new(4);
        let mut flood = Vec::new();
        for _ in 0..4 {
            flood.push(handshakes.ticket(&host(1)).unwrap().slot().await.unwrap());
        }
        let waiting: Vec<_> = (0..10).map(|_| handshakes.ticket(&host(1)).unwrap()).collect();
        let other = handshakes.ticket(&host(2)).unwrap();
        let (oldest, evicted) = flood.remove(0);
        evicted.await.unwrap();
        drop(oldest);
        let start = Instant::now();
        // The slot is granted although ten other connections have waited longer.
        let (_slot, _) = other.slot().await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        drop(waiting);
        assert_eq!(handshakes.state().waiting.total(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn when_too_many_wait_the_host_with_the_most_is_refused() {
        let handshakes = Handshakes::new(1);
        let _running = handshakes.ticket(&host(1)).unwrap();
        let mut flood: Vec<_> = (0..MAX_WAITING).map(|_| handshakes.ticket(&host(1)).unwrap()).collect();
        assert!(handshakes.ticket(&host(1)).is_none());
        let _other = handshakes.ticket(&host(2)).unwrap();
        assert!(flood.pop().unwrap().slot().await.is_none(), "the newest");
        assert_eq!(handshakes.state().waiting.total(), MAX_WAITING);
        assert!(Handshakes::new(0).ticket(&host(1)).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_released_slot_is_granted_to_one_waiting_connection() {
        let handshakes = Handshakes::new(2);
        let mut slots = Vec::new();
        for _ in 0..2 {
            slots.push(handshakes.ticket(&host(1)).unwrap().slot().await.unwrap());
        }
        let waiting: Vec<_> = (2..5).map(|n| handshakes.ticket(&host(n)).unwrap()).collect();
        let counts = || {
            let state = handshakes.state();
            (state.running.total(), state.waiting.total())
        };
        assert_eq!(counts(), (2, 3));
        drop(slots.pop());
        assert_eq!(counts(), (2, 2));
        drop((slots, waiting));
        assert_eq!(counts(), (0, 0));
    }
}
