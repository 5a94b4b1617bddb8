//! The check of a certificate against the CA, the same for both sides of a connection.

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};

use super::credential_error::{CredentialError, CredentialFault, CredentialKind};
use super::credentials::Credentials;
use super::error::TlsError;
use super::via_openssl::OpenSslMutual;

/// Which side of a connection shows a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Showing {
    /// The one that connects.
    Client,
    /// The one that listens.
    Server,
}

/// The name to check, if any.
pub(super) fn server_name(credentials: &Credentials) -> Result<Option<ServerName<'static>>, CredentialError> {
    let Some(name) = &credentials.verify_name else { return Ok(None) };
    ServerName::try_from(name.clone())
        .map(Some)
        .map_err(|_| credentials.error(CredentialKind::VerifyName, CredentialFault::BadName))
}

/// Checks the peer's certificate: the chain always, the name when one was asked for.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    clients: Arc<dyn ClientCertVerifier>,
    name: Option<ServerName<'static>>,
    standby: Option<Arc<OpenSslMutual>>,
}

impl PeerVerifier {
    /// `standby` is asked about certificates that rustls does not take.
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
        name: Option<ServerName<'static>>,
        standby: Option<Arc<OpenSslMutual>>,
    ) -> Result<Self, VerifierBuilderError> {
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider)).build()?;
        Ok(PeerVerifier {
            roots,
            algorithms: provider.signature_verification_algorithms,
            clients,
            name,
            standby,
        })
    }

    /// Whether a side that listens may show this chain.
    pub(super) fn check_server(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )
        .map_err(name_the_foreign)
    }

    /// Whether a side that connects may show this chain.
    pub(super) fn check_client(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        ParsedCertificate::try_from(leaf)?;
        self.clients.verify_client_cert(leaf, intermediates, now).map_err(name_the_foreign)?;
        Ok(())
    }

    /// Of what only OpenSSL takes, hears it out: it knows whether our CA stands behind it.
    fn second_opinion(
        &self,
        error: Error,
        side: Showing,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Error {
        let Some(standby) = &self.standby else { return error };
        match TlsError::from_rustls(&error) {
            TlsError::PeerVersion1 | TlsError::PeerIsCa => {
                match standby.consider(side, leaf, intermediates) {
                    Err(TlsError::PeerForeign) => CertificateError::UnknownIssuer.into(),
                    _ => error,
                }
            }
            _ => error,
        }
    }

    fn check_name(&self, leaf: &CertificateDer<'_>) -> Result<(), Error> {
        match &self.name {
            None => Ok(()),
            Some(name) => verify_server_name(&ParsedCertificate::try_from(leaf)?, name),
        }
    }
}

/// What webpki says of a chain that leads nowhere can mislead when the peer sends its CA along, as OpenSSL does. A
/// signature that does not fit is most often that of another CA of the same name (one made anew, say), and a version
/// 1 certificate above the leaf can only be a CA that we do not trust: both are as foreign as any other, and the
/// peer should hear `unknown_ca`.
fn name_the_foreign(error: Error) -> Error {
    match error {
        Error::InvalidCertificate(error)
            if error == CertificateError::BadSignature || is_webpki(&error, "UnsupportedCertVersion") =>
        {
            CertificateError::UnknownIssuer.into()
        }
        other => other,
    }
}

/// Whether the error is webpki's variant of that name: rustls passes those on that it has no own name for, as
/// errors whose text is the variant's name.
pub(super) fn is_webpki(error: &CertificateError, variant: &str) -> bool {
    matches!(error, CertificateError::Other(other) if other.to_string() == variant)
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        // Where the connection went to, not a name to check.
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check_server(end_entity, intermediates, now)
            .map_err(|error| self.second_opinion(error, Showing::Server, end_entity, intermediates))?;
        self.check_name(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.clients.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.clients.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.clients.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check_client(end_entity, intermediates, now)
            .map_err(|error| self.second_opinion(error, Showing::Client, end_entity, intermediates))?;
        self.check_name(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.clients.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.clients.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }
}
