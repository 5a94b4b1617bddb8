//! Deadlines from time limits that a user chooses.

use std::time::Duration;

use tokio::time::Instant;

/// The longest time limit: far longer than the program runs, and short enough that no clock overflows.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Returns the time after `limit`, or in a hundred years if that is earlier.
pub(crate) fn after(limit: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(limit.min(LONGEST)).unwrap_or(now)
}

/// Waits until this time, or forever if there is none.
pub(crate) async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_time_limit_does_not_expire_at_once() {
        assert!(after(Duration::MAX) > after(Duration::from_secs(3600)));
    }
}
