//! The identity in a peer's certificate, which may be malformed or hostile.

use std::net::IpAddr;

use rcgen::{CertificateParams, DnType, DnValue, SanType};

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::pki::Ca;
use super::*;
use crate::net::tls::{PeerIdentity, SubjectAltName};

fn identity_of(change: impl FnOnce(&mut CertificateParams)) -> (PeerIdentity, Vec<u8>) {
    let der = Ca::new("ca").leaf(change).der;
    (PeerIdentity::of(&der), der)
}

/// Returns the formatted subject of a certificate with these parts, and the certificate.
fn subject(parts: &[(DnType, DnValue)]) -> (String, Vec<u8>) {
    let (identity, der) = identity_of(|params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
    });
    (identity.subject, der)
}

fn utf8(text: &str) -> DnValue {
    DnValue::Utf8String(text.to_owned())
}

#[test]
fn a_subject_is_formatted_as_by_openssl_and_zeek() {
    let cases: &[(&[(DnType, DnValue)], &str)] = &[
        (
            &[
                (DnType::CountryName, utf8("US")),
                (DnType::OrganizationName, utf8("Example")),
                (DnType::CommonName, utf8("worker-1")),
            ],
            "CN=worker-1,O=Example,C=US",
        ),
        (&[(DnType::CommonName, utf8("a,CN=b"))], "CN=a\\,CN=b"),
        (&[(DnType::CommonName, utf8("#a+b\"c;<d>\\ "))], "CN=\\#a\\+b\\\"c\\;\\<d\\>\\\\\\ "),
        (&[(DnType::CommonName, utf8(" "))], "CN=\\ "),
        (&[(DnType::CommonName, utf8("line\nfeed\u{7f}"))], "CN=line\\0Afeed\\7F"),
        (&[(DnType::CommonName, DnValue::PrintableString("plain".try_into().unwrap()))], "CN=plain"),
        (&[(DnType::CustomDnType(vec![1, 2, 3, 4]), utf8("odd"))], "1.2.3.4=#0c036f6464"),
        (&[], ""),
    ];
    for (parts, expected) in cases {
        let (ours, der) = subject(parts);
        assert_eq!(ours, *expected);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("certificate");
        std::fs::write(&file, der).unwrap();
        let arguments = [
            "x509",
            "-inform",
            "DER",
            "-in",
            file.to_str().unwrap(),
            "-noout",
            "-subject",
            "-nameopt",
            "RFC2253",
        ];
        if let Some(theirs) = super::openssl::run(&arguments) {
            let theirs = String::from_utf8(theirs).unwrap();
            assert_eq!(
                theirs.strip_prefix("subject=").unwrap().trim_end_matches('\n').to_lowercase(),
                expected.to_lowercase()
            );
        }
    }
    // Letters outside of ASCII are not escaped.
    assert_eq!(subject(&[(DnType::CommonName, utf8("Müller"))]).0, "CN=Müller");
    let bmp = DnValue::BmpString(rcgen::string::BmpString::try_from("Müller").unwrap());
    assert_eq!(subject(&[(DnType::CommonName, bmp)]).0, "CN=Müller");
}

#[test]
fn all_subject_alt_names_are_listed_in_order() {
    let addresses: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    let (identity, der) = identity_of(|params| {
        params.subject_alt_names = vec![
            SanType::DnsName("node.example".try_into().unwrap()),
            SanType::IpAddress(addresses[0]),
            SanType::IpAddress(addresses[1]),
            SanType::Rfc822Name("zeek@node.example".try_into().unwrap()),
            SanType::URI("spiffe://example/node".try_into().unwrap()),
        ];
    });
    let expected = [
        SubjectAltName::Dns("node.example".into()),
        SubjectAltName::Ip(addresses[0]),
        SubjectAltName::Ip(addresses[1]),
        SubjectAltName::Email("zeek@node.example".into()),
        SubjectAltName::Uri("spiffe://example/node".into()),
    ];
    assert_eq!(identity.sans, expected);
    let sha256: String = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, &der)
        .as_ref()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!(
        identity.to_string(),
        format!(
            "CN=leaf (DNS:node.example, IP:192.0.2.1, IP:2001:db8::1, email:zeek@node.example, \
             URI:spiffe://example/node) sha256:{sha256}"
        )
    );
    let control = SubjectAltName::Uri("x\n\u{1b}[2J".into());
    assert_eq!(control.to_string(), "URI:x\\n\\u{1b}[2J");
}

#[test]
fn the_number_of_names_is_limited() {
    let (identity, _) = identity_of(|params| {
        params.subject_alt_names =
            (0..3000).map(|n| SanType::DnsName(format!("n{n}.example").try_into().unwrap())).collect();
    });
    assert_eq!(identity.sans.len(), PeerIdentity::MOST_NAMES);
}

#[test]
fn a_version_1_certificate_has_an_identity() {
    let der = CertificateDer::from_pem_slice(&fixture("v1.pem")).unwrap();
    let identity = PeerIdentity::of(&der);
    assert_eq!((identity.subject.as_str(), identity.sans.len()), ("CN=v1-leaf", 0));
}

#[test]
fn malformed_certificates_have_only_a_hash() {
    let (whole, der) = identity_of(|_| ());
    let mut hashes = std::collections::BTreeSet::from([whole.sha256]);
    for end in 0..der.len() {
        let part = PeerIdentity::of(&der[..end]);
        assert_eq!((part.subject.as_str(), part.sans.len()), ("", 0), "{end}");
        assert!(hashes.insert(part.sha256));
    }
    for at in 0..der.len() {
        for bit in 0..8 {
            let mut other = der.clone();
            other[at] ^= 1 << bit;
            assert!(hashes.insert(PeerIdentity::of(&other).sha256));
        }
    }
}
