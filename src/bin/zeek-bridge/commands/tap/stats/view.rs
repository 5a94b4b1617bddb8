//! The counts as a table of text and as JSON.

use std::time::{Duration, Instant, SystemTime};

use anstyle::Style;
use bytesize::ByteSize;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use serde_json::{Value as Json, json};
use unicode_width::UnicodeWidthStr;

use super::rates::{Amount, Column, Rates, Row, Span, Tally, per_mille};
use crate::output::{Line, json_rate, per_second, rate, rfc3339};
use crate::terminal::Order;

/// Maximum width of a topic.
const MAX_TOPIC: usize = 40;

/// If a line has fewer columns than this, bytes and shares are left out, so that there is room for names. The column that the
/// table is sorted by is not left out.
const NARROW: usize = 100;

/// Maximum number of rows of a table of text.
const MAX_ROWS: usize = 96;

/// The columns and the minimum widths of numbers, which keep the table from moving.
const COLUMNS: [(Column, &str, u16); 7] = [
    (Column::Count, "COUNT", 8),
    (Column::Rate, "RATE/S", 7),
    (Column::Bytes, "BYTES/S", 10),
    (Column::Share, "SHARE", 6),
    (Column::Last, "LAST", 4),
    (Column::Topic, "TOPIC", 0),
    (Column::Event, "EVENT", 0),
];

/// The texts of a row, one for each of [`COLUMNS`].
pub(super) type Cells = [String; 7];

/// The period that a table describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// The last complete interval.
    Interval,
    /// The time since the start.
    Total,
}

/// A view of the counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) rates: &'a Rates,
    pub(super) about: About,
    pub(super) order: Order<Column>,
    pub(super) peers: usize,
    pub(super) now: Instant,
}

/// The counts as JSON.
#[derive(Serialize)]
pub(super) struct Counts {
    seconds: f64,
    interval: f64,
    end: bool,
    peers: usize,
    all: Json,
    rows: Json,
    others: Option<Json>,
}

/// The rows that have room, and the number of hidden rows.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) cells: Vec<Cells>,
    pub(super) hidden: usize,
}

impl Rows {
    /// Returns the line below the rows.
    pub(super) fn note(&self) -> Option<String> {
        (self.hidden > 0).then(|| format!("and {} more", self.hidden))
    }
}

/// The columns that have room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    width: Option<usize>,
    sorted: Column,
}

impl Columns {
    /// Returns the columns for a line of this width; `None` if it is not limited. The sorted column is always one of them.
    pub(super) fn for_width(width: Option<usize>, sorted: Column) -> Self {
        Columns { width, sorted }
    }

    pub(super) fn select(self, cells: &Cells) -> Vec<(Column, String)> {
        self.shown().zip(cells).filter_map(|(shown, text)| Some((shown?.0, text.clone()))).collect()
    }

    /// Returns the width of each column. The last column has no width, because it gets the rest of the line.
    pub(super) fn widths(self, rows: &[Cells]) -> Vec<Option<u16>> {
        let widest = |index: usize| {
            let widths = rows.iter().filter_map(|cells| cells.get(index)).map(|text| text.width());
            widths.max().and_then(|width| u16::try_from(width).ok()).unwrap_or(u16::MAX)
        };
        let most = self.width.and_then(|width| u16::try_from(width / 3).ok()).unwrap_or(u16::MAX);
        let shown = self.shown().enumerate().filter_map(|(index, shown)| Some((index, shown?)));
        shown
            .map(|(index, (column, heading, least))| match column {
                Column::Event => None,
                Column::Topic => {
                    let heading = u16::try_from(heading.len()).unwrap_or(0).saturating_add(1);
                    let width = if rows.is_empty() { heading } else { widest(index).max(heading) };
                    Some(width.min(most))
                }
                _ if rows.is_empty() => Some(least),
                _ => Some(widest(index).max(least)),
            })
            .collect()
    }

    fn shown(self) -> impl Iterator<Item = Option<(Column, &'static str, u16)>> {
        let is_narrow = self.width.is_some_and(|width| width < NARROW);
        COLUMNS.into_iter().map(move |column| {
            let is_optional = matches!(column.0, Column::Bytes | Column::Share);
            let is_hidden = is_narrow && is_optional && column.0 != self.sorted;
            (!is_hidden).then_some(column)
        })
    }
}

impl<'a> View<'a> {
    fn span(&self) -> Span {
        match self.about {
            About::Interval => self.rates.interval(),
            About::Total => self.rates.total_span(self.now),
        }
    }

