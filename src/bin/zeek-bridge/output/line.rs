//! Lines of text for a terminal: untrusted characters are escaped, and lines are cut at its width.

use std::fmt::{self, Display, Write};

use anstyle::{Reset, Style};
use unicode_width::UnicodeWidthChar;

use super::escape::steers;

/// Maximum number of combining characters, such as accents, on one character.
const MAX_MARKS: usize = 4;

/// A line of untrusted text. When the line is full, writing fails, so that `Display` does not format text that is not visible.
pub(crate) struct Line<'a> {
    to: &'a mut String,
    /// Maximum number of columns; `None` if it is not limited.
    limit: Option<usize>,
    used: usize,
    marks: usize,
    /// The offset of the last column.
    last: usize,
    full: bool,
    color: bool,
    /// Whether white space is escaped.
    word: bool,
    /// Whether the text is already escaped with backslashes.
    escaped: bool,
}

impl<'a> Line<'a> {
    /// Appends a line to `to`.
    pub(crate) fn new(to: &'a mut String, limit: Option<usize>, color: bool) -> Self {
        let last = to.len();
        Line { to, limit, used: 0, marks: 0, last, full: false, color, word: false, escaped: false }
    }

    /// Appends text in this style.
    pub(crate) fn put(&mut self, style: Style, what: impl Display) {
        self.styled(style, |line| write!(line, "{what}"));
    }

    /// Like [`Line::put`], but escapes white space, so that the end of the word is visible.
    pub(crate) fn put_word(&mut self, style: Style, what: impl Display) {
        self.word = true;
        self.put(style, what);
        self.word = false;
    }

    /// Like [`Line::put`], for text that is already escaped with backslashes.
    pub(crate) fn put_escaped(&mut self, style: Style, what: impl Display) {
        self.escaped = true;
        self.put(style, what);
        self.escaped = false;
    }

    /// Appends spaces up to this column.
    pub(crate) fn fill(&mut self, columns: usize) {
        while self.used < columns && self.letter(' ').is_ok() {}
    }

    fn styled(&mut self, style: Style, write: impl FnOnce(&mut Self) -> fmt::Result) {
        if self.full {
            return;
        }
        let color = self.color && style != Style::new();
        if color {
            // Writing to memory cannot fail.
            let _ = write!(self.to, "{style}");
        }
        // Fails when the line is full, which is not an error.
        let _ = write(self);
        if color {
            let uncut = self.last == self.to.len();
            let _ = write!(self.to, "{Reset}");
            if uncut {
                self.last = self.to.len();
            }
        }
    }

    fn letter(&mut self, letter: char) -> fmt::Result {
        if self.full {
            return Err(fmt::Error);
        }
        let used = self.used.saturating_add(letter.width().unwrap_or(0));
        if self.limit.is_some_and(|limit| used > limit) {
            self.to.truncate(self.last);
            self.to.push('…');
            self.full = true;
            return Err(fmt::Error);
        }
        self.to.push(letter);
        self.used = used;
        if self.limit.is_some_and(|limit| used < limit) {
            self.last = self.to.len();
        }
        Ok(())
    }
}

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            let mark = letter.width() == Some(0);
            self.marks = if mark { self.marks.saturating_add(1) } else { 0 };
            let space = self.word && letter.is_whitespace();
            // Also escape the backslash. Otherwise, a peer could imitate an escape.
            if steers(letter) || letter == '\\' && !self.escaped {
                letter.escape_default().try_for_each(|letter| self.letter(letter))?;
            } else if space || self.marks > MAX_MARKS {
                letter.escape_unicode().try_for_each(|letter| self.letter(letter))?;
            } else {
                self.letter(letter)?;
            }
        }
        Ok(())
    }
}

/// A column that is as wide as its widest cell so far, up to a limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PaddedColumn {
    width: usize,
    most: usize,
    words: bool,
    escaped: bool,
}

impl PaddedColumn {
    /// Returns a column of words with this maximum width.
    pub(crate) fn of_words(most: usize) -> Self {
        PaddedColumn { width: 0, most, words: true, escaped: false }
    }

    /// Returns a column of text that may contain spaces and is already escaped with backslashes.
    pub(crate) fn of_escaped_text(most: usize) -> Self {
        PaddedColumn { width: 0, most, words: false, escaped: true }
    }

