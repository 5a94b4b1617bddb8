//! Matching of peers with patterns for identities.

use super::schema::IdentityPattern;
use crate::data::Subnet;
use crate::endpoint::Candidate;
use crate::net::tls::{PeerIdentity, SubjectAltName};

impl IdentityPattern {
    /// Returns whether the pattern matches a certificate, or one of its names. Case-sensitive. Patterns for tokens, CURVE keys and
    /// addresses match no certificate.
    #[must_use]
    pub fn matches(&self, identity: &PeerIdentity) -> bool {
        match self {
            IdentityPattern::Subject(glob) => glob.matches(&identity.subject),
            IdentityPattern::San(glob) => {
                identity.sans.iter().any(|name| is_identity(name) && glob.matches(&name.to_string()))
            }
            IdentityPattern::Sha256(hash) => identity.sha256 == *hash,
            IdentityPattern::Token(_) | IdentityPattern::Curve(_) | IdentityPattern::Address(_) => false,
        }
    }

    /// Returns whether the pattern matches the name of a token. Case-sensitive. Only a pattern for tokens does.
    #[must_use]
    pub fn matches_token(&self, name: &str) -> bool {
        matches!(self, IdentityPattern::Token(glob) if glob.matches(name))
    }

    /// Returns whether the pattern matches the name of a CURVE key. Case-sensitive. Only a pattern for CURVE keys does.
    #[must_use]
    pub fn matches_curve(&self, name: &str) -> bool {
        matches!(self, IdentityPattern::Curve(glob) if glob.matches(name))
    }

    /// Returns whether the pattern matches a peer: its certificate, the name of its token or CURVE key, or its address.
    #[must_use]
    pub fn matches_peer(&self, peer: &Candidate<'_>) -> bool {
        let is_in = |network: &Subnet| {
            peer.address.is_some_and(|address| Subnet::new(address, network.length()) == Ok(*network))
        };
        peer.certificate.is_some_and(|certificate| self.matches(certificate))
            || peer.token.is_some_and(|token| self.matches_token(token))
            || peer.curve.is_some_and(|name| self.matches_curve(name))
            || matches!(self, IdentityPattern::Address(network) if is_in(network))
    }

    /// Returns whether patterns allow a peer. An empty list allows every peer; otherwise, one of them has to match.
    #[must_use]
    pub fn allow(patterns: &[Self], peer: &Candidate<'_>) -> bool {
        patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches_peer(peer))
    }
}

/// Returns whether a name in a certificate identifies a single holder. A dNSName does so only if it is a host name:
///
/// - NUL, control characters and characters beyond ASCII can make a name look like a different one.
/// - A wildcard (`*.x`) covers all hosts of a domain, so it must not match a pattern for one of these hosts.
fn is_identity(name: &SubjectAltName) -> bool {
    match name {
        SubjectAltName::Dns(name) => is_host_name(name),
        _ => true,
    }
}

/// Returns whether the name contains only letters, digits, hyphens, dots, and underscores, which some sites use.
fn is_host_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str) -> PeerIdentity {
        PeerIdentity { sans: vec![SubjectAltName::Dns(name.to_owned())], ..PeerIdentity::of(&[]) }
    }

    #[test]
    fn addresses_match_networks_of_the_same_family() {
        for (pattern, address, expected) in [
            ("address:192.0.2.1", "192.0.2.1", true),
            ("address:192.0.2.1", "::ffff:192.0.2.1", true),
            ("address:192.0.2.1", "192.0.2.2", false),
            ("address:10.0.0.0/8", "10.255.0.1", true),
            ("address:10.0.0.0/8", "11.0.0.1", false),
            ("address:0.0.0.0/0", "192.0.2.1", true),
            ("address:0.0.0.0/0", "2001:db8::1", false),
            ("address:::/0", "2001:db8::1", true),
            ("address:::/0", "192.0.2.1", false),
            ("address:2001:db8::/32", "2001:db8:1::1", true),
            ("address:2001:db8::/32", "2001:db9::1", false),
        ] {
            let pattern: IdentityPattern = pattern.parse().unwrap();
            let address = Some(address.parse().unwrap());
            let peer = Candidate { address, token: Some("t"), ..Candidate::default() };
            assert_eq!(pattern.matches_peer(&peer), expected, "{pattern} {address:?}");
            assert!(!pattern.matches_peer(&Candidate { address: None, ..peer }));
        }
    }

    #[test]
    fn names_of_tokens_and_of_curve_keys_are_different() {
        let [token, curve] = ["token:w*", "curve:w*"].map(|text| text.parse::<IdentityPattern>().unwrap());
        let by_token = Candidate { token: Some("w1"), ..Candidate::default() };
        let by_key = Candidate { curve: Some("w1"), ..Candidate::default() };
        assert!(token.matches_peer(&by_token) && curve.matches_peer(&by_key));
        assert!(!token.matches_peer(&by_key) && !curve.matches_peer(&by_token));
        assert!(
            !IdentityPattern::allow(std::slice::from_ref(&token), &by_key)
                && IdentityPattern::allow(&[], &by_key)
        );
        assert!(IdentityPattern::allow(&[token, curve], &by_key));
    }

    #[test]
    fn dns_patterns_match_host_names_only() {
        let pattern: IdentityPattern = "DNS:*.example".parse().unwrap();
        for name in ["node.example", "NODE-1.site.Example", "_zeek.example", "xn--bcher-kva.example"] {
            assert!(pattern.matches(&identity(name)), "{name}");
        }
        for name in [
            "*.example",
            "node*.example",
            "evil\0.example",
            "a\n.example",
            "b\u{fc}cher.example",
            "a b.example",
            "a/b.example",
            "\u{202e}.example",
            "a\\u{0}.example",
        ] {
            assert!(!pattern.matches(&identity(name)), "{name:?}");
        }
        let all: IdentityPattern = "DNS:*".parse().unwrap();
        assert!(!all.matches(&identity("")) && !all.matches(&identity("node\0")));
    }
}
