//! Converts errors of rustls. The texts contain no names of Rust types and no object identifiers.

use std::fmt;
use std::time::Duration;

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{CertificateError, Error, InvalidMessage, PeerIncompatible};

use super::alert::Refusal;
use super::certificate_fault::{CertificateFault, RefusedCertificate};
use super::chain::Chain;
use super::error::{TlsError, TlsFault};
use super::inspect;

impl TlsError {
    pub(super) fn from_rustls(error: &Error) -> Self {
        let fault = |reason: String| TlsFault::new(reason).with_source(error.clone());
        match error {
            Error::InvalidCertificate(fault) => {
                // This error does not come from our verifier. If our verifier refuses a certificate, it stores the fault,
                // and the stored fault is used instead of this error.
                TlsError::Certificate(Box::new(RefusedCertificate::unknown(certificate_fault(fault, &[]))))
            }
            Error::NoCertificatesPresented => TlsError::NoPeerCertificate,
            Error::AlertReceived(alert) => TlsError::Refused(Refusal::from_alert((*alert).into())),
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => TlsError::NotTls,
            Error::InvalidMessage(what) => TlsError::Protocol(fault(format!(
                "the peer sent a malformed message: {}",
                variant_name(what)
            ))),
            Error::PeerIncompatible(
                PeerIncompatible::NoSignatureSchemesInCommon
                | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon,
            ) => TlsError::NoSignatureAlgorithm,
            // A client that offers only anonymous cipher suites may omit the list of signature algorithms.
            Error::PeerIncompatible(
                what @ (PeerIncompatible::NoCipherSuitesInCommon
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired),
            ) => TlsError::NoCommonCipher(fault(variant_name(what))),
            Error::PeerIncompatible(
                what @ (PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::Tls13RequiredForQuic),
            ) => TlsError::NoCommonVersion(fault(variant_name(what))),
            Error::PeerIncompatible(what) => TlsError::Incompatible(fault(variant_name(what))),
            Error::PeerMisbehaved(what) => {
                TlsError::Protocol(fault(format!("the peer violated the protocol: {}", variant_name(what))))
            }
            Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
                TlsError::Protocol(fault("the peer sent a message out of order".to_owned()))
            }
            other => TlsError::Protocol(fault(other.to_string())),
        }
    }
}

/// Returns the fault, with the certificate in the chain that caused it.
pub(super) fn refused(error: &Error, chain: &Chain<'_>) -> RefusedCertificate {
    let Error::InvalidCertificate(error) = error else {
        return RefusedCertificate::new(CertificateFault::Unusable(error.to_string()), chain.leaf);
    };
    let certificate = failed_certificate(error, chain);
    RefusedCertificate::new(certificate_fault(error, certificate), certificate)
}

/// Finds the certificate that caused the error by details of the error, because rustls does not name the certificate.
fn failed_certificate<'a>(error: &CertificateError, chain: &Chain<'a>) -> &'a CertificateDer<'a> {
    let find = |is_it: &dyn Fn(&CertificateDer<'a>) -> bool| chain.certificates().find(|der| is_it(der));
    let is_signed_with = |algorithm: &[u8], der: &CertificateDer<'a>| {
        inspect::raw_signature_algorithm(der)
            .is_some_and(|oid| algorithm.windows(oid.len()).any(|part| part == oid))
    };
    match error {
        // If no certificate matches, the trusted CA has failed. It is not in the chain, so report the certificate that it
        // signed.
        CertificateError::ExpiredContext { not_after, .. } => {
            find(&|der| inspect::validity_period(der).1 == *not_after).unwrap_or_else(|| topmost(chain))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            find(&|der| inspect::validity_period(der).0 == *not_before).unwrap_or_else(|| topmost(chain))
        }
        CertificateError::UnknownIssuer => topmost(chain),
        CertificateError::UnsupportedSignatureAlgorithmContext { signature_algorithm_id, .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id, ..
        } => find(&|der| is_signed_with(signature_algorithm_id, der)).unwrap_or(chain.leaf),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            find(&|der| inspect::lacks_extended_usage(der, chain.side)).unwrap_or(chain.leaf)
        }
        _ => chain.leaf,
    }
}

