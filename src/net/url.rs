//! Addresses as URLs: the protocol, the host and the port.

use std::fmt;
use std::str::FromStr;

use tokio_rustls::rustls::pki_types::ServerName;

use super::address::HostPort;
use super::address_error::AddressError;
use super::tls::{MutualTls, ServerHost, Tls};

/// The path of Zeek's WebSocket API, version 1.
pub(crate) const API_PATH: &str = "/v1/messages/json";

/// The protocol that is spoken at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `broker://`, or no scheme: Broker's native protocol. The address does not tell whether it uses TLS.
    Broker,
    /// `ws://`: Zeek's WebSocket API without TLS.
    WebSocket,
    /// `wss://`: Zeek's WebSocket API over TLS.
    SecureWebSocket,
    /// `zeromq://`: the proxy of a cluster with Zeek's ZeroMQ back end.
    ZeroMq,
}

impl Scheme {
    const ALL: [Scheme; 4] = [Scheme::Broker, Scheme::WebSocket, Scheme::SecureWebSocket, Scheme::ZeroMq];

    /// Returns the name of the scheme, without `://`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Scheme::Broker => "broker",
            Scheme::WebSocket => "ws",
            Scheme::SecureWebSocket => "wss",
            Scheme::ZeroMq => "zeromq",
        }
    }

    /// Returns the scheme of an address whose other parts may be invalid. Without a known scheme, it is
    /// [`Scheme::Broker`].
    #[cfg_attr(not(feature = "bridge"), allow(dead_code, reason = "only the configuration uses it"))]
    pub(crate) fn of(text: &str) -> Self {
        let name = text.split_once("://").map_or("", |(name, _)| name);
        let mut known = Scheme::ALL.into_iter();
        known.find(|scheme| name.eq_ignore_ascii_case(scheme.name())).unwrap_or(Scheme::Broker)
    }

    /// Returns whether this is the WebSocket API, with or without TLS.
    #[must_use]
    pub const fn is_websocket(self) -> bool {
        matches!(self, Scheme::WebSocket | Scheme::SecureWebSocket)
    }
}

/// The address of an endpoint: `HOST:PORT` or `broker://HOST:PORT` for Broker, `ws://HOST:PORT` or `wss://HOST:PORT` for
/// the WebSocket API, `zeromq://HOST:PORT` for the proxy of a ZeroMQ cluster. Host and port are written as in [`HostPort`].
///
/// A proxy has two sockets. `PORT` is the port of its XPUB, and `PORT` + 1 that of its XSUB, as Zeek and `zeekctl` configure
/// them. If they are elsewhere, both ports are given: `zeromq://HOST:XPUB,XSUB`. To listen on two ports that the system chooses,
/// both are 0: `zeromq://HOST:0`.
///
/// A WebSocket URL may end with the path of the API, `/v1/messages/json`, which is also the default. A different path, a
/// query, a fragment, and a user name or password are errors.
///
/// Parsing checks the syntax only. `Display` writes the shortest form, without `broker://`, without a path, and without the
/// second port if it follows the first one.
///
/// ```
/// use zeek_bridge::net::{Scheme, Url};
///
/// let url: Url = "wss://zeek.example:27759/v1/messages/json".parse()?;
/// assert_eq!(url.scheme(), Scheme::SecureWebSocket);
/// assert_eq!(url.to_string(), "wss://zeek.example:27759");
/// assert_eq!("127.0.0.1:9999".parse::<Url>()?.scheme(), Scheme::Broker);
/// # Ok::<(), zeek_bridge::net::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    scheme: Scheme,
    host_port: HostPort,
    /// The port of the XSUB of a ZeroMQ proxy.
    xsub_port: Option<u16>,
}

impl Url {
    /// Parses an address to connect to: like [`str::parse`], but port 0 is an error.
    ///
    /// # Errors
    /// Returns the first error in the text.
    pub fn to_connect(text: &str) -> Result<Self, AddressError> {
        let url: Url = text.parse()?;
        let is_zero = url.host_port.port() == 0 || url.xsub_port == Some(0);
        if is_zero { Err(AddressError::PortZero) } else { Ok(url) }
    }

    /// Parses an address to listen on: the same as [`str::parse`]. The system chooses each port that is 0.
    ///
    /// # Errors
    /// Returns the first error in the text.
    pub fn to_listen(text: &str) -> Result<Self, AddressError> {
        text.parse()
    }

