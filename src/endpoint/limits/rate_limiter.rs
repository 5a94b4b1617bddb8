//! How often something may be done.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Tokens, so many a second: those of one quiet second are kept, and no more.
#[derive(Debug)]
pub(in super::super) struct RateLimiter {
    /// `None`: there are no tokens at all.
    interval: Option<Duration>,
    /// When the last token that was given was due, or will be.
    last: Mutex<Option<Instant>>,
}

impl RateLimiter {
    pub(in super::super) fn new(per_second: u32) -> Self {
        RateLimiter { interval: Duration::from_secs(1).checked_div(per_second), last: Mutex::default() }
    }

    /// Waits for the next token.
    pub(in super::super) async fn take(&self) {
        match self.interval {
            Some(interval) => tokio::time::sleep_until(self.due(interval, Instant::now())).await,
            None => std::future::pending().await,
        }
    }

    /// When the next token is there. It is then given away.
    fn due(&self, interval: Duration, now: Instant) -> Instant {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Before this, tokens were not kept.
        let oldest = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        let due = last.unwrap_or(oldest).max(oldest).checked_add(interval).unwrap_or(now);
        *last = Some(due);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_s_tokens_are_there_at_once_and_then_so_many_a_second() {
        let bucket = RateLimiter::new(4);
        let start = Instant::now();
        let mut taken = Vec::new();
        for _ in 0..8 {
            bucket.take().await;
            taken.push(start.elapsed().as_millis());
        }
        assert_eq!(taken[..4], [0; 4]);
        for (count, millis) in (1..).zip(&taken[4..]) {
            assert!(millis.abs_diff(250 * count) <= 1, "{taken:?}");
        }
        // However long nobody comes, no more than a second's are kept.
        tokio::time::advance(Duration::from_secs(3600)).await;
        let start = Instant::now();
        for _ in 0..4 {
            bucket.take().await;
        }
        assert!(start.elapsed() <= Duration::from_millis(1));
        bucket.take().await;
        assert!(start.elapsed() >= Duration::from_millis(249), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn of_none_a_second_there_is_never_one() {
        let bucket = RateLimiter::new(0);
        tokio::time::timeout(Duration::from_secs(1_000_000), bucket.take()).await.unwrap_err();
    }
}
