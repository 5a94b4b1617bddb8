//! Where the certificates and the key come from: PEM, in files or in memory.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls_pemfile::Item;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version;

use super::mutual::MutualTls;

/// Zeek's triple (`Broker::ssl_cafile`, `ssl_certificate`, `ssl_keyfile`), and whether to check a name.
///
/// It only says where things are; [`Credentials::load`] reads them. Load again to take up renewed ones.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The certificates of the CAs that we trust to sign a peer's: one or several.
    pub cafile: PemSource,
    /// Our own certificate, and behind it, if any, the intermediate ones that lead to the CA.
    pub certificate: PemSource,
    /// The private key of our certificate: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub keyfile: PemSource,
    /// A DNS name or IP address that the peer's certificate must bear (as subjectAltName), whichever
    /// side connects. `None`, as Broker has it: any certificate of our CA will do.
    pub verify_name: Option<String>,
}

impl Credentials {
    /// Credentials in three files.
    #[must_use]
    pub fn from_files(
        cafile: impl Into<PathBuf>,
        certificate: impl Into<PathBuf>,
        keyfile: impl Into<PathBuf>,
    ) -> Self {
        Credentials {
            cafile: PemSource::File(cafile.into()),
            certificate: PemSource::File(certificate.into()),
            keyfile: PemSource::File(keyfile.into()),
            verify_name: None,
        }
    }

    /// Credentials in memory, each as the file would have it.
    #[must_use]
    pub fn from_pem(
        cafile: impl Into<Vec<u8>>,
        certificate: impl Into<Vec<u8>>,
        keyfile: impl Into<Vec<u8>>,
    ) -> Self {
        Credentials {
            cafile: PemSource::Memory(cafile.into()),
            certificate: PemSource::Memory(certificate.into()),
            keyfile: PemSource::Memory(keyfile.into()),
            verify_name: None,
        }
    }

    /// The same, but the peer's certificate must bear this name.
    #[must_use]
    pub fn verify_name(self, name: impl Into<String>) -> Self {
        Credentials { verify_name: Some(name.into()), ..self }
    }

    /// Reads and checks everything. What peers will likely not like about it, but might (a certificate that has
    /// expired by our clock, say), is logged as a warning, and kept in [`MutualTls::warnings`].
    ///
    /// # Errors
    /// When a part cannot be read or used, or key and certificate do not belong together.
    pub fn load(&self) -> Result<MutualTls, CredentialError> {
        MutualTls::new(self, &[&version::TLS13, &version::TLS12])
    }

    /// The certificates of the CAs.
    pub(super) fn read_cafile(&self) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
        certificates(&self.cafile).map_err(|fault| self.error(CredentialKind::Cafile, fault))
    }

    /// Our own certificate, then what it is signed with.
    pub(super) fn read_certificate(&self) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
        certificates(&self.certificate).map_err(|fault| self.error(CredentialKind::Certificate, fault))
    }

    /// Our private key.
    pub(super) fn read_keyfile(&self) -> Result<PrivateKeyDer<'static>, CredentialError> {
        private_key(&self.keyfile).map_err(|fault| self.error(CredentialKind::Keyfile, fault))
    }

    /// An error about one of the parts.
    pub(super) fn error(&self, kind: CredentialKind, fault: CredentialFault) -> CredentialError {
        let source = match kind {
            CredentialKind::Cafile => self.cafile.to_string(),
            CredentialKind::Certificate => self.certificate.to_string(),
            CredentialKind::Keyfile => self.keyfile.to_string(),
            CredentialKind::VerifyName => self.verify_name.clone().unwrap_or_default(),
        };
        CredentialError { kind, source, fault }
    }
}

/// PEM text in a file or in memory.
#[derive(Clone)]
pub enum PemSource {
    /// A file, read anew at each load.
    File(PathBuf),
    /// What such a file would hold.
    Memory(Vec<u8>),
}

impl PemSource {
    fn read(&self) -> Result<Vec<u8>, CredentialFault> {
        match self {
            PemSource::File(path) => {
                std::fs::read(path).map_err(|error| CredentialFault::Unreadable(Arc::new(error)))
            }
            PemSource::Memory(pem) => Ok(pem.clone()),
        }
    }
}

/// The file's name; never its content, which may be a key.
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

/// Which part of the credentials is meant, by the name of its option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// The CA certificates.
    Cafile,
    /// Our certificate.
    Certificate,
    /// Our key.
    Keyfile,
    /// The name to check.
    VerifyName,
}

impl fmt::Display for CredentialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CredentialKind::Cafile => "cafile",
            CredentialKind::Certificate => "certificate",
            CredentialKind::Keyfile => "keyfile",
            CredentialKind::VerifyName => "name to verify",
        })
    }
}

/// Credentials that cannot be used: which part, where it came from, why, and the mend.
#[derive(Debug, Clone)]
pub struct CredentialError {
    /// Which part.
    pub kind: CredentialKind,
    /// The file's name, or the name to verify.
    pub source: String,
    /// What is wrong with it.
    pub fault: CredentialFault,
}

