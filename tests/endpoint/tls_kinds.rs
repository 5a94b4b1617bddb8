//! Connections between endpoints with every pair of TLS settings, and the errors of both sides. No test waits for a timeout.

use std::time::Duration;

use zeek_bridge::endpoint::{ConnectError, Endpoint};
use zeek_bridge::net::tls::{Backend, Tls, TlsError};
use zeek_bridge::peering::PeeringError;
use zeek_bridge::wire::FrameError;

use crate::certificates::*;
use crate::support::*;

/// Returns an endpoint whose handshake timeout is never reached.
fn endpoint_without_timeout() -> Endpoint {
    endpoint_with(|config| config.handshake_timeout = Duration::from_secs(3600))
}

/// Returns a short name of an outcome.
fn short(result: &Result<(), ConnectError>) -> String {
    match result {
        Ok(()) => "ok".into(),
        Err(ConnectError::Tls(TlsError::Refused(refusal))) => format!("refused: {refusal:?}"),
        Err(ConnectError::Tls(TlsError::Certificate(refused))) => {
            let fault = format!("{:?}", refused.fault);
            format!("Peer{}", fault.split([' ', '(']).next().unwrap())
        }
        Err(ConnectError::Tls(error)) => format!("{error:?}").split([' ', '(']).next().unwrap().to_owned(),
        Err(ConnectError::Peering(PeeringError::Framing(FrameError::TooLarge { .. }))) => {
            "TLS, not frames".into()
        }
        Err(ConnectError::Peering(PeeringError::ClosedInHandshake { .. })) => "closed".into(),
        Err(other) => format!("{other:?}"),
    }
}

/// Returns the outcome of the first attempt on each side.
async fn connect_pair(
    connector: &Tls,
    listener: &Tls,
) -> (Result<(), ConnectError>, Result<(), ConnectError>) {
    let (a, b) = (endpoint_without_timeout(), endpoint_without_timeout());
    let mut statuses = a.status();
    let listening = listen_with(&a, listener.clone()).await;
    let connected = connect_with(&b, &listening, connector.clone()).await.map(|_| ());
    let accepted = status(&mut statuses, |status| match status {
        zeek_bridge::endpoint::Status::PeerAdded { .. } => Some(Ok(())),
        zeek_bridge::endpoint::Status::HandshakeFailed { error, .. } => Some(Err(error.clone())),
        _ => None,
    })
    .await;
    (connected, accepted)
}

/// Returns the outcome on our side as the connector and as the listener.
async fn both_directions(ours: &Tls, other: &Tls) -> [Result<(), ConnectError>; 2] {
    [connect_pair(ours, other).await.0, connect_pair(other, ours).await.1]
}

/// Returns the TLS settings of the other side, each with the outcomes on our side if our own mode is `off`, `anonymous` or
/// `mutual`. Each pair of outcomes is for our side as the connector and as the listener.
fn table() -> Vec<(&'static str, Tls, [[&'static str; 2]; 3])> {
    let no_tls = ["TLS, not frames"; 2];
    let mutual_tls = ["NotAnonymous"; 2];
    let with = |credentials| mutual(&credentials, Backend::Auto);
    let table = vec![
        ("plain", Tls::Off, [["ok"; 2], ["NotTls"; 2], ["NotTls"; 2]]),
        ("mutual v3", with(version3()), [no_tls, mutual_tls, ["ok"; 2]]),
        ("wrong CA", with(foreign()), [no_tls, mutual_tls, ["PeerForeign"; 2]]),
        ("expired", with(expired()), [no_tls, mutual_tls, ["PeerExpired"; 2]]),
        ("encrypted key", with(encrypted()), [no_tls, mutual_tls, ["ok"; 2]]),
    ];
    #[cfg(feature = "openssl")]
    let table = {
        // OpenSSL closes the connection without an alert if the peer does not use TLS.
        let closed = ["closed", "TLS, not frames"];
        let refused = ["refused: HandshakeFailure", "NoCommonCipher"];
        let others = [
            ("anonymous", Tls::anonymous().unwrap(), [closed, ["ok"; 2], refused]),
            ("encrypted key, legacy", with(legacy()), [closed, mutual_tls, ["ok"; 2]]),
        ];
        table.into_iter().chain(others).collect()
    };
    table
}

