//! TLS alerts. A peer sends one to report why it refuses us.

use std::fmt;

/// A hint for errors with a Zeek that has no certificate options. The user can change the TLS configuration of either
/// side.
pub(super) const ANONYMOUS_HINT: &str = if cfg!(feature = "openssl") {
    "set Broker::ssl_cafile, Broker::ssl_certificate and Broker::ssl_keyfile at the peer, or speak anonymous TLS here \
     too"
} else {
    "set Broker::ssl_cafile, Broker::ssl_certificate and Broker::ssl_keyfile at the peer, or speak anonymous TLS here \
     too, in a build with OpenSSL (`cargo build --features openssl`)"
};

/// The TLS alert with which a peer refused us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// `handshake_failure` (40): the two sides have no cipher suite in common or, in TLS 1.2, we presented no certificate.
    HandshakeFailure,
    /// `bad_certificate` (42).
    BadCertificate,
    /// `unsupported_certificate` (43).
    UnsupportedCertificate,
    /// `certificate_revoked` (44).
    CertificateRevoked,
    /// `certificate_expired` (45).
    CertificateExpired,
    /// `certificate_unknown` (46).
    CertificateUnknown,
    /// `unknown_ca` (48).
    UnknownCa,
    /// `access_denied` (49).
    AccessDenied,
    /// `decode_error` (50).
    DecodeError,
    /// `decrypt_error` (51).
    DecryptError,
    /// `protocol_version` (70).
    ProtocolVersion,
    /// `insufficient_security` (71).
    InsufficientSecurity,
    /// `certificate_required` (116).
    CertificateRequired,
    /// An alert that is not listed above, with its number.
    Other(u8),
}

impl Refusal {
    /// Returns the refusal for the number of a TLS alert.
    #[must_use]
    pub fn from_alert(number: u8) -> Self {
        match number {
            40 => Refusal::HandshakeFailure,
            42 => Refusal::BadCertificate,
            43 => Refusal::UnsupportedCertificate,
            44 => Refusal::CertificateRevoked,
            45 => Refusal::CertificateExpired,
            46 => Refusal::CertificateUnknown,
            48 => Refusal::UnknownCa,
            49 => Refusal::AccessDenied,
            50 => Refusal::DecodeError,
            51 => Refusal::DecryptError,
            70 => Refusal::ProtocolVersion,
            71 => Refusal::InsufficientSecurity,
            116 => Refusal::CertificateRequired,
            other => Refusal::Other(other),
        }
    }
}

impl Refusal {
    /// Returns the name of the alert in RFC 8446, section 6.
    pub(crate) const fn alert(self) -> &'static str {
        match self {
            Refusal::HandshakeFailure => "handshake_failure",
            Refusal::BadCertificate => "bad_certificate",
            Refusal::UnsupportedCertificate => "unsupported_certificate",
            Refusal::CertificateRevoked => "certificate_revoked",
            Refusal::CertificateExpired => "certificate_expired",
            Refusal::CertificateUnknown => "certificate_unknown",
            Refusal::UnknownCa => "unknown_ca",
            Refusal::AccessDenied => "access_denied",
            Refusal::DecodeError => "decode_error",
            Refusal::DecryptError => "decrypt_error",
            Refusal::ProtocolVersion => "protocol_version",
            Refusal::InsufficientSecurity => "insufficient_security",
            Refusal::CertificateRequired => "certificate_required",
            Refusal::Other(_) => "another alert",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::HandshakeFailure => {
                return write!(
                    f,
                    "no TLS settings in common (handshake_failure): likely a Zeek with no certificate options, which \
                     speaks anonymous TLS, or a peer that does not support the signature algorithm of our certificate; \
                     in the first case, {ANONYMOUS_HINT}; in the second case, reissue our certificate with ECDSA on P-256 \
                     or RSA of 2048 bits"
                );
            }
            Refusal::BadCertificate => {
                "it cannot use our certificate (bad_certificate): the certificate may not be valid yet by the peer's clock, or \
                 may lack the name that the peer verifies; see its log"
            }
            Refusal::UnsupportedCertificate => {
                "our certificate is not meant for this side of a connection (unsupported_certificate): reissue it \
                 with `extendedKeyUsage=serverAuth,clientAuth` and `keyUsage=digitalSignature`, or without these \
                 extensions"
            }
            Refusal::CertificateRevoked => {
                "our certificate was revoked (certificate_revoked): reissue it"
            }
            Refusal::CertificateExpired => {
                "by its clock, our certificate or a CA certificate above it has expired or is not valid yet \
                 (certificate_expired): renew the certificate, or correct the clocks"
            }
            Refusal::CertificateUnknown => {
                "it cannot use our certificate (certificate_unknown); see its log"
            }
            Refusal::UnknownCa => {
                "it does not trust the CA that signed our certificate (unknown_ca): give both sides certificates of \
                 one CA, put our CA into the peer's cafile, or send the intermediate certificates with our certificate"
            }
            Refusal::AccessDenied => "it accepts our certificate but denies access (access_denied); see its log",
            Refusal::DecodeError => {
                "it could not decode our message (decode_error); update the TLS libraries of both sides"
            }
            Refusal::DecryptError => {
                "it could not verify our signature (decrypt_error): likely our certificate is signed by \
                 another CA of the same name, or with an algorithm that the peer does not support"
            }
            Refusal::ProtocolVersion => {
                "it does not speak TLS 1.2 or 1.3 (protocol_version): update the peer's TLS library"
            }
            Refusal::InsufficientSecurity => {
                "our ciphers or keys are too weak for it (insufficient_security): reissue our certificate with a \
                 longer key"
            }
            Refusal::CertificateRequired => {
                "it requires a certificate and received none (certificate_required): if we have a certificate, the peer did not \
                 offer its signature algorithm; reissue our certificate with ECDSA on P-256 or RSA of 2048 bits"
            }
            Refusal::Other(number) => return write!(f, "TLS alert {number}; see its log"),
        })
    }
}
