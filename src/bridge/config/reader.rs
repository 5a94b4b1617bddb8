//! Walks through a TOML document and collects every error in it.
//!
//! The document is not deserialized with serde, because serde stops at the first value of a wrong type and at the first
//! unknown key. A user would then fix one error per run. `zeek-bridge check` reports all errors at once, each with its
//! line and a suggestion.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::diagnostic::{Diagnostic, Source};
use super::suggest::suggestion;

/// The errors and the positions that were found in one file.
pub(super) struct Report<'t> {
    file: &'t Path,
    text: &'t str,
    /// The offset of the beginning of each line.
    lines: Vec<usize>,
    /// The lines with a syntax error.
    broken: BTreeSet<usize>,
    source: RefCell<Source>,
    errors: RefCell<Vec<Diagnostic>>,
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
            errors: RefCell::default(),
        };
        let mut errors: Vec<&Error> = errors.iter().collect();
        errors.sort_by_key(|error| error.span().map(|span| span.start));
        for error in errors {
            report.syntax_error(error);
        }
        report
    }

    fn syntax_error(&mut self, error: &Error) {
        let span = error.span().unwrap_or_default();
        // A syntax error often causes more errors in the same line, so report only the first one in each line.
        if !self.broken.insert(self.position(span.start).0) {
            return;
        }
        match (error.message(), self.text.get(span.clone())) {
            ("duplicate key", Some(key)) => {
                let message = format!("duplicate key `{}`", key.escape_debug());
                self.error(&span, "", message, "remove one of them, or rename it");
            }
            (message, _) => self.error(&span, "", format!("invalid TOML: {message}"), ""),
        }
    }

    /// Returns whether there are syntax errors. If so, a key that seems to be missing may be in a part of the file that
    /// was not read.
    pub(super) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// Returns the number of errors so far.
    pub(super) fn count(&self) -> usize {
        self.errors.borrow().len()
    }

    fn error(&self, span: &Range<usize>, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        let (line, column) = self.position(span.start);
        self.errors.borrow_mut().push(Diagnostic {
            file: self.file.to_owned(),
            line: Some(line),
            column: Some(column),
            ..Diagnostic::new(key, message).with_hint(hint)
        });
    }

    /// Returns the line and the column, both from 1.
    fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let before = self.text.get(start..offset).map_or(0, |before| before.chars().count());
        (line, before.saturating_add(1))
    }

    /// Returns whether no line of the span has a syntax error.
    fn is_sound(&self, span: &Range<usize>) -> bool {
        let (first, last) = (self.position(span.start).0, self.position(span.end).0);
        self.broken.range(first..=last).next().is_none()
    }

    pub(super) fn file(&self) -> &'t Path {
        self.file
    }

    /// Returns the top-level table.
    pub(super) fn document<'r>(&'r self, document: &'r Spanned<DeTable<'r>>) -> Table<'r> {
        Table::new(self, String::new(), 0..0, document.get_ref())
    }

    /// Returns the positions of all keys, and the errors in the order of the file.
    pub(super) fn into_parts(self) -> (Source, Vec<Diagnostic>) {
        let mut errors = self.errors.into_inner();
        errors.sort_by_key(Diagnostic::position);
        (self.source.into_inner(), errors)
    }
}

/// A table that is being read.
pub(super) struct Table<'r> {
    report: &'r Report<'r>,
    path: String,
    span: Range<usize>,
    /// The entries that were not taken yet, in the order of the file.
    entries: Vec<Entry<'r>>,
    /// The valid keys: all that [`Table::take`] was called with.
    known: Vec<&'static str>,
}

/// A key with its value, or an element of an array.
#[derive(Clone)]
pub(super) struct Entry<'r> {
    pub(super) report: &'r Report<'r>,
    pub(super) key: &'r str,
    pub(super) path: String,
    /// The position for errors about this entry.
    pub(super) span: Range<usize>,
    pub(super) value: &'r DeValue<'r>,
}

impl<'r> Table<'r> {
    fn new(report: &'r Report<'r>, path: String, span: Range<usize>, table: &'r DeTable<'r>) -> Self {
        let mut entries = Vec::new();
        for (key, value) in table {
            let (at, of) = (key.span(), value.span());
            // The parser guesses a value where it finds a syntax error, so skip an entry that contains one.
            if report.is_sound(&(at.start.min(of.start)..at.end.max(of.end))) {
                let path = join(&path, key.get_ref());
                entries.push(Entry { report, key: key.get_ref(), path, span: at, value: value.get_ref() });
            }
        }
        entries.sort_by_key(|entry| entry.span.start);
        Table { report, path, span, entries, known: Vec::new() }
    }

    /// Changes the path under which the table and its entries are reported.
    pub(super) fn rename(&mut self, path: String) {
        for entry in &mut self.entries {
            entry.path = join(&path, entry.key);
        }
        self.path = path;
        self.record();
    }

    fn record(&self) {
        let (line, column) = self.report.position(self.span.start);
        self.report.source.borrow_mut().record(&self.path, line, column);
    }

    /// Removes and returns the entry with this key, if there is one.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Entry<'r>> {
        self.known.push(key);
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        let entry = self.entries.remove(index);
        entry.record();
        Some(entry)
    }

    /// Removes and returns all entries, for a table whose keys are names.
    pub(super) fn take_all(&mut self) -> Vec<Entry<'r>> {
        let entries = std::mem::take(&mut self.entries);
        entries.iter().for_each(Entry::record);
        entries
    }

    /// Reports an error about the table itself.
    pub(super) fn error(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.report.error(&self.span, &self.path, message, hint);
    }

    /// Reports a missing key, unless it may be in a part of the file that was not read.
    pub(super) fn missing(&self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        if !self.report.is_broken() {
            self.report.error(&self.span, &join(&self.path, key), message, hint);
        }
    }

    /// Reports every entry that was not taken as an unknown key.
    pub(super) fn finish(self) {
        for entry in &self.entries {
            entry.error("unknown key", suggestion(entry.key, self.known.iter().copied()));
        }
    }
}

impl<'r> Entry<'r> {
    fn record(&self) {
        self.record_as(&self.path);
    }

    /// Records the position also for a different path, so that errors under that path are located.
    pub(super) fn record_as(&self, path: &str) {
        let (line, column) = self.report.position(self.span.start);
        self.report.source.borrow_mut().record(path, line, column);
    }

    /// Reports an error about this entry.
    pub(super) fn error(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.report.error(&self.span, &self.path, message, hint);
    }

    /// Returns the entry as a table, or reports an error with this hint.
    pub(super) fn table(&self, hint: &str) -> Option<Table<'r>> {
        match self.value {
            DeValue::Table(table) => {
                Some(Table::new(self.report, self.path.clone(), self.span.clone(), table))
            }
            _ => {
                self.error(format!("expected a table, found {}", self.kind()), hint);
                None
            }
        }
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }

    /// Returns the elements of an array. Errors about them are reported under the array's key.
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

    /// Reports that the value has the wrong type, and returns `None`.
    pub(super) fn wrong_type<T>(&self, expected: &str) -> Option<T> {
        self.error(format!("expected {expected}, found {}", self.kind()), "");
        None
    }

    fn kind(&self) -> &'static str {
        match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
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
