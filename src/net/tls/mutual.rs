//! Mutual TLS with either library, and the renewal of certificates.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{SupportedProtocolVersion, version};

use super::credential_error::CredentialError;
use super::credentials::{Authentication, Backend, Credentials};
use super::diagnose::diagnose;
use super::error::TlsError;
use super::inspect;
use super::material::{Digest, Material, Raw, first_certificate};
use super::via_openssl::OpenSslMutual;
use super::via_rustls::RustlsMutual;
use super::warning::CredentialWarning;
use crate::net::Stream;

/// The supported versions of TLS.
const VERSIONS: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// TLS with certificates, both for connecting and for listening: mutual TLS, or TLS in which only the server presents a
/// certificate ([`Authentication`]). [`Credentials::load`] returns it. Cheap to clone: all clones share
/// their credentials. [`MutualTls::reload`] replaces these credentials for all later connections; established connections
/// keep the previous ones.
#[derive(Clone)]
pub struct MutualTls(Arc<Shared>);

struct Shared {
    credentials: Credentials,
    versions: Vec<&'static SupportedProtocolVersion>,
    loaded: watch::Sender<Arc<Loaded>>,
}

/// The credentials of one load.
struct Loaded {
    engine: Engine,
    warnings: Arc<[CredentialWarning]>,
    /// The end of the validity of our certificate.
    valid_until: Option<SystemTime>,
    digest: Digest,
}

enum Engine {
    Rustls(RustlsMutual),
    OpenSsl(OpenSslMutual),
}

impl Credentials {
    /// Reads and validates all parts. Some problems are not errors, but may cause a peer to refuse us, for example a
    /// certificate that has expired by our clock. They are logged as warnings, and [`MutualTls::warnings`] returns them.
    ///
    /// Call it from a blocking thread, because it reads files and because decrypting a key is slow by design. The limit is
    /// 4 MiB for a file and 4 KiB for a passphrase. A pipe must have a writer within 5 seconds, and is read for at most 120
    /// seconds.
    ///
    /// # Errors
    /// Returns the first part that cannot be read or used, or a key that does not match the certificate.
    pub fn load(&self) -> Result<MutualTls, CredentialError> {
        MutualTls::new(self, VERSIONS)
    }

    /// Loads the credentials as [`Credentials::load`] does, and returns the errors of all parts instead of the first one.
    ///
    /// # Errors
    /// Returns at least one error, and at most one for each part. A mismatch between parts, such as a key that does not
    /// match the certificate, is reported only if each of these parts is valid.
    pub fn load_or_diagnose(&self) -> Result<MutualTls, Vec<CredentialError>> {
        let (credentials, mut errors) = self.with_pipes_read();
        if errors.is_empty() {
            match MutualTls::load_without_pipes(credentials.clone(), VERSIONS) {
                Ok(mutual) => return Ok(mutual),
                Err(error) => errors.push(error),
            }
        }
        for error in diagnose(&credentials) {
            if !errors.iter().any(|known| known.kind == error.kind) {
                errors.push(error);
            }
        }
        errors.sort_by_key(|error| error.kind);
        Err(errors)
    }
}

