//! Verification of a peer's certificate for rustls, for both sides of a connection.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ParsedCertificate, VerifierBuilderError};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
};

use super::anchors::Anchors;
use super::certificate_fault::{CertificateFault, RefusedCertificate};
use super::chain::{Chain, Presenter};
use super::error::TlsError;
use super::from_rustls::{certificate_fault, is_webpki, refused};
use super::inspect;

/// Verifies the chain of a peer's certificate, and its name if a name to verify is set.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    cas: Option<Anchors>,
    /// Certificates that are trusted only for themselves. They are not in `cas`, because rustls would treat each of them as
    /// a CA.
    alone: Vec<(CertificateDer<'static>, Anchors)>,
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
    name: Option<ServerName<'static>>,
}

/// A certificate that was refused. `error` is returned to rustls and determines the alert. `certificate` contains the fault
/// to report.
pub(super) struct Refused {
    error: Error,
    pub(super) certificate: Box<RefusedCertificate>,
}

impl PeerVerifier {
    /// Trusts the certificates that `cas` have signed. Also trusts each certificate in `alone`, but not the certificates
    /// that it has signed.
    pub(super) fn new(
        cas: &[CertificateDer<'static>],
        alone: &[CertificateDer<'static>],
        provider: &Arc<CryptoProvider>,
        name: Option<ServerName<'static>>,
    ) -> Result<Self, VerifierBuilderError> {
        let cas = Anchors::new(cas, provider)?;
        let mut itself = Vec::new();
        for der in alone {
            itself.extend(Anchors::new(std::slice::from_ref(der), provider)?.map(|it| (der.clone(), it)));
        }
        let all = cas.iter().chain(itself.iter().map(|(_, itself)| itself));
        let hints = all.flat_map(Anchors::names).cloned().collect();
        let algorithms = provider.signature_verification_algorithms;
        Ok(PeerVerifier { cas, alone: itself, hints, algorithms, name })
    }

    /// Verifies that the peer may present this chain in its role, `chain.side`. Does not verify the name.
    pub(super) fn check(&self, chain: &Chain<'_>) -> Result<(), Refused> {
        // As in OpenSSL, a certificate that may not sign certificates is not used as an intermediate certificate.
        let may_sign = chain.intermediates.iter().filter(|der| inspect::may_sign(der)).cloned();
        let intermediates: Vec<CertificateDer<'_>> = may_sign.collect();
        let usable = Chain { intermediates: &intermediates, ..*chain };
        let result =
            self.leads_to_anchor(&usable).map_err(|error| self.correct_unknown_issuer(error, &usable));
        let is_foreign = matches!(result, Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)));
        // If the issuer is unknown, report that. Otherwise report a forbidden use before any other fault, because every TLS
        // library rejects such a certificate.
        if !is_foreign && let Some(why) = inspect::forbidden_use(chain.leaf, chain.side) {
            let fault = CertificateFault::WrongPurpose(why);
            return Err(Refused {
                error: CertificateError::InvalidPurpose.into(),
                certificate: Box::new(RefusedCertificate::new(fault, chain.leaf)),
            });
        }
        result.map_err(|error| Refused { certificate: Box::new(refused(&error, &usable)), error })
    }

    fn leads_to_anchor(&self, chain: &Chain<'_>) -> Result<(), Error> {
        ParsedCertificate::try_from(chain.leaf)?;
        let itself = self.alone.iter().find(|(der, _)| der == chain.leaf).map(|(_, itself)| itself);
        let anchors = itself.or(self.cas.as_ref()).ok_or(CertificateError::UnknownIssuer)?;
        anchors.check(chain)
    }

