//! Mutual TLS on rustls.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use tokio_rustls::rustls::server::{NoServerSessionStorage, ParsedCertificate};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{
    ClientConfig, CommonState, Error, InconsistentKeys, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::anchors::Chain;
use super::credential_error::{CredentialError, CredentialFault, CredentialKind};
use super::credentials::Credentials;
use super::error::TlsError;
use super::inspect::VouchesFor;
use super::material::{KeySection, Material, Raw, key_section};
use super::verify::{PeerVerifier, Showing, server_name};
use super::via_openssl::OpenSslMutual;
use super::warning::CredentialWarning;
use crate::net::Stream;

/// Both sides of mutual TLS.
pub(super) struct RustlsMutual {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
}

impl RustlsMutual {
    /// `standby` is asked about certificates that rustls does not take.
    pub(super) fn new(
        credentials: &Credentials,
        raw: &Raw,
        material: &mut Material,
        versions: &[&'static SupportedProtocolVersion],
        standby: Option<Arc<OpenSslMutual>>,
    ) -> Result<Self, CredentialError> {
        let provider = Arc::new(ring::default_provider());
        let wrong = |kind| move |error| credentials.error(kind, fault(&error));
        let (mut cas, mut alone) = (Vec::new(), Vec::new());
        material.trust(credentials, |ca| {
            RootCertStore::empty().add(ca.der.clone())?;
            let whom = if ca.vouches_for == VouchesFor::Itself { &mut alone } else { &mut cas };
            whom.push(ca.der.clone());
            Ok::<_, Error>(())
        })?;
        let key = private_key(raw).map_err(|fault| credentials.error(CredentialKind::Keyfile, fault))?;

        let leaf = material.chain.first().ok_or_else(|| {
            credentials.error(CredentialKind::Certificate, CredentialFault::NoCertificate(String::new()))
        })?;
        ParsedCertificate::try_from(leaf).map_err(wrong(CredentialKind::Certificate))?;
        let key = CertifiedKey::from_der(material.chain.clone(), key, &provider)
            .map_err(wrong(CredentialKind::Keyfile))?;
        let key = Arc::new(SingleCertAndKey::from(key));

        let name = server_name(credentials)?;
        let verifier = PeerVerifier::new(&cas, &alone, &provider, name, standby).map_err(|error| {
            let fault = CredentialFault::UnusableCertificate(error.to_string());
            credentials.error(CredentialKind::Cafile, fault)
        })?;
        let verifier = Arc::new(verifier);
        doubts(&verifier, credentials, material);

        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(wrong(CredentialKind::Keyfile))?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_client_cert_resolver(key.clone());
        client.enable_sni = false;
        // Peerings are few and long: nothing is won by resumption, and a resumed session would carry a
        // certificate that was checked once, long ago.
        client.resumption = Resumption::disabled();

        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(wrong(CredentialKind::Keyfile))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(key);
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        Ok(RustlsMutual {
            connector: TlsConnector::from(Arc::new(client)),
            acceptor: TlsAcceptor::from(Arc::new(server)),
        })
    }

    pub(super) async fn connect(&self, tcp: TcpStream) -> Result<Stream, TlsError> {
        // rustls wants a name of the peer's. SNI is off and the verifier ignores it, so any will do, and the
        // socket need not be asked for its peer's address (which fails on one that was just reset).
        let whom = IpAddr::V4(Ipv4Addr::UNSPECIFIED).into();
        let tls = self.connector.connect(whom, tcp).await.map_err(TlsError::from_handshake)?;
        log(tls.get_ref().1);
        Ok(Stream::from_rustls(tls))
    }

    pub(super) async fn accept(&self, tcp: TcpStream) -> Result<Stream, TlsError> {
        let tls = self.acceptor.accept(tcp).await.map_err(TlsError::from_handshake)?;
        log(tls.get_ref().1);
        Ok(Stream::from_rustls(tls))
    }
}

fn log(session: &CommonState) {
    tracing::debug!(
        version = session.protocol_version().and_then(|version| version.as_str()),
        cipher = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()),
        "TLS stands"
    );
}

/// Our key, opened if need be.
fn private_key(raw: &Raw) -> Result<PrivateKeyDer<'static>, CredentialFault> {
    let (der, passphrase) = match (key_section(&raw.keyfile)?, &raw.passphrase) {
        (KeySection::Open(key), _) => return Ok(key),
        (_, None) => return Err(CredentialFault::Encrypted),
        (KeySection::Legacy, _) => return Err(CredentialFault::LegacyEncrypted),
        (KeySection::Pkcs8(der), Some(passphrase)) => (der, passphrase),
    };
    let unknown = |error: String| CredentialFault::UnsupportedEncryption(error);
    let encrypted = pkcs8::EncryptedPrivateKeyInfoRef::try_from(der.as_slice())
        .map_err(|error| unknown(error.to_string()))?;
    use pkcs8::pkcs5::Error::{AlgorithmParametersInvalid, NoPbes1CryptSupport, UnsupportedAlgorithm};
    match encrypted.decrypt(passphrase) {
        Ok(key) => Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into()),
        Err(pkcs8::Error::EncryptedPrivateKey(
            error @ (AlgorithmParametersInvalid { .. } | NoPbes1CryptSupport | UnsupportedAlgorithm { .. }),
        )) => Err(unknown(error.to_string())),
        // What the wrong passphrase gives may by chance look decrypted, and then be no key.
        Err(_) => Err(CredentialFault::WrongPassphrase),
    }
}

/// What is wrong with credentials, in our terms.
fn fault(error: &Error) -> CredentialFault {
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => CredentialFault::KeyMismatch,
        Error::InvalidCertificate(_) => match TlsError::from_rustls(error) {
            TlsError::PeerVersion1 => CredentialFault::Version1,
            TlsError::PeerUnusable(reason) => CredentialFault::UnusableCertificate(reason),
            _ => CredentialFault::UnusableCertificate(error.to_string()),
        },
        _ => CredentialFault::UnusableKey(error.to_string()),
    }
}

/// Checks our certificate as a peer with the same CA would, on either side.
fn doubts(verifier: &PeerVerifier, credentials: &Credentials, material: &mut Material) {
    let Some((leaf, intermediates)) = material.chain.split_first() else { return };
    let now = UnixTime::now();
    for (side, showing) in [("listen", Showing::Server), ("connect", Showing::Client)] {
        let Err(error) = verifier.check(&Chain { side: showing, leaf, intermediates, now }) else { continue };
        let warning = CredentialWarning::from_verdict(TlsError::from_rustls(&error), credentials, side);
        // Most faults show on both sides alike.
        if !material.warnings.contains(&warning) {
            material.warnings.push(warning);
        }
    }
}
