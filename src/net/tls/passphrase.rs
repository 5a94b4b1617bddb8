//! The passphrase of an encrypted key.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::credential_error::CredentialFault;

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

    /// The passphrase in this file, which is read anew at each load: all of it but one line end at its end.
    #[must_use]
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Passphrase(Source::File(path.into()))
    }

    pub(super) fn read(&self) -> Result<Vec<u8>, CredentialFault> {
        let passphrase = match &self.0 {
            Source::Given(passphrase) => passphrase.to_vec(),
            Source::File(path) => {
                let mut line =
                    std::fs::read(path).map_err(|error| CredentialFault::Unreadable(Arc::new(error)))?;
                if line.last() == Some(&b'\n') {
                    line.pop();
                    if line.last() == Some(&b'\r') {
                        line.pop();
                    }
                }
                line
            }
        };
        if passphrase.is_empty() { Err(CredentialFault::EmptyPassphrase) } else { Ok(passphrase) }
    }
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
