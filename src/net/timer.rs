//! Deadlines on tokio's clock.

use std::time::Duration;

use tokio::time::Instant;

/// The longest wait. A longer one, such as [`Duration::MAX`], could overflow the clock.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Returns the time after `wait`, or in a century if `wait` is longer.
pub(crate) fn after(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait.min(CENTURY)).unwrap_or(now)
}

/// Like [`after`], on the clock of the standard library, which sans-io code uses.
pub(crate) fn std_after(wait: Duration) -> std::time::Instant {
    let now = std::time::Instant::now();
    now.checked_add(wait.min(CENTURY)).unwrap_or(now)
}

/// Waits until the deadline. Without a deadline, never returns. Cancel-safe.
pub(crate) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_wait_ends_in_a_century() {
        assert!(after(Duration::MAX) >= Instant::now() + CENTURY / 2);
        assert!(std_after(Duration::MAX) >= std::time::Instant::now() + CENTURY / 2);
    }
}
