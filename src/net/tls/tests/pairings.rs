//! TLS handshakes between two ends: valid ends connect; with an invalid end, each side reports the cause.

use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};

use super::pki::{Ca, certified_key};
use super::*;
use crate::net::tls::Refusal;

/// Returns a short form of a result, for comparisons.
pub(super) fn short<T>(result: &Result<T, TlsError>) -> String {
    match result {
        Ok(_) => "ok".into(),
        Err(TlsError::Refused(refusal)) => format!("refused: {refusal:?}"),
        Err(TlsError::Certificate(refused)) => {
            let fault = format!("{:?}", refused.fault);
            format!("Peer{}", fault.split([' ', '(']).next().unwrap())
        }
        Err(error) => {
            let debug = format!("{error:?}");
            debug.split([' ', '(']).next().unwrap().to_owned()
        }
    }
}

/// Connects a valid and an invalid end with each TLS version, in both directions and with each back end of the valid end.
/// `invalid` returns the invalid end for a version and back end. The valid end must fail with `error`; the invalid end must
/// receive `alerts[0]` from rustls and `alerts[1]` from OpenSSL.
async fn assert_rejected(
    case: &str,
    good: &Credentials,
    invalid: impl Fn(&[Version], Backend) -> End,
    error: &str,
    alerts: [Refusal; 2],
) {
    assert_rejected_by(BACKENDS, case, good, invalid, error, alerts).await;
}

/// Like [`assert_rejected`], with these back ends of the valid end.
async fn assert_rejected_by(
    backends: &[Backend],
    case: &str,
    good: &Credentials,
    invalid: impl Fn(&[Version], Backend) -> End,
    error: &str,
    alerts: [Refusal; 2],
) {
    for backend in backends {
        let alert = match backend {
            Backend::OpenSsl => alerts[1],
            _ => alerts[0],
        };
        let alert = format!("refused: {alert:?}");
        let good = End::load(&good.clone().backend(*backend), &[&TLS12, &TLS13]);
        for (version, invalid_backend) in
            VERSIONS.into_iter().flat_map(|v| BACKENDS.iter().map(move |b| (v, *b)))
        {
            let case = format!("{case}: {backend:?} with {invalid_backend:?}, {version:?}");
            let invalid = invalid(&[version], invalid_backend);
            let (connector, listener) = connect_ends(&good, &invalid).await;
            assert_eq!(short(&connector), error, "the listener is invalid: {case}");
            assert_eq!(short(&listener), alert, "the listener is invalid: {case}");
            let (connector, listener) = connect_ends(&invalid, &good).await;
            assert_eq!(short(&connector), alert, "the connector is invalid: {case}");
            assert_eq!(short(&listener), error, "the connector is invalid: {case}");
        }
    }
}

async fn assert_credentials_rejected(
    case: &str,
    good: &Credentials,
    invalid: &Credentials,
    error: &str,
    alerts: [Refusal; 2],
) {
    let invalid = |versions: &[Version], backend| End::load(&invalid.clone().backend(backend), versions);
    assert_rejected(case, good, invalid, error, alerts).await;
}

pub(super) async fn assert_accepted(a: &Credentials, b: &Credentials, case: &str) {
    for (version, one, other) in VERSIONS
        .into_iter()
        .flat_map(|v| BACKENDS.iter().flat_map(move |a| BACKENDS.iter().map(move |b| (v, *a, *b))))
    {
        let a = End::load(&a.clone().backend(one), &[version]);
        let b = End::load(&b.clone().backend(other), &[&TLS12, &TLS13]);
        for (connector, listener) in [(&a, &b), (&b, &a)] {
            let (connector, listener) = connect_ends(connector, listener).await;
            assert_eq!(
                (short(&connector), short(&listener)),
                ("ok".into(), "ok".into()),
                "{case}: {one:?} and {other:?}, {version:?}"
            );
        }
    }
}

