//! Inspects a TLS listener without presenting a certificate. Reads the listener's certificate, and the list of CAs in its
//! certificate request.

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

use super::error::{TlsError, TlsFault};
use super::identity::distinguished_name;
use crate::net::Stream;

/// The properties of a TLS listener that were observed in a handshake.
#[derive(Clone, Debug, Default)]
pub(in crate::net) struct ListenerTls {
    /// The TLS version that the listener selected.
    pub(in crate::net) version: Option<&'static str>,
    /// The listener's own certificate (DER).
    pub(in crate::net) certificate: Option<Vec<u8>>,
    /// The CAs that the listener listed when it requested a certificate. `None` if it requested no certificate.
    pub(in crate::net) asks_for: Option<Vec<String>>,
}

/// Connects to a TLS listener. Accepts any certificate of the listener, and presents no certificate. The stream is not
/// authenticated.
///
/// If a TLS 1.3 listener requires a certificate, the handshake succeeds, and the first read returns the error.
pub(in crate::net) async fn inspect_listener(tcp: TcpStream) -> (ListenerTls, Result<Stream, TlsError>) {
    let recorder = Arc::new(Recorder::default());
    let result = connect(&recorder, tcp).await;
    let seen = recorder.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    (seen, result)
}

async fn connect(recorder: &Arc<Recorder>, tcp: TcpStream) -> Result<Stream, TlsError> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Protocol(TlsFault::new(error.to_string()).with_source(error)))?
        .dangerous()
        .with_custom_certificate_verifier(recorder.clone())
        .with_client_cert_resolver(recorder.clone());
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    let name = IpAddr::V4(Ipv4Addr::UNSPECIFIED).into();
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
    tls.map(Stream::from_rustls).map_err(TlsError::from_handshake)
}

/// Records the properties of the listener during the handshake. Accepts every certificate, and presents none.
#[derive(Debug, Default)]
struct Recorder(Mutex<ListenerTls>);

impl Recorder {
    fn record(&self, record: impl FnOnce(&mut ListenerTls)) {
        record(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.record(|seen| seen.certificate = Some(certificate.to_vec()));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.record(|seen| seen.version = Some("TLS 1.2"));
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.record(|seen| seen.version = Some("TLS 1.3"));
        Ok(HandshakeSignatureValid::assertion())
    }

    /// Returns all schemes, so that a listener with an unusual key presents its certificate. No signature is verified.
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

impl ResolvesClientCert for Recorder {
    fn resolve(&self, cas: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.record(|seen| seen.asks_for = Some(cas.iter().map(|name| distinguished_name(name)).collect()));
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}
