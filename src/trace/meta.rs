//! `meta.json`: facts about a recording.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use serde_json::{Value as Json, json};

use super::folder::META;
use super::json::put_member;
use super::{Protocol, to_u64};

/// Maximum size of `meta.json` in bytes. A usual file has a few hundred bytes.
const MAX_SIZE: u64 = 64 * 1024;

/// The facts in `meta.json` that a reader needs. All are optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta {
    /// The start of the connection (RFC 3339).
    pub start: Option<String>,
    /// The name of the recording that contains the earlier part of the connection.
    pub continues: Option<String>,
    /// The protocol, if the recorder knows it. Before version 0.2, it was always Broker's.
    pub protocol: Option<Protocol>,
    /// Whether the recorder has finished the recording.
    pub complete: Option<bool>,
    /// The reason why the recording ended before the connection did.
    pub error: Option<String>,
}

impl Meta {
    /// Reads `meta.json` of a recording. If the file is missing, malformed, or larger than 64 KiB, all facts are
    /// `None`.
    #[must_use]
    pub fn read(folder: &Path) -> Self {
        let text = read_bounded(&folder.join(META)).unwrap_or_default();
        let json: Json = serde_json::from_slice(&text).unwrap_or_default();
        let text = |name: &str| json.get(name).and_then(Json::as_str).map(ToOwned::to_owned);
        Meta {
            start: text("start"),
            continues: text("continues"),
            protocol: text("protocol")
                .and_then(|name| Protocol::ALL.into_iter().find(|one| one.name() == name)),
            complete: json.get("complete").and_then(Json::as_bool),
            error: text("error"),
        }
    }
}

/// Returns the content of a file of at most [`MAX_SIZE`] bytes.
fn read_bounded(file: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(file)?.take(MAX_SIZE.saturating_add(1)).read_to_end(&mut text)?;
    if to_u64(text.len()) > MAX_SIZE { Err(ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

/// The facts about a connection that a recorder knows before the first byte.
#[derive(Clone, Debug, Default)]
pub struct Description {
    /// The start of the connection (RFC 3339).
    pub start: String,
    /// The addresses of the connector and the listener, unless they are confidential.
    pub addresses: Option<[String; 2]>,
    /// The protocol. `None` if it is recognized by the first bytes.
    pub protocol: Option<Protocol>,
    /// The kind of TLS on the connection with the connector, and on the connection with the listener.
    pub tls: [&'static str; 2],
    /// Whether the recorded bytes contain pseudonyms instead of the original content.
    pub redacted: bool,
}

/// The progress of a recording.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    pub(super) continues: Option<&'a str>,
    pub(super) continued_in: Option<&'a str>,
    pub(super) protocol: Option<Protocol>,
    pub(super) complete: bool,
    pub(super) error: Option<&'a str>,
    pub(super) frames: u64,
    pub(super) bytes: [u64; 2],
}

/// Returns the content of `meta.json`.
pub(super) fn to_json(description: &Description, progress: &Progress<'_>) -> Vec<u8> {
    let sides = |[connector, listener]: [Json; 2]| json!({"connector": connector, "listener": listener});
    let mut text = vec![b'{'];
    put_member(&mut text, "recorder", concat!("zeek-bridge ", env!("CARGO_PKG_VERSION")));
    put_member(&mut text, "start", description.start.as_str());
    if let Some(protocol) = progress.protocol {
        put_member(&mut text, "protocol", protocol.name());
    }
    put_member(&mut text, "tls", sides(description.tls.map(Json::from)));
    put_member(&mut text, "redacted", description.redacted);
    if let Some([connector, listener]) = &description.addresses {
        put_member(&mut text, "connector", connector.as_str());
        put_member(&mut text, "listener", listener.as_str());
    }
    if let Some(continues) = progress.continues {
        put_member(&mut text, "continues", continues);
    }
    put_member(&mut text, "complete", progress.complete);
    if progress.complete || progress.error.is_some() {
        put_member(&mut text, "frames", progress.frames);
        put_member(&mut text, "bytes", sides(progress.bytes.map(Json::from)));
    }
    if let Some(next) = progress.continued_in {
        put_member(&mut text, "continued_in", next);
    }
    if let Some(error) = progress.error {
        put_member(&mut text, "error", error);
    }
    text.push(b'}');
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_above_the_size_limit_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let facts = |size: usize| {
            let text = "{\"complete\":true}";
            fs::write(folder.path().join(META), text.to_owned() + &" ".repeat(size - text.len())).unwrap();
            Meta::read(folder.path()).complete
        };
        assert_eq!((facts(64 * 1024), facts(64 * 1024 + 1)), (Some(true), None));
    }
}
