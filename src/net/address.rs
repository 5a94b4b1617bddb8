//! Parses and resolves addresses in the form that users write: `HOST:PORT`.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::str::FromStr;
use std::sync::Arc;

use super::address_error::AddressError;

/// The maximum length of a host name in DNS (RFC 1035, section 2.3.4) in bytes, written as text.
const MAX_NAME: usize = 253;

/// A host and a port: `zeek.example.org:9999`, `192.0.2.1:9999`, `[2001:db8::1]:9999` or, with the zone (network
/// interface) that a link-local address needs, `[fe80::1%eth0]:9999`.
///
/// Parsing checks the syntax only. [`HostPort::resolve`] resolves names and zones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Host {
    Name(String),
    V4(Ipv4Addr),
    V6(Ipv6Addr, Option<Zone>),
}

/// The zone of an IPv6 address (RFC 4007, section 11).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Zone {
    Index(u32),
    Name(String),
}

/// Why there is no socket address for a [`HostPort`].
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The host name was not found. `Error::source` returns the `Arc`, so a downcast to [`io::Error`] fails. To get the
    /// [`io::Error`], match this variant.
    #[error("cannot find the host: {0}; check the name")]
    Name(#[source] Arc<io::Error>),
    /// The zone is not a network interface of this host.
    #[error("unknown zone {0:?}: this host has no such network interface; check the name after %")]
    Zone(String),
}

impl HostPort {
    /// Parses an address to connect to: like [`str::parse`], but port 0 is an error.
    ///
    /// # Errors
    /// Returns the first error in the text.
    pub fn to_connect(text: &str) -> Result<Self, AddressError> {
        let address: HostPort = text.parse()?;
        if address.port == 0 { Err(AddressError::PortZero) } else { Ok(address) }
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the IP address, if the host is not a name.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match &self.host {
            Host::Name(_) => None,
            Host::V4(ip) => Some((*ip).into()),
            Host::V6(ip, _) => Some((*ip).into()),
        }
    }

    /// Returns whether the host is a loopback address or `localhost`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Name(name) => name.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
            Host::V4(ip) => ip.is_loopback(),
            Host::V6(ip, _) => ip.to_canonical().is_loopback(),
        }
    }

    /// Returns the host without a zone and without brackets.
    #[must_use]
    pub fn host(&self) -> String {
        match &self.host {
            Host::Name(name) => name.clone(),
            Host::V4(ip) => ip.to_string(),
            Host::V6(ip, _) => ip.to_string(),
        }
    }

    /// Returns the host and port without a zone, which only this host knows.
    pub(crate) fn authority(&self) -> String {
        match &self.host {
            Host::V6(ip, Some(_)) => HostPort { host: Host::V6(*ip, None), port: self.port }.to_string(),
            _ => self.to_string(),
        }
    }

    /// Resolves the name or the zone, and returns the socket addresses in the order of the resolver's preference. Blocks while the
    /// resolver is working.
    ///
    /// # Errors
    /// Fails if the name has no address, or if this host has no such zone.
    pub fn resolve(&self) -> Result<Vec<SocketAddr>, ResolveError> {
        let port = self.port;
        match &self.host {
            Host::Name(name) => {
                let name_error = |error| ResolveError::Name(Arc::new(error));
                let addresses: Vec<_> =
                    (name.as_str(), port).to_socket_addrs().map_err(name_error)?.collect();
                if addresses.is_empty() {
                    let error = io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
                    return Err(name_error(error));
                }
                Ok(addresses)
            }
            Host::V4(ip) => Ok(vec![SocketAddr::new((*ip).into(), port)]),
            Host::V6(ip, zone) => {
                let scope = zone.as_ref().map_or(Ok(0), Zone::index)?;
                Ok(vec![SocketAddrV6::new(*ip, port, 0, scope).into()])
            }
        }
    }

    /// Like [`HostPort::resolve`]. If that call may block, it runs on a thread for blocking calls.
    pub(super) async fn resolve_in_background(&self) -> Result<Vec<SocketAddr>, ResolveError> {
        if matches!(self.host, Host::V4(_) | Host::V6(_, None | Some(Zone::Index(_)))) {
            return self.resolve();
        }
        let address = self.clone();
        let resolved = tokio::task::spawn_blocking(move || address.resolve()).await;
        resolved.unwrap_or_else(|error| Err(ResolveError::Name(Arc::new(io::Error::other(error)))))
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        let host = match address {
            SocketAddr::V4(address) => Host::V4(*address.ip()),
            SocketAddr::V6(address) => {
                let zone = Some(address.scope_id()).filter(|scope| *scope != 0);
                Host::V6(*address.ip(), zone.map(Zone::Index))
            }
        };
        HostPort { host, port: address.port() }
    }
}

