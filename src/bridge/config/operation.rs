//! The table `[bridge]`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::http;
use super::reader::{Entry, Table};
use super::schema::{Http, LogFormat, Operation};

/// The maximum length of a socket's path in bytes. `sun_path` in `sockaddr_un` has room for 108 bytes, including the
/// final NUL. The socket is first created in a temporary directory next to its path, which adds up to 15 bytes
/// (`/.zb-01234567/s`).
const MAX_SOCKET_PATH: usize = 92;

/// Returns the default path of the status socket: `zeek-bridge.sock` in `$XDG_RUNTIME_DIR`, or
/// `/run/zeek-bridge/status.sock` if that variable is not set, as for root and for services.
#[must_use]
pub fn default_status_socket() -> PathBuf {
    let directory =
        std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| Path::new(directory).is_absolute());
    directory.map_or_else(
        || PathBuf::from("/run/zeek-bridge/status.sock"),
        |directory| Path::new(&directory).join("zeek-bridge.sock"),
    )
}

impl Default for Operation {
    fn default() -> Self {
        Operation {
            log: LogFormat::default(),
            http: Some(Http::default()),
            status_socket: Some(default_status_socket()),
            drain: Duration::from_secs(10),
            answer_in_flight: true,
            answer_denied: true,
        }
    }
}

/// Reads the table. Also returns the entry of the address of the HTTP server, for errors about it.
pub(super) fn read(mut table: Table<'_>) -> (Operation, Option<Entry<'_>>) {
    let default = Operation::default();
    let log = table.take("log");
    let (http, http_entry) = http::read(&mut table);
    let operation = Operation {
        log: log
            .and_then(|entry| entry.choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]))
            .unwrap_or(default.log),
        http,
        status_socket: table.take("status").map_or(default.status_socket, |entry| status_socket(&entry)),
        drain: table
            .take("drain")
            .and_then(|entry| entry.time(Duration::ZERO..=Duration::from_secs(3600)))
            .unwrap_or(default.drain),
        answer_in_flight: table
            .take("answer_in_flight")
            .and_then(|entry| entry.flag())
            .unwrap_or(default.answer_in_flight),
        answer_denied: table
            .take("answer_denied")
            .and_then(|entry| entry.flag())
            .unwrap_or(default.answer_denied),
    };
    table.finish();
    (operation, http_entry)
}

fn status_socket(entry: &Entry<'_>) -> Option<PathBuf> {
    let text = entry.text("the path of a socket, or \"off\"")?;
    if text == "off" {
        return None;
    }
    let path = entry.in_directory(text);
    let length = path.as_os_str().len();
    if length > MAX_SOCKET_PATH {
        entry.error(
            format!("the path has {length} bytes; the maximum is {MAX_SOCKET_PATH}"),
            "use a shorter path",
        );
    }
    Some(path)
}

impl Entry<'_> {
    /// Resolves a path against the directory of the configuration file.
    pub(super) fn in_directory(&self, path: &str) -> PathBuf {
        self.report.file().parent().map_or_else(|| PathBuf::from(path), |directory| directory.join(path))
    }

    /// The path of a file or directory, resolved against the directory of the configuration file.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.text("the path of a file").map(|text| self.in_directory(text))
    }
}
