//! The HTTP request and response that open a session (RFC 6455, section 4).

use bytes::BytesMut;
use data_encoding::BASE64;
use sha1::{Digest, Sha1};

use super::access::Credentials;
use super::config::ClientConfig;
use super::error::Error;
use crate::data::one_line;
use crate::peering::Side;

/// The maximum length of the head of a request or response in bytes. Heads of real clients and of Zeek are shorter than 1 KiB.
pub(super) const MAX_HEAD: usize = 16 * 1024;

/// The maximum number of headers. Browsers send about twenty.
const MAX_HEADERS: usize = 64;

/// The path of version 1 with JSON.
const PATH: &str = "/v1/messages/json";

/// The text that is appended to a key before the key is hashed (RFC 6455, section 1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The beginning of a stream, until the end of its HTTP head.
#[derive(Debug, Default)]
pub(super) struct Head(Vec<u8>);

impl Head {
    /// Moves bytes from `input` until the head is complete, and returns whether it is. Fails at the first byte if the input
    /// cannot be HTTP, so that a peer with a different protocol is recognized without a timeout. A request begins with a capital
    /// letter, and a response with `H`.
    pub(super) fn take(&mut self, input: &mut BytesMut, from: Side) -> Result<bool, Error> {
        if let Some(&first) = self.0.first().or(input.first())
            && (!first.is_ascii_uppercase() || (from == Side::Listener && first != b'H'))
        {
            return Err(Error::NotHttp { first });
        }
        let room = MAX_HEAD.saturating_sub(self.0.len());
        let before = self.0.len();
        self.0.extend_from_slice(input.get(..room).unwrap_or(input));
        // The end may have begun in the bytes before.
        let searched = before.saturating_sub(3);
        let end = self.0.get(searched..).and_then(end_of_head);
        if let Some(end) = end {
            self.0.truncate(searched.saturating_add(end));
        }
        let consumed = self.0.len().saturating_sub(before);
        let _ = input.split_to(consumed.min(input.len()));
        if end.is_none() && self.0.len() >= MAX_HEAD {
            let what = if from == Side::Listener { "response" } else { "request" };
            return Err(Error::HeadTooLarge { what, limit: MAX_HEAD });
        }
        Ok(end.is_some())
    }

    /// Returns the error for the status of a response that does not open a session. The head may be incomplete, because Zeek's
    /// server sends no complete head if it refuses a request.
    pub(super) fn status(&self) -> Option<Error> {
        let (status, reason) = status(&self.0)?;
        (status != 101).then(|| Error::Status { status, reason: one_line(&reason) })
    }
}

/// Returns the length of the bytes up to and including the first empty line.
pub(super) fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let end = |line_end: &[u8]| {
        let at = bytes.windows(line_end.len()).position(|window| window == line_end)?;
        at.checked_add(line_end.len())
    };
    match (end(b"\n\r\n"), end(b"\n\n")) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Headers by their name.
struct Headers<'a, 'h>(&'h [httparse::Header<'a>]);

impl<'a> Headers<'a, '_> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    /// Returns the only header with this name.
    fn one(&self, name: &'static str) -> Result<Option<&'a str>, Refusal<'a>> {
        let mut all = self.all(name);
        let Some(value) = all.next() else { return Ok(None) };
        match std::str::from_utf8(value) {
            Ok(text) if all.next().is_none() => Ok(Some(text.trim())),
            _ => Err(Refusal::Header(name)),
        }
    }

    /// Returns whether the list of words in a header contains `word`.
    fn lists(&self, name: &str, word: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|listed| listed.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// Why a request is not an upgrade to WebSocket. The texts are those of Zeek's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal<'a> {
    #[error("Error parsing HTTP request")]
    Syntax,
    #[error("Invalid HTTP method, need GET, got {0}")]
    Method(&'a str),
    #[error("Invalid HTTP version, need HTTP/1.1, got: HTTP/1.0")]
    Version,
    #[error("Missing Upgrade header")]
    Upgrade,
    #[error("Invalid Sec-WebSocket-Version, need 13, got {}", number(.0))]
    WebSocketVersion(&'a str),
    #[error("Missing Sec-WebSocket-Key value")]
    Key,
    #[error("Invalid {0} header")]
    Header(&'static str),
}

/// Returns `text` if it is a short number, and `?` otherwise, so that a refusal contains no other text of the peer.
fn number(text: &str) -> &str {
    let is_number = text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text } else { "?" }
}

/// A request to upgrade to WebSocket.
#[derive(Debug)]
pub(super) struct Request<'a> {
    path: &'a str,
    application: Option<&'a str>,
    pub(super) credentials: Credentials<'a>,
    key: &'a str,
}

/// Parses a request, and passes it to `then`.
pub(super) fn with_request<T>(
    head: &Head,
    tls: bool,
    then: impl FnOnce(Result<Request<'_>, Refusal<'_>>) -> T,
) -> T {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(&head.0) {
        Ok(httparse::Status::Complete(_)) => then(check(&request, tls)),
        _ => then(Err(Refusal::Syntax)),
    }
}

fn check<'a>(request: &httparse::Request<'_, 'a>, tls: bool) -> Result<Request<'a>, Refusal<'a>> {
    let headers = Headers(request.headers);
    match request.method {
        Some("GET") => {}
        method => return Err(Refusal::Method(method.unwrap_or_default())),
    }
    if request.version != Some(1) {
        return Err(Refusal::Version);
    }
    if !headers.lists("Upgrade", "websocket") {
        return Err(Refusal::Upgrade);
    }
    match headers.one("Sec-WebSocket-Version")? {
        Some("13") => {}
        version => return Err(Refusal::WebSocketVersion(version.unwrap_or_default())),
    }
    let key = headers.one("Sec-WebSocket-Key")?.filter(|key| !key.is_empty()).ok_or(Refusal::Key)?;
    let target = request.path.unwrap_or_default();
    Ok(Request {
        path: target.split_once('?').map_or(target, |(path, _)| path),
        application: headers.one("X-Application-Name")?,
        credentials: Credentials {
            host: headers.one("Host")?,
            origin: headers.one("Origin")?,
            authorization: headers.one("Authorization")?,
            tls,
        },
        key,
    })
}

