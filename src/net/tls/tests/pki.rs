//! Generated certificates, and TLS ends that verify nothing.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use tokio_rustls::rustls::client::ResolvesClientCert;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use std::sync::Arc;

use super::Credentials;

/// A root CA or an intermediate CA.
pub(super) struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The PEM certificates of this CA and of the CAs above it, without the root CA. Empty for the root CA.
    path: String,
    root: String,
}

/// A certificate with its key, as PEM.
pub(super) struct Leaf {
    pub(super) chain: String,
    pub(super) key: String,
    pub(super) der: Vec<u8>,
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

impl Ca {
    pub(super) fn new(name: &str) -> Ca {
        Ca::with_key(name, KeyPair::generate().unwrap())
    }

    pub(super) fn with_key(name: &str, key: KeyPair) -> Ca {
        let issuer = CertifiedIssuer::self_signed(ca_params(name), key).unwrap();
        let root = issuer.pem();
        Ca { issuer, path: String::new(), root }
    }

    /// Returns a CA with a self-signed certificate. Tests can sign certificates with it, even if the extensions of its own
    /// certificate forbid this.
    pub(super) fn self_signed(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Ca {
        let mut params = ca_params(name);
        change(&mut params);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let root = issuer.pem();
        Ca { issuer, path: String::new(), root }
    }

    pub(super) fn intermediate(&self, name: &str) -> Ca {
        self.intermediate_with(name, |_| ())
    }

    pub(super) fn intermediate_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Ca {
        let mut params = ca_params(name);
        change(&mut params);
        let issuer = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.issuer).unwrap();
        let path = format!("{}{}", issuer.pem(), self.path);
        Ca { issuer, path, root: self.root.clone() }
    }

    /// Returns the certificate of the root CA.
    pub(super) fn pem(&self) -> &str {
        &self.root
    }

    pub(super) fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        self.leaf_with_key(KeyPair::generate().unwrap(), change)
    }

    pub(super) fn leaf_with_key(&self, key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = CertificateParams::new(vec!["node.example".into(), "127.0.0.1".into()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "leaf");
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf {
            chain: format!("{}{}", certificate.pem(), self.path),
            key: key.serialize_pem(),
            der: certificate.der().to_vec(),
        }
    }

    /// Returns credentials with a valid leaf of this CA, which trust the root CA.
    pub(super) fn credentials(&self) -> Credentials {
        self.leaf(|_| ()).trusting(self)
    }

    /// Returns the CA's own certificate, used as a leaf.
    pub(super) fn as_leaf(&self) -> Leaf {
        Leaf {
            chain: self.issuer.pem(),
            key: self.issuer.key().serialize_pem(),
            der: self.issuer.der().to_vec(),
        }
    }
}

impl Leaf {
    pub(super) fn trusting(&self, ca: &Ca) -> Credentials {
        Credentials::from_pem(ca.pem(), self.chain.as_str(), self.key.as_str())
    }

    pub(super) fn certified_key(&self) -> CertifiedKey {
        certified_key(self.chain.as_bytes(), self.key.as_bytes())
    }
}

/// Returns a certificate with a key. The key does not have to match the certificate.
pub(super) fn certified_key(chain: &[u8], key: &[u8]) -> CertifiedKey {
    let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>().unwrap();
    let key: PrivateKeyDer<'_> = PrivateKeyDer::from_pem_slice(key).unwrap();
    CertifiedKey::new(chain, aws_lc_rs::sign::any_supported_type(&key).unwrap())
}

/// A verifier that accepts every certificate.
#[derive(Debug)]
pub(super) struct AcceptAnyCertificate;

fn schemes() -> Vec<SignatureScheme> {
    aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
}

impl ServerCertVerifier for AcceptAnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

impl ClientCertVerifier for AcceptAnyCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

/// A resolver that presents no certificate.
#[derive(Debug)]
pub(super) struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
