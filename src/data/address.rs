//! Addresses and subnets (`PROTOCOL.md`, section 5).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An IP address, stored as on the wire: 16 bytes, IPv4 in v4-mapped form.
///
/// Addresses are ordered by these bytes, as in Broker's C++ implementation, so all IPv4 addresses are adjacent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u8; 16]);

impl Address {
    /// Returns the address with these 16 bytes of the wire format.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Address(bytes)
    }

    /// Returns the 16 bytes of the wire format.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Returns whether this is an IPv4 address.
    #[must_use]
    pub fn is_v4(&self) -> bool {
        Ipv6Addr::from(self.0).to_ipv4_mapped().is_some()
    }

    /// Converts the address to the standard library's type.
    #[must_use]
    pub fn to_ip(&self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self.0)).to_canonical()
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => v6.into(),
        }
    }
}

impl From<Ipv4Addr> for Address {
    fn from(ip: Ipv4Addr) -> Self {
        Address(ip.to_ipv6_mapped().octets())
    }
}

impl From<Ipv6Addr> for Address {
    fn from(ip: Ipv6Addr) -> Self {
        Address(ip.octets())
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        address.to_ip()
    }
}

impl FromStr for Address {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse::<IpAddr>()?.into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_ip(), f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A network address and its prefix length. The length is stored for an address of 128 bits, and displayed in the usual
/// notation: an IPv4 `/24` is stored as 120.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    network: Address,
    length: u8,
}

/// The error for a prefix length that is too large for its address, or for a text that is not a subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid subnet; expected ADDRESS/LENGTH with a length of at most 32 (IPv4) or 128 (IPv6)")]
pub struct InvalidSubnet;

/// The number of bits before an IPv4 address in the 128-bit form.
const V4_PREFIX: u8 = 96;

impl Subnet {
    /// Returns the subnet of an address and a prefix length in the usual notation (0 to 32 for IPv4, 0 to 128 for IPv6). The
    /// host bits are cleared, as in Broker's C++ implementation.
    ///
    /// # Errors
    /// Fails if the length is too large for the address.
    pub fn new(network: impl Into<Address>, length: u8) -> Result<Self, InvalidSubnet> {
        let network = network.into();
        let length =
            if network.is_v4() { length.checked_add(V4_PREFIX).ok_or(InvalidSubnet)? } else { length };
        let subnet = Self::from_wire(network, length)?;
        let host_bits = 128u32.saturating_sub(u32::from(length));
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        let masked = u128::from_be_bytes(*network.as_bytes()) & mask;
        Ok(Subnet { network: Address::from_bytes(masked.to_be_bytes()), ..subnet })
    }

    /// Returns the subnet for the fields on the wire. The length is for an address of 128 bits. The host bits are kept.
    pub(crate) fn from_wire(network: Address, length: u8) -> Result<Self, InvalidSubnet> {
        if length > 128 || (network.is_v4() && length < V4_PREFIX) {
            return Err(InvalidSubnet);
        }
        Ok(Subnet { network, length })
    }

    /// Returns the network address.
    #[must_use]
    pub fn network(&self) -> Address {
        self.network
    }

    /// Returns the prefix length in the usual notation: 0 to 32 for IPv4, 0 to 128 for IPv6.
    #[must_use]
    pub fn length(&self) -> u8 {
        if self.network.is_v4() { self.length.saturating_sub(V4_PREFIX) } else { self.length }
    }

    /// Returns the prefix length as on the wire, for an address of 128 bits.
    #[must_use]
    pub fn wire_length(&self) -> u8 {
        self.length
    }
}

impl FromStr for Subnet {
    type Err = InvalidSubnet;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (network, length) = text.split_once('/').ok_or(InvalidSubnet)?;
        let network: Address = network.parse().map_err(|_| InvalidSubnet)?;
        Subnet::new(network, length.parse().map_err(|_| InvalidSubnet)?)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length())
    }
}

impl fmt::Debug for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_length_of_an_ipv4_subnet_is_larger_by_96_on_the_wire() {
        let subnet: Subnet = "192.168.1.77/24".parse().unwrap();
        assert_eq!(subnet.wire_length(), 120);
        assert_eq!(subnet.to_string(), "192.168.1.0/24");
        assert_eq!("0.0.0.0/0".parse::<Subnet>().unwrap().wire_length(), 96);
        assert_eq!("::/0".parse::<Subnet>().unwrap().to_string(), "::/0");
        assert_eq!("2001:db8::1/128".parse::<Subnet>().unwrap().length(), 128);
    }

    #[test]
    fn invalid_prefix_lengths_are_rejected() {
        for bad in ["1.2.3.4/33", "1.2.3.4/200", "::/129", "1.2.3.4", "x/3", "1.2.3.4/-1"] {
            assert_eq!(bad.parse::<Subnet>(), Err(InvalidSubnet), "{bad}");
        }
        let v4 = Address::from(Ipv4Addr::LOCALHOST);
        assert_eq!(Subnet::from_wire(v4, 95), Err(InvalidSubnet));
    }
}
