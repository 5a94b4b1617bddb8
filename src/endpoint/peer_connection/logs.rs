//! The log batches that a logger of a ZeroMQ cluster receives.

use tokio::sync::OwnedSemaphorePermit;

use super::PeerConnection;
use crate::endpoint::zeromq::{LogQueue, PendingLogs};
use crate::net::Session;

impl<S: Session> PeerConnection<S> {
    /// Queues the pending batch in `room`, and resumes reading. If the receiver of the logs is gone, leaves the peer.
    pub(super) fn queue_logs(&mut self, room: Option<OwnedSemaphorePermit>) {
        let (Some(queue), Some(pending)) = (&self.logs, self.pending_logs.take()) else { return };
        match room {
            Some(room) => queue.push(pending, room),
            None => self.leave(),
        }
        self.connection.pause(false);
    }
}

/// Waits until there is room for a pending batch. Returns `None` if the receiver of the logs is gone. May never resolve.
pub(super) async fn room(
    queue: Option<&LogQueue>,
    pending: &Option<PendingLogs>,
) -> Option<OwnedSemaphorePermit> {
    match (queue, pending) {
        (Some(queue), Some(pending)) => Box::pin(queue.room(pending)).await,
        _ => std::future::pending().await,
    }
}