    /// Parses the address of a logger of a ZeroMQ cluster to listen on: `zeromq://HOST:PORT`, with one port.
    ///
    /// # Errors
    /// Returns the first error in the text.
    pub fn to_listen_for_logs(text: &str) -> Result<HostPort, AddressError> {
        let url = match text.parse::<Url>() {
            Ok(url) => url,
            // Port 65535 is valid for a logger. A proxy with this port would have no next port for its XSUB.
            Err(AddressError::NoSecondPort) => {
                let (_, address) = text.split_once("://").unwrap_or_default();
                return address.trim_end_matches('/').parse();
            }
            Err(error) => return Err(error),
        };
        let has_one_port = url.xsub_port.is_some() && url.xsub_port == second_port(url.host_port.port());
        if has_one_port { Ok(url.host_port) } else { Err(AddressError::NoLogger) }
    }

    /// Returns an address whose scheme is not [`Scheme::ZeroMq`].
    pub(crate) fn new(scheme: Scheme, host_port: impl Into<HostPort>) -> Self {
        Url { scheme, host_port: host_port.into(), xsub_port: None }
    }

    /// Returns the address of a ZeroMQ proxy.
    pub(crate) fn of_proxy(xpub: impl Into<HostPort>, xsub_port: u16) -> Self {
        Url { scheme: Scheme::ZeroMq, host_port: xpub.into(), xsub_port: Some(xsub_port) }
    }

    /// Checks that `tls` is possible with this scheme. The scheme decides whether the WebSocket API uses TLS. Anonymous TLS
    /// exists for Broker only.
    ///
    /// # Errors
    /// Fails if TLS is configured for `ws://` or `zeromq://`, if certificates are not configured for `wss://`, or if only one side
    /// has a certificate for Broker.
    pub fn check_tls(&self, tls: &Tls) -> Result<(), AddressError> {
        match (self.scheme, tls) {
            (Scheme::Broker, Tls::Server(_)) => Err(AddressError::OneSided),
            (Scheme::Broker, _) | (Scheme::WebSocket | Scheme::ZeroMq, Tls::Off) => Ok(()),
            (Scheme::ZeroMq, _) => Err(AddressError::TlsOfZeroMq),
            (Scheme::WebSocket, _) => Err(AddressError::PlainUrl),
            (Scheme::SecureWebSocket, Tls::Off | Tls::Anonymous(_)) => Err(AddressError::SecureUrl),
            (Scheme::SecureWebSocket, Tls::Mutual(_) | Tls::Server(_)) => Ok(()),
        }
    }

    /// Returns the host of a `wss://` URL. It is sent to the server (SNI), and the server's certificate must contain it, unless
    /// `tls` has a name to verify. The server receives a token and events, so a certificate for any other host of the CA is not
    /// enough. Other protocols have no such host.
    ///
    /// # Errors
    /// Fails if no certificate can contain the host, and `tls` has no name to verify.
    pub fn server_host(&self, tls: &Tls) -> Result<ServerHost, AddressError> {
        if self.scheme != Scheme::SecureWebSocket {
            return Ok(ServerHost::default());
        }
        let has_name = tls.certificates().is_some_and(MutualTls::verifies_name);
        let host = self.host_port.host();
        match ServerName::try_from(host.clone()) {
            Ok(name) => Ok(ServerHost(Some(name))),
            Err(_) if has_name => Ok(ServerHost::default()),
            Err(_) => Err(AddressError::NotInCertificates(host)),
        }
    }

    /// Returns the protocol.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the host and the port. For a `zeromq://` URL, this is the address of the proxy's XPUB.
    #[must_use]
    pub fn host_port(&self) -> &HostPort {
        &self.host_port
    }

    /// Returns the addresses of all sockets: two for a `zeromq://` URL, and one for other schemes.
    #[must_use]
    pub fn sockets(&self) -> Vec<HostPort> {
        [Some(self.host_port.clone()), self.xsub()].into_iter().flatten().collect()
    }

    /// Returns the address of the XPUB of a ZeroMQ proxy, where events are received. `None` for other schemes.
    #[must_use]
    pub fn xpub(&self) -> Option<HostPort> {
        self.xsub_port.map(|_| self.host_port.clone())
    }

    /// Returns the address of the XSUB of a ZeroMQ proxy, where events are published. `None` for other schemes.
    #[must_use]
    pub fn xsub(&self) -> Option<HostPort> {
        self.xsub_port.map(|port| self.host_port.with_port(port))
    }
}

