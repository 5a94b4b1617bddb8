//! `status`: shows the state of a running bridge.

mod latency;
mod query;
mod table;
mod text;

use std::path::PathBuf;

use clap::Args;
use zeek_bridge::bridge::config::default_status_socket;

pub(super) use self::query::snapshot;
use crate::commands::run;
use crate::output::{Failure, Output, harmless};
use crate::terminal;

/// The width of tables if stdout is not a terminal.
const COLUMNS: usize = 80;

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
    /// Do not limit tables to the width of the terminal, or to 80 columns elsewhere
    #[arg(long, conflicts_with = "json")]
    wide: bool,
}

/// Returns the status socket of a bridge that runs as a system service.
fn service_socket() -> PathBuf {
    PathBuf::from("/run/zeek-bridge/status.sock")
}

pub(crate) async fn run(args: StatusArgs) -> Result<(), Failure> {
    let socket = socket(&args)?;
    let width = if args.wide { usize::MAX } else { terminal::columns().unwrap_or(COLUMNS) };
    let document = query::query(&socket).await?;
    let snapshot = query::read(&document)?;
    let mut output = Output::new();
    if args.json {
        output.line(&harmless(document.trim_ascii().to_vec()))?;
    } else {
        text::lines(&snapshot, width).iter().try_for_each(|line| output.line(line.as_bytes()))?;
    }
    output.flush()
}

fn socket(args: &StatusArgs) -> Result<PathBuf, Failure> {
    if let Some(path) = &args.socket {
        return Ok(path.clone());
    }
    if let Some(path) = &args.config {
        return run::read(path)?.config.operation.status_socket.ok_or_else(|| {
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
