//! Problems of our credentials that may cause a peer to refuse us.

use std::time::Duration;

use super::certificate_fault::{Ago, CertificateFault};

/// A problem of our credentials that may cause a peer to refuse us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialWarning {
    /// Our certificate, or one in its chain, has expired.
    #[error(
        "certificate {certificate}: it (or a CA certificate above it) expired {} ago, so peers will refuse it; renew it",
        Ago(*ago)
    )]
    Expired {
        /// The file of the certificate.
        certificate: String,
        /// The time since the certificate expired.
        ago: Duration,
    },
    /// Our certificate, or one in its chain, is not valid yet.
    #[error(
        "certificate {certificate}: it (or a CA certificate above it) becomes valid only in {}, so peers will refuse it; \
         correct the clocks",
        Ago(*ahead)
    )]
    NotYetValid {
        /// The file of the certificate.
        certificate: String,
        /// The time until the certificate becomes valid.
        ahead: Duration,
    },
    /// Our certificate is not signed by a CA that we trust.
    #[error(
        "certificate {certificate}: it is not signed by a CA in {cas}, so peers that trust the same CAs \
         will refuse it; use a certificate of such a CA, or append the intermediate certificates to it"
    )]
    Foreign {
        /// The file of the certificate.
        certificate: String,
        /// The file or the directory of the CA certificates, or both.
        cas: String,
    },
    /// Our certificate is a CA certificate.
    #[error(
        "certificate {certificate}: it is a CA certificate, and some peers reject this; use it to sign another certificate: \
         `echo basicConstraints=CA:FALSE > v3.ext; openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc \
         -subj /CN=NAME -keyout node.key | openssl x509 -req -CA {certificate} -CAkey KEYFILE -CAcreateserial \
         -days 365 -extfile v3.ext -out node.pem`"
    )]
    IsCa {
        /// The file of the certificate.
        certificate: String,
    },
    /// Our certificate does not permit the use on one side of a connection.
    #[error(
        "certificate {certificate}: it does not permit the use on the side that {side}s, so peers will refuse it there; \
         reissue it with `extendedKeyUsage=serverAuth,clientAuth` and `keyUsage=digitalSignature`, or without these \
         extensions"
    )]
    WrongPurpose {
        /// The file of the certificate.
        certificate: String,
        /// `connect` or `listen`.
        side: &'static str,
    },
    /// Our own verification of our certificate failed for a reason that is not listed above.
    #[error("certificate {certificate}: peers may refuse it: {reason}")]
    Other {
        /// The file of the certificate.
        certificate: String,
        /// The result of the verification.
        reason: String,
    },
    /// One of several CA certificates cannot be used.
    #[error("certificate number {number} in {file} is not trusted: {reason}")]
    CaLeftOut {
        /// The file.
        file: String,
        /// The position of the certificate in the file, counted from 1.
        number: usize,
        /// The reason.
        reason: String,
    },
    /// A block of a PEM file is not used.
    #[error("{file}, line {line}: the block {label} is ignored{}", ignored_hint(label))]
    PemIgnored {
        /// The file.
        file: String,
        /// The line of the block's BEGIN, counted from 1.
        line: usize,
        /// The label in the BEGIN line.
        label: String,
    },
    /// A block of a PEM file begins on the same line on which the previous block ends. This crate uses the block, but
    /// OpenSSL does not accept it.
    #[error(
        "{file}, line {line}: the block {label} begins on the END line of another, which OpenSSL (and so Zeek) does not \
         accept; insert a line break between them"
    )]
    PemJoined {
        /// The file.
        file: String,
        /// The line of the block's BEGIN, counted from 1.
        line: usize,
        /// The label in the BEGIN line.
        label: String,
    },
    /// Users other than the owner can read our key.
    #[error("keyfile {keyfile}: other users can read it; remove their permission: `chmod go-rwx {keyfile}`")]
    KeyExposed {
        /// The file of the key.
        keyfile: String,
    },
    /// Users other than the owner can read the passphrase of our key.
    #[error("passphrase {file}: other users can read it; remove their permission: `chmod go-rwx {file}`")]
    PassphraseExposed {
        /// The file of the passphrase.
        file: String,
    },
}

/// Returns a hint for ignored blocks that the user probably expects to have an effect.
fn ignored_hint(label: &str) -> &'static str {
    if label == "X509 CRL" { "; revocation lists are not checked" } else { "" }
}

impl CredentialWarning {
    /// Converts a fault of our own certificate to a warning. A peer would reject the certificate because of this fault.
    /// `side` is our side of the connection.
    pub(super) fn from_verdict(
        verdict: CertificateFault,
        certificate: String,
        cas: String,
        side: &'static str,
    ) -> Self {
        match verdict {
            CertificateFault::Expired { ago } => CredentialWarning::Expired { certificate, ago },
            CertificateFault::NotYetValid { ahead } => CredentialWarning::NotYetValid { certificate, ahead },
            CertificateFault::Foreign => CredentialWarning::Foreign { certificate, cas },
            CertificateFault::IsCa => CredentialWarning::IsCa { certificate },
            CertificateFault::WrongPurpose(_) => CredentialWarning::WrongPurpose { certificate, side },
            CertificateFault::Unusable(reason) => CredentialWarning::Other { certificate, reason },
            other => CredentialWarning::Other { certificate, reason: format!("it {other}") },
        }
    }
}
