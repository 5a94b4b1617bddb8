//! The log: on stderr, by tracing.

mod format;

use std::env;
use std::io;

use anstream::{AutoStream, ColorChoice};
use tracing_subscriber::EnvFilter;
use zeek_bridge::bridge::config::LogFormat;

use crate::exit::Failure;
use crate::stderr::Stderr;

/// Starts the log: warnings by default, more with each `-v`; RUST_LOG has the last word.
pub(crate) fn start(verbose: u8, log_format: LogFormat) -> Result<(), Failure> {
    let default = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let wish = env::var("RUST_LOG").ok().filter(|wish| !wish.is_empty());
    let filter = EnvFilter::try_new(wish.as_deref().unwrap_or(default)).map_err(|error| {
        Failure::usage(format!("RUST_LOG: {error}; give a level such as debug, or take the variable away"))
    })?;
    // As in `--help`: by NO_COLOR, CLICOLOR_FORCE, CLICOLOR, TERM, and whether it is a terminal.
    let color = AutoStream::choice(&io::stderr()) != ColorChoice::Never;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Stderr)
        .with_ansi(color)
        // It would be said with eprintln!, which panics when stderr is closed.
        .log_internal_errors(false);
    let target = verbose > 1;
    match log_format {
        LogFormat::Text => log.event_format(format::Text { target }).init(),
        LogFormat::Json => log.json().event_format(format::Json { target }).init(),
    }
    Ok(())
}
