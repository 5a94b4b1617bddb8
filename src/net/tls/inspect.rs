//! Parses certificates, for details that the TLS libraries do not report.

use std::time::Duration;

use tokio_rustls::rustls::pki_types::UnixTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::asn1_rs::{Any, Oid, Tag};
use x509_parser::extensions::{KeyUsage, NSCertType, ParsedExtension};
use x509_parser::objects::{oid_registry, oid2sn};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Version};

use super::chain::Presenter;
use super::identity::rfc4514;

/// The certificates that are trusted because a given certificate is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TrustScope {
    /// The certificates that it has signed: it is a CA certificate.
    Signed,
    /// Only the certificate itself: it is self-signed, and not a CA certificate.
    Itself,
    /// Nothing, not even itself: it is neither self-signed nor a CA certificate.
    Nothing,
}

/// Returns which certificates are trusted if this certificate is trusted, by the rules of OpenSSL. A certificate that
/// cannot be parsed is not rejected here, because the TLS library will reject it.
pub(super) fn trust_scope(der: &[u8]) -> TrustScope {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return TrustScope::Signed };
    let signed_itself = certificate.subject().as_raw() == certificate.issuer().as_raw();
    let is_ca = match (certificate.basic_constraints(), certificate.key_usage()) {
        (_, Ok(Some(usage))) if !usage.value.key_cert_sign() => false,
        (Ok(Some(constraints)), _) => constraints.value.ca,
        // Without basicConstraints, keyUsage decides.
        (Ok(None), Ok(Some(usage))) => usage.value.key_cert_sign(),
        // X.509 version 1 has no extensions, so a self-signed version 1 certificate counts as a CA certificate.
        _ => signed_itself && certificate.version() == X509Version::V1,
    };
    match (is_ca, signed_itself) {
        (true, _) => TrustScope::Signed,
        (false, true) => TrustScope::Itself,
        (false, false) => TrustScope::Nothing,
    }
}

/// Returns whether only OpenSSL accepts this certificate from a peer, because it is an X.509 version 1 certificate or a CA
/// certificate.
pub(in crate::net) fn needs_openssl(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, certificate)| {
        certificate.version() == X509Version::V1 || has_ca_constraint(&certificate)
    })
}

/// Returns whether the basicConstraints of this certificate mark it as a CA.
pub(super) fn is_ca(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, certificate)| has_ca_constraint(&certificate))
}

fn has_ca_constraint(certificate: &X509Certificate<'_>) -> bool {
    matches!(certificate.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca)
}

/// Returns whether this is an X.509 version 1 certificate.
pub(super) fn is_version1(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, certificate)| certificate.version() == X509Version::V1)
}

/// Returns the validity period. If the certificate cannot be parsed, returns an unlimited period; the TLS library will
/// reject the certificate.
pub(super) fn validity_period(der: &[u8]) -> (UnixTime, UnixTime) {
    let (from, until) = X509Certificate::from_der(der).map_or((0, i64::MAX), |(_, certificate)| {
        let validity = certificate.validity();
        (validity.not_before.timestamp(), validity.not_after.timestamp())
    });
    [from, until]
        .map(|time| UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(time).unwrap_or(0))))
        .into()
}

/// Returns the last moment of the validity period in seconds since 1970, or `None` if the certificate cannot be parsed or
/// was not valid after 1970.
pub(super) fn valid_until(der: &[u8]) -> Option<u64> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    u64::try_from(certificate.validity().not_after.timestamp()).ok()
}

/// Returns whether the keyUsage of this certificate permits signing certificates. OpenSSL checks keyUsage, but rustls
/// ignores it.
pub(super) fn may_sign(der: &[u8]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return true };
    match certificate.key_usage() {
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// Returns a description of the extension that forbids a peer to present this certificate on `side`, if there is one.
///
/// Checks keyUsage and nsCertType, because rustls ignores them. Follows the rules of OpenSSL (`X509_PURPOSE_SSL_CLIENT`,
/// `X509_PURPOSE_SSL_SERVER`). A certificate that cannot be parsed is not rejected here, because the TLS library will
/// reject it.
pub(super) fn forbidden_use(der: &[u8], side: Presenter) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let purpose = match side {
        Presenter::Client => "the side that connects",
        Presenter::Server => "the side that listens",
    };
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::KeyUsage(usage) => {
            // OpenSSL supports the RSA key exchange of TLS 1.2, in which the server does not sign. So keyEncipherment is
            // sufficient for a server.
            let is_permitted = usage.digital_signature()
                || usage.key_agreement()
                || (side == Presenter::Server && usage.key_encipherment());
            (!is_permitted).then(|| format!("keyUsage is {}, without digitalSignature", key_usages(usage)))
        }
        ParsedExtension::NSCertType(types) => {
            let is_permitted = match side {
                Presenter::Client => types.ssl_client(),
                Presenter::Server => types.ssl_server(),
            };
            (!is_permitted).then(|| format!("nsCertType is {}, not for {purpose}", ns_cert_types(*types)))
        }
        _ => None,
    })
}

