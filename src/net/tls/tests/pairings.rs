//! Two TLS ends meet: the right ones understand each other, of the wrong ones each side knows why not.

use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};

use super::pki::{Ca, certified_key};
use super::*;
use crate::net::tls::Refusal;

/// An ending in short, to compare.
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

/// Has the two meet in each version, in both directions and with each library on the good side, `culprit` being
/// given for each version and library. `hears` is what the culprit hears from rustls and from OpenSSL.
async fn all_ways(
    what: &str,
    good: &Credentials,
    culprit: impl Fn(&[Version], Backend) -> End,
    finds: &str,
    hears: [Refusal; 2],
) {
    all_ways_of(BACKENDS, what, good, culprit, finds, hears).await;
}

/// As [`all_ways`], with these libraries on the good side.
async fn all_ways_of(
    backends: &[Backend],
    what: &str,
    good: &Credentials,
    culprit: impl Fn(&[Version], Backend) -> End,
    finds: &str,
    hears: [Refusal; 2],
) {
    for backend in backends {
        let hears = match backend {
            Backend::OpenSsl => hears[1],
            _ => hears[0],
        };
        let hears = format!("refused: {hears:?}");
        let good = End::load(&good.clone().backend(*backend), &[&TLS12, &TLS13]);
        for (version, culprit_backend) in
            VERSIONS.into_iter().flat_map(|v| BACKENDS.iter().map(move |b| (v, *b)))
        {
            let what = format!("{what}: {backend:?} meets {culprit_backend:?}, {version:?}");
            let culprit = culprit(&[version], culprit_backend);
            let (connector, listener) = meet(&good, &culprit).await;
            assert_eq!(short(&connector), finds, "the listener is the culprit: {what}");
            assert_eq!(short(&listener), hears, "the listener is the culprit: {what}");
            let (connector, listener) = meet(&culprit, &good).await;
            assert_eq!(short(&connector), hears, "the connector is the culprit: {what}");
            assert_eq!(short(&listener), finds, "the connector is the culprit: {what}");
        }
    }
}

async fn all_ways_ours(
    what: &str,
    good: &Credentials,
    culprit: &Credentials,
    finds: &str,
    hears: [Refusal; 2],
) {
    let culprit = |versions: &[Version], backend| End::load(&culprit.clone().backend(backend), versions);
    all_ways(what, good, culprit, finds, hears).await;
}

pub(super) async fn all_well(a: &Credentials, b: &Credentials, what: &str) {
    for (version, one, other) in VERSIONS
        .into_iter()
        .flat_map(|v| BACKENDS.iter().flat_map(move |a| BACKENDS.iter().map(move |b| (v, *a, *b))))
    {
        let a = End::load(&a.clone().backend(one), &[version]);
        let b = End::load(&b.clone().backend(other), &[&TLS12, &TLS13]);
        for (connector, listener) in [(&a, &b), (&b, &a)] {
            let (connector, listener) = meet(connector, listener).await;
            assert_eq!(
                (short(&connector), short(&listener)),
                ("ok".into(), "ok".into()),
                "{what}: {one:?} and {other:?}, {version:?}"
            );
        }
    }
}

#[tokio::test]
async fn two_leaves_of_one_ca_connect_with_identities() {
    let ca = Ca::new("ca");
    let (a, b) = (ca.leaf(|_| ()), ca.leaf(|_| ()));
    all_well(&a.trusting(&ca), &b.trusting(&ca), "plain leaves").await;

    let (at_a, at_b) =
        meet(&End::load(&a.trusting(&ca), &[&TLS13]), &End::load(&b.trusting(&ca), &[&TLS13])).await;
    let (at_a, at_b) = (at_a.unwrap(), at_b.unwrap());
    assert_eq!(at_a.peer_certificate(), Some(b.der.as_slice()));
    assert_eq!(at_b.peer_certificate(), Some(a.der.as_slice()));
    assert!(at_a.is_tls());
    assert_eq!(at_a.tcp().local_addr().unwrap(), at_b.tcp().peer_addr().unwrap());
}

