//! Walking through a TOML document, with an eye on what is wrong with it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::diagnostic::{Mistake, Source};
use super::suggest::instead;

/// What was found in one file.
pub(super) struct Report<'t> {
    file: &'t Path,
    text: &'t str,
    /// Where each line begins.
    lines: Vec<usize>,
    /// The lines with a fault of syntax.
    broken: BTreeSet<usize>,
    source: RefCell<Source>,
    mistakes: RefCell<Vec<Mistake>>,
}

impl<'t> Report<'t> {
    pub(super) fn new(text: &'t str, file: &'t Path, errors: &[Error]) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at.saturating_add(1));
        let mut report = Report {
            file,
            text,
            lines: std::iter::once(0).chain(ends).collect(),
            broken: BTreeSet::new(),
            source: RefCell::new(Source::new(file)),
            mistakes: RefCell::default(),
        };
        let mut errors: Vec<&Error> = errors.iter().collect();
        errors.sort_by_key(|error| error.span().map(|span| span.start));
        for error in errors {
            report.syntax(error);
        }
        report
    }

    fn syntax(&mut self, error: &Error) {
        let span = error.span().unwrap_or_default();
        // One fault makes others: the first of a line is the one to mend.
        if !self.broken.insert(self.position(span.start).0) {
            return;
        }
        let message = match (error.message(), self.text.get(span.clone())) {
            ("duplicate key", Some(key)) => {
                format!(
                    "`{}` is there already: keep one of them, or call it something else",
                    key.escape_debug()
                )
            }
            (message, _) => format!("this is not TOML: {message}"),
        };
        self.mistake(&span, "", message);
    }

    /// Whether there are faults of syntax, so that what seems to be missing may well be there.
    pub(super) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// How many mistakes there are so far.
    pub(super) fn count(&self) -> usize {
        self.mistakes.borrow().len()
    }

    pub(super) fn mistake(&self, span: &Range<usize>, path: &str, message: impl Into<String>) {
        let (line, column) = self.position(span.start);
        self.mistakes.borrow_mut().push(Mistake {
            file: self.file.to_owned(),
            line: Some(line),
            column: Some(column),
            path: path.to_owned(),
            message: message.into(),
        });
    }

    /// Line and column, from 1.
    fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let before = self.text.get(start..offset).map_or(0, |before| before.chars().count());
        (line, before.saturating_add(1))
    }

    fn is_sound(&self, span: &Range<usize>) -> bool {
        let (first, last) = (self.position(span.start).0, self.position(span.end).0);
        self.broken.range(first..=last).next().is_none()
    }

    pub(super) fn file(&self) -> &'t Path {
        self.file
    }

    /// The whole file.
    pub(super) fn document<'r>(&'r self, document: &'r Spanned<DeTable<'r>>) -> Table<'r> {
        Table::new(self, String::new(), 0..0, document.get_ref())
    }

    /// Where everything stands, and the mistakes in the order of the file.
    pub(super) fn into_parts(self) -> (Source, Vec<Mistake>) {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        (self.source.into_inner(), mistakes)
    }
}

/// A table that is being read.
pub(super) struct Table<'r> {
    report: &'r Report<'r>,
    path: String,
    span: Range<usize>,
    /// What was not taken yet, in the order of the file.
    entries: Vec<Entry<'r>>,
    /// What was asked for.
    known: Vec<&'static str>,
}

/// A key with its value, or an element of an array.
#[derive(Clone)]
pub(super) struct Entry<'r> {
    pub(super) report: &'r Report<'r>,
    pub(super) key: &'r str,
    pub(super) path: String,
    /// Where mistakes about it are.
    pub(super) span: Range<usize>,
    pub(super) value: &'r DeValue<'r>,
}

impl<'r> Table<'r> {
    fn new(report: &'r Report<'r>, path: String, span: Range<usize>, table: &'r DeTable<'r>) -> Self {
        let mut entries = Vec::new();
        for (key, value) in table {
            let (at, of) = (key.span(), value.span());
            // What a fault of syntax is in the midst of says little.
            if report.is_sound(&(at.start.min(of.start)..at.end.max(of.end))) {
                let path = join(&path, key.get_ref());
                entries.push(Entry { report, key: key.get_ref(), path, span: at, value: value.get_ref() });
            }
        }
        entries.sort_by_key(|entry| entry.span.start);
        Table { report, path, span, entries, known: Vec::new() }
    }

    /// Makes the table go by another path.
    pub(super) fn rename(&mut self, path: String) {
        for entry in &mut self.entries {
            entry.path = join(&path, entry.key);
        }
        self.path = path;
        self.note();
    }

    fn note(&self) {
        let (line, column) = self.report.position(self.span.start);
        self.report.source.borrow_mut().note(&self.path, line, column);
    }

    /// The value of a key that may be there.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Entry<'r>> {
        self.known.push(key);
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        let entry = self.entries.remove(index);
        entry.note();
        Some(entry)
    }

    /// All that is there, whatever the keys.
    pub(super) fn take_all(&mut self) -> Vec<Entry<'r>> {
        let entries = std::mem::take(&mut self.entries);
        entries.iter().for_each(Entry::note);
        entries
    }

    /// A mistake about the table itself.
    pub(super) fn wrong(&self, message: impl Into<String>) {
        self.report.mistake(&self.span, &self.path, message);
    }

    /// Something is not there that has to be.
    pub(super) fn missing(&self, key: &str, message: impl Into<String>) {
        if !self.report.is_broken() {
            self.report.mistake(&self.span, &join(&self.path, key), message);
        }
    }

    /// What is there that nobody asked for is a mistake.
    pub(super) fn finish(self) {
        for entry in &self.entries {
            let mend = instead(entry.key, self.known.iter().copied());
            entry.wrong(format!("there is no such key here; {mend}"));
        }
    }
}

impl<'r> Entry<'r> {
    fn note(&self) {
        let (line, column) = self.report.position(self.span.start);
        self.report.source.borrow_mut().note(&self.path, line, column);
    }

    pub(super) fn wrong(&self, message: impl Into<String>) {
        self.report.mistake(&self.span, &self.path, message);
    }

    /// A table, or a mistake that says what to give.
    pub(super) fn table(&self, wanted: &str) -> Option<Table<'r>> {
        match self.value {
            DeValue::Table(table) => {
                Some(Table::new(self.report, self.path.clone(), self.span.clone(), table))
            }
            _ => self.wrong_type(wanted),
        }
    }

    /// The elements of an array; they go by the array's path.
    pub(super) fn elements(&self) -> Option<Vec<Entry<'r>>> {
        let DeValue::Array(array) = self.value else { return None };
        let elements = array.iter();
        Some(
            elements
                .filter(|value| self.report.is_sound(&value.span()))
                .map(|value| Entry { span: value.span(), value: value.get_ref(), ..self.clone() })
                .collect(),
        )
    }

    /// It is something else than it should be.
    pub(super) fn wrong_type<T>(&self, wanted: &str) -> Option<T> {
        let found = match self.value {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time of day",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.wrong(format!("this is {found}; give {wanted}"));
        None
    }
}

fn join(path: &str, key: &str) -> String {
    let is_bare = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    let dot = if path.is_empty() { "" } else { "." };
    if !key.is_empty() && key.chars().all(is_bare) {
        format!("{path}{dot}{key}")
    } else {
        format!("{path}{dot}\"{}\"", key.escape_debug())
    }
}
