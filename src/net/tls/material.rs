//! The content of all parts of the credentials. Each file is read only once in a load, so that all checks see the same
//! content.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::credential_error::{CredentialError, CredentialFault, CredentialKind};
use super::credentials::{Credentials, PemSource};
use super::files::{MAX_PEM_SIZE, is_exposed, read_file};
use super::inspect::{self, BinaryFormat, TrustScope};
use super::passphrase::Passphrase;
use super::pem::{Block, Pem};
use super::warning::CredentialWarning;

/// The bytes of each part.
pub(super) struct Raw {
    cafile: Option<Vec<u8>>,
    capath: Vec<CaFile>,
    pub(super) certificate: Vec<u8>,
    pub(super) keyfile: Vec<u8>,
    pub(super) passphrase: Option<Vec<u8>>,
}

/// A file in a directory of certificates: its name, and its content or the error from reading it.
pub(super) type CaFile = (String, Result<Vec<u8>, String>);

/// A hash of a [`Raw`].
pub(super) type Digest = [u8; digest::SHA256_OUTPUT_LEN];

/// The parts of the credentials that all back ends use in the same form.
pub(super) struct Material {
    /// The certificates of the CAs. There is at least one, except for a server whose clients need no certificate.
    pub(super) cas: Vec<Ca>,
    /// Our own certificate, then the intermediate certificates. Empty for a client without a certificate.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// The warnings about all parts.
    pub(super) warnings: Vec<CredentialWarning>,
}

/// A trusted certificate: a CA certificate, or a self-signed one that is trusted only for itself.
pub(super) struct Ca {
    pub(super) der: CertificateDer<'static>,
    pub(super) trust_scope: TrustScope,
    kind: CredentialKind,
    file: String,
    number: usize,
}

impl Raw {
    pub(super) fn read(credentials: &Credentials) -> Result<Self, CredentialError> {
        let part = |kind, source: &PemSource| source.read().map_err(|fault| credentials.error(kind, fault));
        let own = |kind, source: Option<&PemSource>| match source {
            Some(source) => part(kind, source),
            None if credentials.need_certificate() => Err(credentials.error(kind, CredentialFault::Missing)),
            None => Ok(Vec::new()),
        };
        let cafile = credentials.cafile.as_ref().map(|source| part(CredentialKind::Cafile, source));
        let capath = credentials.capath.as_deref().map(|path| {
            read_directory(path).map_err(|fault| credentials.error(CredentialKind::Capath, fault))
        });
        let passphrase = credentials.passphrase.as_ref().map(|passphrase| {
            passphrase.read().map_err(|fault| credentials.error(CredentialKind::Passphrase, fault))
        });
        Ok(Raw {
            cafile: cafile.transpose()?,
            capath: capath.transpose()?.unwrap_or_default(),
            // The key is read before the certificate. If one file contains both, an error about the key is clearer.
            keyfile: own(CredentialKind::Keyfile, credentials.keyfile.as_ref())?,
            certificate: own(CredentialKind::Certificate, credentials.certificate.as_ref())?,
            passphrase: passphrase.transpose()?,
        })
    }

    /// Returns a key and its passphrase, without the other parts.
    pub(super) fn of_key(keyfile: Vec<u8>, passphrase: Option<Vec<u8>>) -> Self {
        Raw { cafile: None, capath: Vec::new(), certificate: Vec::new(), keyfile, passphrase }
    }

    pub(super) fn digest(&self) -> Digest {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut part = |bytes: &[u8]| {
            context.update(digest::digest(&digest::SHA256, bytes).as_ref());
        };
        part(self.cafile.as_deref().unwrap_or_default());
        part(&self.certificate);
        part(&self.keyfile);
        part(self.passphrase.as_deref().unwrap_or_default());
        for (name, content) in &self.capath {
            part(name.as_bytes());
            part(content.as_ref().map_or(&[], Vec::as_slice));
        }
        let mut all = Digest::default();
        all.copy_from_slice(context.finish().as_ref());
        all
    }
}

/// Reads the regular files in a directory, sorted by name.
pub(super) fn read_directory(path: &Path) -> Result<Vec<CaFile>, CredentialFault> {
    let unreadable = |error| CredentialFault::Unreadable(Arc::new(error));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let content = match std::fs::metadata(&file) {
            Ok(metadata) if !metadata.is_file() => continue,
            Ok(_) => read_file(&file, MAX_PEM_SIZE),
            Err(error) => Err(unreadable(error)),
        };
        files.push((file.display().to_string(), content.map_err(|fault| fault.to_string())));
    }
    files.sort();
    Ok(files)
}

