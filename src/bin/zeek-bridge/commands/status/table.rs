//! Tables of text that fit a number of columns.

use anstyle::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::output::Line;

/// The number of spaces between two columns.
const GAP: usize = 2;

/// Maximum width of a cell. Longer text is always shortened.
const MAX_CELL: usize = 1000;

/// The width to which endpoint ids are shortened.
const SHORT_ID: usize = 13;

/// Text that is not an endpoint id is not shortened below this width.
const SHORT_TEXT: usize = 8;

/// The content of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// An endpoint id. Ids are shortened before text.
    Id,
    Number,
    /// A number. The column is left out if it is zero in all rows.
    Counter,
}

/// A table without borders. Numbers are aligned to the right. Text that has no room is shortened in the middle.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    /// For each row, text for a line below it.
    notes: Vec<Option<String>>,
}

#[derive(Clone, Debug)]
struct Column {
    heading: String,
    kind: Kind,
    cells: Vec<String>,
    width: usize,
}

impl Table {
    /// Creates a table with these columns: the heading, the content, and the minimum width, which keeps a table that is
    /// updated from moving.
    pub(super) fn new(columns: impl IntoIterator<Item = (impl Into<String>, Kind, usize)>) -> Self {
        let column = |(heading, kind, least): (_, _, usize)| {
            let heading: String = Into::into(heading);
            Column { width: heading.width().max(least), heading, kind, cells: Vec::new() }
        };
        Table { columns: columns.into_iter().map(column).collect(), notes: Vec::new() }
    }

    /// Adds a row. Characters that affect a terminal are escaped.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = impl AsRef<str>>) {
        self.row_with_note(cells, None);
    }

    /// Adds a row and text for a line below it.
    pub(super) fn row_with_note(
        &mut self,
        cells: impl IntoIterator<Item = impl AsRef<str>>,
        note: Option<&str>,
    ) {
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            let cell = shortened(&escaped(cell.as_ref()), MAX_CELL);
            column.width = column.width.max(cell.width());
            column.cells.push(cell);
        }
        self.notes.push(note.map(escaped));
    }

    /// Returns whether the table fits into this width without shortened text.
    pub(super) fn fits(&self, width: usize) -> bool {
        total(&self.shown()) <= width
    }

    /// Returns the heading and the rows, each with at most `width` columns. Returns nothing if there are no rows.
    pub(super) fn lines(&self, width: usize) -> Vec<String> {
        if self.notes.is_empty() {
            return Vec::new();
        }
        let mut columns = self.shown();
        fit(&mut columns, width);
        let mut lines = vec![line(&columns, |column| &column.heading, width)];
        for (index, note) in self.notes.iter().enumerate() {
            lines.push(line(&columns, |column| column.cells.get(index).map_or("", String::as_str), width));
            let note = note.iter().map(|note| format!("  {}", shortened(note, width.saturating_sub(2))));
            lines.extend(note.map(|note| cut(&note, width)));
        }
        lines
    }

    fn shown(&self) -> Vec<Column> {
        let is_shown =
            |column: &&Column| column.kind != Kind::Counter || !column.cells.iter().all(|cell| is_zero(cell));
        self.columns.iter().filter(is_shown).cloned().collect()
    }
}

fn is_zero(cell: &str) -> bool {
    !cell.contains(|letter| matches!(letter, '1'..='9'))
}

fn total(columns: &[Column]) -> usize {
    let widths = columns.iter().map(|column| column.width.saturating_add(GAP));
    widths.fold(0, usize::saturating_add).saturating_sub(GAP)
}

/// Makes columns narrower until they fit, if they can: first ids, then the widest text.
fn fit(columns: &mut [Column], width: usize) {
    while total(columns) > width {
        let id = columns.iter_mut().find(|column| column.kind == Kind::Id && column.width > SHORT_ID);
        let column = match id {
            Some(id) => Some(id),
            None => columns
                .iter_mut()
                .filter(|column| column.kind == Kind::Text && column.width > SHORT_TEXT)
                .max_by_key(|column| column.width),
        };
        match column {
            Some(column) => column.width = column.width.saturating_sub(1),
            None => return,
        }
    }
}