/// Returns a part of the error text for an outcome.
fn hint(outcome: &str) -> &'static str {
    match outcome {
        "TLS, not frames" | "closed" => "TLS",
        "NotTls" => "Broker::disable_ssl=T",
        "NotAnonymous" => "speak mutual TLS",
        "NoCommonCipher" | "refused: HandshakeFailure" => "anonymous TLS here",
        "PeerForeign" => "cafile",
        "PeerExpired" => "renew it",
        "PeerVersion1" => "use OpenSSL as the TLS back end",
        other => panic!("{other}"),
    }
}

fn check(what: &str, results: [Result<(), ConnectError>; 2], outcomes: [&str; 2]) {
    for ((result, outcome), side) in results.into_iter().zip(outcomes).zip(["connects", "listens"]) {
        assert_eq!(short(&result), outcome, "{what}; our side {side}: {result:?}");
        if let Err(error) = result {
            assert!(error.to_string().contains(hint(outcome)), "{what}; our side {side}: {error}");
        }
    }
}

#[tokio::test]
async fn each_pair_of_tls_settings_has_the_expected_outcome() {
    for (kind, other, [off, anonymous, mutually]) in table() {
        check(&format!("{kind} and plain"), both_directions(&Tls::Off, &other).await, off);
        if let Ok(ours) = Tls::anonymous() {
            check(&format!("{kind} and anonymous"), both_directions(&ours, &other).await, anonymous);
        }
        for backend in BACKENDS {
            let ours = mutual(&version3(), *backend);
            check(&format!("{kind} and {ours:?}"), both_directions(&ours, &other).await, mutually);
        }
    }
}

#[cfg(feature = "openssl")]
#[tokio::test]
async fn only_openssl_accepts_a_version_1_certificate() {
    for (backend, outcomes) in [
        (Backend::Rustls, ["PeerVersion1"; 2]),
        (Backend::OpenSsl, ["ok"; 2]),
        // Our own certificate chain selects the TLS library. The chain of the peer does not.
        (Backend::Auto, ["PeerVersion1"; 2]),
    ] {
        let other = mutual(&version1(), Backend::Auto);
        let connecting = connect_pair(&mutual(&version3(), backend), &other).await.0;
        let listening = connect_pair(&other, &mutual(&version3(), backend)).await.1;
        check(&format!("v1 and {backend:?}"), [connecting, listening], outcomes);
    }
}

#[cfg(feature = "openssl")]
#[tokio::test]
async fn a_peer_does_not_change_the_back_end() {
    let Tls::Mutual(tls) = mutual(&version3(), Backend::Auto) else { panic!() };
    let (a, b, c) = (endpoint_without_timeout(), endpoint_without_timeout(), endpoint_without_timeout());
    let mut statuses = a.status();
    let listening = listen_with(&a, Tls::Mutual(tls.clone())).await;
    connect_with(&b, &listening, mutual(&version1(), Backend::Auto)).await.unwrap_err();
    let error = failed(&mut statuses).await;
    let ConnectError::Tls(TlsError::Certificate(refused)) = &error else { panic!("{error}") };
    assert_eq!(refused.subject, "CN=v1-leaf");
    assert!(
        error.to_string().contains(&format!("(subject CN=v1-leaf, issuer {})", refused.issuer)),
        "{error}"
    );
    assert_eq!(tls.backend(), Backend::Rustls);
    connect_with(&c, &listening, mutual(&version3(), Backend::Rustls)).await.unwrap();
    assert_eq!(tls.backend(), Backend::Rustls);
}