    /// Appends a cell and two spaces. A cell has at most a third of the line.
    pub(crate) fn put(&mut self, line: &mut Line<'_>, style: Style, what: impl Display) {
        let most = line.limit.map_or(self.most, |limit| self.most.min(limit / 3));
        let (cell, used) = self.cell(most, what);
        self.width = self.width.max(used);
        let end = line.used.saturating_add(self.width.min(most));
        line.put_escaped(style, cell);
        line.fill(end.saturating_add(2));
    }

    /// Returns the text of a cell, cut at `most` columns, and its width.
    fn cell(&self, most: usize, what: impl Display) -> (String, usize) {
        let mut text = String::new();
        let mut cell = Line::new(&mut text, Some(most), false);
        (cell.word, cell.escaped) = (self.words, self.escaped);
        cell.put(Style::new(), what);
        let used = if cell.full { most } else { cell.used };
        (text, used)
    }
}

#[cfg(test)]
mod tests {
    use anstyle::AnsiColor;

    use super::*;

    fn cut(limit: usize, text: &str) -> String {
        let mut to = String::new();
        Line::new(&mut to, Some(limit), false).put(Style::new(), text);
        to
    }

    #[test]
    fn a_line_is_cut_by_its_width_on_the_terminal() {
        for (limit, text, expected) in [
            (5, "abcde", "abcde"),
            (5, "abcdef", "abcd…"),
            (1, "ab", "…"),
            (0, "a", "…"),
            // Each character takes two columns.
            (4, "東京", "東京"),
            (4, "東京a", "東…"),
            (5, "東京都", "東京…"),
            (3, "e\u{301}e\u{301}e\u{301}", "e\u{301}e\u{301}e\u{301}"),
            (3, "e\u{301}e\u{301}e\u{301}e", "e\u{301}e\u{301}…"),
            (9, "a\u{1b}b", r"a\u{1b}b"),
            (6, "a\u{1b}b", r"a\u{1…"),
            (9, r"a\u{1b}", r"a\\u{1b}"),
        ] {
            assert_eq!(cut(limit, text), expected, "{limit} {text:?}");
        }
    }

    #[test]
    fn the_number_of_accents_on_a_character_is_limited() {
        let pile = format!("a{}b", "\u{301}".repeat(10));
        assert_eq!(cut(80, &pile), format!("a{}{}b", "\u{301}".repeat(4), r"\u{301}".repeat(6)));
    }

    #[test]
    fn nothing_is_appended_to_a_full_line() {
        struct Endless;
        impl Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("x")?;
                }
            }
        }
        let mut to = String::from("before ");
        let mut line = Line::new(&mut to, Some(3), false);
        line.put(Style::new(), Endless);
        line.put(Style::new(), "more");
        line.fill(10);
        assert_eq!(to, "before xx…");
    }

    #[test]
    fn a_style_ends_with_its_text_and_has_no_width() {
        let red = AnsiColor::Red.on_default();
        let line = |limit, color| {
            let mut to = String::new();
            let mut line = Line::new(&mut to, Some(limit), color);
            line.put(red, "ab");
            line.put(Style::new(), "cd");
            to
        };
        assert_eq!(line(4, true), "\u{1b}[31mab\u{1b}[0mcd");
        assert_eq!(line(3, true), "\u{1b}[31mab\u{1b}[0m…");
        assert_eq!(line(1, true), "…\u{1b}[0m");
        assert_eq!(line(4, false), "abcd");
    }

    #[test]
    fn a_column_grows_up_to_its_limit_and_never_shrinks() {
        let mut column = PaddedColumn::of_words(5);
        let mut put = |word: &str, limit| {
            let mut to = String::new();
            let mut line = Line::new(&mut to, limit, false);
            column.put(&mut line, Style::new(), word);
            line.put(Style::new(), "|");
            to
        };
        assert_eq!(put("a", None), "a  |");
        assert_eq!(put("abcd", None), "abcd  |");
        assert_eq!(put("a", None), "a     |");
        assert_eq!(put("abcdef", None), "abcd…  |");
        assert_eq!(put("a b", None), r"a\u{…  |");
        assert_eq!(put(r"a\b", None), r"a\\b   |");
        assert_eq!(put("a", Some(9)), "a    |");
        assert_eq!(put("東京都庁", None), "東京…  |");
    }
}
