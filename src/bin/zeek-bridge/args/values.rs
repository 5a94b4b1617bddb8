//! Parsers of single values.

use std::str::FromStr;
use std::time::Duration;

use zeek_bridge::data::Topic;

/// A topic, or a prefix of topics.
#[derive(Clone, Debug)]
pub(crate) struct TopicArg(pub(crate) Topic);

impl FromStr for TopicArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let topic = Topic::new(text.to_owned()).map_err(|error| error.to_string())?;
        if topic.is_local() {
            let prefix = Topic::LOCAL_PREFIX;
            return Err(format!(
                "topics that start with {prefix} never leave an endpoint: no peer sends or receives them"
            ));
        }
        Ok(TopicArg(topic))
    }
}

/// Parses the name of a node, which is written to logs and terminals.
pub(crate) fn node_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("use a name without control characters, such as worker-01".into());
    }
    Ok(text.to_owned())
}

/// Parses a count above 0.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| format!("use a number from 1 to {}", u64::MAX))
}

/// A duration above 0: a number with a unit, such as `10s` or `500ms`, or a number of seconds, such as `5` or `0.5`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DurationArg(pub(crate) Duration);

impl FromStr for DurationArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let duration = seconds.or_else(|| humantime::parse_duration(text).ok());
        duration.filter(|duration| !duration.is_zero()).map(DurationArg).ok_or_else(|| {
            "use a duration above 0, such as 10s, 500ms or 2m; without a unit, it is in seconds".into()
        })
    }
}

/// The interval of reports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval(pub(crate) Duration);

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = Duration::from_millis(100)..=Duration::from_secs(86400);
        let interval = text.parse::<DurationArg>().ok().map(|duration| duration.0);
        let interval = interval.filter(|interval| range.contains(interval));
        interval.map(Interval).ok_or_else(|| "use a duration from 100ms to 1day, such as 5s or 500ms".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_or_are_seconds_and_are_above_zero_and_finite() {
        for (text, milliseconds) in [
            ("0.5", 500),
            ("10", 10_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("10s", 10_000),
            ("1m 30s", 90_000),
        ] {
            assert_eq!(text.parse::<DurationArg>().unwrap().0, Duration::from_millis(milliseconds), "{text}");
        }
        for bad in ["0", "0s", "-1", "-1s", "nan", "inf", "1e30", "5x", "s", "", "999999999999999999999y"] {
            assert!(bad.parse::<DurationArg>().unwrap_err().contains("such as 10s"), "{bad}");
        }
    }

    #[test]
    fn intervals_are_neither_too_short_nor_endless() {
        for text in ["0.5", "500ms"] {
            assert_eq!(text.parse::<Interval>().unwrap().0, Duration::from_millis(500), "{text}");
        }
        for bad in ["0", "0.09", "-1", "86401", "nan", "2day", ""] {
            assert!(bad.parse::<Interval>().unwrap_err().contains("100ms to 1day"), "{bad}");
        }
    }
}
