//! Deadlines on tokio's clock.

use std::time::Duration;

use tokio::time::Instant;

/// Returns `now + wait`, or `now` if that overflows the clock.
pub(crate) fn after(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now)
}

/// Waits until the deadline. Without a deadline, never returns. Cancel-safe.
pub(crate) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
