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

/// A duration in seconds, which may have a fraction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seconds(pub(crate) Duration);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .ok()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .filter(|time| !time.is_zero())
            .map(Seconds)
            .ok_or_else(|| "use a number of seconds above 0, such as 5 or 0.5".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_above_zero_and_finite() {
        assert_eq!("0.5".parse::<Seconds>().unwrap().0, Duration::from_millis(500));
        for bad in ["0", "-1", "nan", "inf", "1e30", "5s", ""] {
            assert!(bad.parse::<Seconds>().is_err(), "{bad}");
        }
    }
}
