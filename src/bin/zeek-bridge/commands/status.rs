//! `status`: shows the state of a running bridge.

use std::fmt::{Display, Write};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use comfy_table::{Cell, CellAlignment, Table, presets};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::timeout;
use zeek_bridge::bridge::config::default_status_socket;
use zeek_bridge::bridge::{Latency, LinkSnapshot, PeerSnapshot, Snapshot};

use crate::commands::run;
use crate::output::{Exit, Failure, Output, harmless, printable};

/// Maximum time for the response of the bridge.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum size of the response in bytes.
const MAX_DOCUMENT: u64 = 256 * 1024 * 1024;

/// Show the state of a running bridge: links, peers, nodes and rules
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The status socket of the bridge; by default $XDG_RUNTIME_DIR/zeek-bridge.sock or /run/zeek-bridge/status.sock,
    /// whichever exists
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
    /// Use the status socket in this configuration
    #[arg(long, value_name = "CONFIG.toml")]
    config: Option<PathBuf>,
    /// Print the JSON document of the bridge on one line instead of tables
    #[arg(long)]
    json: bool,
}

/// Returns the status socket of a bridge that runs as a system service.
fn service_socket() -> PathBuf {
    PathBuf::from("/run/zeek-bridge/status.sock")
}

pub(crate) async fn run(args: StatusArgs) -> Result<(), Failure> {
    let document = query(&socket(&args)?).await?;
    let snapshot = read(&document)?;
    let mut output = Output::new();
    if args.json {
        output.line(&harmless(document.trim_ascii().to_vec()))?;
    } else {
        output.line(tables(&snapshot).trim_end().as_bytes())?;
    }
    output.flush()
}

/// Returns the state of the bridge with this status socket.
pub(crate) async fn snapshot(socket: &Path) -> Result<Snapshot, Failure> {
    read(&query(socket).await?)
}

fn read(document: &[u8]) -> Result<Snapshot, Failure> {
    serde_json::from_slice(document).map_err(|error| {
        let message = format!(
            "not the status of a bridge: {error}; does the bridge have the same version as this program?"
        );
        Failure::Error(Exit::Protocol, message)
    })
}

fn socket(args: &StatusArgs) -> Result<PathBuf, Failure> {
    if let Some(path) = &args.socket {
        return Ok(path.clone());
    }
    if let Some(path) = &args.config {
        let file = run::read(path).map_err(|failure| match failure {
            Failure::Reported(exit) => {
                let message = format!(
                    "{} has errors; fix them, or name the status socket with --socket",
                    path.display()
                );
                Failure::Error(exit, message)
            }
            other => other,
        })?;
        return file.config.operation.status_socket.ok_or_else(|| {
            Failure::usage(format!(
                "{} has no status socket: remove `status = \"off\"` from its [bridge] table",
                path.display()
            ))
        });
    }
    let default = default_status_socket();
    // A logged-in user has a runtime directory, but may use the socket of the system service as well.
    Ok(if default.exists() || !service_socket().exists() { default } else { service_socket() })
}

