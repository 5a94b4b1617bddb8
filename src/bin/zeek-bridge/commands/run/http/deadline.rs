//! Cuts viewers that do not read, or that read slowly.

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The time limit for a viewer to receive a frame.
pub(super) const FRAME_TIME: Duration = Duration::from_secs(10);

/// The time at which a connection must have taken its last frame; `None` while it waits for a frame. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Deadline(watch::Sender<Option<Instant>>);

impl Deadline {
    /// Starts the time limit for a frame.
    pub(super) fn start(&self) {
        self.0.send_replace(Instant::now().checked_add(FRAME_TIME));
    }

    /// Ends the time limit: the connection waits for the next frame.
    pub(super) fn end(&self) {
        self.0.send_if_modified(|deadline| deadline.take().is_some());
    }

    /// Waits until a frame was not taken in time.
    pub(super) async fn passed(&self) {
        let mut deadline = self.0.subscribe();
        loop {
            let current = *deadline.borrow_and_update();
            let passes = async {
                match current {
                    Some(deadline) => sleep_until(deadline).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = passes => return,
                // Cannot fail, because `self` is a sender.
                _ = deadline.changed() => {}
            }
        }
    }
}
