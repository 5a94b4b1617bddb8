//! Addresses, as far as they can be understood without asking for names.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// Checks that `text` is `host:port`: a name or an IPv4 address, or an IPv6 address in brackets, and the number of a port.
/// Names are not looked up.
///
/// # Errors
/// What is wrong with it, and an example.
pub fn host_port(text: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what}; give HOST:PORT, such as 127.0.0.1:9999 or [::1]:9999"));
    let Some((host, port)) = text.rsplit_once(':') else {
        return wrong("there is no port");
    };
    if host.is_empty() {
        return wrong("there is no host");
    }
    if port.is_empty() || !port.bytes().all(|digit| digit.is_ascii_digit()) || port.parse::<u16>().is_err() {
        return wrong("the port is not a number from 0 to 65535");
    }
    if host.contains(['[', ']', ':']) {
        return match text.parse::<SocketAddrV6>() {
            Ok(_) => Ok(()),
            Err(_) => wrong("only an IPv6 address, and nothing else, stands in brackets"),
        };
    }
    if host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return wrong("white space stands in the host");
    }
    Ok(())
}

/// The host and the port of what [`host_port`] takes.
fn split(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    Some((host, port.parse().ok()?))
}

/// Whether nobody can be reached there: that is what port 0 means for one who connects.
pub(super) fn is_port_0(text: &str) -> bool {
    split(text).is_some_and(|(_, port)| port == 0)
}

/// Whether what goes there stays on this host.
pub(super) fn is_loopback(text: &str) -> bool {
    match text.parse::<SocketAddr>() {
        Ok(address) => address.ip().to_canonical().is_loopback(),
        Err(_) => {
            split(text).is_some_and(|(host, _)| host.trim_end_matches('.').eq_ignore_ascii_case("localhost"))
        }
    }
}

/// Whether two cannot be listened on at once.
pub(super) fn collide(one: &str, other: &str) -> bool {
    // The system chooses a port for each.
    if is_port_0(one) || is_port_0(other) {
        return false;
    }
    match (one.parse::<SocketAddr>(), other.parse::<SocketAddr>()) {
        (Ok(one), Ok(other)) => one.port() == other.port() && ips_collide(one.ip(), other.ip()),
        _ => one.eq_ignore_ascii_case(other),
    }
}

fn ips_collide(one: IpAddr, other: IpAddr) -> bool {
    one == other || (one.is_ipv4() == other.is_ipv4() && (one.is_unspecified() || other.is_unspecified()))
}

/// Whether one who connects to `target` may well reach one who listens on `address`, both on this host.
pub(super) fn reaches(target: &str, address: &str) -> bool {
    collide(target, address)
        || (is_loopback(target)
            && split(target).map(|(_, port)| port) == split(address).map(|(_, port)| port)
            && address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_unspecified()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_collide_that_cannot_both_be_listened_on() {
        for (one, other, expected) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("127.0.0.1:1", "0.0.0.0:1", true),
            ("[::1]:1", "[::]:1", true),
            ("[::1]:1", "0.0.0.0:1", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("Localhost:1", "localhost:1", true),
            ("a.example:1", "b.example:1", false),
        ] {
            assert_eq!(collide(one, other), expected, "{one} {other}");
            assert_eq!(collide(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn loopback_is_known_by_name_and_by_number() {
        for yes in ["localhost:1", "LOCALHOST.:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in ["localhost.example:1", "0.0.0.0:1", "[::]:1", "10.0.0.1:1"] {
            assert!(!is_loopback(no), "{no}");
        }
        assert!(reaches("localhost:5", "0.0.0.0:5") && reaches("127.0.0.1:5", "127.0.0.1:5"));
        assert!(!reaches("localhost:5", "0.0.0.0:6") && !reaches("10.0.0.1:5", "127.0.0.1:5"));
    }
}