impl MutualTls {
    pub(super) fn new(
        credentials: &Credentials,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self, CredentialError> {
        let (credentials, errors) = credentials.with_pipes_read();
        match errors.into_iter().next() {
            Some(error) => Err(error),
            None => Self::load_without_pipes(credentials, versions),
        }
    }

    /// Loads credentials that contain no pipes, so that [`MutualTls::reload`] can read each file again.
    fn load_without_pipes(
        credentials: Credentials,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self, CredentialError> {
        let loaded = Loaded::new(&credentials, &Raw::read(&credentials)?, versions)?;
        Ok(MutualTls(Arc::new(Shared {
            credentials,
            versions: versions.to_vec(),
            loaded: watch::Sender::new(Arc::new(loaded)),
        })))
    }

    /// Returns the sides that present a certificate.
    #[must_use]
    pub fn authentication(&self) -> Authentication {
        self.0.credentials.authentication
    }

    /// Returns the problems of our credentials that may cause a peer to refuse us, as of the last load.
    #[must_use]
    pub fn warnings(&self) -> Arc<[CredentialWarning]> {
        self.0.loaded().warnings.clone()
    }

    /// Returns the time at which our certificate expires, as of the last load. Intermediate and CA certificates may expire
    /// earlier. Returns `None` if the certificate contains a time that this platform cannot represent.
    #[must_use]
    pub fn valid_until(&self) -> Option<SystemTime> {
        self.0.loaded().valid_until
    }

    /// Returns the library in use. This is never [`Backend::Auto`].
    #[must_use]
    pub fn backend(&self) -> Backend {
        match &self.0.loaded().engine {
            Engine::Rustls(_) => Backend::Rustls,
            Engine::OpenSsl(_) => Backend::OpenSsl,
        }
    }

    /// Reads all files again, and uses the new credentials for later connections if they are valid. Returns whether
    /// anything has changed. Call this from a blocking thread, like [`Credentials::load`].
    ///
    /// # Errors
    /// Returns the errors of [`Credentials::load`]. On an error, the previous credentials stay in use.
    pub fn reload(&self) -> Result<bool, CredentialError> {
        let raw = Raw::read(&self.0.credentials)?;
        self.0.replace(&raw)
    }

    /// Reads the files at this interval, and reloads them when their content has changed. If the new credentials are
    /// invalid, the error is logged once, and the previous credentials stay in use. For example, the
    /// credentials are invalid for a short time if a certificate is renewed before its key.
    ///
    /// Spawn the returned future. It ends when all clones are dropped.
    pub fn watch_files(&self, interval: Duration) -> impl Future<Output = ()> + Send + use<> {
        watch_files(Arc::downgrade(&self.0), interval)
    }

    /// Returns a future that is ready when the credentials are replaced after this call, by [`MutualTls::reload`] or
    /// [`MutualTls::watch_files`]. With it, a server can disconnect clients that the new credentials may refuse.
    pub fn replaced(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut loaded = self.0.loaded.subscribe();
        let shared = self.0.clone();
        async move {
            // Fails only if the sender is dropped, but `shared` keeps it.
            let _ = loaded.changed().await;
            drop(shared);
        }
    }

    /// Returns whether the files and other parts of both had the same content when they were loaded last.
    #[must_use]
    pub fn has_same_content(&self, other: &Self) -> bool {
        self.0.loaded().digest == other.0.loaded().digest
    }

    /// Returns whether [`Credentials::verify_name`] is set.
    pub(in crate::net) fn verifies_name(&self) -> bool {
        self.0.credentials.verify_name.is_some()
    }

    pub(super) async fn connect(
        &self,
        tcp: TcpStream,
        host: Option<ServerName<'static>>,
    ) -> Result<Stream, TlsError> {
        let loaded = self.0.loaded();
        match &loaded.engine {
            Engine::OpenSsl(openssl) => openssl.connect(tcp, host).await,
            Engine::Rustls(rustls) => rustls.connect(tcp, host).await,
        }
    }

    pub(super) async fn accept(&self, tcp: TcpStream) -> Result<Stream, TlsError> {
        let loaded = self.0.loaded();
        match &loaded.engine {
            Engine::OpenSsl(openssl) => openssl.accept(tcp).await,
            Engine::Rustls(rustls) => rustls.accept(tcp).await,
        }
    }
}

impl Shared {
    fn loaded(&self) -> Arc<Loaded> {
        self.loaded.borrow().clone()
    }

    fn replace(&self, raw: &Raw) -> Result<bool, CredentialError> {
        if raw.digest() == self.loaded().digest {
            return Ok(false);
        }
        let loaded = Arc::new(Loaded::new(&self.credentials, raw, &self.versions)?);
        self.loaded.send_replace(loaded);
        tracing::info!(certificate = %self.credentials.name(), "certificates were reloaded");
        Ok(true)
    }
}

async fn watch_files(shared: Weak<Shared>, interval: Duration) {
    // The last error, and the digest of the content that caused it, so that the error is logged once.
    let mut reported: Option<(Option<Digest>, String)> = None;
    loop {
        tokio::time::sleep(interval).await;
        let Some(shared) = shared.upgrade() else { return };
        let last = reported.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let (digest, result) = match Raw::read(&shared.credentials) {
                Err(error) => (None, Err(error)),
                Ok(raw) => {
                    let digest = Some(raw.digest());
                    if last.as_ref().is_some_and(|(known, _)| *known == digest) {
                        return last;
                    }
                    (digest, shared.replace(&raw))
                }
            };
            let problem = (digest, result.err()?.to_string());
            if last.as_ref() != Some(&problem) {
                tracing::warn!("{}; the previous certificates stay in use", problem.1);
            }
            Some(problem)
        });
        reported = checked.await.unwrap_or_default();
    }
}

