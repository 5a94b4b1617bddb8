//! What a bridge is told to do: a TOML file, as types.
//!
//! A file is read to its end whatever is wrong with it, so that all [`Mistake`]s are told at once, each with its line and
//! what to do about it.
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
//! let mistakes = BridgeConfig::parse(text, "/etc/zeek-bridge/bridge.toml").unwrap_err();
//! assert!(mistakes[0].to_string().starts_with("/etc/zeek-bridge/bridge.toml:12: link.nodes.tls: "));
//! ```

mod address;
mod build;
mod cycles;
mod diagnostic;
mod identity;
mod link;
mod link_tls;
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

use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use crate::endpoint::WhenFull;
pub use diagnostic::{Mistake, Source};
pub use identity::InvalidIdentity;
pub use operation::default_status_socket;
pub use schema::*;

use reader::Report;

/// A configuration file without mistakes: what it says, and where it says it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConfigFile {
    /// What the file says.
    pub config: BridgeConfig,
    /// Where each key is located in the file.
    pub source: Source,
}

/// A configuration file with mistakes.
///
/// There is no [`BridgeConfig`] in it: what could be made out of the rest of such a file must not be run, as a link whose
/// TLS or whose list of allowed certificates cannot be read would be without.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InvalidConfig {
    /// What is wrong with the file, in its order; at least one mistake.
    pub mistakes: Vec<Mistake>,
    /// Where each key is located in the file.
    pub source: Source,
    /// What the readable part of the file refers to, for a check that reports all mistakes at once.
    pub references: Box<References>,
}

/// What a configuration refers to outside of its file.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct References {
    /// The TLS of each link, by the link's name. Links of which the TLS cannot be read are left out.
    pub tls: Vec<(String, LinkTls)>,
    /// The addresses of each link, by the link's name. Links of which the addresses cannot be read are left out.
    pub places: Vec<(String, Place)>,
    /// The address of the metrics.
    pub metrics: Option<SocketAddr>,
    /// The path of the status socket.
    pub status_socket: Option<PathBuf>,
}

/// All mistakes, a line each.
impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            write!(f, "{}{mistake}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidConfig {}

/// No configuration is larger, in bytes.
const LARGEST: u64 = 1024 * 1024;

impl ConfigFile {
    /// Reads a file. The files that it names are not read: see [`LinkConfig::tls`].
    ///
    /// # Errors
    /// All mistakes; that the file cannot be read is one.
    pub fn read(file: impl AsRef<Path>) -> Result<Self, InvalidConfig> {
        let file = file.as_ref();
        let mut text = String::new();
        let opened = std::fs::File::open(file);
        let read = opened.and_then(|opened| opened.take(LARGEST.saturating_add(1)).read_to_string(&mut text));
        let message = match read {
            Ok(length) if u64::try_from(length).is_ok_and(|length| length <= LARGEST) => {
                return Self::parse(&text, file);
            }
            Ok(_) => format!("it has more than {LARGEST} bytes: is it a configuration?"),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                "it is not UTF-8, as TOML has to be: is it a configuration?".to_owned()
            }
            Err(error) => format!("it cannot be read: {error}; check its name and its permissions"),
        };
        let source = Source::new(file);
        Err(InvalidConfig { mistakes: vec![source.mistake("", message)], source, references: Box::default() })
    }

    /// Reads `text` as the content of `file`, which is named in messages. Relative paths in the text are relative to the
    /// directory of `file`. The files that the text names are not read: see [`LinkConfig::tls`].
    ///
    /// # Errors
    /// All mistakes.
    pub fn parse(text: &str, file: impl AsRef<Path>) -> Result<Self, InvalidConfig> {
        let file = file.as_ref();
        let (document, errors) = toml::de::DeTable::parse_recoverable(text);
        let report = Report::new(text, file, &errors);
        let draft = validate::read(report.document(&document));
        let (source, mistakes) = report.into_parts();
        match draft.config {
            Some(config) if mistakes.is_empty() => Ok(ConfigFile { config, source }),
            _ => Err(InvalidConfig { mistakes, source, references: Box::new(draft.references) }),
        }
    }

    /// What the configuration refers to outside of its file.
    #[must_use]
    pub fn references(&self) -> References {
        let BridgeConfig { operation, links, .. } = &self.config;
        References {
            tls: links.iter().map(|link| (link.name.clone(), link.tls.clone())).collect(),
            places: links.iter().map(|link| (link.name.clone(), link.place.clone())).collect(),
            metrics: operation.metrics,
            status_socket: operation.status_socket.clone(),
        }
    }
}

impl BridgeConfig {
    /// Reads a file. The files that it names are not looked at: see [`LinkConfig::tls`].
    ///
    /// # Errors
    /// Every mistake, at least one; that the file cannot be read is one.
    pub fn read(file: impl AsRef<Path>) -> Result<Self, Vec<Mistake>> {
        ConfigFile::read(file).map(|file| file.config).map_err(|invalid| invalid.mistakes)
    }

    /// Takes `text` for the content of `file`, as [`ConfigFile::parse`] does.
    ///
    /// # Errors
    /// Every mistake, at least one.
    pub fn parse(text: &str, file: impl AsRef<Path>) -> Result<Self, Vec<Mistake>> {
        ConfigFile::parse(text, file).map(|file| file.config).map_err(|invalid| invalid.mistakes)
    }
}