impl std::error::Error for CredentialError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.fault)
    }
}

/// What is wrong with a part of the credentials.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialFault {
    /// The file is not there, or may not be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[source] Arc<io::Error>),
    /// There is nothing in it that PEM consists of.
    #[error("it is not PEM: there is no `-----BEGIN` line in it")]
    NotPem,
    /// It begins like PEM, but is broken.
    #[error("its PEM is broken: {0}")]
    BrokenPem(String),
    /// There is no certificate in it.
    #[error("there is no certificate in it, only: {0}")]
    NoCertificate(String),
    /// There is no private key in it.
    #[error("there is no private key in it, only: {0}")]
    NoKey(String),
    /// The key needs a passphrase.
    #[error("the key is encrypted, and passphrases are not supported yet")]
    Encrypted,
    /// The key is of a kind, or of a size, that this TLS back end does not know.
    #[error("the key cannot be used: {0}")]
    UnusableKey(String),
    /// The key is not the certificate's.
    #[error("it is not the key of the certificate")]
    KeyMismatch,
    /// Our certificate is an X.509 version 1 certificate.
    #[error("it is an X.509 version 1 certificate, which this TLS back end cannot use")]
    Version1,
    /// The certificate is malformed, or of a kind that this TLS back end does not know.
    #[error("the certificate cannot be used: {0}")]
    UnusableCertificate(String),
    /// The name to verify is neither a DNS name nor an IP address.
    #[error("it is neither a DNS name nor an IP address")]
    BadName,
}

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CredentialError { kind, source, fault } = self;
        write!(f, "{kind} {source}: {fault}; ")?;
        match (fault, kind) {
            (CredentialFault::Unreadable(_), _) => write!(f, "check its name and its permissions"),
            (CredentialFault::NotPem, CredentialKind::Keyfile) => {
                write!(
                    f,
                    "if it is DER, convert it: `openssl pkey -inform DER -in {source} -out {source}.pem`"
                )
            }
            (CredentialFault::NotPem, _) => {
                write!(
                    f,
                    "if it is DER, convert it: `openssl x509 -inform DER -in {source} -out {source}.pem`"
                )
            }
            (CredentialFault::BrokenPem(_), _) => write!(f, "take a fresh copy of it"),
            (CredentialFault::NoCertificate(_) | CredentialFault::NoKey(_), _) => {
                write!(f, "are certificate and keyfile swapped?")
            }
            (CredentialFault::Encrypted, _) => write!(
                f,
                "take the passphrase off a copy that only you can read: \
                 `(umask 077; openssl pkey -in {source} -out {source}.plain)`"
            ),
            (CredentialFault::UnusableKey(_), _) => write!(
                f,
                "use RSA of 2048 to 4096 bits, ECDSA on P-256 or P-384, or Ed25519, e.g. \
                 `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`"
            ),
            (CredentialFault::KeyMismatch, _) => write!(
                f,
                "compare what `openssl pkey -in {source} -pubout` and `openssl x509 -noout -pubkey` say"
            ),
            (CredentialFault::Version1, _) => write!(
                f,
                "make a version 3 one of it: `echo basicConstraints=CA:FALSE > v3.ext; \
                 openssl x509 -x509toreq -in {source} -signkey KEYFILE | \
                 openssl x509 -req -CA CAFILE -CAkey KEY-OF-THE-CA -CAcreateserial -days 365 -extfile v3.ext \
                 -out {source}.v3`"
            ),
            (CredentialFault::UnusableCertificate(_), _) => {
                write!(f, "look at it with `openssl x509 -in {source} -noout -text`, and reissue it")
            }
            (CredentialFault::BadName, _) => write!(f, "give one of them, without a port"),
        }
    }
}

fn certificates(source: &PemSource) -> Result<Vec<CertificateDer<'static>>, CredentialFault> {
    let pem = source.read()?;
    let mut found = Vec::new();
    for item in sections(&pem)? {
        if let Item::X509Certificate(der) = item {
            found.push(der);
        }
    }
    if found.is_empty() {
        return Err(CredentialFault::NoCertificate(labels(&pem).join(", ")));
    }
    Ok(found)
}

fn private_key(source: &PemSource) -> Result<PrivateKeyDer<'static>, CredentialFault> {
    let pem = source.read()?;
    // The first is PKCS#8's way to say it, the second that of OpenSSL before.
    if contains(&pem, b"BEGIN ENCRYPTED PRIVATE KEY") || contains(&pem, b"Proc-Type: 4,ENCRYPTED") {
        return Err(CredentialFault::Encrypted);
    }
    for item in sections(&pem)? {
        match item {
            Item::Pkcs8Key(key) => return Ok(key.into()),
            Item::Pkcs1Key(key) => return Ok(key.into()),
            Item::Sec1Key(key) => return Ok(key.into()),
            _ => (),
        }
    }
    Err(CredentialFault::NoKey(labels(&pem).join(", ")))
}

fn sections(pem: &[u8]) -> Result<Vec<Item>, CredentialFault> {
    if labels(pem).is_empty() {
        return Err(CredentialFault::NotPem);
    }
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
