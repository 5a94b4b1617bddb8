//! Network options shared by several commands.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::address::{AddressArg, any_listen_address, connect_address};
use super::retry::RetryArg;
use super::tls::TlsArgs;

// Options of commands that reconnect after a failure. This is not a doc comment, because clap would use a doc comment as the
// summary of the command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct NetworkArgs {
    #[command(flatten)]
    pub(crate) address: AddressArgs,
    #[command(flatten)]
    pub(crate) profile: ProfileArg,
    /// The delay before reconnecting; with FIRST..CAP, it doubles after each consecutive failure, up to CAP
    #[arg(
        long,
        value_name = "DURATION",
        default_value_t,
        conflicts_with = "listen",
        allow_negative_numbers = true
    )]
    pub(crate) retry: RetryArg,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
}

// Options of a command that makes one connection.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct OneConnectionArgs {
    #[command(flatten)]
    pub(crate) address: AddressArgs,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct AddressArgs {
    /// Connect to the Zeek or zeek-bridge at this address
    #[arg(short, long, value_name = "HOST:PORT", value_parser = connect_address)]
    pub(crate) connect: Option<AddressArg>,
    /// Listen on this address; with port 0, the system chooses a port, which is reported on stderr
    #[arg(short, long, value_name = "ADDR:PORT", value_parser = any_listen_address)]
    pub(crate) listen: Option<AddressArg>,
}

/// An address to connect to or to listen on.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Connect(String),
    Listen(String),
}

impl AddressArgs {
    /// Returns the address, if one is set.
    pub(crate) fn address(self) -> Option<Address> {
        let connect = self.connect.map(|target| Address::Connect(target.0));
        connect.or(self.listen.map(|address| Address::Listen(address.0)))
    }
}

#[derive(Debug, Args)]
pub(crate) struct ProfileArg {
    /// Use the address and TLS options of [profile.NAME] in ~/.config/zeek-bridge/config.toml, unless options set
    /// them; the default is [profile.default], if it exists
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) profile: Option<String>,
}
