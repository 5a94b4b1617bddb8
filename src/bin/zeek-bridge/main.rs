//! The program: one file per command, and what they share.

mod args;
mod background;
mod blocking;
mod commands;
mod conversation;
mod environment;
mod examples;
mod exit;
mod handover;
mod hints;
mod input;
mod leaves;
mod lines;
mod log;
mod network;
mod output;
mod progress;
mod resync;
mod retry;
mod side_tls;
mod signals;
mod stderr;
mod tls;

use std::future::Future;
use std::io;
use std::process::ExitCode;

use args::{Cli, Command};
use clap::FromArgMatches;
use exit::Failure;
use zeek_bridge::bridge::config::LogFormat;

fn main() -> ExitCode {
    let matches = environment::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let stderr = stderr::start();
    // The configuration of a bridge selects the format of the log.
    let log = if matches!(cli.command, Command::Run(_)) {
        Ok(())
    } else {
        log::start(cli.verbose.max(cli.command.least_verbose()), LogFormat::Text)
    };
    let result = log.and_then(|()| match cli.command {
        Command::Run(args) => commands::run::run(args, cli.verbose),
        Command::Status(args) => on_runtime(commands::status::run(args)),
        Command::Demo => on_runtime(commands::demo::run()),
        Command::Check(args) => commands::check::run(&args),
        Command::Node(args) => on_runtime(commands::node::run(args)),
        Command::Dispatch(args) => on_runtime(commands::dispatch::run(args)),
        Command::Tap(args) => on_runtime(commands::tap::run(args)),
        Command::Probe(args) => on_runtime(commands::probe::run(args)),
        Command::Publish(args) => on_runtime(commands::publish::run(args)),
        Command::Record(args) => on_runtime(commands::record::run(*args)),
        Command::Replay(args) => on_runtime(commands::replay::run(*args)),
        Command::Decode(args) => commands::decode::run(&args),
        Command::Bench(args) => commands::bench::run(args),
        Command::Encode(args) => commands::encode::run(&args),
        Command::Completions(args) => commands::man::completions(&args),
        Command::Man(args) => commands::man::man(&args),
    });
    let code = exit::code(result);
    drop(stderr);
    code
}

fn on_runtime(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    on(tokio::runtime::Runtime::new(), command)
}

fn on(
    runtime: io::Result<tokio::runtime::Runtime>,
    command: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let runtime =
        runtime.map_err(|error| Failure::failed(format!("cannot start the threads to run on: {error}")))?;
    let result = runtime.block_on(command);
    // What is still running has had its time.
    runtime.shutdown_background();
    result
}
