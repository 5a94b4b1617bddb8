//! `status`: shows the state of a running bridge.

mod query;
mod rates;
mod screen;
mod table;
mod text;
mod view;
mod watch;

use std::path::PathBuf;

use clap::Args;
use zeek_bridge::bridge::config::default_status_socket;

pub(super) use self::query::snapshot;
use self::watch::Report;
use crate::args::{FormatArgs, Interval};
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
    /// Show rates and the state at this interval, from 100ms to 1day, until interrupted: on a terminal as a live screen, otherwise as
    /// tables or lines of JSON
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "1s")]
    watch: Option<Interval>,
    #[command(flatten)]
    format: FormatArgs,
    /// Do not limit tables to the width of the terminal, or to 80 columns elsewhere
    #[arg(long, conflicts_with = "json")]
    wide: bool,
}

/// Returns the status socket of a bridge that runs as a system service.
fn service_socket() -> PathBuf {
    PathBuf::from("/run/zeek-bridge/status.sock")
}

pub(crate) async fn run(args: StatusArgs) -> Result<(), Failure> {
    if args.wide && args.format.is_json() {
        return Err(Failure::usage("--wide is an option of tables; leave it out with --format json"));
    }
    let socket = socket(&args)?;
    let width = if args.wide { usize::MAX } else { terminal::columns().unwrap_or(COLUMNS) };
    if let Some(interval) = args.watch {
        return watch::run(socket, interval.0, Report::new(args.format.is_json(), width)).await;
    }
    let document = query::query(&socket).await?;
    let snapshot = query::read(&document)?.snapshot;
    let mut output = Output::new();
    if args.format.is_json() {
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
    // A logged-in user has a runtime directory, but may want to use the socket of the system service.
    Ok(if default.exists() || !service_socket().exists() { default } else { service_socket() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_page_lists_every_key() {
        let manual = include_str!("../../cli/details/status.txt");
        terminal::assert_all_listed(manual, |key| view::Column::of_key(key).is_some());
    }
}
