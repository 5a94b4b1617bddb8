//! The next thing that a connection handles.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::coop::has_budget_remaining;

use crate::endpoint::connect_error::ConnectError;
use crate::endpoint::id_registry::Admission;
use crate::net::Progress;

/// Rare events are polled first in every 16th turn, so that a peer with many messages cannot delay them for long.
pub(super) const RARE_FIRST_INTERVAL: u32 = 16;

pub(super) enum Turn {
    Progress(Progress),
    /// There may be a message in the queue, or the queue has ended.
    Filled,
    Rare(Rare),
}

/// An event that is rare after the handshake.
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

/// Waits for the next turn. Unless `rare_first` is set, polls `rare` only if nothing else is ready. Each poll of `rare` registers
/// this task in several lists of waiting tasks, which takes longer than relaying a message.
pub(super) async fn next_turn(
    mut progress: Pin<&mut impl Future<Output = Progress>>,
    mut filled: Pin<&mut impl Future<Output = ()>>,
    mut rare: Pin<&mut impl Future<Output = Rare>>,
    mut rare_first: bool,
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
        if rare_first {
            return Poll::Pending;
        }
        // A peer that sends only pings and pongs uses the complete budget without an event. `rare` is then always pending.
        rare_first = !has_budget_remaining();
        rare.as_mut().poll(cx).map(Turn::Rare)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::pin;

    use tokio::task::consume_budget;

    use super::*;

    async fn rare() -> Rare {
        consume_budget().await;
        Rare::Changed
    }

    /// Input without events, which never ends.
    async fn busy() -> Progress {
        for _ in 0..100_000 {
            consume_budget().await;
        }
        panic!("nothing else was polled")
    }

    async fn next(progress: impl Future<Output = Progress>, rare_first: bool) -> Turn {
        next_turn(pin!(progress), pin!(pending()), pin!(rare()), rare_first).await
    }

    #[tokio::test]
    async fn a_peer_that_uses_the_complete_budget_does_not_delay_what_is_rare() {
        for rare_first in [false, true] {
            let turn = tokio::spawn(async move { next(busy(), rare_first).await });
            assert!(matches!(turn.await.unwrap(), Turn::Rare(Rare::Changed)));
        }
    }

    #[tokio::test]
    async fn progress_comes_first_in_most_turns() {
        let ready = || std::future::ready(Progress::CaughtUp);
        assert!(matches!(next(ready(), false).await, Turn::Progress(Progress::CaughtUp)));
        assert!(matches!(next(ready(), true).await, Turn::Rare(Rare::Changed)));
    }
}
