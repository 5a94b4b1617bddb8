//! What can be wrong with our own credentials, with the file and a hint.

use std::fmt;
use std::io;
use std::sync::Arc;

/// The end of a sentence that began with another hint: how to use what only OpenSSL accepts.
const OR_OPENSSL: &str = if cfg!(feature = "openssl") {
    "or use it as it is, with OpenSSL (Backend::OpenSsl, `--tls-backend openssl`)"
} else {
    "or use it as it is, in a build with OpenSSL (`cargo build --features openssl`)"
};

/// Which part of the credentials is meant, by the name of its option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CredentialKind {
    /// The CA certificates in a file.
    Cafile,
    /// The CA certificates in a directory.
    Capath,
    /// Our certificate.
    Certificate,
    /// Our key.
    Keyfile,
    /// The passphrase of our key.
    Passphrase,
    /// The name to check.
    VerifyName,
    /// The TLS library.
    Backend,
}

impl fmt::Display for CredentialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CredentialKind::Cafile => "cafile",
            CredentialKind::Capath => "capath",
            CredentialKind::Certificate => "certificate",
            CredentialKind::Keyfile => "keyfile",
            CredentialKind::Passphrase => "passphrase",
            CredentialKind::VerifyName => "name to verify",
            CredentialKind::Backend => "TLS back end",
        })
    }
}

/// Credentials that cannot be used: which part, its source, the reason, and a hint.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CredentialError {
    /// Which part.
    pub kind: CredentialKind,
    /// The file's or directory's name, the name to verify, or that of the back end.
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
    /// A pipe or a device stands where a file was.
    #[error("it is not a regular file, and reading it could block")]
    NotAFile,
    /// There is nothing in it that PEM consists of.
    #[error("it is not PEM: there is no `-----BEGIN` line in it")]
    NotPem,
    /// The file is empty.
    #[error("it is empty")]
    Empty,
    /// It is in DER, not in PEM.
    #[error("it is DER, not PEM")]
    Der,
    /// It is a PKCS#12 container (.p12, .pfx).
    #[error("it is a PKCS#12 container, not PEM")]
    Pkcs12,
    /// It begins like PEM, but is broken.
    #[error("its PEM is broken: {0}")]
    BrokenPem(String),
    /// There is no certificate in it.
    #[error("there is no certificate in it, only: {0}")]
    NoCertificate(String),
    /// There is no private key in it.
    #[error("there is no private key in it, only: {0}")]
    NoKey(String),
    /// There is no file with a certificate in the directory.
    #[error("no file in this directory holds a certificate in PEM")]
    EmptyDirectory,
    /// Nothing says whom to trust.
    #[error("there is neither a cafile nor a capath, so that no peer could be trusted")]
    NoCa,
    /// The key needs a passphrase.
    #[error("the key is encrypted, and there is no passphrase")]
    Encrypted,
    /// The key is encrypted in the way of OpenSSL before 1.0, which this TLS back end does not know.
    #[error(
        "the key is encrypted in OpenSSL's old way (`Proc-Type: 4,ENCRYPTED`), which this TLS back end \
         does not know"
    )]
    LegacyEncrypted,
    /// The key is encrypted with something that this TLS back end does not know.
    #[error("the key is encrypted in a way that this TLS back end does not know ({0})")]
    UnsupportedEncryption(String),
    /// The passphrase is not that of the key.
    #[error("the passphrase does not open it")]
    WrongPassphrase,
    /// There is nothing in the passphrase.
    #[error("it is empty")]
    EmptyPassphrase,
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
    /// This program was built without OpenSSL.
    #[error("this build has no OpenSSL in it")]
    NoOpenSsl,
    /// OpenSSL failed in a way of its own.
    #[error("OpenSSL failed: {0}")]
    OpenSsl(String),
}

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CredentialError { kind, source, fault } = self;
        if source.is_empty() {
            write!(f, "{kind}: {fault}; ")?;
        } else {
            write!(f, "{kind} {source}: {fault}; ")?;
        }
        match (fault, kind) {
            (CredentialFault::Unreadable(_), _) => write!(f, "check its name and its permissions"),
            (CredentialFault::NotAFile, _) => write!(f, "put a file there"),
            (CredentialFault::NotPem, _) => write!(f, "check that it is the right file"),
            (CredentialFault::Empty, CredentialKind::Keyfile) => write!(f, "write the key to it, in PEM"),
            (CredentialFault::Empty, _) => write!(f, "write the certificates to it, in PEM"),
            (CredentialFault::Der, CredentialKind::Keyfile) => {
                write!(f, "convert it: `openssl pkey -inform DER -in {source} -out {source}.pem`")
            }
            (CredentialFault::Der, _) => {
                write!(f, "convert it: `openssl x509 -inform DER -in {source} -out {source}.pem`")
            }
            (CredentialFault::Pkcs12, CredentialKind::Keyfile) => write!(
                f,
                "extract the key for you alone: `(umask 077; openssl pkcs12 -in {source} -nocerts -out {source}.key)`"
            ),
            (CredentialFault::Pkcs12, kind) => {
                let which = if *kind == CredentialKind::Certificate { "-clcerts" } else { "-cacerts" };
                write!(
                    f,
                    "extract the certificates: `openssl pkcs12 -in {source} -nokeys {which} -out {source}.pem`"
                )
            }
            (CredentialFault::BrokenPem(_), _) => write!(f, "take a fresh copy of it"),
            (CredentialFault::NoCertificate(_) | CredentialFault::NoKey(_), _) => {
                write!(f, "are certificate and keyfile swapped?")
            }
            (CredentialFault::EmptyDirectory, _) => {
                write!(f, "put the certificates of the CAs there, each in a file")
            }
            (CredentialFault::NoCa, _) => {
                write!(f, "give the certificate of the CA that signs the peers' certificates")
            }
            (CredentialFault::Encrypted, _) => write!(
                f,
                "take the passphrase off a copy that only you can read: \
                 `(umask 077; openssl pkey -in {source} -out {source}.plain)`, or give the passphrase \
                 (`--passphrase-file FILE`)"
            ),
            (CredentialFault::LegacyEncrypted | CredentialFault::UnsupportedEncryption(_), _) => write!(
                f,
                "encrypt it anew, with the same passphrase: \
                 `openssl pkcs8 -topk8 -in {source} -out {source}.pkcs8`, {OR_OPENSSL}"
            ),
            (CredentialFault::WrongPassphrase, _) => {
                write!(f, "try it with `openssl pkey -in {source} -noout`")
            }
            (CredentialFault::EmptyPassphrase, _) => write!(f, "give the passphrase of the keyfile, or none"),
            (CredentialFault::UnusableKey(_), _) => write!(
                f,
                "use RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519, e.g. \
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
                 -out {source}.v3`, {OR_OPENSSL}"
            ),
            (CredentialFault::UnusableCertificate(_), _) => {
                write!(f, "look at it with `openssl x509 -in {source} -noout -text`, and reissue it")
            }
            (CredentialFault::BadName, _) => write!(f, "give one of them, without a port"),
            (CredentialFault::NoOpenSsl, _) => {
                write!(f, "build it with `cargo build --features openssl`, or choose another back end")
            }
            (CredentialFault::OpenSsl(_), _) => {
                write!(f, "is this OpenSSL 1.1.1 or later, and set up rightly?")
            }
        }
    }
}
