//! Errors of loading: the file, the cause and the hint.

use std::path::PathBuf;

use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};

use super::pki::Ca;
use super::*;
use crate::net::tls::{CredentialError, CredentialFault, CredentialKind, CredentialWarning};

/// Creates a directory with these files. Returns it, and a function that returns the path of a file by its name.
fn files(contents: &[(&str, &[u8])]) -> (tempfile::TempDir, impl Fn(&str) -> PathBuf + use<>) {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in contents {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    let path = dir.path().to_owned();
    (dir, move |name| path.join(name))
}

fn rsa_with(part: CredentialKind, file: PathBuf) -> Credentials {
    let [mut ca, mut certificate] = ["ca.pem", "rsa.pem"].map(fixture_path);
    let mut key = private_copy("rsa.pkcs8.key");
    match part {
        CredentialKind::Cafile => ca = file,
        CredentialKind::Certificate => certificate = file,
        CredentialKind::Keyfile => key = file,
        _ => unreachable!(),
    }
    Credentials::from_files(ca, certificate, key)
}

/// Loads valid credentials in which this file replaces one part. Returns the error, which must name the part and the file.
fn refused(part: CredentialKind, file: PathBuf) -> CredentialError {
    let error = rsa_with(part, file.clone()).backend(Backend::Rustls).load().unwrap_err();
    assert_eq!((error.kind, error.source.as_str()), (part, file.to_str().unwrap()), "{error}");
    assert!(error.to_string().starts_with(&format!("{part} {}: ", file.display())), "{error}");
    error
}

const PARTS: [CredentialKind; 3] =
    [CredentialKind::Cafile, CredentialKind::Certificate, CredentialKind::Keyfile];

#[test]
fn good_credentials_load_without_a_warning() {
    for key in ["rsa.pkcs8.key", "rsa.pkcs1.key"] {
        let loaded = rsa_with(CredentialKind::Keyfile, private_copy(key)).load().unwrap();
        assert_eq!(*loaded.warnings(), []);
    }
}

#[test]
fn a_missing_file_or_a_directory_instead_of_a_file_is_rejected() {
    let (dir, path) = files(&[]);
    for part in PARTS {
        let error = refused(part, path("missing"));
        assert!(matches!(error.fault, CredentialFault::Unreadable(_)), "{error}");
        assert!(error.to_string().contains("permissions"), "{error}");
        let error = refused(part, dir.path().to_owned());
        assert!(matches!(error.fault, CredentialFault::Directory), "{error}");
    }
}

#[test]
fn files_that_are_not_pem_are_rejected_with_a_hint_for_their_format() {
    let der = Ca::new("ca").leaf(|_| ()).der;
    let mut cases: Vec<(&str, &[u8])> =
        vec![("empty", b""), ("blank", b" \r\n"), ("der", &der), ("text", b"not for you")];
    let pkcs12 = super::openssl::run(&[
        "pkcs12",
        "-export",
        "-in",
        "rsa.pem",
        "-inkey",
        "rsa.pkcs8.key",
        "-passout",
        "pass:secret",
    ]);
    cases.extend(pkcs12.as_deref().map(|bytes| ("pkcs12", bytes)));
    let (_dir, path) = files(&cases);
    for part in PARTS {
        for (name, _) in &cases {
            let error = refused(part, path(name));
            let is_key = part == CredentialKind::Keyfile;
            let hint = match (&error.fault, *name) {
                (CredentialFault::Empty, "empty" | "blank") => "it is empty; write the",
                (CredentialFault::Der, "der") if is_key => "`openssl pkey -inform DER",
                (CredentialFault::Der, "der") => "`openssl x509 -inform DER",
                (CredentialFault::Pkcs12, "pkcs12") if is_key => "-nocerts",
                (CredentialFault::Pkcs12, "pkcs12") => "-nokeys",
                (CredentialFault::NotPem, "text") => "`-----BEGIN` line",
                other => panic!("{other:?}"),
            };
            assert!(error.to_string().contains(hint), "{error}");
        }
    }
}

#[test]
fn a_byte_order_mark_and_trust_attributes_are_ignored() {
    let ca = fixture("ca.pem");
    let marked = [b"\xef\xbb\xbf", &ca[..]].concat();
    let mut all = vec![("marked", marked)];
    let trusted = super::openssl::run(&["x509", "-in", "ca.pem", "-trustout", "-addtrust", "serverAuth"]);
    all.extend(trusted.map(|pem| ("trusted", pem)));
    for (name, pem) in &all {
        let other = Ca::new("other");
        let (_dir, path) = files(&[(*name, pem), ("mixed", &[other.pem().as_bytes(), pem].concat())]);
        for file in [path(name), path("mixed")] {
            for backend in BACKENDS {
                let loaded = rsa_with(CredentialKind::Cafile, file.clone()).backend(*backend).load().unwrap();
                assert_eq!(*loaded.warnings(), [], "{name}");
            }
        }
    }
    let key = [b"\xef\xbb\xbf", &fixture("rsa.encrypted-legacy.key")[..]].concat();
    let marked = Credentials::from_pem(ca, fixture("rsa.pem"), key)
        .passphrase(crate::net::tls::Passphrase::new("secret"));
    if cfg!(feature = "openssl") {
        assert_eq!(*marked.load().unwrap().warnings(), []);
    }
}

#[test]
fn each_unused_pem_block_causes_a_warning() {
    let (ca, leaf) = (fixture("ca.pem"), Ca::new("ca").leaf(|_| ()));
    let joined = [String::from_utf8(ca.clone()).unwrap().trim_end(), Ca::new("other").pem()].concat();
    let crl = "-----BEGIN X509 CRL-----\nAQ==\n-----END X509 CRL-----\n";
    let with_crl = [ca.as_slice(), crl.as_bytes()].concat();
    let with_key = [leaf.key.as_bytes(), &ca].concat();
    let lines = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count();
    let (_dir, path) = files(&[("joined", joined.as_bytes()), ("crl", &with_crl), ("key", &with_key)]);
    let file = |name: &str| path(name).display().to_string();
    for backend in BACKENDS {
        for (name, expected) in [
            (
                "joined",
                CredentialWarning::PemJoined {
                    file: file("joined"),
                    line: lines(&ca),
                    label: "CERTIFICATE".into(),
                },
            ),
            (
                "crl",
                CredentialWarning::PemIgnored {
                    file: file("crl"),
                    line: lines(&ca) + 1,
                    label: "X509 CRL".into(),
                },
            ),
            (
                "key",
                CredentialWarning::PemIgnored { file: file("key"), line: 1, label: "PRIVATE KEY".into() },
            ),
        ] {
            let loaded = rsa_with(CredentialKind::Cafile, path(name)).backend(*backend).load().unwrap();
            assert_eq!(*loaded.warnings(), [expected]);
        }
    }
    // In the keyfile, only the first key is used.
    let two = [fixture("rsa.pkcs8.key"), fixture("rsa.pkcs1.key")].concat();
    let loaded = Credentials::from_pem(ca.clone(), fixture("rsa.pem"), two).load().unwrap();
    let [CredentialWarning::PemIgnored { label, .. }] = &*loaded.warnings() else { panic!("{loaded:?}") };
    assert_eq!(label, "RSA PRIVATE KEY");
}

#[test]
fn broken_pem_is_rejected() {
    let (_dir, path) = files(&[
        ("cut", b"-----BEGIN CERTIFICATE-----\nMIIB\n"),
        ("letters", b"-----BEGIN CERTIFICATE-----\nM?IB\n-----END CERTIFICATE-----\n"),
        ("cut.key", b"-----BEGIN PRIVATE KEY-----\nMIIB\n"),
        ("letters.key", b"-----BEGIN PRIVATE KEY-----\nM?IB\n-----END PRIVATE KEY-----\n"),
    ]);
    for (part, name) in [
        (CredentialKind::Cafile, "cut"),
        (CredentialKind::Certificate, "letters"),
        (CredentialKind::Keyfile, "cut.key"),
        (CredentialKind::Keyfile, "letters.key"),
    ] {
        let error = refused(part, path(name));
        assert!(matches!(error.fault, CredentialFault::BrokenPem(_)), "{error}");
    }
}

#[test]
fn a_key_as_certificate_and_a_certificate_as_key_are_rejected() {
    for part in [CredentialKind::Cafile, CredentialKind::Certificate] {
        let error = refused(part, fixture_path("ec.sec1.key"));
        assert!(matches!(error.fault, CredentialFault::NoCertificate(_)), "{error}");
        assert!(error.to_string().contains("only: EC PARAMETERS, EC PRIVATE KEY; check whether"), "{error}");
    }
    let error = refused(CredentialKind::Keyfile, fixture_path("rsa.pem"));
    assert!(matches!(error.fault, CredentialFault::NoKey(_)), "{error}");
    assert!(error.to_string().contains("only: CERTIFICATE; check whether"), "{error}");
}

#[test]
fn certificate_and_key_can_be_in_one_file() {
    let both = [fixture("rsa.pem"), fixture("rsa.pkcs1.key")].concat();
    let (_dir, path) = files(&[("both", &both)]);
    Credentials::from_files(fixture_path("ca.pem"), path("both"), path("both")).load().unwrap();
    let encrypted = [fixture("rsa.pem"), fixture("rsa.encrypted-legacy.key")].concat();
    let (_dir, path) = files(&[("both", &encrypted)]);
    let error =
        Credentials::from_files(fixture_path("ca.pem"), path("both"), path("both")).load().unwrap_err();
    assert!(matches!(error.fault, CredentialFault::Encrypted), "{error}");
}

#[test]
fn encrypted_keys_without_a_passphrase_are_rejected() {
    for name in ["rsa.encrypted-pkcs8.key", "rsa.encrypted-legacy.key"] {
        let file = fixture_path(name);
        let error = refused(CredentialKind::Keyfile, file.clone());
        assert!(matches!(error.fault, CredentialFault::Encrypted), "{error}");
        assert!(error.to_string().contains("there is no passphrase"), "{error}");
        assert!(error.to_string().contains(&format!("openssl pkey -in {} -out", file.display())), "{error}");
    }
}

#[test]
fn mismatched_and_unusable_keys_are_rejected() {
    let error = refused(CredentialKind::Keyfile, fixture_path("ec.sec1.key"));
    assert!(matches!(error.fault, CredentialFault::KeyMismatch), "{error}");
    let garbage = b"-----BEGIN PRIVATE KEY-----\nMAMCAQA=\n-----END PRIVATE KEY-----\n";
    let (_dir, path) = files(&[("garbage.key", garbage)]);
    for file in [fixture_path("rsa1024.key"), path("garbage.key")] {
        let error = refused(CredentialKind::Keyfile, file);
        assert!(matches!(error.fault, CredentialFault::UnusableKey(_)), "{error}");
        assert!(error.to_string().contains("RSA of 2048 to 8192 bits"), "{error}");
    }
}

#[test]
fn rustls_rejects_an_x509_version_1_certificate() {
    let certificate = fixture_path("v1.pem");
    let error = Credentials::from_files(fixture_path("ca.pem"), &certificate, fixture_path("v1.key"))
        .backend(Backend::Rustls)
        .load()
        .unwrap_err();
    assert!(matches!(error.fault, CredentialFault::Version1), "{error}");
    assert_eq!(
        (error.kind, error.source.as_str()),
        (CredentialKind::Certificate, certificate.to_str().unwrap())
    );
    assert!(error.to_string().contains("-extfile v3.ext"), "{error}");
}

#[test]
fn a_malformed_certificate_is_rejected_and_one_malformed_ca_of_several_is_omitted() {
    let garbage = b"-----BEGIN CERTIFICATE-----\nMAMCAQA=\n-----END CERTIFICATE-----\n";
    let (_dir, path) = files(&[("garbage", garbage), ("some", &[garbage, &fixture("ca.pem")[..]].concat())]);
    for part in [CredentialKind::Cafile, CredentialKind::Certificate] {
        let error = refused(part, path("garbage"));
        assert!(matches!(error.fault, CredentialFault::UnusableCertificate(_)), "{error}");
        assert!(error.to_string().contains("openssl x509 -in"), "{error}");
    }
    // If one CA is malformed, the others are still loaded.
    let loaded = rsa_with(CredentialKind::Cafile, path("some")).load().unwrap();
    let [CredentialWarning::CaLeftOut { file: cafile, number: 1, .. }] = &*loaded.warnings() else {
        panic!("{:?}", loaded.warnings())
    };
    assert_eq!(cafile.as_str(), path("some").to_str().unwrap());
}

#[test]
fn an_invalid_name_to_verify_is_rejected() {
    for name in ["", "two words", "host:9999"] {
        let error = Ca::new("ca").credentials().verify_name(name).load().unwrap_err();
        assert!(matches!(error.fault, CredentialFault::BadName), "{error}");
        assert_eq!((error.kind, error.source.as_str()), (CredentialKind::VerifyName, name));
    }
}

#[test]
fn certificates_that_peers_may_reject_cause_a_warning() {
    let ca = Ca::new("ca");
    let warning = |credentials: Credentials| {
        let loaded = credentials.load().unwrap();
        let [warning] = &*loaded.warnings() else { panic!("{:?}", loaded.warnings()) };
        warning.clone()
    };
    let certificate = || "(in memory)".to_owned();

    let expired = warning(ca.leaf(|params| params.not_after = date_time_ymd(2020, 1, 1)).trusting(&ca));
    assert!(matches!(expired, CredentialWarning::Expired { .. }), "{expired}");
    let text = expired.to_string();
    let days: u32 =
        text.split("expired ").nth(1).unwrap().split(" days ago").next().unwrap().parse().unwrap();
    assert!(days > 2_000, "{text}");
    let early = warning(ca.leaf(|params| params.not_before = date_time_ymd(2999, 1, 1)).trusting(&ca));
    assert!(matches!(early, CredentialWarning::NotYetValid { .. }), "{early}");
    let foreign = warning(ca.leaf(|_| ()).trusting(&Ca::new("another")));
    assert_eq!(
        foreign,
        CredentialWarning::Foreign { certificate: certificate(), cas: "cafile (in memory)".into() }
    );
    let is_ca = warning(ca.as_leaf().trusting(&ca));
    assert_eq!(is_ca, CredentialWarning::IsCa { certificate: certificate() });
    for (purpose, side) in
        [(ExtendedKeyUsagePurpose::ServerAuth, "connect"), (ExtendedKeyUsagePurpose::ClientAuth, "listen")]
    {
        let purpose = warning(ca.leaf(|params| params.extended_key_usages = vec![purpose]).trusting(&ca));
        assert_eq!(purpose, CredentialWarning::WrongPurpose { certificate: certificate(), side });
    }
}

#[test]
fn debug_output_contains_no_key() {
    let credentials = Ca::new("ca").credentials();
    let debug = format!("{credentials:?} {:?}", credentials.load().unwrap());
    assert!(!debug.contains("BEGIN") && !debug.contains("45, 45, 45"), "{debug}");
}
