//! Anonymous TLS, which a Zeek without certificate options uses.

use tokio::net::TcpStream;

use super::alert::Refusal;
use super::error::{AnonymousUnavailable, TlsError, TlsFault};
use super::via_openssl::OpenSslAnonymous;
use crate::net::Stream;

/// Anonymous TLS 1.2 (`AECDH-AES256-SHA` at security level 0, group P-384), for connections on either side. Cheap
/// to clone.
///
/// It protects against passive attackers only. Neither side presents a certificate. So a host between the two ends can read
/// and change all data, and every host that can reach a listener can connect. The cipher does not use authenticated
/// encryption or SHA-2.
#[derive(Debug, Clone)]
pub struct AnonymousTls(OpenSslAnonymous);

impl AnonymousTls {
    /// Returns the settings for anonymous TLS. [`Exposure`](crate::net::Exposure) describes the risk of anonymous TLS at an
    /// address.
    ///
    /// # Errors
    /// Fails if this build has no OpenSSL (feature `openssl`), or if its OpenSSL does not support anonymous TLS.
    pub fn new() -> Result<Self, AnonymousUnavailable> {
        OpenSslAnonymous::new().map(AnonymousTls)
    }

    pub(super) async fn connect(&self, tcp: TcpStream) -> Result<Stream, TlsError> {
        self.0.connect(tcp).await.map_err(as_peer_with_certificates)
    }

    pub(super) async fn accept(&self, tcp: TcpStream) -> Result<Stream, TlsError> {
        self.0.accept(tcp).await.map_err(as_peer_with_certificates)
    }
}

/// Replaces the errors whose hint assumes an anonymous peer. Here, this side is anonymous, so the peer probably requires
/// certificates.
fn as_peer_with_certificates(error: TlsError) -> TlsError {
    match error {
        TlsError::NoCommonCipher(fault)
        | TlsError::NoCommonVersion(fault)
        | TlsError::Incompatible(fault) => TlsError::NotAnonymous(fault),
        TlsError::NoSignatureAlgorithm => {
            TlsError::NotAnonymous(TlsFault::new("no signature algorithm in common"))
        }
        TlsError::Refused(
            refusal @ (Refusal::HandshakeFailure | Refusal::ProtocolVersion | Refusal::InsufficientSecurity),
        ) => TlsError::NotAnonymous(TlsFault::new(refusal.alert())),
        other => other,
    }
}
