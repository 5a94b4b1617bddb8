//! Network options shared by several commands.

use clap::Args;

use super::address::{HostPort, connect_address, listen_address};
use super::retry::RetryArg;
use super::tls::TlsArgs;

// Options of commands that reconnect after a failure. A doc comment would be the summary of the command in clap.
#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkArgs {
    #[command(flatten)]
    pub(crate) address: AddressArgs,
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
#[command(next_help_heading = "Network")]
pub(crate) struct OneConnectionArgs {
    #[command(flatten)]
    pub(crate) address: AddressArgs,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct AddressArgs {
    /// Connect to the Zeek or zeek-bridge at this address
    #[arg(long, value_name = "HOST:PORT", value_parser = connect_address)]
    pub(crate) connect: Option<HostPort>,
    /// Listen on this address for any number of peers; with port 0, the system chooses a port, which is reported on stderr
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen_address)]
    pub(crate) listen: Option<HostPort>,
}
