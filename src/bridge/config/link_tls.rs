//! Reads the TLS keys of a link.

use super::reader::{Entry, Table};
use super::schema::{LinkTls, TlsFiles};
use super::websocket::Kind;
use crate::net::Scheme;
use crate::net::tls::Backend;

/// The entries with TLS keys.
struct Keys<'r> {
    cafile: Option<Entry<'r>>,
    capath: Option<Entry<'r>>,
    certificate: Option<Entry<'r>>,
    keyfile: Option<Entry<'r>>,
    passphrase_file: Option<Entry<'r>>,
    verify_name: Option<Entry<'r>>,
    backend: Option<Entry<'r>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    Anonymous,
    Mutual,
}

/// Returns the TLS of the link, or `None` if the keys are invalid. The errors have been reported then. The scheme of the
/// addresses selects the TLS of the WebSocket API. `kind` is `None` without a valid address.
pub(super) fn read(table: &mut Table<'_>, kind: Option<Kind>) -> Option<LinkTls> {
    let mode = table.take("tls");
    let keys = Keys { verify_name: table.take("verify_name"), ..Keys::take(table) };
    let backend = keys.backend();
    if let Some(Kind { scheme, listens }) = kind.filter(|kind| kind.scheme.is_websocket()) {
        let is_secure = scheme == Scheme::SecureWebSocket;
        if let Some(mode) = &mode {
            mode.error(
                "ws:// and wss:// addresses take no tls: wss:// is with TLS, ws:// without",
                "remove it",
            );
        }
        return if is_secure { keys.secure(table, listens, backend) } else { keys.plain() };
    }
    if kind.is_some_and(|kind| kind.scheme == Scheme::ZeroMq) {
        for entry in mode.iter().chain(keys.implying()).chain(&keys.backend) {
            entry.error("ZeroMQ has no TLS", "remove it, and use curve across a network");
        }
        return Some(LinkTls::Off);
    }
    let Some(mode) = mode else {
        if keys.implying().is_empty() {
            table.missing(
                "tls",
                "the link does not choose its TLS",
                "set tls = \"anonymous\" (for a Zeek without TLS options, its default), tls = \"off\" (for \
                 Broker::disable_ssl=T), or cafile, certificate and keyfile for mutual TLS; \
                 `zeek-bridge probe HOST:PORT` shows which one a Zeek uses",
            );
            return None;
        }
        return keys.mutual(table, backend);
    };
    let modes = [("off", Mode::Off), ("anonymous", Mode::Anonymous), ("mutual", Mode::Mutual)];
    let (chosen, word) = match mode.choice(&modes)? {
        Mode::Mutual => return keys.mutual(table, backend),
        Mode::Off => (LinkTls::Off, "off"),
        Mode::Anonymous => (LinkTls::Anonymous, "anonymous"),
    };
    for entry in keys.implying() {
        entry.error(format!("not valid with tls = \"{word}\""), "remove one of them");
    }
    match (&chosen, keys.backend, backend) {
        (LinkTls::Off, Some(entry), _) => {
            entry.error("not valid with tls = \"off\"", "remove one of them");
        }
        (LinkTls::Anonymous, Some(entry), Some(Backend::Rustls)) => {
            entry.error("only OpenSSL supports anonymous TLS", "remove it, or use \"openssl\"");
        }
        _ => {}
    }
    Some(chosen)
}

/// Reads the TLS keys of an HTTP server. Returns `None` if they are invalid. The errors have been reported then.
pub(super) fn read_https(table: &mut Table<'_>) -> Option<LinkTls> {
    let keys = Keys::take(table);
    keys.server(table, keys.backend(), "https")
}

impl<'r> Keys<'r> {
    /// Reads the keys that a link and an HTTP server have in common: all except `verify_name`.
    fn take(table: &mut Table<'r>) -> Self {
        Keys {
            cafile: table.take("cafile"),
            capath: table.take("capath"),
            certificate: table.take("certificate"),
            keyfile: table.take("keyfile"),
            passphrase_file: table.take("passphrase_file"),
            verify_name: None,
            backend: table.take("tls_backend"),
        }
    }

