//! The configuration of a bridge: a TOML file, parsed and validated into types.
//!
//! A file is read to its end even if it has errors, so that [`Diagnostics`] reports all of them at once, each with its line and
//! a hint.
//!
//! ```
//! use zeek_bridge::bridge::config::BridgeConfig;
//!
//! let text = r#"
//! [link.agents]
//! faces = "agents"
//! connect = "10.0.0.5:2151"
//! cafile = "ca.pem"
//! certificate = "bridge.pem"
//! keyfile = "bridge.key"
//!
//! [link.nodes]
//! faces = "nodes"
//! listen = "127.0.0.1:2151"
//! tls = "of"
//! "#;
//! let errors = BridgeConfig::parse(text, "/etc/zeek-bridge/bridge.toml").unwrap_err();
//! assert_eq!(
//!     errors.to_string(),
//!     "/etc/zeek-bridge/bridge.toml:12: link.nodes.tls: invalid value \"of\"; did you mean `off`?"
//! );
//! ```

mod address;
mod build;
mod curve;
mod cycles;
mod diagnostic;
mod http;
mod identity;
mod identity_match;
mod identity_warnings;
mod link;
mod link_tls;
mod notes;
mod operation;
mod reader;
mod rule;
mod schema;
mod suggest;
mod summary;
#[cfg(test)]
mod tests;
mod validate;
mod values;
mod warnings;
mod websocket;
mod zeromq;

use std::io::Read;
use std::path::{Path, PathBuf};

pub use crate::endpoint::WhenFull;
pub use diagnostic::{Diagnostic, Diagnostics, Source};
pub use identity::InvalidIdentity;
pub use operation::default_status_socket;
pub use schema::*;

use reader::Report;

/// A valid configuration file: the configuration, and the position of each key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConfigFile {
    /// The configuration.
    pub config: BridgeConfig,
    /// The position of each key in the file.
    pub source: Source,
}

/// The files and addresses that a configuration refers to.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct References {
    /// The TLS of each link, by the link's name. Links whose TLS is invalid are left out.
    pub tls: Vec<(String, LinkTls)>,
    /// The settings of each link that uses the WebSocket API, by the link's name.
    pub websocket: Vec<(String, WebSocketLink)>,
    /// The settings of each link that uses ZeroMQ, by the link's name.
    pub zeromq: Vec<(String, ZeroMqLink)>,
    /// The addresses of each link, by the link's name. Links whose addresses are invalid are left out.
    pub addresses: Vec<(String, LinkAddress)>,
    /// The HTTP server. `None` if it is off, or if its address is invalid.
    pub http: Option<Http>,
    /// The path of the status socket.
    pub status_socket: Option<PathBuf>,
}

/// The maximum size of a configuration file, in bytes. It bounds the memory that is used if a user passes a large file
/// that is not a configuration.
const MAX_FILE_SIZE: u64 = 1024 * 1024;

impl ConfigFile {
    /// Reads a file, but not the files that it names: see [`LinkConfig::tls`].
    ///
    /// # Errors
    /// Returns all errors in the file, or one error if the file cannot be read.
    pub fn read(file: impl AsRef<Path>) -> Result<Self, Diagnostics> {
        let file = file.as_ref();
        let mut text = String::new();
        let opened = std::fs::File::open(file);
        let read =
            opened.and_then(|opened| opened.take(MAX_FILE_SIZE.saturating_add(1)).read_to_string(&mut text));
        let (message, hint) = match read {
            Ok(length) if u64::try_from(length).is_ok_and(|length| length <= MAX_FILE_SIZE) => {
                return Self::parse(&text, file);
            }
            Ok(_) => {
                (format!("the file is larger than {MAX_FILE_SIZE} bytes"), "check that it is a configuration")
            }
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                ("the file is not valid UTF-8".to_owned(), "check that it is a configuration")
            }
            Err(error) => (format!("cannot read the file: {error}"), "check its name and its permissions"),
        };
        let source = Source::new(file);
        let error = source.locate(Diagnostic::new("", message).with_hint(hint));
        Err(Diagnostics::of_file(vec![error], source, References::default()))
    }

    /// Parses `text` as the content of `file`, which is named in errors. Relative paths in the text are relative to the
    /// directory of `file`. The files that the text names are not read: see [`LinkConfig::tls`].
    ///
    /// # Errors
    /// Returns all errors in the text.
    pub fn parse(text: &str, file: impl AsRef<Path>) -> Result<Self, Diagnostics> {
        let file = file.as_ref();
        let (document, errors) = toml::de::DeTable::parse_recoverable(text);
        let report = Report::new(text, file, &errors);
        let draft = validate::read(report.document(&document));
        let (source, errors) = report.into_parts();
        match draft.config {
            Some(config) if errors.is_empty() => Ok(ConfigFile { config, source }),
            _ => Err(Diagnostics::of_file(errors, source, draft.references)),
        }
    }

    /// Returns the files and addresses that the configuration refers to.
    #[must_use]
    pub fn references(&self) -> References {
        let BridgeConfig { operation, links, .. } = &self.config;
        References {
            tls: links.iter().map(|link| (link.name.clone(), link.tls.clone())).collect(),
            websocket: links
                .iter()
                .filter_map(|link| Some((link.name.clone(), link.websocket.clone()?)))
                .collect(),
            zeromq: links.iter().filter_map(|link| Some((link.name.clone(), link.zeromq.clone()?))).collect(),
            addresses: links.iter().map(|link| (link.name.clone(), link.address.clone())).collect(),
            http: operation.http.clone(),
            status_socket: operation.status_socket.clone(),
        }
    }
}

impl BridgeConfig {
    /// Reads a file, as [`ConfigFile::read`] does.
    ///
    /// # Errors
    /// Returns the errors of [`ConfigFile::read`].
    pub fn read(file: impl AsRef<Path>) -> Result<Self, Diagnostics> {
        ConfigFile::read(file).map(|file| file.config)
    }

    /// Parses `text` as the content of `file`, as [`ConfigFile::parse`] does.
    ///
    /// # Errors
    /// Returns the errors of [`ConfigFile::parse`].
    pub fn parse(text: &str, file: impl AsRef<Path>) -> Result<Self, Diagnostics> {
        ConfigFile::parse(text, file).map(|file| file.config)
    }
}