#[tokio::test]
async fn intermediates_are_followed_when_they_are_sent() {
    let ca = Ca::new("ca");
    let below = ca.intermediate("first").intermediate("second");
    let leaf = below.leaf(|_| ());
    all_well(&leaf.trusting(&ca), &ca.credentials(), "two intermediates").await;
    assert!(leaf.trusting(&ca).load().unwrap().warnings().is_empty());

    let first = leaf.chain.split_inclusive("-----END CERTIFICATE-----").next().unwrap();
    let without = Credentials::from_pem(ca.pem(), first, leaf.key.as_str());
    all_ways_ours(
        "intermediates left out",
        &ca.credentials(),
        &without,
        "PeerForeign",
        [Refusal::UnknownCa; 2],
    )
    .await;
}

#[tokio::test]
async fn a_cafile_of_several_cas_trusts_each() {
    let (one, other) = (Ca::new("one"), Ca::new("other"));
    let both = format!("some words before\n{}\r\n{}", one.pem(), other.pem());
    let trusting_both = |ca: &Ca| {
        let leaf = ca.leaf(|_| ());
        Credentials::from_pem(both.as_str(), leaf.chain, leaf.key)
    };
    all_well(&trusting_both(&one), &trusting_both(&other), "two CAs").await;
}

#[tokio::test]
async fn rsa_and_ec_keys_in_every_form() {
    let rsa =
        |key| Credentials::from_files(fixture_path("ca.pem"), fixture_path("rsa.pem"), private_copy(key));
    let ec = |certificate, ca| {
        Credentials::from_files(fixture_path(ca), fixture_path(certificate), private_copy("ec.sec1.key"))
    };
    all_well(&rsa("rsa.pkcs8.key"), &ec("ec.pem", "ca.pem"), "RSA in PKCS#8, EC in SEC1").await;
    all_well(&rsa("rsa.pkcs1.key"), &rsa("rsa.pkcs8.key"), "RSA in PKCS#1").await;
    let v1_ca = ec("ec-by-v1-ca.pem", "v1-ca.pem");
    all_well(&v1_ca, &v1_ca, "an X.509 version 1 CA").await;
    assert!(v1_ca.load().unwrap().warnings().is_empty());
}

#[tokio::test]
async fn certificates_out_of_their_time() {
    let ca = Ca::new("ca");
    let expired = ca.leaf(|params| params.not_after = date_time_ymd(2020, 1, 1)).trusting(&ca);
    let good = ca.credentials();
    all_ways_ours("expired", &good, &expired, "PeerExpired", [Refusal::CertificateExpired; 2]).await;
    let early = ca.leaf(|params| params.not_before = date_time_ymd(2999, 1, 1)).trusting(&ca);
    all_ways_ours(
        "not yet valid",
        &good,
        &early,
        "PeerNotYetValid",
        [Refusal::CertificateExpired, Refusal::BadCertificate],
    )
    .await;
}

#[tokio::test]
async fn certificates_of_a_ca_outside_of_its_validity_are_refused() {
    let ca = Ca::new("ca");
    let past = Ca::self_signed("past", |params| params.not_after = date_time_ymd(2020, 1, 1));
    let future = Ca::self_signed("future", |params| params.not_before = date_time_ymd(2999, 1, 1));
    let own = ca.leaf(|_| ());
    let trusting = |cas: &[&Ca]| {
        let cas: String = cas.iter().map(|ca| ca.pem()).collect();
        Credentials::from_pem(cas, own.chain.as_str(), own.key.as_str())
    };
    let good = trusting(&[&past, &ca, &future]);
    all_well(&good, &ca.credentials(), "beside others").await;
    let of = |stale: &Ca| stale.leaf(|_| ()).trusting(&ca);
    all_ways_ours("past", &good, &of(&past), "PeerExpired", [Refusal::CertificateExpired; 2]).await;
    let early = [Refusal::CertificateExpired, Refusal::BadCertificate];
    all_ways_ours("future", &good, &of(&future), "PeerNotYetValid", early).await;
    all_ways_ours("alone", &trusting(&[&past]), &of(&past), "PeerExpired", [Refusal::CertificateExpired; 2])
        .await;
}

