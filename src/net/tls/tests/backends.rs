//! Features that require OpenSSL: anonymous TLS, and certificates and keys that rustls rejects. Also tests the errors of a
//! build without OpenSSL.

use rcgen::{BasicConstraints, IsCa, KeyUsagePurpose};

#[cfg(feature = "openssl")]
use super::pairings::short;
use super::pki::Ca;
use super::*;
use crate::net::tls::{CredentialFault, Passphrase};

/// An X.509 version 1 leaf of the RSA CA.
fn version1() -> Credentials {
    Credentials::from_files(fixture_path("ca.pem"), fixture_path("v1.pem"), private_copy("v1.key"))
}

/// A version 3 leaf of the same CA.
fn version3() -> Credentials {
    Credentials::from_files(fixture_path("ca.pem"), fixture_path("rsa.pem"), private_copy("rsa.pkcs8.key"))
}

/// A leaf whose key is encrypted in OpenSSL's traditional format, which is older than PKCS#8.
fn legacy() -> Credentials {
    let key = private_copy("rsa.encrypted-legacy.key");
    Credentials::from_files(fixture_path("ca.pem"), fixture_path("rsa.pem"), key)
        .passphrase(Passphrase::new("secret"))
}

/// A CA's own certificate, used as a leaf. It has no keyUsage, as when `openssl req -x509` creates it.
fn ca_as_leaf() -> (Ca, Credentials) {
    let ca = Ca::new("ca");
    let leaf = ca.leaf(|params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = Vec::<KeyUsagePurpose>::new();
    });
    let credentials = leaf.trusting(&ca);
    (ca, credentials)
}

#[cfg(not(feature = "openssl"))]
mod without {
    use super::*;
    use crate::net::tls::{CredentialKind, CredentialWarning};

    #[test]
    fn anonymous_tls_without_openssl_is_an_error_with_a_hint() {
        let error = Tls::anonymous().unwrap_err().to_string();
        assert!(error.contains("cargo build --features openssl") && error.contains("ssl_cafile"), "{error}");
    }

    #[test]
    fn selecting_openssl_in_a_build_without_it_is_an_error_with_a_hint() {
        let error = version3().backend(Backend::OpenSsl).load().unwrap_err();
        assert_eq!(error.kind, CredentialKind::Backend);
        assert!(matches!(error.fault, CredentialFault::NoOpenSsl), "{error}");
        assert!(error.to_string().contains("cargo build --features openssl"), "{error}");
    }

    #[test]
    fn the_error_for_credentials_that_rustls_rejects_suggests_openssl() {
        let cases = [
            (version1(), "v1.pem: it is an X.509 version 1"),
            (legacy(), "legacy.key: the key is encrypted in OpenSSL's traditional format"),
        ];
        for (credentials, what) in cases {
            let error = credentials.load().unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("cargo build --features openssl"), "{error}");
        }
        let (_, credentials) = ca_as_leaf();
        let loaded = credentials.load().unwrap();
        assert!(matches!(&*loaded.warnings(), [CredentialWarning::IsCa { .. }]), "{loaded:?}");
        assert_eq!(loaded.backend(), Backend::Rustls);
    }
}

#[cfg(feature = "openssl")]
mod with {
    use super::*;
    use crate::net::tls::Refusal;

    fn anonymous() -> End {
        End::Ours(Tls::anonymous().unwrap())
    }

    fn mutual(credentials: &Credentials, backend: Backend) -> End {
        End::load(&credentials.clone().backend(backend), &[&TLS12, &TLS13])
    }

    /// Returns two outcomes: the first if `a` connects to `b`, the second if `b` connects to `a`.
    async fn both_directions(a: &End, b: &End) -> [(String, String); 2] {
        let (connector, listener) = connect_ends(a, b).await;
        let a_connects = (short(&connector), short(&listener));
        let (connector, listener) = connect_ends(b, a).await;
        [a_connects, (short(&listener), short(&connector))]
    }

    fn ok() -> (String, String) {
        ("ok".into(), "ok".into())
    }