fn line<'a>(columns: &'a [Column], cell: impl Fn(&'a Column) -> &'a str, width: usize) -> String {
    let mut line = String::new();
    for column in columns {
        let cell = shortened(cell(column), column.width);
        let padding = " ".repeat(column.width.saturating_sub(cell.width()));
        let is_text = matches!(column.kind, Kind::Text | Kind::Id);
        let (left, right) = if is_text { ("", padding.as_str()) } else { (padding.as_str(), "") };
        line.extend([left, &cell, right, "  "]);
    }
    cut(line.trim_end(), width)
}

/// Escapes characters that affect a terminal, and backslashes.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    Line::new(&mut escaped, None, false).put(Style::new(), text);
    escaped
}

/// Cuts escaped text at this width.
pub(super) fn cut(text: &str, width: usize) -> String {
    let mut line = String::new();
    Line::new(&mut line, Some(width), false).put_escaped(Style::new(), text);
    line
}

/// Shortens text in the middle, so that the beginning and the end stay.
fn shortened(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let available = width.saturating_sub(1);
    let head = fitting(text.chars(), available.div_ceil(2));
    let tail: Vec<char> = fitting(
        text.chars().rev(),
        available.saturating_sub(head.iter().filter_map(|letter| letter.width()).sum()),
    );
    head.into_iter().chain(['…']).chain(tail.into_iter().rev()).collect()
}

/// Returns as many of the first characters as fit into this width.
fn fitting(letters: impl Iterator<Item = char>, width: usize) -> Vec<char> {
    let mut used: usize = 0;
    let fits = |letter: &char| {
        used = used.saturating_add(letter.width().unwrap_or(0));
        used <= width
    };
    letters.take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shortened_in_the_middle_by_its_width_on_the_terminal() {
        for (text, width, expected) in [
            ("abcdef", 6, "abcdef"),
            ("abcdef", 5, "ab…ef"),
            ("abcdef", 4, "ab…f"),
            ("abcdef", 1, "…"),
            ("東京都庁", 6, "東…庁"),
            ("[2001:db8::1]:2151", 13, "[2001:…]:2151"),
        ] {
            assert_eq!(shortened(text, width), expected, "{text} {width}");
        }
    }

    #[test]
    fn ids_are_shortened_before_the_widest_text_and_numbers_never() {
        let mut table = Table::new([
            ("NAME", Kind::Text, 0),
            ("PEER", Kind::Id, 0),
            ("COUNT", Kind::Number, 7),
            ("ZERO", Kind::Counter, 0),
        ]);
        table.row_with_note(["a-long-name", "0123456789abcdef", "5", "0 B"], Some("note\u{1b}"));
        table.row(["b", "c", "1234567", "0"]);
        assert!(table.fits(38) && !table.fits(37));
        let expected = [
            "NAME         PEER                COUNT",
            "a-long-name  0123456789abcdef        5",
            r"  note\u{1b}",
            "b            c                 1234567",
        ];
        assert_eq!(table.lines(38), expected);
        let expected = [
            "NAME         PEER             COUNT",
            "a-long-name  012345…abcdef        5",
            r"  note\u{1b}",
            "b            c              1234567",
        ];
        assert_eq!(table.lines(35), expected);
        assert_eq!(table.lines(33)[1], "a-lo…name  012345…abcdef        5");
        for width in 0..50 {
            assert!(table.lines(width).iter().all(|line| line.width() <= width.max(1)), "{width}");
        }
        table.row(["", "", "", "1 B"]);
        assert!(table.lines(80)[0].ends_with("ZERO"));
    }
}
