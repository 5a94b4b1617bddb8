//! Rate limiter for accepted connections.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A token bucket. It contains at most the tokens of one second.
#[derive(Debug)]
pub(in super::super) struct RateLimiter {
    /// The time for one token. `None`: there are no tokens.
    interval: Option<Duration>,
    /// The time at which the last taken token becomes available. It may be in the past.
    last: Mutex<Option<Instant>>,
}

impl RateLimiter {
    pub(in super::super) fn new(per_second: u32) -> Self {
        RateLimiter { interval: Duration::from_secs(1).checked_div(per_second), last: Mutex::default() }
    }

    /// Waits for the next token, and takes it. If the call is cancelled, the token is lost.
    pub(in super::super) async fn take(&self) {
        match self.interval {
            Some(interval) => tokio::time::sleep_until(self.due(interval, Instant::now())).await,
            None => std::future::pending().await,
        }
    }

    /// Takes the next token, and returns the time at which it is available.
    fn due(&self, interval: Duration, now: Instant) -> Instant {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Tokens that are older than a second expire.
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
    async fn the_tokens_of_one_second_are_available_at_once_and_later_ones_at_the_rate() {
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
        // After a long pause, only the tokens of one second are available.
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
    async fn at_a_rate_of_zero_there_is_no_token() {
        let bucket = RateLimiter::new(0);
        tokio::time::timeout(Duration::from_secs(1_000_000), bucket.take()).await.unwrap_err();
    }
}
