//! Parses patterns for identities.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

use super::schema::{Glob, IdentityPattern};
use super::suggest::suggestion;
use crate::data::{Address, Subnet};

/// A text that is not an [`IdentityPattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidIdentity {
    /// The text does not begin with a kind of identity, such as `DNS:`.
    #[error("{0:?} does not begin with a kind of identity")]
    NoKind(String),
    /// The text begins with an unknown kind of identity.
    #[error("unknown kind of identity {0:?}")]
    UnknownKind(String),
    /// There is no pattern after the colon.
    #[error("the pattern after {0:?} is empty")]
    EmptyPattern(String),
    /// The text is not a SHA-256 hash.
    #[error("{0:?} is not a SHA-256 hash, which has 64 hexadecimal digits")]
    InvalidHash(String),
    /// The text is neither an IP address nor a pattern.
    #[error("{0:?} is not an IP address")]
    InvalidAddress(String),
    /// The text is neither an IP address nor a network.
    #[error("{0:?} is not an IP address or a network")]
    InvalidNetwork(String),
    /// The address of a network has bits after the prefix.
    #[error("{text:?} is an address in the network {network}")]
    HostBits {
        /// The text after `address:`.
        text: String,
        /// The network.
        network: Subnet,
    },
    /// The pattern contains a character that no host name has.
    #[error("{0:?} cannot match a host name, which consists of letters, digits, `-`, `_` and `.`")]
    InvalidHostName(String),
}

impl InvalidIdentity {
    /// Returns how to fix it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            InvalidIdentity::NoKind(text) if text.contains('=') => {
                format!("use \"subject:{}\"", text.escape_debug())
            }
            InvalidIdentity::NoKind(_) => {
                "use \"subject:GLOB\", \"DNS:GLOB\", \"IP:GLOB\", \"email:GLOB\", \"URI:GLOB\", \"DirName:GLOB\", \
                 \"sha256:HEX\", \"token:NAME\", \"curve:NAME\" or \"address:IP/BITS\""
                    .to_owned()
            }
            InvalidIdentity::UnknownKind(kind) => {
                suggestion(kind, ["subject", "sha256", "token", "curve", "address"].into_iter().chain(SAN_KINDS))
            }
            InvalidIdentity::EmptyPattern(kind) => {
                format!("use a name, or a pattern such as \"{}*\"", kind.escape_debug())
            }
            InvalidIdentity::InvalidHash(_) => {
                "use the output of `openssl x509 -in CERTIFICATE -noout -fingerprint -sha256`".to_owned()
            }
            InvalidIdentity::InvalidAddress(_) => "use an IP address, or a pattern such as 192.0.2.*".to_owned(),
            InvalidIdentity::InvalidNetwork(_) => {
                "use an IP address such as \"address:192.0.2.1\", or a network such as \"address:192.0.2.0/24\"".to_owned()
            }
            InvalidIdentity::HostBits { network, .. } => {
                format!("use \"address:{network}\", or remove the length for this address only")
            }
            InvalidIdentity::InvalidHostName(_) => {
                "use a name or a pattern such as \"DNS:*.example\" (certificates contain the ASCII form of an \
                 internationalized name: xn--...)"
                    .to_owned()
            }
        }
    }
}

/// The kinds of subjectAltNames, as [`SubjectAltName`](crate::net::tls::SubjectAltName) shows them.
const SAN_KINDS: [&str; 5] = ["DNS", "IP", "email", "URI", "DirName"];

impl FromStr for IdentityPattern {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        // A subject without its prefix may contain a colon (`CN=a:b`).
        let (kind, pattern) = text
            .split_once(':')
            .filter(|(kind, _)| !kind.contains('='))
            .ok_or_else(|| InvalidIdentity::NoKind(text.to_owned()))?;
        if kind == "sha256" {
            let hex: String = pattern.chars().filter(|letter| *letter != ':').collect();
            let hash = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok();
            return hash
                .and_then(|hash| <[u8; 32]>::try_from(hash).ok())
                .map(IdentityPattern::Sha256)
                .ok_or_else(|| InvalidIdentity::InvalidHash(pattern.to_owned()));
        }
        if pattern.is_empty() {
            return Err(InvalidIdentity::EmptyPattern(text.to_owned()));
        }
        let is_glob = pattern.contains(['*', '?']);
        match kind {
            "subject" => Ok(IdentityPattern::Subject(Glob::new(pattern))),
            "token" => Ok(IdentityPattern::Token(Glob::new(pattern))),
            "curve" => Ok(IdentityPattern::Curve(Glob::new(pattern))),
            "address" => network(pattern).map(IdentityPattern::Address),
            // Normalize the address: the pattern is compared with the text of the address in the certificate, which is
            // normalized, too.
            "IP" if !is_glob => match pattern.parse::<IpAddr>() {
                Ok(address) => Ok(IdentityPattern::San(Glob::new(&format!("IP:{address}")))),
                Err(_) => Err(InvalidIdentity::InvalidAddress(pattern.to_owned())),
            },
            "DNS" if !pattern.chars().all(is_host_name_or_glob) => {
                Err(InvalidIdentity::InvalidHostName(pattern.to_owned()))
            }
            "DNS" => Ok(IdentityPattern::San(Glob::new_case_insensitive(text))),
            kind if SAN_KINDS.contains(&kind) => Ok(IdentityPattern::San(Glob::new(text))),
            _ => Err(InvalidIdentity::UnknownKind(kind.to_owned())),
        }
    }
}

