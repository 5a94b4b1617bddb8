//! Admission of peers, and the rate of connections.

use super::*;
use crate::net::tls::{SubjectAltName, ephemeral_authority};

/// Returns a configuration that admits only peers whose certificate has this DNS name.
fn config_that_admits(name: &'static str) -> EndpointConfig {
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
async fn a_peer_whose_certificate_is_not_allowed_is_rejected_on_either_side() {
    let authority = ephemeral_authority().unwrap();
    let tls = |name| Tls::Mutual(authority.issue(name).unwrap());
    let listening = Endpoint::with_config(config_that_admits("good")).unwrap();
    let mut statuses = listening.status();
    let address = listening.listen("127.0.0.1:0", tls("listener")).await.unwrap().local_addr();

    let bad = Endpoint::new().unwrap();
    let error = connect(&bad, address, tls("bad")).await.unwrap_err();
    assert_eq!(error.cause(), "refused", "{error}");
    assert!(error.to_string().contains("not allowed to peer here"), "{error}");
    let error = failed(&mut statuses).await;
    assert_eq!(error.cause(), "not_allowed", "{error}");
    let text = error.to_string();
    assert!(text.starts_with("CN=bad (DNS:bad)") && text.contains("is not allowed to peer here"), "{text}");
    assert_eq!(listening.failures(), [("not_allowed", 1)].into());
    assert_eq!(bad.failures(), [("refused", 1)].into());
    assert!(listening.peers().is_empty());

    let good = Endpoint::new().unwrap();
    assert_eq!(connect(&good, address, tls("good")).await.unwrap(), listening.id());

    // The connector only admits "another", and the certificate of the listener has the name "listener".
    let connecting = Endpoint::with_config(config_that_admits("another")).unwrap();
    let error = connect(&connecting, address, tls("good")).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotAllowed(Some(_))), "{error}");
    assert_eq!(connecting.failures(), [("not_allowed", 1)].into());
    assert_eq!(failed(&mut statuses).await.cause(), "refused");
}

#[tokio::test]
async fn a_peer_without_a_certificate_is_not_admitted() {
    let listening = Endpoint::with_config(config_that_admits("good")).unwrap();
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
    // While the clock is paused, tokio advances it to the next timer when all tasks are idle.
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    let mut peers = Vec::new();
    for n in 1..=6 {
        peers.push(relayed.connect_peer(id(n), &[]).await);
    }
    // Two connections are accepted at once, and the remaining ones at intervals of half a second.
    assert!(start.elapsed() >= Duration::from_millis(1990), "{:?}", start.elapsed());
}
