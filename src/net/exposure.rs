//! The risk of connections without certificates at an address that other hosts can reach.

use std::fmt;

use super::Url;
use super::tls::Tls;

/// The risk of connections without certificates at an address that other hosts can reach. There is no such risk on loopback
/// or with certificates. `Display` describes it in one sentence, without a full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exposure {
    /// Plain TCP at this address.
    Plain(String),
    /// Anonymous TLS at this address.
    Anonymous(String),
}

impl Exposure {
    /// Returns the risk of this TLS at an address (as in [`Url`]) that is listened on or connected to. Does not resolve
    /// names: every name except `localhost` counts as not on loopback.
    #[must_use]
    pub fn of(tls: &Tls, address: &str) -> Option<Self> {
        match tls {
            Tls::Off => Self::of_plain([address]),
            Tls::Anonymous(_) => Self::of_anonymous([address]),
            Tls::Mutual(_) | Tls::Server(_) => None,
        }
    }

    /// Returns the risk of plain TCP at the first of these addresses that is not on loopback.
    #[must_use]
    pub fn of_plain<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        not_on_loopback(addresses).map(Exposure::Plain)
    }

    /// Returns the risk of anonymous TLS at the first of these addresses that is not on loopback.
    #[must_use]
    pub fn of_anonymous<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        not_on_loopback(addresses).map(Exposure::Anonymous)
    }
}

fn not_on_loopback<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let is_loopback = |address: &str| address.parse::<Url>().is_ok_and(|url| url.host_port().is_loopback());
    addresses.into_iter().find(|address| !is_loopback(address)).map(str::to_owned)
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exposure::Plain(address) => write!(f, "no TLS at {address}")?,
            Exposure::Anonymous(address) => {
                write!(f, "anonymous TLS at {address} is encrypted, but unauthenticated")?;
            }
        }
        f.write_str(
            ": a host between the two ends can read and change everything, and every host that can reach the port can peer",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_other_hosts_can_reach_are_exposed() {
        for safe in ["127.0.0.1:1", "localhost:1", "[::1]:0", "[::ffff:127.0.0.1]:1", "ws://[::1]:1"] {
            assert_eq!(Exposure::of(&Tls::Off, safe), None, "{safe}");
        }
        for address in ["0.0.0.0:0", "[::]:1", "192.0.2.1:1", "zeek.example:1", "[fe80::1%eth0]:1"] {
            assert_eq!(Exposure::of(&Tls::Off, address), Some(Exposure::Plain(address.into())));
            let text = Exposure::of_anonymous(["127.0.0.1:1", address]).unwrap().to_string();
            assert!(text.starts_with(&format!("anonymous TLS at {address} is encrypted, but ")), "{text}");
        }
    }
}
