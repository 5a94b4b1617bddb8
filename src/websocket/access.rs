//! Access control: bearer tokens, and the origins and host names of requests (`PROTOCOL.md`, section 10).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use subtle::ConstantTimeEq;

/// The rules for the requests that a listener accepts. A change applies to new connections: pass a new `Access` to them.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The tokens. If there are any, each request must have one of them.
    pub tokens: Tokens,
    /// Origins that are allowed although they do not match the `Host` of the request, such as `https://soar.example:8443`.
    pub origins: Vec<String>,
    /// Whether the client connected to a loopback address. If so, the `Host` of a request must be an IP address, `localhost`,
    /// one of `hosts` or the host of one of `origins`. This prevents a web page from reaching the listener through a
    /// name that resolves to the loopback address (DNS rebinding).
    pub loopback: bool,
    /// Names, without a port, that are accepted as `Host` on a loopback address.
    pub hosts: Vec<String>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// The request has no token.
    #[error("the request has no bearer token")]
    NoToken,
    /// The request has a token that is not in the list.
    #[error("the bearer token is unknown")]
    UnknownToken,
    /// The `Origin` of the request does not match its `Host`, and is not listed.
    #[error(
        "the Origin does not match the Host and is not listed; the request may come from a web page of a different site"
    )]
    Origin,
    /// The `Host` of a request to a loopback address is the name of a different host.
    #[error("the Host is not a name of this host; a web page may have sent the request by DNS rebinding")]
    Host,
}

impl Denied {
    /// Returns whether the request lacks a valid token. The status of the response is then 401, and otherwise 403.
    pub(super) fn needs_token(self) -> bool {
        matches!(self, Denied::NoToken | Denied::UnknownToken)
    }
}

/// The properties of a request that determine whether the request is accepted.
#[derive(Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// The header `Host`.
    pub host: Option<&'a str>,
    /// The header `Origin`.
    pub origin: Option<&'a str>,
    /// The header `Authorization`. `Debug` does not write it.
    pub authorization: Option<&'a str>,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Credentials { host, origin, tls, .. } = self;
        let mut fields = f.debug_struct("Credentials");
        fields.field("host", host).field("origin", origin).field("tls", tls).finish_non_exhaustive()
    }
}

impl Access {
    /// Returns the name of the request's token. `None` if no token is needed.
    ///
    /// # Errors
    /// Fails if the request is refused.
    pub fn check(&self, request: &Credentials<'_>) -> Result<Option<Arc<str>>, Denied> {
        if self.loopback && !request.host.is_none_or(|host| self.is_own(host)) {
            return Err(Denied::Host);
        }
        if let Some(origin) = request.origin
            && !self.origins.iter().any(|listed| listed.trim_end_matches('/').eq_ignore_ascii_case(origin))
            && !request.host.is_some_and(|host| same_host(origin, host, request.tls))
        {
            return Err(Denied::Origin);
        }
        if self.tokens.is_empty() {
            return Ok(None);
        }
        let (scheme, secret) =
            request.authorization.and_then(|value| value.split_once(' ')).ok_or(Denied::NoToken)?;
        if !scheme.eq_ignore_ascii_case("Bearer") {
            return Err(Denied::NoToken);
        }
        self.tokens.name_of(secret.trim()).map(Some).ok_or(Denied::UnknownToken)
    }

    fn is_own(&self, host: &str) -> bool {
        let (name, _) = split_port(host);
        let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        literal.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|own| own.eq_ignore_ascii_case(name))
            || self
                .origins
                .iter()
                .any(|listed| host_of(listed).is_some_and(|own| own.eq_ignore_ascii_case(name)))
    }
}

/// Returns whether the host and port of an origin are those of a `Host` header. Both may omit the default
/// port. For an origin, it is the port of the scheme; for a `Host`, the port for a connection with or without TLS.
fn same_host(origin: &str, host: &str, tls: bool) -> bool {
    let Some((scheme, origin)) = origin.split_once("://") else { return false };
    let default = |secure| if secure { "443" } else { "80" };
    let secure = ["https", "wss"].iter().any(|secure| scheme.eq_ignore_ascii_case(secure));
    let (origin_name, origin_port) = split_port(origin);
    let (name, port) = split_port(host);
    !name.is_empty()
        && origin_name.eq_ignore_ascii_case(name)
        && origin_port.unwrap_or(default(secure)) == port.unwrap_or(default(tls))
}

/// Returns the host of an origin, without its port.
fn host_of(origin: &str) -> Option<&str> {
    let (_, authority) = origin.trim_end_matches('/').split_once("://")?;
    Some(split_port(authority).0)
}

/// Splits `name:port`. The colons of an IPv6 address are in brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (authority, None),
    }
}

/// A bearer token (RFC 6750). `Debug` does not write it. `==` takes constant time.
#[derive(Clone)]
pub struct Token(Arc<str>);

/// The error for text that is not a bearer token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a bearer token; expected 1 to {} letters, digits or characters of -._~+/, with any number of = at the end",
    Token::MAX_LEN
)]
pub struct InvalidToken;

impl Token {
    /// The maximum length of a token in bytes. The head of a request, which contains the token, has its own limit.
    pub const MAX_LEN: usize = 2048;

