//! Why a text is not an address.

use std::net::Ipv6Addr;

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The text is empty.
    #[error("the address is empty; give HOST:PORT, such as 127.0.0.1:9999 or [::1]:9999")]
    Empty,
    /// The text contains white space or a control character.
    #[error("the address contains white space or a control character; give HOST:PORT without any")]
    WhiteSpace,
    /// `tcp://host:9999`
    #[error("the address starts with a scheme, {0:?}; give HOST:PORT without it")]
    Scheme(String),
    /// `tcp://host:9999`, where a URL is allowed.
    #[error(
        "unknown scheme {0:?}; use HOST:PORT for Broker, ws:// or wss:// for the WebSocket API, or zeromq:// for ZeroMQ"
    )]
    UnknownScheme(String),
    /// `user@host:9999`
    #[error("the address contains a user name; give HOST:PORT without it")]
    User,
    /// `ws://user:password@host:9999`
    #[error("the URL contains a user name or a password; remove it, and use a token in a file instead")]
    Credentials,
    /// `ws://host:9999/path`
    #[error("the path {0:?} is not that of the WebSocket API, version 1; use /v1/messages/json, or no path")]
    UnknownPath(String),
    /// `ws://host:9999?query`, `ws://host:9999#fragment`
    #[error("the URL ends with {0:?}; remove it")]
    Query(String),
    /// `host:9999/path`, and `host:9999/tcp` as Zeek writes ports.
    #[error("the address ends with {0:?}; give HOST:PORT without it")]
    Path(String),
    /// `a:1,b:2`
    #[error("the address contains a comma; give one HOST:PORT at a time")]
    List,
    /// `:9999`
    #[error(
        "there is no host before the port; give HOST:PORT, such as 127.0.0.1:9999 or [::1]:9999 \
         (to listen on all addresses, 0.0.0.0 or [::])"
    )]
    NoHost,
    /// `*:9999`
    #[error("* is not a host; to listen on all addresses, give 0.0.0.0 or [::]")]
    Wildcard,
    /// `localhost`, `localhost:`
    #[error("there is no port; give HOST:PORT, such as 127.0.0.1:9999 or [::1]:9999")]
    NoPort,
    /// `localhost:zeek`
    #[error("{0:?} is not a port; give HOST:PORT with a number from 0 to 65535 for the port")]
    PortNotANumber(String),
    /// `localhost:65536`
    #[error("port {0} is too large; give HOST:PORT with a port from 0 to 65535")]
    PortTooLarge(String),
    /// `localhost:0`, for a connection.
    #[error("port 0 is not valid for a connection; use the port that the peer listens on")]
    PortZero,
    /// `::1:9999`
    #[error("an IPv6 address must be in brackets; give [ADDRESS]:PORT, such as [::1]:9999")]
    NoBrackets,
    /// `a:b:9999`
    #[error("there is more than one colon; give HOST:PORT, such as 127.0.0.1:9999 or [::1]:9999")]
    TooManyColons,
    /// `[::1:9999`, `::1]:9999`, `[]:9999`, `[::1]9999`
    #[error("the brackets are wrong; give [ADDRESS]:PORT, such as [::1]:9999")]
    Brackets,
    /// `[localhost]:9999`
    #[error(
        "{0:?} is not an IPv6 address, and only an IPv6 address can be in brackets; give HOST:PORT without them"
    )]
    NotIpv6(String),
    /// A `ws://` URL with TLS.
    #[error("ws:// is without TLS, but TLS is configured; use wss:// for TLS")]
    PlainUrl,
    /// `zeromq://host:65535`
    #[error(
        "port 65535 has no next port for the XSUB of the proxy; give both ports, such as zeromq://HOST:65535,5556"
    )]
    NoSecondPort,
    /// `zeromq://host:5555,x`
    #[error(
        "{0:?} is not the port of the proxy's XSUB; give zeromq://HOST:XPUB,XSUB with two numbers from 0 to 65535"
    )]
    SecondPort(String),
    /// `zeromq://host:5555,5555`
    #[error("the XPUB and the XSUB of the proxy cannot have the same port, {0}; give the port of each")]
    SamePort(u16),
    /// A `zeromq://` URL for a listener that does not speak ZeroMQ, or that has only one socket.
    #[error("cannot listen on zeromq:// here; connect to the proxy of the cluster instead")]
    ListenZeroMq,
    /// An address to receive logs that is not a `zeromq://` URL with one port.
    #[error("logs of a ZeroMQ cluster are received at one port; give zeromq://HOST:PORT")]
    NoLogger,
    /// A `zeromq://` URL with TLS.
    #[error("zeromq:// is without TLS, because Zeek's ZeroMQ back end does not use it; turn TLS off")]
    TlsOfZeroMq,
    /// A `wss://` URL without TLS, or with anonymous TLS.
    #[error("wss:// is with TLS, but no certificates are configured; use ws:// without TLS")]
    SecureUrl,
    /// The host of a `wss://` URL is not a name that a certificate can contain.
    #[error(
        "no certificate can contain the host {0:?}; use the DNS name (of an international name, the form with xn--), or verify a \
         different name"
    )]
    NotInCertificates(String),
    /// A Broker address with TLS in which only the server has a certificate.
    #[error(
        "Broker's TLS needs certificates on both sides; set a certificate, its key, and the CA certificates"
    )]
    OneSided,
    /// `[fe80::1%]:9999`
    #[error("there is no zone after %; give the network interface, such as [fe80::1%eth0]:9999")]
    EmptyZone,
    /// `[fe80::1]:9999`
    #[error("the link-local address {0} needs a zone; give the network interface, such as [{0}%eth0]:9999")]
    NoZone(Ipv6Addr),
    /// `10.0.0.1%eth0:9999`
    #[error("only an IPv6 address in brackets can have a zone (%); give HOST:PORT without it")]
    ZoneOfOther,
    /// `256.0.0.1:9999`
    #[error(
        "{0} is not an IPv4 address; give four numbers from 0 to 255 without leading zeros, or a host name"
    )]
    NotIpv4(String),
    /// `ho$t:9999`
    #[error("the host contains {0:?}, which a host name cannot contain; check the name")]
    Character(char),
    /// A name of more than 253 bytes.
    #[error("the host name has {0} bytes, and a host name has at most 253; check the name")]
    NameTooLong(usize),
}
