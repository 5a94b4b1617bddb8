//! The program: one file per command, and what they share.

mod args;
mod background;
mod bench;
mod blocking;
mod capture;
mod check;
mod conversation;
mod decode;
mod demo;
mod dispatch;
mod encode;
mod environment;
mod examples;
mod exit;
mod handover;
mod input;
mod leaves;
mod lines;
mod log;
mod man;
mod network;
mod node;
mod output;
mod probe;
mod progress;
mod publish;
mod record;
mod replay;
mod resync;
mod retry;
mod run;
mod side_tls;
mod signals;
mod status;
mod stderr;
mod tap;
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
        Command::Run(args) => run::run(args, cli.verbose),
        Command::Status(args) => on_runtime(status::run(args)),
        Command::Demo => on_runtime(demo::run()),
        Command::Check(args) => check::run(&args),
        Command::Node(args) => on_runtime(node::run(args)),
        Command::Dispatch(args) => on_runtime(dispatch::run(args)),
        Command::Tap(args) => on_runtime(tap::run(args)),
        Command::Probe(args) => on_runtime(probe::run(args)),
        Command::Publish(args) => on_runtime(publish::run(args)),
        Command::Record(args) => on_runtime(record::run(*args)),
        Command::Replay(args) => on_runtime(replay::run(*args)),
        Command::Decode(args) => decode::run(&args),
        Command::Bench(args) => bench::run(args),
        Command::Encode(args) => encode::run(&args),
        Command::Completions(args) => man::completions(&args),
        Command::Man(args) => man::man(&args),
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
