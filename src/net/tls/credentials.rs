//! The sources of certificates and keys: PEM in files or in memory.

use std::fmt;
use std::path::PathBuf;

use tokio_rustls::rustls::pki_types::ServerName;

use super::credential_error::{CredentialError, CredentialFault, CredentialKind};
use super::files::{MAX_PEM_SIZE, PipeTimeouts, is_read_once, read_file, read_pipe};
use super::passphrase::Passphrase;

/// Zeek's certificate options (`Broker::ssl_cafile`, `ssl_capath`, `ssl_certificate`, `ssl_keyfile`,
/// `ssl_passphrase`), the name to verify, and the library to use.
///
/// By default, both sides present a certificate. With [`Authentication::Server`], only the listening side does: a client
/// then needs only CA certificates, and a server only its own certificate and key.
///
/// This type contains only the sources of the certificates and keys. [`Credentials::load`] reads the sources, and
/// [`MutualTls::reload`](super::MutualTls::reload) reads them again.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The certificates of the CAs that sign the peers' certificates. This or [`Credentials::capath`] is required, except
    /// for a server whose clients need no certificate. If both are set, the certificates of both are trusted. A self-signed
    /// certificate that is not a CA certificate is trusted only for itself.
    pub cafile: Option<PemSource>,
    /// A directory of CA certificates. Every file with certificates in PEM is used, regardless of its name. The hashed
    /// names (`openssl rehash`) that Zeek requires are accepted, but not required.
    pub capath: Option<PathBuf>,
    /// Our own certificate, followed by the intermediate certificates, if any. Required in mutual TLS and for a server.
    pub certificate: Option<PemSource>,
    /// The private key of our certificate: PKCS#8 (encrypted or not), PKCS#1 or SEC1. Required if there is a certificate.
    pub keyfile: Option<PemSource>,
    /// The passphrase of the key, if it is encrypted.
    pub passphrase: Option<Passphrase>,
    /// A DNS name or IP address that the peer's certificate must contain as subjectAltName. Checked both when we connect
    /// and when we listen. If `None`, an endpoint verifies the host of a `wss://` URL that it connects to. On all other
    /// connections, every certificate of our CA is accepted, as in Broker.
    pub verify_name: Option<String>,
    /// The TLS library.
    pub backend: Backend,
    /// The sides that present a certificate.
    pub authentication: Authentication,
}

/// The sides of a connection that present a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Authentication {
    /// Both sides present one. Broker supports no other TLS with certificates.
    #[default]
    Mutual,
    /// Only the side that listens, as on the web. Clients of the WebSocket API may then authenticate themselves with a token.
    Server,
}

/// A TLS library.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// Selects rustls, or OpenSSL if our own credentials require it. [`Credentials::load`] selects the library. Each time
    /// renewed files are read, the library is selected again. A peer has no influence on the selection.
    ///
    /// OpenSSL is selected in two cases:
    /// - It accepts our own certificate and its chain, and rustls does not. Examples are X.509 version 1, a CA certificate used as
    ///   a leaf, more than six intermediate certificates, and a key that is encrypted in OpenSSL's traditional format.
    /// - Our chain leads to an X.509 version 1 CA. The peers' certificates, which this CA signs, are probably version 1
    ///   too.
    ///
    /// Without the feature `openssl`, this is the same as [`Backend::Rustls`].
    #[default]
    Auto,
    /// rustls, which is memory-safe and strict.
    Rustls,
    /// OpenSSL, which accepts the same credentials as Zeek. Unlike rustls, it accepts X.509 version 1 certificates, CA certificates
    /// used as leaves, and keys that are encrypted in OpenSSL's traditional format. Requires the feature `openssl`.
    OpenSsl,
}

impl Credentials {
    /// Returns credentials that are stored in three files.
    #[must_use]
    pub fn from_files(
        cafile: impl Into<PathBuf>,
        certificate: impl Into<PathBuf>,
        keyfile: impl Into<PathBuf>,
    ) -> Self {
        let [cafile, certificate, keyfile] =
            [cafile.into(), certificate.into(), keyfile.into()].map(PemSource::File);
        Credentials { cafile: Some(cafile), ..Self::without_cas(Some(certificate), Some(keyfile)) }
    }

