//! TLS without certificates, as a Zeek speaks it that was told nothing about TLS.

use std::sync::Once;

use tokio::net::TcpStream;

use super::error::{AnonymousUnavailable, Refusal, TlsError};
use super::via_openssl::OpenSslAnonymous;
use crate::net::Stream;

/// Anonymous TLS 1.2 (`AECDH-AES256-SHA` at security level 0, group P-384), for connections on either side. Cheap
/// to clone.
///
/// It keeps those out who only listen to the network. It does not keep out anyone else: nobody shows
/// a certificate, so whoever can stand between the two ends can read and change everything, and whoever
/// can reach a listener is let in. The cipher has neither authenticated encryption nor SHA-2.
#[derive(Debug, Clone)]
pub struct AnonymousTls(OpenSslAnonymous);

impl AnonymousTls {
    /// Warns, once in a process, of what it does not protect against.
    ///
    /// # Errors
    /// When this build has no OpenSSL in it (feature `openssl`), or one that no longer has it.
    pub fn new() -> Result<Self, AnonymousUnavailable> {
        static WARNED: Once = Once::new();
        let anonymous = OpenSslAnonymous::new()?;
        WARNED.call_once(|| {
            tracing::warn!(
                "anonymous TLS is encrypted, but unauthenticated: whoever stands between the two ends can read and \
                 change everything, and whoever can reach a listening port is let in; use certificates (mutual TLS) \
                 where that matters"
            );
        });
        Ok(AnonymousTls(anonymous))
    }

    pub(super) async fn connect(&self, tcp: TcpStream) -> Result<Stream, TlsError> {
        self.0.connect(tcp).await.map_err(with_certificates)
    }

    pub(super) async fn accept(&self, tcp: TcpStream) -> Result<Stream, TlsError> {
        self.0.accept(tcp).await.map_err(with_certificates)
    }
}

/// Where mutual TLS would suspect an anonymous peer, the peer is likely a mutual one here.
fn with_certificates(error: TlsError) -> TlsError {
    match error {
        TlsError::Incompatible(reason) => TlsError::NotAnonymous(reason),
        TlsError::NoSignatureAlgorithm => TlsError::NotAnonymous("no signature algorithm in common".into()),
        TlsError::Refused(Refusal::HandshakeFailure) => TlsError::NotAnonymous("handshake_failure".into()),
        TlsError::Refused(Refusal::ProtocolVersion) => TlsError::NotAnonymous("protocol_version".into()),
        TlsError::Refused(Refusal::InsufficientSecurity) => {
            TlsError::NotAnonymous("insufficient_security".into())
        }
        other => other,
    }
}
