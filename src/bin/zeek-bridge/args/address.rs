//! Addresses on the command line.

use zeek_bridge::net::{AddressError, Url};

/// An address with valid syntax, as it was written: `HOST:PORT` or a URL. The host name is not resolved.
#[derive(Clone, Debug)]
pub(crate) struct AddressArg(pub(crate) String);

/// Parses an address to connect to.
pub(crate) fn connect_address(text: &str) -> Result<AddressArg, String> {
    broker_only(text, Url::to_connect(text))
}

/// Parses an address to listen on. For port 0, the system chooses a port.
pub(crate) fn listen_address(text: &str) -> Result<AddressArg, String> {
    broker_only(text, text.parse())
}

fn broker_only(text: &str, url: Result<Url, AddressError>) -> Result<AddressArg, String> {
    match url {
        Ok(url) if url.scheme().is_websocket() => {
            Err("only Broker's protocol is supported here; use HOST:PORT of a Broker endpoint".to_owned())
        }
        Ok(_) => Ok(AddressArg(text.to_owned())),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_0_is_valid_only_for_a_listener() {
        assert!(connect_address("[fe80::1%eth0]:2151").is_ok() && listen_address("[fe80::1%eth0]:0").is_ok());
        assert_eq!(connect_address("localhost:0").unwrap_err(), AddressError::PortZero.to_string());
        assert_eq!(listen_address("localhost").unwrap_err(), AddressError::NoPort.to_string());
    }

    #[test]
    fn an_address_of_broker_may_have_a_scheme() {
        assert_eq!(connect_address("broker://localhost:1").unwrap().0, "broker://localhost:1");
        assert!(connect_address("ws://localhost:1").unwrap_err().contains("only Broker's protocol"));
    }
}
