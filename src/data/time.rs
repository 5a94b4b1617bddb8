//! Points in time and spans of time (protocol section 5).

use std::fmt;
use std::str::FromStr;
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

/// A text that is not a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a timespan: expected a whole number with ns, us, ms, s, min, h or d, of at most 292 years")]
pub struct InvalidTimespan;

/// The notation of Broker's JSON, such as `1500ms`; also reads what `Display` writes.
impl FromStr for Timespan {
    type Err = InvalidTimespan;

    fn from_str(text: &str) -> Result<Self, InvalidTimespan> {
        let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or(InvalidTimespan)?;
        let (number, unit) = text.split_at_checked(unit_at).ok_or(InvalidTimespan)?;
        let unit: i64 = match unit {
            "ns" => 1,
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "min" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            _ => return Err(InvalidTimespan),
        };
        let number: i64 = number.parse().map_err(|_| InvalidTimespan)?;
        number.checked_mul(unit).map(Timespan).ok_or(InvalidTimespan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timespans_are_read_in_every_unit() {
        for (text, nanos) in [
            ("10ns", 10),
            ("5us", 5_000),
            ("1500ms", 1_500_000_000),
            ("-1500ms", -1_500_000_000),
            ("0s", 0),
            ("90s", 90_000_000_000),
            ("2min", 120_000_000_000),
            ("1h", 3_600_000_000_000),
            ("1d", 86_400_000_000_000),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
        ] {
            assert_eq!(text.parse(), Ok(Timespan(nanos)), "{text}");
            assert_eq!(Timespan(nanos).to_string().parse(), Ok(Timespan(nanos)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_timespans() {
        for text in
            ["", "5", "s", "1.5s", "1 s", "5m", "5S", "5sec", "1s5ms", "9223372036855ms", "--1s", "1µs", "é"]
        {
            assert_eq!(text.parse::<Timespan>(), Err(InvalidTimespan), "{text}");
        }
    }

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
