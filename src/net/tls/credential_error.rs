//! Errors of our own credentials.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The end of a hint for credentials that only OpenSSL accepts.
pub(super) const OR_OPENSSL: &str = if cfg!(feature = "openssl") {
    "or choose OpenSSL as the TLS back end"
} else {
    "or use a build with OpenSSL (`cargo build --features openssl`)"
};

/// A part of the credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum CredentialKind {
    /// The CA certificates in a file.
    Cafile,
    /// The CA certificates in a directory.
    Capath,
    /// Our certificate.
    Certificate,
    /// Our private key.
    Keyfile,
    /// The passphrase of our key.
    Passphrase,
    /// The name to verify.
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

/// Credentials that cannot be used. `Display` writes the part, its source, the cause and the hint.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CredentialError {
    /// The part.
    pub kind: CredentialKind,
    /// The source of the part: the name of the file or directory, the name to verify, or the name of the TLS library.
    pub source: String,
    /// The cause.
    pub fault: CredentialFault,
}

/// A setting that makes it possible to use these credentials unchanged. The hint of the error describes the setting. The
/// name of the setting depends on the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// Set the passphrase of the key.
    Passphrase,
    /// Choose OpenSSL as the TLS back end.
    OpenSsl,
}

/// Why a part of the credentials cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialFault {
    /// The file does not exist, or its permissions do not allow reading it. `Error::source` returns the `Arc`, so a
    /// downcast to [`io::Error`] fails. To get the [`io::Error`], match this variant.
    #[error("it cannot be read: {0}")]
    Unreadable(#[source] Arc<io::Error>),
    /// The path is a directory.
    #[error("it is a directory")]
    Directory,
    /// A pipe or a device has replaced the file since it was loaded.
    #[error("it is not a regular file, and reading it could block")]
    NotAFile,
    /// A named pipe has had no writer for 5 seconds.
    #[error("it is a pipe to which no process writes")]
    NoWriter,
    /// A pipe or a device was not read completely in time, because its writer did not close it.
    #[error("reading it did not end within {:.0} s, because its writer did not close it", .waited.as_secs_f64())]
    Unfinished {
        /// How long this side tried to read it.
        waited: Duration,
    },
    /// The file is larger than the maximum size for its kind.
    #[error("it is larger than {limit} bytes")]
    TooLarge {
        /// The maximum size in bytes.
        limit: u64,
    },
    /// The file has no PEM block.
    #[error("it is not PEM: there is no `-----BEGIN` line in it")]
    NotPem,
    /// The file is empty.
    #[error("it is empty")]
    Empty,
    /// The file is DER, not PEM.
    #[error("it is DER, not PEM")]
    Der,
    /// The file is a PKCS#12 container (.p12, .pfx).
    #[error("it is a PKCS#12 container, not PEM")]
    Pkcs12,
    /// A PEM block is malformed.
    #[error("its PEM is malformed: {0}")]
    BrokenPem(String),
    /// The file contains no certificate.
    #[error("there is no certificate in it, only: {0}")]
    NoCertificate(String),
    /// The file contains no private key.
    #[error("there is no private key in it, only: {0}")]
    NoKey(String),
    /// The directory contains no file with a certificate.
    #[error("no file in this directory contains a certificate in PEM")]
    EmptyDirectory,
    /// The part is required, and not set.
    #[error("it is required, and not set")]
    Missing,
    /// There are no CA certificates.
    #[error("there is neither a cafile nor a capath, so no peer can be trusted")]
    NoCa,
    /// The key is encrypted, and there is no passphrase.
    #[error("the key is encrypted, and there is no passphrase")]
    Encrypted,
    /// The key is encrypted in the traditional format of OpenSSL before 1.0, which this TLS back end does not support.
    #[error(
        "the key is encrypted in OpenSSL's traditional format (`Proc-Type: 4,ENCRYPTED`), which this TLS back end does not support"
    )]
    LegacyEncrypted,
    /// The key is encrypted with a scheme that this TLS back end does not support.
    #[error("the key is encrypted with a scheme that this TLS back end does not support ({0})")]
    UnsupportedEncryption(String),
    /// The passphrase does not decrypt the key.
    #[error("the passphrase does not decrypt the key")]
    WrongPassphrase,
    /// The passphrase is empty.
    #[error("it is empty")]
    EmptyPassphrase,
    /// The key has a kind or a size that this TLS back end does not support.
    #[error("the key cannot be used: {0}")]
    UnusableKey(String),
    /// The key has an algorithm that this TLS back end does not support.
    #[error("the key is {0}, which this TLS back end does not support")]
    UnsupportedKey(String),
    /// The key is an EC key on a curve that TLS libraries do not support.
    #[error("the key is EC on {0}, a curve that TLS libraries do not support")]
    UnsupportedCurve(String),
    /// The key is an EC key that contains explicit parameters instead of the name of a curve.
    #[error("the key is EC with explicit parameters, which this TLS back end does not support")]
    ExplicitCurve,
    /// The key does not match the certificate.
    #[error("it is not the key of the certificate")]
    KeyMismatch,
    /// Our certificate is an X.509 version 1 certificate.
    #[error("it is an X.509 version 1 certificate, which this TLS back end cannot use")]
    Version1,
    /// The certificate is malformed, or of a kind that this TLS back end does not support.
    #[error("the certificate cannot be used: {0}")]
    UnusableCertificate(String),
    /// The name to verify is neither a DNS name nor an IP address.
    #[error("it is neither a DNS name nor an IP address")]
    BadName,
    /// This program was built without OpenSSL.
    #[error("this build does not include OpenSSL")]
    NoOpenSsl,
    /// OpenSSL failed for a reason unrelated to the credentials.
    #[error("OpenSSL failed: {0}")]
    OpenSsl(String),
}

