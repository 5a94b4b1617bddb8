//! What peers will likely not like about our credentials.

use std::time::Duration;

use super::credentials::Credentials;
use super::error::{Ago, TlsError};

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

impl CredentialWarning {
    /// What a peer's verdict on our own certificate means for us. `side` is the one that we would be.
    pub(super) fn from_verdict(verdict: TlsError, credentials: &Credentials, side: &'static str) -> Self {
        let certificate = credentials.certificate.to_string();
        match verdict {
            TlsError::PeerExpired { ago } => CredentialWarning::Expired { certificate, ago },
            TlsError::PeerNotYetValid { ahead } => CredentialWarning::NotYetValid { certificate, ahead },
            TlsError::PeerForeign => CredentialWarning::Foreign { certificate, cas: credentials.cas() },
            TlsError::PeerIsCa => CredentialWarning::IsCa { certificate },
            TlsError::PeerWrongPurpose(_) => CredentialWarning::WrongPurpose { certificate, side },
            TlsError::PeerUnusable(reason) => CredentialWarning::Other { certificate, reason },
            other => CredentialWarning::Other { certificate, reason: other.to_string() },
        }
    }
}
