//! Defaults for the address of an agent and the name of a node, from the environment variables that Zeek uses.

use clap::Command;
use zeek_bridge::management::DEFAULT_AGENT_PORT;

use super::address::{AddressArg, listen_address};
use super::network::Address;
use crate::environment;
use crate::output::Failure;

const ADDRESS: &str = "ZEEK_AGENT_ADDR";
const PORT: &str = "ZEEK_AGENT_PORT";
const NODE: &str = "CLUSTER_NODE";

/// Zeek's `Management::default_address`.
const DEFAULT_ADDRESS: &str = "127.0.0.1";

/// Makes the name of `node` optional if the environment contains it.
pub(crate) fn optional_arguments(command: Command) -> Command {
    // clap would accept an empty variable as an empty name.
    if environment::var(NODE).is_none() {
        return command;
    }
    command.mut_subcommand("node", |node| node.mut_arg("name", |name| name.env(NODE)))
}

/// Returns the address that a node connects to, if the environment contains one.
pub(crate) fn to_agent() -> Result<Option<Address>, Failure> {
    let address = agent()?;
    // For a listener, port 0 is valid: the system chooses a port.
    if address.as_ref().is_some_and(|AddressArg(address)| address.ends_with(":0")) {
        return Err(Failure::usage(format!("{PORT} is 0; set it to the port of the agent")));
    }
    Ok(address.map(|AddressArg(address)| Address::Connect(address)))
}

/// Returns the address that an agent listens on, if the environment contains one.
pub(crate) fn as_agent() -> Result<Option<Address>, Failure> {
    Ok(agent()?.map(|AddressArg(address)| Address::Listen(address)))
}

/// Returns the address of Zeek's Management agent in the environment.
fn agent() -> Result<Option<AddressArg>, Failure> {
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
    // Check for digits, because `parse` also accepts a sign.
    let is_number = number.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number || number.parse::<u16>().is_err() {
        return Err(invalid(PORT, port_hint));
    }
    let address =
        if address.contains(':') { format!("[{address}]:{number}") } else { format!("{address}:{number}") };
    listen_address(&address).map(Some).map_err(|_| invalid(ADDRESS, address_hint))
}
