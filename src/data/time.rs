//! Points in time and spans of time (protocol section 5).

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time: nanoseconds since the Unix epoch, negative before it (1677 to 2262).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(i64);

/// A span of time in nanoseconds, negative for backwards (292 years either way).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timespan(i64);

/// A time that does not fit 64 bits of nanoseconds, or a negative one where none can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("time out of range: Broker holds times as 64-bit nanoseconds, about 292 years around the epoch")]
pub struct TimeOutOfRange;

impl Timestamp {
    /// From nanoseconds since the epoch.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Timestamp(nanos)
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }
}

impl Timespan {
    /// From nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Timespan(nanos)
    }

    /// Nanoseconds.
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
        // 292 years fit every platform's SystemTime; the epoch is the answer where they do not.
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

/// The reference's notation: nanoseconds since the epoch with their unit.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ns", self.0)
    }
}

/// The reference's notation: nanoseconds with their unit.
impl fmt::Display for Timespan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ns", self.0)
    }
}