/// Checks that a file is valid PEM and contains at least one certificate.
pub(super) fn check_cas(pem: &[u8]) -> Result<(), CredentialFault> {
    certificates(pem)?.required().map(drop)
}

/// If `is_required`, checks that at least one file of the directory contains a certificate. Otherwise checks nothing. The
/// directory is required if there is no cafile.
pub(super) fn check_directory(files: &[CaFile], is_required: bool) -> Result<(), CredentialFault> {
    let has_certificate = |(_, content): &CaFile| {
        content.as_ref().is_ok_and(|pem| certificates(pem).is_ok_and(|found| !found.ders.is_empty()))
    };
    if is_required && !files.iter().any(has_certificate) {
        return Err(CredentialFault::EmptyDirectory);
    }
    Ok(())
}

/// Returns the first certificate of a file.
pub(super) fn first_certificate(pem: &[u8]) -> Result<CertificateDer<'static>, CredentialFault> {
    let certificates = certificates(pem)?;
    certificates.required()?.into_iter().next().ok_or_else(|| CredentialFault::NoCertificate(String::new()))
}

impl Material {
    pub(super) fn new(credentials: &Credentials, raw: &Raw) -> Result<Self, CredentialError> {
        let mut warnings = Vec::new();
        let cas = if credentials.need_cas() { cas(credentials, raw, &mut warnings)? } else { Vec::new() };
        let (Some(certificate), Some(keyfile)) = (&credentials.certificate, &credentials.keyfile) else {
            return Ok(Material { cas, chain: Vec::new(), warnings });
        };
        // As in `Raw::read`, an error of the key is reported before an error of the certificate.
        key_section(&raw.keyfile).map_err(|fault| credentials.error(CredentialKind::Keyfile, fault))?;
        let error = |fault| credentials.error(CredentialKind::Certificate, fault);
        let found = certificates(&raw.certificate).map_err(error)?;
        let chain = found.required().map_err(error)?;
        let with_key = certificate.is_same(keyfile);
        report(&found.notices, &certificate.to_string(), with_key, &mut warnings);
        report_keyfile(credentials, keyfile, raw, &mut warnings);
        let is_open = matches!(key_section(&raw.keyfile), Ok(KeySection::Open(_)));
        if let (PemSource::File(path), true) = (keyfile, is_open)
            && is_exposed(path)
        {
            warnings.push(CredentialWarning::KeyExposed { keyfile: path.display().to_string() });
        }
        // If the key is encrypted, its passphrase must be as secret as a key, so the file of the passphrase is checked
        // too.
        if let (Some(path), false) = (credentials.passphrase.as_ref().and_then(Passphrase::file), is_open)
            && is_exposed(path)
        {
            warnings.push(CredentialWarning::PassphraseExposed { file: path.display().to_string() });
        }
        Ok(Material { cas, chain, warnings })
    }

    /// Returns whether our own chain leads to an X.509 version 1 CA. Compares only the names of the issuers.
    pub(super) fn is_below_version1_ca(&self) -> bool {
        let issuers: Vec<_> = self.chain.iter().filter_map(|der| inspect::raw_names(der)).collect();
        self.cas.iter().filter(|ca| inspect::is_version1(&ca.der)).any(|ca| {
            inspect::raw_names(&ca.der)
                .is_some_and(|[subject, _]| issuers.iter().any(|[_, issuer]| *issuer == subject))
        })
    }

    /// Adds every CA to the back end. If the back end does not accept a CA, the CA is omitted with a warning. Fails if it
    /// accepts no CA.
    pub(super) fn trust<E: ToString>(
        &mut self,
        credentials: &Credentials,
        mut add: impl FnMut(&Ca) -> Result<(), E>,
    ) -> Result<(), CredentialError> {
        let mut last = None;
        let mut is_any_trusted = false;
        for ca in &self.cas {
            match add(ca) {
                Ok(()) => is_any_trusted = true,
                Err(error) => {
                    let reason = error.to_string();
                    last = Some((ca.kind, reason.clone()));
                    let (file, number) = (ca.file.clone(), ca.number);
                    self.warnings.push(CredentialWarning::CaLeftOut { file, number, reason });
                }
            }
        }
        match last {
            Some((kind, reason)) if !is_any_trusted => {
                Err(credentials.error(kind, CredentialFault::UnusableCertificate(reason)))
            }
            _ => Ok(()),
        }
    }
}

