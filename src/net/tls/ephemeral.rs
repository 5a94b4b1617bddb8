//! Certificates that are created in memory, for demonstrations and tests.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::{CredentialError, Credentials, MutualTls};

/// A CA in memory. Its key is never written to a file.
pub struct EphemeralAuthority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Omits the key.
impl std::fmt::Debug for EphemeralAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EphemeralAuthority").finish_non_exhaustive()
    }
}

/// Why a certificate could not be created: no random numbers, or an invalid name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EphemeralError {
    /// The certificate could not be created.
    #[error("cannot create a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The certificate was created, but cannot be used.
    #[error(transparent)]
    Use(#[from] CredentialError),
}

/// Creates a CA with a new key.
///
/// # Errors
/// Fails if the source of random numbers fails.
pub fn ephemeral_authority() -> Result<EphemeralAuthority, EphemeralError> {
    let mut params = named("zeek-bridge ephemeral CA", Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(EphemeralAuthority { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
}

impl EphemeralAuthority {
    /// Issues a certificate for `name` with a new key. Returns mutual TLS that presents this certificate and trusts all
    /// certificates of this CA.
    ///
    /// # Errors
    /// Fails if the source of random numbers fails, or if `name` is not ASCII.
    pub fn issue(&self, name: &str) -> Result<MutualTls, EphemeralError> {
        Ok(self.credentials(name)?.load()?)
    }

    /// Returns the credentials that [`EphemeralAuthority::issue`] loads.
    ///
    /// # Errors
    /// Fails if the source of random numbers fails, or if `name` is not ASCII.
    pub fn credentials(&self, name: &str) -> Result<Credentials, EphemeralError> {
        let key = KeyPair::generate()?;
        let mut params = named(name, vec![name.to_owned()])?;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Credentials::from_pem(self.issuer.pem(), certificate.pem(), key.serialize_pem()))
    }
}

fn named(name: &str, subject_alt_names: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(subject_alt_names)?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
