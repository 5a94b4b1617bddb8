//! Certificates made on the spot and kept nowhere, for demonstrations and tests.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::{CredentialError, Credentials, MutualTls};

/// A CA that lives as long as this value; its key is never written anywhere.
pub struct EphemeralAuthority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Without the key.
impl std::fmt::Debug for EphemeralAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EphemeralAuthority").finish_non_exhaustive()
    }
}

/// Why no certificate was made: the source of random numbers failed, or a name cannot stand in one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EphemeralError {
    /// The certificate was not made.
    #[error("no certificate could be made: {0}")]
    Make(#[from] rcgen::Error),
    /// The certificate was made, but cannot be used.
    #[error(transparent)]
    Use(#[from] CredentialError),
}

/// Makes a CA on the spot.
///
/// # Errors
/// When the source of random numbers fails.
pub fn ephemeral_authority() -> Result<EphemeralAuthority, EphemeralError> {
    let mut params = named("zeek-bridge ephemeral CA", Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(EphemeralAuthority { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
}

impl EphemeralAuthority {
    /// Issues a certificate for `name`, with a new key, and makes mutual TLS of it. Its peers are all
    /// others that this CA issues to.
    ///
    /// # Errors
    /// When the source of random numbers fails, or `name` is not ASCII.
    pub fn issue(&self, name: &str) -> Result<MutualTls, EphemeralError> {
        Ok(self.credentials(name)?.load()?)
    }

    /// The credentials that [`EphemeralAuthority::issue`] loads.
    ///
    /// # Errors
    /// When the source of random numbers fails, or `name` is not ASCII.
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
