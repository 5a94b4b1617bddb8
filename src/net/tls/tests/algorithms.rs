//! Keys, signatures and extensions of certificates. Both back ends accept and reject the same certificates as OpenSSL.

use rcgen::{CustomExtension, KeyPair, KeyUsagePurpose, SignatureAlgorithm};

use super::pairings::{assert_accepted, short};
use super::pki::Ca;
use super::*;
#[cfg(feature = "openssl")]
use crate::net::tls::key_kind::{KeyKind, key_kind};
#[cfg(feature = "openssl")]
use crate::net::tls::{CredentialFault, CredentialKind, RefusedCertificate, Remedy, inspect};
use crate::net::tls::{CredentialWarning, Refusal};
#[cfg(feature = "openssl")]
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// Returns an nsCertType extension with these bits set.
fn ns_cert_type(bits: u8) -> CustomExtension {
    // 2.16.840.1.113730.1.1, a BIT STRING.
    CustomExtension::from_oid_content(&[2, 16, 840, 1, 113_730, 1, 1], vec![3, 2, 0, bits])
}

const SSL_CLIENT: u8 = 0x80;
const SSL_SERVER: u8 = 0x40;

#[tokio::test]
async fn ecdsa_certificates_on_every_curve_with_every_hash_are_accepted() {
    let algorithms: [&'static SignatureAlgorithm; 5] = [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA256,
        &rcgen::PKCS_ECDSA_P521_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
    ];
    let credentials = algorithms.map(|algorithm| {
        let ca = Ca::with_key("ca", KeyPair::generate_for(algorithm).unwrap());
        (ca.leaf_with_key(KeyPair::generate_for(algorithm).unwrap(), |_| ()).trusting(&ca), algorithm)
    });
    for (credentials, algorithm) in &credentials {
        let loaded = credentials.load().unwrap();
        assert_eq!((loaded.backend(), &*loaded.warnings()), (Backend::Rustls, &[][..]), "{algorithm:?}");
    }
    for (credentials, algorithm) in &credentials {
        let curve_is_offered = !format!("{algorithm:?}").contains("P521");
        if curve_is_offered {
            assert_accepted(credentials, credentials, &format!("{algorithm:?}")).await;
            continue;
        }
        // In TLS 1.2, an OpenSSL server requires that the client supports key exchange on the curve of the certificate.
        // rustls does not support it for P-521. TLS 1.3 has no such requirement, so both versions are offered here.
        for (one, other) in BACKENDS.iter().flat_map(|one| BACKENDS.iter().map(move |other| (*one, *other))) {
            let [a, b] =
                [one, other].map(|it| End::load(&credentials.clone().backend(it), &[&TLS12, &TLS13]));
            let (connector, listener) = connect_ends(&a, &b).await;
            let what = format!("{one:?} to {other:?}, {algorithm:?}");
            assert_eq!((short(&connector), short(&listener)), ("ok".into(), "ok".into()), "{what}");
        }
    }
    // A CA with a P-521 key can sign leaves with P-256 keys, in both TLS versions.
    let ca = Ca::with_key("ca", KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap());
    assert_accepted(&ca.credentials(), &ca.credentials(), "a CA on P-521").await;
    let p521 =
        Credentials::from_files(fixture_path("ca.pem"), fixture_path("p521.pem"), private_copy("p521.key"));
    assert_eq!(p521.load().unwrap().backend(), Backend::Rustls);
}

