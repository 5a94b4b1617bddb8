//! The status socket of a bridge, as a client sees it.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::timeout;
use zeek_bridge::bridge::Snapshot;

use crate::commands::run::Document;
use crate::output::{Exit, Failure};

/// Maximum time for the response of the bridge.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum size of the response in bytes.
const MAX_DOCUMENT: u64 = 256 * 1024 * 1024;

/// Returns the state of the bridge with this status socket.
pub(in crate::commands) async fn snapshot(socket: &Path) -> Result<Snapshot, Failure> {
    Ok(document(socket).await?.snapshot)
}

/// Returns the document of the bridge with this status socket.
pub(super) async fn document(socket: &Path) -> Result<Document, Failure> {
    read(&query(socket).await?)
}

/// Decodes the document of a bridge.
pub(super) fn read(document: &[u8]) -> Result<Document, Failure> {
    serde_json::from_slice(document).map_err(|error| {
        let message = format!(
            "not the status of a bridge: {error}; does the bridge have the same version as this program?"
        );
        Failure::Error(Exit::Protocol, message)
    })
}

/// Reads the status document from a socket.
pub(super) async fn query(path: &Path) -> Result<Vec<u8>, Failure> {
    let received = async {
        let stream = UnixStream::connect(path).await?;
        let mut document = Vec::new();
        stream.take(MAX_DOCUMENT).read_to_end(&mut document).await?;
        Ok(document)
    };
    let shown = path.display();
    match timeout(TIMEOUT, received).await {
        Ok(Ok(document)) if document.is_empty() => Err(Failure::Error(
            Exit::Refused,
            format!(
                "the bridge at {shown} refuses this user; run this as the user of the bridge, or as root"
            ),
        )),
        Ok(Ok(document)) => Ok(document),
        Ok(Err(error)) => Err(Failure::Error(Exit::Unconnected, unreachable(path, &error))),
        Err(_) => Err(Failure::timeout(format!(
            "the bridge at {shown} did not respond within {} s; see its log",
            TIMEOUT.as_secs()
        ))),
    }
}

fn unreachable(path: &Path, error: &io::Error) -> String {
    let hint = match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            "no bridge is running there; start one with `zeek-bridge run CONFIG.toml`, or name its socket with --socket or \
             --config"
        }
        ErrorKind::PermissionDenied => "run this as the user of the bridge, or as root",
        _ => "is it the status socket of a bridge?",
    };
    format!("cannot connect to {}: {error}; {hint}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_or_refusing_bridge_is_an_error_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let error = |result: Result<Vec<u8>, Failure>| match result {
            Err(Failure::Error(exit, message)) => (exit, message),
            other => panic!("{other:?}"),
        };
        let (exit, message) = error(query(&path).await);
        assert_eq!(exit, Exit::Unconnected);
        assert!(message.contains("no bridge is running there") && message.contains("--socket"), "{message}");
        // A bridge that was killed leaves its socket.
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let refusing = std::thread::spawn(move || drop(listener.accept().unwrap()));
        let (exit, message) = error(query(&path).await);
        refusing.join().unwrap();
        assert_eq!(exit, Exit::Refused);
        assert!(message.contains("as root"), "{message}");
        let (exit, message) = error(query(&path).await);
        assert_eq!(exit, Exit::Unconnected);
        assert!(message.contains("zeek-bridge run"), "{message}");
    }
}
