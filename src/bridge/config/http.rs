//! Reads the keys of the HTTP server: `http`, `http_tls` and `[[bridge.http_token]]`.

use std::net::SocketAddr;

use super::build::load_tokens;
use super::diagnostic::{Diagnostic, Diagnostics};
use super::reader::{Entry, Table};
use super::schema::{Http, HttpAccess, LinkTls};
use super::{link_tls, websocket};
use crate::net::HostPort;

/// The keys of `http_tls`.
const TLS_HINT: &str = "write { certificate = \"FILE\", keyfile = \"FILE\" }";

/// Reads the keys. `None` if the server is off or its address is invalid. Also returns the entry of the address, for errors about
/// it.
pub(super) fn read<'r>(table: &mut Table<'r>) -> (Option<Http>, Option<Entry<'r>>) {
    let (http, metrics) = (table.take("http"), table.take("metrics"));
    let (token, tls) = (table.take("http_token"), table.take("http_tls"));
    if let (Some(_), Some(metrics)) = (&http, &metrics) {
        metrics.error("metrics is the older name of http, which is also set", "remove it");
    } else if let Some(metrics) = &metrics {
        metrics.record_as("bridge.http");
    }
    let entry = http.or(metrics);
    let address = entry.as_ref().map_or(Address::At(Http::DEFAULT), address);
    let tokens =
        token.as_ref().map(|entry| websocket::tokens(entry, "bridge.http_token")).unwrap_or_default();
    let tls_read = tls.as_ref().map_or(Some(LinkTls::Off), |entry| {
        let mut table = entry.table(TLS_HINT)?;
        let tls = link_tls::read_https(&mut table);
        table.finish();
        tls
    });
    let address = match address {
        Address::At(address) => address,
        Address::Off => {
            for entry in token.iter().chain(&tls) {
                entry.error("not valid with http = \"off\"", "remove one of them");
            }
            return (None, entry);
        }
        Address::Invalid => return (None, entry),
    };
    if let Some(token) = &token
        && tls.is_none()
        && !is_loopback(address)
    {
        token.error(
            format!(
                "tokens are not used with {address}: http is not encrypted, and other hosts can reach the address"
            ),
            "set http_tls",
        );
    }
    // If the TLS is invalid, an error was reported, and the placeholder is not used.
    (Some(Http { address, tokens, tls: tls_read.unwrap_or(LinkTls::Off) }), entry)
}

/// The value of `http`.
enum Address {
    At(SocketAddr),
    Off,
    Invalid,
}

fn address(entry: &Entry<'_>) -> Address {
    let expected = "an IP address with a port, such as \"127.0.0.1:9747\", or \"off\"";
    let Some(text) = entry.text(expected) else { return Address::Invalid };
    if text == "off" {
        return Address::Off;
    }
    let address = match text.parse::<HostPort>() {
        Ok(address) if address.ip().is_some() => address,
        Ok(_) => {
            entry.error(format!("{text:?} has a host name"), format!("use {expected}"));
            return Address::Invalid;
        }
        Err(error) => {
            entry.error(format!("{text:?}: {error}"), "");
            return Address::Invalid;
        }
    };
    // This makes no DNS query: the address is numeric. Only a zone (`%eth0`) is resolved, which is local to this host.
    match address.resolve() {
        Ok(addresses) => addresses.first().copied().map_or(Address::Invalid, Address::At),
        Err(error) => {
            entry.error(format!("{text:?}: {error}"), "");
            Address::Invalid
        }
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

impl Http {
    /// Returns whether only this host can reach the address.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.address)
    }

    /// Returns whether the page and its API are served: on a loopback address, or encrypted for clients with a token or a
    /// certificate.
    #[must_use]
    pub fn has_page(&self) -> bool {
        match self.tls {
            _ if self.is_loopback() => true,
            LinkTls::Off | LinkTls::Anonymous => false,
            LinkTls::Server(_) => !self.tokens.is_empty(),
            LinkTls::Mutual(_) => true,
        }
    }

    /// Loads the certificates and tokens. Call it from a blocking thread: it reads files, and may decrypt a key, which is slow by
    /// design.
    ///
    /// # Errors
    /// Returns an error for each file that cannot be read or used.
    pub fn load(&self) -> Result<HttpAccess, Diagnostics> {
        let tls = self.tls.load_under("bridge.http_tls");
        let mut errors = Vec::new();
        let tokens = load_tokens(&self.tokens, |message| {
            errors.push(Diagnostic::new("bridge.http_token", message));
        });
        match tls {
            Ok(tls) if errors.is_empty() => Ok(HttpAccess { tls, tokens }),
            Ok(_) => Err(errors.into()),
            Err(tls_errors) => Err(tls_errors.into_iter().chain(errors).collect::<Vec<_>>().into()),
        }
    }
}
