//! From a link's configuration to what an endpoint takes.

use std::fs::File;
use std::path::Path;

use super::diagnostic::Mistake;
use super::schema::{IdentityPattern, LinkConfig, LinkTls, TlsFiles};
use crate::endpoint::{Admits, EndpointConfig};
use crate::net::tls::{CredentialError, CredentialKind, Credentials, Passphrase, PemSource, Remedy, Tls};
use crate::wire::Limits;

impl LinkConfig {
    /// The settings of this link's endpoint: its limits, and whom it admits. All else is as [`EndpointConfig::default`]
    /// has it.
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
                Admits::new(move |identity| IdentityPattern::allow(&allow, identity))
            }),
            ..EndpointConfig::default()
        }
    }

    /// Loads the TLS of this link, as [`LinkTls::load`] does.
    ///
    /// # Errors
    /// As [`LinkTls::load`].
    pub fn tls(&self) -> Result<Tls, Vec<Mistake>> {
        self.tls.load(&self.name)
    }
}

impl LinkTls {
    /// Loads the TLS of the link with this name. Reads its files, and opening an encrypted key takes a while by design: not
    /// for the inside of a task that others wait for.
    ///
    /// # Errors
    /// Every file that cannot be read; or, if they all can, what keeps them from being used. The mistakes are at the
    /// keys concerned, such as `link.agents.keyfile`; [`super::Source::find`] finds their lines.
    pub fn load(&self, link: &str) -> Result<Tls, Vec<Mistake>> {
        let mistake = |key: &str, message: String| vec![Mistake::new(format!("link.{link}.{key}"), message)];
        match self {
            LinkTls::Off => Ok(Tls::Off),
            LinkTls::Anonymous => Tls::anonymous().map_err(|error| mistake("tls", error.to_string())),
            LinkTls::Mutual(files) => {
                let unreadable: Vec<Mistake> = files
                    .each()
                    .into_iter()
                    .filter_map(|(key, path)| Some(mistake(key, unreadable(key, path)?)))
                    .flatten()
                    .collect();
                if !unreadable.is_empty() {
                    return Err(unreadable);
                }
                files
                    .credentials()
                    .load()
                    .map(Tls::Mutual)
                    .map_err(|error| mistake(files.key(&error), message(&error)))
            }
        }
    }
}

impl TlsFiles {
    /// The credentials in these files, not read yet.
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

    /// All files and directories, with their keys.
    fn each(&self) -> Vec<(&'static str, &Path)> {
        let files = [
            ("cafile", self.cafile.as_deref()),
            ("capath", self.capath.as_deref()),
            ("certificate", Some(self.certificate.as_path())),
            ("keyfile", Some(self.keyfile.as_path())),
            ("passphrase_file", self.passphrase_file.as_deref()),
        ];
        files.into_iter().filter_map(|(key, path)| Some((key, path?))).collect()
    }

    /// The key that an error is about.
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

/// Why a file, or a directory in the case of `capath`, cannot be read.
fn unreadable(key: &str, path: &Path) -> Option<String> {
    let shown = path.display();
    let opened = if key == "capath" {
        std::fs::read_dir(path).map(|_| false)
    } else {
        File::open(path).and_then(|file| Ok(file.metadata()?.is_dir()))
    };
    match opened {
        Ok(false) => None,
        Ok(true) => Some(format!("{shown} is a directory; give a file (only capath is a directory)")),
        Err(error) => Some(format!("{shown} cannot be read: {error}; check its name and its permissions")),
    }
}

/// What is wrong with credentials, with the key that helps.
fn message(error: &CredentialError) -> String {
    let message = error.to_string();
    let message = message.strip_prefix(&format!("{} ", error.kind)).unwrap_or(&message);
    match error.remedy() {
        Some(Remedy::Passphrase) => format!("{message} (`passphrase_file = \"FILE\"`)"),
        Some(Remedy::OpenSsl) => format!("{message} (`tls_backend = \"openssl\"`)"),
        None => message.to_owned(),
    }
}
