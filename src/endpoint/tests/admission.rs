//! Admission of peers, and the rate of connections.

use super::*;
use crate::net::tls::{SubjectAltName, ephemeral_authority};

fn only(name: &'static str) -> EndpointConfig {
    let admits = Admits::new(move |identity| {
        identity.is_some_and(|identity| identity.sans.contains(&SubjectAltName::Dns(name.to_owned())))
    });
    EndpointConfig { admits: Some(admits), ..EndpointConfig::default() }
}

async fn failed(statuses: &mut StatusReceiver) -> ConnectError {
    let failed = async {
        loop {
            if let Status::HandshakeFailed { error, .. } = statuses.recv().await.unwrap() {
                return error;
            }
        }
    };
    within("a failure", failed).await
}

async fn connect(endpoint: &Endpoint, address: SocketAddr, tls: Tls) -> Result<EndpointId, ConnectError> {
    let mut connector = endpoint.connect(address.to_string(), tls);
    within("the first attempt", connector.first_attempt()).await
}

#[tokio::test]
async fn a_peer_that_is_not_admitted_is_refused_by_name_on_either_side() {
    let authority = ephemeral_authority().unwrap();
    let tls = |name| Tls::Mutual(authority.issue(name).unwrap());
    let listening = Endpoint::with_config(only("good")).unwrap();
    let mut statuses = listening.status();
    let address = listening.listen("127.0.0.1:0", tls("listener")).await.unwrap().local_addr();

    let bad = Endpoint::new().unwrap();
    let error = connect(&bad, address, tls("bad")).await.unwrap_err();
    assert_eq!(error.cause(), "refused", "{error}");
    assert!(error.to_string().contains("not allowed to peer here"), "{error}");
    let error = failed(&mut statuses).await;
    assert_eq!(error.cause(), "not_allowed", "{error}");
    let words = error.to_string();
    assert!(
        words.starts_with("CN=bad (DNS:bad)") && words.contains("is not allowed to peer here"),
        "{words}"
    );
    assert_eq!(listening.failures(), [("not_allowed", 1)].into());
    assert_eq!(bad.failures(), [("refused", 1)].into());
    assert!(listening.peers().is_empty());

    let good = Endpoint::new().unwrap();
    assert_eq!(connect(&good, address, tls("good")).await.unwrap(), listening.id());

    // The listener here is "listener", which the connector does not allow.
    let picky = Endpoint::with_config(only("another")).unwrap();
    let error = connect(&picky, address, tls("good")).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotAllowed(Some(_))), "{error}");
    assert_eq!(picky.failures(), [("not_allowed", 1)].into());
    assert_eq!(failed(&mut statuses).await.cause(), "refused");
}

#[tokio::test]
async fn a_peer_without_a_certificate_is_not_admitted() {
    let listening = Endpoint::with_config(only("good")).unwrap();
    let mut statuses = listening.status();
    let address = listening.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr();
    connect(&Endpoint::new().unwrap(), address, Tls::Off).await.unwrap_err();
    let error = failed(&mut statuses).await;
    assert!(error.to_string().starts_with("a peer without a certificate"), "{error}");
}

#[tokio::test]
async fn connections_are_accepted_at_the_configured_rate() {
    let config = EndpointConfig { connects_per_second: Some(2), ..EndpointConfig::default() };
    let relayed = Relayed::new(config, None).await;
    // The paused clock advances whenever all tasks wait.
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    let mut peers = Vec::new();
    for n in 1..=6 {
        peers.push(relayed.connect_peer(id(n), &[]).await);
    }
    // Two are accepted at once, and the others at intervals of half a second.
    assert!(start.elapsed() >= Duration::from_millis(1990), "{:?}", start.elapsed());
}
