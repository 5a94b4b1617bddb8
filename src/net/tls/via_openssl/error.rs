//! Converts the errors of OpenSSL.

use std::time::Duration;

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::{Error, ErrorStack};
use openssl::ssl;
use openssl::x509::X509StoreContextRef;

use super::super::alert::Refusal;
use super::super::certificate_fault::{CertificateFault, RefusedCertificate};
use super::super::error::{TlsError, TlsFault};
use super::super::inspect;

/// OpenSSL's numbers for its libraries and reasons. These numbers are part of OpenSSL's stable interface.
mod number {
    pub(super) const LIB_X509: i32 = 11;
    pub(super) const LIB_ASN1: i32 = 13;
    pub(super) const LIB_SSL: i32 = 20;

    /// The reason code for an alert from the peer is this number plus the number of the alert.
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

/// Returns the error for a failed call of OpenSSL that does not involve the peer.
pub(super) fn failed(error: &ErrorStack) -> TlsError {
    TlsError::Protocol(TlsFault::new(format!("OpenSSL: {}", text(Some(error)))).with_source(error.clone()))
}

/// Returns the error of a handshake that failed.
pub(super) fn from_handshake(error: ssl::Error) -> TlsError {
    match error.into_io_error() {
        Ok(io) => TlsError::from_connection(io),
        Err(error) if is_end(&error) => TlsError::Closed,
        Err(error) => match from_stack(error.ssl_error()) {
            Cause::NotTls => TlsError::NotTls,
            Cause::Other(error) => error,
        },
    }
}

/// Returns the error of an established stream, if it is an error of OpenSSL.
pub(in super::super) fn tls_error(error: &(dyn std::error::Error + 'static)) -> Option<TlsError> {
    let error = error.downcast_ref::<ssl::Error>()?;
    Some(match from_stack(error.ssl_error()) {
        Cause::NotTls => TlsError::Protocol(fault(error.ssl_error())),
        Cause::Other(error) => error,
    })
}

/// Returns whether the stream ended, with a `close_notify` or without one.
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

/// The cause of an error.
enum Cause {
    /// The bytes of the peer are not TLS.
    NotTls,
    Other(TlsError),
}

/// Returns the text of OpenSSL's reasons for an error, without its error numbers and source lines.
pub(super) fn text(stack: Option<&ErrorStack>) -> String {
    let errors = stack.map(ErrorStack::errors).unwrap_or_default();
    let reasons: Vec<&str> = errors.iter().filter_map(Error::reason).collect();
    if reasons.is_empty() { "an error without a description by OpenSSL".into() } else { reasons.join(", ") }
}

/// Returns a fault with the reasons of an error. The source of the fault is that error.
fn fault(stack: Option<&ErrorStack>) -> TlsFault {
    let fault = TlsFault::new(text(stack));
    match stack {
        Some(stack) => fault.with_source(stack.clone()),
        None => fault,
    }
}

fn from_stack(stack: Option<&ErrorStack>) -> Cause {
    let errors = stack.map(ErrorStack::errors).unwrap_or_default();
    let reasons =
        |library| errors.iter().filter(move |error| error.library_code() == library).map(Error::reason_code);
    for reason in reasons(number::LIB_SSL) {
        return Cause::Other(match reason {
            number::HTTPS_PROXY_REQUEST
            | number::HTTP_REQUEST
            | number::LENGTH_TOO_SHORT
            | number::PACKET_LENGTH_TOO_LONG
            | number::UNKNOWN_PROTOCOL
            | number::WRONG_VERSION_NUMBER
            | number::BAD_RECORD_TYPE => return Cause::NotTls,
            number::PEER_DID_NOT_RETURN_A_CERTIFICATE => TlsError::NoPeerCertificate,
            number::NO_SUITABLE_SIGNATURE_ALGORITHM | number::NO_SHARED_SIGNATURE_ALGORITHMS => {
                TlsError::NoSignatureAlgorithm
            }
            number::NO_SHARED_CIPHER => TlsError::NoCommonCipher(fault(stack)),
            number::NO_PROTOCOLS_AVAILABLE | number::UNSUPPORTED_PROTOCOL | number::WRONG_SSL_VERSION => {
                TlsError::NoCommonVersion(fault(stack))
            }
            number::NO_SUITABLE_KEY_SHARE | number::NO_SHARED_GROUPS => TlsError::Incompatible(fault(stack)),
            number::BAD_SIGNATURE => unusable("the peer does not hold its key".into()),
            number::CERTIFICATE_VERIFY_FAILED => unusable(text(stack)),
            number::ALERT.. => match u8::try_from(reason.saturating_sub(number::ALERT)) {
                Ok(alert) => TlsError::Refused(Refusal::from_alert(alert)),
                Err(_) => continue,
            },
            _ => continue,
        });
    }
    let is_certificate_error = reasons(number::LIB_ASN1).chain(reasons(number::LIB_X509)).next().is_some();
    Cause::Other(if is_certificate_error { unusable(text(stack)) } else { TlsError::Protocol(fault(stack)) })
}

/// Returns the error for an unusable certificate. OpenSSL does not report which certificate is unusable.
fn unusable(why: String) -> TlsError {
    TlsError::Certificate(Box::new(RefusedCertificate::unknown(CertificateFault::Unusable(why))))
}

/// Returns the cause of a failed verification. `name` is the name that the certificate must contain.
pub(super) fn verdict(check: &X509StoreContextRef, name: Option<&str>) -> RefusedCertificate {
    /// The numbers of `X509_V_ERR_...`.
    mod verify_error {
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
        pub(super) const LEAF_KEY_TOO_SMALL: i32 = 66;
        pub(super) const CA_KEY_TOO_SMALL: i32 = 67;
        pub(super) const WEAK_SIGNATURE: i32 = 68;
        pub(super) const EXPLICIT_CURVE: i32 = 94;
    }
    let error = check.error();
    let reason = error.error_string().to_owned();
    let certificate = check.current_cert();
    let der = certificate.and_then(|certificate| certificate.to_der().ok()).unwrap_or_default();
    let fault = match error.as_raw() {
        verify_error::EXPIRED => CertificateFault::Expired {
            ago: certificate.map(|certificate| from_now(certificate.not_after())).unwrap_or_default(),
        },
        verify_error::NOT_YET_VALID => CertificateFault::NotYetValid {
            ahead: certificate
                .map(|certificate| from_now(certificate.not_before()))
                .unwrap_or_default(),
        },
        verify_error::UNABLE_TO_GET_ISSUER
        | verify_error::UNABLE_TO_GET_ISSUER_LOCALLY
        | verify_error::UNABLE_TO_VERIFY_LEAF
        | verify_error::DEPTH_ZERO_SELF_SIGNED
        | verify_error::SELF_SIGNED_IN_CHAIN
        | verify_error::UNTRUSTED
        | verify_error::AKID_SKID_MISMATCH
        | verify_error::KEYUSAGE_NO_CERTSIGN
        // This usually means that a different CA has the same name, for example because the CA was created again.
        | verify_error::SIGNATURE_FAILURE => CertificateFault::Foreign,
        verify_error::INVALID_PURPOSE => CertificateFault::WrongPurpose(reason),
        verify_error::HOSTNAME_MISMATCH | verify_error::IP_ADDRESS_MISMATCH => {
            CertificateFault::wrong_name(name, &der)
        }
        verify_error::LEAF_KEY_TOO_SMALL
        | verify_error::CA_KEY_TOO_SMALL
        | verify_error::WEAK_SIGNATURE
        | verify_error::EXPLICIT_CURVE => CertificateFault::ObsoleteAlgorithm(inspect::algorithms(&der)),
        _ => CertificateFault::Unusable(reason),
    };
    RefusedCertificate::new(fault, &der)
}

/// Returns the time between now and `moment`, which may be in the past.
fn from_now(moment: &Asn1TimeRef) -> Duration {
    const DAY: u64 = 86_400;
    let Ok(difference) = Asn1Time::days_from_now(0).and_then(|now| now.diff(moment)) else {
        return Duration::ZERO;
    };
    let (days, seconds) = (difference.days.unsigned_abs(), difference.secs.unsigned_abs());
    Duration::from_secs(u64::from(days).saturating_mul(DAY).saturating_add(seconds.into()))
}
