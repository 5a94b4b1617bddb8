//! Matching of certificates and tokens with patterns.

use super::schema::IdentityPattern;
use crate::net::tls::{PeerIdentity, SubjectAltName};

impl IdentityPattern {
    /// Returns whether the pattern matches a certificate, or one of its names. Case-sensitive. A pattern for tokens matches
    /// no certificate.
    #[must_use]
    pub fn matches(&self, identity: &PeerIdentity) -> bool {
        match self {
            IdentityPattern::Subject(glob) => glob.matches(&identity.subject),
            IdentityPattern::San(glob) => {
                identity.sans.iter().any(|name| is_identity(name) && glob.matches(&name.to_string()))
            }
            IdentityPattern::Sha256(hash) => identity.sha256 == *hash,
            IdentityPattern::Token(_) => false,
        }
    }

    /// Returns whether the pattern matches the name of a token. Case-sensitive. Only a pattern for tokens does.
    #[must_use]
    pub fn matches_token(&self, name: &str) -> bool {
        matches!(self, IdentityPattern::Token(glob) if glob.matches(name))
    }

    /// Returns whether patterns allow a peer. An empty list allows every peer; otherwise, one of them has to match its
    /// certificate or the name of its token.
    #[must_use]
    pub fn allow(patterns: &[Self], identity: Option<&PeerIdentity>, token: Option<&str>) -> bool {
        let matches = |pattern: &Self| {
            identity.is_some_and(|identity| pattern.matches(identity))
                || token.is_some_and(|token| pattern.matches_token(token))
        };
        patterns.is_empty() || patterns.iter().any(matches)
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
