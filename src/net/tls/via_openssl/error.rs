//! What OpenSSL says, in our terms.

use std::time::Duration;

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::{Error, ErrorStack};
use openssl::ssl;
use openssl::x509::X509StoreContextRef;

use super::super::certificate_fault::{CertificateFault, RefusedCertificate};
use super::super::error::{Refusal, TlsError};

/// The numbers of OpenSSL's libraries and reasons, which are part of its interface and never change.
mod number {
    pub(super) const LIB_X509: i32 = 11;
    pub(super) const LIB_ASN1: i32 = 13;
    pub(super) const LIB_SSL: i32 = 20;

    /// An alert from the peer has its own number added to this.
    pub(super) const ALERT: i32 = 1000;
    pub(super) const NO_SUITABLE_KEY_SHARE: i32 = 101;
    pub(super) const NO_SUITABLE_SIGNATURE_ALGORITHM: i32 = 118;
    pub(super) const BAD_SIGNATURE: i32 = 123;
    pub(super) const CERTIFICATE_VERIFY_FAILED: i32 = 134;
    pub(super) const HTTPS_PROXY_REQUEST: i32 = 155;
    pub(super) const HTTP_REQUEST: i32 = 156;
    pub(super) const LENGTH_TOO_SHORT: i32 = 160;
    pub(super) const NO_PROTOCOLS_AVAILABLE: i32 = 191;
    pub(super) const NO_SHARED_CIPHER: i32 = 193;
    pub(super) const PACKET_LENGTH_TOO_LONG: i32 = 198;
    pub(super) const PEER_DID_NOT_RETURN_A_CERTIFICATE: i32 = 199;
    pub(super) const UNKNOWN_PROTOCOL: i32 = 252;
    pub(super) const UNSUPPORTED_PROTOCOL: i32 = 258;
    pub(super) const WRONG_SSL_VERSION: i32 = 266;
    pub(super) const WRONG_VERSION_NUMBER: i32 = 267;
    pub(super) const UNEXPECTED_EOF_WHILE_READING: i32 = 294;
    pub(super) const NO_SHARED_SIGNATURE_ALGORITHMS: i32 = 376;
    pub(super) const NO_SHARED_GROUPS: i32 = 410;
    pub(super) const BAD_RECORD_TYPE: i32 = 443;
}

/// OpenSSL failed where nothing depends on the peer.
pub(super) fn failed(error: &ErrorStack) -> TlsError {
    TlsError::Protocol(format!("OpenSSL: {}", text(Some(error))))
}

/// The error of a handshake that did not come to its end.
pub(super) fn from_handshake(error: ssl::Error) -> TlsError {
    match error.into_io_error() {
        Ok(io) => TlsError::from_connection(io),
        Err(error) if is_end(&error) => TlsError::Closed,
        Err(error) => match from_stack(error.ssl_error()) {
            Spoken::NotTls => TlsError::NotTls,
            Spoken::Other(error) => error,
        },
    }
}

