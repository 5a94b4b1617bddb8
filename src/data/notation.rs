//! Times as text, in the notation of Broker's JSON (protocol section 5).

use std::fmt;
use std::str::FromStr;

use super::{Timespan, Timestamp};

impl Timestamp {
    /// Returns the time for printing in the notation of Broker's JSON, which is ISO 8601: UTC without a zone, such as
    /// `2023-04-18T14:13:14.123`. The fraction has three digits, or six or nine if three are not enough. Broker itself
    /// always writes three digits.
    pub fn iso8601(self) -> impl fmt::Display {
        Iso8601(self)
    }
}

impl Timespan {
    /// Returns the span for printing in the notation of Broker's JSON: an integer with the largest of the units s, ms, us and
    /// ns that needs no fraction, such as `-1500us`.
    pub fn with_unit(self) -> impl fmt::Display {
        WithUnit(self)
    }
}

/// The result of [`Timestamp::iso8601`].
struct Iso8601(Timestamp);

impl fmt::Display for Iso8601 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let (seconds, fraction) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
        let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Every time has a date of the years 1677 to 2262.
        let (year, month, day) = date(day).ok_or(fmt::Error)?;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.")?;
        match fraction {
            _ if fraction % 1_000_000 == 0 => write!(f, "{:03}", fraction / 1_000_000),
            _ if fraction % 1_000 == 0 => write!(f, "{:06}", fraction / 1_000),
            _ => write!(f, "{fraction:09}"),
        }
    }
}

/// The result of [`Timespan::with_unit`].
struct WithUnit(Timespan);

impl fmt::Display for WithUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_nanos() {
            nanos if nanos % 1_000_000_000 == 0 => write!(f, "{}s", nanos / 1_000_000_000),
            nanos if nanos % 1_000_000 == 0 => write!(f, "{}ms", nanos / 1_000_000),
            nanos if nanos % 1_000 == 0 => write!(f, "{}us", nanos / 1_000),
            nanos => write!(f, "{nanos}ns"),
        }
    }
}

/// Returns the year, month and day of the Gregorian calendar, for the number of days since 1970.
fn date(day: i64) -> Option<(i64, i64, i64)> {
    // 400 years have 146,097 days. The estimate is off by at most one year.
    let estimate = day.checked_mul(400)?.div_euclid(146_097).checked_add(1970)?;
    let has_begun = |first: Option<i64>| first.is_some_and(|first| first <= day);
    let years = estimate.checked_sub(1)?..=estimate.checked_add(1)?;
    let year = years.rev().find(|year| has_begun(days(*year, 1, 1)))?;
    let month = (1..=12).rev().find(|month| has_begun(days(year, *month, 1)))?;
    let in_month = day.checked_sub(days(year, month, 1)?)?.checked_add(1)?;
    Some((year, month, in_month))
}

/// The error for a text that is not a timespan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a timespan: expected a number with ns, us, ms, s, min, h or d, such as -1.5ms, of at most 292 years"
)]
pub struct InvalidTimespan;

/// Parses the notation of Broker's JSON, such as `1500ms`, `-0.5h` or `1e3s`, and the notation of
/// [`Display`](fmt::Display).
///
/// A fraction of a nanosecond is rounded to the nearest nanosecond, and a half is rounded away from zero. For example,
/// `0.30000000000000004s` is read as 300 ms. Programs that use binary floating-point numbers send such text. Nonzero digits
/// after the 24th significant one are ignored. All else is exact. Broker calculates with a double, which cannot represent
/// long times exactly.
impl FromStr for Timespan {
    type Err = InvalidTimespan;

    fn from_str(text: &str) -> Result<Self, InvalidTimespan> {
        let (negative, text) = match text.as_bytes().first() {
            Some(b'-') => (true, text.get(1..).unwrap_or_default()),
            Some(b'+') => (false, text.get(1..).unwrap_or_default()),
            _ => (false, text),
        };
        let (whole, text) = digits(text);
        let (fraction, text) = match text.strip_prefix('.') {
            Some(text) => digits(text),
            None => ("", text),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(InvalidTimespan);
        }
        // No unit begins with an e.
        let (exponent, unit) = match text.strip_prefix(['e', 'E']) {
            Some(text) => exponent(text).ok_or(InvalidTimespan)?,
            None => (0, text),
        };
        let unit: u128 = match unit {
            "ns" => 1,
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "min" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            _ => return Err(InvalidTimespan),
        };
        let nanos = scaled(whole, fraction, exponent, unit).and_then(|nanos| i128::try_from(nanos).ok());
        let nanos = nanos.and_then(|nanos| if negative { nanos.checked_neg() } else { Some(nanos) });
        nanos.and_then(|nanos| i64::try_from(nanos).ok()).map(Timespan::from_nanos).ok_or(InvalidTimespan)
    }
}

/// Returns the decimal digits at the beginning of a text, and the rest of the text.
fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// Reads a signed exponent, and returns it with the rest of the text. An exponent that exceeds 32 bits is replaced by
/// the nearest 32-bit number.
fn exponent(text: &str) -> Option<(i32, &str)> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, rest) = digits(text);
    if digits.is_empty() {
        return None;
    }
    let size = digits.parse().unwrap_or(i32::MAX);
    Some((if negative { size.saturating_neg() } else { size }, rest))
}