/// Returns whether the extendedKeyUsage of this certificate excludes its use on `side`.
pub(super) fn lacks_extended_usage(der: &[u8], side: Presenter) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
    matches!(certificate.extended_key_usage(), Ok(Some(usage)) if !match side {
        Presenter::Client => usage.value.client_auth,
        Presenter::Server => usage.value.server_auth,
    })
}

/// Returns the extendedKeyUsage of a certificate.
pub(super) fn extended_key_usages(der: &[u8]) -> String {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return "unknown".to_owned() };
    let Ok(Some(usage)) = certificate.extended_key_usage() else { return "unknown".to_owned() };
    let usage = usage.value;
    join_set([
        ("serverAuth", usage.server_auth),
        ("clientAuth", usage.client_auth),
        ("codeSigning", usage.code_signing),
        ("emailProtection", usage.email_protection),
        ("timeStamping", usage.time_stamping),
        ("OCSPSigning", usage.ocsp_signing),
        ("anyExtendedKeyUsage", usage.any),
        ("other purposes", !usage.other.is_empty()),
    ])
}

/// Returns the keyUsage in the notation of OpenSSL's configuration files.
fn key_usages(usage: &KeyUsage) -> String {
    join_set([
        ("digitalSignature", usage.digital_signature()),
        ("nonRepudiation", usage.non_repudiation()),
        ("keyEncipherment", usage.key_encipherment()),
        ("dataEncipherment", usage.data_encipherment()),
        ("keyAgreement", usage.key_agreement()),
        ("keyCertSign", usage.key_cert_sign()),
        ("cRLSign", usage.crl_sign()),
        ("encipherOnly", usage.encipher_only()),
        ("decipherOnly", usage.decipher_only()),
    ])
}

fn ns_cert_types(types: NSCertType) -> String {
    join_set([
        ("client", types.ssl_client()),
        ("server", types.ssl_server()),
        ("email", types.smime()),
        ("objsign", types.object_signing()),
        ("sslCA", types.ssl_ca()),
        ("emailCA", types.smime_ca()),
        ("objCA", types.object_signing_ca()),
    ])
}

fn join_set<const N: usize>(names: [(&str, bool); N]) -> String {
    let set: Vec<&str> = names.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect();
    if set.is_empty() { "empty".to_owned() } else { set.join(",") }
}

/// Returns the subject and the issuer in the form of [`super::PeerIdentity::subject`]; empty if the certificate cannot be parsed.
pub(super) fn subject_and_issuer(der: &[u8]) -> [String; 2] {
    X509Certificate::from_der(der).map_or_else(
        |_| [String::new(), String::new()],
        |(_, certificate)| [certificate.subject(), certificate.issuer()].map(rfc4514),
    )
}

/// Returns the subject and the issuer as DER, for comparisons.
pub(super) fn raw_names(der: &[u8]) -> Option<[Vec<u8>; 2]> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some([certificate.subject(), certificate.issuer()].map(|name| name.as_raw().to_vec()))
}

/// Returns the signature algorithm as DER, for comparisons.
pub(super) fn raw_signature_algorithm(der: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.signature_algorithm.algorithm.as_bytes().to_vec())
}

/// Returns the names of the algorithms of a certificate's signature and key.
pub(super) fn algorithms(der: &[u8]) -> String {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return "the certificate cannot be read".to_owned();
    };
    let signature = algorithm_name(&certificate.signature_algorithm.algorithm);
    format!("signed with {signature}, key {}", key_name(certificate.public_key()))
}

fn key_name(key: &SubjectPublicKeyInfo<'_>) -> String {
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => format!("RSA of {} bits", rsa.key_size()),
        Ok(PublicKey::EC(_)) => match curve(key) {
            Some(curve) => format!("EC on {}", algorithm_name(&curve)),
            None => format!("EC with {EXPLICIT_PARAMETERS}"),
        },
        _ => algorithm_name(&key.algorithm.algorithm),
    }
}

