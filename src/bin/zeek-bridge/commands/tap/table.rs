//! What is counted, as a table for people and as JSON.

use std::fmt::Display;
use std::time::{Duration, Instant, SystemTime};

use anstyle::{AnsiColor, Style};
use bytesize::ByteSize;
use serde_json::{Value as Json, json};

use super::cut::{Column, Line};
use super::rates::{Amount, Rates, Row, Span, Tally, per_mille};
use super::text::rfc3339;
use crate::output::Object;

/// The widest that topics get.
const WIDEST: usize = 40;

/// With fewer columns, bytes and shares are left out, so that there is room for names.
const NARROW: usize = 100;

/// The lines of a table that are no rows: what is told of all, the names of the columns, and what is not in a row.
const AROUND: usize = 4;

const HEADER: Style = Style::new().bold();
const TOPIC: Style = AnsiColor::Cyan.on_default();
const EVENT: Style = AnsiColor::Green.on_default();
const PLAIN: Style = Style::new();

/// What a table is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// The interval that ended last.
    Interval,
    /// All of the time.
    Whole,
}

/// How much room there is, and what it looks like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) color: bool,
    pub(super) columns: Option<usize>,
    pub(super) lines: usize,
}

/// A view on what was counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) rates: &'a Rates,
    pub(super) about: About,
    pub(super) peers: usize,
    pub(super) now: Instant,
}

impl<'a> View<'a> {
    fn span(&self) -> Span {
        match self.about {
            About::Interval => self.rates.interval(),
            About::Whole => self.rates.whole(self.now),
        }
    }

    fn rows(&self) -> Vec<&'a Row> {
        match self.about {
            About::Interval => self.rates.rows(),
            About::Whole => self.rates.rows_by_total(),
        }
    }

    /// What is told of, of what was counted.
    fn amount(&self, tally: &Tally) -> Amount {
        match self.about {
            About::Interval => tally.recent,
            About::Whole => tally.total,
        }
    }

    /// The lines of the table, each with its line break.
    pub(super) fn table(&self, look: Look) -> String {
        let mut to = String::new();
        let all = self.rates.all();
        let (amount, span) = (self.amount(all), self.span());
        let up = Duration::from_secs(self.rates.whole(self.now).length.as_secs());
        let mut line = |write: &mut dyn FnMut(&mut Line<'_>)| {
            write(&mut Line::new(&mut to, look.columns, look.color));
            to.push('\n');
        };
        line(&mut |line| {
            let (rate, bytes) = (rate(span, amount), bytes(span, amount));
            let (up, peers) = (humantime::format_duration(up), self.peers);
            let total = all.total.messages;
            line.put(PLAIN, format_args!("{total} messages in {up}, {rate}/s, {bytes}/s; peers: {peers}"));
        });
        line(&mut |_| {});
        let rows = self.rows();
        let mut shown = look.lines.saturating_sub(AROUND);
        // Nothing more to say of the last one than the last one itself.
        if rows.len() <= shown.saturating_add(1) && self.rates.others().is_none() {
            shown = rows.len();
        }
        let mut topics = Column::of_words(WIDEST);
        topics.fit(rows.iter().take(shown).map(|row| row.topic.as_str()).chain(["TOPIC"]));
        line(&mut |line| {
            numbers(line, HEADER, [&"COUNT", &"RATE/S", &"BYTES/S", &"SHARE", &"LAST"]);
            topics.put(line, HEADER, "TOPIC");
            line.put(HEADER, "EVENT");
        });
        for row in rows.iter().take(shown) {
            line(&mut |line| {
                self.numbers(line, &row.tally);
                topics.put(line, TOPIC, &row.topic);
                line.put_escaped(EVENT, &row.event);
            });
        }
        let hidden = rows.len().saturating_sub(shown);
        match (hidden, self.rates.others()) {
            (0, None) => {}
            (hidden, None) => line(&mut |line| line.put(PLAIN, format_args!("and {hidden} more"))),
            (hidden, Some(others)) => line(&mut |line| {
                self.numbers(line, others);
                line.put(PLAIN, "others, that there is no row for (--topic and --event choose)");
                if hidden > 0 {
                    line.put(PLAIN, format_args!("; and {hidden} more"));
                }
            }),
        }
        to
    }

    fn numbers(&self, line: &mut Line<'_>, tally: &Tally) {
        let (amount, span) = (self.amount(tally), self.span());
        let last = tally.last.map(|last| self.now.saturating_duration_since(last));
        numbers(
            line,
            PLAIN,
            [
                &tally.total.messages,
                &rate(span, amount),
                &bytes(span, amount),
                &share(tally, self.rates.all()),
                &last.map_or_else(|| "-".into(), ago),
            ],
        );
    }

    /// One line.
    pub(super) fn json(&self, time: SystemTime) -> Object {
        let about = |tally: &Tally| {
            let (amount, span) = (self.amount(tally), self.span());
            let rate = u32::try_from(span.per_ten_seconds(amount.messages)).unwrap_or(u32::MAX);
            let last = tally.last.and_then(|last| time.checked_sub(self.now.saturating_duration_since(last)));
            json!({
                "count": tally.total.messages,
                "bytes": tally.total.bytes,
                "rate": f64::from(rate) / 10.0,
                "bytes_per_second": span.per_second(amount.bytes),
                "share": f64::from(per_mille(tally.total.messages, self.rates.all().total.messages)) / 1000.0,
                "last": last.and_then(rfc3339),
            })
        };
        let row = |row: &&Row| {
            let mut object = json!({"topic": row.topic, "event": row.event});
            if let (Json::Object(object), Json::Object(about)) = (&mut object, about(&row.tally)) {
                object.extend(about);
            }
            object
        };
        let rows = self.rows();
        let rows: Json = rows.iter().filter(|row| self.amount(&row.tally).messages > 0).map(row).collect();
        Object::new()
            .with("seconds", seconds(self.rates.whole(self.now)))
            .with("interval", seconds(self.span()))
            .with("end", self.about == About::Whole)
            .with("peers", u64::try_from(self.peers).unwrap_or(u64::MAX))
            .with("all", about(self.rates.all()))
            .with("rows", rows)
            .with("others", self.rates.others().map(about))
    }
}

