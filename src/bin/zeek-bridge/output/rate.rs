//! Rates in a readable form.

use std::time::Duration;

/// Returns the rate of `count` events in this time, as the number per ten seconds.
pub(crate) fn per_ten_seconds(count: u64, time: Duration) -> u64 {
    let nanos = time.as_nanos().max(1);
    let scaled = u128::from(count).saturating_mul(10 * 1_000_000_000);
    u64::try_from(scaled.checked_div(nanos).unwrap_or(0)).unwrap_or(u64::MAX)
}

/// Returns the rate of `count` events in this time, as the number per second.
pub(crate) fn per_second(count: u64, time: Duration) -> u64 {
    per_ten_seconds(count, time) / 10
}

/// Returns a rate per second as text. Rates up to 99,999 millions have at most 7 characters.
pub(crate) fn rate(count: u64, time: Duration) -> String {
    match per_ten_seconds(count, time) {
        tenths @ ..1000 => format!("{}.{}", tenths / 10, tenths % 10),
        // High rates need no fraction.
        tenths @ ..10_000_000 => (tenths / 10).to_string(),
        tenths @ ..1_000_000_000 => format!("{}.{}M", tenths / 10_000_000, tenths / 1_000_000 % 10),
        tenths => format!("{}M", tenths / 10_000_000),
    }
}

/// Returns a rate per second for JSON, with one decimal.
pub(crate) fn json_rate(count: u64, time: Duration) -> f64 {
    f64::from(u32::try_from(per_ten_seconds(count, time)).unwrap_or(u32::MAX)) / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_short_and_rounded_down() {
        let in_a_second = |count| rate(count, Duration::from_secs(1));
        for (count, expected) in [
            (0, "0.0"),
            (99, "99.0"),
            (100, "100"),
            (12_345, "12345"),
            (999_999, "999999"),
            (1_250_000, "1.2M"),
            (99_999_999, "99.9M"),
            (123_456_789, "123M"),
        ] {
            assert_eq!(in_a_second(count), expected);
        }
        assert_eq!(rate(1, Duration::from_secs(2)), "0.5");
        assert_eq!(per_ten_seconds(u64::MAX, Duration::ZERO), u64::MAX);
        assert_eq!((per_second(7, Duration::from_secs(2)), json_rate(7, Duration::from_secs(2))), (3, 3.5));
    }
}
