//! What can go wrong between two TLS endpoints, in words that name the mend.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::{self, AlertDescription, CertificateError, InvalidMessage};

use super::credential_error::OR_OPENSSL;
use super::verify::{ByOpenSsl, is_webpki};
use super::via_openssl;

/// The end of a sentence about a Zeek without certificate options: how to set it up, and how to do without.
const ANONYMOUS_MEND: &str = if cfg!(feature = "openssl") {
    "set Broker::ssl_cafile, Broker::ssl_certificate and Broker::ssl_keyfile there, or speak anonymous TLS here \
     too"
} else {
    "set Broker::ssl_cafile, Broker::ssl_certificate and Broker::ssl_keyfile there, or speak anonymous TLS here \
     too, in a build with OpenSSL (`cargo build --features openssl`)"
};

/// Why there is no TLS with a peer. The text of each names the likely cause and the mend.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The peer's certificate, or one in its chain, is past its end.
    #[error(
        "the peer's certificate (or one it is signed with) expired {} ago: renew it, or set the clocks right",
        Ago(*ago)
    )]
    PeerExpired {
        /// For how long.
        ago: Duration,
    },

    /// The peer's certificate, or one in its chain, is not valid yet.
    #[error(
        "the peer's certificate (or one it is signed with) becomes valid only in {}: set the clocks right",
        Ago(*ahead)
    )]
    PeerNotYetValid {
        /// For how long still.
        ahead: Duration,
    },

    /// The peer's certificate does not lead to a CA that we trust.
    #[error(
        "the peer's certificate is not signed by a CA in our cafile: give both sides certificates of one CA, \
         put the peer's CA into our cafile, or have the peer send the intermediate certificates with its own"
    )]
    PeerForeign,

    /// The peer showed no certificate.
    #[error(
        "the peer showed no certificate: likely a Zeek with no certificate options, which speaks anonymous TLS; \
         {ANONYMOUS_MEND}"
    )]
    PeerShowedNone,

    /// The peer's certificate is an X.509 version 1 certificate.
    #[error(
        "the peer's certificate is X.509 version 1, which this TLS back end cannot use: \
         reissue it as version 3, e.g. with `openssl x509 -req ... -extfile v3.ext`, \
         where v3.ext says `basicConstraints=CA:FALSE`, {OR_OPENSSL}"
    )]
    PeerVersion1,

    /// The peer uses the certificate of a CA as its own.
    #[error(
        "the peer's certificate is that of a CA, which this TLS back end does not take for a peer's own: \
         sign one for the peer with it, with `basicConstraints=CA:FALSE`, {OR_OPENSSL}"
    )]
    PeerIsCa,

    /// The peer's certificate is good, but only OpenSSL takes it; from now on OpenSSL is used
    /// ([`super::Backend::Auto`]), and the next attempt will succeed.
    #[error(
        "the peer's certificate is one that rustls does not take (X.509 version 1, or that of a CA): \
         TLS is done with OpenSSL from now on, try again"
    )]
    OpenSslNext,

    /// The peer's certificate may not be used for what it is used for here.
    #[error(
        "the peer's certificate is not meant for this side of a connection ({0}): reissue it with \
         `extendedKeyUsage=serverAuth,clientAuth` and `keyUsage=digitalSignature`, or without these extensions"
    )]
    PeerWrongPurpose(String),

    /// The peer's certificate does not bear the name that was asked for.
    #[error(
        "the peer's certificate does not bear the name that was asked for ({0}); only its subjectAltName counts"
    )]
    PeerWrongName(String),

    /// The peer's certificate cannot be used for another reason.
    #[error(
        "the peer's certificate cannot be used ({0}): look at it with `openssl x509 -noout -text`, and reissue it"
    )]
    PeerUnusable(String),

    /// The peer refused us.
    #[error("the peer refused us: {0}")]
    Refused(Refusal),

    /// What the peer sent is not TLS.
    #[error(
        "the peer does not speak TLS: likely a plain Broker endpoint (Broker::disable_ssl=T), or not a Broker, such as \
         Zeek's ZeroMQ cluster back end; turn TLS off here, or on there"
    )]
    NotTls,

    /// The peer speaks TLS, but none that we do.
    #[error(
        "the peer speaks TLS, but shares no version or cipher with us ({0}): likely a Zeek with no certificate \
         options, which speaks anonymous TLS; {ANONYMOUS_MEND}"
    )]
    Incompatible(String),

    /// The peer speaks TLS, but not the anonymous kind that we speak.
    #[error(
        "the peer speaks TLS, but not anonymous TLS ({0}): likely it has certificate options set \
         (Broker::ssl_certificate); speak mutual TLS with it, with a certificate of its CA"
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

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::HandshakeFailure => {
                return write!(
                    f,
                    "no TLS in common (handshake_failure): likely a Zeek with no certificate options, which \
                     speaks anonymous TLS; {ANONYMOUS_MEND}"
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
                "it demands a certificate and saw none (certificate_required)"
            }
            Refusal::Other(number) => return write!(f, "TLS alert {number}; its log may tell why"),
        })
    }
}