impl Zone {
    /// The number of the network interface.
    fn index(&self) -> Result<u32, ResolveError> {
        let name = match self {
            Zone::Index(index) => return Ok(*index),
            Zone::Name(name) => name,
        };
        // The standard library has no function for the number of an interface. But on every system, the resolver accepts a
        // link-local address with the name of a zone, and returns the number.
        let link_local = format!("fe80::1%{name}");
        let found = (link_local.as_str(), 0).to_socket_addrs().ok().into_iter().flatten();
        let scopes = found.filter_map(|address| match address {
            SocketAddr::V6(address) => Some(address.scope_id()),
            SocketAddr::V4(_) => None,
        });
        scopes.into_iter().find(|scope| *scope != 0).ok_or_else(|| ResolveError::Zone(name.clone()))
    }
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(AddressError::WhiteSpace);
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(AddressError::Scheme(format!("{scheme}://")));
        }
        if let Some(path) = text.find(['/', '?', '#']).and_then(|at| text.get(at..)) {
            return Err(AddressError::Path(path.to_owned()));
        }
        if text.contains('@') {
            return Err(AddressError::User);
        }
        if text.contains(',') {
            return Err(AddressError::List);
        }
        if text.contains(['[', ']']) {
            let inside = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
            let Some((inside, after)) = inside.filter(|(inside, _)| !inside.is_empty()) else {
                return Err(AddressError::Brackets);
            };
            let host = bracketed(inside)?;
            return match after.strip_prefix(':') {
                Some(port) => Ok(HostPort { host, port: parse_port(port)? }),
                None if after.is_empty() => Err(AddressError::NoPort),
                None => Err(AddressError::Brackets),
            };
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            let only_a_port = text.bytes().all(|byte| byte.is_ascii_digit());
            return Err(if only_a_port { AddressError::NoHost } else { AddressError::NoPort });
        };
        if host.contains(':') {
            let of_ipv6 = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.' | '%');
            let address = text.split_once('%').map_or(text, |(address, _)| address);
            let is_ipv6 = address.chars().all(of_ipv6);
            return Err(if is_ipv6 { AddressError::NoBrackets } else { AddressError::TooManyColons });
        }
        Ok(HostPort { host: unbracketed(host)?, port: parse_port(port)? })
    }
}

/// Parses the text in the brackets: an IPv6 address with an optional zone.
fn bracketed(inside: &str) -> Result<Host, AddressError> {
    let (address, zone) = match inside.split_once('%') {
        Some((_, "")) => return Err(AddressError::EmptyZone),
        Some((address, zone)) => (address, Some(zone)),
        None => (inside, None),
    };
    let address: Ipv6Addr = address.parse().map_err(|_| AddressError::NotIpv6(inside.to_owned()))?;
    let zone = zone.map(|zone| zone.parse().map_or_else(|_| Zone::Name(zone.to_owned()), Zone::Index));
    let zone = zone.filter(|zone| *zone != Zone::Index(0));
    // Without a zone, the operating system refuses the address, because the same address exists on every interface.
    if zone.is_none() && address.is_unicast_link_local() {
        return Err(AddressError::NoZone(address));
    }
    Ok(Host::V6(address, zone))
}

