//! The interface between the readers of connections and the output.

use std::time::{Duration, UNIX_EPOCH};

use crate::output::{Failure, Object, Output};
use zeek_bridge::trace::Entry;

/// The protocol of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Broker,
    WebSocket,
    ZeroMq,
    /// TLS, with its version if that is known.
    Tls(Option<String>),
    /// Any other protocol, with a description.
    Other(String),
}

/// The description of a connection.
#[derive(Clone, Debug)]
pub(crate) struct About {
    /// A unique number.
    pub(crate) number: u64,
    /// The name for users: addresses, or the folder of a recording.
    pub(crate) name: String,
    /// The start in nanoseconds since 1970, if known.
    pub(crate) start_ns: Option<u64>,
    pub(crate) protocol: Protocol,
    /// Additional remarks.
    pub(crate) note: Option<String>,
}

impl About {
    /// Returns the start in the format of RFC 3339.
    pub(crate) fn start(&self) -> Option<String> {
        let start = UNIX_EPOCH.checked_add(Duration::from_nanos(self.start_ns?))?;
        // Years beyond 9999 cannot be formatted.
        (self.start_ns? < u64::MAX / 2).then(|| humantime::format_rfc3339_micros(start).to_string())
    }

    /// Adds the name, the start, the protocol and the remarks.
    pub(crate) fn write_fields(&self, head: Object) -> Object {
        let head = head.with("connection", self.name.as_str());
        let head = match self.start() {
            Some(start) => head.with("start", start),
            None => head,
        };
        let head = match &self.protocol {
            Protocol::Broker => head.with("protocol", "broker"),
            Protocol::WebSocket => head.with("protocol", "websocket"),
            Protocol::ZeroMq => head.with("protocol", "zeromq"),
            Protocol::Tls(version) => head.with("protocol", "tls").with("tls", version.as_deref()),
            Protocol::Other(_) => head.with("protocol", "other"),
        };
        match self.remarks() {
            Some(note) => head.with("note", note),
            None => head,
        }
    }

    /// Returns all remarks as text.
    pub(crate) fn remarks(&self) -> Option<String> {
        let protocol = match &self.protocol {
            Protocol::Broker | Protocol::WebSocket | Protocol::ZeroMq => None,
            Protocol::Tls(version) => Some(format!(
                "TLS {}: a capture contains only encrypted bytes; run `zeek-bridge record` between the two endpoints, \
                 or set Broker::disable_ssl=T on both endpoints while capturing",
                version.as_deref().unwrap_or("of an unknown version")
            )),
            Protocol::Other(what) => Some(format!("not Broker's protocol: {what}")),
        };
        let remarks: Vec<String> = self.note.iter().cloned().chain(protocol).collect();
        (!remarks.is_empty()).then(|| remarks.join("; "))
    }
}

/// Receives the results of the readers.
pub(crate) trait Report {
    /// Called first for each connection, when its protocol is known.
    fn begin(&mut self, about: &About) -> Result<(), Failure>;
    /// Called for each frame, and for each position that cannot be read.
    fn entry(&mut self, about: &About, entry: &Entry) -> Result<(), Failure>;
    /// Called last for each connection.
    fn end(&mut self, about: &About) -> Result<(), Failure>;
    /// Called before a wait for more input.
    fn pause(&mut self) -> Result<(), Failure>;
}

/// Prints each connection and each entry as a line of JSON.
pub(crate) struct Lines(pub(crate) Output);

impl Report for Lines {
    fn begin(&mut self, about: &About) -> Result<(), Failure> {
        self.0.line(&about.write_fields(Object::new()).into_line())
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