impl TlsError {
    /// What TLS has to say about an error from reading or writing a [`Stream`](crate::net::Stream);
    /// `None` when it is not TLS that failed.
    ///
    /// In TLS 1.3, the side that connected learns only so that its certificate was refused. When a
    /// write fails, read before giving up: the reason may stand there unread.
    #[must_use]
    pub fn from_io(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref()?;
        match inner.downcast_ref::<rustls::Error>() {
            Some(error) => Some(Self::from_rustls(error)),
            None => via_openssl::tls_error(inner),
        }
    }

    /// The error of a handshake that did not come to its end.
    pub(super) fn from_handshake(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        if let Some(error) = Self::from_io(&error) {
            return error;
        }
        match error.kind() {
            UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => TlsError::Closed,
            _ => TlsError::Io(Arc::new(error)),
        }
    }

    pub(super) fn from_rustls(error: &rustls::Error) -> Self {
        use rustls::Error;
        match error {
            Error::InvalidCertificate(error) => Self::from_certificate(error),
            Error::NoCertificatesPresented => TlsError::PeerShowedNone,
            Error::AlertReceived(alert) => TlsError::Refused(Refusal::from_alert(alert_number(*alert))),
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => TlsError::NotTls,
            Error::PeerIncompatible(what) => TlsError::Incompatible(format!("{what:?}")),
            other => TlsError::Protocol(other.to_string()),
        }
    }

    fn from_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::ExpiredContext { time, not_after } => TlsError::PeerExpired {
                ago: Duration::from_secs(time.as_secs().saturating_sub(not_after.as_secs())),
            },
            CertificateError::NotValidYetContext { time, not_before } => TlsError::PeerNotYetValid {
                ahead: Duration::from_secs(not_before.as_secs().saturating_sub(time.as_secs())),
            },
            CertificateError::UnknownIssuer => TlsError::PeerForeign,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                TlsError::PeerWrongPurpose(error.to_string())
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsError::PeerWrongName(error.to_string())
            }
            _ if is_webpki(error, "UnsupportedCertVersion") => TlsError::PeerVersion1,
            _ if is_webpki(error, "CaUsedAsEndEntity") => TlsError::PeerIsCa,
            // Signatures inside the chain are dealt with in `verify`: this one is on the handshake.
            CertificateError::BadSignature => TlsError::PeerUnusable(
                "the peer does not hold its key, or the key is RSA under 2048 bits".into(),
            ),
            CertificateError::Expired => TlsError::PeerUnusable("it ends before it begins".into()),
            CertificateError::Other(other) => match other.0.downcast_ref() {
                Some(ByOpenSsl(verdict)) => verdict.clone(),
                None => TlsError::PeerUnusable(other.to_string()),
            },
            other => TlsError::PeerUnusable(other.to_string()),
        }
    }
}

fn alert_number(alert: AlertDescription) -> u8 {
    alert.into()
}

/// A span of time in the one unit that people would use.
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