/// Parses an IP address or a network.
fn network(text: &str) -> Result<Subnet, InvalidIdentity> {
    let invalid = || InvalidIdentity::InvalidNetwork(text.to_owned());
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: Address = address.parse().map_err(|_| invalid())?;
    let length = match length {
        Some(length) => length.parse().map_err(|_| invalid())?,
        None => max_length(address),
    };
    let network = Subnet::new(address, length).map_err(|_| invalid())?;
    if network.network() == address {
        Ok(network)
    } else {
        Err(InvalidIdentity::HostBits { text: text.to_owned(), network })
    }
}

/// Returns the length of the prefix that contains only this address.
fn max_length(address: Address) -> u8 {
    if address.is_v4() { 32 } else { 128 }
}

fn is_host_name_or_glob(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | '*' | '?')
}

/// The text that [`IdentityPattern::from_str`] parses.
impl fmt::Display for IdentityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityPattern::Subject(glob) => write!(f, "subject:{glob}"),
            IdentityPattern::San(glob) => glob.fmt(f),
            IdentityPattern::Sha256(hash) => write!(f, "sha256:{}", HEXLOWER.encode(hash)),
            IdentityPattern::Token(glob) => write!(f, "token:{glob}"),
            IdentityPattern::Curve(glob) => write!(f, "curve:{glob}"),
            IdentityPattern::Address(network) if network.length() == max_length(network.network()) => {
                write!(f, "address:{}", network.network())
            }
            IdentityPattern::Address(network) => write!(f, "address:{network}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_parsed_and_displayed() {
        let hash = "00".repeat(31) + "fF";
        let colons = "00:".repeat(31) + "FF";
        for (text, shown) in [
            ("subject:CN=a:b,O=*", "subject:CN=a:b,O=*".to_owned()),
            ("DNS:*.example", "DNS:*.example".to_owned()),
            ("IP:2001:DB8::0001", "IP:2001:db8::1".to_owned()),
            ("IP:192.0.2.*", "IP:192.0.2.*".to_owned()),
            ("URI:spiffe://a/b", "URI:spiffe://a/b".to_owned()),
            ("token:soar-*", "token:soar-*".to_owned()),
            ("curve:worker-?", "curve:worker-?".to_owned()),
            ("address:192.0.2.1", "address:192.0.2.1".to_owned()),
            ("address:192.0.2.1/32", "address:192.0.2.1".to_owned()),
            ("address:10.0.0.0/8", "address:10.0.0.0/8".to_owned()),
            ("address:2001:DB8::/32", "address:2001:db8::/32".to_owned()),
            (&format!("sha256:{hash}"), format!("sha256:{}", hash.to_lowercase())),
            (&format!("sha256:{colons}"), format!("sha256:{}", hash.to_lowercase())),
        ] {
            let pattern: IdentityPattern = text.parse().unwrap();
            assert_eq!(pattern.to_string(), shown);
        }
        let IdentityPattern::San(glob) = "DNS:Node*.Example".parse().unwrap() else {
            panic!("not a SAN pattern")
        };
        assert!(glob.matches("DNS:node7.example"));
    }

    #[test]
    fn invalid_patterns_are_reported_with_a_hint() {
        for (text, expected) in [
            ("CN=worker-*", "use \"subject:CN=worker-*\""),
            ("CN=a:b", "use \"subject:CN=a:b\""),
            ("worker", "\"sha256:HEX\""),
            ("dns:a", "did you mean `DNS`?"),
            ("sha256:00", "64 hexadecimal digits"),
            ("sha256:", "64 hexadecimal digits"),
            ("subject:", "pattern after \"subject:\" is empty"),
            ("IP:300.1.1.1", "is not an IP address"),
            ("address:192.0.2.*", "is not an IP address or a network"),
            ("address:192.0.2.0/33", "is not an IP address or a network"),
            ("address:10.1.2.3/8", "use \"address:10.0.0.0/8\""),
            ("DNS:node\0.example", "cannot match a host name"),
            ("DNS:b\u{fc}cher.example", "xn--"),
            ("DNS:node .example", "cannot match a host name"),
        ] {
            let error = text.parse::<IdentityPattern>().unwrap_err();
            let error = format!("{error}; {}", error.hint());
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