/// Returns the curve of an EC key, or `None` if the key has explicit parameters.
fn curve<'a>(key: &'a SubjectPublicKeyInfo<'_>) -> Option<Oid<'a>> {
    // The conversion to an OID does not check the tag.
    let parameters = key.algorithm.parameters.as_ref().filter(|parameters| parameters.tag() == Tag::Oid)?;
    parameters.as_oid().ok()
}

/// The text for an EC key that describes its curve instead of naming it. RFC 5480, section 2.1.1, forbids this in
/// certificates, and TLS libraries reject it.
pub(super) const EXPLICIT_PARAMETERS: &str = "explicit parameters";

/// Returns whether all TLS libraries reject the certificate because of its algorithms:
///
/// - a signature with SHA-1 or MD5;
/// - an RSA key below 2048 bits;
/// - an EC key with explicit parameters, or on a curve that TLS libraries do not offer.
pub(super) fn has_obsolete_algorithm(der: &[u8]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
    let signature = algorithm_name(&certificate.signature_algorithm.algorithm).to_ascii_lowercase();
    let key = certificate.public_key();
    let has_weak_key = match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => rsa.key_size() < 2048,
        Ok(PublicKey::EC(_)) => curve(key).is_none_or(|curve| !is_tls_curve(&curve)),
        _ => false,
    };
    has_weak_key || signature.contains("sha1") || signature.contains("md5")
}

/// Returns whether the key of a certificate is EC with explicit parameters.
pub(super) fn has_explicit_curve(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, certificate)| {
        let key = certificate.public_key();
        matches!(key.parsed(), Ok(PublicKey::EC(_))) && curve(key).is_none()
    })
}

/// Returns whether TLS libraries support this curve: P-256, P-384 or P-521.
pub(super) fn is_tls_curve(oid: &Oid<'_>) -> bool {
    matches!(oid.to_id_string().as_str(), "1.2.840.10045.3.1.7" | "1.3.132.0.34" | "1.3.132.0.35")
}

/// Returns the name of an algorithm or curve. If it has no known name, the text contains its object identifier.
pub(super) fn algorithm_name(oid: &Oid<'_>) -> String {
    // Names that are missing in the registry of `x509_parser`.
    const MORE: [(&str, &str); 13] = [
        ("1.2.840.10045.4.1", "ecdsa-with-SHA1"),
        ("1.2.840.10040.4.3", "dsa-with-SHA1"),
        ("1.2.840.10040.4.1", "DSA"),
        ("1.3.14.3.2.27", "dsa-with-SHA1"),
        ("1.3.14.3.2.29", "RSA with SHA1"),
        ("1.3.101.110", "X25519"),
        ("1.3.101.112", "Ed25519"),
        ("1.3.101.113", "Ed448"),
        ("1.3.132.0.10", "secp256k1"),
        ("1.3.132.0.33", "secp224r1"),
        ("1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1"),
        ("1.3.36.3.3.2.8.1.1.11", "brainpoolP384r1"),
        ("1.3.36.3.3.2.8.1.1.13", "brainpoolP512r1"),
    ];
    let id = oid.to_id_string();
    let more = MORE.iter().find(|(known, _)| *known == id).map(|(_, name)| *name);
    match more.or_else(|| oid2sn(oid, oid_registry()).ok()) {
        Some(name) => name.to_owned(),
        None => format!("an unknown algorithm, object identifier {id}"),
    }
}

/// Returns the certificate in a block `TRUSTED CERTIFICATE` (`openssl x509 -trustout`), without the trust attributes that
/// follow it.
pub(super) fn without_trust_attributes(mut der: Vec<u8>) -> Vec<u8> {
    if let Ok((attributes, _)) = Any::from_der(&der) {
        der.truncate(der.len().saturating_sub(attributes.len()));
    }
    der
}

/// The format of a file that is not PEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BinaryFormat {
    /// A certificate or key in DER.
    Der,
    /// A PKCS#12 container.
    Pkcs12,
}

/// Recognizes a DER file: one SEQUENCE from its beginning to its end.
pub(super) fn binary_format(file: &[u8]) -> Option<BinaryFormat> {
    let (rest, sequence) = Any::from_der(file).ok()?;
    if sequence.tag() != Tag::Sequence || !rest.is_empty() {
        return None;
    }
    // PFX ::= SEQUENCE { version INTEGER {v3(3)}, authSafe ContentInfo, .. } (RFC 7292, section 4): a SEQUENCE follows
    // the version. The version of a key is 0 or 1.
    Some(if sequence.data.starts_with(&[2, 1, 3, 0x30]) { BinaryFormat::Pkcs12 } else { BinaryFormat::Der })
}
