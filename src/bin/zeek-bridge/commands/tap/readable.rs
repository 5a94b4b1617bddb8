//! Values in Zeek's notation, with readable times.

use std::fmt::{self, Display, Formatter, Write};

use zeek_bridge::data::Value;

/// Prints a [`Value`] like its `Display`, except for times and intervals. Broker's notation writes them in nanoseconds. Here, a
/// time is ISO 8601 in UTC, and an interval has the largest suitable unit, such as `90s`.
pub(super) struct Readable<'a>(pub(super) &'a Value);

impl Display for Readable<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Timestamp(time) => write!(f, "{}Z", time.iso8601()),
            Value::Timespan(span) => write!(f, "{}", span.with_unit()),
            Value::Set(set) => separated(f, '{', set.iter().map(Readable), '}'),
            Value::Table(table) => separated(f, '{', table.iter().map(Pair), '}'),
            Value::Vector(elements) => separated(f, '(', elements.iter().map(Readable), ')'),
            other => write!(f, "{other}"),
        }
    }
}

/// A key and its value in a table.
struct Pair<'a>(&'a (Value, Value));

impl Display for Pair<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (key, value) = self.0;
        write!(f, "{} -> {}", Readable(key), Readable(value))
    }
}

fn separated(
    f: &mut Formatter<'_>,
    open: char,
    elements: impl IntoIterator<Item = impl Display>,
    close: char,
) -> fmt::Result {
    f.write_char(open)?;
    for (index, element) in elements.into_iter().enumerate() {
        write!(f, "{}{element}", if index == 0 { "" } else { ", " })?;
    }
    f.write_char(close)
}

#[cfg(test)]
mod tests {
    use zeek_bridge::data::{Set, Table, Timespan, Timestamp};

    use super::*;

    #[test]
    fn times_are_readable_at_every_level_and_other_values_are_in_zeeks_notation() {
        let time = Value::Timestamp(Timestamp::from_nanos(1_681_819_995_500_000_000));
        let span = |nanos| Value::Timespan(Timespan::from_nanos(nanos));
        let set: Set = [span(90_000_000_000)].into_iter().collect();
        let table: Table = [(span(1_500_000_000), time.clone())].into_iter().collect();
        let value = Value::from((time, Value::Set(set), Value::Table(table), Value::None, "a", 1.0));
        assert_eq!(
            Readable(&value).to_string(),
            "(2023-04-18T12:13:15.500Z, {90s}, {1500ms -> 2023-04-18T12:13:15.500Z}, nil, a, 1.0)"
        );
    }

    #[test]
    fn values_without_times_are_printed_as_by_the_library() {
        let table: Table = [(("k", 1u64), Value::from([1.5]))].into_iter().collect();
        for value in [
            Value::Vector(vec![]),
            Value::Set(["b", "a"].into_iter().collect()),
            Value::Table(table),
            Value::from((1u64, "x", None::<bool>)),
        ] {
            assert_eq!(Readable(&value).to_string(), value.to_string());
        }
    }
}
