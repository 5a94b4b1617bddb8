//! Defaults for the address of an agent and the name of a node, from the environment variables that Zeek uses.

use clap::Command;
use zeek_bridge::management::DEFAULT_AGENT_PORT;

use super::address::{HostPort, listen_address};
use super::network::NetworkArgs;
use crate::environment;
use crate::output::Failure;

const ADDRESS: &str = "ZEEK_AGENT_ADDR";
const PORT: &str = "ZEEK_AGENT_PORT";
const NODE: &str = "CLUSTER_NODE";

/// Zeek's `Management::default_address`.
const DEFAULT_ADDRESS: &str = "127.0.0.1";

/// Makes the arguments optional that the environment contains: the address of `node` and `dispatch`, the name of `node`.
pub(crate) fn optional_arguments(mut command: Command) -> Command {
    // clap would accept an empty variable as an empty name.
    if environment::var(NODE).is_some() {
        command = command.mut_subcommand("node", |node| node.mut_arg("name", |name| name.env(NODE)));
    }
    if [ADDRESS, PORT].into_iter().all(|name| environment::var(name).is_none()) {
        return command;
    }
    ["node", "dispatch"].into_iter().fold(command, |command, name| {
        command
            .mut_subcommand(name, |command| command.mut_group("AddressArgs", |group| group.required(false)))
    })
}

/// Without an address option, sets the address that a node connects to.
pub(crate) fn to_agent(mut args: NetworkArgs) -> Result<NetworkArgs, Failure> {
    if args.address.connect.is_none() && args.address.listen.is_none() {
        args.address.connect = agent()?;
        // For a listener, port 0 is valid: the system chooses a port.
        if args.address.connect.as_ref().is_some_and(|HostPort(address)| address.ends_with(":0")) {
            return Err(Failure::usage(format!("{PORT} is 0; set it to the port of the agent")));
        }
    }
    Ok(args)
}

/// Without an address option, sets the address that an agent listens on.
pub(crate) fn as_agent(mut args: NetworkArgs) -> Result<NetworkArgs, Failure> {
    if args.address.connect.is_none() && args.address.listen.is_none() {
        args.address.listen = agent()?;
    }
    Ok(args)
}

/// Returns the address of Zeek's Management agent in the environment.
fn agent() -> Result<Option<HostPort>, Failure> {
    let invalid = |name, hint: &str| {
        let value = environment::var(name).unwrap_or_default();
        Failure::usage(format!("{name} is set to {:?}; use {hint}", value.to_string_lossy()))
    };
    let read = |name, hint: &str| {
        environment::var(name).map(|value| value.into_string().map_err(|_| invalid(name, hint))).transpose()
    };
    let (address_hint, port_hint) =
        ("a host name, or an address without brackets and port", "a port, such as 2151/tcp");
    let (address, port) = (read(ADDRESS, address_hint)?, read(PORT, port_hint)?);
    if address.is_none() && port.is_none() {
        return Ok(None);
    }
    let address = address.as_deref().unwrap_or(DEFAULT_ADDRESS);
    let port = port.unwrap_or_else(|| DEFAULT_AGENT_PORT.to_string());
    let number = port.strip_suffix("/tcp").unwrap_or(&port);
    // Digits only: `parse` accepts a sign as well.
    let is_number = number.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number || number.parse::<u16>().is_err() {
        return Err(invalid(PORT, port_hint));
    }
    let address =
        if address.contains(':') { format!("[{address}]:{number}") } else { format!("{address}:{number}") };
    listen_address(&address).map(Some).map_err(|_| invalid(ADDRESS, address_hint))
}
