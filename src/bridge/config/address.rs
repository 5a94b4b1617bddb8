//! Compares the addresses of a configuration without resolving names.

use std::net::IpAddr;

use crate::net::{HostPort, Url};

/// Returns whether two listeners on these addresses would conflict.
pub(super) fn collide(one: &str, other: &str) -> bool {
    any_pair(one, other, sockets_collide)
}

/// Returns whether the condition is true for any pair of sockets, one of each address. A `zeromq://` address has two sockets.
fn any_pair(one: &str, other: &str, condition: impl Fn(&HostPort, &HostPort) -> bool) -> bool {
    let (Ok(one), Ok(other)) = (one.parse::<Url>(), other.parse::<Url>()) else { return false };
    let others = other.sockets();
    one.sockets().iter().any(|one| others.iter().any(|other| condition(one, other)))
}

fn sockets_collide(one: &HostPort, other: &HostPort) -> bool {
    // The system chooses a free port for each port 0.
    if one.port() != other.port() || one.port() == 0 {
        return false;
    }
    match (one.ip(), other.ip()) {
        // The same link-local address may be on several interfaces, each with its zone.
        (Some(ip), Some(other_ip)) if ip == other_ip => one == other || !ip.is_ipv6(),
        (Some(one), Some(other)) => ips_collide(one, other),
        _ => one.to_string().eq_ignore_ascii_case(&other.to_string()),
    }
}

fn ips_collide(one: IpAddr, other: IpAddr) -> bool {
    one == other || (one.is_ipv4() == other.is_ipv4() && (one.is_unspecified() || other.is_unspecified()))
}

/// Returns whether a connection to `target` probably reaches a listener on `address` of this host.
pub(super) fn reaches(target: &str, address: &str) -> bool {
    any_pair(target, address, |target, address| {
        let listens_everywhere = address.ip().is_some_and(|ip| ip.is_unspecified());
        sockets_collide(target, address)
            || target.is_loopback() && target.port() == address.port() && listens_everywhere
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_on_overlapping_addresses_collide() {
        for (one, other, expected) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "ws://127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("zeromq://127.0.0.1:5555", "127.0.0.1:5555", true),
            ("zeromq://127.0.0.1:5555", "127.0.0.1:5556", true),
            ("zeromq://127.0.0.1:5555", "zeromq://127.0.0.1:5556", true),
            ("zeromq://127.0.0.1:5555,7", "zeromq://127.0.0.1:5556", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("127.0.0.1:1", "0.0.0.0:1", true),
            ("[::1]:1", "[::]:1", true),
            ("[::1]:1", "0.0.0.0:1", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("Localhost:1", "localhost:1", true),
            ("a.example:1", "b.example:1", false),
            ("[fe80::1%eth0]:1", "[fe80::1%eth0]:1", true),
            ("[fe80::1%eth0]:1", "[fe80::1%eth1]:1", false),
            ("[fe80::1%eth0]:1", "[::]:1", true),
        ] {
            assert_eq!(collide(one, other), expected, "{one} {other}");
            assert_eq!(collide(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn loopback_reaches_a_listener_on_all_addresses() {
        assert!(reaches("localhost:5", "0.0.0.0:5") && reaches("127.0.0.1:5", "127.0.0.1:5"));
        assert!(!reaches("localhost:5", "0.0.0.0:6") && !reaches("10.0.0.1:5", "127.0.0.1:5"));
    }
}
