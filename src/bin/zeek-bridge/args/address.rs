//! Addresses on the command line.

use zeek_bridge::net::{AddressError, Scheme, Url};

/// An address with valid syntax, as it was written: `HOST:PORT` or a URL. The host name is not resolved.
#[derive(Clone, Debug)]
pub(crate) struct AddressArg(pub(crate) String);

/// Parses an address to connect to.
pub(crate) fn connect_address(text: &str) -> Result<AddressArg, AddressError> {
    Url::to_connect(text).map(|_| AddressArg(text.to_owned()))
}

/// Parses an address to listen on. For port 0, the system chooses a port. A command cannot be the proxy of a ZeroMQ cluster.
pub(crate) fn listen_address(text: &str) -> Result<AddressArg, AddressError> {
    match Url::to_listen(text)?.scheme() {
        Scheme::ZeroMq => Err(AddressError::ListenZeroMq),
        _ => Ok(AddressArg(text.to_owned())),
    }
}

/// Parses an address to listen on, of any protocol. The command must refuse `zeromq://`, unless it receives logs.
pub(crate) fn any_listen_address(text: &str) -> Result<AddressArg, AddressError> {
    Url::to_listen(text).map(|_| AddressArg(text.to_owned()))
}

/// Parses an address to connect to, for a command that does not speak ZeroMQ.
pub(crate) fn connect_address_without_zeromq(text: &str) -> Result<AddressArg, String> {
    match Url::to_connect(text) {
        Ok(url) if url.scheme() == Scheme::ZeroMq => {
            Err("this command does not speak ZeroMQ; use the address of a Broker endpoint or of the WebSocket API".to_owned())
        }
        Ok(_) => Ok(AddressArg(text.to_owned())),
        Err(error) => Err(error.to_string()),
    }
}

/// Returns why a command for Broker's protocol only refuses an address, or `None` for the address of a Broker endpoint.
pub(crate) fn is_for_broker_only(address: &str) -> Option<&'static str> {
    match scheme(address) {
        Scheme::Broker => None,
        Scheme::ZeroMq => Some(
            "this command speaks Broker's native protocol only, not ZeroMQ; use the HOST:PORT of a Broker endpoint",
        ),
        _ => Some(
            "this command speaks Broker's native protocol only, not the WebSocket API; use the HOST:PORT of a Broker endpoint",
        ),
    }
}

/// Returns the protocol of an address whose syntax is valid.
pub(crate) fn scheme(address: &str) -> Scheme {
    address.parse().map_or(Scheme::Broker, |url: Url| url.scheme())
}

/// Returns the name of the protocol of an address whose syntax is valid.
pub(crate) fn protocol_of(address: &str) -> &'static str {
    match scheme(address) {
        Scheme::Broker => "Broker's protocol",
        Scheme::ZeroMq => "ZeroMQ",
        _ => "the WebSocket API",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_0_is_valid_only_for_a_listener() {
        assert!(connect_address("[fe80::1%eth0]:2151").is_ok() && listen_address("[fe80::1%eth0]:0").is_ok());
        assert_eq!(connect_address("localhost:0").unwrap_err(), AddressError::PortZero);
        assert_eq!(listen_address("localhost").unwrap_err(), AddressError::NoPort);
        assert_eq!(listen_address("zeromq://localhost:5555").unwrap_err(), AddressError::ListenZeroMq);
    }
}