#[tokio::test]
async fn certificates_of_another_ca() {
    let ca = Ca::new("ca");
    let good = ca.credentials();
    let foreign = Ca::new("another").leaf(|_| ()).trusting(&ca);
    all_ways_ours("another CA", &good, &foreign, "PeerForeign", [Refusal::UnknownCa; 2]).await;
    let renewed = Ca::new("ca").leaf(|_| ()).trusting(&ca);
    all_ways_ours(
        "another CA of the same name",
        &good,
        &renewed,
        "PeerForeign",
        [Refusal::UnknownCa, Refusal::DecryptError],
    )
    .await;

    // As OpenSSL sends it: with the CA behind it. That this one is of version 1 is not the point.
    let chain = [fixture("ec-by-v1-ca.pem"), fixture("v1-ca.pem")].concat();
    let with_ca = Credentials::from_pem(ca.pem(), chain, fixture("ec.sec1.key"));
    all_ways_ours("another CA, sent along", &good, &with_ca, "PeerForeign", [Refusal::UnknownCa; 2]).await;
    let another = Ca::new("another");
    let leaf = another.leaf(|_| ());
    let with_ca = Credentials::from_pem(ca.pem(), format!("{}{}", leaf.chain, another.pem()), leaf.key);
    all_ways_ours("another CA, sent along", &good, &with_ca, "PeerForeign", [Refusal::UnknownCa; 2]).await;
}

#[tokio::test]
async fn a_peer_without_a_certificate() {
    let ca = Ca::new("ca");
    let good = End::load(&ca.credentials(), &[&TLS12, &TLS13]);
    for version in VERSIONS {
        let (connector, listener) = meet(&End::bare(None, &[version]), &good).await;
        assert_eq!(short(&connector), "refused: CertificateRequired", "{version:?}");
        assert_eq!(short(&listener), "NoPeerCertificate", "{version:?}");
    }
}

#[tokio::test]
async fn certificates_that_cannot_be_used() {
    let trusting = |ca: &[u8]| Credentials::from_pem(ca, fixture("rsa.pem"), fixture("rsa.pkcs8.key"));
    let good = trusting(&fixture("ca.pem"));
    let version1 = |versions: &[Version], _| {
        End::bare(Some(certified_key(&fixture("v1.pem"), &fixture("v1.key"))), versions)
    };
    let strict = [Backend::Rustls];
    let unknown = [Refusal::CertificateUnknown; 2];
    all_ways_of(&strict, "version 1", &good, version1, "PeerVersion1", unknown).await;

    let ca = Ca::new("ca");
    let good = ca.credentials();
    let as_leaf = ca.as_leaf().trusting(&ca);
    // Its keyUsage is that of a CA alone, with which OpenSSL has nothing to offer in TLS 1.2.
    let as_leaf = |versions: &[Version], _| End::load(&as_leaf.clone().backend(Backend::Rustls), versions);
    let unsupported = [Refusal::UnsupportedCertificate; 2];
    all_ways_of(&strict, "the CA's own", &good, as_leaf, "PeerWrongPurpose", unsupported).await;

    let stolen = |versions: &[Version], _| {
        let (theirs, ours) = (ca.leaf(|_| ()), ca.leaf(|_| ()));
        End::bare(Some(certified_key(theirs.chain.as_bytes(), ours.key.as_bytes())), versions)
    };
    all_ways("without its key", &good, stolen, "PeerUnusable", [Refusal::DecryptError; 2]).await;

    let garbage = |versions: &[Version], _| {
        let mut key = ca.leaf(|_| ()).certified_key();
        key.cert[0] = vec![0x30, 0x03, 0x02, 0x01, 0x00].into();
        End::bare(Some(key), versions)
    };
    // With OpenSSL, the alert depends on the side.
    all_ways_of(
        &strict,
        "no certificate at all",
        &good,
        garbage,
        "PeerUnusable",
        [Refusal::BadCertificate; 2],
    )
    .await;
}

