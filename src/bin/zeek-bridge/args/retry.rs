//! The option `--retry` of commands that reconnect.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use zeek_bridge::endpoint::Retry;

use super::values::DurationArg;

/// The delays before reconnecting: one duration, or `FIRST..CAP`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RetryArg(pub(crate) Retry);

/// The longest delay, as in the configuration of a bridge.
const LONGEST_RETRY: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest delay. Without a minimum, a target that refuses connections would cause a busy loop.
const SHORTEST_RETRY: Duration = Duration::from_millis(1);

impl FromStr for RetryArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let delay = |text: &str| {
            let delay = text.parse::<DurationArg>().ok().map(|DurationArg(delay)| delay);
            delay.filter(|delay| (SHORTEST_RETRY..=LONGEST_RETRY).contains(delay)).ok_or_else(|| {
                "use a duration from 1ms to 1day, such as 1s, or the first and the longest delay, such as 500ms..10s"
                    .to_owned()
            })
        };
        let (first, cap) = match text.split_once("..") {
            Some((first, cap)) => (delay(first)?, delay(cap)?),
            None => (delay(text)?, delay(text)?),
        };
        if cap < first {
            return Err("the longest delay is shorter than the first; the longer one must be last".into());
        }
        Ok(RetryArg(Retry { first, cap }))
    }
}

impl fmt::Display for RetryArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Retry { first, cap } = self.0;
        write!(f, "{}", humantime::format_duration(first))?;
        if cap > first {
            write!(f, "..{}", humantime::format_duration(cap))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_is_one_delay_or_the_first_and_the_longest() {
        let retry =
            |first, cap| Retry { first: Duration::from_millis(first), cap: Duration::from_millis(cap) };
        for (text, expected, shown) in [
            ("1", retry(1000, 1000), "1s"),
            ("0.5..10", retry(500, 10_000), "500ms..10s"),
            ("500ms..2m", retry(500, 120_000), "500ms..2m"),
            ("86400", retry(86_400_000, 86_400_000), "1day"),
        ] {
            let parsed: RetryArg = text.parse().unwrap();
            assert_eq!((parsed.0, parsed.to_string().as_str()), (expected, shown));
        }
        assert_eq!(RetryArg::default().to_string(), "1s");
        for (bad, message) in [
            ("", "such as 1s"),
            ("0", "from 1ms"),
            ("0.0001", "from 1ms"),
            ("86401", "to 1day"),
            ("-1", "from 1ms"),
            ("1..", "such as 1s"),
            ("1..2..3", "500ms..10s"),
            ("10..1", "shorter than the first"),
        ] {
            let error = bad.parse::<RetryArg>().unwrap_err();
            assert!(error.contains(message), "{bad}: {error}");
        }
    }
}