#[tokio::test]
async fn two_peers_with_one_ca_connect_and_receive_the_certificate_of_each_other() {
    let ca = Ca::new("ca");
    let (a, b) = (ca.leaf(|_| ()), ca.leaf(|_| ()));
    assert_accepted(&a.trusting(&ca), &b.trusting(&ca), "plain leaves").await;

    let (at_a, at_b) =
        connect_ends(&End::load(&a.trusting(&ca), &[&TLS13]), &End::load(&b.trusting(&ca), &[&TLS13])).await;
    let (at_a, at_b) = (at_a.unwrap(), at_b.unwrap());
    assert_eq!(at_a.peer_certificate(), Some(b.der.as_slice()));
    assert_eq!(at_b.peer_certificate(), Some(a.der.as_slice()));
    assert!(at_a.is_tls());
    assert_eq!(at_a.tcp().local_addr().unwrap(), at_b.tcp().peer_addr().unwrap());
}

#[tokio::test]
async fn a_chain_is_verified_only_if_its_intermediates_are_sent() {
    let ca = Ca::new("ca");
    let issuer = ca.intermediate("first").intermediate("second");
    let leaf = issuer.leaf(|_| ());
    assert_accepted(&leaf.trusting(&ca), &ca.credentials(), "two intermediates").await;
    assert!(leaf.trusting(&ca).load().unwrap().warnings().is_empty());

    let first = leaf.chain.split_inclusive("-----END CERTIFICATE-----").next().unwrap();
    let without = Credentials::from_pem(ca.pem(), first, leaf.key.as_str());
    assert_credentials_rejected(
        "intermediates left out",
        &ca.credentials(),
        &without,
        "PeerForeign",
        [Refusal::UnknownCa; 2],
    )
    .await;
}

#[tokio::test]
async fn every_ca_in_a_cafile_is_trusted() {
    let (one, other) = (Ca::new("one"), Ca::new("other"));
    let both = format!("text before the certificates\n{}\r\n{}", one.pem(), other.pem());
    let trusting_both = |ca: &Ca| {
        let leaf = ca.leaf(|_| ());
        Credentials::from_pem(both.as_str(), leaf.chain, leaf.key)
    };
    assert_accepted(&trusting_both(&one), &trusting_both(&other), "two CAs").await;
}

#[tokio::test]
async fn rsa_and_ec_keys_in_every_format_are_accepted() {
    let rsa =
        |key| Credentials::from_files(fixture_path("ca.pem"), fixture_path("rsa.pem"), private_copy(key));
    let ec = |certificate, ca| {
        Credentials::from_files(fixture_path(ca), fixture_path(certificate), private_copy("ec.sec1.key"))
    };
    assert_accepted(&rsa("rsa.pkcs8.key"), &ec("ec.pem", "ca.pem"), "RSA in PKCS#8, EC in SEC1").await;
    assert_accepted(&rsa("rsa.pkcs1.key"), &rsa("rsa.pkcs8.key"), "RSA in PKCS#1").await;
    let v1_ca = ec("ec-by-v1-ca.pem", "v1-ca.pem");
    assert_accepted(&v1_ca, &v1_ca, "an X.509 version 1 CA").await;
    assert!(v1_ca.load().unwrap().warnings().is_empty());
}

#[tokio::test]
async fn certificates_outside_of_their_validity_are_rejected() {
    let ca = Ca::new("ca");
    let expired = ca.leaf(|params| params.not_after = date_time_ymd(2020, 1, 1)).trusting(&ca);
    let good = ca.credentials();
    assert_credentials_rejected("expired", &good, &expired, "PeerExpired", [Refusal::CertificateExpired; 2])
        .await;
    let early = ca.leaf(|params| params.not_before = date_time_ymd(2999, 1, 1)).trusting(&ca);
    assert_credentials_rejected(
        "not yet valid",
        &good,
        &early,
        "PeerNotYetValid",
        [Refusal::CertificateExpired, Refusal::BadCertificate],
    )
    .await;
}

