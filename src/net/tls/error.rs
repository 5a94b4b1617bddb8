//! Errors of TLS with a peer. The text of each error contains the probable cause and a hint.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::alert::{ANONYMOUS_HINT, Refusal};
use super::certificate_fault::RefusedCertificate;
use crate::peering::ErrorKind;

/// Why there is no TLS connection with a peer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The peer's certificate was refused.
    #[error("{0}")]
    Certificate(Box<RefusedCertificate>),

    /// The peer presented no certificate.
    #[error(
        "the peer sent no certificate: it has none (likely a Zeek with no certificate options, which speaks anonymous \
         TLS), or one with a signature algorithm that we did not offer; in the first case, {ANONYMOUS_HINT}; in the \
         second case, reissue the peer's certificate with ECDSA on P-256, P-384 or P-521, RSA, or Ed25519"
    )]
    NoPeerCertificate,

    /// The peer did not offer a signature algorithm for our key.
    #[error(
        "the peer does not support the signature algorithm of our certificate; reissue our certificate with a key that \
         every TLS library supports, e.g. ECDSA on P-256 or RSA of 2048 bits"
    )]
    NoSignatureAlgorithm,

    /// The peer refused us with an alert.
    #[error("the peer refused us: {0}")]
    Refused(Refusal),

    /// The peer's bytes are not TLS.
    #[error(
        "the peer does not speak TLS: likely a plain Broker endpoint (Broker::disable_ssl=T), or another service, such as \
         Zeek's ZeroMQ cluster back end; disable TLS here, or enable it there"
    )]
    NotTls,

    /// There is no cipher suite in common.
    #[error(
        "the peer speaks TLS, but shares no cipher suite with us ({0}): likely a Zeek with no certificate options, \
         which speaks anonymous TLS; {ANONYMOUS_HINT}"
    )]
    NoCommonCipher(#[source] TlsFault),

    /// There is no version of TLS in common.
    #[error("the peer supports neither TLS 1.2 nor TLS 1.3 ({0}); update its TLS library")]
    NoCommonVersion(#[source] TlsFault),

    /// The peer's TLS lacks a feature that we require.
    #[error(
        "the peer's TLS is incompatible with ours ({0}); compare the TLS settings of both sides, or update its TLS library"
    )]
    Incompatible(#[source] TlsFault),

    /// The peer speaks TLS, but not anonymous TLS.
    #[error(
        "the peer speaks TLS, but not anonymous TLS ({0}): likely it has certificate options set \
         (Broker::ssl_certificate); speak mutual TLS with it, with a certificate of its CA"
    )]
    NotAnonymous(#[source] TlsFault),

    /// The connection was closed during the TLS handshake.
    #[error(
        "the peer closed the connection during the TLS handshake: likely a plain Broker endpoint \
         (Broker::disable_ssl=T), or one that refused us without a reason (see its log)"
    )]
    Closed,

    /// The peer violated the TLS protocol.
    #[error("TLS failed: {0}")]
    Protocol(#[source] TlsFault),

    /// The connection failed. `Error::source` returns the `Arc`, so a downcast to [`io::Error`] fails. To get the
    /// [`io::Error`], match this variant.
    #[error("the connection failed during the TLS handshake: {0}")]
    Io(#[source] Arc<io::Error>),
}

/// A failure that a TLS library reported. Contains a description. [`Error::source`] returns the error of the library.
#[derive(Debug, Clone)]
pub struct TlsFault {
    reason: String,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl TlsFault {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        TlsFault { reason: reason.into(), source: None }
    }

    pub(super) fn with_source(self, source: impl Error + Send + Sync + 'static) -> Self {
        TlsFault { source: Some(Arc::new(source)), ..self }
    }
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Error for TlsFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| -> &(dyn Error + 'static) { source })
    }
}

impl TlsError {
    /// Returns the category of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            TlsError::Certificate(_) | TlsError::NoPeerCertificate => ErrorKind::Denied,
            TlsError::Refused(
                Refusal::HandshakeFailure | Refusal::ProtocolVersion | Refusal::InsufficientSecurity,
            ) => ErrorKind::Incompatible,
            TlsError::Refused(_) => ErrorKind::Refused,
            TlsError::NotTls
            | TlsError::NoSignatureAlgorithm
            | TlsError::NoCommonCipher(_)
            | TlsError::NoCommonVersion(_)
            | TlsError::Incompatible(_)
            | TlsError::NotAnonymous(_) => ErrorKind::Incompatible,
            TlsError::Protocol(_) => ErrorKind::Misbehaved,
            TlsError::Closed => ErrorKind::Closed,
            TlsError::Io(_) => ErrorKind::Io,
        }
    }

    /// Returns a short name of the error from a fixed set, for counters and rate limits.
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            TlsError::Certificate(refused) => refused.fault.cause(),
            TlsError::NoPeerCertificate => "no_certificate",
            TlsError::NoSignatureAlgorithm => "no_signature_algorithm",
            TlsError::Refused(refusal) => refusal.alert(),
            TlsError::NotTls => "not_tls",
            TlsError::NoCommonCipher(_) | TlsError::NoCommonVersion(_) | TlsError::Incompatible(_) => {
                "incompatible_tls"
            }
            TlsError::NotAnonymous(_) => "not_anonymous",
            TlsError::Closed => "closed_in_tls",
            TlsError::Protocol(_) => "tls_protocol",
            TlsError::Io(_) => "tls_io",
        }
    }

    /// Returns the error of a handshake whose connection failed.
    pub(super) fn from_connection(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match error.kind() {
            UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => TlsError::Closed,
            _ => TlsError::Io(Arc::new(error)),
        }
    }
}

/// Why anonymous TLS is not available.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AnonymousUnavailable {
    /// This build has no OpenSSL. rustls does not support anonymous TLS.
    #[error(
        "anonymous TLS requires OpenSSL, which this build does not include: build with \
         `cargo build --features openssl`, or set Broker::ssl_cafile, Broker::ssl_certificate and \
         Broker::ssl_keyfile in Zeek and speak mutual TLS"
    )]
    NoOpenSsl,
    /// The OpenSSL of this build does not support anonymous TLS, because of its build options or its configuration.
    #[error(
        "this OpenSSL does not support anonymous TLS ({0}): use another OpenSSL, or build with \
         `--features openssl-vendored`, which includes OpenSSL"
    )]
    Refused(#[source] TlsFault),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_the_library_is_in_the_chain_of_sources() {
        let library = || io::Error::other("an error of the library");
        let fault = || TlsFault::new("a fault").with_source(library());
        for error in [
            TlsError::NoCommonCipher(fault()),
            TlsError::NoCommonVersion(fault()),
            TlsError::Incompatible(fault()),
            TlsError::NotAnonymous(fault()),
            TlsError::Protocol(fault()),
        ] {
            let source = error.source().unwrap().source().unwrap();
            assert!(source.downcast_ref::<io::Error>().is_some(), "{error}");
        }
        let unavailable = AnonymousUnavailable::Refused(fault());
        assert!(unavailable.source().unwrap().source().is_some());
    }
}
