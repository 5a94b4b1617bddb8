//! Conversion of arguments to an address.

use std::borrow::Cow;
use std::fmt::Display;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

use super::{HostPort, Url};

/// Types that can be the address of a peer or a listener:
///
/// - text in the format of [`Url`], which is `host:port` in the simplest case;
/// - a pair of a host and a port;
/// - the socket addresses of the standard library.
///
/// The address is not checked here. If it is invalid, the call that connects or listens returns the error.
///
/// ```
/// use std::net::{Ipv6Addr, SocketAddr};
/// use zeek_bridge::net::ToAddress;
///
/// assert_eq!("localhost:9999".to_address(), "localhost:9999");
/// assert_eq!(("localhost", 9999).to_address(), "localhost:9999");
/// assert_eq!((Ipv6Addr::LOCALHOST, 9999).to_address(), "[::1]:9999");
/// assert_eq!(SocketAddr::from(([127, 0, 0, 1], 9999)).to_address(), "127.0.0.1:9999");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an address",
    note = "use text such as \"127.0.0.1:9999\", a pair such as (\"localhost\", 9999), or a `SocketAddr`"
)]
pub trait ToAddress {
    /// Returns the address as text: `host:port`, or a URL.
    fn to_address(&self) -> Cow<'_, str>;
}

impl ToAddress for str {
    fn to_address(&self) -> Cow<'_, str> {
        self.into()
    }
}

impl ToAddress for String {
    fn to_address(&self) -> Cow<'_, str> {
        self.into()
    }
}

impl<A: ToAddress + ?Sized> ToAddress for &A {
    fn to_address(&self) -> Cow<'_, str> {
        (**self).to_address()
    }
}

/// A host name or an IP address, and a port.
impl<H: Display> ToAddress for (H, u16) {
    fn to_address(&self) -> Cow<'_, str> {
        let (host, port) = self;
        let host = host.to_string();
        let is_bare_ipv6 = host.contains(':') && !host.starts_with('[');
        if is_bare_ipv6 { format!("[{host}]:{port}").into() } else { format!("{host}:{port}").into() }
    }
}

/// Implements the conversion of a type whose `Display` text is an address.
macro_rules! text {
    ($($type:ty),*) => {$(
        impl ToAddress for $type {
            fn to_address(&self) -> Cow<'_, str> {
                self.to_string().into()
            }
        }
    )*};
}

text!(HostPort, Url, SocketAddr, SocketAddrV4, SocketAddrV6);

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn every_form_is_an_address_that_can_be_parsed() {
        let v6 = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        let forms: [(&dyn ToAddress, &str); 13] = [
            (&"zeek.example:9999", "zeek.example:9999"),
            (&"zeek.example:9999".to_owned(), "zeek.example:9999"),
            (&("zeek.example", 9999), "zeek.example:9999"),
            (&("zeek.example".to_owned(), 9999), "zeek.example:9999"),
            (&("::1", 9999), "[::1]:9999"),
            (&("[::1]", 9999), "[::1]:9999"),
            (&("fe80::1%7", 9999), "[fe80::1%7]:9999"),
            (&(Ipv4Addr::LOCALHOST, 9999), "127.0.0.1:9999"),
            (&(IpAddr::V6(Ipv6Addr::LOCALHOST), 9999), "[::1]:9999"),
            (&SocketAddr::from((Ipv6Addr::LOCALHOST, 9999)), "[::1]:9999"),
            (&SocketAddrV6::new(v6, 9999, 0, 7), "[fe80::1%7]:9999"),
            (&"[fe80::1%7]:9999".parse::<HostPort>().unwrap(), "[fe80::1%7]:9999"),
            (&"ws://[::1]:9999/v1/messages/json".parse::<Url>().unwrap(), "ws://[::1]:9999"),
        ];
        for (form, text) in forms {
            assert_eq!(form.to_address(), text);
            assert_eq!(text.parse::<Url>().unwrap().to_string(), text);
        }
    }
}