    #[tokio::test]
    async fn anonymous_peers_connect_without_identities() {
        let (a, b) = connect_ends(&anonymous(), &anonymous()).await;
        let (a, b) = (a.unwrap(), b.unwrap());
        for stream in [a, b] {
            assert!(stream.is_tls());
            assert_eq!((stream.peer_certificate(), stream.peer_identity()), (None, None));
        }
    }

    #[tokio::test]
    async fn an_anonymous_and_a_mutual_peer_report_the_mismatch() {
        let ca = Ca::new("ca");
        for backend in BACKENDS {
            for version in [&[&TLS12][..], &[&TLS13], &[&TLS12, &TLS13]] {
                let mutual = End::load(&ca.credentials().backend(*backend), version);
                let (connector, listener) = connect_ends(&anonymous(), &mutual).await;
                assert_eq!(short(&connector), "NotAnonymous", "{backend:?} {version:?}");
                let only_tls13 = version.len() == 1 && version[0].version == TLS13.version;
                let expected = if only_tls13 { "NoCommonVersion" } else { "NoCommonCipher" };
                assert_eq!(short(&listener), expected, "{backend:?} {version:?}");
                let (connector, listener) = connect_ends(&mutual, &anonymous()).await;
                assert_eq!(short(&listener), "NotAnonymous", "{backend:?} {version:?}");
                let expected = if only_tls13 { "ProtocolVersion" } else { "HandshakeFailure" };
                assert_eq!(short(&connector), format!("refused: {expected}"), "{backend:?} {version:?}");
                let text = listener.unwrap_err().to_string();
                assert!(
                    text.contains("with a certificate of its CA") && text.contains("Broker::ssl_certificate"),
                    "{text}"
                );
            }
        }
    }

    #[tokio::test]
    async fn openssl_accepts_certificates_that_rustls_rejects() {
        let version1 = mutual(&version1(), Backend::OpenSsl);
        assert_eq!(both_directions(&version1, &mutual(&version3(), Backend::OpenSsl)).await, [ok(), ok()]);
        assert_eq!(both_directions(&version1, &version1).await, [ok(), ok()]);
        let legacy = mutual(&legacy(), Backend::OpenSsl);
        assert_eq!(both_directions(&legacy, &version1).await, [ok(), ok()]);
        let (ca, as_leaf) = ca_as_leaf();
        let as_leaf = mutual(&as_leaf, Backend::OpenSsl);
        assert_eq!(
            both_directions(&as_leaf, &mutual(&ca.credentials(), Backend::OpenSsl)).await,
            [ok(), ok()]
        );
        // Both sides use the same certificate, which is also its own CA.
        let own = ca.leaf(|_| ());
        let itself = Credentials::from_pem(ca.pem(), own.chain, own.key);
        assert_eq!(
            both_directions(&mutual(&itself, Backend::OpenSsl), &mutual(&itself, Backend::Rustls)).await,
            [ok(), ok()]
        );
    }

    #[test]
    fn openssl_is_selected_for_credentials_that_rustls_rejects() {
        let (_, as_leaf) = ca_as_leaf();
        let version1_ca = Credentials::from_files(
            fixture_path("v1-ca.pem"),
            fixture_path("ec-by-v1-ca.pem"),
            private_copy("ec.sec1.key"),
        );
        for credentials in [version1(), legacy(), as_leaf, version1_ca] {
            let loaded = credentials.load().unwrap();
            assert_eq!(
                (loaded.backend(), &*loaded.warnings()),
                (Backend::OpenSsl, &[][..]),
                "{credentials:?}"
            );
        }
        for credentials in [version3(), Ca::new("ca").credentials()] {
            assert_eq!(credentials.load().unwrap().backend(), Backend::Rustls, "{credentials:?}");
            assert_eq!(credentials.backend(Backend::OpenSsl).load().unwrap().backend(), Backend::OpenSsl);
        }
        // If both back ends fail, the error of OpenSSL is returned, because OpenSSL supports this kind of key.
        let error = legacy().passphrase(Passphrase::new("wrong")).load().unwrap_err();
        assert!(matches!(error.fault, CredentialFault::WrongPassphrase), "{error}");
    }

