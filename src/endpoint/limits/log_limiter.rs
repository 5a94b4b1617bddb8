//! Rate limiter for log lines that a remote peer can trigger.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Owner;

/// The maximum burst of lines of one kind for one owner. All nodes of a small cluster may reconnect at the same time,
/// and each line is useful.
const BURST: u32 = 16;

/// After the burst, one line is logged in this interval. So 10,000 events per second cause one line of 200 bytes every
/// ten seconds.
const INTERVAL: Duration = Duration::from_secs(10);

/// The maximum number of buckets, one for each pair of an owner and a kind. A bucket takes 100 bytes. If there are more
/// owners, they share one bucket for each kind.
const MAX_BUCKETS: usize = 256;

/// Token buckets for log lines, by the kind of line and by owner.
#[derive(Debug, Default)]
pub(crate) struct LogLimiter {
    state: Mutex<State>,
    /// Notified when there is something to report later.
    suppressed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// A bucket without an owner is shared by all owners without their own bucket.
    buckets: HashMap<(&'static str, Option<Owner>), Bucket>,
    report_at: Option<Instant>,
}

#[derive(Debug)]
struct Bucket {
    tokens: u32,
    /// When the last token was added.
    refilled: Instant,
    suppressed: u64,
}

impl LogLimiter {
    /// Returns `Some` if a line may be logged now. The value is the number of lines that were suppressed since the last
    /// logged line, if any.
    pub(crate) fn pass(&self, kind: &'static str, owner: &Owner) -> Option<Option<NonZeroU64>> {
        let now = Instant::now();
        let mut state = self.state();
        let bucket = state.bucket(kind, owner, now);
        bucket.refill(now);
        if let Some(tokens) = bucket.tokens.checked_sub(1) {
            bucket.tokens = tokens;
            return Some(NonZeroU64::new(std::mem::take(&mut bucket.suppressed)));
        }
        bucket.suppressed = bucket.suppressed.saturating_add(1);
        if state.report_at.is_none() {
            state.report_at = now.checked_add(INTERVAL);
            self.suppressed.notify_one();
        }
        None
    }

    /// Resolves when [`LogLimiter::report`] should be called. Cancel-safe.
    pub(crate) async fn report_due(&self) {
        loop {
            let report_at = self.state().report_at;
            match report_at {
                Some(report_at) => return tokio::time::sleep_until(report_at).await,
                None => self.suppressed.notified().await,
            }
        }
    }

    /// Returns how many lines of each kind were suppressed. Lines that are still too frequent are left out, because the next
    /// logged line of that kind and owner will contain their number. If this is the `last` call, all are returned.
    pub(crate) fn report(&self, last: bool) -> Vec<(&'static str, u64)> {
        let now = Instant::now();
        let mut state = self.state();
        let (mut report, mut later): (HashMap<&'static str, u64>, _) = (HashMap::new(), false);
        for ((kind, _), bucket) in &mut state.buckets {
            bucket.refill(now);
            if bucket.suppressed == 0 {
                continue;
            }
            if bucket.tokens > 0 || last {
                let count = report.entry(*kind).or_default();
                *count = count.saturating_add(std::mem::take(&mut bucket.suppressed));
            } else {
                later = true;
            }
        }
        state.report_at = if later { now.checked_add(INTERVAL) } else { None };
        drop(state);
        let mut report: Vec<_> = report.into_iter().collect();
        report.sort_unstable();
        report
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn bucket(&mut self, kind: &'static str, owner: &Owner, now: Instant) -> &mut Bucket {
        let mut key = (kind, Some(owner.clone()));
        if !self.buckets.contains_key(&key) && self.buckets.len() >= MAX_BUCKETS {
            self.buckets.retain(|_, bucket| !bucket.is_idle(now));
            if self.buckets.len() >= MAX_BUCKETS {
                key = (kind, None);
            }
        }
        self.buckets.entry(key).or_insert(Bucket { tokens: BURST, refilled: now, suppressed: 0 })
    }
}

impl Bucket {
    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.refilled).as_secs();
        let added = elapsed.checked_div(INTERVAL.as_secs()).unwrap_or_default();
        let added = u32::try_from(added).unwrap_or(u32::MAX);
        self.tokens = self.tokens.saturating_add(added).min(BURST);
        // The rest of an interval counts toward the next token.
        let spent = INTERVAL.saturating_mul(added);
        self.refilled = self.refilled.checked_add(spent).unwrap_or(now);
    }

    fn is_idle(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.tokens == BURST && self.suppressed == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u32) -> Owner {
        Owner::Host(std::net::Ipv4Addr::from(n).into())
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_burst_one_line_per_ten_seconds_is_logged_with_the_suppressed_count() {
        let limiter = LogLimiter::default();
        let mut lines = 0;
        let mut counted = 0;
        // 1,000 a second, for a minute.
        for _ in 0..60_000 {
            if let Some(suppressed) = limiter.pass("kind", &host(1)) {
                lines += 1;
                counted += suppressed.map_or(0, NonZeroU64::get);
            }
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(lines, u64::from(BURST) + 5);
        // The rest is reported after a pause.
        tokio::time::advance(INTERVAL).await;
        let late: u64 = limiter.report(false).iter().map(|(_, count)| count).sum();
        assert_eq!(lines + counted + late, 60_000);
    }

    #[tokio::test(start_paused = true)]
    async fn all_suppressed_lines_are_counted() {
        let limiter = LogLimiter::default();
        let passed = (0..100).filter(|_| limiter.pass("kind", &host(1)).is_some()).count();
        assert_eq!(passed, 16);
        let start = Instant::now();
        assert!(limiter.report(false).is_empty(), "the next logged line reports them");
        limiter.report_due().await;
        assert_eq!(start.elapsed(), INTERVAL);
        assert_eq!(limiter.report(false), [("kind", 84)]);
        assert!(limiter.report(false).is_empty());
        (0..100).for_each(|_| _ = limiter.pass("kind", &host(1)));
        assert_eq!(limiter.report(true), [("kind", 99)], "the last call reports them immediately");
    }

    #[tokio::test(start_paused = true)]
    async fn one_owner_does_not_suppress_lines_of_others_and_owners_are_bounded() {
        let limiter = LogLimiter::default();
        (0..1000).for_each(|_| _ = limiter.pass("kind", &host(1)));
        assert_eq!(limiter.pass("kind", &host(2)), Some(None));
        assert_eq!(limiter.pass("other kind", &host(1)), Some(None));
        let passed = (0..100_000).filter(|n| limiter.pass("kind", &host(*n)).is_some()).count();
        assert!(passed <= MAX_BUCKETS + 16, "{passed}");
        assert!(limiter.state().buckets.len() <= MAX_BUCKETS + 2);
        // After a pause, there is room for new owners.
        tokio::time::advance(INTERVAL * BURST).await;
        limiter.report(false);
        assert_eq!(limiter.pass("kind", &host(200_000)), Some(None));
        assert_eq!(limiter.state().buckets.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_keeps_its_bucket_while_new_owners_share_one() {
        let limiter = LogLimiter::default();
        let owners = u32::try_from(MAX_BUCKETS).unwrap();
        (0..owners).for_each(|n| _ = limiter.pass("kind", &host(n)).unwrap());
        let passed = (0..100).filter(|n| limiter.pass("kind", &host(owners + n)).is_some()).count();
        assert_eq!(passed, usize::try_from(BURST).unwrap(), "the new owners share one bucket");
        assert_eq!(limiter.pass("kind", &host(0)), Some(None));
    }
}
