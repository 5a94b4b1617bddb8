//! Mutual TLS: certificates on both sides, on either library, and reloaded when they are renewed.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::rustls::{SupportedProtocolVersion, version};

use super::credential_error::{CredentialError, CredentialFault};
use super::credentials::{Backend, Credentials};
use super::error::TlsError;
use super::material::{Digest, Material, Raw};
use super::via_openssl::OpenSslMutual;
use super::via_rustls::RustlsMutual;
use super::warning::CredentialWarning;
use crate::net::Stream;

/// Mutual TLS, ready for connections on either side. Made by [`Credentials::load`]. Cheap to clone; the clones are
/// one: [`MutualTls::reload`] changes what all of them show and trust from then on. Connections that stand are
/// not touched.
#[derive(Clone)]
pub struct MutualTls(Arc<Shared>);

struct Shared {
    credentials: Credentials,
    versions: Vec<&'static SupportedProtocolVersion>,
    loaded: RwLock<Arc<Loaded>>,
}

/// The credentials of one moment.
struct Loaded {
    engine: Engine,
    warnings: Arc<[CredentialWarning]>,
    digest: Digest,
}

enum Engine {
    Rustls(RustlsMutual),
    OpenSsl(OpenSslMutual),
}

impl Credentials {
    /// Reads and checks everything. What peers will likely not like about it, but might (a certificate that has
    /// expired by our clock, say), is logged as a warning, and kept in [`MutualTls::warnings`].
    ///
    /// It reads files, and opening an encrypted key takes a while by design: not for the inside of a task
    /// that others wait for.
    ///
    /// # Errors
    /// When a part cannot be read or used, or key and certificate do not belong together.
    pub fn load(&self) -> Result<MutualTls, CredentialError> {
        MutualTls::new(self, &[&version::TLS13, &version::TLS12])
    }
}

impl MutualTls {
    pub(super) fn new(
        credentials: &Credentials,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self, CredentialError> {
        let credentials = credentials.settled()?;
        let loaded = Loaded::new(&credentials, &Raw::read(&credentials)?, versions)?;
        Ok(MutualTls(Arc::new(Shared {
            credentials,
            versions: versions.to_vec(),
            loaded: RwLock::new(Arc::new(loaded)),
        })))
    }

    /// What peers will likely not like about our credentials, as of when they were loaded.
    #[must_use]
    pub fn warnings(&self) -> Arc<[CredentialWarning]> {
        self.0.loaded().warnings.clone()
    }

    /// The library that the credentials in use were loaded for; never [`Backend::Auto`].
    #[must_use]
    pub fn backend(&self) -> Backend {
        match &self.0.loaded().engine {
            Engine::Rustls(_) => Backend::Rustls,
            Engine::OpenSsl(_) => Backend::OpenSsl,
        }
    }

    /// Reads all files anew, and if everything is in order uses it for connections from now on; says whether
    /// anything was different. As with [`Credentials::load`], that takes a moment.
    ///
    /// # Errors
    /// As [`Credentials::load`]; then everything stays as it was.
    pub fn reload(&self) -> Result<bool, CredentialError> {
        let raw = Raw::read(&self.0.credentials)?;
        self.0.take_up(&raw)
    }

    /// Looks at the files again and again, and takes them up when their content is different. What cannot be
    /// used is logged, once, and what was there before stays in use: a certificate may be renewed a moment
    /// before its key. It ends when all clones of this are gone; spawn it.
    pub fn watch_files(&self, interval: Duration) -> impl Future<Output = ()> + Send + use<> {
        watch_files(Arc::downgrade(&self.0), interval)
    }

    pub(super) async fn connect(&self, tcp: TcpStream) -> Result<Stream, TlsError> {
        let loaded = self.0.loaded();
        match &loaded.engine {
            Engine::OpenSsl(openssl) => openssl.connect(tcp).await,
            Engine::Rustls(rustls) => rustls.connect(tcp).await,
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
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn take_up(&self, raw: &Raw) -> Result<bool, CredentialError> {
        if raw.digest() == self.loaded().digest {
            return Ok(false);
        }
        let loaded = Arc::new(Loaded::new(&self.credentials, raw, &self.versions)?);
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        tracing::info!(certificate = %self.credentials.certificate, "certificates were taken up anew");
        Ok(true)
    }
}

async fn watch_files(shared: Weak<Shared>, interval: Duration) {
    // What went wrong last time, and with which content: said once.
    let mut told: Option<(Option<Digest>, String)> = None;
    loop {
        tokio::time::sleep(interval).await;
        let Some(shared) = shared.upgrade() else { return };
        let last = told.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let (digest, result) = match Raw::read(&shared.credentials) {
                Err(error) => (None, Err(error)),
                Ok(raw) => {
                    let digest = Some(raw.digest());
                    if last.as_ref().is_some_and(|(known, _)| *known == digest) {
                        return last;
                    }
                    (digest, shared.take_up(&raw))
                }
            };
            let problem = (digest, result.err()?.to_string());
            if last.as_ref() != Some(&problem) {
                tracing::warn!("{}; what was loaded before stays in use", problem.1);
            }
            Some(problem)
        });
        told = looked.await.unwrap_or_default();
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
        Ok(Loaded { engine, warnings: warnings.into(), digest: raw.digest() })
    }
}

/// rustls, unless OpenSSL accepts our own credentials where rustls does not.
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
        // Of two errors, OpenSSL's is the one to report where rustls lacks what OpenSSL has.
        (Err(error), Err(_)) if cfg!(feature = "openssl") && may_be_for_openssl(&error.fault) => {
            return openssl.map(|openssl| (Engine::OpenSsl(openssl), Vec::new()));
        }
        (Err(_), Err(_)) => None,
        (Ok(rustls), Ok(openssl)) => match rustls.doubts().beyond(openssl.doubts()) {
            Some(fault) => Some(format!("certificate {}: it {fault}", credentials.certificate)),
            None if material.is_below_version1_ca() => Some(format!(
                "the CA of our certificate (in {}) is X.509 version 1, as the certificates of peers may be then",
                credentials.cas()
            )),
            None => None,
        },
    };
    match (reason, openssl) {
        (Some(reason), Ok(openssl)) => {
            tracing::warn!("TLS with OpenSSL instead of rustls: {reason}");
            let warnings = openssl.warnings().to_vec();
            Ok((Engine::OpenSsl(openssl), warnings))
        }
        _ => Ok((Engine::Rustls(rustls?), material.warnings)),
    }
}

/// Whether this is a fault that rustls finds and OpenSSL may not.
fn may_be_for_openssl(fault: &CredentialFault) -> bool {
    matches!(
        fault,
        CredentialFault::Version1
            | CredentialFault::LegacyEncrypted
            | CredentialFault::UnsupportedEncryption(_)
            | CredentialFault::UnusableKey(_)
            | CredentialFault::UnusableCertificate(_)
    )
}

impl fmt::Debug for MutualTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutualTls")
            .field("backend", &self.backend())
            .field("warnings", &self.warnings())
            .finish_non_exhaustive()
    }
}
