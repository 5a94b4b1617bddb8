//! Who may use the page and the API.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use data_encoding::BASE64;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};
use tokio::time::Instant;
use zeek_bridge::websocket::{Access, Credentials, Denied};

use super::settings::Settings;

/// The header by which browsers report whether a different site has caused the request.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The minimum time between two lines in the log about tokens that are missing or unknown.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A request that is refused.
#[derive(Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) reason: String,
}

impl Refusal {
    fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Refusal { status, reason: reason.into() }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        let status = match denied {
            Denied::NoToken | Denied::UnknownToken => StatusCode::UNAUTHORIZED,
            Denied::Host => StatusCode::MISDIRECTED_REQUEST,
            _ => StatusCode::FORBIDDEN,
        };
        Refusal::new(status, denied.to_string())
    }
}

/// Checks whether a request may use the page or, with `is_api`, the API.
pub(super) fn check(settings: &Settings, headers: &HeaderMap, is_api: bool) -> Result<(), Refusal> {
    if !settings.has_page() {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "other hosts can reach this address, so the page and the API are not served; in [bridge], set http_tls with \
             http_token or a cafile, or set http to a loopback address",
        ));
    }
    // `none`: the user has entered the address.
    if is_api && !one(headers, SEC_FETCH_SITE)?.is_none_or(|site| matches!(site, "same-origin" | "none")) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "the request comes from a web page of a different site",
        ));
    }
    let authorization = one(headers, AUTHORIZATION)?.map(bearer);
    let request = Credentials {
        host: one(headers, HOST)?,
        origin: one(headers, ORIGIN)?,
        authorization: authorization.as_deref(),
        tls: settings.is_tls(),
    };
    settings.access.check(&request).map(drop).map_err(Refusal::from)
}

/// Checks whether a request may read the metrics and health. On a loopback address without TLS, the `Host` must be a name of this
/// host, so that a web page cannot read them by DNS rebinding.
pub(super) fn check_host(settings: &Settings, headers: &HeaderMap) -> Result<(), Refusal> {
    let access = Access { loopback: settings.is_plain_loopback(), ..Access::default() };
    let request = Credentials { host: one(headers, HOST)?, ..Credentials::default() };
    access.check(&request).map(drop).map_err(Refusal::from)
}

/// Returns the only header with this name.
fn one(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(&name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match value.to_str() {
        Ok(text) if values.next().is_none() => Ok(Some(text.trim())),
        _ => Err(Refusal::new(StatusCode::BAD_REQUEST, format!("the header {name} is invalid"))),
    }
}

/// Returns the value of `Authorization` with a bearer token. A browser asks its user for a password, and sends it by Basic
/// authentication (RFC 7617), so the password is the token then.
fn bearer(authorization: &str) -> Cow<'_, str> {
    let password = || {
        let (scheme, encoded) = authorization.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("Basic") {
            return None;
        }
        let decoded = String::from_utf8(BASE64.decode(encoded.trim().as_bytes()).ok()?).ok()?;
        decoded.split_once(':').map(|(_, password)| format!("Bearer {password}"))
    };
    password().map_or(Cow::Borrowed(authorization), Cow::Owned)
}

/// Logs refused requests at a limited rate.
#[derive(Debug, Default)]
pub(super) struct RefusalLog(Mutex<RefusalCount>);

#[derive(Debug, Default)]
struct RefusalCount {
    logged: Option<Instant>,
    suppressed: u64,
}

impl RefusalLog {
    /// Logs a request whose token is missing or unknown. A missing token is logged at debug level, because a browser sends none
    /// before it has asked its user.
    pub(super) fn add(&self, client: Option<IpAddr>, refusal: &Refusal, has_token: bool) {
        let client = client.map(|client| client.to_string()).unwrap_or_default();
        let reason = &refusal.reason;
        if !has_token {
            tracing::debug!(address = %client, "HTTP: {reason}");
            return;
        }
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if count.logged.is_some_and(|logged| logged.elapsed() < LOG_INTERVAL) {
            count.suppressed = count.suppressed.saturating_add(1);
            return;
        }
        let suppressed = std::mem::take(&mut count.suppressed);
        count.logged = Some(Instant::now());
        tracing::warn!(address = %client, suppressed, "HTTP: {reason}");
    }
}