/// What an error from a standing stream says, if it is OpenSSL's.
pub(in super::super) fn tls_error(error: &(dyn std::error::Error + 'static)) -> Option<TlsError> {
    let error = error.downcast_ref::<ssl::Error>()?;
    Some(match from_stack(error.ssl_error()) {
        Spoken::NotTls => TlsError::Protocol(text(error.ssl_error())),
        Spoken::Other(error) => error,
    })
}

/// Whether the stream ended, with a `close_notify` or without one.
pub(super) fn is_end(error: &ssl::Error) -> bool {
    match error.ssl_error() {
        None => {
            matches!(error.code(), ssl::ErrorCode::ZERO_RETURN | ssl::ErrorCode::SYSCALL)
                && error.io_error().is_none()
        }
        Some(stack) => stack.errors().iter().any(|error| {
            error.library_code() == number::LIB_SSL
                && error.reason_code() == number::UNEXPECTED_EOF_WHILE_READING
        }),
    }
}

enum Spoken {
    NotTls,
    Other(TlsError),
}

/// The reasons that OpenSSL gives, without its numbers and the lines of its source.
pub(super) fn text(stack: Option<&ErrorStack>) -> String {
    let errors = stack.map(ErrorStack::errors).unwrap_or_default();
    let reasons: Vec<&str> = errors.iter().filter_map(Error::reason).collect();
    if reasons.is_empty() { "an error that OpenSSL does not name".into() } else { reasons.join(", ") }
}

fn from_stack(stack: Option<&ErrorStack>) -> Spoken {
    let errors = stack.map(ErrorStack::errors).unwrap_or_default();
    let reasons =
        |library| errors.iter().filter(move |error| error.library_code() == library).map(Error::reason_code);
    for reason in reasons(number::LIB_SSL) {
        return Spoken::Other(match reason {
            number::HTTPS_PROXY_REQUEST
            | number::HTTP_REQUEST
            | number::LENGTH_TOO_SHORT
            | number::PACKET_LENGTH_TOO_LONG
            | number::UNKNOWN_PROTOCOL
            | number::WRONG_VERSION_NUMBER
            | number::BAD_RECORD_TYPE => return Spoken::NotTls,
            number::PEER_DID_NOT_RETURN_A_CERTIFICATE => TlsError::PeerShowedNone,
            number::NO_SUITABLE_SIGNATURE_ALGORITHM | number::NO_SHARED_SIGNATURE_ALGORITHMS => {
                TlsError::NoSignatureAlgorithm
            }
            number::NO_SUITABLE_KEY_SHARE
            | number::NO_PROTOCOLS_AVAILABLE
            | number::NO_SHARED_CIPHER
            | number::UNSUPPORTED_PROTOCOL
            | number::WRONG_SSL_VERSION
            | number::NO_SHARED_GROUPS => TlsError::Incompatible(text(stack)),
            number::BAD_SIGNATURE => unusable("the peer does not hold its key".into()),
            number::CERTIFICATE_VERIFY_FAILED => unusable(text(stack)),
            number::ALERT.. => match u8::try_from(reason.saturating_sub(number::ALERT)) {
                Ok(alert) => TlsError::Refused(Refusal::from_alert(alert)),
                Err(_) => continue,
            },
            _ => continue,
        });
    }
    let certificate = reasons(number::LIB_ASN1).chain(reasons(number::LIB_X509)).next().is_some();
    Spoken::Other(if certificate { unusable(text(stack)) } else { TlsError::Protocol(text(stack)) })
}

/// A certificate that OpenSSL does not name.
fn unusable(why: String) -> TlsError {
    TlsError::Certificate(Box::new(RefusedCertificate::unknown(CertificateFault::Unusable(why))))
}

/// What the check of a certificate found.
pub(super) fn verdict(check: &X509StoreContextRef) -> RefusedCertificate {
    /// The numbers of `X509_V_ERR_...`.
    mod found {
        pub(super) const UNABLE_TO_GET_ISSUER: i32 = 2;
        pub(super) const SIGNATURE_FAILURE: i32 = 7;
        pub(super) const NOT_YET_VALID: i32 = 9;
        pub(super) const EXPIRED: i32 = 10;
        pub(super) const DEPTH_ZERO_SELF_SIGNED: i32 = 18;
        pub(super) const SELF_SIGNED_IN_CHAIN: i32 = 19;
        pub(super) const UNABLE_TO_GET_ISSUER_LOCALLY: i32 = 20;
        pub(super) const UNABLE_TO_VERIFY_LEAF: i32 = 21;
        pub(super) const INVALID_PURPOSE: i32 = 26;
        pub(super) const UNTRUSTED: i32 = 27;
        pub(super) const AKID_SKID_MISMATCH: i32 = 30;
        pub(super) const KEYUSAGE_NO_CERTSIGN: i32 = 32;
        pub(super) const HOSTNAME_MISMATCH: i32 = 62;
        pub(super) const IP_ADDRESS_MISMATCH: i32 = 64;
    }
    let error = check.error();
    let reason = error.error_string().to_owned();
    let certificate = check.current_cert();
    let fault = match error.as_raw() {
        found::EXPIRED => CertificateFault::Expired {
            ago: certificate.map(|certificate| from_now(certificate.not_after())).unwrap_or_default(),
        },
        found::NOT_YET_VALID => CertificateFault::NotYetValid {
            ahead: certificate
                .map(|certificate| from_now(certificate.not_before()))
                .unwrap_or_default(),
        },
        found::UNABLE_TO_GET_ISSUER
        | found::UNABLE_TO_GET_ISSUER_LOCALLY
        | found::UNABLE_TO_VERIFY_LEAF
        | found::DEPTH_ZERO_SELF_SIGNED
        | found::SELF_SIGNED_IN_CHAIN
        | found::UNTRUSTED
        | found::AKID_SKID_MISMATCH
        | found::KEYUSAGE_NO_CERTSIGN
        // Most often that of another CA of the same name (one made anew, say).
        | found::SIGNATURE_FAILURE => CertificateFault::Foreign,
        found::INVALID_PURPOSE => CertificateFault::WrongPurpose(reason),
        found::HOSTNAME_MISMATCH | found::IP_ADDRESS_MISMATCH => CertificateFault::WrongName(reason),
        _ => CertificateFault::Unusable(reason),
    };
    let der = certificate.and_then(|certificate| certificate.to_der().ok()).unwrap_or_default();
    RefusedCertificate::new(fault, &der)
}

/// The time between a moment and now, whichever is first.
fn from_now(moment: &Asn1TimeRef) -> Duration {
    const DAY: u64 = 86_400;
    let Ok(difference) = Asn1Time::days_from_now(0).and_then(|now| now.diff(moment)) else {
        return Duration::ZERO;
    };
    let (days, seconds) = (difference.days.unsigned_abs(), difference.secs.unsigned_abs());
    Duration::from_secs(u64::from(days).saturating_mul(DAY).saturating_add(seconds.into()))
}
