//! `meta.json`: facts about a recording.

use std::fs;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::folder::META;
use super::json::put_member;

/// The facts in `meta.json` that a reader needs. All are optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta {
    /// The start of the connection (RFC 3339).
    pub start: Option<String>,
    /// The name of the recording of the earlier part of the connection.
    pub continues: Option<String>,
    /// Whether the recorder has finished the recording.
    pub complete: Option<bool>,
    /// Why the recording ends before the connection does.
    pub error: Option<String>,
}

impl Meta {
    /// Reads `meta.json` of a recording. If the file is missing or malformed, returns the default.
    #[must_use]
    pub fn read(folder: &Path) -> Self {
        let text = fs::read(folder.join(META)).unwrap_or_default();
        let json: Json = serde_json::from_slice(&text).unwrap_or_default();
        let text = |name: &str| json.get(name).and_then(Json::as_str).map(ToOwned::to_owned);
        Meta {
            start: text("start"),
            continues: text("continues"),
            complete: json.get("complete").and_then(Json::as_bool),
            error: text("error"),
        }
    }
}

/// The facts about a connection that a recorder knows before the first byte.
#[derive(Clone, Debug, Default)]
pub struct Description {
    /// The start of the connection (RFC 3339).
    pub start: String,
    /// The addresses of the connector and the listener, unless they are confidential.
    pub addresses: Option<[String; 2]>,
    /// The kind of TLS with the connector and with the listener.
    pub tls: [&'static str; 2],
    /// Whether the recorded bytes contain pseudonyms instead of the original content.
    pub redacted: bool,
}

/// The progress of a recording.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    pub(super) continues: Option<&'a str>,
    pub(super) continued_in: Option<&'a str>,
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
