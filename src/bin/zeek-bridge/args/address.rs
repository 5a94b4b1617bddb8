//! Addresses on the command line.

use zeek_bridge::net::{self, AddressError};

/// A `host:port` with valid syntax. The host name is not resolved.
#[derive(Clone, Debug)]
pub(crate) struct HostPort(pub(crate) String);

/// Parses an address to connect to.
pub(crate) fn connect_address(text: &str) -> Result<HostPort, AddressError> {
    net::HostPort::to_connect(text).map(|_| HostPort(text.to_owned()))
}

/// Parses an address to listen on. For port 0, the system chooses a port.
pub(crate) fn listen_address(text: &str) -> Result<HostPort, AddressError> {
    text.parse::<net::HostPort>().map(|_| HostPort(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_0_is_valid_only_for_a_listener() {
        assert!(connect_address("[fe80::1%eth0]:2151").is_ok() && listen_address("[fe80::1%eth0]:0").is_ok());
        assert_eq!(connect_address("localhost:0").unwrap_err(), AddressError::PortZero);
        assert_eq!(listen_address("localhost").unwrap_err(), AddressError::NoPort);
    }
}
