//! Errors and warnings about a configuration, and the position of each key in its file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::References;

/// An error in a configuration, or a warning about one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnostic {
    /// The file; empty if it is not known.
    pub file: PathBuf,
    /// The line, counted from 1; `None` if it is not known.
    pub line: Option<usize>,
    /// The column in that line in characters, counted from 1; `None` if it is not known.
    pub column: Option<usize>,
    /// The key with its tables, such as `link.agents.limits.frame`. The key of a rule contains the name of the rule
    /// (`rule.ids.topics`), or its number from 1 if the rule has no name (`rule.2.topics`). Empty if there is no key,
    /// as for a syntax error.
    pub key: String,
    /// The cause.
    pub message: String,
    /// How to fix the problem; empty if the message is enough.
    pub hint: String,
}

/// Receives a warning: key, message, hint.
pub(super) type Warn<'a> = dyn FnMut(&str, String, &str) + 'a;

/// One line: `bridge.toml:12: link.agents.cafile: message; hint`. A syntax error has the column as well.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diagnostic { file, line, column, key, message, hint } = self;
        if !file.as_os_str().is_empty() {
            write!(f, "{}:", file.display())?;
            if let Some(line) = line {
                write!(f, "{line}:")?;
                if let (Some(column), true) = (column, key.is_empty()) {
                    write!(f, "{column}:")?;
                }
            }
            f.write_str(" ")?;
        }
        if !key.is_empty() {
            write!(f, "{key}: ")?;
        }
        f.write_str(message)?;
        if hint.is_empty() { Ok(()) } else { write!(f, "; {hint}") }
    }
}

impl std::error::Error for Diagnostic {}

impl Diagnostic {
    /// Returns a diagnostic about a key, without its position: [`Source::locate`] adds it.
    #[must_use]
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Diagnostic {
            file: PathBuf::new(),
            line: None,
            column: None,
            key: key.into(),
            message: message.into(),
            hint: String::new(),
        }
    }

    /// Adds a hint.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Diagnostic { hint: hint.into(), ..self }
    }

    /// Returns the line and the column, by which diagnostics are sorted.
    pub(super) fn position(&self) -> (Option<usize>, Option<usize>) {
        (self.line, self.column)
    }
}

/// All errors in a configuration. `Display` writes one line per error.
///
/// It contains no [`BridgeConfig`](super::BridgeConfig), so that no bridge can be started with an invalid
/// configuration. For example, a link with invalid TLS settings would run without TLS.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    source: Source,
    // Boxed, because a large error type makes every `Result` large.
    references: Box<References>,
}

impl Diagnostics {
    pub(super) fn of_file(list: Vec<Diagnostic>, source: Source, references: References) -> Self {
        Diagnostics { list, source, references: Box::new(references) }
    }

    /// Iterates over the errors, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// Returns the number of errors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns whether there is no error.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns the position of each key in the file. Empty if the errors do not come from a file.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Returns the files and addresses in the valid parts of the configuration file. A check can test them even if the
    /// rest of the file is invalid.
    #[must_use]
    pub fn references(&self) -> &References {
        &self.references
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.list.iter().enumerate() {
            write!(f, "{}{diagnostic}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

impl From<Vec<Diagnostic>> for Diagnostics {
    fn from(list: Vec<Diagnostic>) -> Self {
        Diagnostics { list, ..Diagnostics::default() }
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        vec![diagnostic].into()
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The position of each key of a configuration file.
#[derive(Clone, Debug, Default)]
pub struct Source {
    file: PathBuf,
    /// Line and column by key.
    positions: BTreeMap<String, (usize, usize)>,
}

impl Source {
    pub(super) fn new(file: &Path) -> Self {
        Source { file: file.to_owned(), positions: BTreeMap::new() }
    }

    pub(super) fn record(&mut self, key: &str, line: usize, column: usize) {
        self.positions.entry(key.to_owned()).or_insert((line, column));
    }

    /// Returns the file's name.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Returns whether the file contains this key, such as `link.agents.retry`.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.positions.contains_key(key)
    }

    /// Adds the file and the position of the key to a diagnostic. If the key is not in the file, the position of its
    /// table is used.
    #[must_use]
    pub fn locate(&self, diagnostic: Diagnostic) -> Diagnostic {
        let mut key = diagnostic.key.as_str();
        let position = loop {
            if let Some(position) = self.positions.get(key) {
                break Some(*position);
            }
            match key.rsplit_once('.') {
                Some((table, _)) => key = table,
                None => break None,
            }
        };
        Diagnostic {
            file: self.file.clone(),
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
            ..diagnostic
        }
    }
}
