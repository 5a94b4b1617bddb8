//! The reasons to refuse a certificate of a peer, or our own.

use std::fmt;
use std::time::Duration;

use super::identity::PeerIdentity;
use super::inspect::{self, EXPLICIT_PARAMETERS};

/// The maximum length of the subject and issuer of a refused certificate, in characters. An unverified peer chooses these
/// names, and they may be as long as a TLS handshake message. They are shortened, because they are logged.
const MAX_NAME_LENGTH: usize = 200;

/// The maximum number of names in the error for a certificate that does not have the name to verify.
const SHOWN_NAMES: usize = 8;

/// A hint for a certificate that only OpenSSL accepts.
const OPENSSL_HINT: &str = if cfg!(feature = "openssl") {
    "use OpenSSL as the TLS back end"
} else {
    "use a build with OpenSSL (`cargo build --features openssl`)"
};

/// Why a certificate is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateFault {
    /// The certificate has expired.
    Expired {
        /// The time since the certificate expired.
        ago: Duration,
    },
    /// The certificate is not valid yet.
    NotYetValid {
        /// The time until the certificate becomes valid.
        ahead: Duration,
    },
    /// No trusted CA has signed the certificate.
    Foreign,
    /// The certificate is an X.509 version 1 certificate, which rustls cannot use.
    Version1,
    /// The certificate is a CA certificate, which rustls does not accept as a peer's own certificate.
    IsCa,
    /// The certificate's extendedKeyUsage, keyUsage or nsCertType does not permit the use on this side of a connection.
    WrongPurpose(String),
    /// The certificate does not have the name to verify.
    WrongName(String),
    /// The certificate's signature or key has an algorithm that this TLS back end does not support.
    UnsupportedAlgorithm(String),
    /// The certificate's signature or key has an algorithm that no TLS back end accepts, such as SHA-1, secp256k1 or
    /// explicit EC parameters.
    ObsoleteAlgorithm(String),
    /// The certificate's chain has more intermediate certificates than rustls accepts.
    ChainTooLong,
    /// Any reason that is not listed above.
    Unusable(String),
}

impl CertificateFault {
    /// Returns the fault of a certificate (DER) that does not have the expected name.
    pub(super) fn wrong_name(expected: Option<&str>, certificate: &[u8]) -> Self {
        let sans = PeerIdentity::of(certificate).sans;
        let names: Vec<String> = sans.iter().take(SHOWN_NAMES).map(ToString::to_string).collect();
        let presented = if names.is_empty() {
            "it has no subjectAltName".to_owned()
        } else {
            format!("it has {}{}", names.join(", "), if sans.len() > SHOWN_NAMES { ", ..." } else { "" })
        };
        CertificateFault::WrongName(match expected {
            Some(expected) => format!("expected {expected}; {presented}"),
            None => presented,
        })
    }

    /// Returns a short name of the fault, for counters and rate limits.
    pub(crate) const fn cause(&self) -> &'static str {
        match self {
            CertificateFault::Expired { .. } => "certificate_expired",
            CertificateFault::NotYetValid { .. } => "certificate_not_yet_valid",
            CertificateFault::Foreign => "certificate_foreign",
            CertificateFault::Version1 => "certificate_version_1",
            CertificateFault::IsCa => "certificate_is_ca",
            CertificateFault::WrongPurpose(_) => "certificate_purpose",
            CertificateFault::WrongName(_) => "certificate_name",
            CertificateFault::UnsupportedAlgorithm(_) | CertificateFault::ObsoleteAlgorithm(_) => {
                "certificate_algorithm"
            }
            CertificateFault::ChainTooLong => "certificate_chain",
            CertificateFault::Unusable(_) => "certificate_unusable",
        }
    }

    /// Returns whether the certificate may be accepted if OpenSSL is the TLS back end.
    #[must_use]
    pub fn may_be_for_openssl(&self) -> bool {
        matches!(
            self,
            CertificateFault::Version1
                | CertificateFault::IsCa
                | CertificateFault::UnsupportedAlgorithm(_)
                | CertificateFault::ChainTooLong
        )
    }

    /// Returns a hint on how to fix the certificate.
    fn hint(&self) -> String {
        match self {
            CertificateFault::Expired { .. } => "renew it, or correct the clocks".to_owned(),
            CertificateFault::NotYetValid { .. } => "correct the clocks".to_owned(),
            CertificateFault::Foreign => {
                "give both sides certificates of one CA, put the peer's CA into our cafile, or have the peer send the \
                 intermediate certificates with its certificate"
                    .to_owned()
            }
            CertificateFault::Version1 => format!(
                "reissue it as version 3, e.g. with `openssl x509 -req ... -extfile v3.ext`, where v3.ext contains \
                 `basicConstraints=CA:FALSE`, or {OPENSSL_HINT}"
            ),
            CertificateFault::IsCa => {
                format!("use it to sign a certificate with `basicConstraints=CA:FALSE` for the peer, or {OPENSSL_HINT}")
            }
            CertificateFault::WrongPurpose(_) => {
                "reissue it with `extendedKeyUsage=serverAuth,clientAuth` and `keyUsage=digitalSignature`, or without \
                 these extensions"
                    .to_owned()
            }
            CertificateFault::WrongName(_) => {
                "reissue it with this name as subjectAltName (the subject is not compared), or verify a name that it has"
                    .to_owned()
            }
            CertificateFault::UnsupportedAlgorithm(_) => format!(
                "reissue it with a key (ECDSA on P-256, P-384 or P-521, RSA of 2048 bits or more, Ed25519) and a hash \
                 (SHA-256 to SHA-512) that TLS libraries support, or {OPENSSL_HINT}"
            ),
            CertificateFault::ObsoleteAlgorithm(algorithms) if algorithms.contains(EXPLICIT_PARAMETERS) => {
                "convert the key (`openssl pkey -in KEYFILE -ec_param_enc named_curve`), and reissue the certificate for \
                 the converted key"
                    .to_owned()
            }
            CertificateFault::ObsoleteAlgorithm(_) => {
                "reissue it with a key (ECDSA on P-256, P-384 or P-521, RSA of 2048 bits or more, Ed25519) and a hash \
                 (SHA-256 to SHA-512) that TLS libraries support"
                    .to_owned()
            }
            CertificateFault::ChainTooLong => {
                format!("sign it with a CA closer to the root, trust one of the intermediate CAs, or {OPENSSL_HINT}")
            }
            CertificateFault::Unusable(_) => {
                "inspect it with `openssl x509 -noout -text`, and reissue it".to_owned()
            }
        }
    }
}

