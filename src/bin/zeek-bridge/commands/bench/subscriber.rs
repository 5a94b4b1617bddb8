//! A subscriber: receives the messages of the publisher, and counts them.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use zeek_bridge::endpoint::ConnectError;

use super::pattern::Pattern;
use super::peer::LoadPeer;
use super::tally::Tally;

/// The messages that a subscriber has received.
#[derive(Debug, Default)]
pub(super) struct Subscriber {
    /// The highest received number plus one.
    pub(super) arrived: AtomicU64,
    tally: Mutex<Tally>,
}

/// The number that all subscribers must reach before the publisher continues.
#[derive(Debug, Default)]
pub(super) struct WaitedFor {
    pub(super) number: AtomicU64,
    pub(super) arrived: Notify,
}

impl Subscriber {
    /// Counts received messages until it is stopped.
    pub(super) async fn receive(
        self: Arc<Self>,
        mut peer: LoadPeer,
        pattern: Arc<Pattern>,
        waited_for: Arc<WaitedFor>,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<(), ConnectError> {
        let mut arrived = 0;
        loop {
            peer.answer().await?;
            tokio::select! {
                biased;
                read = peer.read() => read?,
                _ = stopped.changed() => break,
            }
            let before = arrived;
            let mut tally = self.tally();
            peer.on_data(pattern.head(), |length, head| match pattern.number(length, head) {
                Some(number) => {
                    tally.note(number);
                    arrived = arrived.max(number.saturating_add(1));
                }
                None => tally.note_foreign(),
            })?;
            drop(tally);
            self.arrived.store(arrived, SeqCst);
            // No wake-up is missed: the publisher stores the number that it waits for before it checks the progress, and this
            // task stores its progress before it reads that number.
            if (before..arrived).contains(&waited_for.number.load(SeqCst).saturating_sub(1)) {
                waited_for.arrived.notify_one();
            }
        }
        peer.leave().await;
        Ok(())
    }

    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        // No code panics while it holds the lock.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the number of the last message that all subscribers have received, plus one.
pub(super) fn arrived(subscribers: &[Arc<Subscriber>]) -> u64 {
    subscribers.iter().map(|subscriber| subscriber.arrived.load(SeqCst)).min().unwrap_or_default()
}
