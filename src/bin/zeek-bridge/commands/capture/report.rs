//! What is told of connections, and to whom.

use std::time::{Duration, UNIX_EPOCH};

use crate::output::{Failure, Object, Output};
use zeek_bridge::trace::Entry;

/// What a connection turned out to speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Broker,
    /// TLS, of that version as far as it shows.
    Tls(Option<String>),
    /// Something else; what it looks like.
    Other(String),
}

/// One connection.
#[derive(Clone, Debug)]
pub(crate) struct About {
    /// Tells it from all others.
    pub(crate) number: u64,
    /// What users call it by.
    pub(crate) name: String,
    /// When it began, in nanoseconds since 1970, where that is known.
    pub(crate) start_ns: Option<u64>,
    pub(crate) speaks: Speaks,
    /// What else there is to know of it.
    pub(crate) note: Option<String>,
}

impl About {
    /// When it began, as RFC 3339 writes it.
    pub(crate) fn start(&self) -> Option<String> {
        let start = UNIX_EPOCH.checked_add(Duration::from_nanos(self.start_ns?))?;
        // What is beyond the year 9999 has no such form.
        (self.start_ns? < u64::MAX / 2).then(|| humantime::format_rfc3339_micros(start).to_string())
    }

    /// Adds who it is, when it began, and what it speaks.
    pub(crate) fn tell(&self, head: Object) -> Object {
        let head = head.with("connection", self.name.as_str());
        let head = match self.start() {
            Some(start) => head.with("start", start),
            None => head,
        };
        let head = match &self.speaks {
            Speaks::Broker => head.with("protocol", "broker"),
            Speaks::Tls(version) => head.with("protocol", "tls").with("tls", version.as_deref()),
            Speaks::Other(_) => head.with("protocol", "other"),
        };
        match self.words() {
            Some(note) => head.with("note", note),
            None => head,
        }
    }

    /// What is to be said about it in words.
    pub(crate) fn words(&self) -> Option<String> {
        let protocol = match &self.speaks {
            Speaks::Broker => None,
            Speaks::Tls(version) => Some(format!(
                "TLS {}: what it says cannot be read from a capture; put `zeek-bridge record` between the two, or set \
                 Broker::disable_ssl=T at both while capturing",
                version.as_deref().unwrap_or("of an unknown version")
            )),
            Speaks::Other(what) => Some(format!("not Broker's protocol: {what}")),
        };
        let words: Vec<String> = self.note.iter().cloned().chain(protocol).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

/// Who is told what is found.
pub(crate) trait Report {
    /// What a connection speaks: the first that is told of it.
    fn begin(&mut self, about: &About) -> Result<(), Failure>;
    /// A frame, or that there is none.
    fn entry(&mut self, about: &About, entry: &Entry) -> Result<(), Failure>;
    /// Nothing more is told of the connection.
    fn end(&mut self, about: &About) -> Result<(), Failure>;
    /// All that is known was told, and more may have to be waited for.
    fn pause(&mut self) -> Result<(), Failure>;
}

/// Prints everything, one line of JSON each.
pub(crate) struct Lines(pub(crate) Output);

impl Report for Lines {
    fn begin(&mut self, about: &About) -> Result<(), Failure> {
        self.0.line(&about.tell(Object::new()).into_line())
    }

    fn entry(&mut self, about: &About, entry: &Entry) -> Result<(), Failure> {
        let head = Object::new().with("connection", about.name.as_str());
        self.0.line(&head.with_members(|to| entry.write_members(to)).into_line())
    }

    fn end(&mut self, _: &About) -> Result<(), Failure> {
        Ok(())
    }

    fn pause(&mut self) -> Result<(), Failure> {
        self.0.flush()
    }
}
