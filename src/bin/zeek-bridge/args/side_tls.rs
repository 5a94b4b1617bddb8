//! The TLS options of a command that connects two sides: options for both sides, and options for each side.

use std::ffi::OsString;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use zeek_bridge::net::tls::Tls;

use super::tls::TlsArgs;
use crate::output::{Exit, Failure};

/// TLS options for both sides, and for each side.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS on both sides")]
pub(crate) struct TwoSidedTlsArgs {
    #[command(flatten)]
    both: TlsArgs,
    #[command(flatten)]
    listen: OneSide<true>,
    #[command(flatten)]
    connect: OneSide<false>,
}

impl TwoSidedTlsArgs {
    /// Returns the TLS of the side that listens, and of the side that connects. If a side has options of its own, the options
    /// for both sides do not apply to it.
    pub(crate) fn load(&self) -> Result<[Tls; 2], Failure> {
        Ok([self.listen.load(&self.both)?, self.connect.load(&self.both)?])
    }
}

/// The options of [`TlsArgs`] with the name of the side as a prefix: `--listen-cafile`.
#[derive(Debug)]
struct OneSide<const LISTEN: bool>(TlsArgs);

impl<const LISTEN: bool> OneSide<LISTEN> {
    const NAME: &str = if LISTEN { "listen" } else { "connect" };
    const PREFIX: &str = if LISTEN { "listen-" } else { "connect-" };

    fn plain() -> Command {
        TlsArgs::augment_args(Command::new("tls").no_binary_name(true))
    }

    fn load(&self, both: &TlsArgs) -> Result<Tls, Failure> {
        if self.0.is_empty() {
            return both.load();
        }
        self.0.load_of_side(Self::PREFIX).map_err(|failure| match failure {
            Failure::Error(Exit::Usage, message) => {
                Failure::usage(format!("on the side of --{}: {message}", Self::NAME))
            }
            failure => failure,
        })
    }
}

impl<const LISTEN: bool> Args for OneSide<LISTEN> {
    fn augment_args(command: Command) -> Command {
        let plain = Self::plain();
        let options = plain.get_arguments().filter_map(|arg| Some((arg, arg.get_long()?)));
        options.fold(command, |command, (arg, option)| {
            let name = format!("{}-{option}", Self::NAME);
            let help = format!("Like --{option}, but only for the side of --{}", Self::NAME);
            let heading = format!("TLS on the side of --{}, if different", Self::NAME);
            command.arg(arg.clone().id(name.clone()).long(name).help(help).help_heading(heading))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const LISTEN: bool> FromArgMatches for OneSide<LISTEN> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let plain = Self::plain();
        let mut args = Vec::new();
        for option in plain.get_arguments().filter_map(|arg| arg.get_long()) {
            for value in matches.get_raw(&format!("{}-{option}", Self::NAME)).into_iter().flatten() {
                let mut arg = OsString::from(format!("--{option}="));
                arg.push(value);
                args.push(arg);
            }
        }
        TlsArgs::from_arg_matches(&plain.try_get_matches_from(args)?).map(OneSide)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