/// A line's numbers, to the right in their columns.
fn numbers(line: &mut Line<'_>, style: Style, cells: [&dyn Display; 5]) {
    let narrow = line.limit().is_some_and(|limit| limit < NARROW);
    for (cell, (width, is_shown)) in
        cells.into_iter().zip([(8, true), (7, true), (10, !narrow), (6, !narrow), (4, true)])
    {
        if is_shown {
            line.put(style, format_args!("{:>width$}  ", cell.to_string()));
        }
    }
}

fn rate(span: Span, amount: Amount) -> String {
    let tenths = span.per_ten_seconds(amount.messages);
    // What is fast needs no fraction.
    if tenths >= 1000 { (tenths / 10).to_string() } else { format!("{}.{}", tenths / 10, tenths % 10) }
}

fn bytes(span: Span, amount: Amount) -> String {
    ByteSize::b(span.per_second(amount.bytes)).display().iec().to_string()
}

fn share(tally: &Tally, all: &Tally) -> String {
    let share = per_mille(tally.total.messages, all.total.messages);
    format!("{}.{}%", share / 10, share % 10)
}

/// How long ago, in the unit that fits.
fn ago(time: Duration) -> String {
    match time.as_secs() {
        0 => "now".into(),
        seconds @ ..100 => format!("{seconds}s"),
        seconds @ ..6000 => format!("{}m", seconds / 60),
        seconds => format!("{}h", seconds / 3600),
    }
}

fn seconds(span: Span) -> f64 {
    Duration::from_millis(u64::try_from(span.length.as_millis()).unwrap_or(u64::MAX)).as_secs_f64()
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "test code")]
mod tests {
    use super::*;

    const LOOK: Look = Look { color: false, columns: None, lines: 40 };

    /// Ten of one, one of another, over ten seconds; in the last two, two of the other.
    fn rates(start: Instant) -> Rates {
        let mut rates = Rates::new(start);
        for second in 0..8 {
            rates.count("zeek/event", "ping", 1024, start + Duration::from_secs(second));
        }
        rates.end_interval(start + Duration::from_secs(8));
        for _ in 0..2 {
            rates.count("/a b\u{1b}", "x\u{202e}", 10, start + Duration::from_secs(9));
        }
        rates.end_interval(start + Duration::from_secs(10));
        rates
    }

