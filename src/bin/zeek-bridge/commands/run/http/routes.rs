//! The response to each request.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, REFERRER_POLICY, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::watch;

use super::access::{Refusal, check, check_host};
use super::assets;
use super::cache::Failed;
use super::deadline::Deadline;
use super::events::Events;
use super::settings::Settings;
use super::site::{Site, VIEWERS};
use crate::commands::run::metrics;
use crate::commands::run::serve::Slot;
use crate::commands::run::view::View;

/// The body of a response.
pub(super) type Body = Either<Full<Bytes>, Events>;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Scripts, styles and data come from the bridge itself only, and no other page may contain this one.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The headers of the page and the API.
const HEADERS: [(HeaderName, &str); 5] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (X_FRAME_OPTIONS, "DENY"),
];

/// The connection of a request.
pub(super) struct Client<'a> {
    pub(super) address: Option<IpAddr>,
    pub(super) slot: &'a Slot,
    pub(super) deadline: &'a Deadline,
    /// The settings at the time when the client connected.
    pub(super) settings: &'a Settings,
    /// Notified if these settings are not valid any more.
    pub(super) changes: &'a watch::Receiver<Arc<Settings>>,
}

impl Client<'_> {
    /// Refuses the request if the settings have changed since the client connected, because they may have removed its token or
    /// the CA of its certificate.
    fn check_changes(&self) -> Result<(), Refusal> {
        // Without a sender, the server is ending.
        if self.changes.has_changed().unwrap_or(true) {
            let reason =
                "the settings of the server have changed since the connection was opened; connect again";
            return Err(Refusal { status: StatusCode::MISDIRECTED_REQUEST, reason: reason.to_owned() });
        }
        Ok(())
    }
}

/// Returns the response to a request.
pub(super) async fn respond<B>(request: &Request<B>, client: &Client<'_>, site: &Site) -> Response<Body> {
    // hyper omits the body of a response to HEAD.
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let path = request.uri().path();
    match path {
        "/metrics" | "/healthz" | "/readyz" => {
            if let Err(refusal) = check_host(client.settings, request.headers()) {
                return plain(refusal.status, format!("{}\n", refusal.reason));
            }
            client.slot.prefer();
            match path {
                "/metrics" => metrics_page(&site.view),
                "/healthz" => plain(StatusCode::OK, "ok\n"),
                _ => readiness(&site.view),
            }
        }
        _ => {
            let is_api = path.starts_with("/api/");
            let checked =
                client.check_changes().and_then(|()| check(client.settings, request.headers(), is_api));
            let mut response = match checked {
                Ok(()) => page(path, request.method() == Method::HEAD, client, site).await,
                Err(refusal) => refused(&refusal, request.headers(), is_api, client, site),
            };
            for (name, value) in HEADERS {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            response
        }
    }
}

/// Responds to a request for the page or the API that was accepted.
async fn page(path: &str, only_head: bool, client: &Client<'_>, site: &Site) -> Response<Body> {
    match path {
        "/api/v1/status" => json(site.status().await),
        "/api/v1/history" => json(site.history().await),
        "/api/v1/events" => events(only_head, client, site),
        _ => match assets::find(path) {
            Some(asset) => response(StatusCode::OK, asset.content_type, Bytes::from_static(asset.content)),
            None => plain(
                StatusCode::NOT_FOUND,
                "not found; use /, /api/v1/status, /api/v1/history, /api/v1/events, /metrics, /healthz or /readyz\n",
            ),
        },
    }
}

fn events(only_head: bool, client: &Client<'_>, site: &Site) -> Response<Body> {
    let body = if only_head {
        Either::Left(Full::default())
    } else if let Some(feed) = site.feed(client.changes.clone()) {
        client.slot.release();
        Either::Right(Events::new(feed, client.deadline.clone()))
    } else {
        let text = format!("there are {VIEWERS} viewers already; close a page, and try again\n");
        let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, text);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        return response;
    };
    with_body(StatusCode::OK, "text/event-stream", body)
}

fn refused(
    refusal: &Refusal,
    headers: &HeaderMap,
    is_api: bool,
    client: &Client<'_>,
    site: &Site,
) -> Response<Body> {
    let mut response = plain(refusal.status, format!("{}\n", refusal.reason));
    if refusal.status == StatusCode::UNAUTHORIZED {
        site.refusals.add(client.address, refusal, headers.contains_key(AUTHORIZATION));
        // For `Basic`, a browser opens a dialog. It must not do so for the requests of a page that is open already, which are
        // repeated every few seconds.
        let scheme = if is_api { "Bearer realm=\"zeek-bridge\"" } else { "Basic realm=\"zeek-bridge\"" };
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
    }
    response
}

fn json(document: Result<Bytes, Failed>) -> Response<Body> {
    match document {
        Ok(document) => response(StatusCode::OK, JSON, document),
        Err(error) => {
            plain(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot make the document: {error}\n"))
        }
    }
}

fn plain(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    response(status, TEXT, text.into())
}

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    with_body(status, content_type, Either::Left(Full::new(body.into())))
}

fn with_body(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn metrics_page(view: &View) -> Response<Body> {
    match metrics::text(view.snapshot()) {
        Ok(text) => response(StatusCode::OK, metrics::CONTENT_TYPE, text),
        Err(error) => {
            plain(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot encode the metrics: {error}\n"))
        }
    }
}

/// Responds 200 if all links are ready and the bridge is not stopping. Otherwise responds 503, with a line for each link that
/// is not ready, or with `not ready: stopping`.
fn readiness(view: &View) -> Response<Body> {
    if view.is_stopping() {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "not ready: stopping\n");
    }
    let mut lines = String::new();
    for link in view.snapshot().links.iter().filter(|link| !link.ready) {
        let why = if link.connecting.is_empty() {
            "cannot listen on some addresses; see the log".to_owned()
        } else {
            format!("connects to {}", link.connecting.join(", "))
        };
        // Cannot fail: it writes to memory.
        let _ = writeln!(lines, "not ready: link {} ({why})", link.name);
    }
    if lines.is_empty() {
        plain(StatusCode::OK, "ready\n")
    } else {
        plain(StatusCode::SERVICE_UNAVAILABLE, lines)
    }
}
