//! `init`: a configuration to start from.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::output::stderr::print_line;
use crate::output::{Failure, Output};

/// The configuration for an agent and its nodes. The Debian package contains it, too.
const AGENT_NODES: &str = include_str!("../../../../packaging/bridge.toml");

/// The configuration for programs that use the WebSocket API.
const WEBSOCKET: &str = include_str!("init/websocket.toml");

/// The configuration for Zeek processes that still use Broker, beside a cluster over ZeroMQ.
const ZEROMQ_MIGRATION: &str = include_str!("init/zeromq-migration.toml");

/// Write a configuration for a bridge, to start from
///
/// The file has comments, and is valid without changes. By default, it forwards the node API between an agent and nodes on this
/// host. With `--for websocket`, it serves the WebSocket API for programs, and exchanges their events with a Zeek process. With
/// `--for zeromq-migration`, it exchanges events between Zeek processes that use Broker and a cluster over ZeroMQ.
///
/// `init` writes to bridge.toml, even if stdout is redirected; `init -` prints the configuration.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The file to write, or - for stdout; an existing file is never overwritten
    #[arg(value_name = "CONFIG.toml", default_value = "bridge.toml")]
    file: PathBuf,
    /// The use of the bridge
    #[arg(long = "for", value_name = "USE", value_enum, default_value_t = Use::AgentNodes)]
    purpose: Use,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Use {
    /// Between an agent of the Management framework and its nodes
    AgentNodes,
    /// Between programs in any language, over the WebSocket API, and a Zeek process
    Websocket,
    /// Between Zeek processes that still use Broker and a cluster over ZeroMQ
    ZeromqMigration,
}

pub(crate) fn run(args: &InitArgs) -> Result<(), Failure> {
    let text = match args.purpose {
        Use::AgentNodes => AGENT_NODES,
        Use::Websocket => WEBSOCKET,
        Use::ZeromqMigration => ZEROMQ_MIGRATION,
    };
    if args.file == Path::new("-") {
        let mut output = Output::new();
        return output.line(text.trim_end().as_bytes()).and_then(|()| output.flush());
    }
    let file = args.file.display();
    let created = OpenOptions::new().write(true).create_new(true).open(&args.file);
    let written = created.and_then(|mut to| {
        // Remove an incomplete file: an existing file would prevent the next attempt.
        to.write_all(text.as_bytes()).inspect_err(|_| _ = std::fs::remove_file(&args.file))
    });
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::failed(format!("{file} exists already; name another file")),
        _ => Failure::failed(format!(
            "cannot write {file}: {error}; name a file in a writable directory with free space"
        )),
    })?;
    print_line(format_args!(
        "wrote {file}; edit it, then: zeek-bridge check {file} && zeek-bridge run {file}"
    ));
    Ok(())
}