    /// Returns a token with this text.
    ///
    /// # Errors
    /// Fails if the text is empty, too long, or contains a character that RFC 6750 does not allow.
    pub fn new(text: &str) -> Result<Self, InvalidToken> {
        let body = text.trim_end_matches('=');
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        if body.is_empty() || text.len() > Self::MAX_LEN || !body.bytes().all(valid) {
            return Err(InvalidToken);
        }
        Ok(Token(text.into()))
    }

    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.secret().as_bytes().ct_eq(other.secret().as_bytes()).into()
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The tokens that a listener accepts. Several may have the same name, so that a token can be replaced without an
/// interruption.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens(Vec<(Arc<str>, Token)>);

impl Tokens {
    /// Adds a token.
    pub fn insert(&mut self, name: impl Into<Arc<str>>, token: Token) {
        self.0.push((name.into(), token));
    }

    /// Returns whether there are no tokens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the names, with duplicates.
    #[cfg(feature = "bridge")]
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// Returns the name of a token with the same text.
    #[cfg(feature = "bridge")]
    pub(crate) fn owner_of(&self, token: &Token) -> Option<Arc<str>> {
        self.name_of(token.secret())
    }

    /// Compares with all tokens, each in constant time, so that the duration does not depend on the content of the tokens.
    fn name_of(&self, secret: &str) -> Option<Arc<str>> {
        let mut found = None;
        for (name, token) in &self.0 {
            if bool::from(token.secret().as_bytes().ct_eq(secret.as_bytes())) {
                found = Some(name);
            }
        }
        found.cloned()
    }
}

impl<N: Into<Arc<str>>> FromIterator<(N, Token)> for Tokens {
    fn from_iter<I: IntoIterator<Item = (N, Token)>>(tokens: I) -> Self {
        Tokens(tokens.into_iter().map(|(name, token)| (name.into(), token)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(tokens: &[(&str, &str)]) -> Access {
        let tokens = tokens.iter().map(|(name, secret)| (*name, Token::new(secret).unwrap())).collect();
        Access {
            tokens,
            origins: vec!["https://soar.example:8443/".into()],
            loopback: true,
            hosts: vec!["bridge.example".into()],
        }
    }

    #[test]
    fn a_request_needs_a_token_if_tokens_are_set() {
        let two = access(&[("soar", "old"), ("other", "third=="), ("soar", "new")]);
        let check = |access: &Access, authorization| {
            access.check(&Credentials { authorization, ..Credentials::default() })
        };
        for (header, expected) in [
            (Some("Bearer old"), Ok("soar")),
            (Some("Bearer new"), Ok("soar")),
            (Some("bearer  third=="), Ok("other")),
            (Some("Bearer "), Err(Denied::UnknownToken)),
            (Some("Bearer"), Err(Denied::NoToken)),
            (Some("Bearer ol"), Err(Denied::UnknownToken)),
            (Some("Bearer olD"), Err(Denied::UnknownToken)),
            (Some("Basic old"), Err(Denied::NoToken)),
            (None, Err(Denied::NoToken)),
        ] {
            assert_eq!(check(&two, header), expected.map(|name| Some(name.into())), "{header:?}");
        }
        assert_eq!(check(&access(&[]), Some("Bearer anything")), Ok(None));
        assert!(!format!("{two:?}").contains("third"));
    }

    #[test]
    fn an_origin_must_match_the_host_or_be_listed() {
        for (origin, host, tls, allowed) in [
            ("http://127.0.0.1:2149", "127.0.0.1:2149", false, true),
            ("HTTP://LocalHost:2149", "localhost:2149", false, true),
            ("http://localhost", "localhost:80", false, true),
            ("https://localhost", "localhost", true, true),
            ("http://[::1]:1", "[::1]:1", false, true),
            ("https://soar.example:8443", "localhost:1", false, true),
            ("http://soar.example:8443", "localhost:1", false, false),
            ("http://localhost:1", "localhost:2", false, false),
            ("http://localhost", "localhost", true, false),
            ("http://evil.example", "localhost:1", false, false),
            ("null", "localhost:1", false, false),
            ("", "localhost:1", false, false),
        ] {
            let request =
                Credentials { host: Some(host), origin: Some(origin), tls, ..Credentials::default() };
            let expected = if allowed { Ok(None) } else { Err(Denied::Origin) };
            assert_eq!(access(&[]).check(&request), expected, "{origin} at {host}");
        }
        let no_host = Credentials { origin: Some("http://localhost:1"), ..Credentials::default() };
        assert_eq!(access(&[]).check(&no_host), Err(Denied::Origin));
    }

    #[test]
    fn a_loopback_listener_refuses_the_names_of_other_hosts() {
        for (host, allowed) in [
            ("127.0.0.1:27759", true),
            ("[::1]:27759", true),
            ("LOCALHOST", true),
            ("bridge.example:1", true),
            ("evil.example:27759", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            let request = Credentials { host: Some(host), ..Credentials::default() };
            let expected = if allowed { Ok(None) } else { Err(Denied::Host) };
            assert_eq!(access(&[]).check(&request), expected, "{host}");
            let anywhere = Access { loopback: false, ..access(&[]) };
            assert_eq!(anywhere.check(&request), Ok(None), "{host}");
        }
        assert_eq!(access(&[]).check(&Credentials::default()), Ok(None));
    }

    #[test]
    fn a_token_has_the_characters_of_a_bearer_token() {
        let longest = "x".repeat(Token::MAX_LEN);
        for text in ["a", "mF_9.B5f-4.1JqM", "a+/~==", &longest] {
            assert!(Token::new(text).is_ok(), "{text}");
        }
        for text in ["", "=", "a=b", "a b", "a\n", "\u{e4}", &format!("{longest}x")] {
            assert_eq!(Token::new(text).map(drop), Err(InvalidToken), "{text}");
        }
    }
}
