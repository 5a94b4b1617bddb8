//! Values in Broker's text notation, which Zeek scripts and logs also use.

use std::fmt::{self, Display, Formatter, Write};

use super::Value;

/// Broker's notation: `nil`, `T`, `80/tcp`, `{a, b}`, `{key -> value}`, `(a, b)`.
///
/// Only reals differ from Broker. They are written with the fewest digits from which the same real can be parsed, such
/// as `1.5` or `1e-320`. Broker writes six digits after the point, so that 1e-320 becomes `0.000000`.
///
/// Strings are written without quotes. U+FFFD replaces bytes that are not UTF-8. The text is for people and cannot be
/// parsed. Recurses as deep as the value is nested.
impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Value::None => f.write_str("nil"),
            Value::Boolean(true) => f.write_str("T"),
            Value::Boolean(false) => f.write_str("F"),
            Value::Count(count) => write!(f, "{count}"),
            Value::Integer(integer) => write!(f, "{integer}"),
            // The wire format has a single NaN, without a sign.
            Value::Real(real) if real.is_nan() => f.write_str("nan"),
            // Always written with a point or an exponent, to distinguish a real from a count.
            Value::Real(real) => write!(f, "{real:?}"),
            Value::String(string) => write!(f, "{string}"),
            Value::Address(address) => write!(f, "{address}"),
            Value::Subnet(subnet) => write!(f, "{subnet}"),
            Value::Port(port) => write!(f, "{port}"),
            Value::Timestamp(timestamp) => write!(f, "{timestamp}"),
            Value::Timespan(timespan) => write!(f, "{timespan}"),
            Value::EnumValue(label) => write!(f, "{label}"),
            Value::Set(set) => separated(f, '{', set.iter(), '}'),
            Value::Table(table) => separated(f, '{', table.iter().map(Pair), '}'),
            Value::Vector(elements) => separated(f, '(', elements, ')'),
        }
    }
}

/// A key and its value in a table.
struct Pair<'a>(&'a (Value, Value));

impl Display for Pair<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (key, value) = self.0;
        write!(f, "{key} -> {value}")
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
    use super::*;
    use crate::data::{Address, Port, Protocol, Set, Subnet, Table, Timespan, Timestamp};

    #[test]
    fn scalars_are_written_as_by_broker() {
        let address: Address = "1.2.3.4".parse().unwrap();
        let subnet: Subnet = "2001:db8::/32".parse().unwrap();
        for (value, text) in [
            (Value::None, "nil"),
            (Value::Boolean(true), "T"),
            (Value::Boolean(false), "F"),
            (Value::Count(u64::MAX), "18446744073709551615"),
            (Value::Integer(i64::MIN), "-9223372036854775808"),
            (Value::String("a \"b\"\n".into()), "a \"b\"\n"),
            (Value::String(b"a\xff\0"[..].into()), "a\u{fffd}\0"),
            (Value::Address(address), "1.2.3.4"),
            (Value::Subnet(subnet), "2001:db8::/32"),
            (Value::Port(Port::new(80, Protocol::Tcp)), "80/tcp"),
            (Value::Port(Port::new(0, Protocol::Unknown)), "0/?"),
            (Value::Timestamp(Timestamp::from_nanos(-5)), "-5ns"),
            (Value::Timespan(Timespan::from_nanos(1_500_000_000)), "1500000000ns"),
            (Value::enum_value("Conn::LOG"), "Conn::LOG"),
        ] {
            assert_eq!(value.to_string(), text);
        }
    }

    #[test]
    fn reals_are_written_with_the_fewest_digits_that_round_trip() {
        for (real, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-7.5, "-7.5"),
            (2.666_666_666_666_666_5, "2.6666666666666665"),
            (0.1, "0.1"),
            (1e-320, "1e-320"),
            (-1e-300, "-1e-300"),
            (1e15, "1000000000000000.0"),
            (1e23, "1e23"),
            (f64::MAX, "1.7976931348623157e308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (-f64::NAN, "nan"),
        ] {
            assert_eq!(Value::Real(real).to_string(), text);
            let read: f64 = text.parse().unwrap();
            assert!(read.to_bits() == real.to_bits() || real.is_nan(), "{text}");
        }
    }

    #[test]
    fn containers_are_written_in_brackets() {
        assert_eq!(Value::Vector(vec![]).to_string(), "()");
        assert_eq!(Value::Set(Set::new()).to_string(), "{}");
        assert_eq!(Value::Table(Table::new()).to_string(), "{}");
        assert_eq!(Value::from((1u64, "x", None::<bool>)).to_string(), "(1, x, nil)");
        assert_eq!(Value::Set(["b", "a"].into_iter().collect()).to_string(), "{a, b}");
        let table: Table = [(("k", 2u64), Value::from([1.5])), (("k", 1), Value::None)].into_iter().collect();
        assert_eq!(Value::Table(table).to_string(), "{(k, 1) -> nil, (k, 2) -> (1.5)}");
    }
}