impl CredentialFault {
    /// Returns whether OpenSSL may accept the credentials, although rustls reports this fault.
    pub(super) fn may_be_for_openssl(&self) -> bool {
        matches!(
            self,
            CredentialFault::Version1
                | CredentialFault::LegacyEncrypted
                | CredentialFault::UnsupportedEncryption(_)
                | CredentialFault::UnusableKey(_)
                | CredentialFault::UnsupportedKey(_)
                | CredentialFault::ExplicitCurve
                | CredentialFault::UnusableCertificate(_)
        )
    }
}

impl CredentialError {
    /// Returns the setting that the hint describes, if it describes one.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        match self.fault {
            CredentialFault::Encrypted => Some(Remedy::Passphrase),
            CredentialFault::LegacyEncrypted
            | CredentialFault::UnsupportedEncryption(_)
            | CredentialFault::UnsupportedKey(_)
            | CredentialFault::ExplicitCurve
            | CredentialFault::Version1
                if cfg!(feature = "openssl") =>
            {
                Some(Remedy::OpenSsl)
            }
            _ => None,
        }
    }

    /// Returns a hint on how to fix the credentials.
    #[must_use]
    pub fn hint(&self) -> String {
        let CredentialError { kind, source, fault } = self;
        let fixed = match (fault, kind) {
            (CredentialFault::Unreadable(_), _) => "check its name and its permissions",
            (CredentialFault::Directory, CredentialKind::Cafile) => {
                "use a file, or set the directory as capath"
            }
            (CredentialFault::Directory, _) => "use a file",
            (CredentialFault::NotAFile, _) => "replace it with a regular file",
            (CredentialFault::NoWriter, _) => {
                "first start the program that writes to it, or use a regular file"
            }
            (CredentialFault::Unfinished { .. }, _) => {
                "check the program that writes to it, or use a regular file"
            }
            (CredentialFault::TooLarge { .. } | CredentialFault::NotPem, _) => {
                "check that it is the right file"
            }
            (CredentialFault::Empty, CredentialKind::Keyfile) => "write the key to it, in PEM",
            (CredentialFault::Empty, _) => "write the certificates to it, in PEM",
            (CredentialFault::BrokenPem(_), _) => "copy the file again",
            (CredentialFault::NoCertificate(_) | CredentialFault::NoKey(_), _) => {
                "check whether certificate and keyfile are swapped"
            }
            (CredentialFault::EmptyDirectory, _) => {
                "put the certificate of each CA into a separate file in this directory"
            }
            (CredentialFault::Missing, _) => "set a certificate and its key",
            (CredentialFault::NoCa, _) => "set the certificate of the CA that signs the peers' certificates",
            (CredentialFault::EmptyPassphrase, _) => {
                "set it to the passphrase of the key, or configure no passphrase"
            }
            (CredentialFault::UnusableKey(_) | CredentialFault::UnsupportedCurve(_), _) => {
                "use a key of another kind or size (RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, Ed25519), e.g. \
                 `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:named_curve`"
            }
            (CredentialFault::BadName, _) => "use a DNS name or an IP address, without a port",
            (CredentialFault::NoOpenSsl, _) => {
                "build it with `cargo build --features openssl`, or choose another back end"
            }
            (CredentialFault::OpenSsl(_), _) => {
                "check that OpenSSL is version 1.1.1 or later, and check its configuration"
            }
            (CredentialFault::Der, CredentialKind::Keyfile) => {
                return format!("convert it: `openssl pkey -inform DER -in {source} -out {source}.pem`");
            }
            (CredentialFault::Der, _) => {
                return format!("convert it: `openssl x509 -inform DER -in {source} -out {source}.pem`");
            }
            (CredentialFault::Pkcs12, CredentialKind::Keyfile) => {
                return format!(
                    "extract the key, readable only by you: \
                     `(umask 077; openssl pkcs12 -in {source} -nocerts -out {source}.key)`"
                );
            }
            (CredentialFault::Pkcs12, kind) => {
                let which = if *kind == CredentialKind::Certificate { "-clcerts" } else { "-cacerts" };
                return format!(
                    "extract the certificates: `openssl pkcs12 -in {source} -nokeys {which} -out {source}.pem`"
                );
            }
            (CredentialFault::Encrypted, _) => {
                return format!(
                    "remove the passphrase from a copy that only you can read: \
                     `(umask 077; openssl pkey -in {source} -out {source}.plain)`, or set the passphrase"
                );
            }
            (CredentialFault::LegacyEncrypted | CredentialFault::UnsupportedEncryption(_), _) => {
                return format!(
                    "encrypt it again, with the same passphrase: \
                     `openssl pkcs8 -topk8 -in {source} -out {source}.pkcs8`, {OR_OPENSSL}"
                );
            }
            (CredentialFault::ExplicitCurve, CredentialKind::Certificate) => {
                return format!(
                    "convert the key: `(umask 077; openssl pkey -in KEYFILE -ec_param_enc named_curve \
                     -out KEYFILE.named)`, and reissue the certificate for the converted key, {OR_OPENSSL}"
                );
            }
            (CredentialFault::ExplicitCurve, _) => {
                return format!(
                    "convert it: `(umask 077; openssl pkey -in {source} -ec_param_enc named_curve -out {source}.named)`, and \
                     reissue the certificate if it has explicit parameters too, {OR_OPENSSL}"
                );
            }
            (CredentialFault::UnsupportedKey(_), _) => {
                return format!(
                    "use a key of another kind (RSA, ECDSA on P-256, P-384 or P-521, Ed25519), {OR_OPENSSL}"
                );
            }
            (CredentialFault::WrongPassphrase, _) => {
                return format!("test it with `openssl pkey -in {source} -noout`");
            }
            (CredentialFault::KeyMismatch, _) => {
                return format!(
                    "compare the outputs of `openssl pkey -in {source} -pubout` and `openssl x509 -in CERTIFICATE -noout -pubkey`"
                );
            }
            (CredentialFault::Version1, _) => {
                return format!(
                    "convert it to version 3: `echo basicConstraints=CA:FALSE > v3.ext; \
                     openssl x509 -x509toreq -in {source} -signkey KEYFILE | \
                     openssl x509 -req -CA CAFILE -CAkey KEY-OF-THE-CA -CAcreateserial -days 365 -extfile v3.ext \
                     -out {source}.v3`, {OR_OPENSSL}"
                );
            }
            (CredentialFault::UnusableCertificate(_), _) => {
                return format!("inspect it with `openssl x509 -in {source} -noout -text`, and reissue it");
            }
        };
        fixed.to_owned()
    }
}

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CredentialError { kind, source, fault } = self;
        let space = if source.is_empty() { "" } else { " " };
        write!(f, "{kind}{space}{source}: {fault}; {}", self.hint())
    }
}

impl std::error::Error for CredentialError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.fault)
    }
}
