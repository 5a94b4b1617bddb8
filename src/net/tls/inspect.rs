//! Looking into certificates, for what the TLS libraries do not tell.

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Version;

/// Whether this may stand among the trusted: the certificate of a CA, or one that signed itself. What cannot be
/// read is left to the TLS library to refuse.
pub(super) fn may_be_trusted(der: &[u8]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return true };
    if certificate.subject().as_raw() == certificate.issuer().as_raw() {
        return true;
    }
    match (certificate.basic_constraints(), certificate.key_usage()) {
        (Ok(Some(constraints)), _) => constraints.value.ca,
        // As OpenSSL has it: without basicConstraints, keyUsage may say so.
        (Ok(None), Ok(Some(usage))) => usage.value.key_cert_sign(),
        _ => false,
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
