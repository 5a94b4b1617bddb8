//! TLS settings of every kind, with the certificates in `fixtures/tls`.

#![allow(dead_code, reason = "each test binary uses a part of this module")]

use std::path::PathBuf;

use zeek_bridge::net::tls::{Backend, Credentials, Passphrase, Tls};

/// All TLS backends of this build, and the automatic choice.
pub(crate) const BACKENDS: &[Backend] = if cfg!(feature = "openssl") {
    &[Backend::Rustls, Backend::OpenSsl, Backend::Auto]
} else {
    &[Backend::Rustls, Backend::Auto]
};

pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/tls").join(name)
}

/// Returns a certificate of the fixtures with its key, and their RSA CA as the trust anchor.
pub(crate) fn credentials(certificate: &str, key: &str) -> Credentials {
    Credentials::from_files(fixture("ca.pem"), fixture(certificate), fixture(key))
}

pub(crate) fn mutual(credentials: &Credentials, backend: Backend) -> Tls {
    Tls::Mutual(credentials.clone().backend(backend).load().unwrap())
}

/// Returns a version 3 certificate.
pub(crate) fn version3() -> Credentials {
    credentials("ec.pem", "ec.sec1.key")
}

/// Returns a certificate of a different CA.
pub(crate) fn foreign() -> Credentials {
    credentials("ec-by-v1-ca.pem", "ec.sec1.key")
}

pub(crate) fn expired() -> Credentials {
    credentials("expired.pem", "expired.key")
}

pub(crate) fn encrypted() -> Credentials {
    credentials("rsa.pem", "rsa.encrypted-pkcs8.key").passphrase(Passphrase::new("secret"))
}

/// Returns a certificate that only OpenSSL accepts.
#[cfg(feature = "openssl")]
pub(crate) fn version1() -> Credentials {
    credentials("v1.pem", "v1.key")
}

#[cfg(feature = "openssl")]
pub(crate) fn legacy() -> Credentials {
    credentials("rsa.pem", "rsa.encrypted-legacy.key").passphrase(Passphrase::new("secret"))
}
