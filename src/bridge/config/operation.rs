//! The table `[bridge]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::reader::{Entry, Table};
use super::schema::{LogFormat, Operation};
use crate::net::HostPort;

/// Where metrics are unless something else is said.
const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9747);

/// A longer path has no room in the address of a socket.
const LONGEST_SOCKET_PATH: usize = 107;

/// The status socket of a bridge that is told nothing about it: `zeek-bridge.sock` in `$XDG_RUNTIME_DIR`, or
/// `/run/zeek-bridge/status.sock` where there is no such directory, as for root and for services.
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
            metrics: Some(METRICS),
            status_socket: Some(default_status_socket()),
            drain: Duration::from_secs(10),
            answer_in_flight: true,
            answer_denied: true,
        }
    }
}

pub(super) fn read(mut table: Table<'_>) -> Operation {
    let default = Operation::default();
    let operation = Operation {
        log: table
            .take("log")
            .and_then(|entry| entry.choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]))
            .unwrap_or(default.log),
        metrics: table.take("metrics").map_or(default.metrics, |entry| metrics(&entry)),
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
    operation
}

fn metrics(entry: &Entry<'_>) -> Option<SocketAddr> {
    let wanted = "an IP address with a port, such as \"127.0.0.1:9747\", or \"off\"";
    let text = entry.text(wanted)?;
    if text == "off" {
        return None;
    }
    let address = match text.parse::<HostPort>() {
        Ok(address) if address.ip().is_some() => address,
        Ok(_) => {
            entry.wrong(format!("{text:?} has a host name; give {wanted}"));
            return None;
        }
        Err(error) => {
            entry.wrong(format!("{text:?}: {error}"));
            return None;
        }
    };
    // Only a zone has to be looked up, and that asks nobody but this host.
    match address.resolve() {
        Ok(addresses) => addresses.first().copied(),
        Err(error) => {
            entry.wrong(format!("{text:?}: {error}"));
            None
        }
    }
}

fn status_socket(entry: &Entry<'_>) -> Option<PathBuf> {
    let text = entry.text("the path of a socket, or \"off\"")?;
    if text == "off" {
        return None;
    }
    let path = entry.in_directory(text);
    let length = path.as_os_str().len();
    if length > LONGEST_SOCKET_PATH {
        entry.wrong(format!(
            "a socket's path has at most {LONGEST_SOCKET_PATH} bytes, and this one has {length}; give a shorter one"
        ));
    }
    Some(path)
}

impl Entry<'_> {
    /// A path, which is relative to the configuration file's directory.
    pub(super) fn in_directory(&self, path: &str) -> PathBuf {
        self.report.file().parent().map_or_else(|| PathBuf::from(path), |directory| directory.join(path))
    }

    /// The path of a file or directory.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.text("the path of a file").map(|text| self.in_directory(text))
    }
}