/// Returns the product of a decimal number and a unit, rounded to the nearest integer, or `None` if it exceeds 128 bits.
fn scaled(whole: &str, fraction: &str, exponent: i32, unit: u128) -> Option<u128> {
    // The largest number of digits whose product with the largest unit (14 digits) fits in 128 bits. An i64 has at most
    // 19 digits, so later digits are far below one nanosecond, or the result is out of range.
    const SIGNIFICANT: usize = 24;
    let all = || whole.bytes().chain(fraction.bytes());
    let leading_zeros = all().take_while(|digit| *digit == b'0').count();
    let significant = all().skip(leading_zeros).take(SIGNIFICANT);
    let (mut number, mut read) = (0_u128, leading_zeros);
    for digit in significant {
        number = number.checked_mul(10)?.checked_add(digit.saturating_sub(b'0').into())?;
        read = read.saturating_add(1);
    }
    if number == 0 {
        return Some(0);
    }
    // The position of the decimal point, relative to the last digit that was read.
    let point = i64::try_from(whole.len()).ok()?.checked_sub(i64::try_from(read).ok()?)?;
    let shift = point.checked_add(exponent.into())?;
    let power = u32::try_from(shift.unsigned_abs()).ok().and_then(|power| 10_u128.checked_pow(power));
    let product = number.checked_mul(unit)?;
    match power {
        Some(power) if shift >= 0 => product.checked_mul(power),
        Some(power) => {
            let (whole, rest) = (product.checked_div(power)?, product.checked_rem(power)?);
            let is_half = rest.checked_mul(2)? >= power;
            whole.checked_add(is_half.into())
        }
        // The product has at most 38 digits, so it is less than half of such a power of ten.
        None => (shift < 0).then_some(0),
    }
}

/// The error for a text that is not a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a timestamp: expected ISO 8601, such as 2023-04-18T12:13:15.123Z, of the years 1678 to 2262")]
pub struct InvalidTimestamp;

/// Parses the notation of Broker's JSON, which is ISO 8601: `2023-04-18T12:13:15.123`. The text may end with an offset,
/// such as `Z` or `+02:00`; without one, the time is UTC. A fraction of a second may have any number of digits. It is rounded to
/// the nearest nanosecond, and a half to the later one.
impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        timestamp(text).map(Timestamp::from_nanos).ok_or(InvalidTimestamp)
    }
}

fn timestamp(text: &str) -> Option<i64> {
    let mut text = text;
    let year = number(&mut text, 4)?;
    text = text.strip_prefix('-')?;
    let month = number(&mut text, 2)?;
    text = text.strip_prefix('-')?;
    let day = number(&mut text, 2)?;
    text = text.strip_prefix(['T', 't', ' '])?;
    let hour = number(&mut text, 2)?;
    text = text.strip_prefix(':')?;
    let minute = number(&mut text, 2)?;
    text = text.strip_prefix(':')?;
    let second = number(&mut text, 2)?;
    let mut fraction = "";
    if let Some(rest) = text.strip_prefix('.') {
        (fraction, text) = digits(rest);
    }
    let offset = offset(text)?;
    // A leap second is read as the second after it, as in POSIX.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let nine = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanos = nine.fold(0_i64, |nanos, digit| {
        nanos.saturating_mul(10).saturating_add(digit.saturating_sub(b'0').into())
    });
    let rounded_up = fraction.as_bytes().get(9).is_some_and(|digit| *digit >= b'5');
    let nanos = nanos.saturating_add(rounded_up.into());
    // Calculate with 128 bits. For the earliest times, the seconds alone are less than `i64::MIN` nanoseconds, but the sum
    // with the fraction is not.
    let minutes = days(year, month, day)?.checked_mul(24)?.checked_add(hour)?.checked_mul(60)?;
    let minutes = minutes.checked_add(minute)?.checked_sub(offset)?;
    let seconds = minutes.checked_mul(60)?.checked_add(second)?;
    let total = i128::from(seconds).checked_mul(1_000_000_000)?.checked_add(nanos.into())?;
    i64::try_from(total).ok()
}

/// Removes a number of exactly `length` digits from the start of the text.
fn number(text: &mut &str, length: usize) -> Option<i64> {
    let (number, rest) = text.split_at_checked(length)?;
    *text = rest;
    // `parse` would also accept a sign.
    if number.bytes().all(|byte| byte.is_ascii_digit()) { number.parse().ok() } else { None }
}

/// An offset from UTC in minutes: nothing, `Z`, `+hh:mm`, `+hhmm` or `+hh`.
fn offset(text: &str) -> Option<i64> {
    let (negative, mut text) = match text.split_at_checked(1) {
        None => return text.is_empty().then_some(0),
        Some(("Z" | "z", rest)) => return rest.is_empty().then_some(0),
        Some(("+", rest)) => (false, rest),
        Some(("-", rest)) => (true, rest),
        Some(_) => return None,
    };
    let hours = number(&mut text, 2)?;
    let mut minutes = 0;
    if !text.is_empty() {
        text = text.strip_prefix(':').unwrap_or(text);
        minutes = number(&mut text, 2)?;
    }
    if !text.is_empty() || hours > 23 || minutes > 59 {
        return None;
    }
    let offset = hours.checked_mul(60)?.checked_add(minutes)?;
    Some(if negative { offset.checked_neg()? } else { offset })
}

/// The days from 1970 to a date of the Gregorian calendar; `None` for a date that does not exist.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let index = usize::try_from(month.checked_sub(1)?).ok()?;
    if !(1..=*lengths.get(index)?).contains(&day) {
        return None;
    }
    // The number of leap days from 1970 to the start of this year. There were 477 before 1970.
    let before = year.checked_sub(1)?;
    let leap_days = before.div_euclid(4).checked_sub(before.div_euclid(100))?;
    let leap_days = leap_days.checked_add(before.div_euclid(400))?.checked_sub(477)?;
    let in_year = lengths.iter().take(index).sum::<i64>().checked_add(day)?.checked_sub(1)?;
    year.checked_sub(1970)?.checked_mul(365)?.checked_add(leap_days)?.checked_add(in_year)
}

#[cfg(test)]
mod tests;
