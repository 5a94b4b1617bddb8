//! The command line: all commands, and where each is implemented.

mod details;
mod examples;

use clap::{CommandFactory, Parser, Subcommand};

use crate::args::agent;
use crate::commands::bench::BenchArgs;
use crate::commands::certs::CertsArgs;
use crate::commands::check::CheckArgs;
use crate::commands::config_schema::ConfigSchemaArgs;
use crate::commands::decode::DecodeArgs;
use crate::commands::demo::DemoArgs;
use crate::commands::dispatch::DispatchArgs;
use crate::commands::encode::EncodeArgs;
use crate::commands::init::InitArgs;
use crate::commands::man::{CompletionsArgs, ManArgs};
use crate::commands::node::NodeArgs;
use crate::commands::probe::ProbeArgs;
use crate::commands::publish::PublishArgs;
use crate::commands::record::RecordArgs;
use crate::commands::replay::ReplayArgs;
use crate::commands::run::RunArgs;
use crate::commands::status::StatusArgs;
use crate::commands::tap::TapArgs;
use crate::output::exit;
pub(crate) use details::DETAILS;

/// Connects to Zeek over Broker's native peering protocol: bridge, tap, publish, node, agent, recorder.
#[derive(Debug, Parser)]
#[command(name = "zeek-bridge", version, propagate_version = true)]
pub(crate) struct Cli {
    /// Log more to stderr: -v connects and disconnects of peers, -vv and -vvv details
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

// The help of each command is the documentation of its arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(RunArgs),
    Status(StatusArgs),
    Demo(DemoArgs),
    Init(InitArgs),
    Certs(CertsArgs),
    Check(CheckArgs),
    ConfigSchema(ConfigSchemaArgs),
    Node(NodeArgs),
    Dispatch(DispatchArgs),
    Tap(TapArgs),
    Probe(ProbeArgs),
    Publish(PublishArgs),
    Record(Box<RecordArgs>),
    Replay(Box<ReplayArgs>),
    Decode(DecodeArgs),
    Encode(EncodeArgs),
    Bench(BenchArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

impl Command {
    /// Returns the minimum number of times that `-v` counts as given.
    pub(crate) fn least_verbose(&self) -> u8 {
        match self {
            Command::Tap(args) if args.follow => 1,
            _ => 0,
        }
    }
}

/// Returns the command line definition, without values from the environment.
pub(crate) fn command() -> clap::Command {
    examples::add(with_exit_codes(Cli::command()))
}

/// Returns the command line definition for this process. `node` and `dispatch` need no address, and `node` no name, if the
/// environment contains them.
pub(crate) fn command_with_environment() -> clap::Command {
    agent::optional_arguments(command())
}

fn with_exit_codes(command: clap::Command) -> clap::Command {
    command.after_help(exit::HELP).mut_subcommands(with_exit_codes)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