/// Writes the end of a sentence that begins with "the certificate".
impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateFault::Expired { ago } => {
                write!(f, "(or a CA certificate above it) expired {} ago", Ago(*ago))
            }
            CertificateFault::NotYetValid { ahead } => {
                write!(f, "(or a CA certificate above it) becomes valid only in {}", Ago(*ahead))
            }
            CertificateFault::Foreign => f.write_str("is not signed by a CA in our cafile"),
            CertificateFault::Version1 => {
                f.write_str("is X.509 version 1, which this TLS back end cannot use")
            }
            CertificateFault::IsCa => f.write_str(
                "is a CA certificate, which this TLS back end does not accept as a peer's own certificate",
            ),
            CertificateFault::WrongPurpose(reason) => write!(f, "does not permit this use ({reason})"),
            CertificateFault::WrongName(reason) => {
                write!(f, "does not have the name to verify ({reason})")
            }
            CertificateFault::UnsupportedAlgorithm(algorithms) => {
                write!(f, "needs an algorithm that this TLS back end does not support ({algorithms})")
            }
            CertificateFault::ObsoleteAlgorithm(algorithms) => {
                write!(f, "needs an algorithm that TLS libraries do not accept ({algorithms})")
            }
            CertificateFault::ChainTooLong => {
                f.write_str("has more intermediate certificates than this TLS back end accepts")
            }
            CertificateFault::Unusable(reason) => write!(f, "cannot be used ({reason})"),
        }
    }
}

/// A certificate of a peer that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedCertificate {
    /// The reason.
    pub fault: CertificateFault,
    /// The subject of the refused certificate, which is the peer's own or one in its chain. It has the form of
    /// [`PeerIdentity::subject`](super::PeerIdentity::subject), and is not verified. Empty if it cannot be read.
    pub subject: String,
    /// The issuer of that certificate, in the same form. It is not verified either.
    pub issuer: String,
}

impl RefusedCertificate {
    /// Returns the refusal of this certificate (DER).
    pub(super) fn new(fault: CertificateFault, certificate: &[u8]) -> Self {
        let [subject, issuer] = inspect::subject_and_issuer(certificate).map(shortened);
        RefusedCertificate { fault, subject, issuer }
    }

    /// Returns a refusal for an error that does not name the certificate.
    pub(super) fn unknown(fault: CertificateFault) -> Self {
        RefusedCertificate { fault, subject: String::new(), issuer: String::new() }
    }
}

fn shortened(name: String) -> String {
    match name.char_indices().nth(MAX_NAME_LENGTH) {
        Some((end, _)) => format!("{}...", name.get(..end).unwrap_or_default()),
        None => name,
    }
}

impl fmt::Display for RefusedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RefusedCertificate { fault, subject, issuer } = self;
        write!(f, "the peer's certificate {fault}")?;
        if !(subject.is_empty() && issuer.is_empty()) {
            write!(f, " (subject {}, issuer {})", or_empty(subject), or_empty(issuer))?;
        }
        write!(f, "; {}", fault.hint())
    }
}

fn or_empty(name: &str) -> &str {
    if name.is_empty() { "(empty)" } else { name }
}

/// Displays a duration in the largest unit that is not longer than the duration.
pub(super) struct Ago(pub(super) Duration);

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (number, unit) = match seconds {
            0..60 => (seconds, "second"),
            60..3_600 => (seconds / 60, "minute"),
            3_600..86_400 => (seconds / 3_600, "hour"),
            _ => (seconds / 86_400, "day"),
        };
        write!(f, "{number} {unit}{}", if number == 1 { "" } else { "s" })
    }
}