/// Follows the names of the issuers from the leaf, and returns the last certificate of the chain on this path. Each step removes a
/// certificate from the candidates, so that a cycle of issuers does not loop forever.
fn topmost<'a>(chain: &Chain<'a>) -> &'a CertificateDer<'a> {
    let mut top = chain.leaf;
    let mut rest: Vec<_> = chain.intermediates.iter().collect();
    while let Some([_, issuer]) = inspect::raw_names(top) {
        let is_issuer = |der: &&CertificateDer<'_>| {
            inspect::raw_names(der)
                .is_some_and(|[subject, its_issuer]| subject == issuer && its_issuer != subject)
        };
        let Some(at) = rest.iter().position(is_issuer) else { break };
        top = rest.swap_remove(at);
    }
    top
}

/// Converts a fault. `certificate` is the certificate that failed, or empty if it is unknown.
pub(super) fn certificate_fault(error: &CertificateError, certificate: &[u8]) -> CertificateFault {
    match error {
        CertificateError::ExpiredContext { time, not_after } => CertificateFault::Expired {
            ago: Duration::from_secs(time.as_secs().saturating_sub(not_after.as_secs())),
        },
        CertificateError::NotValidYetContext { time, not_before } => CertificateFault::NotYetValid {
            ahead: Duration::from_secs(not_before.as_secs().saturating_sub(time.as_secs())),
        },
        CertificateError::UnknownIssuer => CertificateFault::Foreign,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            let usages = inspect::extended_key_usages(certificate);
            CertificateFault::WrongPurpose(format!("extendedKeyUsage is {usages}"))
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let expected = match error {
                CertificateError::NotValidForNameContext { expected, .. } => Some(expected.to_str()),
                _ => None,
            };
            CertificateFault::wrong_name(expected.as_deref(), certificate)
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            let algorithms = inspect::algorithms(certificate);
            if inspect::has_obsolete_algorithm(certificate) {
                CertificateFault::ObsoleteAlgorithm(algorithms)
            } else {
                CertificateFault::UnsupportedAlgorithm(algorithms)
            }
        }
        _ if is_webpki(error, "UnsupportedCertVersion") => CertificateFault::Version1,
        _ if is_webpki(error, "CaUsedAsEndEntity") => CertificateFault::IsCa,
        _ if is_webpki(error, "MaximumPathDepthExceeded")
            || is_webpki(error, "MaximumPathBuildCallsExceeded") =>
        {
            CertificateFault::ChainTooLong
        }
        // Here, this error is about the signature of the handshake, because the verifier replaces the error for signatures
        // within the chain.
        CertificateError::BadSignature => CertificateFault::Unusable(
            "the peer does not hold its key, or the key is RSA under 2048 bits".to_owned(),
        ),
        CertificateError::Expired => {
            CertificateFault::Unusable("its validity ends before it begins".to_owned())
        }
        CertificateError::BadEncoding => CertificateFault::Unusable("it is malformed".to_owned()),
        CertificateError::Other(other) => CertificateFault::Unusable(variant_name(&other.0)),
        other => CertificateFault::Unusable(variant_name(other)),
    }
}

/// Returns whether the error is the variant of webpki's error type with this name. If rustls has no such variant itself, it
/// forwards webpki's error, whose text is the name of the variant.
pub(super) fn is_webpki(error: &CertificateError, variant: &str) -> bool {
    matches!(error, CertificateError::Other(other) if other.to_string() == variant)
}

/// Splits the name of an enum variant into words: `NoCipherSuitesInCommon` becomes "no cipher suites in common".
fn variant_name(variant: &impl fmt::Debug) -> String {
    let name = format!("{variant:?}");
    let mut words = String::new();
    for letter in name.chars().take_while(char::is_ascii_alphanumeric) {
        if letter.is_ascii_uppercase() && words.chars().last().is_some_and(|last| !last.is_ascii_uppercase())
        {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_contain_no_rust_types() {
        for (error, text) in [
            (Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon), "no cipher suites in common"),
            (Error::InvalidMessage(InvalidMessage::MessageTooLarge), "malformed message: message too large"),
            (CertificateError::BadEncoding.into(), "it is malformed"),
            (
                CertificateError::UnsupportedSignatureAlgorithmContext {
                    signature_algorithm_id: vec![6, 1, 2],
                    supported_algorithms: Vec::new(),
                }
                .into(),
                "algorithm",
            ),
        ] {
            let shown = TlsError::from_rustls(&error).to_string();
            assert!(shown.contains(text), "{shown}");
            assert!(!shown.contains("Context") && !shown.contains('[') && !shown.contains('{'), "{shown}");
        }
    }
}