/// Parses a name or an IPv4 address.
fn unbracketed(host: &str) -> Result<Host, AddressError> {
    if host.is_empty() {
        return Err(AddressError::NoHost);
    }
    if host == "*" {
        return Err(AddressError::Wildcard);
    }
    if host.contains('%') {
        return Err(AddressError::ZoneOfOther);
    }
    if let Ok(address) = host.parse() {
        return Ok(Host::V4(address));
    }
    // If the last part is a number, the text is not a name, because no top-level domain is a number. Resolvers would read
    // it as an address in an old notation, such as 10.1 for 10.0.0.1, or 010.0.0.1 for 8.0.0.1.
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AddressError::NotIpv4(host.to_owned()));
    }
    // Names that are not ASCII are left to the resolver.
    let allowed = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if let Some(character) = host.chars().find(|c| !allowed(*c)) {
        return Err(AddressError::Character(character));
    }
    if host.len() > MAX_NAME {
        return Err(AddressError::NameTooLong(host.len()));
    }
    Ok(Host::Name(host.to_owned()))
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    if text.is_empty() {
        return Err(AddressError::NoPort);
    }
    // The standard library would also accept a sign, such as `+9999`.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AddressError::PortNotANumber(text.to_owned()));
    }
    text.parse().map_err(|_| AddressError::PortTooLarge(text.to_owned()))
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{port}"),
            Host::V4(ip) => write!(f, "{ip}:{port}"),
            Host::V6(ip, None) => write!(f, "[{ip}]:{port}"),
            Host::V6(ip, Some(Zone::Index(zone))) => write!(f, "[{ip}%{zone}]:{port}"),
            Host::V6(ip, Some(Zone::Name(zone))) => write!(f, "[{ip}%{zone}]:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<HostPort, AddressError> {
        text.parse()
    }

    #[test]
    fn every_notation_is_read_and_written() {
        for text in [
            "127.0.0.1:9999",
            "zeek.example.org:0",
            "zeek_1.local.:9999",
            "m\u{fc}nchen.example:1",
            "[::1]:2151",
            "[::ffff:127.0.0.1]:1",
            "[fe80::1%2]:1",
            "[fe80::1%eth0]:1",
            "[::1%lo]:65535",
            "localhost:65535",
        ] {
            assert_eq!(parse(text).map(|address| address.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn every_error_has_its_own_message() {
        use AddressError as E;
        let text = |text: &str| text.to_owned();
        let errors = [
            ("", E::Empty),
            ("local host:9", E::WhiteSpace),
            ("tcp://localhost:9", E::Scheme(text("tcp://"))),
            ("zeek@localhost:9", E::User),
            ("localhost:9/tcp", E::Path(text("/tcp"))),
            ("a:1,b:2", E::List),
            (":9999", E::NoHost),
            ("*:9999", E::Wildcard),
            ("localhost", E::NoPort),
            ("localhost:zeek", E::PortNotANumber(text("zeek"))),
            ("localhost:65536", E::PortTooLarge(text("65536"))),
            ("::1:9999", E::NoBrackets),
            ("a:b:x", E::TooManyColons),
            ("[::1:9", E::Brackets),
            ("[localhost]:9", E::NotIpv6(text("localhost"))),
            ("[fe80::1%]:9", E::EmptyZone),
            ("[fe80::1]:9", E::NoZone(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1))),
            ("10.0.0.1%eth0:9", E::ZoneOfOther),
            ("256.0.0.1:9", E::NotIpv4(text("256.0.0.1"))),
            ("ho$t:9", E::Character('$')),
        ];
        let mut messages = std::collections::BTreeSet::new();
        for (text, error) in errors {
            assert_eq!(parse(text), Err(error.clone()), "{text}");
            assert!(messages.insert(error.to_string()), "{text}: {error}");
        }
        for (text, error) in [
            ("\u{0}:9", E::WhiteSpace),
            (" 127.0.0.1:9", E::WhiteSpace),
            ("9999", E::NoHost),
            ("localhost:", E::NoPort),
            ("[::1]", E::NoPort),
            ("[::1]:", E::NoPort),
            ("127.0.0.1:+9", E::PortNotANumber(text("+9"))),
            ("localhost:-1", E::PortNotANumber(text("-1"))),
            ("2001:db8::1", E::NoBrackets),
            ("fe80::1%eth0:9", E::NoBrackets),
            ("[]:9", E::Brackets),
            ("[::1]9", E::Brackets),
            ("::1]:9", E::Brackets),
            ("a[::1]:9", E::Brackets),
            ("[127.0.0.1]:9", E::NotIpv6(text("127.0.0.1"))),
            ("010.0.0.1:9", E::NotIpv4(text("010.0.0.1"))),
            ("10.1:9", E::NotIpv4(text("10.1"))),
            ("[fe80::1%0]:9", E::NoZone(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1))),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
        let long = "x".repeat(MAX_NAME + 1);
        assert_eq!(parse(&format!("{long}:9")), Err(E::NameTooLong(MAX_NAME + 1)));
        assert_eq!(HostPort::to_connect("localhost:0"), Err(E::PortZero));
    }

    #[test]
    fn a_zone_is_a_network_interface_of_this_host() {
        let resolve = |text: &str| parse(text).unwrap().resolve();
        let expected = SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), 9, 0, 7).into();
        assert_eq!(resolve("[fe80::1%7]:9").unwrap(), [expected]);
        let error = resolve("[fe80::1%nowhere]:9").unwrap_err();
        assert!(matches!(&error, ResolveError::Zone(zone) if zone == "nowhere"), "{error}");
        // `lo` is the name of the loopback interface on Linux, if there is one.
        if let Ok(index) = std::fs::read_to_string("/sys/class/net/lo/ifindex") {
            let SocketAddr::V6(address) = resolve("[fe80::1%lo]:9").unwrap()[0] else { panic!("not IPv6") };
            assert_eq!(address.scope_id().to_string(), index.trim());
        }
    }

    #[test]
    fn loopback_names_and_addresses_are_recognized() {
        let is_loopback = |text| parse(text).unwrap().is_loopback();
        for yes in ["localhost:1", "LOCALHOST.:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in ["localhost.example:1", "0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[fe80::1%lo]:1"] {
            assert!(!is_loopback(no), "{no}");
        }
    }
}