#[tokio::test]
async fn certificates_of_a_ca_outside_of_its_validity_are_rejected() {
    let ca = Ca::new("ca");
    let past = Ca::self_signed("past", |params| params.not_after = date_time_ymd(2020, 1, 1));
    let future = Ca::self_signed("future", |params| params.not_before = date_time_ymd(2999, 1, 1));
    let own = ca.leaf(|_| ());
    let trusting = |cas: &[&Ca]| {
        let cas: String = cas.iter().map(|ca| ca.pem()).collect();
        Credentials::from_pem(cas, own.chain.as_str(), own.key.as_str())
    };
    let good = trusting(&[&past, &ca, &future]);
    assert_accepted(&good, &ca.credentials(), "among other CAs").await;
    let of = |stale: &Ca| stale.leaf(|_| ()).trusting(&ca);
    assert_credentials_rejected("past", &good, &of(&past), "PeerExpired", [Refusal::CertificateExpired; 2])
        .await;
    let early = [Refusal::CertificateExpired, Refusal::BadCertificate];
    assert_credentials_rejected("future", &good, &of(&future), "PeerNotYetValid", early).await;
    assert_credentials_rejected(
        "alone",
        &trusting(&[&past]),
        &of(&past),
        "PeerExpired",
        [Refusal::CertificateExpired; 2],
    )
    .await;
}

#[tokio::test]
async fn certificates_of_another_ca_are_rejected() {
    let ca = Ca::new("ca");
    let good = ca.credentials();
    let foreign = Ca::new("another").leaf(|_| ()).trusting(&ca);
    assert_credentials_rejected("another CA", &good, &foreign, "PeerForeign", [Refusal::UnknownCa; 2]).await;
    let renewed = Ca::new("ca").leaf(|_| ()).trusting(&ca);
    assert_credentials_rejected(
        "another CA of the same name",
        &good,
        &renewed,
        "PeerForeign",
        [Refusal::UnknownCa, Refusal::DecryptError],
    )
    .await;

    // OpenSSL sends the CA's certificate after its own. One of the two CA certificates here has version 1, which must not
    // change the result.
    let version1 = [fixture("ec-by-v1-ca.pem"), fixture("v1-ca.pem")].concat();
    let another = Ca::new("another");
    let leaf = another.leaf(|_| ());
    let chain = format!("{}{}", leaf.chain, another.pem());
    for with_ca in [
        Credentials::from_pem(ca.pem(), version1, fixture("ec.sec1.key")),
        Credentials::from_pem(ca.pem(), chain, leaf.key),
    ] {
        assert_credentials_rejected(
            "another CA, sent along",
            &good,
            &with_ca,
            "PeerForeign",
            [Refusal::UnknownCa; 2],
        )
        .await;
    }
}

#[tokio::test]
async fn a_peer_without_a_certificate_is_rejected() {
    let ca = Ca::new("ca");
    let good = End::load(&ca.credentials(), &[&TLS12, &TLS13]);
    for version in VERSIONS {
        let (connector, listener) = connect_ends(&End::bare(None, &[version]), &good).await;
        assert_eq!(short(&connector), "refused: CertificateRequired", "{version:?}");
        assert_eq!(short(&listener), "NoPeerCertificate", "{version:?}");
    }
}

#[tokio::test]
async fn unusable_certificates_are_rejected() {
    let trusting = |ca: &[u8]| Credentials::from_pem(ca, fixture("rsa.pem"), fixture("rsa.pkcs8.key"));
    let good = trusting(&fixture("ca.pem"));
    let version1 = |versions: &[Version], _| {
        End::bare(Some(certified_key(&fixture("v1.pem"), &fixture("v1.key"))), versions)
    };
    let strict = [Backend::Rustls];
    let unknown = [Refusal::CertificateUnknown; 2];
    assert_rejected_by(&strict, "version 1", &good, version1, "PeerVersion1", unknown).await;

    let ca = Ca::new("ca");
    let good = ca.credentials();
    let as_leaf = ca.as_leaf().trusting(&ca);
    // The keyUsage permits only the signing of certificates. With such a certificate, OpenSSL could not offer any cipher in
    // TLS 1.2, so this end uses rustls.
    let as_leaf = |versions: &[Version], _| End::load(&as_leaf.clone().backend(Backend::Rustls), versions);
    let unsupported = [Refusal::UnsupportedCertificate; 2];
    assert_rejected_by(&strict, "the certificate of the CA", &good, as_leaf, "PeerWrongPurpose", unsupported)
        .await;

    let stolen = |versions: &[Version], _| {
        let (theirs, ours) = (ca.leaf(|_| ()), ca.leaf(|_| ()));
        End::bare(Some(certified_key(theirs.chain.as_bytes(), ours.key.as_bytes())), versions)
    };
    assert_rejected(
        "a certificate with another key",
        &good,
        stolen,
        "PeerUnusable",
        [Refusal::DecryptError; 2],
    )
    .await;

    let garbage = |versions: &[Version], _| {
        let mut key = ca.leaf(|_| ()).certified_key();
        key.cert[0] = vec![0x30, 0x03, 0x02, 0x01, 0x00].into();
        End::bare(Some(key), versions)
    };
    // This is tested only with rustls, because the alert of OpenSSL depends on the side.
    assert_rejected_by(
        &strict,
        "not a certificate",
        &good,
        garbage,
        "PeerUnusable",
        [Refusal::BadCertificate; 2],
    )
    .await;
}

