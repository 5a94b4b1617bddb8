//! What credentials are made of, read once, so that all is of one moment.

use std::path::Path;
use std::sync::Arc;

use ring::digest;
use rustls_pemfile::Item;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::credential_error::{CredentialError, CredentialFault, CredentialKind};
use super::credentials::{Credentials, PemSource};
use super::inspect::{self, VouchesFor};
use super::passphrase::Passphrase;
use super::warning::CredentialWarning;

/// Files larger than this in a directory of certificates are something else.
const LARGEST_CA_FILE: u64 = 1024 * 1024;

/// The bytes of every part.
pub(super) struct Raw {
    cafile: Option<Vec<u8>>,
    capath: Vec<CaFile>,
    certificate: Vec<u8>,
    pub(super) keyfile: Vec<u8>,
    pub(super) passphrase: Option<Vec<u8>>,
}

/// A file in a directory of certificates: its name, and what reading it gave.
type CaFile = (String, Result<Vec<u8>, String>);

/// A fingerprint of everything in a [`Raw`].
pub(super) type Digest = [u8; digest::SHA256_OUTPUT_LEN];

/// The parts that every back end reads alike.
pub(super) struct Material {
    /// The certificates of the CAs, at least one.
    pub(super) cas: Vec<Ca>,
    /// Our own certificate, then what it is signed with.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Each once, in the order of its finding.
    pub(super) warnings: Vec<CredentialWarning>,
}

/// The certificate of a CA that we trust, or one that we trust for itself.
pub(super) struct Ca {
    pub(super) der: CertificateDer<'static>,
    pub(super) vouches_for: VouchesFor,
    kind: CredentialKind,
    file: String,
    number: usize,
}

impl Raw {
    pub(super) fn read(credentials: &Credentials) -> Result<Self, CredentialError> {
        let part = |kind, source: &PemSource| source.read().map_err(|fault| credentials.error(kind, fault));
        let cafile = credentials.cafile.as_ref().map(|source| part(CredentialKind::Cafile, source));
        let capath = credentials.capath.as_deref().map(|path| {
            directory(path).map_err(|error| {
                credentials.error(CredentialKind::Capath, CredentialFault::Unreadable(Arc::new(error)))
            })
        });
        let passphrase = credentials.passphrase.as_ref().map(|passphrase| {
            passphrase.read().map_err(|fault| credentials.error(CredentialKind::Passphrase, fault))
        });
        Ok(Raw {
            cafile: cafile.transpose()?,
            capath: capath.transpose()?.unwrap_or_default(),
            // The key comes first: of a file that holds both, its fault is the clearer one.
            keyfile: part(CredentialKind::Keyfile, &credentials.keyfile)?,
            certificate: part(CredentialKind::Certificate, &credentials.certificate)?,
            passphrase: passphrase.transpose()?,
        })
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

/// All that could be a file of certificates in there, by name.
fn directory(path: &Path) -> std::io::Result<Vec<CaFile>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let content = match std::fs::metadata(&file) {
            Ok(metadata) if metadata.is_file() && metadata.len() <= LARGEST_CA_FILE => std::fs::read(&file),
            Ok(metadata) if metadata.is_file() => {
                Err(std::io::Error::other(format!("it is larger than {LARGEST_CA_FILE} bytes")))
            }
            Ok(_) => continue,
            Err(error) => Err(error),
        };
        files.push((file.display().to_string(), content.map_err(|error| error.to_string())));
    }
    files.sort();
    Ok(files)
}

impl Material {
    pub(super) fn new(credentials: &Credentials, raw: &Raw) -> Result<Self, CredentialError> {
        let mut warnings = Vec::new();
        let cas = cas(credentials, raw, &mut warnings)?;
        // Here too the key comes first.
        key_section(&raw.keyfile).map_err(|fault| credentials.error(CredentialKind::Keyfile, fault))?;
        let chain = certificates(&raw.certificate)
            .map_err(|fault| credentials.error(CredentialKind::Certificate, fault))?;
        let is_open = matches!(key_section(&raw.keyfile), Ok(KeySection::Open(_)));
        if let (PemSource::File(path), true) = (&credentials.keyfile, is_open)
            && is_exposed(path)
        {
            warnings.push(CredentialWarning::KeyExposed { keyfile: path.display().to_string() });
        }
        // A key that is encrypted keeps its secret as well as its passphrase is kept.
        if let (Some(path), false) = (credentials.passphrase.as_ref().and_then(Passphrase::file), is_open)
            && is_exposed(path)
        {
            warnings.push(CredentialWarning::PassphraseExposed { file: path.display().to_string() });
        }
        Ok(Material { cas, chain, warnings })
    }

    /// Whether the site makes version 1 certificates, as far as its CAs tell.
    pub(super) fn has_version1_ca(&self) -> bool {
        self.cas.iter().any(|ca| inspect::is_version1(&ca.der))
    }

    /// Has the back end take every CA; those that it cannot use are left out with a warning, unless that is all.
    pub(super) fn trust<E: ToString>(
        &mut self,
        credentials: &Credentials,
        mut add: impl FnMut(&Ca) -> Result<(), E>,
    ) -> Result<(), CredentialError> {
        let mut last = None;
        let mut taken = false;
        for ca in &self.cas {
            match add(ca) {
                Ok(()) => taken = true,
                Err(error) => {
                    let reason = error.to_string();
                    last = Some((ca.kind, reason.clone()));
                    let (file, number) = (ca.file.clone(), ca.number);
                    self.warnings.push(CredentialWarning::CaLeftOut { file, number, reason });
                }
            }
        }
        match last {
            Some((kind, reason)) if !taken => {
                Err(credentials.error(kind, CredentialFault::UnusableCertificate(reason)))
            }
            _ => Ok(()),
        }
    }
}

