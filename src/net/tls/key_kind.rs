//! Determines the kind of a private key, because the errors of TLS libraries do not name it.

use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use x509_parser::der_parser::asn1_rs::{Any, Class, FromDer, Oid, Tag};

use super::inspect::{algorithm_name, is_tls_curve};

/// The kind of a private key that is not encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyKind {
    /// EC on a named curve.
    Curve {
        name: String,
        /// Whether TLS libraries support the curve.
        is_supported: bool,
    },
    /// EC with explicit parameters instead of the name of a curve.
    ExplicitCurve,
    /// An algorithm other than EC, with its name.
    Other(String),
}

/// Returns the kind of a key; `None` if it cannot be parsed.
pub(super) fn key_kind(key: &PrivateKeyDer<'_>) -> Option<KeyKind> {
    match key {
        PrivateKeyDer::Pkcs1(_) => Some(KeyKind::Other("RSA".to_owned())),
        // ECPrivateKey ::= SEQUENCE { version, privateKey, parameters [0] OPTIONAL, .. } (RFC 5915, section 3)
        PrivateKeyDer::Sec1(der) => {
            let parts = sequence(der.secret_sec1_der())?;
            let is_parameters = |part: &&Any<'_>| part.class() == Class::ContextSpecific && part.tag().0 == 0;
            let (_, parameters) = Any::from_der(parts.iter().find(is_parameters)?.data).ok()?;
            curve(&parameters)
        }
        // PrivateKeyInfo ::= SEQUENCE { version, SEQUENCE { algorithm, parameters OPTIONAL }, .. } (RFC 5208, section 5)
        PrivateKeyDer::Pkcs8(der) => {
            let parts = sequence(der.secret_pkcs8_der())?;
            let algorithm = elements(parts.get(1)?.data)?;
            let oid = Oid::try_from(algorithm.first()?.clone()).ok()?;
            match (oid.to_id_string().as_str(), algorithm.get(1)) {
                ("1.2.840.10045.2.1", Some(parameters)) => curve(parameters),
                _ => Some(KeyKind::Other(algorithm_name(&oid))),
            }
        }
        _ => None,
    }
}

/// Returns the curve in `ECParameters ::= CHOICE { OID, SEQUENCE, .. }`.
fn curve(parameters: &Any<'_>) -> Option<KeyKind> {
    if parameters.tag() == Tag::Sequence {
        return Some(KeyKind::ExplicitCurve);
    }
    let oid = Oid::try_from(parameters.clone()).ok()?;
    Some(KeyKind::Curve { name: algorithm_name(&oid), is_supported: is_tls_curve(&oid) })
}

fn sequence(der: &[u8]) -> Option<Vec<Any<'_>>> {
    elements(Any::from_der(der).ok()?.1.data)
}

fn elements(mut rest: &[u8]) -> Option<Vec<Any<'_>>> {
    let mut elements = Vec::new();
    while !rest.is_empty() {
        let (after, element) = Any::from_der(rest).ok()?;
        elements.push(element);
        rest = after;
    }
    Some(elements)
}