/// A certificate with a P-256 key, signed by the `openssl` program with SHA-512 (as with `default_md = sha512`).
#[tokio::test]
async fn an_ecdsa_certificate_on_p256_with_sha512_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &str| {
        let args: Vec<String> =
            args.split(' ').map(|arg| arg.replace("DIR", dir.path().to_str().unwrap())).collect();
        super::openssl::run(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -sha512";
    let made = run(&format!("req -x509 {ec} -subj /CN=ca -keyout DIR/ca.key -out DIR/ca.pem"))
        .and_then(|_| run(&format!("req {ec} -subj /CN=leaf -keyout DIR/leaf.key -out DIR/leaf.csr")))
        .and_then(|_| {
            std::fs::write(dir.path().join("v3.ext"), "basicConstraints=CA:FALSE").unwrap();
            run(
                "x509 -req -in DIR/leaf.csr -CA DIR/ca.pem -CAkey DIR/ca.key -CAcreateserial -sha512 -days 2 \
                 -extfile DIR/v3.ext -out DIR/leaf.pem",
            )
        });
    if made.is_none() {
        return;
    }
    let [ca, leaf, key] = ["ca.pem", "leaf.pem", "leaf.key"].map(|name| dir.path().join(name));
    let credentials = Credentials::from_files(ca, leaf, key);
    assert_eq!(credentials.load().unwrap().backend(), Backend::Rustls);
    assert_accepted(&credentials, &credentials, "P-256 with SHA-512").await;
}

/// Tests, for each value of an extension, whether a peer with such a certificate may connect, and whether it may listen.
#[tokio::test]
async fn key_usage_and_ns_cert_type_restrict_a_certificate_as_in_openssl() {
    let ca = Ca::new("ca");
    let usages = |usages: Vec<KeyUsagePurpose>| ca.leaf(|params| params.key_usages = usages);
    let types = |bits| ca.leaf(|params| params.custom_extensions = vec![ns_cert_type(bits)]);
    let good = ca.credentials();
    for (what, leaf, connects, listens) in [
        ("digitalSignature", usages(vec![KeyUsagePurpose::DigitalSignature]), true, true),
        ("keyCertSign", usages(vec![KeyUsagePurpose::KeyCertSign]), false, false),
        ("nonRepudiation", usages(vec![KeyUsagePurpose::ContentCommitment]), false, false),
        ("keyEncipherment", usages(vec![KeyUsagePurpose::KeyEncipherment]), false, true),
        ("nsCertType server", types(SSL_SERVER), false, true),
        ("nsCertType client", types(SSL_CLIENT), true, false),
        ("nsCertType both", types(SSL_CLIENT | SSL_SERVER), true, true),
    ] {
        let bare = End::bare(Some(leaf.certified_key()), &[&TLS13]);
        for backend in BACKENDS {
            let what = format!("{what}, {backend:?}");
            let good = End::load(&good.clone().backend(*backend), &[&TLS13]);
            let outcome = |may: bool| if may { "ok".to_owned() } else { "PeerWrongPurpose".to_owned() };
            let received = format!("refused: {:?}", Refusal::UnsupportedCertificate);
            let (connector, listener) = connect_ends(&bare, &good).await;
            assert_eq!(short(&listener), outcome(connects), "connects: {what}");
            assert_eq!(
                short(&connector),
                if connects { "ok".to_owned() } else { received.clone() },
                "{what}"
            );
            let (connector, listener) = connect_ends(&good, &bare).await;
            assert_eq!(short(&connector), outcome(listens), "listens: {what}");
            assert_eq!(short(&listener), if listens { "ok".to_owned() } else { received }, "{what}");

            let loaded = leaf.trusting(&ca).backend(*backend).load().unwrap();
            let warned: Vec<&str> = loaded
                .warnings()
                .iter()
                .map(|warning| match warning {
                    CredentialWarning::WrongPurpose { side, .. } => *side,
                    other => panic!("{what}: {other}"),
                })
                .collect();
            let expected = [("listen", listens), ("connect", connects)];
            let expected: Vec<&str> =
                expected.into_iter().filter(|(_, may)| !may).map(|(side, _)| side).collect();
            assert_eq!(warned, expected, "{what}");
        }
    }
}

#[tokio::test]
async fn an_intermediate_certificate_that_may_not_sign_is_ignored() {
    let root = Ca::new("root");
    let between = root.intermediate_with("between", |params| {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    });
    let theirs = End::bare(Some(between.leaf(|_| ()).certified_key()), &VERSIONS);
    for backend in BACKENDS {
        let good = End::load(&root.credentials().backend(*backend), &VERSIONS);
        let result = connect_ends(&good, &theirs).await.0;
        assert!(matches!(short(&result).as_str(), "PeerForeign" | "PeerUnusable"), "{backend:?}: {result:?}");
    }
}

/// The error names the certificate that failed: the peer's own, or an intermediate.
#[tokio::test]
async fn the_error_names_the_certificate_that_failed() {
    let root = Ca::new("root");
    let expired = root.intermediate_with("between", |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let foreign = Ca::new("another").intermediate("between");
    let name = |n: usize| "n".repeat(n);
    let long = root.leaf(|params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        params.distinguished_name.push(rcgen::DnType::OrganizationName, name(3000));
    });
    for (leaf, subject, issuer) in [
        (expired.leaf(|_| ()), "CN=between", "CN=root"),
        (foreign.leaf(|_| ()), "CN=between", "CN=another"),
        (root.leaf(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1)), "CN=leaf", "CN=root"),
        (long, "O=nnnnn", "CN=root"),
    ] {
        let theirs = End::bare(Some(leaf.certified_key()), &VERSIONS);
        for backend in BACKENDS {
            let good = End::load(&root.credentials().backend(*backend), &VERSIONS);
            let errors = [connect_ends(&good, &theirs).await.0, connect_ends(&theirs, &good).await.1];
            for error in errors.map(Result::unwrap_err) {
                let TlsError::Certificate(refused) = &error else { panic!("{backend:?}: {error:?}") };
                assert!(refused.subject.starts_with(subject), "{backend:?}: {error}");
                assert_eq!(refused.issuer, issuer, "{backend:?}: {error}");
                let text = error.to_string();
                assert!(text.contains(&format!("(subject {}, issuer {issuer})", refused.subject)), "{text}");
                assert!(text.len() < 800, "{text}");
            }
        }
    }
}

#[test]
fn the_error_for_a_missing_certificate_lists_the_causes() {
    let text = TlsError::NoPeerCertificate.to_string();
    for words in ["it has none", "anonymous TLS", "a signature algorithm that we did not offer"] {
        assert!(text.contains(words), "{text}");
    }
    let text = TlsError::Refused(Refusal::CertificateRequired).to_string();
    assert!(text.contains("signature algorithm"), "{text}");
}

