//! What is wrong with a configuration, and where in the file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Something in a configuration file to be mended; or, as a warning, something to think about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file; empty if it is not known.
    pub file: PathBuf,
    /// The line, counted from 1; `None` for what stands nowhere.
    pub line: Option<usize>,
    /// The letter in that line, counted from 1.
    pub column: Option<usize>,
    /// The key, with the tables that it is in, such as `link.agents.limits.frame`; rules go by their name (`rule.ids.topics`),
    /// or by their number, from 1 (`rule.2.topics`), if they have none. Empty for what has no key, as a fault of syntax.
    pub path: String,
    /// What is wrong, and what to do about it.
    pub message: String,
}

/// `bridge.toml:12: link.agents.cafile: ...`; with the column for a fault of syntax.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mistake { file, line, column, path, message } = self;
        if !file.as_os_str().is_empty() {
            write!(f, "{}:", file.display())?;
            if let Some(line) = line {
                write!(f, "{line}:")?;
                if let (Some(column), true) = (column, path.is_empty()) {
                    write!(f, "{column}:")?;
                }
            }
            f.write_str(" ")?;
        }
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        f.write_str(message)
    }
}

impl std::error::Error for Mistake {}

impl Mistake {
    /// About a key, wherever that stands: [`Source::find`] knows.
    #[must_use]
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Mistake { file: PathBuf::new(), line: None, column: None, path: path.into(), message: message.into() }
    }
}

/// Where the keys of a configuration stand.
#[derive(Clone, Debug, Default)]
pub struct Source {
    file: PathBuf,
    places: BTreeMap<String, (usize, usize)>,
}

impl Source {
    pub(super) fn new(file: &Path) -> Self {
        Source { file: file.to_owned(), places: BTreeMap::new() }
    }

    pub(super) fn note(&mut self, path: &str, line: usize, column: usize) {
        self.places.entry(path.to_owned()).or_insert((line, column));
    }

    /// The file's name.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether the file says anything under this path, such as `link.agents.retry`.
    #[must_use]
    pub fn says(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    /// The same mistake, with the file and the line. Where the key is not in the file, it is the line of its table.
    #[must_use]
    pub fn find(&self, mistake: Mistake) -> Mistake {
        let mut path = mistake.path.as_str();
        let place = loop {
            if let Some(place) = self.places.get(path) {
                break Some(*place);
            }
            match path.rsplit_once('.') {
                Some((table, _)) => path = table,
                None => break None,
            }
        };
        Mistake {
            file: self.file.clone(),
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
            ..mistake
        }
    }

    /// A mistake about a key of this file.
    #[must_use]
    pub fn mistake(&self, path: impl Into<String>, message: impl Into<String>) -> Mistake {
        self.find(Mistake::new(path, message))
    }
}
