//! Mutual TLS: certificates on both sides, on either library, and taken up anew when they are renewed.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::rustls::SupportedProtocolVersion;

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
    /// The second takes over when the first turns out not to do.
    Rustls(RustlsMutual, Option<Arc<OpenSslMutual>>),
    OpenSsl(Arc<OpenSslMutual>),
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

    /// The library that the next connection is made with; never [`Backend::Auto`].
    #[must_use]
    pub fn backend(&self) -> Backend {
        match &self.0.loaded().engine {
            Engine::Rustls(_, Some(standby)) if standby.is_chosen() => Backend::OpenSsl,
            Engine::Rustls(..) => Backend::Rustls,
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
            Engine::Rustls(_, Some(standby)) if standby.is_chosen() => standby.connect(tcp).await,
            Engine::Rustls(rustls, _) => rustls.connect(tcp).await,
        }
    }

    pub(super) async fn accept(&self, tcp: TcpStream) -> Result<Stream, TlsError> {
        let loaded = self.0.loaded();
        match &loaded.engine {
            Engine::OpenSsl(openssl) => openssl.accept(tcp).await,
            Engine::Rustls(_, Some(standby)) if standby.is_chosen() => standby.accept(tcp).await,
            Engine::Rustls(rustls, _) => rustls.accept(tcp).await,
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
                let openssl = Arc::new(OpenSslMutual::new(credentials, raw, versions)?);
                let warnings = openssl.warnings().to_vec();
                (Engine::OpenSsl(openssl), warnings)
            }
            Backend::Rustls => {
                let mut material = Material::new(credentials, raw)?;
                let rustls = RustlsMutual::new(credentials, raw, &mut material, versions, None)?;
                (Engine::Rustls(rustls, None), material.warnings)
            }
            Backend::Auto => auto(credentials, raw, versions)?,
        };
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        Ok(Loaded { engine, warnings: warnings.into(), digest: raw.digest() })
    }
}

/// rustls, unless what we have ourselves speaks for OpenSSL.
fn auto(
    credentials: &Credentials,
    raw: &Raw,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<(Engine, Vec<CredentialWarning>), CredentialError> {
    let mut material = Material::new(credentials, raw)?;
    let (standby, openssl_error) = match OpenSslMutual::new(credentials, raw, versions) {
        Ok(standby) => (Some(Arc::new(standby)), None),
        Err(error) => (None, Some(error)),
    };
    let has_version1_ca = material.has_version1_ca();
    let rustls = RustlsMutual::new(credentials, raw, &mut material, versions, standby.clone());
    let reason = match (&rustls, standby.as_deref()) {
        (Err(error), _) => match error.fault {
            CredentialFault::Version1
            | CredentialFault::LegacyEncrypted
            | CredentialFault::UnsupportedEncryption(_)
            | CredentialFault::UnusableKey(_)
            | CredentialFault::UnusableCertificate(_) => {
                Some(format!("{} {}: {}", error.kind, error.source, error.fault))
            }
            _ => None,
        },
        (Ok(_), Some(_)) if has_version1_ca => Some(format!(
            "a CA certificate in {} is X.509 version 1, as then the peers' may be",
            credentials.cas()
        )),
        (Ok(_), Some(standby)) => {
            // Not every certificate of a CA is one that OpenSSL takes.
            let refused =
                |warning: &CredentialWarning| matches!(warning, CredentialWarning::WrongPurpose { .. });
            let is_ca = |warning: &&CredentialWarning| matches!(warning, CredentialWarning::IsCa { .. });
            let found = material.warnings.iter().find(is_ca);
            found.filter(|_| !standby.warnings().iter().any(refused)).map(CredentialWarning::to_string)
        }
        (Ok(_), None) => None,
    };
    match (reason, standby, rustls) {
        (Some(reason), Some(standby), _) => {
            tracing::warn!("TLS with OpenSSL instead of rustls: {reason}");
            let warnings = standby.warnings().to_vec();
            Ok((Engine::OpenSsl(standby), warnings))
        }
        (_, standby, Ok(rustls)) => Ok((Engine::Rustls(rustls, standby), material.warnings)),
        // OpenSSL was tried as well; it knows better what is wrong with what only it could take.
        (Some(_), None, Err(error)) => {
            Err(openssl_error.filter(|_| cfg!(feature = "openssl")).unwrap_or(error))
        }
        (None, _, Err(error)) => Err(error),
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
