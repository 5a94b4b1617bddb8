//! Addresses on the command line.

use zeek_bridge::net::{self, AddressError};

/// `host:port`, checked as far as possible without a resolver.
#[derive(Clone, Debug)]
pub(crate) struct HostPort(pub(crate) String);

/// Parses an address to connect to.
pub(crate) fn connect_address(text: &str) -> Result<HostPort, AddressError> {
    net::HostPort::to_connect(text).map(|_| HostPort(text.to_owned()))
}

/// Parses an address to listen on, where the system chooses a port for port 0.
pub(crate) fn listen_address(text: &str) -> Result<HostPort, AddressError> {
    text.parse::<net::HostPort>().map(|_| HostPort(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listener_may_have_port_0() {
        assert!(connect_address("[fe80::1%eth0]:2151").is_ok() && listen_address("[fe80::1%eth0]:0").is_ok());
        assert_eq!(connect_address("localhost:0").unwrap_err(), AddressError::PortZero);
        assert_eq!(listen_address("localhost").unwrap_err(), AddressError::NoPort);
    }
}
