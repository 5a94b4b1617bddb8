//! Places for connections in their handshake: bounded, and not to be had for ever by being silent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// How long a handshake has its place for sure. A good one is through in milliseconds; an older one gives way
/// to a newcomer when there is no other place.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// All places of an endpoint.
#[derive(Debug)]
pub(super) struct Handshakes {
    places: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Oldest first.
    running: VecDeque<Running>,
}

#[derive(Debug)]
struct Running {
    id: u64,
    since: Instant,
    give_way: oneshot::Sender<()>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    handshakes: Arc<Handshakes>,
    _permit: OwnedSemaphorePermit,
}

impl Handshakes {
    pub(super) fn new(places: usize) -> Arc<Self> {
        let places = super::listener::places(places);
        Arc::new(Handshakes { places, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next free place, and what says that it has to be given up.
    pub(super) async fn place(self: &Arc<Self>) -> Option<(Place, oneshot::Receiver<()>)> {
        let permit = loop {
            if let Ok(permit) = self.places.clone().try_acquire_owned() {
                break permit;
            }
            let wait = self.make_room(Instant::now());
            if let Ok(permit) = tokio::time::timeout(wait, self.places.clone().acquire_owned()).await {
                break permit.ok()?;
            }
            // The oldest may be old enough by now.
        };
        let (give_way, given_up) = oneshot::channel();
        let mut state = self.state();
        let id = state.next;
        state.next = id.wrapping_add(1);
        state.running.push_back(Running { id, since: Instant::now(), give_way });
        drop(state);
        Some((Place { id, handshakes: self.clone(), _permit: permit }, given_up))
    }

    /// Asks the oldest to give way if it has had its time, and says how long to wait for a place.
    fn make_room(&self, now: Instant) -> Duration {
        let mut state = self.state();
        let Some(oldest) = state.running.front() else { return GRACE };
        let age = now.saturating_duration_since(oldest.since);
        if age < GRACE {
            return GRACE.saturating_sub(age);
        }
        if let Some(oldest) = state.running.pop_front() {
            let _ = oldest.give_way.send(());
        }
        GRACE
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.handshakes.state();
        if let Some(at) = state.running.iter().position(|running| running.id == self.id) {
            state.running.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_handshake_that_has_had_its_time_gives_way() {
        let handshakes = Handshakes::new(2);
        let (first, mut first_given_up) = handshakes.place().await.unwrap();
        let (second, mut second_given_up) = handshakes.place().await.unwrap();
        let now = Instant::now();
        assert!(handshakes.make_room(now) <= GRACE);
        assert!(first_given_up.try_recv().is_err(), "too young");
        let later = now.checked_add(GRACE).unwrap();
        handshakes.make_room(later);
        assert!(first_given_up.try_recv().is_ok(), "the oldest");
        assert!(second_given_up.try_recv().is_err());
        drop(first);
        let (_third, mut third_given_up) = handshakes.place().await.unwrap();
        drop(second);
        assert_eq!(handshakes.state().running.len(), 1);
        assert!(third_given_up.try_recv().is_err());
    }
}