    fn rows(&self) -> Vec<&'a Row> {
        self.rates.rows(self.order)
    }

    /// Returns the amount in the period of this view.
    fn amount(&self, tally: &Tally) -> Amount {
        match self.about {
            About::Interval => tally.recent,
            About::Total => tally.total,
        }
    }

    /// Returns the line above the table.
    pub(super) fn summary(&self) -> String {
        let all = self.rates.all();
        let (amount, span) = (self.amount(all), self.span());
        let up = Duration::from_secs(self.rates.total_span(self.now).length.as_secs());
        format!(
            "{} message{} in {}, {}/s, {}/s; peers: {}",
            all.total.messages,
            if all.total.messages == 1 { "" } else { "s" },
            humantime::format_duration(up),
            rate(amount.messages, span.length),
            bytes(span, amount),
            self.peers
        )
    }

    /// Returns the headings, with a mark at the sorted column.
    pub(super) fn headings(&self) -> Cells {
        COLUMNS.map(|(column, heading, _)| {
            if column == self.order.column {
                format!("{heading}{}", self.order.mark(column.is_name()))
            } else {
                heading.to_owned()
            }
        })
    }

    /// Returns the rows for this number of lines, one of which is for [`Rows::note`] if some are hidden.
    pub(super) fn rows_within(&self, lines: usize) -> Rows {
        let rows = self.rows();
        let others = self.rates.others().map(|others| {
            self.cells(others, "(others)".into(), "(more names than rows: see --topic and --event)".into())
        });
        let reserved = usize::from(others.is_some());
        let mut shown = rows.len();
        if shown.saturating_add(reserved) > lines {
            shown = shown.min(lines.saturating_sub(reserved.saturating_add(1)));
        }
        let cells = rows.iter().take(shown).map(|row| {
            let (mut topic, mut event) = (String::new(), String::new());
            Line::new(&mut topic, Some(MAX_TOPIC), false).put_word(Style::new(), &row.topic);
            Line::new(&mut event, None, false).put_escaped(Style::new(), &row.event);
            self.cells(&row.tally, topic, event)
        });
        Rows { cells: cells.chain(others).collect(), hidden: rows.len().saturating_sub(shown) }
    }

    fn cells(&self, tally: &Tally, topic: String, event: String) -> Cells {
        let (amount, span) = (self.amount(tally), self.span());
        let last = tally.last.map(|last| self.now.saturating_duration_since(last));
        [
            tally.total.messages.to_string(),
            rate(amount.messages, span.length),
            bytes(span, amount),
            share(tally, self.rates.all()),
            last.map_or_else(|| "-".into(), ago),
            topic,
            event,
        ]
    }

    /// Returns the table as lines of text, which are cut at this number of columns.
    pub(super) fn text(&self, columns: Option<usize>) -> String {
        let rows = self.rows_within(MAX_ROWS);
        let selection = Columns::for_width(columns, self.order.column);
        let texts = |cells: &Cells| selection.select(cells).into_iter().map(|(_, text)| text);
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(texts(&COLUMNS.map(|(_, name, _)| name.to_owned())));
        for cells in &rows.cells {
            table.add_row(texts(cells));
        }
        for ((column, _, _), shown) in selection.shown().flatten().zip(table.column_iter_mut()) {
            shown.set_padding((0, 2));
            if !matches!(column, Column::Topic | Column::Event) {
                shown.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut text = String::new();
        let table = table.trim_fmt();
        for line in
            [self.summary().as_str(), ""].into_iter().chain(table.lines()).chain(rows.note().as_deref())
        {
            Line::new(&mut text, columns, false).put_escaped(Style::new(), line.trim_end());
            text.push('\n');
        }
        text
    }

    /// Returns the counts for one line of JSON.
    pub(super) fn json(&self, time: SystemTime) -> Counts {
        let about = |tally: &Tally| {
            let (amount, span) = (self.amount(tally), self.span());
            let last = tally.last.and_then(|last| time.checked_sub(self.now.saturating_duration_since(last)));
            json!({
                "count": tally.total.messages,
                "bytes": tally.total.bytes,
                "rate": json_rate(amount.messages, span.length),
                "bytes_per_second": per_second(amount.bytes, span.length),
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
        Counts {
            seconds: seconds(self.rates.total_span(self.now)),
            interval: seconds(self.span()),
            end: self.about == About::Total,
            peers: self.peers,
            all: about(self.rates.all()),
            rows,
            others: self.rates.others().map(about),
        }
    }
}

fn bytes(span: Span, amount: Amount) -> String {
    ByteSize::b(per_second(amount.bytes, span.length)).display().iec().to_string()
}

fn share(tally: &Tally, all: &Tally) -> String {
    let share = per_mille(tally.total.messages, all.total.messages);
    format!("{}.{}%", share / 10, share % 10)
}

/// Returns a time as a number with a suitable unit.
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
mod tests {
    use super::*;
    use crate::output::to_line;

    /// Ten messages in ten seconds: eight of one event in the first eight seconds, two of a different event in the last two.
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
        let order = if about == About::Total { Order::by(Column::Count) } else { Order::default() };
        View { rates, about, order, peers: 2, now: start + Duration::from_secs(10) }
    }

    #[test]
    fn the_table_of_an_interval_is_sorted_by_rate() {
        let start = Instant::now();
        let expected = r"10 messages in 10s, 1.0/s, 10 B/s; peers: 2

COUNT  RATE/S  BYTES/S  SHARE  LAST  TOPIC            EVENT
    2     1.0     10 B  20.0%    1s  /a\u{20}b\u{1b}  x\u{202e}
    8     0.0      0 B  80.0%    3s  zeek/event       ping
";
        let table = view(&rates(start), start, About::Interval).text(None);
        assert_eq!(table, expected, "{table}");
        let narrow = r"10 messages in 10s, 1.0/s, 10 B/s; peers: 2

COUNT  RATE/S  LAST  TOPIC            EV…
    2     1.0    1s  /a\u{20}b\u{1b}  x\…
    8     0.0    3s  zeek/event       pi…
";
        let table = view(&rates(start), start, About::Interval).text(Some(41));
        assert_eq!(
            table,
            narrow.replace(
                "10 messages in 10s, 1.0/s, 10 B/s; peers: 2",
                "10 messages in 10s, 1.0/s, 10 B/s; peers…"
            ),
            "{table}"
        );
    }

    #[test]
    fn the_table_of_the_total_is_sorted_by_count() {
        let start = Instant::now();
        let table = view(&rates(start), start, About::Total).text(None);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "10 messages in 10s, 1.0/s, 821 B/s; peers: 2");
        assert!(lines[3].contains(" 0.8 ") && lines[3].ends_with("ping"), "{table}");
        assert!(lines[4].contains(" 0.2 "), "{table}");
    }

    #[test]
    fn a_table_has_no_more_lines_and_columns_than_allowed() {
        let start = Instant::now();
        let mut rates = Rates::new(start);
        for n in 0..200 {
            rates.count(&format!("/topic/{n:02}"), &"x".repeat(200), 1, start);
        }
        let view = view(&rates, start, About::Interval);
        for columns in [1, 20, 60, 100] {
            let table = view.text(Some(columns));
            assert!(table.lines().all(|line| line.chars().count() <= columns), "{columns}: {table}");
        }
        assert!(view.text(None).ends_with("\nand 105 more\n"), "{}", view.text(None));
        for (lines, shown) in [(0, 0), (1, 0), (2, 1), (10, 9), (199, 198), (200, 200), (300, 200)] {
            let rows = view.rows_within(lines);
            assert_eq!((rows.cells.len(), rows.hidden), (shown, 200 - shown), "{lines}");
        }
    }

    #[test]
    fn json_has_a_row_for_each_event_of_the_period_and_the_sum() {
        let start = Instant::now();
        let rates = rates(start);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let line = |about| {
            let line = to_line(&view(&rates, start, about).json(time));
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
        let total = line(About::Total);
        assert_eq!((&total["end"], &total["interval"]), (&json!(true), &json!(10.0)));
        assert_eq!(total["rows"][0]["rate"], 0.8);
        assert_eq!(total["rows"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_line_of_json_has_its_members_in_a_fixed_order() {
        let start = Instant::now();
        let rates = rates(start);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let line = to_line(&view(&rates, start, About::Interval).json(time));
        assert_eq!(
            String::from_utf8(line).unwrap(),
            r#"{"seconds":10.0,"interval":2.0,"end":false,"peers":2,"all":{"bytes":8212,"bytes_per_second":10,"count":10,"last":"1970-01-01T00:01:39.000Z","rate":1.0,"share":1.0},"rows":[{"bytes":20,"bytes_per_second":10,"count":2,"event":"x\u202e","last":"1970-01-01T00:01:39.000Z","rate":1.0,"share":0.2,"topic":"/a b\u001b"}],"others":null}"#
        );
    }

    #[test]
    fn times_have_a_suitable_unit() {
        let ago = [0, 1, 99, 100, 5999, 6000].map(|n| ago(Duration::from_secs(n)));
        assert_eq!(ago, ["now", "1s", "99s", "1m", "99m", "1h"]);
    }
}
