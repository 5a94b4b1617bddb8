//! What peers will likely not like about our credentials.

use std::time::Duration;

use super::certificate_fault::{Ago, CertificateFault};

/// Something about our credentials that peers will likely not like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialWarning {
    /// Our certificate, or one in its chain, is past its end.
    #[error(
        "certificate {certificate}: it (or one it is signed with) expired {} ago, peers will refuse it: renew it",
        Ago(*ago)
    )]
    Expired {
        /// Its file.
        certificate: String,
        /// For how long.
        ago: Duration,
    },
    /// Our certificate, or one in its chain, is not valid yet.
    #[error(
        "certificate {certificate}: it (or one it is signed with) becomes valid only in {}, peers will refuse it: \
         set the clocks right",
        Ago(*ahead)
    )]
    NotYetValid {
        /// Its file.
        certificate: String,
        /// For how long still.
        ahead: Duration,
    },
    /// Our certificate is not signed by the CA that we trust.
    #[error(
        "certificate {certificate}: it is not signed by a CA in {cas}, and peers that trust the same \
         will refuse it: use one that is, or append the intermediate certificates to it"
    )]
    Foreign {
        /// Its file.
        certificate: String,
        /// The CAs' file, directory or both, by the names of the options.
        cas: String,
    },
    /// Our certificate is that of a CA.
    #[error(
        "certificate {certificate}: it is that of a CA, which not every peer takes for a peer's own: sign one with it: \
         `echo basicConstraints=CA:FALSE > v3.ext; openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc \
         -subj /CN=NAME -keyout node.key | openssl x509 -req -CA {certificate} -CAkey KEYFILE -CAcreateserial \
         -days 365 -extfile v3.ext -out node.pem`"
    )]
    IsCa {
        /// Its file.
        certificate: String,
    },
    /// Our certificate may only be used on one side of a connection.
    #[error(
        "certificate {certificate}: it is not meant for the side that {side}s, where peers will refuse it: \
         reissue it with `extendedKeyUsage=serverAuth,clientAuth` and `keyUsage=digitalSignature`, or without these \
         extensions"
    )]
    WrongPurpose {
        /// Its file.
        certificate: String,
        /// `connect` or `listen`.
        side: &'static str,
    },
    /// Our certificate does not stand our own check for another reason.
    #[error("certificate {certificate}: peers may refuse it: {reason}")]
    Other {
        /// Its file.
        certificate: String,
        /// What the check said.
        reason: String,
    },
    /// One of several CA certificates cannot be used.
    #[error("certificate number {number} in {file} is left out of the trusted ones: {reason}")]
    CaLeftOut {
        /// The file.
        file: String,
        /// Counted from 1.
        number: usize,
        /// Why.
        reason: String,
    },
    /// A block of a PEM file is not used.
    #[error("{file}, line {line}: the block {label} is ignored{}", ignored_hint(label))]
    PemIgnored {
        /// The file.
        file: String,
        /// The line of its BEGIN, counted from 1.
        line: usize,
        /// What the BEGIN line says.
        label: String,
    },
    /// A block of a PEM file begins on the line on which another ends. It is used here, but not by OpenSSL.
    #[error(
        "{file}, line {line}: the block {label} begins on the END line of another, which OpenSSL (and so Zeek) does not \
         read; insert a line break between them"
    )]
    PemJoined {
        /// The file.
        file: String,
        /// The line of its BEGIN, counted from 1.
        line: usize,
        /// What the BEGIN line says.
        label: String,
    },
    /// Others than its owner can read our key.
    #[error("keyfile {keyfile}: others can read it: take their permission away: `chmod go-rwx {keyfile}`")]
    KeyExposed {
        /// Its file.
        keyfile: String,
    },
    /// Others than its owner can read the passphrase of our key.
    #[error("passphrase {file}: others can read it: take their permission away: `chmod go-rwx {file}`")]
    PassphraseExposed {
        /// Its file.
        file: String,
    },
}

/// For blocks that look as if they had an effect.
fn ignored_hint(label: &str) -> &'static str {
    if label == "X509 CRL" { "; revocation lists are not checked" } else { "" }
}

impl CredentialWarning {
    /// What a peer's verdict on our own certificate means for us. `side` is the one that we would be.
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