    /// Returns the credentials of a client that presents no certificate: the CA certificates in this file.
    #[must_use]
    pub fn for_client(cafile: impl Into<PathBuf>) -> Self {
        let cafile = Some(PemSource::File(cafile.into()));
        Credentials { cafile, authentication: Authentication::Server, ..Self::without_cas(None, None) }
    }

    /// Returns the credentials of a server whose clients need no certificate: a certificate and its key.
    #[must_use]
    pub fn for_server(certificate: impl Into<PathBuf>, keyfile: impl Into<PathBuf>) -> Self {
        let [certificate, keyfile] = [certificate.into(), keyfile.into()].map(PemSource::File);
        let without_cas = Self::without_cas(Some(certificate), Some(keyfile));
        Credentials { authentication: Authentication::Server, ..without_cas }
    }

    /// Returns credentials that are stored in two files, with a directory of CA certificates.
    #[must_use]
    pub fn from_capath(
        capath: impl Into<PathBuf>,
        certificate: impl Into<PathBuf>,
        keyfile: impl Into<PathBuf>,
    ) -> Self {
        let [certificate, keyfile] = [certificate.into(), keyfile.into()].map(PemSource::File);
        Self::without_cas(Some(certificate), Some(keyfile)).capath(capath)
    }

    /// Returns credentials in memory, in the format of the files.
    #[must_use]
    pub fn from_pem(
        cafile: impl Into<Vec<u8>>,
        certificate: impl Into<Vec<u8>>,
        keyfile: impl Into<Vec<u8>>,
    ) -> Self {
        let [cafile, certificate, keyfile] =
            [cafile.into(), certificate.into(), keyfile.into()].map(PemSource::Memory);
        Credentials { cafile: Some(cafile), ..Self::without_cas(Some(certificate), Some(keyfile)) }
    }

    fn without_cas(certificate: Option<PemSource>, keyfile: Option<PemSource>) -> Self {
        Credentials {
            cafile: None,
            capath: None,
            certificate,
            keyfile,
            passphrase: None,
            verify_name: None,
            backend: Backend::Auto,
            authentication: Authentication::Mutual,
        }
    }

    /// Adds the CA certificates in this directory.
    #[must_use]
    pub fn capath(self, directory: impl Into<PathBuf>) -> Self {
        Credentials { capath: Some(directory.into()), ..self }
    }

    /// Sets the passphrase of the key.
    #[must_use]
    pub fn passphrase(self, passphrase: Passphrase) -> Self {
        Credentials { passphrase: Some(passphrase), ..self }
    }

    /// Sets the name to verify.
    #[must_use]
    pub fn verify_name(self, name: impl Into<String>) -> Self {
        Credentials { verify_name: Some(name.into()), ..self }
    }

    /// Sets the TLS library.
    #[must_use]
    pub fn backend(self, backend: Backend) -> Self {
        Credentials { backend, ..self }
    }

    /// Returns a copy in which each pipe or device is replaced by its content, because a pipe or device can be read only
    /// once. If a part cannot be read, it stays unchanged and its error is returned.
    pub(super) fn with_pipes_read(&self) -> (Self, Vec<CredentialError>) {
        let mut errors = Vec::new();
        let mut part = |kind, source: &PemSource| {
            source.with_pipes_read().unwrap_or_else(|fault| {
                errors.push(self.error(kind, fault));
                source.clone()
            })
        };
        let cafile = self.cafile.as_ref().map(|source| part(CredentialKind::Cafile, source));
        let certificate = self.certificate.as_ref().map(|source| part(CredentialKind::Certificate, source));
        let keyfile = self.keyfile.as_ref().map(|source| part(CredentialKind::Keyfile, source));
        let passphrase = self.passphrase.as_ref().map(|passphrase| {
            passphrase.with_pipes_read().unwrap_or_else(|fault| {
                errors.push(self.error(CredentialKind::Passphrase, fault));
                passphrase.clone()
            })
        });
        (Credentials { cafile, certificate, keyfile, passphrase, ..self.clone() }, errors)
    }

