//! The next thing that a connection handles.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use tokio::sync::OwnedSemaphorePermit;

use crate::endpoint::connect_error::ConnectError;
use crate::endpoint::id_registry::Admission;
use crate::net::Progress;

/// Rare events are polled first in one of so many turns. So a peer with many messages cannot delay them for long.
pub(super) const RARE_FIRST: u32 = 16;

pub(super) enum Turn {
    Progress(Progress),
    /// There may be a message in the queue, or the queue has ended.
    Filled,
    Rare(Rare),
}

/// What happens rarely after the handshake.
pub(super) enum Rare {
    /// Something has changed that is handled before each turn.
    Changed,
    /// The publishers have to be checked.
    CheckDue,
    LogRoom(Option<OwnedSemaphorePermit>),
    KeysReplaced,
    Admission(Admission),
    NewFilter,
    /// The phase of the endpoint has changed. `false`: the endpoint was dropped.
    NewPhase(bool),
    End(ConnectError),
}

/// Waits for the next turn. Polls `rare` only before it would wait, except if `rare_first`: its many parts register with other tasks
/// each time, which takes longer than to relay a message.
pub(super) async fn next_turn(
    mut progress: Pin<&mut impl Future<Output = Progress>>,
    mut filled: Pin<&mut impl Future<Output = ()>>,
    mut rare: Pin<&mut impl Future<Output = Rare>>,
    rare_first: bool,
) -> Turn {
    poll_fn(|cx| {
        if rare_first && let Poll::Ready(rare) = rare.as_mut().poll(cx) {
            return Poll::Ready(Turn::Rare(rare));
        }
        if let Poll::Ready(progress) = progress.as_mut().poll(cx) {
            return Poll::Ready(Turn::Progress(progress));
        }
        if filled.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Turn::Filled);
        }
        if rare_first { Poll::Pending } else { rare.as_mut().poll(cx).map(Turn::Rare) }
    })
    .await
}
