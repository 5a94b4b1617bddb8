//! Mutual TLS on rustls.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime,
};
use tokio_rustls::rustls::server::{NoServerSessionStorage, ParsedCertificate};
use tokio_rustls::rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use tokio_rustls::rustls::{
    ClientConfig, CommonState, Error, InconsistentKeys, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::certificate_fault::CertificateFault;
use super::chain::Chain;
use super::credential_error::{CredentialError, CredentialFault, CredentialKind};
use super::credentials::Credentials;
use super::error::TlsError;
use super::from_rustls::certificate_fault;
use super::inspect::{self, TrustScope};
use super::key_kind::{KeyKind, key_kind};
use super::material::{KeySection, Material, Raw, key_section};
use super::self_check::SelfCheck;
use super::verify::{ConnectionVerifier, PeerVerifier};
use crate::net::Stream;

/// The rustls settings for mutual TLS. `connect` and `accept` use them.
pub(super) struct RustlsMutual {
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    /// Our certificate and key, if there are any.
    key: Option<Arc<SingleCertAndKey>>,
    verifier: Arc<PeerVerifier>,
    /// Whether clients must present a certificate.
    verifies_clients: bool,
    self_check: SelfCheck,
}

impl RustlsMutual {
    pub(super) fn new(
        credentials: &Credentials,
        raw: &Raw,
        material: &mut Material,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self, CredentialError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (mut cas, mut alone) = (Vec::new(), Vec::new());
        material.trust(credentials, |ca| {
            RootCertStore::empty().add(ca.der.clone()).map_err(|error| fault(&error, &ca.der).to_string())?;
            let trusted = if ca.trust_scope == TrustScope::Itself { &mut alone } else { &mut cas };
            trusted.push(ca.der.clone());
            Ok::<_, String>(())
        })?;
        let key = match credentials.need_certificate() {
            true => Some(own_key(credentials, raw, material, &provider)?),
            false => None,
        };
        let name = credentials.server_name()?;
        let verifier = PeerVerifier::new(&cas, &alone, &provider, name).map_err(|error| {
            let fault = CredentialFault::UnusableCertificate(error.to_string());
            credentials.error(CredentialKind::Cafile, fault)
        })?;
        let self_check = self_check(&verifier, material);
        self_check.warn(credentials, material);
        let (versions, verifier) = (versions.to_vec(), Arc::new(verifier));
        let verifies_clients = credentials.need_cas();
        Ok(RustlsMutual { provider, versions, key, verifier, verifies_clients, self_check })
    }

    /// Returns the faults for which rustls rejects our own certificate: as a server's and as a client's certificate.
    pub(super) fn self_check(&self) -> &SelfCheck {
        &self.self_check
    }

    /// Returns the configuration of one connection. Each connection has its own verifier, because a verifier stores the
    /// certificate that it refuses. Creating a configuration takes little time compared with the handshake.
    fn client(&self, verifier: Arc<ConnectionVerifier>, enable_sni: bool) -> Result<ClientConfig, Error> {
        let client = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&self.versions)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut client = match &self.key {
            Some(key) => client.with_client_cert_resolver(key.clone()),
            None => client.with_no_client_auth(),
        };
        client.enable_sni = enable_sni;
        // There are few connections, and they last long, so resumption saves nothing. A resumed session would also use a
        // certificate that was verified only once, long ago.
        client.resumption = Resumption::disabled();
        Ok(client)
    }

    /// Like [`RustlsMutual::client`], for the side that listens.
    fn server(&self, verifier: Arc<ConnectionVerifier>) -> Result<ServerConfig, Error> {
        let Some(key) = self.key.clone() else {
            return Err(Error::General("a server needs a certificate, and there is none".to_owned()));
        };
        let server = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&self.versions)?;
        let mut server = if self.verifies_clients {
            server.with_client_cert_verifier(verifier)
        } else {
            server.with_no_client_auth()
        }
        .with_cert_resolver(key);
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(server)
    }

    /// Connects to a server. Its certificate must contain `host`, unless the credentials have a name to verify. Sends `host` as
    /// SNI.
    pub(super) async fn connect(
        &self,
        tcp: TcpStream,
        host: Option<ServerName<'static>>,
    ) -> Result<Stream, TlsError> {
        let verifier = ConnectionVerifier::new(self.verifier.clone(), host.clone());
        let client = self.client(verifier.clone(), host.is_some());
        let client = client.map_err(|error| TlsError::from_rustls(&error))?;
        // rustls requires a server name. Without a host, SNI is off and the verifier ignores the name, so any value works.
        let name = host.unwrap_or_else(|| IpAddr::V4(Ipv4Addr::UNSPECIFIED).into());
        let connected = TlsConnector::from(Arc::new(client)).connect(name, tcp).await;
        let tls = connected.map_err(|error| failed(error, &verifier))?;
        log(tls.get_ref().1);
        Ok(Stream::from_rustls(tls))
    }

    pub(super) async fn accept(&self, tcp: TcpStream) -> Result<Stream, TlsError> {
        let verifier = ConnectionVerifier::new(self.verifier.clone(), None);
        let server = self.server(verifier.clone()).map_err(|error| TlsError::from_rustls(&error))?;
        let accepted = TlsAcceptor::from(Arc::new(server)).accept(tcp).await;
        let tls = accepted.map_err(|error| failed(error, &verifier))?;
        log(tls.get_ref().1);
        Ok(Stream::from_rustls(tls))
    }
}