    #[tokio::test]
    async fn a_peer_certificate_does_not_change_the_back_end() {
        let (ca, as_leaf) = ca_as_leaf();
        let deep = Ca::new("root");
        let below = (1..=8).fold(deep.intermediate("0"), |ca, n| ca.intermediate(&n.to_string()));
        let long = below.leaf(|_| ()).trusting(&deep);
        for (ours, theirs, fault) in [
            (version3(), version1(), "PeerVersion1"),
            (ca.credentials(), as_leaf, "PeerIsCa"),
            (deep.credentials(), long, "PeerChainTooLong"),
        ] {
            let theirs = mutual(&theirs, Backend::OpenSsl);
            for we_connect in [true, false] {
                let tls = ours.load().unwrap();
                let ours = End::Ours(Tls::Mutual(tls.clone()));
                // A second connection fails in the same way.
                for _ in 0..2 {
                    let result = if we_connect {
                        connect_ends(&ours, &theirs).await.0
                    } else {
                        connect_ends(&theirs, &ours).await.1
                    };
                    assert_eq!(short(&result), fault);
                    let text = result.unwrap_err().to_string();
                    assert!(
                        text.contains("OpenSSL as the TLS back end") && text.contains("(subject CN="),
                        "{text}"
                    );
                    assert_eq!(tls.backend(), Backend::Rustls);
                }
            }
            // With the option that the error suggests, the two sides connect.
            let ours = mutual(&ours, Backend::OpenSsl);
            assert_eq!(both_directions(&ours, &theirs).await, [ok(), ok()], "{fault}");
        }
    }

    fn end_of(tls: &MutualTls) -> End {
        End::Ours(Tls::Mutual(tls.clone()))
    }

    #[test]
    fn openssl_is_selected_if_our_own_certificate_chain_is_long() {
        let root = Ca::new("root");
        let below = (1..=8).fold(root.intermediate("0"), |ca, n| ca.intermediate(&n.to_string()));
        let loaded = below.leaf(|_| ()).trusting(&root).load().unwrap();
        assert_eq!((loaded.backend(), &*loaded.warnings()), (Backend::OpenSsl, &[][..]));
    }

    #[test]
    fn a_version_1_ca_that_did_not_sign_our_chain_does_not_select_openssl() {
        let ca = Ca::new("ca");
        let own = ca.leaf(|_| ());
        let both = [ca.pem().as_bytes(), &fixture("v1-ca.pem")].concat();
        let loaded = Credentials::from_pem(both, own.chain, own.key).load().unwrap();
        assert_eq!(loaded.backend(), Backend::Rustls);
    }

    #[tokio::test]
    async fn a_certificate_of_an_unknown_ca_is_reported_as_foreign() {
        let shows = super::super::pki::certified_key(&fixture("v1.pem"), &fixture("v1.key"));
        let foreign = End::bare(Some(shows), &VERSIONS);
        let tls = Ca::new("ca").credentials().load().unwrap();
        let [(connecting, _), (listening, received)] = both_directions(&end_of(&tls), &foreign).await;
        assert_eq!((connecting.as_str(), listening.as_str()), ("PeerForeign", "PeerForeign"));
        assert_eq!(received, format!("refused: {:?}", Refusal::UnknownCa));
    }

