//! Ports (`PROTOCOL.md`, section 5).

use std::fmt;
use std::str::FromStr;

/// The transport protocol of a [`Port`]. The discriminants are the numbers on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// Unknown.
    Unknown = 0,
    /// TCP.
    Tcp = 1,
    /// UDP.
    Udp = 2,
    /// ICMP. In Zeek, the port number of the originator is the type of its message. The port number of the responder is the
    /// type of the reply or, if such messages have no reply, the code.
    Icmp = 3,
}

impl Protocol {
    /// Returns the protocol for a number on the wire, or `None` if there is none.
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Self> {
        match number {
            0 => Some(Protocol::Unknown),
            1 => Some(Protocol::Tcp),
            2 => Some(Protocol::Udp),
            3 => Some(Protocol::Icmp),
            _ => None,
        }
    }

    /// Returns the number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        match self {
            Protocol::Unknown => 0,
            Protocol::Tcp => 1,
            Protocol::Udp => 2,
            Protocol::Icmp => 3,
        }
    }
}

/// A port with its transport protocol, such as `80/tcp` in Zeek's notation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The port number.
    pub number: u16,
    /// The transport protocol.
    pub protocol: Protocol,
}

impl Port {
    /// Returns a port of the given protocol.
    #[must_use]
    pub const fn new(number: u16, protocol: Protocol) -> Self {
        Port { number, protocol }
    }
}

/// The error for a text that is not a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid port; expected NUMBER/PROTOCOL, where PROTOCOL is tcp, udp, icmp or ?")]
pub struct InvalidPort;

impl FromStr for Port {
    type Err = InvalidPort;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, protocol) = text.split_once('/').ok_or(InvalidPort)?;
        let protocol = match protocol {
            "?" => Protocol::Unknown,
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "icmp" => Protocol::Icmp,
            _ => return Err(InvalidPort),
        };
        Ok(Port::new(number.parse().map_err(|_| InvalidPort)?, protocol))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Unknown => "?",
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Icmp => "icmp",
        };
        write!(f, "{}/{protocol}", self.number)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
