//! The passphrase of an encrypted key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::credential_error::CredentialFault;
use super::files::{MAX_PASSPHRASE_SIZE, PipeTimeouts, is_read_once, read_file, read_pipe};

/// The passphrase of an encrypted private key, as Zeek's `Broker::ssl_passphrase`. `Display` and `Debug` omit it.
#[derive(Clone)]
pub struct Passphrase(Source);

#[derive(Clone)]
enum Source {
    File(PathBuf),
    Memory(Arc<[u8]>),
}

impl Passphrase {
    /// Returns this passphrase.
    #[must_use]
    pub fn new(passphrase: impl AsRef<[u8]>) -> Self {
        Passphrase(Source::Memory(passphrase.as_ref().into()))
    }

    /// Returns the passphrase in this file, without a line break at its end. The file is read at each load. A pipe is read
    /// only at the first load. The limit is 4 KiB.
    #[must_use]
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Passphrase(Source::File(path.into()))
    }

    pub(super) fn read(&self) -> Result<Vec<u8>, CredentialFault> {
        let passphrase = match &self.0 {
            Source::Memory(passphrase) => passphrase.to_vec(),
            Source::File(path) => without_line_break(read_file(path, MAX_PASSPHRASE_SIZE)?),
        };
        if passphrase.is_empty() { Err(CredentialFault::EmptyPassphrase) } else { Ok(passphrase) }
    }

    /// Returns a copy that contains the passphrase itself if the source is a pipe or device, because these can be read only
    /// once.
    pub(super) fn with_pipes_read(&self) -> Result<Self, CredentialFault> {
        match &self.0 {
            Source::File(path) if is_read_once(path) => Ok(Passphrase::new(without_line_break(read_pipe(
                path,
                MAX_PASSPHRASE_SIZE,
                PipeTimeouts::DEFAULT,
            )?))),
            _ => Ok(self.clone()),
        }
    }

    pub(super) fn file(&self) -> Option<&Path> {
        match &self.0 {
            Source::File(path) => Some(path),
            Source::Memory(_) => None,
        }
    }
}

fn without_line_break(mut line: Vec<u8>) -> Vec<u8> {
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    line
}

/// Writes the name of the file. Never writes the passphrase.
impl fmt::Display for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::File(path) => path.display().fmt(f),
            Source::Memory(_) => f.write_str("(in memory)"),
        }
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
