//! Reads bearer tokens from files.

use std::path::Path;

use crate::net::tls::{CredentialFault, is_exposed, read_secret};
use crate::websocket::{InvalidToken, Token};

/// Why a token cannot be read from a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileError {
    /// The file cannot be read.
    #[error("{0}; check the name, the type and the permissions of the file")]
    File(#[from] CredentialFault),
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
    /// Reads the token in a file or a pipe: one line, with or without a line ending. Blocks while it reads: for at most 5 s if
    /// a pipe has no writer, and 120 s otherwise. Logs a warning if users other than the owner can read the file.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or does not contain exactly one token.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, TokenFileError> {
        let path = path.as_ref();
        let content = read_secret(path)?;
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
            (&[b'x'; 100_000], "larger than"),
        ] {
            let result = read(content).unwrap_err();
            assert!(result.contains(error) && !result.contains("secret"), "{result}");
        }
        let missing = Token::from_file(dir.path().join("none")).unwrap_err();
        assert!(matches!(missing, TokenFileError::File(CredentialFault::Unreadable(_))), "{missing}");
        let directory = Token::from_file(dir.path()).unwrap_err();
        assert!(matches!(directory, TokenFileError::File(CredentialFault::Directory)), "{directory}");
    }

    #[cfg(all(unix, feature = "bridge"))]
    #[test]
    fn a_token_is_read_from_a_pipe() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap();
        let writer = std::thread::spawn({
            let path = path.clone();
            move || std::fs::write(path, "secret\n").unwrap()
        });
        let token = Token::from_file(&path).unwrap();
        writer.join().unwrap();
        let tokens: crate::websocket::Tokens =
            [("soar", Token::new("secret").unwrap())].into_iter().collect();
        assert_eq!(tokens.owner_of(&token).as_deref(), Some("soar"));
    }
}
