//! A histogram of the latency of forwarded messages.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets, in microseconds: three for each power of ten, from 10 µs to 10 s.
const BOUNDS: [u64; 19] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// A histogram that is shared between tasks.
#[derive(Debug)]
pub(super) struct Histogram {
    /// There is one more bucket than bounds, because the last bucket has no upper bound.
    counts: [AtomicU64; BOUNDS.len() + 1],
    /// In nanoseconds.
    sum: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Latency {
    /// The upper bounds of the buckets, in seconds, ascending.
    pub(crate) bounds: Vec<f64>,
    /// The number of messages in each bucket. There is one more bucket than bounds.
    pub(crate) counts: Vec<u64>,
    /// The sum of all latencies, in seconds.
    pub(crate) sum: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: std::array::from_fn(|_| AtomicU64::new(0)), sum: AtomicU64::new(0) }
    }
}

impl Histogram {
    pub(super) fn record(&self, latency: Duration) {
        // Upper bounds are inclusive.
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| bound.saturating_mul(1000) < nanos);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Latency {
        Latency {
            bounds: BOUNDS.iter().map(|bound| Duration::from_micros(*bound).as_secs_f64()).collect(),
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: Duration::from_nanos(self.sum.load(Ordering::Relaxed)).as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_bounds_are_inclusive() {
        let histogram = Histogram::default();
        let took = [0, 10_000, 10_001, 25_000, 10_000_000_000, 10_000_000_001];
        took.into_iter().map(Duration::from_nanos).for_each(|took| histogram.record(took));
        let latency = histogram.read();
        assert_eq!(latency.counts.len(), latency.bounds.len() + 1);
        assert_eq!((latency.counts[0], latency.counts[1]), (2, 2));
        assert_eq!((latency.counts[18], latency.counts[19]), (1, 1));
        assert_eq!(latency.counts.iter().sum::<u64>(), 6);
        assert_eq!((latency.bounds[0], latency.bounds[18]), (1e-5, 10.0));
        assert!((latency.sum - 20.000_045_002).abs() < 1e-9, "{}", latency.sum);
    }
}
