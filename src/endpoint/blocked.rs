//! Messages for which a peer's queue had no room.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::Notify;

use super::counters::Counters;
use super::queue::{Queue, Refused};
use crate::net::Frames;

/// Messages that wait for room in a peer's queue. If this value is dropped before all of them are queued, the remaining
/// ones are counted as dropped.
#[derive(Debug)]
pub(crate) struct Blocked {
    pub(super) queue: Arc<Queue>,
    pub(super) frames: Frames,
    /// Whether a quarter of the queue must remain free.
    pub(super) sparing: bool,
    /// The counters of the endpoint of the queue.
    pub(super) stats: Arc<Counters>,
}

impl Blocked {
    /// Waits until all messages are in the queue, or the queue has ended.
    #[cfg(feature = "bridge")]
    pub(crate) async fn flush(mut self) {
        let room = Arc::new(Notify::new());
        while !self.retry(&room) {
            room.notified().await;
        }
    }

    /// Returns the encoded length of the messages in bytes.
    #[cfg(feature = "bridge")]
    pub(crate) fn bytes(&self) -> usize {
        self.frames.length()
    }

    /// Returns the number of messages.
    #[cfg(all(test, feature = "bridge"))]
    pub(super) fn messages(&self) -> usize {
        self.frames.messages()
    }

    /// Pushes as many messages as there is room for, and keeps the others in `all`. `room` is notified when they should
    /// be retried.
    pub(super) fn retry_all(all: &mut Vec<Blocked>, room: &Arc<Notify>) {
        // Messages for one queue must keep their order. After one was refused, the later ones are not tried, even if
        // there is room in the meantime.
        let mut refused = HashSet::new();
        all.retain_mut(|blocked| {
            let queue = Arc::as_ptr(&blocked.queue).addr();
            let is_blocked = refused.contains(&queue) || !blocked.retry(room);
            if is_blocked {
                refused.insert(queue);
            }
            is_blocked
        });
    }

    /// Returns whether this is finished: all messages are queued, or the queue has ended. Otherwise, `room` is notified
    /// when it is time to retry.
    fn retry(&mut self, room: &Arc<Notify>) -> bool {
        self.queue.try_push_or_wait(&mut self.frames, self.sparing, room) != Err(Refused::Full)
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        let lost = self.frames.messages();
        self.queue.cancel_wait(lost);
        self.stats.dropped_for_peers.add(lost);
    }
}