/// Returns the certificates to trust: CA certificates, and self-signed ones that are trusted only for themselves. All other
/// certificates are omitted. Otherwise, a peer whose certificate is in one of the files could sign certificates as a CA.
fn cas(
    credentials: &Credentials,
    raw: &Raw,
    warnings: &mut Vec<CredentialWarning>,
) -> Result<Vec<Ca>, CredentialError> {
    let mut found: Vec<Ca> = Vec::new();
    let mut add = |kind, file: &str, ders: Vec<CertificateDer<'static>>| {
        for (number, der) in (1..).zip(ders) {
            let trust_scope = inspect::trust_scope(&der);
            if trust_scope == TrustScope::Nothing {
                let reason = "it is not the certificate of a CA".to_owned();
                warnings.push(CredentialWarning::CaLeftOut { file: file.to_owned(), number, reason });
            } else if !found.iter().any(|known| known.der == der) {
                found.push(Ca { der, trust_scope, kind, file: file.to_owned(), number });
            }
        }
    };
    let mut ignored = Vec::new();
    if let (Some(source), Some(pem)) = (&credentials.cafile, &raw.cafile) {
        let error = |fault| credentials.error(CredentialKind::Cafile, fault);
        let certificates = certificates(pem).map_err(error)?;
        add(CredentialKind::Cafile, &source.to_string(), certificates.required().map_err(error)?);
        report(
            &certificates.notices,
            &source.to_string(),
            credentials.keyfile.as_ref().is_some_and(|keyfile| source.is_same(keyfile)),
            &mut ignored,
        );
    }
    let mut unreadable = Vec::new();
    for (file, content) in &raw.capath {
        match content {
            Ok(pem) => match certificates(pem) {
                Ok(certificates) => {
                    report(&certificates.notices, file, false, &mut ignored);
                    add(CredentialKind::Capath, file, certificates.ders);
                }
                // The directory may contain other files, such as notes.
                Err(CredentialFault::NotPem | CredentialFault::Empty) => {}
                Err(fault) => unreadable.push((file, fault.to_string())),
            },
            Err(reason) => unreadable.push((file, reason.clone())),
        }
    }
    warnings.extend(ignored);
    warnings.extend(unreadable.into_iter().map(|(file, reason)| CredentialWarning::CaLeftOut {
        file: file.clone(),
        number: 1,
        reason,
    }));
    if !found.is_empty() {
        return Ok(found);
    }
    Err(match (&credentials.cafile, &credentials.capath) {
        (None, None) => credentials.error(CredentialKind::Cafile, CredentialFault::NoCa),
        (None, Some(_)) => credentials.error(CredentialKind::Capath, CredentialFault::EmptyDirectory),
        (Some(_), _) => {
            let reason = "it is not the certificate of a CA".to_owned();
            credentials.error(CredentialKind::Cafile, CredentialFault::UnusableCertificate(reason))
        }
    })
}

/// The certificates of a file, and the blocks about which the user is warned.
struct Certificates {
    ders: Vec<CertificateDer<'static>>,
    notices: Vec<Notice>,
    labels: Vec<String>,
}

/// A block of a PEM file about which the user is warned.
struct Notice {
    line: usize,
    label: String,
    is_key: bool,
    what: NoticeOf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NoticeOf {
    Ignored,
    Joined,
}

impl Notice {
    fn new(block: &Block, what: NoticeOf) -> Self {
        // `openssl ecparam -genkey` writes the parameters before the key, although the key contains them too.
        let is_key = block.is_key() || block.label == "EC PARAMETERS";
        Notice { line: block.line, label: block.label.clone(), is_key, what }
    }
}

impl Certificates {
    /// Returns the certificates. Fails if there is none.
    fn required(&self) -> Result<Vec<CertificateDer<'static>>, CredentialFault> {
        if self.ders.is_empty() {
            return Err(CredentialFault::NoCertificate(self.labels.join(", ")));
        }
        Ok(self.ders.clone())
    }
}

