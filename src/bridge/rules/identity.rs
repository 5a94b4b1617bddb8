//! Who a rule or a link is for, by certificate.

use super::super::config::IdentityPattern;
use crate::net::tls::PeerIdentity;

impl IdentityPattern {
    /// Whether this is the peer's certificate, or one of its names. Case counts.
    #[must_use]
    pub fn matches(&self, identity: &PeerIdentity) -> bool {
        match self {
            IdentityPattern::Subject(glob) => glob.matches(&identity.subject),
            IdentityPattern::San(glob) => identity.sans.iter().any(|name| glob.matches(&name.to_string())),
            IdentityPattern::Sha256(hash) => identity.sha256 == *hash,
        }
    }

    /// Whether a peer is allowed by these: if there are none, everybody is; else who showed a certificate
    /// that one of them matches.
    #[must_use]
    pub fn allow(patterns: &[Self], identity: Option<&PeerIdentity>) -> bool {
        patterns.is_empty()
            || identity.is_some_and(|identity| patterns.iter().any(|pattern| pattern.matches(identity)))
    }
}
