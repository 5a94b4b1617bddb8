//! Waits of a connection that may never resolve.

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::endpoint::id_registry::Admission;
use crate::endpoint::limits::PeerSlot;
use crate::endpoint::queue::Queue;
use crate::net::sleep_until;

/// Resolves when there may be a message in the queue, or the queue has ended. May never resolve.
pub(super) async fn filled(queue: Option<&Queue>) {
    match queue {
        Some(queue) => queue.filled().await,
        None => std::future::pending().await,
    }
}

/// Resolves when a queue may have room for a blocked message. Boxed, so that other peers do not reserve memory for it.
pub(super) async fn room_available(room: &Notify) {
    Box::pin(room.notified()).await;
}

/// Resolves when the peer's slot is given to a different owner. May never resolve.
pub(super) async fn slot_evicted(slot: &mut Option<PeerSlot>) {
    match slot {
        Some(slot) => slot.evicted().await,
        None => std::future::pending().await,
    }
}

/// Resolves when this handshake has to end. May never resolve.
pub(super) async fn asked(given_up: &mut Option<oneshot::Receiver<()>>) {
    if let Some(asked) = given_up
        && asked.await.is_ok()
    {
        return;
    }
    *given_up = None;
    std::future::pending().await
}

/// Resolves at the deadline of the drain, which is rarely set. May never resolve.
pub(super) async fn drain_expired(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => Box::pin(sleep_until(Some(deadline))).await,
        None => std::future::pending().await,
    }
}

/// Returns the hub's answer. A hub that has ended admits no peer.
pub(super) async fn answer(admission: &mut Option<oneshot::Receiver<Admission>>) -> Admission {
    match admission {
        Some(answer) => answer.await.unwrap_or(Admission::Redundant),
        None => std::future::pending().await,
    }
}
