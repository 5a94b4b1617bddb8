//! The option `--retry` of the commands that connect again.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use zeek_bridge::endpoint::Retry;

use super::values::Seconds;

/// When to connect again: `SECONDS`, or `FIRST..CAP`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RetryArg(pub(crate) Retry);

/// The longest wait between two attempts, as in the configuration of a bridge.
const LONGEST_RETRY: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest: without a wait, a target that refuses would be tried without end.
const SHORTEST_RETRY: Duration = Duration::from_millis(1);

impl FromStr for RetryArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wait = |text: &str| {
            let wait = text.parse::<Seconds>().ok().map(|Seconds(wait)| wait);
            wait.filter(|wait| (SHORTEST_RETRY..=LONGEST_RETRY).contains(wait)).ok_or_else(|| {
                "give seconds from 0.001 to 86400, such as 1, or the first wait and the longest, such as 0.5..10"
                    .to_owned()
            })
        };
        let (first, cap) = match text.split_once("..") {
            Some((first, cap)) => (wait(first)?, wait(cap)?),
            None => (wait(text)?, wait(text)?),
        };
        if cap < first {
            return Err("the longest wait is shorter than the first; give the longer one last".into());
        }
        Ok(RetryArg(Retry { first, cap }))
    }
}

impl fmt::Display for RetryArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Retry { first, cap } = self.0;
        write!(f, "{}", first.as_secs_f64())?;
        if cap > first {
            write!(f, "..{}", cap.as_secs_f64())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_one_wait_or_the_first_and_the_longest() {
        let retry =
            |first, cap| Retry { first: Duration::from_millis(first), cap: Duration::from_millis(cap) };
        for (text, expected) in [
            ("1", retry(1000, 1000)),
            ("0.5..10", retry(500, 10_000)),
            ("86400", retry(86_400_000, 86_400_000)),
        ] {
            let parsed: RetryArg = text.parse().unwrap();
            assert_eq!((parsed.0, parsed.to_string().as_str()), (expected, text));
        }
        assert_eq!(RetryArg::default().to_string(), "1");
        for (bad, words) in [
            ("", "such as 0.5..10"),
            ("0", "from 0.001"),
            ("0.0001", "from 0.001"),
            ("86401", "to 86400"),
            ("-1", "from 0.001"),
            ("1..", "such as 0.5..10"),
            ("1..2..3", "such as 0.5..10"),
            ("10..1", "shorter than the first"),
        ] {
            let error = bad.parse::<RetryArg>().unwrap_err();
            assert!(error.contains(words), "{bad}: {error}");
        }
    }
}
