//! The TLS options of a command that connects two sides: options for both sides, and options for each side.

use std::ffi::OsString;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::net::{Scheme, Url};

use super::address::{AddressArg, scheme};
use super::role::Role;
use super::source::Source;
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
    /// for both sides do not apply to it. The scheme of a WebSocket address selects the TLS mode.
    pub(crate) fn load(&self, listen: &AddressArg, connect: &AddressArg) -> Result<[Tls; 2], Failure> {
        let has_tls = |address: &AddressArg| scheme(&address.0) != Scheme::WebSocket;
        if !has_tls(listen)
            && !has_tls(connect)
            && let Some(reason) = self.both.conflict_with(Scheme::WebSocket)
        {
            return Err(conflict("", &self.both, &listen.0, reason));
        }
        Ok([self.listen.load(&self.both, listen)?, self.connect.load(&self.both, connect)?])
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

    fn load(&self, both: &TlsArgs, AddressArg(address): &AddressArg) -> Result<Tls, Failure> {
        let (set, prefix) = if self.0.is_empty() { (both, "") } else { (&self.0, Self::PREFIX) };
        let loaded = match address.parse::<Url>() {
            Ok(url) if url.scheme().is_websocket() => Self::websocket(set, prefix, &url),
            _ => set.load_of_side(prefix),
        };
        loaded.map_err(|failure| match failure {
            Failure::Error(Exit::Usage, message) => {
                Failure::usage(format!("on the side of --{}: {message}", Self::NAME))
            }
            failure => failure,
        })
    }

    fn websocket(set: &TlsArgs, prefix: &'static str, url: &Url) -> Result<Tls, Failure> {
        let is_secure = url.scheme() == Scheme::SecureWebSocket;
        if let Some(reason) = set.conflict_with(url.scheme())
            && (is_secure || set.has_mode() || !prefix.is_empty())
        {
            return Err(conflict(prefix, set, &url.to_string(), reason));
        }
        if !is_secure {
            // Options for both sides may be those of the other side.
            return Ok(Tls::Off);
        }
        let source = Source::CommandLine { prefix };
        set.secure(&source, if LISTEN { Role::Server } else { Role::Client })
    }
}

fn conflict(prefix: &str, set: &TlsArgs, address: &str, reason: &str) -> Failure {
    let option = set.first_option();
    Failure::usage(format!("--{prefix}{option} cannot be used with {address}: {reason}; remove the option"))
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
