//! Builds the settings of an endpoint and the TLS of a link from its configuration.

use super::diagnostic::{Diagnostic, Diagnostics};
use super::schema::{IdentityPattern, LinkConfig, LinkTls, TlsFiles};
use crate::endpoint::{Admits, EndpointConfig};
use crate::net::tls::{CredentialError, CredentialKind, Credentials, Passphrase, PemSource, Remedy, Tls};
use crate::wire::Limits;

impl LinkConfig {
    /// Returns the settings of this link's endpoint: its limits, and the identities that it admits. All remaining
    /// settings have their default values.
    #[must_use]
    pub fn endpoint_config(&self) -> EndpointConfig {
        let limits = &self.limits;
        let default = Limits::DEFAULT;
        EndpointConfig {
            label: Some(self.name.as_str().into()),
            limits: Limits {
                max_frame: limits.frame,
                max_handshake_frame: default.max_handshake_frame.min(limits.frame),
                max_depth: limits.depth,
                ..default
            },
            peer_queue: limits.queue,
            when_full: self.when_full,
            max_peers: limits.peers,
            connects_per_second: limits.connects_per_second,
            admits: (!self.allow.is_empty()).then(|| {
                let allow = self.allow.clone();
                Admits::with_token(move |identity, token| IdentityPattern::allow(&allow, identity, token))
            }),
            ..EndpointConfig::default()
        }
    }

    /// Loads the TLS of this link, as [`LinkTls::load`] does.
    ///
    /// # Errors
    /// Returns the errors of [`LinkTls::load`].
    pub fn tls(&self) -> Result<Tls, Diagnostics> {
        self.tls.load(&self.name)
    }
}

impl LinkTls {
    /// Loads the TLS of the link with this name. Call it from a blocking thread: it reads files, and may decrypt a key,
    /// which is slow by design.
    ///
    /// # Errors
    /// Returns an error for each file or directory that cannot be read or used. Errors that concern several files
    /// follow, such as a private key that does not match the certificate. Each error contains the configuration key
    /// that it is about, such as `link.agents.keyfile`. [`Source::locate`](super::Source::locate) adds the line of that
    /// key.
    pub fn load(&self, link: &str) -> Result<Tls, Diagnostics> {
        let error = |key: &str, message: String| Diagnostic::new(format!("link.{link}.{key}"), message);
        match self {
            LinkTls::Off => Ok(Tls::Off),
            LinkTls::Anonymous => {
                Tls::anonymous().map_err(|unavailable| error("tls", unavailable.to_string()).into())
            }
            LinkTls::Mutual(files) => {
                files.credentials().load_or_diagnose().map(Tls::Mutual).map_err(|errors| {
                    let errors: Vec<_> = errors
                        .iter()
                        .map(|found| {
                            let source = if found.source.is_empty() {
                                String::new()
                            } else {
                                format!("{}: ", found.source)
                            };
                            error(files.key(found), format!("{source}{}", found.fault)).with_hint(hint(found))
                        })
                        .collect();
                    errors.into()
                })
            }
        }
    }
}

impl TlsFiles {
    /// Returns the credentials in these files, without reading them.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        Credentials {
            cafile: self.cafile.clone().map(PemSource::File),
            capath: self.capath.clone(),
            certificate: PemSource::File(self.certificate.clone()),
            keyfile: PemSource::File(self.keyfile.clone()),
            passphrase: self.passphrase_file.clone().map(Passphrase::from_file),
            verify_name: self.verify_name.clone(),
            backend: self.backend,
        }
    }

    /// Returns the configuration key that an error is about.
    fn key(&self, error: &CredentialError) -> &'static str {
        match error.kind {
            CredentialKind::Cafile => "cafile",
            CredentialKind::Capath => "capath",
            CredentialKind::Certificate => "certificate",
            CredentialKind::Passphrase => "passphrase_file",
            CredentialKind::VerifyName => "verify_name",
            CredentialKind::Backend => "tls_backend",
            _ => "keyfile",
        }
    }
}

/// Returns the hint, which names the configuration key to change.
fn hint(error: &CredentialError) -> String {
    let key = match error.remedy() {
        Some(Remedy::Passphrase) => " (`passphrase_file = \"FILE\"`)",
        Some(Remedy::OpenSsl) => " (`tls_backend = \"openssl\"`)",
        None => "",
    };
    error.hint() + key
}
