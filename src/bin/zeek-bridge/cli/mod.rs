//! The command line: all commands, and where each is implemented.

mod details;
mod examples;
mod manual;

use clap::{Arg, ArgAction, CommandFactory, Parser, Subcommand};

use crate::args::agent;
use crate::args::curve::CURVE_OPTIONS;
use crate::args::source::variable;
use crate::args::tls::TLS_OPTIONS;
use crate::commands::bench::BenchArgs;
use crate::commands::certs::CertsArgs;
use crate::commands::check::CheckArgs;
use crate::commands::config_schema::ConfigSchemaArgs;
use crate::commands::curve::CurveArgs;
use crate::commands::decode::DecodeArgs;
use crate::commands::demo::DemoArgs;
use crate::commands::dispatch::DispatchArgs;
use crate::commands::encode::EncodeArgs;
use crate::commands::init::InitArgs;
use crate::commands::man::{CompletionsArgs, ManArgs, Manual};
use crate::commands::node::NodeArgs;
use crate::commands::probe::ProbeArgs;
use crate::commands::publish::PublishArgs;
use crate::commands::record::RecordArgs;
use crate::commands::replay::ReplayArgs;
use crate::commands::run::RunArgs;
use crate::commands::status::StatusArgs;
use crate::commands::tap::TapArgs;
use details::DETAILS;

/// The texts of the manual pages that are not in the help.
pub(crate) const MANUAL: Manual =
    Manual { details: DETAILS, ends: manual::sections, end_of_help: manual::END_OF_HELP };

/// The heading of the options that all commands have. In the help, they follow the command's own options.
const GLOBAL: &str = "Global options";

/// The commands whose connection options can be set by variables and profiles.
const WITH_SETTINGS: [&str; 5] = ["tap", "publish", "probe", "node", "dispatch"];

/// The commands whose `--connect` accepts addresses of the WebSocket API and of ZeroMQ. The help of `probe` and `bench` is separate.
const WITH_SCHEMES: [&str; 2] = ["tap", "publish"];

/// Connects to Zeek over Broker's native peering protocol: bridge, tap, publish, node, agent, recorder.
#[derive(Debug, Parser)]
#[command(
    name = "zeek-bridge",
    version,
    propagate_version = true,
    disable_help_flag = true,
    disable_version_flag = true
)]
pub(crate) struct Cli {
    /// Log more to stderr: -v connects and disconnects of peers, -vv and -vvv details
    #[arg(short, long, action = ArgAction::Count, global = true, help_heading = GLOBAL)]
    pub(crate) verbose: u8,
    /// Print help; -h prints a summary
    #[arg(short, long, action = ArgAction::Help, global = true, help_heading = GLOBAL)]
    help: Option<bool>,
    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version, global = true, help_heading = GLOBAL)]
    version: Option<bool>,
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
    Curve(CurveArgs),
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
    /// Returns the log level of the command as a number of `-v` options, if the user has set this number of them. `None` is the level
    /// of errors.
    pub(crate) fn verbosity(&self, verbose: u8) -> Option<u8> {
        match self {
            Command::Tap(args) if args.follow => Some(verbose.max(1)),
            // The warnings are about the node that is denied, which the page shows.
            Command::Demo(args) if args.serves() => Some(verbose).filter(|verbose| *verbose > 0),
            _ => Some(verbose),
        }
    }
}

/// Returns the command line definition, without values from the environment.
pub(crate) fn command() -> clap::Command {
    let command = examples::add(Cli::command());
    // A recording must never be replayed to a peer that a variable or a profile names.
    let command = command
        .mut_subcommand("replay", |replay| replay.mut_group("AddressArgs", |address| address.required(true)));
    let command = WITH_SCHEMES.iter().fold(command, |command, name| {
        command.mut_subcommand(name, |command| command.mut_arg("connect", with_schemes))
    });
    WITH_SETTINGS.iter().fold(command, |command, name| {
        command.mut_subcommand(name, |command| command.mut_args(with_variable))
    })
}

/// Adds the schemes of other protocols than Broker's to the help of `--connect`.
fn with_schemes(arg: Arg) -> Arg {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    arg.help(format!(
        "{help}; ws://HOST:PORT and wss://HOST:PORT use the WebSocket API, and zeromq://HOST:PORT is the proxy of a ZeroMQ cluster"
    ))
}

/// Adds the environment variable to the help of an option. clap must not read the variable, because the option would then count as
/// set on the command line.
fn with_variable(arg: Arg) -> Arg {
    let Some(option) = arg.get_long().filter(|long| {
        TLS_OPTIONS.contains(long) || CURVE_OPTIONS.contains(long) || ["connect", "profile"].contains(long)
    }) else {
        return arg;
    };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let help = format!("{help} [env: {}]", variable(option));
    arg.help(help)
}

/// Returns the command line definition for this process. `node` and `dispatch` need no address, and `node` no name, if the
/// environment contains them.
pub(crate) fn command_with_environment() -> clap::Command {
    agent::optional_arguments(command())
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