/// Returns the error of a handshake. If the peer's certificate was refused, the error contains it.
fn failed(error: std::io::Error, verifier: &ConnectionVerifier) -> TlsError {
    match verifier.refused() {
        Some(refused) => TlsError::Certificate(refused),
        None => TlsError::from_handshake(error),
    }
}

fn log(session: &CommonState) {
    tracing::debug!(
        version = session.protocol_version().and_then(|version| version.as_str()),
        cipher = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()),
        "TLS established"
    );
}

/// Returns our certificate and key, which must match.
fn own_key(
    credentials: &Credentials,
    raw: &Raw,
    material: &Material,
    provider: &CryptoProvider,
) -> Result<Arc<SingleCertAndKey>, CredentialError> {
    let keyfile = |fault| credentials.error(CredentialKind::Keyfile, fault);
    let certificate = |fault| credentials.error(CredentialKind::Certificate, fault);
    let key = private_key(raw).map_err(keyfile)?;
    let no_certificate = || certificate(CredentialFault::NoCertificate(String::new()));
    let leaf = material.chain.first().ok_or_else(no_certificate)?;
    check_certificate(leaf).map_err(certificate)?;
    let key = load_key(provider, key).map_err(keyfile)?;
    let key = CertifiedKey::new(material.chain.clone(), key);
    match key.keys_match() {
        // `Unknown` means that the public key is not available, so the keys cannot be compared. If they do not match,
        // the peer rejects the handshake.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(error) => return Err(keyfile(fault(&error, leaf))),
    }
    Ok(Arc::new(SingleCertAndKey::from(key)))
}

/// Decrypts and parses the key.
pub(super) fn check_key(raw: &Raw) -> Result<(), CredentialFault> {
    load_key(&aws_lc_rs::default_provider(), private_key(raw)?).map(drop)
}

fn load_key(
    provider: &CryptoProvider,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<dyn SigningKey>, CredentialFault> {
    let kind = key_kind(&key);
    provider.key_provider.load_private_key(key).map_err(|error| key_fault(&error, kind))
}

/// Returns the fault of a key that rustls does not accept.
fn key_fault(error: &Error, kind: Option<KeyKind>) -> CredentialFault {
    match kind {
        Some(KeyKind::ExplicitCurve) => CredentialFault::ExplicitCurve,
        Some(KeyKind::Curve { name, is_supported: false }) => CredentialFault::UnsupportedCurve(name),
        Some(KeyKind::Other(name)) if !name.to_ascii_lowercase().starts_with("rsa") => {
            CredentialFault::UnsupportedKey(name)
        }
        _ => fault(error, &[]),
    }
}

/// Parses our certificate.
pub(super) fn check_certificate(der: &CertificateDer<'_>) -> Result<(), CredentialFault> {
    ParsedCertificate::try_from(der).map_err(|error| fault(&error, der))?;
    // rustls only parses the certificate here, and does not look at its key. Reject explicit curves now; `keys_match`
    // compares the certificate with the key later.
    if inspect::has_explicit_curve(der) { Err(CredentialFault::ExplicitCurve) } else { Ok(()) }
}

/// Returns our key, decrypted if necessary.
fn private_key(raw: &Raw) -> Result<PrivateKeyDer<'static>, CredentialFault> {
    let (der, passphrase) = match (key_section(&raw.keyfile)?, &raw.passphrase) {
        (KeySection::Open(key), _) => return Ok(key),
        (_, None) => return Err(CredentialFault::Encrypted),
        (KeySection::Legacy(_), _) => return Err(CredentialFault::LegacyEncrypted),
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
        // This also covers a wrong passphrase with which the decrypted bytes have valid padding by chance, but are not a
        // key.
        Err(_) => Err(CredentialFault::WrongPassphrase),
    }
}

/// Converts an error of rustls about our own credentials.
fn fault(error: &Error, certificate: &[u8]) -> CredentialFault {
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => CredentialFault::KeyMismatch,
        Error::InvalidCertificate(error) => match certificate_fault(error, certificate) {
            CertificateFault::Version1 => CredentialFault::Version1,
            CertificateFault::Unusable(reason) => CredentialFault::UnusableCertificate(reason),
            other => CredentialFault::UnusableCertificate(format!("it {other}")),
        },
        Error::InconsistentKeys(_) => {
            CredentialFault::UnusableKey("it cannot be compared with the certificate".into())
        }
        other => CredentialFault::UnusableKey(other.to_string()),
    }
}

/// Verifies our certificate for both sides of a connection, as a peer with the same CA does. Without CAs, verifies nothing
/// and finds no fault.
fn self_check(verifier: &PeerVerifier, material: &Material) -> SelfCheck {
    let Some((leaf, intermediates)) = material.chain.split_first().filter(|_| !material.cas.is_empty())
    else {
        return SelfCheck::new(|_| None);
    };
    let now = UnixTime::now();
    SelfCheck::new(|side| {
        let result = verifier.check(&Chain { side, leaf, intermediates, now });
        result.err().map(|refused| refused.certificate.fault)
    })
}
