//! Who a rule or a link is for, by certificate.

use super::super::config::IdentityPattern;
use crate::net::tls::{PeerIdentity, SubjectAltName};

impl IdentityPattern {
    /// Whether this is the peer's certificate, or one of its names. Case counts.
    #[must_use]
    pub(crate) fn matches(&self, identity: &PeerIdentity) -> bool {
        match self {
            IdentityPattern::Subject(glob) => glob.matches(&identity.subject),
            IdentityPattern::San(glob) => {
                identity.sans.iter().any(|name| is_identity(name) && glob.matches(&name.to_string()))
            }
            IdentityPattern::Sha256(hash) => identity.sha256 == *hash,
        }
    }

    /// Whether a peer is allowed by these: if there are none, everybody is; else who showed a certificate
    /// that one of them matches.
    #[must_use]
    pub(crate) fn allow(patterns: &[Self], identity: Option<&PeerIdentity>) -> bool {
        patterns.is_empty()
            || identity.is_some_and(|identity| patterns.iter().any(|pattern| pattern.matches(identity)))
    }
}

/// Whether a name in a certificate names one holder. A dNSName does only if it is a host name: NUL, control characters
/// and what is not ASCII are attempts to look like another name, and a wildcard (`*.x`) is any host of a domain, so that
/// it must not pass for one of them.
fn is_identity(name: &SubjectAltName) -> bool {
    match name {
        SubjectAltName::Dns(name) => is_host_name(name),
        _ => true,
    }
}

/// Letters, digits, hyphens and the underscores that sites use.
fn is_host_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str) -> PeerIdentity {
        PeerIdentity { sans: vec![SubjectAltName::Dns(name.to_owned())], ..PeerIdentity::of(&[]) }
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
