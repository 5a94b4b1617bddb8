//! Mutual TLS on rustls.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::{NoServerSessionStorage, ParsedCertificate};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{
    ClientConfig, CommonState, Error, InconsistentKeys, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::credentials::{CredentialError, CredentialFault, CredentialKind, Credentials};
use super::error::{Ago, TlsError};
use super::verify::PeerVerifier;
use crate::net::Stream;

/// Mutual TLS, ready for connections on either side. Cheap to clone. Made by [`Credentials::load`].
#[derive(Clone)]
pub struct MutualTls {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
    warnings: Arc<[CredentialWarning]>,
}

/// Something about our credentials that peers will likely not like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialWarning {
    /// Our certificate, or one in its chain, is past its end.
    #[error(
        "certificate {certificate}: it (or one it is signed with) expired {} ago, peers will refuse it: renew it",
        Ago(*ago)
    )]
    Expired {
        /// Its file.
        certificate: String,
        /// For how long.
        ago: Duration,
    },
    /// Our certificate, or one in its chain, is not valid yet.
    #[error(
        "certificate {certificate}: it (or one it is signed with) becomes valid only in {}, peers will refuse it: \
         set the clocks right",
        Ago(*ahead)
    )]
    NotYetValid {
        /// Its file.
        certificate: String,
        /// For how long still.
        ahead: Duration,
    },
    /// Our certificate is not signed by the CA that we trust.
    #[error(
        "certificate {certificate}: it is not signed by a CA in cafile {cafile}, and peers with the same cafile \
         will refuse it: use one that is, or append the intermediate certificates to it"
    )]
    Foreign {
        /// Its file.
        certificate: String,
        /// The CA file.
        cafile: String,
    },
    /// Our certificate is that of a CA.
    #[error(
        "certificate {certificate}: it is that of a CA, which not every peer takes for a peer's own: \
         sign one with it, with `basicConstraints=CA:FALSE`"
    )]
    IsCa {
        /// Its file.
        certificate: String,
    },
    /// Our certificate may only be used on one side of a connection.
    #[error(
        "certificate {certificate}: it is not meant for the side that {side}s, where peers will refuse it: \
         reissue it with `extendedKeyUsage=serverAuth,clientAuth`, or without that extension"
    )]
    WrongPurpose {
        /// Its file.
        certificate: String,
        /// `connect` or `listen`.
        side: &'static str,
    },
    /// Our certificate does not stand our own check for another reason.
    #[error("certificate {certificate}: peers may refuse it: {reason}")]
    Other {
        /// Its file.
        certificate: String,
        /// What the check said.
        reason: String,
    },
    /// One of several CA certificates cannot be used.
    #[error("cafile {cafile}: certificate number {number} in it is left out: {reason}")]
    CaLeftOut {
        /// The CA file.
        cafile: String,
        /// Counted from 1.
        number: usize,
        /// Why.
        reason: String,
    },
}

impl MutualTls {
    pub(super) fn new(
        credentials: &Credentials,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self, CredentialError> {
        let provider = Arc::new(ring::default_provider());
        let mut warnings = Vec::new();
        let roots = Arc::new(roots(credentials, &mut warnings)?);
        // The key comes first: of a file that holds both, its fault is the clearer one.
        let key = credentials.read_keyfile()?;
        let chain = credentials.read_certificate()?;
        let wrong = |kind| move |error| credentials.error(kind, fault(&error));

        let leaf = chain.first().ok_or_else(|| {
            credentials.error(CredentialKind::Certificate, CredentialFault::NoCertificate(String::new()))
        })?;
        ParsedCertificate::try_from(leaf).map_err(wrong(CredentialKind::Certificate))?;
        let key =
            CertifiedKey::from_der(chain.clone(), key, &provider).map_err(wrong(CredentialKind::Keyfile))?;
        let key = Arc::new(SingleCertAndKey::from(key));

        let name = match &credentials.verify_name {
            None => None,
            Some(name) => Some(
                ServerName::try_from(name.clone())
                    .map_err(|_| credentials.error(CredentialKind::VerifyName, CredentialFault::BadName))?,
            ),
        };
        let verifier = PeerVerifier::new(roots, &provider, name).map_err(|error| {
            credentials.error(CredentialKind::Cafile, CredentialFault::UnusableCertificate(error.to_string()))
        })?;
        let verifier = Arc::new(verifier);
        doubts(&verifier, credentials, &chain, &mut warnings);
        for warning in &warnings {
            tracing::warn!("{warning}");
        }

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

        Ok(MutualTls {
            connector: TlsConnector::from(Arc::new(client)),
            acceptor: TlsAcceptor::from(Arc::new(server)),
            warnings: warnings.into(),
        })
    }

    /// What peers will likely not like about our credentials, as of when they were loaded.
    #[must_use]
    pub fn warnings(&self) -> &[CredentialWarning] {
        &self.warnings
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

impl fmt::Debug for MutualTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutualTls").field("warnings", &self.warnings).finish_non_exhaustive()
    }
}

fn log(session: &CommonState) {
    tracing::debug!(
        version = ?session.protocol_version(),
        cipher = ?session.negotiated_cipher_suite().map(|suite| suite.suite()),
        "TLS stands"
    );
}

/// The CAs that we trust: all that can be used, and at least one.
fn roots(
    credentials: &Credentials,
    warnings: &mut Vec<CredentialWarning>,
) -> Result<RootCertStore, CredentialError> {
    let mut roots = RootCertStore::empty();
    let mut last = None;
    for (number, der) in (1..).zip(credentials.read_cafile()?) {
        if let Err(error) = roots.add(der) {
            let cafile = credentials.cafile.to_string();
            warnings.push(CredentialWarning::CaLeftOut { cafile, number, reason: error.to_string() });
            last = Some(error);
        }
    }
    match last {
        Some(error) if roots.is_empty() => Err(credentials.error(CredentialKind::Cafile, fault(&error))),
        _ => Ok(roots),
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
fn doubts(
    verifier: &PeerVerifier,
    credentials: &Credentials,
    chain: &[CertificateDer<'static>],
    warnings: &mut Vec<CredentialWarning>,
) {
    let Some((leaf, intermediates)) = chain.split_first() else { return };
    let now = UnixTime::now();
    let checks = [
        ("listen", verifier.check_server(leaf, intermediates, now)),
        ("connect", verifier.check_client(leaf, intermediates, now)),
    ];
    for (side, result) in checks {
        let Err(error) = result else { continue };
        let certificate = credentials.certificate.to_string();
        let warning = match TlsError::from_rustls(&error) {
            TlsError::PeerExpired { ago } => CredentialWarning::Expired { certificate, ago },
            TlsError::PeerNotYetValid { ahead } => CredentialWarning::NotYetValid { certificate, ahead },
            TlsError::PeerForeign => {
                CredentialWarning::Foreign { certificate, cafile: credentials.cafile.to_string() }
            }
            TlsError::PeerIsCa => CredentialWarning::IsCa { certificate },
            TlsError::PeerWrongPurpose(_) => CredentialWarning::WrongPurpose { certificate, side },
            _ => CredentialWarning::Other { certificate, reason: error.to_string() },
        };
        // Most faults show on both sides alike.
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
}
