//! Looking into certificates, for what the TLS libraries do not tell.

use std::time::Duration;

use tokio_rustls::rustls::pki_types::UnixTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::asn1_rs::Sequence;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Version;

/// For whom a certificate among the trusted can vouch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VouchesFor {
    /// It is that of a CA, which vouches for whom it signs.
    Others,
    /// It signed itself, and is no CA.
    Itself,
    /// It is no CA, and somebody else's word is needed for it.
    Nobody,
}

/// For whom this can vouch, as OpenSSL has it. What cannot be read is left to the TLS library to refuse.
pub(super) fn vouches_for(der: &[u8]) -> VouchesFor {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return VouchesFor::Others };
    let signed_itself = certificate.subject().as_raw() == certificate.issuer().as_raw();
    let is_ca = match (certificate.basic_constraints(), certificate.key_usage()) {
        (Ok(Some(constraints)), _) => constraints.value.ca,
        // Without basicConstraints, keyUsage may say so.
        (Ok(None), Ok(Some(usage))) => usage.value.key_cert_sign(),
        // There was no other way to say so in version 1.
        _ => signed_itself && certificate.version() == X509Version::V1,
    };
    match (is_ca, signed_itself) {
        (true, _) => VouchesFor::Others,
        (false, true) => VouchesFor::Itself,
        (false, false) => VouchesFor::Nobody,
    }
}

/// Whether only OpenSSL takes it for a peer's own: it is an X.509 version 1 certificate, or that of a CA.
pub(in crate::net) fn takes_openssl(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, certificate)| {
        certificate.version() == X509Version::V1
            || matches!(certificate.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca)
    })
}

/// Whether it is an X.509 version 1 certificate.
pub(super) fn is_version1(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, certificate)| certificate.version() == X509Version::V1)
}

/// From when until when it is valid; what cannot be read is left to the TLS library to refuse.
pub(super) fn times(der: &[u8]) -> (UnixTime, UnixTime) {
    let (from, until) = X509Certificate::from_der(der).map_or((0, i64::MAX), |(_, certificate)| {
        let validity = certificate.validity();
        (validity.not_before.timestamp(), validity.not_after.timestamp())
    });
    [from, until]
        .map(|time| UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(time).unwrap_or(0))))
        .into()
}

/// The algorithm and the key in a certificate, as rustls' algorithms want them: what is in the `AlgorithmIdentifier`, and
/// the bits.
pub(super) fn public_key(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let key = certificate.public_key();
    let (_, info) = Sequence::from_der(key.raw).ok()?;
    let (_, algorithm) = Sequence::from_der(&info.content).ok()?;
    Some((algorithm.content.to_vec(), key.subject_public_key.data.to_vec()))
}
