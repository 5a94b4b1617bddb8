//! TLS in which only the server presents a certificate.

use super::pairings::short;
use super::pki::Ca;
use super::*;
use crate::net::tls::{Authentication, CredentialFault, CredentialKind, PemSource};

fn client(ca: &Ca) -> Credentials {
    let cafile = Some(PemSource::Memory(ca.pem().into()));
    Credentials { cafile, ..Credentials::for_client("unused") }
}

fn server(ca: &Ca) -> Credentials {
    let Credentials { certificate, keyfile, .. } = ca.credentials();
    Credentials { certificate, keyfile, ..Credentials::for_server("unused", "unused") }
}

fn load(credentials: Credentials, backend: Backend, version: Version) -> End {
    let tls = Tls::from(MutualTls::new(&credentials.backend(backend), &[version]).unwrap());
    assert!(matches!(tls, Tls::Server(_)));
    End::Ours(tls)
}

/// All combinations of the back ends and versions of both ends.
fn combinations() -> impl Iterator<Item = (Backend, Backend, Version)> {
    let pairs = BACKENDS.iter().flat_map(|one| BACKENDS.iter().map(move |other| (*one, *other)));
    pairs.flat_map(|(one, other)| VERSIONS.into_iter().map(move |version| (one, other, version)))
}

#[tokio::test]
async fn a_client_without_a_certificate_verifies_the_server() {
    let (ca, foreign) = (Ca::new("ca"), Ca::new("foreign"));
    for (ours, theirs, version) in combinations() {
        let case = format!("{ours:?} to {theirs:?}, {version:?}");
        let listener = load(server(&ca), theirs, version);
        let (connected, accepted) = connect_ends(&load(client(&ca), ours, version), &listener).await;
        assert_eq!((short(&connected), short(&accepted)), ("ok".into(), "ok".into()), "{case}");
        assert!(connected.unwrap().peer_identity().is_some() && accepted.unwrap().peer_identity().is_none());
        let (connected, _) = connect_ends(&load(client(&foreign), ours, version), &listener).await;
        assert!(short(&connected).starts_with("PeerForeign"), "{case}: {}", short(&connected));
        let named = client(&ca).verify_name("other.example");
        let (connected, _) = connect_ends(&load(named, ours, version), &listener).await;
        assert!(short(&connected).starts_with("PeerWrongName"), "{case}: {}", short(&connected));
        let named = client(&ca).verify_name("node.example");
        let (connected, _) = connect_ends(&load(named, ours, version), &listener).await;
        assert_eq!(short(&connected), "ok", "{case}");
    }
}

#[tokio::test]
async fn a_server_with_cas_refuses_a_client_without_a_certificate() {
    let ca = Ca::new("ca");
    for (ours, theirs, version) in combinations() {
        let mutual = End::load(&ca.credentials().backend(theirs), &[version]);
        let (_, accepted) = connect_ends(&load(client(&ca), ours, version), &mutual).await;
        assert_eq!(short(&accepted), "NoPeerCertificate", "{ours:?} to {theirs:?}, {version:?}");
        // A client may have a certificate that the server does not request.
        let listener = load(server(&ca), theirs, version);
        let (connected, _) =
            connect_ends(&End::load(&ca.credentials().backend(ours), &[version]), &listener).await;
        assert_eq!(short(&connected), "ok", "{ours:?} to {theirs:?}, {version:?}");
    }
}

#[test]
fn incomplete_credentials_are_errors() {
    let ca = Ca::new("ca");
    for backend in BACKENDS {
        let load = |credentials: Credentials| credentials.backend(*backend).load().map(drop).unwrap_err();
        let Credentials { certificate, .. } = ca.credentials();
        let no_key = load(Credentials { certificate, ..Credentials::for_server("c", "k") }.backend(*backend));
        assert_eq!(no_key.kind, CredentialKind::Keyfile, "{no_key}");
        let none = Credentials { authentication: Authentication::Server, cafile: None, ..client(&ca) };
        assert!(matches!(load(none).fault, CredentialFault::NoCa));
        let mutual = Credentials { authentication: Authentication::Mutual, ..client(&ca) };
        let errors = mutual.clone().backend(*backend).load_or_diagnose().unwrap_err();
        let kinds: Vec<_> = errors.iter().map(|error| error.kind).collect();
        assert_eq!(kinds, [CredentialKind::Certificate, CredentialKind::Keyfile], "{errors:?}");
        assert!(matches!(load(mutual).fault, CredentialFault::Missing));
    }
}