    fn backend(&self) -> Option<Backend> {
        self.backend.as_ref().map(|entry| {
            entry
                .choice(&[
                    ("auto", Backend::Auto),
                    ("rustls", Backend::Rustls),
                    ("openssl", Backend::OpenSsl),
                ])
                .unwrap_or_default()
        })
    }

    /// Returns the entries that imply mutual TLS.
    fn implying(&self) -> Vec<&Entry<'r>> {
        let keys = [
            &self.cafile,
            &self.capath,
            &self.certificate,
            &self.keyfile,
            &self.passphrase_file,
            &self.verify_name,
        ];
        keys.into_iter().flatten().collect()
    }

    /// Reports all TLS keys of a link with `ws://` addresses.
    fn plain(&self) -> Option<LinkTls> {
        for entry in self.implying().into_iter().chain(&self.backend) {
            entry.error("ws:// is without TLS", "use wss://, or remove the key");
        }
        Some(LinkTls::Off)
    }

    /// Reads the keys of a link with `wss://` addresses. A server needs a certificate; with CA certificates, its clients need
    /// one, too. A client needs CA certificates, and may have a certificate.
    fn secure(&self, table: &Table<'_>, listens: bool, backend: Option<Backend>) -> Option<LinkTls> {
        if listens {
            return self.server(table, backend, "wss://");
        }
        let has_ca = self.has_ca();
        if has_ca && (self.certificate.is_some() || self.keyfile.is_some()) {
            return self.mutual(table, backend);
        }
        if !has_ca {
            let hint = "wss:// requires cafile or capath, to verify the certificate of the server";
            table.missing("cafile", "the key is missing", hint);
        }
        let files = self.files(backend);
        has_ca.then_some(LinkTls::Server(files))
    }

    /// Reads the keys of a server. With CA certificates, its clients need a certificate.
    fn server(&self, table: &Table<'_>, backend: Option<Backend>, protocol: &str) -> Option<LinkTls> {
        if self.has_ca() {
            return self.mutual(table, backend);
        }
        for (key, entry) in [("certificate", &self.certificate), ("keyfile", &self.keyfile)] {
            if entry.is_none() {
                let hint = format!(
                    "{protocol} requires certificate and keyfile of this server; with cafile, clients need a certificate, too"
                );
                table.missing(key, "the key is missing", hint);
            }
        }
        if let Some(entry) = &self.verify_name {
            entry.error("clients present no certificate without cafile", "set cafile, or remove verify_name");
        }
        let is_complete = self.certificate.is_some() && self.keyfile.is_some();
        let files = self.files(backend);
        is_complete.then_some(LinkTls::Server(files))
    }

    fn has_ca(&self) -> bool {
        self.cafile.is_some() || self.capath.is_some()
    }

    fn files(&self, backend: Option<Backend>) -> TlsFiles {
        let path = |entry: &Option<Entry<'_>>| entry.as_ref().and_then(Entry::path);
        let name = self.verify_name.as_ref().and_then(|entry| entry.text("a DNS name or an IP address"));
        TlsFiles {
            cafile: path(&self.cafile),
            capath: path(&self.capath),
            certificate: path(&self.certificate),
            keyfile: path(&self.keyfile),
            passphrase_file: path(&self.passphrase_file),
            verify_name: name.map(str::to_owned),
            backend: backend.unwrap_or_default(),
        }
    }

    fn mutual(&self, table: &Table<'_>, backend: Option<Backend>) -> Option<LinkTls> {
        let no_ca = !self.has_ca();
        for (key, is_missing) in [
            ("cafile", no_ca),
            ("certificate", self.certificate.is_none()),
            ("keyfile", self.keyfile.is_none()),
        ] {
            if is_missing {
                table.missing(
                    key,
                    "the key is missing",
                    "mutual TLS requires cafile (or capath), certificate and keyfile",
                );
            }
        }
        let files = self.files(backend);
        let is_complete = !no_ca && files.certificate.is_some() && files.keyfile.is_some();
        is_complete.then_some(LinkTls::Mutual(files))
    }
}
