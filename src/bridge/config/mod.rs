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
mod identity;
mod link;
mod link_tls;
mod load;
mod mistake;
mod model;
mod nearest;
mod operation;
mod reader;
mod rule;
mod summary;
#[cfg(test)]
mod tests;
mod together;
mod values;
mod warnings;

use std::io::Read;
use std::path::Path;

pub use crate::endpoint::WhenFull;
pub use identity::InvalidIdentity;
pub use mistake::{Mistake, Source};
pub use model::*;
pub use operation::default_status_socket;

use reader::Report;

/// A configuration file that was read: what it says, where it says it, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// What it says. Where there are mistakes, it is what could be made out: what has a mistake in it is left out, or is as it
    /// would be if nothing were said of it, and TLS is off.
    pub config: BridgeConfig,
    /// Where everything stands in it.
    pub source: Source,
    /// What is wrong with it, in the order of the file. Unless this is empty, `config` is not to be run.
    pub mistakes: Vec<Mistake>,
}

/// No configuration is larger, in bytes.
const LARGEST: u64 = 1024 * 1024;

impl ConfigFile {
    /// Reads a file. That it cannot be read is a mistake, too.
    #[must_use]
    pub fn read(file: impl AsRef<Path>) -> Self {
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
        let mut nothing = Self::parse("", file);
        nothing.mistakes = vec![nothing.source.mistake("", message)];
        nothing
    }

    /// Takes `text` for the content of `file`, which is in messages, and whose directory is what relative paths in the text
    /// are relative to. The files that the text names are not looked at: see [`LinkConfig::tls`].
    #[must_use]
    pub fn parse(text: &str, file: impl AsRef<Path>) -> Self {
        let file = file.as_ref();
        let (document, errors) = toml::de::DeTable::parse_recoverable(text);
        let report = Report::new(text, file, &errors);
        let config = together::read(report.document(&document));
        let (source, mistakes) = report.into_parts();
        ConfigFile { config, source, mistakes }
    }

    /// The configuration and where everything stands in it.
    ///
    /// # Errors
    /// Every mistake, at least one.
    pub fn into_result(self) -> Result<(BridgeConfig, Source), Vec<Mistake>> {
        if self.mistakes.is_empty() { Ok((self.config, self.source)) } else { Err(self.mistakes) }
    }
}

impl BridgeConfig {
    /// Reads a file. The files that it names are not looked at: see [`LinkConfig::tls`].
    ///
    /// # Errors
    /// Every mistake, at least one; that the file cannot be read is one.
    pub fn read(file: impl AsRef<Path>) -> Result<Self, Vec<Mistake>> {
        ConfigFile::read(file).into_result().map(|(config, _)| config)
    }

    /// Takes `text` for the content of `file`, as [`ConfigFile::parse`] does.
    ///
    /// # Errors
    /// Every mistake, at least one.
    pub fn parse(text: &str, file: impl AsRef<Path>) -> Result<Self, Vec<Mistake>> {
        ConfigFile::parse(text, file).into_result().map(|(config, _)| config)
    }
}
