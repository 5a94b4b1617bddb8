//! The passphrase of an encrypted key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::credential_error::CredentialFault;
use super::files::{is_read_once, read_file, read_pipe};

/// What opens an encrypted private key: Zeek's `Broker::ssl_passphrase`. It is never shown, not in `Debug` either.
#[derive(Clone)]
pub struct Passphrase(Source);

#[derive(Clone)]
enum Source {
    File(PathBuf),
    Given(Arc<[u8]>),
}

impl Passphrase {
    /// This passphrase.
    #[must_use]
    pub fn new(passphrase: impl AsRef<[u8]>) -> Self {
        Passphrase(Source::Given(passphrase.as_ref().into()))
    }

    /// The passphrase in this file, which is read anew at each load (a pipe only at the first): all of it but one
    /// line end at its end.
    #[must_use]
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Passphrase(Source::File(path.into()))
    }

    pub(super) fn read(&self) -> Result<Vec<u8>, CredentialFault> {
        let passphrase = match &self.0 {
            Source::Given(passphrase) => passphrase.to_vec(),
            Source::File(path) => line(read_file(path)?),
        };
        if passphrase.is_empty() { Err(CredentialFault::EmptyPassphrase) } else { Ok(passphrase) }
    }

    /// The same, but what can be read only once is read now.
    pub(super) fn settled(&self) -> Result<Self, CredentialFault> {
        match &self.0 {
            Source::File(path) if is_read_once(path) => Ok(Passphrase::new(line(read_pipe(path)?))),
            _ => Ok(self.clone()),
        }
    }

    pub(super) fn file(&self) -> Option<&Path> {
        match &self.0 {
            Source::File(path) => Some(path),
            Source::Given(_) => None,
        }
    }
}

/// Takes a line end off.
fn line(mut line: Vec<u8>) -> Vec<u8> {
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    line
}

/// Where it comes from; never what it is.
impl fmt::Display for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::File(path) => path.display().fmt(f),
            Source::Given(_) => f.write_str("(in memory)"),
        }
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
