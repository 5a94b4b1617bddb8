//! Reads keys of CURVE from files.

use std::path::Path;

use zeroize::Zeroizing;

use crate::net::tls::{CredentialFault, is_exposed, read_secret};
use crate::zeromq::curve::{InvalidKey, PublicKey, SecretKey};

/// Why a key cannot be read from a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("{0}; check the name, the type and the permissions of the file")]
    File(#[from] CredentialFault),
    /// The content is not a key.
    #[error(transparent)]
    Invalid(#[from] InvalidKey),
}

impl PublicKey {
    /// Reads the key in a file or a pipe, as [`SecretKey::from_file`] does.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or does not contain exactly one public key.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        let content = read_secret(path.as_ref())?;
        Ok(text_of(&content)?.parse()?)
    }
}

impl SecretKey {
    /// Reads the key in a file or a pipe: 40 characters of Z85, with or without white space after them. The key files of `zeekctl` and
    /// of `zeek-bridge curve keygen` have this format. Blocks while it reads: for at most 5 s if a pipe has no writer, and 120 s
    /// otherwise. Logs a warning if users other than the owner can read the file.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or does not contain exactly one key.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        let path = path.as_ref();
        let content = Zeroizing::new(read_secret(path)?);
        let key = text_of(&content)?.parse()?;
        if is_exposed(path) {
            let file = path.display();
            tracing::warn!(
                "secret key {file}: other users can read it; remove their permission: `chmod go-rwx {file}`"
            );
        }
        Ok(key)
    }
}

fn text_of(content: &[u8]) -> Result<&str, InvalidKey> {
    str::from_utf8(content)
        .map_err(|error| InvalidKey::Character { position: error.valid_up_to().saturating_add(1) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zeromq::curve::KeyPair;

    #[test]
    fn a_file_contains_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client_secretkey");
        let keys = KeyPair::generate().unwrap();
        let (public, secret) = (keys.public().to_string(), keys.secret().expose_z85());
        for end in ["", "\n", "\r\n", " \n\n"] {
            std::fs::write(&path, format!("{secret}{end}")).unwrap();
            let read = SecretKey::from_file(&path).unwrap();
            assert_eq!(read.expose_bytes(), keys.secret().expose_bytes(), "{end:?}");
            std::fs::write(&path, format!("{public}{end}")).unwrap();
            assert_eq!(PublicKey::from_file(&path).unwrap(), *keys.public(), "{end:?}");
        }
        let read = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            let secret = SecretKey::from_file(&path).map(drop).map_err(|error| error.to_string());
            assert_eq!(PublicKey::from_file(&path).map(drop).map_err(|error| error.to_string()), secret);
            secret.unwrap_err()
        };
        for (content, error) in [
            (&b""[..], "it has 0 bytes; expected 40 characters of Z85"),
            (format!("{secret}\n{secret}\n").as_bytes(), "it has 81 bytes"),
            (b"abc\xff", "character 4 is not a character of Z85"),
            (&[b'x'; 100_000], "larger than"),
        ] {
            let result = read(content);
            assert!(result.contains(error) && !result.contains(&secret), "{result}");
        }
        let missing = SecretKey::from_file(dir.path().join("none")).unwrap_err();
        assert!(matches!(missing, KeyFileError::File(CredentialFault::Unreadable(_))), "{missing}");
    }
}
