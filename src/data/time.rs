//! Points in time and spans of time.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time in nanoseconds since the Unix epoch, negative before it. The range is 1677 to 2262.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(i64);

/// A span of time in nanoseconds, which may be negative. The range is 292 years in each direction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timespan(i64);

/// The error for a time that exceeds 64 bits of nanoseconds, or that is negative although the target type has no
/// negative times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("time out of range: Broker stores times as 64-bit nanoseconds, about 292 years around the epoch")]
pub struct TimeOutOfRange;

impl Timestamp {
    /// Returns the time this many nanoseconds after the epoch.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Timestamp(nanos)
    }

    /// Returns the nanoseconds since the epoch.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }
}

impl Timespan {
    /// Returns a span of this many nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Timespan(nanos)
    }

    /// Returns the nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }
}

fn nanos(duration: Duration) -> Result<i64, TimeOutOfRange> {
    i64::try_from(duration.as_nanos()).map_err(|_| TimeOutOfRange)
}

impl TryFrom<SystemTime> for Timestamp {
    type Error = TimeOutOfRange;

    fn try_from(time: SystemTime) -> Result<Self, TimeOutOfRange> {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => nanos(since).map(Timestamp),
            Err(before) => {
                nanos(before.duration()).and_then(|n| n.checked_neg().ok_or(TimeOutOfRange)).map(Timestamp)
            }
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let distance = Duration::from_nanos(time.0.unsigned_abs());
        let moved =
            if time.0 < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
        // The SystemTime of every known platform can represent 292 years around the epoch.
        moved.unwrap_or(UNIX_EPOCH)
    }
}

impl TryFrom<Duration> for Timespan {
    type Error = TimeOutOfRange;

    fn try_from(duration: Duration) -> Result<Self, TimeOutOfRange> {
        nanos(duration).map(Timespan)
    }
}

impl TryFrom<Timespan> for Duration {
    type Error = TimeOutOfRange;

    fn try_from(span: Timespan) -> Result<Self, TimeOutOfRange> {
        u64::try_from(span.0).map(Duration::from_nanos).map_err(|_| TimeOutOfRange)
    }
}

/// Broker's notation: nanoseconds since the epoch, with the unit.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ns", self.0)
    }
}

/// Broker's notation: nanoseconds with the unit.
impl fmt::Display for Timespan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ns", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_standard_library_go_there_and_back() {
        for nanos in [0, 1_500_000_000, -1_500_000_000, i64::MAX] {
            assert_eq!(SystemTime::from(Timestamp(nanos)).try_into(), Ok(Timestamp(nanos)), "{nanos}");
        }
        assert_eq!(Timespan::try_from(Duration::from_millis(1500)), Ok(Timespan(1_500_000_000)));
        assert_eq!(Duration::try_from(Timespan(1_500)), Ok(Duration::from_nanos(1_500)));
        assert_eq!(Duration::try_from(Timespan(-1)), Err(TimeOutOfRange));
        assert_eq!(Timespan::try_from(Duration::MAX), Err(TimeOutOfRange));
    }
}
