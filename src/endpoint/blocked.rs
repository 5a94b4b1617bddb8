//! Messages that found no room in a peer's queue.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::Notify;

use super::counters::Counters;
use super::queue::{Queue, Refused};
use crate::net::Frames;

/// Messages that wait for room in a peer's queue. What is dropped before is counted as dropped.
#[derive(Debug)]
pub(crate) struct Blocked {
    pub(super) queue: Arc<Queue>,
    pub(super) frames: Frames,
    /// Whether it leaves room for others.
    pub(super) sparing: bool,
    /// Of the endpoint whose peer it is for.
    pub(super) stats: Arc<Counters>,
}

impl Blocked {
    /// Waits until all is in the queue, or the queue has ended.
    pub(crate) async fn flush(mut self) {
        let room = Arc::new(Notify::new());
        while !self.retry(&room) {
            room.notified().await;
        }
    }

    /// How many bytes wait.
    #[cfg(feature = "bridge")]
    pub(crate) fn bytes(&self) -> usize {
        self.frames.length()
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn messages(&self) -> usize {
        self.frames.messages()
    }

    /// Tries again to hand these on, and keeps those that still wait: `room` is told when to come again.
    pub(super) fn retry_all(all: &mut Vec<Blocked>, room: &Arc<Notify>) {
        // Not past one that was refused just now, though there may be room again.
        let mut refused = HashSet::new();
        all.retain_mut(|blocked| {
            let queue = Arc::as_ptr(&blocked.queue).addr();
            let waits = refused.contains(&queue) || !blocked.retry(room);
            if waits {
                refused.insert(queue);
            }
            waits
        });
    }

    /// Whether it waits no more: all is in the queue, or the queue has ended. If not, `room` is told when to try again.
    fn retry(&mut self, room: &Arc<Notify>) -> bool {
        self.queue.try_push_or_wait(&mut self.frames, self.sparing, room) != Err(Refused::Full)
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        let lost = self.frames.messages();
        self.queue.waits_no_more(lost);
        self.stats.dropped_for_peers.add(lost);
    }
}