    #[tokio::test]
    async fn openssl_is_not_suggested_if_it_rejects_the_certificate_too() {
        let ca = Ca::new("ca");
        let signs_only = ca.leaf(|params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        });
        let tls = ca.credentials().load().unwrap();
        let theirs = End::bare(Some(signs_only.certified_key()), &VERSIONS);
        let [(connecting, _), (listening, _)] = both_directions(&end_of(&tls), &theirs).await;
        assert_eq!((connecting.as_str(), listening.as_str()), ("PeerWrongPurpose", "PeerWrongPurpose"));
    }

    #[tokio::test]
    async fn the_error_of_rustls_suggests_openssl() {
        let (_, error) =
            connect_ends(&mutual(&version1(), Backend::OpenSsl), &mutual(&version3(), Backend::Rustls)).await;
        let error = error.unwrap_err();
        assert!(
            matches!(error, TlsError::Certificate(ref refused) if refused.fault == CertificateFault::Version1),
            "{error:?}"
        );
        assert!(error.to_string().contains("OpenSSL as the TLS back end"), "{error}");
    }

    #[tokio::test]
    async fn a_malformed_certificate_is_unusable_with_openssl_too() {
        let ca = Ca::new("ca");
        let mut key = ca.leaf(|_| ()).certified_key();
        key.cert[0] = vec![0x30, 0x03, 0x02, 0x01, 0x00].into();
        let good = mutual(&ca.credentials(), Backend::OpenSsl);
        for version in VERSIONS {
            let garbage = End::bare(Some(key.clone()), &[version]);
            let [(connecting, _), (listening, _)] = both_directions(&good, &garbage).await;
            assert_eq!((connecting.as_str(), listening.as_str()), ("PeerUnusable", "PeerUnusable"));
            let (_, listener) = connect_ends(&End::bare(None, &[version]), &good).await;
            assert_eq!(short(&listener), "NoPeerCertificate");
        }
    }

    #[test]
    fn openssl_reports_the_same_credential_faults_as_rustls() {
        let openssl = |credentials: Credentials| credentials.backend(Backend::OpenSsl).load().unwrap_err();
        let mismatch = Credentials::from_files(
            fixture_path("ca.pem"),
            fixture_path("rsa.pem"),
            private_copy("ec.sec1.key"),
        );
        let error = openssl(mismatch);
        assert!(matches!(error.fault, CredentialFault::KeyMismatch), "{error}");
        let no_passphrase = Credentials { passphrase: None, ..legacy() };
        let error = openssl(no_passphrase);
        assert!(matches!(error.fault, CredentialFault::Encrypted), "{error}");
        for key in ["rsa.encrypted-legacy.key", "rsa.encrypted-pkcs8.key"] {
            let wrong =
                Credentials::from_files(fixture_path("ca.pem"), fixture_path("rsa.pem"), private_copy(key))
                    .passphrase(Passphrase::new("wrong"));
            let error = openssl(wrong);
            assert!(matches!(error.fault, CredentialFault::WrongPassphrase), "{error}");
        }
        let weak = Credentials::from_files(
            fixture_path("ca.pem"),
            fixture_path("rsa1024.pem"),
            private_copy("rsa1024.key"),
        );
        let error = openssl(weak);
        assert!(matches!(error.fault, CredentialFault::UnusableCertificate(_)), "{error}");
        let garbage = b"-----BEGIN PRIVATE KEY-----\nMAMCAQA=\n-----END PRIVATE KEY-----\n";
        let error = openssl(Credentials::from_pem(fixture("ca.pem"), fixture("rsa.pem"), garbage));
        assert!(matches!(error.fault, CredentialFault::UnusableKey(_)), "{error}");
        let error = openssl(version3().verify_name("two words"));
        assert!(matches!(error.fault, CredentialFault::BadName), "{error}");
    }

    #[test]
    fn openssl_causes_the_same_warnings_as_rustls() {
        let ca = Ca::new("ca");
        let cases = [
            ca.leaf(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1)).trusting(&ca),
            ca.leaf(|params| params.not_before = rcgen::date_time_ymd(2999, 1, 1)).trusting(&ca),
            ca.leaf(|_| ()).trusting(&Ca::new("another")),
            ca.leaf(|params| {
                params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
            })
            .trusting(&ca),
        ];
        for credentials in cases {
            let [rustls, openssl] = [Backend::Rustls, Backend::OpenSsl].map(|backend| {
                let loaded = credentials.clone().backend(backend).load().unwrap();
                let [warning] = &*loaded.warnings() else { panic!("{loaded:?}") };
                warning.to_string()
            });
            assert_eq!(rustls, openssl);
        }
    }
}