#[tokio::test]
async fn certificates_for_the_other_side_only() {
    let ca = Ca::new("ca");
    let good = End::load(&ca.credentials(), &[&TLS12, &TLS13]);
    let only = |purpose, version| {
        End::load(&ca.leaf(|params| params.extended_key_usages = vec![purpose]).trusting(&ca), &[version])
    };
    for version in VERSIONS {
        let server = only(ExtendedKeyUsagePurpose::ServerAuth, version);
        let client = only(ExtendedKeyUsagePurpose::ClientAuth, version);
        let (connector, listener) = meet(&client, &server).await;
        assert_eq!((short(&connector), short(&listener)), ("ok".into(), "ok".into()));
        let (connector, listener) = meet(&server, &good).await;
        assert_eq!(short(&connector), "refused: UnsupportedCertificate", "{version:?}");
        assert_eq!(short(&listener), "PeerWrongPurpose", "{version:?}");
        let (connector, listener) = meet(&good, &client).await;
        assert_eq!(short(&connector), "PeerWrongPurpose", "{version:?}");
        assert_eq!(short(&listener), "refused: UnsupportedCertificate", "{version:?}");
    }
}

#[tokio::test]
async fn a_name_is_verified_on_both_sides_if_it_is_set() {
    let ca = Ca::new("ca");
    let named = ca.credentials();
    for name in ["node.example", "Node.Example.", "127.0.0.1"] {
        all_well(&ca.credentials().verify_name(name), &named, name).await;
    }
    for name in ["other.example", "127.0.0.2"] {
        let asking = ca.credentials().verify_name(name);
        all_ways_ours(name, &asking, &named, "PeerWrongName", [Refusal::BadCertificate; 2]).await;
    }
    let nameless = ca.leaf(|params| params.subject_alt_names.clear()).trusting(&ca);
    all_well(&nameless, &named, "no names at all").await;
}

#[tokio::test]
async fn no_version_in_common() {
    let ca = Ca::new("ca");
    let (old, new) = (End::load(&ca.credentials(), &[&TLS12]), End::load(&ca.credentials(), &[&TLS13]));
    let (connector, listener) = meet(&old, &new).await;
    assert_eq!(short(&connector), "refused: ProtocolVersion");
    assert_eq!(short(&listener), "NoCommonVersion");
    let (connector, listener) = meet(&new, &old).await;
    assert_eq!(short(&connector), "refused: ProtocolVersion");
    assert_eq!(short(&listener), "NoCommonVersion");
}

#[cfg(feature = "cli")]
#[tokio::test]
async fn an_ephemeral_authority_issues_identities_that_meet() {
    let authority = crate::net::tls::ephemeral_authority().unwrap();
    let [node, agent] = ["node", "agent"].map(|name| authority.issue(name).unwrap());
    assert!(node.warnings().is_empty());
    let (node, agent) = (End::Ours(Tls::Mutual(node)), End::Ours(Tls::Mutual(agent)));
    let (connector, listener) = meet(&node, &agent).await;
    assert_eq!((short(&connector), short(&listener)), ("ok".into(), "ok".into()));

    let foreign = crate::net::tls::ephemeral_authority().unwrap().issue("node").unwrap();
    let (connector, listener) = meet(&End::Ours(Tls::Mutual(foreign)), &agent).await;
    assert_eq!(short(&connector), "PeerForeign");
    assert_eq!(short(&listener), "refused: UnknownCa");
}