impl FromStr for Url {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let Some((name, rest)) = text.split_once("://") else {
            return Ok(Url::new(Scheme::Broker, text.parse::<HostPort>()?));
        };
        // This is checked first, so that no other error contains a part of a password.
        if rest.contains('@') {
            return Err(AddressError::Credentials);
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(AddressError::WhiteSpace);
        }
        let scheme = Scheme::ALL.into_iter().find(|scheme| name.eq_ignore_ascii_case(scheme.name()));
        let Some(scheme) = scheme else { return Err(AddressError::UnknownScheme(format!("{name}://"))) };
        if let Some(at) = rest.find(['?', '#']) {
            return Err(AddressError::Query(rest.get(at..).unwrap_or_default().to_owned()));
        }
        let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default();
        // RFC 3986, section 6.2.3: an empty path is the same as "/".
        let is_known = matches!(path, "" | "/") || scheme.is_websocket() && path == API_PATH;
        if !is_known {
            let path = path.to_owned();
            return Err(if scheme.is_websocket() {
                AddressError::UnknownPath(path)
            } else {
                AddressError::Path(path)
            });
        }
        let address = rest.strip_suffix(path).unwrap_or(rest);
        match scheme {
            Scheme::ZeroMq => zeromq(address),
            scheme => Ok(Url::new(scheme, address.parse::<HostPort>()?)),
        }
    }
}

/// Parses `HOST:XPUB` or `HOST:XPUB,XSUB`.
fn zeromq(address: &str) -> Result<Url, AddressError> {
    let (host_port, xsub) = match address.split_once(',') {
        Some((host_port, xsub)) => (host_port, Some(xsub)),
        None => (address, None),
    };
    let host_port: HostPort = host_port.parse()?;
    let xpub_port = host_port.port();
    let xsub_port = match xsub {
        None => second_port(xpub_port).ok_or(AddressError::NoSecondPort)?,
        Some(text) => {
            let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            digits
                .and_then(|digits| digits.parse().ok())
                .ok_or_else(|| AddressError::SecondPort(text.to_owned()))?
        }
    };
    if xsub_port == xpub_port && xpub_port != 0 {
        return Err(AddressError::SamePort(xsub_port));
    }
    Ok(Url::of_proxy(host_port, xsub_port))
}

