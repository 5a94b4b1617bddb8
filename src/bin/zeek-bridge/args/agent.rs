//! What Zeek's own environment says, where no option does.

use clap::Command;
use zeek_bridge::management::DEFAULT_AGENT_PORT;

use super::address::{HostPort, listen_address};
use super::network::NetworkArgs;
use crate::environment::set;
use crate::output::Failure;

const ADDRESS: &str = "ZEEK_AGENT_ADDR";
const PORT: &str = "ZEEK_AGENT_PORT";
const NODE: &str = "CLUSTER_NODE";

/// Zeek's `Management::default_address`.
const DEFAULT_ADDRESS: &str = "127.0.0.1";

/// Makes the arguments optional that the environment contains: the address of `node` and `dispatch`, the name of `node`.
pub(crate) fn optional_arguments(mut command: Command) -> Command {
    // With an empty variable, clap would take the name as given and empty.
    if set(NODE).is_some() {
        command = command.mut_subcommand("node", |node| node.mut_arg("name", |name| name.env(NODE)));
    }
    if [ADDRESS, PORT].into_iter().all(|name| set(name).is_none()) {
        return command;
    }
    ["node", "dispatch"].into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |command| command.mut_group("Place", |place| place.required(false)))
    })
}

/// For a node: it connects to the agent, unless something else is said.
pub(crate) fn to_agent(mut args: NetworkArgs) -> Result<NetworkArgs, Failure> {
    if args.place.connect.is_none() && args.place.listen.is_none() {
        args.place.connect = agent()?;
        // Where one listens, it lets the system choose.
        if args.place.connect.as_ref().is_some_and(|HostPort(place)| place.ends_with(":0")) {
            return Err(Failure::usage(format!(
                "{PORT} is 0, where nobody listens; set it to the agent's port"
            )));
        }
    }
    Ok(args)
}

/// For an agent: it listens, unless something else is said.
pub(crate) fn as_agent(mut args: NetworkArgs) -> Result<NetworkArgs, Failure> {
    if args.place.connect.is_none() && args.place.listen.is_none() {
        args.place.listen = agent()?;
    }
    Ok(args)
}

/// Where Zeek's Management agent listens.
fn agent() -> Result<Option<HostPort>, Failure> {
    let wrong = |name, mend: &str| {
        let value = set(name).unwrap_or_default();
        Failure::usage(format!("{name} is {:?}; set it to {mend}", value.to_string_lossy()))
    };
    let read = |name, mend: &str| {
        set(name).map(|value| value.into_string().map_err(|_| wrong(name, mend))).transpose()
    };
    let (an_address, a_port) =
        ("a host name, or an address without brackets and port", "a port, such as 2151/tcp");
    let (address, port) = (read(ADDRESS, an_address)?, read(PORT, a_port)?);
    if address.is_none() && port.is_none() {
        return Ok(None);
    }
    let address = address.as_deref().unwrap_or(DEFAULT_ADDRESS);
    let port = port.unwrap_or_else(|| DEFAULT_AGENT_PORT.to_string());
    let number = port.strip_suffix("/tcp").unwrap_or(&port);
    // It would be parsed with a sign, too.
    let is_one = number.bytes().all(|digit| digit.is_ascii_digit());
    if !is_one || number.parse::<u16>().is_err() {
        return Err(wrong(PORT, a_port));
    }
    let place =
        if address.contains(':') { format!("[{address}]:{number}") } else { format!("{address}:{number}") };
    listen_address(&place).map(Some).map_err(|_| wrong(ADDRESS, an_address))
}