/// Every certificate that may be trusted: those of CAs, and those that vouch for themselves alone. A peer's
/// certificate among them must not make a CA of that peer.
fn cas(
    credentials: &Credentials,
    raw: &Raw,
    warnings: &mut Vec<CredentialWarning>,
) -> Result<Vec<Ca>, CredentialError> {
    let mut found: Vec<Ca> = Vec::new();
    let mut take = |kind, file: &str, ders: Vec<CertificateDer<'static>>| {
        for (number, der) in (1..).zip(ders) {
            let vouches_for = inspect::vouches_for(&der);
            if vouches_for == VouchesFor::Nobody {
                let reason = "it is not the certificate of a CA".to_owned();
                warnings.push(CredentialWarning::CaLeftOut { file: file.to_owned(), number, reason });
            } else if !found.iter().any(|known| known.der == der) {
                found.push(Ca { der, vouches_for, kind, file: file.to_owned(), number });
            }
        }
    };
    if let (Some(source), Some(pem)) = (&credentials.cafile, &raw.cafile) {
        let ders = certificates(pem).map_err(|fault| credentials.error(CredentialKind::Cafile, fault))?;
        take(CredentialKind::Cafile, &source.to_string(), ders);
    }
    let mut unreadable = Vec::new();
    for (file, content) in &raw.capath {
        let ders = match content {
            Ok(pem) => certificates(pem),
            Err(reason) => {
                unreadable.push((file, reason.clone()));
                continue;
            }
        };
        match ders {
            Ok(ders) => take(CredentialKind::Capath, file, ders),
            // Revocation lists, notes: not everything there is meant for us.
            Err(CredentialFault::NotPem | CredentialFault::NoCertificate(_)) => {}
            Err(fault) => unreadable.push((file, fault.to_string())),
        }
    }
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

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CredentialFault> {
    if labels(pem).is_empty() {
        return Err(CredentialFault::NotPem);
    }
    let mut found = Vec::new();
    for item in sections(&only_certificates(pem))? {
        if let Item::X509Certificate(der) = item {
            found.push(der);
        }
    }
    if found.is_empty() {
        return Err(CredentialFault::NoCertificate(labels(pem).join(", ")));
    }
    Ok(found)
}

/// The PEM section of a private key.
pub(super) enum KeySection {
    /// Not encrypted.
    Open(tokio_rustls::rustls::pki_types::PrivateKeyDer<'static>),
    /// Encrypted in PKCS#8's way, as DER.
    Pkcs8(Vec<u8>),
    /// Encrypted in OpenSSL's old way, which is a matter of the PEM.
    Legacy,
}

/// Finds the key.
pub(super) fn key_section(pem: &[u8]) -> Result<KeySection, CredentialFault> {
    // The first is PKCS#8's way to say it, the second that of OpenSSL before.
    if let Some(der) = encrypted_pkcs8(pem) {
        return der.map(KeySection::Pkcs8);
    }
    if contains(pem, b"Proc-Type: 4,ENCRYPTED") {
        return Ok(KeySection::Legacy);
    }
    if labels(pem).is_empty() {
        return Err(CredentialFault::NotPem);
    }
    for item in sections(pem)? {
        match item {
            Item::Pkcs8Key(key) => return Ok(KeySection::Open(key.into())),
            Item::Pkcs1Key(key) => return Ok(KeySection::Open(key.into())),
            Item::Sec1Key(key) => return Ok(KeySection::Open(key.into())),
            _ => (),
        }
    }
    Err(CredentialFault::NoKey(labels(pem).join(", ")))
}

/// The section that rustls' reader of PEM does not know.
fn encrypted_pkcs8(pem: &[u8]) -> Option<Result<Vec<u8>, CredentialFault>> {
    let text = String::from_utf8_lossy(pem);
    let (_, section) = text.split_once("-----BEGIN ENCRYPTED PRIVATE KEY-----")?;
    let Some((section, _)) = section.split_once("-----END ENCRYPTED PRIVATE KEY-----") else {
        return Some(Err(CredentialFault::BrokenPem("the section of the key has no end".into())));
    };
    let digits: String = section.split_ascii_whitespace().collect();
    let der = data_encoding::BASE64.decode(digits.as_bytes());
    Some(der.map_err(|error| CredentialFault::BrokenPem(error.to_string())))
}

/// Leaves out what else is there: a key may stand in the same file, in a form that only OpenSSL reads.
fn only_certificates(pem: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut inside = false;
    for line in pem.split_inclusive(|byte| *byte == b'\n') {
        inside |= line.starts_with(b"-----BEGIN CERTIFICATE-----");
        if inside {
            kept.extend_from_slice(line);
        }
        inside &= !line.starts_with(b"-----END ");
    }
    kept
}

fn sections(pem: &[u8]) -> Result<Vec<Item>, CredentialFault> {
    rustls_pemfile::read_all(&mut &*pem)
        .collect::<Result<_, _>>()
        .map_err(|error| CredentialFault::BrokenPem(error.to_string()))
}

/// What the sections of a PEM text say they are.
fn labels(pem: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(pem)
        .lines()
        .filter_map(|line| Some(line.strip_prefix("-----BEGIN ")?.trim_end_matches(['-', ' ']).to_owned()))
        .collect()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Whether others than its owner can read it.
#[cfg(unix)]
fn is_exposed(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    const GROUP_OR_OTHERS_READ: u32 = 0o044;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & GROUP_OR_OTHERS_READ != 0)
}

#[cfg(not(unix))]
fn is_exposed(_: &Path) -> bool {
    false
}
