//! Reads bearer tokens from files.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::net::tls::is_exposed;
use crate::websocket::{InvalidToken, Token};

/// Why a token cannot be read from a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileError {
    /// The file cannot be read.
    #[error("cannot read the file: {0}; check its name and its permissions")]
    Io(#[from] io::Error),
    /// The file is empty.
    #[error("the file is empty; write one token to it")]
    Empty,
    /// The file has more than one line.
    #[error("the file has more than one line; write one token to each file")]
    Lines,
    /// The content is not a token.
    #[error(transparent)]
    Invalid(#[from] InvalidToken),
}

impl Token {
    /// Reads the token in a file: one line, with or without a line ending. Blocks while it reads. Logs a warning if users other
    /// than the owner can read the file.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or does not contain exactly one token.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, TokenFileError> {
        // Two more bytes for the line ending, and one more to recognize a longer file.
        let limit = u64::try_from(Token::MAX_LEN).unwrap_or(u64::MAX).saturating_add(3);
        let mut content = Vec::new();
        let path = path.as_ref();
        File::open(path)?.take(limit).read_to_end(&mut content)?;
        let line = content.strip_suffix(b"\n").unwrap_or(&content);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Err(TokenFileError::Empty);
        }
        if line.contains(&b'\n') {
            return Err(TokenFileError::Lines);
        }
        let token = Token::new(str::from_utf8(line).unwrap_or_default())?;
        if is_exposed(path) {
            let file = path.display();
            tracing::warn!(
                "token {file}: other users can read it; remove their permission: `chmod go-rwx {file}`"
            );
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_contains_one_token() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let read = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            Token::from_file(&path).map(drop).map_err(|error| error.to_string())
        };
        let longest = "x".repeat(Token::MAX_LEN);
        for valid in ["secret", "secret\n", "secret\r\n", &longest, &format!("{longest}\r\n")] {
            assert_eq!(read(valid.as_bytes()), Ok(()), "{valid}");
        }
        for (content, error) in [
            (&b""[..], "is empty"),
            (b"\n", "is empty"),
            (b"one\ntwo\n", "more than one line"),
            (b"with space", "not a bearer token"),
            (b"\xff", "not a bearer token"),
            (format!("{longest}x").as_bytes(), "not a bearer token"),
            (&[b'x'; 100_000], "not a bearer token"),
        ] {
            let result = read(content).unwrap_err();
            assert!(result.contains(error) && !result.contains("secret"), "{result}");
        }
        let missing = Token::from_file(dir.path().join("none")).unwrap_err();
        assert!(matches!(missing, TokenFileError::Io(_)), "{missing}");
    }
}
