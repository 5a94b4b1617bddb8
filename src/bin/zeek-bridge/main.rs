//! The program `zeek-bridge`.
//!
//! [`cli`] lists the commands. Each is a module of [`commands`], which owns its arguments. They share [`args`] (options and
//! value parsers), [`output`] (stdout, stderr, exit codes), and the modules beside these.

// No input from the network may cause a panic. Tests may.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::todo,
        clippy::unwrap_used,
        unreachable_pub
    )
)]

#[cfg(not(unix))]
compile_error!("the program needs a Unix system; the library also builds elsewhere");

mod args;
mod blocking;
mod cli;
mod commands;
mod convert;
mod deadline;
mod environment;
mod hints;
mod increase;
mod input;
mod latency;
mod network;
mod output;
mod replacement;
mod runtime;
mod scalars;
mod settings;
mod signals;
mod terminal;
mod tls_auto;
mod verdict;

use std::process::ExitCode;

use clap::FromArgMatches;
use cli::{Cli, Command};
use output::{exit, log, stderr};
use runtime::block_on;
use zeek_bridge::bridge::config::LogFormat;

fn main() -> ExitCode {
    let matches = cli::command_with_environment().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    // A bridge forwards messages even if its stderr is not read.
    let log_thread = match cli.command {
        Command::Run(_) | Command::Record(_) => stderr::start_log_thread(),
        _ => None,
    };
    // The configuration of a bridge selects the format of the log.
    let log = if matches!(cli.command, Command::Run(_)) {
        Ok(())
    } else {
        log::start(cli.command.verbosity(cli.verbose), LogFormat::Text)
    };
    let result = log.and_then(|()| match cli.command {
        Command::Run(args) => commands::run::run(args, cli.verbose),
        Command::Status(args) => block_on(commands::status::run(args)),
        Command::Demo(args) => block_on(commands::demo::run(args)),
        Command::Init(args) => commands::init::run(&args),
        Command::Certs(args) => commands::certs::run(&args),
        Command::Curve(args) => commands::curve::run(&args),
        Command::Check(args) => commands::check::run(&args),
        Command::ConfigSchema(_) => commands::config_schema::run(),
        Command::Node(args) => block_on(commands::node::run(args)),
        Command::Dispatch(args) => block_on(commands::dispatch::run(args)),
        Command::Tap(args) => block_on(commands::tap::run(args)),
        Command::Probe(args) => block_on(commands::probe::run(args)),
        Command::Publish(args) => block_on(commands::publish::run(args)),
        Command::Record(args) => block_on(commands::record::run(*args)),
        Command::Replay(args) => block_on(commands::replay::run(*args)),
        Command::Decode(args) => commands::decode::run(&args),
        Command::Bench(args) => commands::bench::run(args),
        Command::Encode(args) => commands::encode::run(&args),
        Command::Completions(args) => commands::man::completions(&args, cli::command()),
        Command::Man(args) => commands::man::man(&args, cli::command(), &cli::MANUAL),
    });
    // Waits until the thread has written the queued lines, so that the error is the last line.
    drop(log_thread);
    exit::code(result)
}