impl Loaded {
    fn new(
        credentials: &Credentials,
        raw: &Raw,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self, CredentialError> {
        let (engine, warnings) = match credentials.backend {
            Backend::OpenSsl => {
                let openssl = OpenSslMutual::new(credentials, raw, versions)?;
                let warnings = openssl.warnings().to_vec();
                (Engine::OpenSsl(openssl), warnings)
            }
            Backend::Rustls => {
                let mut material = Material::new(credentials, raw)?;
                let rustls = RustlsMutual::new(credentials, raw, &mut material, versions)?;
                (Engine::Rustls(rustls), material.warnings)
            }
            Backend::Auto => auto(credentials, raw, versions)?,
        };
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let certificate = first_certificate(&raw.certificate).ok();
        let valid_until = certificate.and_then(|der| inspect::valid_until(&der));
        let valid_until = valid_until.and_then(|time| UNIX_EPOCH.checked_add(Duration::from_secs(time)));
        Ok(Loaded { engine, warnings: warnings.into(), valid_until, digest: raw.digest() })
    }
}

/// Chooses OpenSSL if only OpenSSL accepts our own credentials, or if our chain leads to an X.509 version 1 CA. Otherwise
/// chooses rustls.
fn auto(
    credentials: &Credentials,
    raw: &Raw,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<(Engine, Vec<CredentialWarning>), CredentialError> {
    let mut material = Material::new(credentials, raw)?;
    let rustls = RustlsMutual::new(credentials, raw, &mut material, versions);
    let openssl = OpenSslMutual::new(credentials, raw, versions);
    let reason = match (&rustls, &openssl) {
        (Ok(_), Err(_)) => None,
        (Err(error), Ok(_)) => Some(format!("{} {}: {}", error.kind, error.source, error.fault)),
        // Both libraries reject the credentials. rustls lacks a feature that OpenSSL may support, so return OpenSSL's error,
        // which the user can fix.
        (Err(error), Err(_)) if cfg!(feature = "openssl") && error.fault.may_be_for_openssl() => {
            return openssl.map(|openssl| (Engine::OpenSsl(openssl), Vec::new()));
        }
        (Err(_), Err(_)) => None,
        (Ok(rustls), Ok(openssl)) => match rustls.self_check().beyond(openssl.self_check()) {
            Some(fault) => Some(format!("certificate {}: it {fault}", credentials.name())),
            None if material.is_below_version1_ca() => Some(format!(
                "the CA of our certificate (in {}) is X.509 version 1, so the certificates of peers may be too",
                credentials.cas()
            )),
            None => None,
        },
    };
    match (reason, openssl) {
        (Some(reason), Ok(openssl)) => {
            tracing::warn!("using OpenSSL instead of rustls for TLS: {reason}");
            let warnings = openssl.warnings().to_vec();
            Ok((Engine::OpenSsl(openssl), warnings))
        }
        _ => Ok((Engine::Rustls(rustls?), material.warnings)),
    }
}

impl fmt::Debug for MutualTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutualTls")
            .field("backend", &self.backend())
            .field("warnings", &self.warnings())
            .finish_non_exhaustive()
    }
}