    /// Corrects the error that webpki reports for a chain without a trusted CA, so that the peer receives the alert
    /// `unknown_ca`. webpki selects possible issuers by their names and stops at the first fault. So it can report a
    /// different fault:
    ///
    /// - A wrong signature usually means that a different CA has the same name, for example because the CA was created
    ///   again.
    /// - A version 1 certificate above the leaf can only be a CA that we do not trust.
    /// - A leaf that has version 1 or is a CA certificate is refused before webpki looks for its issuer.
    fn correct_unknown_issuer(&self, error: Error, chain: &Chain<'_>) -> Error {
        let Error::InvalidCertificate(fault) = &error else { return error };
        let is_version1 = is_webpki(fault, "UnsupportedCertVersion");
        let is_foreign = match fault {
            CertificateError::BadSignature => true,
            _ if is_version1 && !inspect::is_version1(chain.leaf) => true,
            _ if is_version1 || is_webpki(fault, "CaUsedAsEndEntity") => !self.knows_issuer(chain),
            _ => false,
        };
        if is_foreign { CertificateError::UnknownIssuer.into() } else { error }
    }

    /// Returns whether the name of an issuer in this chain is the name of a trusted CA.
    fn knows_issuer(&self, chain: &Chain<'_>) -> bool {
        let names = chain.certificates().filter_map(|der| inspect::raw_names(der));
        names.into_iter().any(|[_, issuer]| self.hints.iter().any(|known| known.as_ref() == issuer))
    }

    /// Like [`PeerVerifier::check`], but also verifies the name: the name to verify if it is set, and otherwise `host`.
    fn check_peer(&self, chain: &Chain<'_>, host: Option<&ServerName<'_>>) -> Result<(), Refused> {
        self.check(chain)?;
        self.check_name(chain.leaf, host)
            .map_err(|error| Refused { certificate: Box::new(refused(&error, chain)), error })
    }

    fn check_name(&self, leaf: &CertificateDer<'_>, host: Option<&ServerName<'_>>) -> Result<(), Error> {
        match self.name.as_ref().or(host) {
            None => Ok(()),
            Some(name) => verify_server_name(&ParsedCertificate::try_from(leaf)?, name),
        }
    }
}

/// Converts a failed verification of the handshake's signature to a refusal.
fn refused_signature(error: Error, leaf: &CertificateDer<'_>) -> Refused {
    let certificate = match &error {
        Error::InvalidCertificate(fault) => RefusedCertificate::new(certificate_fault(fault, leaf), leaf),
        // The fault is in the handshake and not in the certificate.
        other => RefusedCertificate::new(
            CertificateFault::Unusable(TlsError::from_rustls(other).to_string()),
            leaf,
        ),
    };
    Refused { error, certificate: Box::new(certificate) }
}

/// The verifier of one connection. It stores the certificate that it refused, because the error of rustls does not contain it.
#[derive(Debug)]
pub(super) struct ConnectionVerifier {
    shared: Arc<PeerVerifier>,
    /// The host that the peer's certificate must contain if there is no name to verify.
    host: Option<ServerName<'static>>,
    refused: Mutex<Option<Box<RefusedCertificate>>>,
}

impl ConnectionVerifier {
    pub(super) fn new(shared: Arc<PeerVerifier>, host: Option<ServerName<'static>>) -> Arc<Self> {
        Arc::new(ConnectionVerifier { shared, host, refused: Mutex::default() })
    }

    /// Returns the refused certificate, if the handshake failed because of it. A second call returns `None`.
    pub(super) fn refused(&self) -> Option<Box<RefusedCertificate>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep<T>(&self, result: Result<T, Refused>) -> Result<T, Error> {
        result.map_err(|Refused { error, certificate }| {
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(certificate);
            error
        })
    }

    fn check(&self, chain: &Chain<'_>) -> Result<(), Error> {
        self.keep(self.shared.check_peer(chain, self.host.as_ref()))
    }

    fn check_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let result = verify_tls12_signature(message, leaf, signed, &self.shared.algorithms);
        self.keep(result.map_err(|error| refused_signature(error, leaf)))
    }

    fn check_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let result = verify_tls13_signature(message, leaf, signed, &self.shared.algorithms);
        self.keep(result.map_err(|error| refused_signature(error, leaf)))
    }
}

impl ServerCertVerifier for ConnectionVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        // The verifier has its own host, because rustls requires a name even if none is verified.
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(&Chain { side: Presenter::Server, leaf: end_entity, intermediates, now })?;
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
        self.shared.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for ConnectionVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.shared.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(&Chain { side: Presenter::Client, leaf: end_entity, intermediates, now })?;
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
        self.shared.algorithms.supported_schemes()
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }
}