/// Creates a key with these options of `openssl genpkey`, and a certificate for it. Returns `None` without the `openssl` program.
#[cfg(feature = "openssl")]
fn self_signed(directory: &std::path::Path, options: &[&str], digest: &str) -> Option<Credentials> {
    let [key, certificate] =
        ["key.pem", "certificate.pem"].map(|name| directory.join(name).display().to_string());
    super::openssl::run(&[&["genpkey", "-out", &key], options].concat())?;
    let request = ["req", "-x509", "-key", &key, digest, "-subj", "/CN=self", "-out", &certificate];
    super::openssl::run(&request)?;
    Some(Credentials::from_files(&certificate, &certificate, &key))
}

#[cfg(feature = "openssl")]
#[tokio::test]
async fn the_error_names_a_key_algorithm_that_rustls_does_not_support() {
    let dir = tempfile::tempdir().unwrap();
    let Some(own) = self_signed(dir.path(), &["-algorithm", "ed448"], "-sha256") else { return };
    let error = own.clone().backend(Backend::Rustls).load().unwrap_err();
    assert!(matches!(&error.fault, CredentialFault::UnsupportedKey(name) if name == "Ed448"), "{error}");
    assert!(error.to_string().contains("the key is Ed448"), "{error}");
    assert_eq!(error.remedy(), Some(Remedy::OpenSsl));
    let loaded = own.load().unwrap();
    assert_eq!(loaded.backend(), Backend::OpenSsl);
    let other = Ca::new("ca").credentials().load().unwrap();
    let (connector, listener) =
        connect_ends(&End::Ours(Tls::Mutual(loaded)), &End::Ours(Tls::Mutual(other))).await;
    for error in [connector.unwrap_err(), listener.unwrap_err()] {
        let text = error.to_string();
        assert!(!text.contains("1.3.101") && !text.contains("Some("), "{text}");
    }
}

#[cfg(feature = "openssl")]
#[test]
fn a_key_on_a_curve_that_tls_does_not_support_is_rejected() {
    for curve in ["secp256k1", "brainpoolP256r1"] {
        let dir = tempfile::tempdir().unwrap();
        let option = format!("ec_paramgen_curve:{curve}");
        let Some(own) = self_signed(dir.path(), &["-algorithm", "EC", "-pkeyopt", &option], "-sha256") else {
            return;
        };
        for backend in [Backend::Rustls, Backend::OpenSsl, Backend::Auto] {
            let error = own.clone().backend(backend).load().unwrap_err();
            assert!(
                matches!(&error.fault, CredentialFault::UnsupportedCurve(name) if name == curve),
                "{error}"
            );
            assert_eq!(error.remedy(), None, "OpenSSL does not help");
            assert!(error.to_string().contains("ECDSA on P-256"), "{error}");
        }
    }
}

#[cfg(feature = "openssl")]
#[test]
fn the_error_for_explicit_curve_parameters_shows_the_conversion() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"];
    let Some(own) = self_signed(dir.path(), &options, "-sha256") else { return };
    let error = own.clone().backend(Backend::Rustls).load().unwrap_err();
    assert_eq!(error.kind, CredentialKind::Certificate);
    assert!(matches!(error.fault, CredentialFault::ExplicitCurve), "{error}");
    assert!(error.to_string().contains("-ec_param_enc named_curve"), "{error}");
    // PKCS#8 and SEC1, in which the parameters are at different positions.
    let key = dir.path().join("key.pem");
    let sec1 = super::openssl::run(&["ec", "-in", &key.display().to_string()]).unwrap();
    for pem in [std::fs::read(&key).unwrap(), sec1] {
        let key = PrivateKeyDer::from_pem_slice(&pem).unwrap();
        assert_eq!(key_kind(&key), Some(KeyKind::ExplicitCurve));
    }
    let der = CertificateDer::from_pem_file(dir.path().join("certificate.pem")).unwrap();
    assert!(
        inspect::algorithms(&der).contains("EC with explicit parameters"),
        "{}",
        inspect::algorithms(&der)
    );
    let text = RefusedCertificate::new(CertificateFault::ObsoleteAlgorithm(inspect::algorithms(&der)), &der)
        .to_string();
    assert!(text.contains("-ec_param_enc named_curve") && !text.contains("OpenSSL as"), "{text}");
}

#[cfg(feature = "openssl")]
#[test]
fn the_error_for_a_sha1_signature_does_not_suggest_openssl() {
    let dir = tempfile::tempdir().unwrap();
    let options = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    if self_signed(dir.path(), &options, "-sha1").is_none() {
        return;
    }
    let der = CertificateDer::from_pem_file(dir.path().join("certificate.pem")).unwrap();
    assert!(inspect::has_obsolete_algorithm(&der));
    let algorithms = inspect::algorithms(&der);
    assert!(
        algorithms.contains("ecdsa-with-SHA1") && !algorithms.contains("object identifier"),
        "{algorithms}"
    );
    let text = CertificateFault::ObsoleteAlgorithm(algorithms).to_string();
    assert!(text.contains("do not accept"), "{text}");
}