/// Returns the port of the XSUB of a proxy if only the port of its XPUB is given.
fn second_port(xpub_port: u16) -> Option<u16> {
    if xpub_port == 0 { Some(0) } else { xpub_port.checked_add(1) }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Broker => self.host_port.fmt(f),
            scheme => write!(f, "{}://{}", scheme.name(), self.host_port),
        }?;
        match self.xsub_port {
            Some(port) if second_port(self.host_port.port()) != Some(port) => write!(f, ",{port}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_selects_the_protocol() {
        for (text, scheme, shown) in [
            ("127.0.0.1:9999", Scheme::Broker, "127.0.0.1:9999"),
            ("broker://zeek.example:9999", Scheme::Broker, "zeek.example:9999"),
            ("BROKER://[::1]:9999/", Scheme::Broker, "[::1]:9999"),
            ("ws://127.0.0.1:27759", Scheme::WebSocket, "ws://127.0.0.1:27759"),
            ("ws://localhost:0/", Scheme::WebSocket, "ws://localhost:0"),
            ("Wss://[fe80::1%eth0]:1/v1/messages/json", Scheme::SecureWebSocket, "wss://[fe80::1%eth0]:1"),
            ("ZeroMQ://127.0.0.1:5555", Scheme::ZeroMq, "zeromq://127.0.0.1:5555"),
            ("zeromq://[::1]:5555,5556/", Scheme::ZeroMq, "zeromq://[::1]:5555"),
            ("zeromq://zeek.example:5556,5555", Scheme::ZeroMq, "zeromq://zeek.example:5556,5555"),
            ("zeromq://zeek.example:65535,1", Scheme::ZeroMq, "zeromq://zeek.example:65535,1"),
            ("zeromq://zeek.example:0,0", Scheme::ZeroMq, "zeromq://zeek.example:0"),
            ("zeromq://zeek.example:0,1", Scheme::ZeroMq, "zeromq://zeek.example:0,1"),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!((url.scheme(), url.to_string().as_str()), (scheme, shown), "{text}");
            assert_eq!(shown.parse::<Url>().unwrap(), url, "{text}");
        }
    }

    #[test]
    fn urls_with_other_parts_are_refused() {
        use AddressError as E;
        let text = |text: &str| text.to_owned();
        for (url, error) in [
            ("tcp://localhost:9", E::UnknownScheme(text("tcp://"))),
            ("://localhost:9", E::UnknownScheme(text("://"))),
            ("ws://soar:secret@localhost:9", E::Credentials),
            ("ws://soar:se/cret@localhost:9", E::Credentials),
            ("http://soar@localhost:9", E::Credentials),
            ("ws://localhost:9/v1/messages/json?token=x", E::Query(text("?token=x"))),
            ("wss://localhost:9#x", E::Query(text("#x"))),
            ("ws://localhost:9/v2/messages", E::UnknownPath(text("/v2/messages"))),
            ("ws://localhost:9//v1/messages/json", E::UnknownPath(text("//v1/messages/json"))),
            ("ws://localhost:9/v1/messages/json/", E::UnknownPath(text("/v1/messages/json/"))),
            ("broker://localhost:9/v1/messages/json", E::Path(text("/v1/messages/json"))),
            ("ws://localhost", E::NoPort),
            ("ws://local host:9", E::WhiteSpace),
            ("ws:///", E::Empty),
            ("localhost:9/tcp", E::Path(text("/tcp"))),
            ("zeromq://localhost", E::NoPort),
            ("zeromq://localhost:65535", E::NoSecondPort),
            ("zeromq://localhost:5555,", E::SecondPort(text(""))),
            ("zeromq://localhost:5555,+5556", E::SecondPort(text("+5556"))),
            ("zeromq://localhost:5555,65536", E::SecondPort(text("65536"))),
            ("zeromq://localhost:5555,5556,5557", E::SecondPort(text("5556,5557"))),
            ("zeromq://localhost:5555,localhost:5556", E::SecondPort(text("localhost:5556"))),
            ("zeromq://localhost:5555,5555", E::SamePort(5555)),
            ("zeromq://localhost:5555/x", E::Path(text("/x"))),
            ("ws://localhost:5555,5556", E::List),
        ] {
            assert_eq!(url.parse::<Url>(), Err(error), "{url}");
        }
        for zero in ["ws://localhost:0", "zeromq://localhost:0", "zeromq://localhost:1,0"] {
            assert_eq!(Url::to_connect(zero), Err(E::PortZero), "{zero}");
            assert!(Url::to_listen(zero).is_ok(), "{zero}");
        }
    }

    #[test]
    fn a_logger_has_one_port() {
        for (text, parsed) in [
            ("zeromq://127.0.0.1:0", Ok("127.0.0.1:0")),
            ("ZeroMQ://[::1]:65535/", Ok("[::1]:65535")),
            ("zeromq://127.0.0.1:1,3", Err(AddressError::NoLogger)),
            ("127.0.0.1:1", Err(AddressError::NoLogger)),
            ("ws://127.0.0.1:1", Err(AddressError::NoLogger)),
            ("zeromq://127.0.0.1", Err(AddressError::NoPort)),
        ] {
            let logger = Url::to_listen_for_logs(text).map(|logger| logger.to_string());
            assert_eq!(logger.as_deref(), parsed.as_ref().copied(), "{text}");
        }
    }

    #[test]
    fn a_zeromq_url_contains_the_addresses_of_both_sockets_of_the_proxy() {
        let sockets = |url: &str| {
            let url: Url = url.parse().unwrap();
            [url.xpub(), url.xsub()].map(|address| address.map(|address| address.to_string()))
        };
        let both = |xpub: &str, xsub: &str| [Some(xpub.to_owned()), Some(xsub.to_owned())];
        assert_eq!(sockets("zeromq://[::1]:5555"), both("[::1]:5555", "[::1]:5556"));
        assert_eq!(sockets("zeromq://zeek.example:2,1"), both("zeek.example:2", "zeek.example:1"));
        assert_eq!(sockets("ws://localhost:5555"), [None, None]);
    }

    #[test]
    fn zeromq_has_no_tls() {
        let url: Url = "zeromq://localhost:5555".parse().unwrap();
        assert_eq!(url.check_tls(&Tls::Off), Ok(()));
        #[cfg(feature = "openssl")]
        assert_eq!(url.check_tls(&Tls::anonymous().unwrap()), Err(AddressError::TlsOfZeroMq));
    }

    #[test]
    fn no_error_contains_a_password() {
        for text in ["ws://u:secret@h:1", "broker://u:se/secret@h:1", "x://u:secret@h", "ws://h:1/?secret@"] {
            let error = text.parse::<Url>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{text}: {error}");
        }
    }
}
