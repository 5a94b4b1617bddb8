//! What can go wrong between two TLS endpoints, with the cause and a hint.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::certificate_fault::RefusedCertificate;

/// The end of a sentence about a Zeek without certificate options: how to set it up, and how to do without.
const ANONYMOUS_HINT: &str = if cfg!(feature = "openssl") {
    "set Broker::ssl_cafile, Broker::ssl_certificate and Broker::ssl_keyfile there, or speak anonymous TLS here \
     too (`--tls anonymous`)"
} else {
    "set Broker::ssl_cafile, Broker::ssl_certificate and Broker::ssl_keyfile there, or speak anonymous TLS here \
     too (`--tls anonymous`, in a build with `--features openssl`)"
};

/// Why there is no TLS with a peer. The text of each names the likely cause and a hint.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The peer's certificate was refused.
    #[error("{0}")]
    Certificate(Box<RefusedCertificate>),

    /// The peer sent no certificate.
    #[error(
        "the peer sent no certificate: it has none (likely a Zeek with no certificate options, which speaks anonymous \
         TLS), or one with a signature algorithm that we did not offer; in the first case {ANONYMOUS_HINT}; in the \
         second reissue its certificate with ECDSA on P-256, P-384 or P-521, RSA, or Ed25519"
    )]
    PeerShowedNone,

    /// The peer did not offer a signature algorithm that goes with our key.
    #[error(
        "the peer does not support the signature algorithm of our certificate; reissue our certificate with a key that \
         every TLS library has, e.g. ECDSA on P-256 or RSA of 2048 bits"
    )]
    NoSignatureAlgorithm,

    /// The peer refused us.
    #[error("the peer refused us: {0}")]
    Refused(Refusal),

    /// What the peer sent is not TLS.
    #[error(
        "the peer does not speak TLS: likely a plain Broker endpoint (Broker::disable_ssl=T); \
         turn TLS off here, or on there"
    )]
    NotTls,

    /// The peer speaks TLS, but none that we do.
    #[error(
        "the peer speaks TLS, but shares no version or cipher with us ({0}): likely a Zeek with no certificate \
         options, which speaks anonymous TLS; {ANONYMOUS_HINT}"
    )]
    Incompatible(String),

    /// The peer speaks TLS, but not the anonymous kind that we speak.
    #[error(
        "the peer speaks TLS, but not anonymous TLS ({0}): likely it has certificate options set \
         (Broker::ssl_certificate); speak mutual TLS with it (`--cafile`, `--certificate` and `--keyfile`, \
         with a certificate of its CA)"
    )]
    NotAnonymous(String),

    /// The connection was closed during the TLS handshake.
    #[error(
        "the peer closed the connection during the TLS handshake: likely a plain Broker endpoint \
         (Broker::disable_ssl=T), or one that refused us without saying why (see its log)"
    )]
    Closed,

    /// The peer broke the rules of TLS.
    #[error("TLS failed: {0}")]
    Protocol(String),

    /// The connection failed.
    #[error("the connection failed during the TLS handshake: {0}")]
    Io(#[source] Arc<io::Error>),
}

/// The reason that a peer gave, in a TLS alert, for refusing us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// `handshake_failure` (40): it speaks no TLS in common with us, or (TLS 1.2) saw no certificate.
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
    /// Any other alert, by its number.
    Other(u8),
}

impl Refusal {
    /// The meaning of a TLS alert's number.
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
    /// The name of the alert, as in the RFCs.
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
                    "no TLS in common (handshake_failure): likely a Zeek with no certificate options, which \
                     speaks anonymous TLS, or a peer that does not support the signature algorithm of our certificate; \
                     {ANONYMOUS_HINT}"
                );
            }
            Refusal::BadCertificate => {
                "it cannot use our certificate (bad_certificate): it may not be valid yet by the peer's clock, or \
                 not bear the name that the peer asks for"
            }
            Refusal::UnsupportedCertificate => {
                "our certificate is not meant for this side of a connection (unsupported_certificate): reissue it \
                 with `extendedKeyUsage=serverAuth,clientAuth` and `keyUsage=digitalSignature`, or without these \
                 extensions"
            }
            Refusal::CertificateRevoked => {
                "our certificate was revoked (certificate_revoked): have a new one issued"
            }
            Refusal::CertificateExpired => {
                "by its clock our certificate, or one it is signed with, has expired or is not valid yet \
                 (certificate_expired): renew it, or set the clocks right"
            }
            Refusal::CertificateUnknown => {
                "it cannot use our certificate (certificate_unknown), for a reason that its log may tell"
            }
            Refusal::UnknownCa => {
                "it does not trust the CA that signed our certificate (unknown_ca): give both sides certificates of \
                 one CA, put our CA into the peer's cafile, or send the intermediate certificates with our own"
            }
            Refusal::AccessDenied => "it takes our certificate, but does not let us in (access_denied)",
            Refusal::DecodeError => {
                "it could not read what we sent (decode_error): likely it does not speak TLS on this side of the \
                 connection"
            }
            Refusal::DecryptError => {
                "it could not verify a signature of ours (decrypt_error): likely our certificate is signed by \
                 another CA of the same name, or with an algorithm that the peer does not know"
            }
            Refusal::ProtocolVersion => {
                "it does not speak TLS 1.2 or 1.3 (protocol_version): update the peer's TLS library"
            }
            Refusal::InsufficientSecurity => {
                "our ciphers or keys are too weak for it (insufficient_security): reissue our certificate with a \
                 longer key"
            }
            Refusal::CertificateRequired => {
                "it requires a certificate and received none (certificate_required): if we have one, the peer did not \
                 offer its signature algorithm; reissue it with ECDSA on P-256 or RSA of 2048 bits"
            }
            Refusal::Other(number) => return write!(f, "TLS alert {number}; its log may tell why"),
        })
    }
}

impl TlsError {
    /// A short name of the kind of error, one of a fixed few: for counting and for rate limits.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            TlsError::Certificate(refused) => refused.fault.kind(),
            TlsError::PeerShowedNone => "no_certificate",
            TlsError::NoSignatureAlgorithm => "no_signature_algorithm",
            TlsError::Refused(refusal) => refusal.alert(),
            TlsError::NotTls => "not_tls",
            TlsError::Incompatible(_) => "incompatible_tls",
            TlsError::NotAnonymous(_) => "not_anonymous",
            TlsError::Closed => "closed_in_tls",
            TlsError::Protocol(_) => "tls_protocol",
            TlsError::Io(_) => "tls_io",
        }
    }

    /// The error of a handshake that ended because the connection failed.
    pub(super) fn from_connection(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match error.kind() {
            UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => TlsError::Closed,
            _ => TlsError::Io(Arc::new(error)),
        }
    }
}

/// Why there is no anonymous TLS to be had.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AnonymousUnavailable {
    /// It takes OpenSSL: rustls, rightly, does not have it.
    #[error(
        "anonymous TLS takes OpenSSL, which this build does not have in it: build it with \
         `cargo build --features openssl`, or set Broker::ssl_cafile, Broker::ssl_certificate and \
         Broker::ssl_keyfile in Zeek and speak mutual TLS"
    )]
    NoOpenSsl,
    /// This OpenSSL was built, or is set up, without it.
    #[error(
        "this OpenSSL does not do anonymous TLS ({0}): use another, or build with `--features openssl-vendored`, \
         which brings its own"
    )]
    Refused(String),
}