/// Reads the certificates of a PEM file.
fn certificates(pem: &[u8]) -> Result<Certificates, CredentialFault> {
    let mut found = Certificates { ders: Vec::new(), notices: Vec::new(), labels: Vec::new() };
    for block in blocks(pem)? {
        let der = || block.der().map_err(CredentialFault::BrokenPem);
        if block.is_joined {
            found.notices.push(Notice::new(&block, NoticeOf::Joined));
        }
        match block.label.as_str() {
            // `X509 CERTIFICATE` is an old label, which OpenSSL also accepts.
            "CERTIFICATE" | "X509 CERTIFICATE" => found.ders.push(der()?.into()),
            "TRUSTED CERTIFICATE" => found.ders.push(inspect::without_trust_attributes(der()?).into()),
            _ => found.notices.push(Notice::new(&block, NoticeOf::Ignored)),
        }
        found.labels.push(block.label);
    }
    Ok(found)
}

/// Converts the notices about a file to warnings. If the file is also the keyfile, its key is not reported as ignored.
fn report(notices: &[Notice], file: &str, is_keyfile: bool, warnings: &mut Vec<CredentialWarning>) {
    for Notice { line, label, is_key, what } in notices {
        let (file, line, label) = (file.to_owned(), *line, label.clone());
        let warning = match what {
            NoticeOf::Ignored if is_keyfile && *is_key => continue,
            NoticeOf::Ignored => CredentialWarning::PemIgnored { file, line, label },
            NoticeOf::Joined => CredentialWarning::PemJoined { file, line, label },
        };
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
}

/// Warns about unused blocks of the keyfile. The first key in the file is used. If the file is also the cafile or the file
/// of our certificate, its certificates are used too.
fn report_keyfile(
    credentials: &Credentials,
    source: &PemSource,
    raw: &Raw,
    warnings: &mut Vec<CredentialWarning>,
) {
    let is_shared = [credentials.certificate.as_ref(), credentials.cafile.as_ref()]
        .into_iter()
        .flatten()
        .any(|other| other.is_same(source));
    let mut has_key = false;
    let mut notices = Vec::new();
    for block in blocks(&raw.keyfile).into_iter().flatten() {
        if block.is_joined {
            notices.push(Notice::new(&block, NoticeOf::Joined));
        }
        let is_first_key = block.is_key() && !std::mem::replace(&mut has_key, true);
        let is_used = is_first_key
            || (!has_key && block.label == "EC PARAMETERS")
            || (is_shared && block.label.ends_with("CERTIFICATE"));
        if !is_used {
            notices.push(Notice::new(&block, NoticeOf::Ignored));
        }
    }
    report(&notices, &source.to_string(), false, warnings);
}

/// Returns the blocks of a PEM file. If there is none, the error names the format of the file.
fn blocks(pem: &[u8]) -> Result<Vec<Block>, CredentialFault> {
    let blocks = Pem::new(pem).blocks();
    if !blocks.is_empty() {
        return Ok(blocks);
    }
    Err(match inspect::binary_format(pem) {
        Some(BinaryFormat::Der) => CredentialFault::Der,
        Some(BinaryFormat::Pkcs12) => CredentialFault::Pkcs12,
        None if pem.trim_ascii().is_empty() => CredentialFault::Empty,
        None => CredentialFault::NotPem,
    })
}

/// The PEM section of a private key.
pub(super) enum KeySection {
    /// Not encrypted.
    Open(PrivateKeyDer<'static>),
    /// Encrypted PKCS#8, in DER.
    Pkcs8(Vec<u8>),
    /// Encrypted in OpenSSL's traditional format, in which the encryption parameters are PEM headers. Contains the text
    /// of the block.
    Legacy(#[cfg_attr(not(feature = "openssl"), expect(dead_code, reason = "only OpenSSL reads it"))] String),
}

/// Returns the first key of the file.
pub(super) fn key_section(pem: &[u8]) -> Result<KeySection, CredentialFault> {
    let blocks = blocks(pem)?;
    for block in &blocks {
        let der = || block.der().map_err(CredentialFault::BrokenPem);
        return Ok(match block.label.as_str() {
            "ENCRYPTED PRIVATE KEY" => KeySection::Pkcs8(der()?),
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" if block.has_legacy_encryption() => {
                KeySection::Legacy(block.to_pem())
            }
            "PRIVATE KEY" => KeySection::Open(PrivateKeyDer::Pkcs8(der()?.into())),
            "RSA PRIVATE KEY" => KeySection::Open(PrivateKeyDer::Pkcs1(der()?.into())),
            "EC PRIVATE KEY" => KeySection::Open(PrivateKeyDer::Sec1(der()?.into())),
            _ => continue,
        });
    }
    let labels: Vec<String> = blocks.into_iter().map(|block| block.label).collect();
    Err(CredentialFault::NoKey(labels.join(", ")))
}