/// An error of a request that is reported after the upgrade, as Zeek's server does.
pub(super) struct LateError {
    pub(super) code: &'static str,
    pub(super) context: &'static str,
}

impl<'a> Request<'a> {
    /// Checks the path and the application's name, and returns the name. An empty name is valid.
    pub(super) fn application(&self) -> Result<Option<&'a str>, LateError> {
        if self.path != PATH {
            return Err(LateError { code: "invalid_uri", context: "Invalid URI - use /v1/messages/json" });
        }
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_.=:*@".contains(&byte);
        if self.application.is_some_and(|name| !name.bytes().all(valid)) {
            let (code, context) = ("invalid_application_name", "Invalid X-Application-Name");
            return Err(LateError { code, context });
        }
        Ok(self.application.filter(|name| !name.is_empty()))
    }

    /// Returns the response that upgrades the connection.
    pub(super) fn upgrade(&self) -> String {
        let accept = accept(self.key);
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept}\r\nUpgrade: websocket\r\nConnection: \
             Upgrade\r\n\r\n"
        )
    }
}

impl Refusal<'_> {
    /// Returns the response.
    pub(super) fn response(&self) -> String {
        response(&format!("400 {self}"), "Sec-WebSocket-Version: 13\r\n")
    }
}

/// Returns the response to a request without a valid token.
pub(super) fn unauthorized() -> String {
    response("401 Unauthorized", "WWW-Authenticate: Bearer\r\n")
}

/// Returns the response to a request with the `Host` or `Origin` of a different site, or from a peer that is not allowed.
pub(super) fn forbidden() -> String {
    response("403 Forbidden", "")
}

/// Returns the response to a request whose head is too long.
pub(super) fn head_too_large() -> String {
    response("431 Request Header Fields Too Large", "")
}

fn response(status: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n")
}

/// Returns whether a complete head is a request or a response that upgrades a connection to WebSocket.
pub(super) fn is_upgrade(head: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    if head.starts_with(b"HTTP/") {
        let mut response = httparse::Response::new(&mut headers);
        let is_valid = response.parse(head).is_ok_and(|status| status.is_complete());
        return is_valid
            && response.code == Some(101)
            && Headers(response.headers).lists("Upgrade", "websocket");
    }
    let mut request = httparse::Request::new(&mut headers);
    let is_valid = request.parse(head).is_ok_and(|status| status.is_complete());
    is_valid && Headers(request.headers).lists("Upgrade", "websocket")
}

/// Returns the status of a response and its reason. The head may be incomplete.
pub(super) fn status(head: &[u8]) -> Option<(u16, String)> {
    let line = String::from_utf8_lossy(head.split(|byte| *byte == b'\n').next()?);
    let (status, reason) = line.trim_end().strip_prefix("HTTP/1.")?.get(2..)?.split_at_checked(3)?;
    Some((status.parse().ok()?, reason.trim_start().to_owned()))
}

/// Returns the `Sec-WebSocket-Accept` for a key.
fn accept(key: &str) -> String {
    BASE64.encode(&Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize())
}

/// Returns the `Sec-WebSocket-Key` of a client. The id of the peer has 16 bytes and is random, as a key must be.
fn key(config: &ClientConfig) -> String {
    BASE64.encode(config.peer_id.as_bytes())
}

/// Returns the request of a client.
pub(super) fn request(config: &ClientConfig) -> Result<String, Error> {
    let visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    for (name, value) in [("host", &config.host), ("application name", &config.application)] {
        if !visible(value) {
            return Err(Error::Header(name));
        }
    }
    let authorization = match &config.token {
        Some(token) => format!("Authorization: Bearer {}\r\n", token.secret()),
        None => String::new(),
    };
    Ok(format!(
        "GET {PATH} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: \
         {}\r\nSec-WebSocket-Version: 13\r\nX-Application-Name: {}\r\n{authorization}\r\n",
        config.host,
        key(config),
        config.application,
    ))
}

/// Checks the response to a client's request.
pub(super) fn check_response(head: &Head, config: &ClientConfig) -> Result<(), Error> {
    if let Some(error) = head.status() {
        return Err(error);
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(&head.0) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Error::NotAnUpgrade("the head is incomplete")),
        Err(error) => return Err(Error::Http { what: "response", reason: error.to_string() }),
    }
    let headers = Headers(response.headers);
    if !headers.lists("Upgrade", "websocket") {
        return Err(Error::NotAnUpgrade("there is no header Upgrade: websocket"));
    }
    if headers.one("Sec-WebSocket-Accept") != Ok(Some(&accept(&key(config)))) {
        return Err(Error::NotAnUpgrade("the Sec-WebSocket-Accept does not belong to the request"));
    }
    if headers.all("Sec-WebSocket-Extensions").next().is_some() {
        return Err(Error::NotAnUpgrade("it has an extension that was not requested"));
    }
    Ok(())
}
