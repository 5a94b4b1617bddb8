//! The interface between the readers of connections and the output.

use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use zeek_bridge::trace::Entry;

use crate::output::{Failure, Output, to_line, to_line_with};

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

/// The description of a connection as JSON.
#[derive(Serialize)]
pub(crate) struct Document<'a> {
    connection: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    protocol: &'static str,
    /// The version of TLS. `Some(None)` if it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl About {
    /// Returns the start in the format of RFC 3339.
    pub(crate) fn start(&self) -> Option<String> {
        let start = UNIX_EPOCH.checked_add(Duration::from_nanos(self.start_ns?))?;
        // Years beyond 9999 cannot be formatted.
        (self.start_ns? < u64::MAX / 2).then(|| humantime::format_rfc3339_micros(start).to_string())
    }

    /// Returns the name, the start, the protocol and the remarks for JSON.
    pub(crate) fn document(&self) -> Document<'_> {
        Document {
            connection: &self.name,
            start: self.start(),
            protocol: match self.protocol {
                Protocol::Broker => "broker",
                Protocol::WebSocket => "websocket",
                Protocol::ZeroMq => "zeromq",
                Protocol::Tls(_) => "tls",
                Protocol::Other(_) => "other",
            },
            tls: if let Protocol::Tls(version) = &self.protocol { Some(version.as_deref()) } else { None },
            note: self.remarks(),
        }
    }

    /// Returns the line of JSON about an entry of the connection.
    pub(crate) fn line(&self, entry: &Entry) -> Vec<u8> {
        to_line_with("connection", &self.name, |to| entry.write_members(to))
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
        self.0.line(&to_line(&about.document()))
    }

    fn entry(&mut self, about: &About, entry: &Entry) -> Result<(), Failure> {
        self.0.line(&about.line(entry))
    }

    fn end(&mut self, _: &About) -> Result<(), Failure> {
        Ok(())
    }

    fn pause(&mut self) -> Result<(), Failure> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_a_line_of_json() {
        let line = |start_ns, protocol, note: Option<&str>| {
            let note = note.map(str::to_owned);
            let about = About { number: 1, name: "a\u{1b}".into(), start_ns, protocol, note };
            String::from_utf8(to_line(&about.document())).unwrap()
        };
        assert_eq!(line(None, Protocol::Broker, None), r#"{"connection":"a\u001b","protocol":"broker"}"#);
        assert_eq!(
            line(Some(0), Protocol::WebSocket, Some("a note")),
            r#"{"connection":"a\u001b","start":"1970-01-01T00:00:00.000000Z","protocol":"websocket","note":"a note"}"#
        );
        let tls = |version: Option<&str>| line(None, Protocol::Tls(version.map(str::to_owned)), None);
        assert_eq!(
            tls(Some("1.3")),
            r#"{"connection":"a\u001b","protocol":"tls","tls":"1.3","note":"TLS 1.3: a capture contains only encrypted bytes; run `zeek-bridge record` between the two endpoints, or set Broker::disable_ssl=T on both endpoints while capturing"}"#
        );
        assert_eq!(
            tls(None),
            r#"{"connection":"a\u001b","protocol":"tls","tls":null,"note":"TLS of an unknown version: a capture contains only encrypted bytes; run `zeek-bridge record` between the two endpoints, or set Broker::disable_ssl=T on both endpoints while capturing"}"#
        );
        assert_eq!(
            line(None, Protocol::Other("HTTP".into()), None),
            r#"{"connection":"a\u001b","protocol":"other","note":"not Broker's protocol: HTTP"}"#
        );
    }
}
