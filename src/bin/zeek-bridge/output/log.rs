//! The log, which tracing writes to stderr.

mod fields;
mod layer;

use std::env;
use std::io::{self, Write};

use anstream::{AutoStream, ColorChoice};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use zeek_bridge::bridge::config::LogFormat;

use super::exit::Failure;
use super::stderr::LogWriter;

/// Starts the log: warnings by default, more with each `-v`, and only errors for `None`. RUST_LOG overrides this.
pub(crate) fn start(verbose: Option<u8>, format: LogFormat) -> Result<(), Failure> {
    let default = match verbose {
        None => "error",
        Some(0) => "warn",
        Some(1) => "info",
        Some(2) => "debug",
        Some(_) => "trace",
    };
    let directives = env::var("RUST_LOG").ok().filter(|directives| !directives.is_empty());
    let filter = EnvFilter::try_new(directives.as_deref().unwrap_or(default)).map_err(|error| {
        Failure::usage(format!("RUST_LOG: {error}; set it to a level such as debug, or unset it"))
    })?;
    // The same rules as for `--help` select colors: NO_COLOR, CLICOLOR_FORCE, CLICOLOR, TERM, and whether stderr is a terminal.
    let color = AutoStream::choice(&io::stderr()) != ColorChoice::Never;
    let write = |line: &[u8]| {
        // A closed stderr is not an error.
        let _ = LogWriter.write_all(line);
    };
    let log = layer::Log { format, color, target: verbose > Some(1), write };
    tracing_subscriber::registry().with(filter).with(log).init();
    Ok(())
}
