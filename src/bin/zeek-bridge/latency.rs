//! Percentiles of the relay latency.

use std::fmt;
use std::time::Duration;

use zeek_bridge::bridge::Latency;

/// A percentile, as precisely as the buckets of a histogram allow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Percentile {
    /// At most this number of seconds.
    AtMost(f64),
    /// More than this number of seconds, the largest bound.
    MoreThan(f64),
}

impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, seconds) = match self {
            Percentile::AtMost(seconds) => ('≤', seconds),
            Percentile::MoreThan(seconds) => ('>', seconds),
        };
        write!(f, "{sign} {:?}", Duration::try_from_secs_f64(*seconds).unwrap_or_default())
    }
}

/// Returns the number of measured messages.
pub(crate) fn samples(latency: &Latency) -> u64 {
    latency.counts.iter().fold(0, |sum: u64, count| sum.saturating_add(*count))
}

/// Returns a percentile, or `None` if nothing was measured.
pub(crate) fn percentile(latency: &Latency, percent: u8) -> Option<Percentile> {
    let count = samples(latency);
    if count == 0 {
        return None;
    }
    let rank = u128::from(count).saturating_mul(percent.into()).div_ceil(100);
    let mut seen = 0_u128;
    let bucket = latency.counts.iter().position(|count| {
        seen = seen.saturating_add((*count).into());
        seen >= rank
    })?;
    let bound = latency.bounds.get(bucket).copied().map(Percentile::AtMost);
    bound.or_else(|| latency.bounds.last().copied().map(Percentile::MoreThan))
}

/// Returns the median and the 99th percentile as text, or `None` if nothing was measured.
pub(crate) fn summary(latency: &Latency) -> Option<String> {
    Some(format!("p50 {}, p99 {}", percentile(latency, 50)?, percentile(latency, 99)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_bounds_of_buckets() {
        let latency =
            |counts: [u64; 3]| Latency { bounds: vec![0.00025, 0.01], counts: counts.into(), sum: 0.0 };
        for (counts, expected) in [
            ([0, 0, 0], None),
            ([1, 0, 0], Some("p50 ≤ 250µs, p99 ≤ 250µs")),
            ([99, 1, 0], Some("p50 ≤ 250µs, p99 ≤ 250µs")),
            ([98, 2, 0], Some("p50 ≤ 250µs, p99 ≤ 10ms")),
            ([1, 1, 1], Some("p50 ≤ 10ms, p99 > 10ms")),
            ([u64::MAX, u64::MAX, 0], Some("p50 ≤ 250µs, p99 ≤ 250µs")),
        ] {
            assert_eq!(summary(&latency(counts)).as_deref(), expected, "{counts:?}");
        }
        assert_eq!(percentile(&Latency { counts: vec![1], ..Latency::default() }, 50), None);
    }
}