#[tokio::test]
async fn certificates_restricted_to_one_side_are_rejected_on_the_other() {
    let ca = Ca::new("ca");
    let good = End::load(&ca.credentials(), &[&TLS12, &TLS13]);
    let only = |purpose, version| {
        End::load(&ca.leaf(|params| params.extended_key_usages = vec![purpose]).trusting(&ca), &[version])
    };
    for version in VERSIONS {
        let server = only(ExtendedKeyUsagePurpose::ServerAuth, version);
        let client = only(ExtendedKeyUsagePurpose::ClientAuth, version);
        let (connector, listener) = connect_ends(&client, &server).await;
        assert_eq!((short(&connector), short(&listener)), ("ok".into(), "ok".into()));
        let (connector, listener) = connect_ends(&server, &good).await;
        assert_eq!(short(&connector), "refused: UnsupportedCertificate", "{version:?}");
        assert_eq!(short(&listener), "PeerWrongPurpose", "{version:?}");
        let (connector, listener) = connect_ends(&good, &client).await;
        assert_eq!(short(&connector), "PeerWrongPurpose", "{version:?}");
        assert_eq!(short(&listener), "refused: UnsupportedCertificate", "{version:?}");
    }
}

#[tokio::test]
async fn a_name_is_verified_on_both_sides_if_it_is_set() {
    let ca = Ca::new("ca");
    let named = ca.credentials();
    for name in ["node.example", "Node.Example.", "127.0.0.1"] {
        assert_accepted(&ca.credentials().verify_name(name), &named, name).await;
    }
    for name in ["other.example", "127.0.0.2"] {
        let verifying = ca.credentials().verify_name(name);
        assert_credentials_rejected(name, &verifying, &named, "PeerWrongName", [Refusal::BadCertificate; 2])
            .await;
    }
    let nameless = ca.leaf(|params| params.subject_alt_names.clear()).trusting(&ca);
    assert_accepted(&nameless, &named, "no names").await;
}

#[tokio::test]
async fn ends_without_a_common_tls_version_report_this() {
    let ca = Ca::new("ca");
    let (old, new) = (End::load(&ca.credentials(), &[&TLS12]), End::load(&ca.credentials(), &[&TLS13]));
    let (connector, listener) = connect_ends(&old, &new).await;
    assert_eq!(short(&connector), "refused: ProtocolVersion");
    assert_eq!(short(&listener), "NoCommonVersion");
    let (connector, listener) = connect_ends(&new, &old).await;
    assert_eq!(short(&connector), "refused: ProtocolVersion");
    assert_eq!(short(&listener), "NoCommonVersion");
}

#[cfg(feature = "cli")]
#[tokio::test]
async fn identities_of_one_ephemeral_authority_connect() {
    let authority = crate::net::tls::ephemeral_authority().unwrap();
    let [node, agent] = ["node", "agent"].map(|name| authority.issue(name).unwrap());
    assert!(node.warnings().is_empty());
    let (node, agent) = (End::Ours(Tls::Mutual(node)), End::Ours(Tls::Mutual(agent)));
    let (connector, listener) = connect_ends(&node, &agent).await;
    assert_eq!((short(&connector), short(&listener)), ("ok".into(), "ok".into()));

    let foreign = crate::net::tls::ephemeral_authority().unwrap().issue("node").unwrap();
    let (connector, listener) = connect_ends(&End::Ours(Tls::Mutual(foreign)), &agent).await;
    assert_eq!(short(&connector), "PeerForeign");
    assert_eq!(short(&listener), "refused: UnknownCa");
}
