//! Limits a log message that a peer can trigger.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The minimum time between two messages.
const PAUSE: Duration = Duration::from_secs(1);

/// Allows one message per second, and counts the others.
#[derive(Debug, Default)]
pub(super) struct Limiter(Mutex<(Option<Instant>, u64)>);

impl Limiter {
    /// If a message is allowed now, returns the number of messages that were suppressed since the last allowed message.
    /// Otherwise returns `None`.
    pub(super) fn allow(&self) -> Option<u64> {
        // No code panics while it holds the lock.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, suppressed) = &mut *state;
        if last.is_some_and(|last| last.elapsed() < PAUSE) {
            *suppressed = suppressed.saturating_add(1);
            return None;
        }
        *last = Some(Instant::now());
        Some(std::mem::take(suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_message_per_second_is_allowed_and_the_others_are_counted() {
        let limiter = Limiter::default();
        assert_eq!(limiter.allow(), Some(0));
        tokio::time::advance(Duration::from_millis(999)).await;
        assert_eq!([limiter.allow(), limiter.allow()], [None; 2]);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(limiter.allow(), Some(2));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(limiter.allow(), Some(0));
    }
}