    /// Returns the name to verify, if there is one.
    pub(super) fn server_name(&self) -> Result<Option<ServerName<'static>>, CredentialError> {
        let Some(name) = &self.verify_name else { return Ok(None) };
        ServerName::try_from(name.clone())
            .map(Some)
            .map_err(|_| self.error(CredentialKind::VerifyName, CredentialFault::BadName))
    }

    /// Returns an error about one of the parts.
    pub(super) fn error(&self, kind: CredentialKind, fault: CredentialFault) -> CredentialError {
        let source = match kind {
            CredentialKind::Cafile => self.cafile.as_ref().map(PemSource::to_string),
            CredentialKind::Capath => self.capath.as_ref().map(|path| path.display().to_string()),
            CredentialKind::Certificate => self.certificate.as_ref().map(PemSource::to_string),
            CredentialKind::Keyfile => self.keyfile.as_ref().map(PemSource::to_string),
            CredentialKind::Passphrase => self.passphrase.as_ref().map(Passphrase::to_string),
            CredentialKind::VerifyName => self.verify_name.clone(),
            CredentialKind::Backend => Some("openssl".to_owned()),
        };
        CredentialError { kind, source: source.unwrap_or_default(), fault }
    }

    /// Returns the name of our certificate, or that of the CA certificates if there is none.
    pub(super) fn name(&self) -> String {
        self.certificate.as_ref().map_or_else(|| self.cas(), PemSource::to_string)
    }

    /// Returns whether a certificate and a key are required.
    pub(super) fn need_certificate(&self) -> bool {
        self.authentication == Authentication::Mutual || self.certificate.is_some() || self.keyfile.is_some()
    }

    /// Returns whether CA certificates are required.
    pub(super) fn need_cas(&self) -> bool {
        self.authentication == Authentication::Mutual
            || self.cafile.is_some()
            || self.capath.is_some()
            || self.certificate.is_none()
    }

    /// Describes the sources of the CA certificates.
    pub(super) fn cas(&self) -> String {
        match (&self.cafile, &self.capath) {
            (Some(file), None) => format!("cafile {file}"),
            (None, Some(path)) => format!("capath {}", path.display()),
            (Some(file), Some(path)) => format!("cafile {file} or capath {}", path.display()),
            (None, None) => String::new(),
        }
    }
}

/// PEM text in a file or in memory.
#[derive(Clone)]
#[non_exhaustive]
pub enum PemSource {
    /// A file. It is read at each load. A pipe is read only once, by [`Credentials::load`], which waits at most 120 seconds
    /// for its data.
    File(PathBuf),
    /// The PEM text itself.
    Memory(Vec<u8>),
}

impl PemSource {
    pub(super) fn read(&self) -> Result<Vec<u8>, CredentialFault> {
        match self {
            PemSource::File(path) => read_file(path, MAX_PEM_SIZE),
            PemSource::Memory(pem) => Ok(pem.clone()),
        }
    }

    /// Returns whether both sources have the same path or contain the same text.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (PemSource::File(one), PemSource::File(other)) => one == other,
            (PemSource::Memory(one), PemSource::Memory(other)) => one == other,
            _ => false,
        }
    }

    fn with_pipes_read(&self) -> Result<Self, CredentialFault> {
        match self {
            PemSource::File(path) if is_read_once(path) => {
                Ok(PemSource::Memory(read_pipe(path, MAX_PEM_SIZE, PipeTimeouts::DEFAULT)?))
            }
            other => Ok(other.clone()),
        }
    }
}

/// Writes the name of the file. Never writes the content, which may be a key.
impl fmt::Display for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PemSource::File(path) => path.display().fmt(f),
            PemSource::Memory(_) => f.write_str("(in memory)"),
        }
    }
}

impl fmt::Debug for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
