//! Reads the TLS keys of a link.

use super::reader::{Entry, Table};
use super::schema::{LinkTls, TlsFiles};
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

/// Returns the TLS of the link, or `None` if the keys are invalid. The errors have been reported then.
pub(super) fn read(table: &mut Table<'_>) -> Option<LinkTls> {
    let mode = table.take("tls");
    let keys = Keys {
        cafile: table.take("cafile"),
        capath: table.take("capath"),
        certificate: table.take("certificate"),
        keyfile: table.take("keyfile"),
        passphrase_file: table.take("passphrase_file"),
        verify_name: table.take("verify_name"),
        backend: table.take("tls_backend"),
    };
    let backend = keys.backend.as_ref().map(|entry| {
        entry
            .choice(&[("auto", Backend::Auto), ("rustls", Backend::Rustls), ("openssl", Backend::OpenSsl)])
            .unwrap_or_default()
    });
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

impl<'r> Keys<'r> {
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

    fn mutual(&self, table: &Table<'_>, backend: Option<Backend>) -> Option<LinkTls> {
        let no_ca = self.cafile.is_none() && self.capath.is_none();
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
        let path = |entry: &Option<Entry<'_>>| entry.as_ref().and_then(Entry::path);
        let (cafile, capath) = (path(&self.cafile), path(&self.capath));
        let (certificate, keyfile) = (path(&self.certificate), path(&self.keyfile));
        let files = TlsFiles {
            cafile,
            capath,
            passphrase_file: path(&self.passphrase_file),
            verify_name: self
                .verify_name
                .as_ref()
                .and_then(|entry| entry.text("a DNS name or an IP address"))
                .map(str::to_owned),
            backend: backend.unwrap_or_default(),
            certificate: certificate?,
            keyfile: keyfile?,
        };
        (!no_ca).then_some(LinkTls::Mutual(files))
    }
}
