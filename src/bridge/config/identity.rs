//! Patterns for who a peer is, as text.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

use super::schema::{Glob, IdentityPattern};

/// A text that is no [`IdentityPattern`]: what is wrong, and what to give.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidIdentity(String);

/// The kinds of subjectAltNames, as they are shown.
const SAN_KINDS: [&str; 5] = ["DNS", "IP", "email", "URI", "DirName"];

impl FromStr for IdentityPattern {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        let invalid = |what: String| Err(InvalidIdentity(what));
        let Some((kind, pattern)) = text.split_once(':').filter(|(kind, _)| !kind.contains('=')) else {
            let mend = if text.contains('=') {
                format!("give \"subject:{}\"", text.escape_debug())
            } else {
                "give \"subject:GLOB\", \"DNS:GLOB\", \"IP:GLOB\", \"email:GLOB\", \"URI:GLOB\", \"DirName:GLOB\" or \
                 \"sha256:HEX\""
                    .to_owned()
            };
            return invalid(format!("{text:?} does not say what in a certificate is meant; {mend}"));
        };
        if kind == "sha256" {
            let hex: String = pattern.chars().filter(|letter| *letter != ':').collect();
            let hash = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok();
            return match hash.and_then(|hash| <[u8; 32]>::try_from(hash).ok()) {
                Some(hash) => Ok(IdentityPattern::Sha256(hash)),
                None => invalid(format!(
                    "a SHA-256 has 64 hexadecimal digits, and {pattern:?} is none; take what \
                     `openssl x509 -in CERTIFICATE -noout -fingerprint -sha256` says"
                )),
            };
        }
        if pattern.is_empty() {
            return invalid(format!(
                "nothing stands behind {text:?}; give a name, or a pattern such as \"{kind}:*\""
            ));
        }
        let is_glob = pattern.contains(['*', '?']);
        match kind {
            "subject" => Ok(IdentityPattern::Subject(Glob::new(pattern))),
            // As it is shown, or it would never match; and letters of names are alike, large or small.
            "IP" if !is_glob => match pattern.parse::<IpAddr>() {
                Ok(address) => Ok(IdentityPattern::San(Glob::new(&format!("IP:{address}")))),
                Err(_) => {
                    invalid(format!("{pattern:?} is no IP address; give one, or a pattern such as 192.0.2.*"))
                }
            },
            "DNS" if !pattern.chars().all(is_host_name_or_glob) => invalid(format!(
                "{pattern:?} can match no host name, which consists of letters, digits, `-`, `_` and `.`; give a name, or \
                 a pattern such as \"DNS:*.example\" (a name in other letters as certificates have it: xn--...)"
            )),
            "DNS" => Ok(IdentityPattern::San(Glob::new_case_insensitive(text))),
            kind if SAN_KINDS.contains(&kind) => Ok(IdentityPattern::San(Glob::new(text))),
            _ => {
                let kinds = ["subject", "sha256"].into_iter().chain(SAN_KINDS);
                let mend = super::suggest::instead(kind, kinds);
                invalid(format!("{kind:?} is nothing in a certificate; {mend}"))
            }
        }
    }
}

/// What a pattern for host names consists of.
fn is_host_name_or_glob(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | '*' | '?')
}

/// What [`IdentityPattern::from_str`] takes.
impl fmt::Display for IdentityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityPattern::Subject(glob) => write!(f, "subject:{glob}"),
            IdentityPattern::San(glob) => glob.fmt(f),
            IdentityPattern::Sha256(hash) => write!(f, "sha256:{}", HEXLOWER.encode(hash)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read_and_shown() {
        let hash = "00".repeat(31) + "fF";
        let colons = "00:".repeat(31) + "FF";
        for (text, shown) in [
            ("subject:CN=a:b,O=*", "subject:CN=a:b,O=*".to_owned()),
            ("DNS:*.example", "DNS:*.example".to_owned()),
            ("IP:2001:DB8::0001", "IP:2001:db8::1".to_owned()),
            ("IP:192.0.2.*", "IP:192.0.2.*".to_owned()),
            ("URI:spiffe://a/b", "URI:spiffe://a/b".to_owned()),
            (&format!("sha256:{hash}"), format!("sha256:{}", hash.to_lowercase())),
            (&format!("sha256:{colons}"), format!("sha256:{}", hash.to_lowercase())),
        ] {
            let pattern: IdentityPattern = text.parse().unwrap();
            assert_eq!(pattern.to_string(), shown);
        }
        let IdentityPattern::San(glob) = "DNS:Node*.Example".parse().unwrap() else { panic!("no name") };
        assert!(glob.matches("DNS:node7.example"));
    }

    #[test]
    fn what_is_none_is_told_the_mend() {
        for (text, words) in [
            ("CN=worker-*", "give \"subject:CN=worker-*\""),
            ("CN=a:b", "give \"subject:CN=a:b\""),
            ("worker", "\"sha256:HEX\""),
            ("dns:a", "did you mean `DNS`?"),
            ("sha256:00", "64 hexadecimal digits"),
            ("sha256:", "64 hexadecimal digits"),
            ("subject:", "nothing stands behind"),
            ("IP:300.1.1.1", "is no IP address"),
            ("DNS:node\0.example", "can match no host name"),
            ("DNS:b\u{fc}cher.example", "xn--"),
            ("DNS:node .example", "can match no host name"),
        ] {
            let error = text.parse::<IdentityPattern>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