/// Reads the status document from a socket.
async fn query(path: &Path) -> Result<Vec<u8>, Failure> {
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

/// Formats a snapshot as tables.
fn tables(snapshot: &Snapshot) -> String {
    let Snapshot {
        uptime,
        links,
        rules,
        nodes,
        refused,
        in_flight,
        answered_for,
        unanswered,
        forgotten,
        latency,
    } = snapshot;
    let uptime = humantime::format_duration(Duration::from_secs(*uptime));
    let mut text = format!(
        "up {uptime}; {in_flight} requests in flight, {} answered on behalf of nodes\n",
        answered_for.total()
    );
    let missing = unanswered.saturating_add(*forgotten);
    if missing > 0 {
        // Cannot fail: it writes to memory.
        let _ = writeln!(
            text,
            "responses that did not arrive in time, or whose requests were dropped: {missing}"
        );
    }
    if let Some(summary) = summarize(latency) {
        let _ = writeln!(text, "relaying takes {summary}");
    }

    let header =
        "LINK TLS WHERE PEERS READY IN OUT BYTES-IN BYTES-OUT DROPPED OVERFLOWS MALFORMED CHAOS FAILED";
    let mut table = Columns::new(header, &["LINK", "TLS", "WHERE", "READY"]);
    for link in links {
        let failed = link.failures.values().fold(0, |sum: u64, count| sum.saturating_add(*count));
        table.row(&[
            &link.name,
            &link.tls,
            &addresses(link),
            &link.peers.len(),
            &if link.ready { "yes" } else { "no" },
            &link.messages_in,
            &link.messages_out,
            &bytes(link.bytes_in),
            &bytes(link.bytes_out),
            &link.dropped,
            &link.overflows,
            &link.malformed,
            &link.lost_to_chaos,
            &failed,
        ]);
    }
    table.write(&mut text);

    let mut table = Columns::new(
        "LINK PEER ADDRESS IDENTITY QUEUED BYTES DROPPED",
        &["LINK", "PEER", "ADDRESS", "IDENTITY"],
    );
    for (link, peer) in links.iter().flat_map(|link| link.peers.iter().map(move |peer| (link, peer))) {
        let PeerSnapshot { id, address, identity, queued, queued_bytes, dropped, .. } = peer;
        let identity = identity.as_deref().unwrap_or("-");
        table.row(&[&link.name, id, address, &identity, queued, &bytes(*queued_bytes), dropped]);
    }
    table.write(&mut text);

    let mut table = Columns::new("NODE LINK PEER", &["NODE", "LINK", "PEER"]);
    nodes.iter().for_each(|node| table.row(&[&node.name, &node.link, &node.peer]));
    table.write(&mut text);

    let mut table = Columns::new("RULE PASSED INVALID", &["RULE"]);
    rules.iter().for_each(|rule| table.row(&[&rule.name, &rule.passed, &rule.invalid]));
    table.write(&mut text);

    let mut table = Columns::new("RULE REFUSED MESSAGES", &["RULE", "REFUSED"]);
    for rule in rules {
        rule.refused.iter().for_each(|(reason, count)| table.row(&[&rule.name, reason, count]));
    }
    table.write(&mut text);

    let mut table = Columns::new("REFUSED MESSAGES", &["REFUSED"]);
    refused.iter().for_each(|(reason, count)| table.row(&[reason, count]));
    table.write(&mut text);

    let mut table = Columns::new("LINK FAILURE TIMES", &["LINK", "FAILURE"]);
    for link in links {
        link.failures.iter().for_each(|(cause, count)| table.row(&[&link.name, cause, count]));
    }
    table.write(&mut text);
    text
}

fn addresses(link: &LinkSnapshot) -> String {
    let connecting = link.connecting.iter().map(|address| format!("to {address}"));
    let listening = link.listening.iter().map(|address| format!("on {address}"));
    connecting.chain(listening).collect::<Vec<_>>().join(", ")
}

fn bytes(count: u64) -> String {
    ByteSize::b(count).display().iec().to_string()
}

/// Returns the median and the 99th percentile, as precisely as the buckets allow.
fn summarize(latency: &Latency) -> Option<String> {
    let count = latency.counts.iter().fold(0, |sum: u64, count| sum.saturating_add(*count));
    // The upper bound of the bucket that contains this percentile.
    let below = |percent: u64| {
        let rank = u128::from(count).saturating_mul(percent.into()).div_ceil(100);
        let mut seen = 0_u128;
        let index = latency.counts.iter().position(|count| {
            seen = seen.saturating_add((*count).into());
            seen >= rank
        })?;
        let bound = latency.bounds.get(index);
        let text = |seconds: &f64| {
            format!("at most {:?}", Duration::try_from_secs_f64(*seconds).unwrap_or_default())
        };
        Some(match (bound, latency.bounds.last()) {
            (Some(bound), _) => text(bound),
            (None, Some(last)) => {
                format!("more than {:?}", Duration::try_from_secs_f64(*last).unwrap_or_default())
            }
            (None, None) => "some time".into(),
        })
    };
    if count == 0 {
        return None;
    }
    let sample = if count == 1 { "one message".into() } else { format!("{count} messages") };
    Some(format!("{} for half and {} for 99 % of a sample of {sample}", below(50)?, below(99)?))
}

/// A table without borders; numbers are aligned to the right.
struct Columns(Table);

impl Columns {
    /// `text` are the columns that contain text.
    fn new(header: &str, text: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(header.split(' '));
        let names: Vec<&str> = header.split(' ').collect();
        for (column, name) in table.column_iter_mut().zip(names) {
            column.set_padding((0, 2));
            if !text.contains(&name) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Columns(table)
    }

    fn row(&mut self, cells: &[&dyn Display]) {
        self.0.add_row(cells.iter().map(|cell| Cell::new(printable(&cell.to_string()))));
    }

    /// Appends the table, unless it has no rows.
    fn write(&self, to: &mut String) {
        if !self.0.is_empty() {
            let _ = write!(to, "\n{}\n", self.0.trim_fmt());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::run::tests::snapshot;

    #[test]
    fn a_snapshot_is_printed_as_tables() {
        let text = tables(&snapshot());
        let lines: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for line in [
            "up 1h 2m 5s; 6 requests in flight, 8 answered on behalf of nodes",
            "relaying takes at most 1ms for half and more than 10ms for 99 % of a sample of 6 messages",
            "LINK TLS WHERE PEERS READY IN OUT BYTES-IN BYTES-OUT DROPPED OVERFLOWS MALFORMED CHAOS FAILED",
            "agents off on 127.0.0.1:2151 2 yes 10 20 1000 B 2.0 KiB 5 1 3 12 0",
            "nodes mutual to 192.0.2.1:2150, to 192.0.2.2:2150 0 no 0 0 0 B 0 B 0 0 0 0 4",
            "agents id-1 127.0.0.1:40001 - 9 64 B 0",
            "agents id-2 127.0.0.1:40002 CN=agent 2 4.0 KiB 5",
            r"worker\u{1b}[2J-01 agents id-1",
            "hellos 11 2",
            "no-rule 7",
            "nodes connect 4",
        ] {
            assert!(lines.iter().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn empty_tables_are_not_printed() {
        let text = tables(&Snapshot::default());
        assert_eq!(text, "up 0s; 0 requests in flight, 0 answered on behalf of nodes\n");
    }

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