#[tokio::test]
async fn peers_have_the_identities_in_their_certificates() {
    for backend in BACKENDS {
        let (a, b) = (endpoint_without_timeout(), endpoint_without_timeout());
        let mut statuses = a.status();
        let mut subscriber = subscribe(&a, "/t").await;
        let listening = listen_with(&a, mutual(&encrypted(), *backend)).await;
        connect_with(&b, &listening, mutual(&version3(), *backend)).await.unwrap();
        let (line, status_identity) = status(&mut statuses, |status| match status {
            zeek_bridge::endpoint::Status::PeerAdded { identity, .. } => {
                Some((status.to_string(), identity.clone()))
            }
            _ => None,
        })
        .await;
        let identity = status_identity.unwrap();
        assert_eq!(identity.subject, "CN=ec-leaf");
        assert!(line.contains(&format!("CN=ec-leaf sha256:{}", identity.sha256_hex())), "{line}");
        assert_eq!(b.identity(a.id()).unwrap().subject, "CN=rsa-leaf");

        subscribers(&b, "/t", 1).await;
        b.publish(topic("/t"), &text("who am I?")).await.unwrap();
        let message = within("a message", subscriber.recv()).await.unwrap();
        assert_eq!(message.identity(), Some(&*identity));
        assert_eq!(a.identity(message.peer()), Some(identity));
        assert_eq!(a.identity(id(9)), None);
        within("the shutdown", b.shutdown()).await;
        lost(&mut statuses).await;
        assert_eq!(a.identity(b.id()), None);
    }
}

#[tokio::test]
async fn peers_without_certificates_have_no_identity() {
    for tls in [Some(Tls::Off), Tls::anonymous().ok()].into_iter().flatten() {
        let (a, b) = (endpoint_without_timeout(), endpoint_without_timeout());
        let listening = listen_with(&a, tls.clone()).await;
        connect_with(&b, &listening, tls).await.unwrap();
        assert_eq!((a.identity(b.id()), b.identity(a.id())), (None, None));
    }
}

#[tokio::test]
async fn certificates_can_be_renewed_during_peerings() {
    for backend in BACKENDS {
        let dir = tempfile::tempdir().unwrap();
        let [certificate, key] = ["node.pem", "node.key"].map(|name| dir.path().join(name));
        let write_pair = |from: &str, and: &str| {
            std::fs::copy(fixture(from), &certificate).unwrap();
            std::fs::copy(fixture(and), &key).unwrap();
        };
        write_pair("rsa.pem", "rsa.pkcs8.key");
        let credentials =
            zeek_bridge::net::tls::Credentials::from_files(fixture("ca.pem"), &certificate, &key);
        let tls = credentials.backend(*backend).load().unwrap();

        let hub = endpoint_without_timeout();
        let mut statuses = hub.status();
        let listening = listen_with(&hub, Tls::Mutual(tls.clone())).await;
        let (old, new) = (endpoint_without_timeout(), endpoint_without_timeout());
        let mut subscriber = subscribe(&old, "/t").await;
        connect_with(&old, &listening, mutual(&version3(), *backend)).await.unwrap();
        assert_eq!(added(&mut statuses).await, old.id());
        assert_eq!(old.identity(hub.id()).unwrap().subject, "CN=rsa-leaf");

        write_pair("expired.pem", "rsa.pkcs8.key");
        let error = tls.reload().unwrap_err().to_string();
        assert!(error.contains(key.to_str().unwrap()) && error.contains("not the key"), "{error}");
        write_pair("ec.pem", "ec.sec1.key");
        assert!(tls.reload().unwrap());
        connect_with(&new, &listening, mutual(&version3(), *backend)).await.unwrap();
        assert_eq!(added(&mut statuses).await, new.id(), "no peer was lost before");
        assert_eq!(new.identity(hub.id()).unwrap().subject, "CN=ec-leaf");

        // The first peering continues, with the same identities.
        assert_eq!(old.identity(hub.id()).unwrap().subject, "CN=rsa-leaf");
        subscribers(&hub, "/t", 1).await;
        hub.publish(topic("/t"), &text("still here")).await.unwrap();
        assert_eq!(next_text(&mut subscriber).await, "still here");
    }
}
