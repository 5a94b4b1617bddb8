//! Looking at a TLS listener without being let in: what it shows, and what it asks for.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{ResolvesClientCert, Resumption};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::error::TlsError;
use super::identity::distinguished_name;
use crate::net::Stream;

/// What a TLS listener let be seen.
#[derive(Clone, Debug, Default)]
pub(in crate::net) struct Seen {
    /// The version of TLS that it chose.
    pub(in crate::net) version: Option<&'static str>,
    /// Its own certificate (DER).
    pub(in crate::net) certificate: Option<Vec<u8>>,
    /// Whether it asked for a certificate, and the CAs that it named.
    pub(in crate::net) asks_for: Option<Vec<String>>,
}

/// Begins TLS with a listener, believes whatever it shows, and shows nothing. What is said on the stream is
/// said to anybody.
///
/// In TLS 1.3, that the listener insists on a certificate is the error of the first read.
pub(in crate::net) async fn look(tcp: TcpStream) -> (Seen, Result<Stream, TlsError>) {
    let noting = Arc::new(Noting::default());
    let result = connect(&noting, tcp).await;
    let seen = noting.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    (seen, result)
}

async fn connect(noting: &Arc<Noting>, tcp: TcpStream) -> Result<Stream, TlsError> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Protocol(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(noting.clone())
        .with_client_cert_resolver(noting.clone());
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    let whom = IpAddr::V4(Ipv4Addr::UNSPECIFIED).into();
    let tls = TlsConnector::from(Arc::new(config)).connect(whom, tcp).await;
    tls.map(Stream::from_rustls).map_err(TlsError::from_handshake)
}

/// Notes what it is asked, and has no objections and no certificate.
#[derive(Debug, Default)]
struct Noting(Mutex<Seen>);

impl Noting {
    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl ServerCertVerifier for Noting {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.note(|seen| seen.certificate = Some(certificate.to_vec()));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.note(|seen| seen.version = Some("TLS 1.2"));
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.note(|seen| seen.version = Some("TLS 1.3"));
        Ok(HandshakeSignatureValid::assertion())
    }

    /// Each that there is: nothing is verified, and a listener with a strange key should show it.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ECDSA_NISTP521_SHA512,
            SignatureScheme::ED25519,
            SignatureScheme::ED448,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
            SignatureScheme::ECDSA_SHA1_Legacy,
            SignatureScheme::RSA_PKCS1_SHA1,
        ]
    }
}

impl ResolvesClientCert for Noting {
    fn resolve(&self, cas: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.note(|seen| seen.asks_for = Some(cas.iter().map(|name| distinguished_name(name)).collect()));
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}