    fn view(rates: &Rates, start: Instant, about: About) -> View<'_> {
        View { rates, about, peers: 2, now: start + Duration::from_secs(10) }
    }

    #[test]
    fn an_interval_is_told_with_what_is_fast_first() {
        let start = Instant::now();
        let expected = r"10 messages in 10s, 1.0/s, 10 B/s; peers: 2

   COUNT   RATE/S     BYTES/S   SHARE  LAST  TOPIC            EVENT
       2      1.0        10 B   20.0%    1s  /a\u{20}b\u{1b}  x\u{202e}
       8      0.0         0 B   80.0%    3s  zeek/event       ping
";
        let table = view(&rates(start), start, About::Interval).table(LOOK);
        assert_eq!(table, expected, "{table}");
        let narrow = r"10 messages in 10s, 1.0/s, 10 B/s; peers: 2

   COUNT   RATE/S  LAST  TOPIC            EV…
       2      1.0    1s  /a\u{20}b\u{1b}  x\…
       8      0.0    3s  zeek/event       pi…
";
        let look = Look { columns: Some(45), ..LOOK };
        let table = view(&rates(start), start, About::Interval).table(look);
        assert_eq!(table, narrow, "{table}");
    }

    #[test]
    fn the_end_tells_of_the_whole_time_with_what_came_most_first() {
        let start = Instant::now();
        let table = view(&rates(start), start, About::Whole).table(LOOK);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "10 messages in 10s, 1.0/s, 821 B/s; peers: 2");
        assert!(lines[3].contains(" 0.8 ") && lines[3].ends_with("ping"), "{table}");
        assert!(lines[4].contains(" 0.2 "), "{table}");
    }

    #[test]
    fn a_table_has_no_more_lines_and_columns_than_the_terminal() {
        let start = Instant::now();
        let mut rates = Rates::new(start);
        for n in 0..20 {
            rates.count(&format!("/topic/{n:02}"), &"x".repeat(200), 1, start);
        }
        for lines in 0..30 {
            for columns in [1, 20, 60, 100] {
                let look = Look { color: false, columns: Some(columns), lines };
                let table = view(&rates, start, About::Interval).table(look);
                assert!(table.lines().count() <= lines.max(AROUND), "{lines}: {table}");
                assert!(table.lines().all(|line| line.chars().count() <= columns), "{columns}: {table}");
            }
        }
        let table = |lines| view(&rates, start, About::Interval).table(Look { lines, ..LOOK });
        assert!(table(10).ends_with("\nand 14 more\n"), "{}", table(10));
        assert!(!table(23).contains("more"), "{}", table(23));
    }

    #[test]
    fn json_has_a_row_for_each_that_came_and_all_together() {
        let start = Instant::now();
        let rates = rates(start);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let line = |about| {
            let line = view(&rates, start, about).json(time).into_line();
            serde_json::from_slice::<Json>(&line).unwrap()
        };
        let interval = line(About::Interval);
        let row = json!({
            "topic": "/a b\u{1b}", "event": "x\u{202e}", "count": 2, "bytes": 20, "rate": 1.0, "bytes_per_second": 10,
            "share": 0.2, "last": "1970-01-01T00:01:39.000Z",
        });
        assert_eq!(interval["rows"], json!([row]));
        assert_eq!(interval["all"]["count"], 10);
        assert_eq!((&interval["interval"], &interval["seconds"]), (&json!(2.0), &json!(10.0)));
        assert_eq!((&interval["end"], &interval["others"]), (&json!(false), &json!(null)));
        let whole = line(About::Whole);
        assert_eq!((&whole["end"], &whole["interval"]), (&json!(true), &json!(10.0)));
        assert_eq!(whole["rows"][0]["rate"], 0.8);
        assert_eq!(whole["rows"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn numbers_are_short() {
        let second = Span { end: Instant::now(), length: Duration::from_secs(1) };
        let amount = |messages| Amount { messages, bytes: 0 };
        assert_eq!([0, 99, 100, 12_345].map(|n| rate(second, amount(n))), ["0.0", "99.0", "100", "12345"]);
        let ago = [0, 1, 99, 100, 5999, 6000].map(|n| ago(Duration::from_secs(n)));
        assert_eq!(ago, ["now", "1s", "99s", "1m", "99m", "1h"]);
    }
}
