//! The check of a certificate against the CA, the same for both sides of a connection.

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ParsedCertificate, VerifierBuilderError};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};

use super::anchors::{Anchors, Chain};
use super::credential_error::{CredentialError, CredentialFault, CredentialKind};
use super::credentials::Credentials;
use super::error::TlsError;
use super::inspect;
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
    cas: Option<Anchors>,
    /// What is trusted for itself alone: rustls would take each for a CA.
    alone: Vec<(CertificateDer<'static>, Anchors)>,
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
    name: Option<ServerName<'static>>,
    standby: Option<Arc<OpenSslMutual>>,
}

impl PeerVerifier {
    /// `cas` are trusted for all that they sign, each of `alone` for itself. `standby` is asked about certificates
    /// that rustls does not take.
    pub(super) fn new(
        cas: &[CertificateDer<'static>],
        alone: &[CertificateDer<'static>],
        provider: &Arc<CryptoProvider>,
        name: Option<ServerName<'static>>,
        standby: Option<Arc<OpenSslMutual>>,
    ) -> Result<Self, VerifierBuilderError> {
        let cas = Anchors::new(cas, provider)?;
        let mut itself = Vec::new();
        for der in alone {
            itself.extend(Anchors::new(std::slice::from_ref(der), provider)?.map(|it| (der.clone(), it)));
        }
        let all = cas.iter().chain(itself.iter().map(|(_, itself)| itself));
        let hints = all.flat_map(Anchors::names).cloned().collect();
        let algorithms = provider.signature_verification_algorithms;
        Ok(PeerVerifier { cas, alone: itself, hints, algorithms, name, standby })
    }

    /// Whether that side of a connection may show this chain.
    pub(super) fn check(&self, chain: &Chain<'_>) -> Result<(), Error> {
        ParsedCertificate::try_from(chain.leaf)?;
        let itself = self.alone.iter().find(|(der, _)| der == chain.leaf).map(|(_, itself)| itself);
        let anchors = itself.or(self.cas.as_ref()).ok_or(CertificateError::UnknownIssuer)?;
        anchors.check(chain).map_err(name_the_foreign)
    }

    /// As [`PeerVerifier::check`], for a peer: with its name, and with OpenSSL's opinion.
    fn check_peer(&self, chain: &Chain<'_>) -> Result<(), Error> {
        self.check(chain).or_else(|error| self.second_opinion(error, chain))?;
        self.check_name(chain.leaf)
    }

    /// OpenSSL, if it is there and the certificate is of a kind that it alone takes.
    fn standby_for(&self, leaf: &CertificateDer<'_>) -> Option<&OpenSslMutual> {
        self.standby.as_deref().filter(|_| inspect::takes_openssl(leaf))
    }

    /// Of what only OpenSSL takes, hears it out: it knows whether our CA stands behind it. If so the handshake goes
    /// on, and fails in [`PeerVerifier::prove`].
    fn second_opinion(&self, error: Error, chain: &Chain<'_>) -> Result<(), Error> {
        let &Chain { side, leaf, intermediates, .. } = chain;
        let Some(standby) = self.standby_for(leaf) else { return Err(error) };
        match TlsError::from_rustls(&error) {
            TlsError::PeerVersion1 | TlsError::PeerIsCa => match standby.check(side, leaf, intermediates) {
                Ok(()) => Ok(()),
                Err(TlsError::PeerForeign) => Err(CertificateError::UnknownIssuer.into()),
                Err(verdict) => Err(ByOpenSsl(verdict).into()),
            },
            _ => Err(error),
        }
    }

    /// The peer's proof that it holds the key of its certificate, where only OpenSSL takes that: then OpenSSL takes
    /// over, at the next connection, so it is an error in any case. A certificate alone, which anybody may have seen,
    /// does not bring that about. `None` for all other certificates.
    fn prove(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Option<Error> {
        let standby = self.standby_for(leaf)?;
        let holds_the_key = inspect::public_key(leaf).is_some_and(|(algorithm, key)| {
            let known = self.algorithms.mapping.iter().filter(|(scheme, _)| *scheme == signed.scheme);
            known
                .flat_map(|(_, candidates)| candidates.iter())
                .filter(|candidate| *candidate.public_key_alg_id() == *algorithm)
                .any(|candidate| candidate.verify_signature(&key, message, signed.signature()).is_ok())
        });
        if !holds_the_key {
            return Some(CertificateError::BadSignature.into());
        }
        standby.choose();
        Some(ByOpenSsl(TlsError::OpenSslNext).into())
    }

    fn check_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.prove(message, leaf, signed) {
            Some(error) => Err(error),
            None => verify_tls12_signature(message, leaf, signed, &self.algorithms),
        }
    }

    fn check_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.prove(message, leaf, signed) {
            Some(error) => Err(error),
            None => verify_tls13_signature(message, leaf, signed, &self.algorithms),
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

/// What OpenSSL had to say of a certificate that rustls does not take.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct ByOpenSsl(pub(super) TlsError);

impl From<ByOpenSsl> for Error {
    fn from(verdict: ByOpenSsl) -> Self {
        CertificateError::Other(OtherError(Arc::new(verdict))).into()
    }
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
        self.check_peer(&Chain { side: Showing::Server, leaf: end_entity, intermediates, now })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check_peer(&Chain { side: Showing::Client, leaf: end_entity, intermediates, now })?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }
}
