//! Endpoints that are connected to the proxy of a ZeroMQ cluster with CURVE.

use std::future::IntoFuture as _;

use zeek_bridge::endpoint::{ConnectError, CurveClient, Endpoint, ZeroMqConfig};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::peering::{ErrorKind, PeeringError};
use zeek_bridge::zeek::Event;
use zeek_bridge::zeromq::EventFormat;
use zeek_bridge::zeromq::curve::KeyPair;

use crate::support::*;
use crate::zeromq_proxy::{Proxy, payload};

fn keys() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn config(server: &KeyPair, keys: &KeyPair) -> ZeroMqConfig {
    let client = Some(CurveClient { server: *server.public(), keys: keys.clone() });
    ZeroMqConfig { client, ..ZeroMqConfig::default() }
}

fn proxy(server: &KeyPair, client: &KeyPair) -> Proxy {
    Proxy::with_curve(server.clone(), (*client.public(), "cluster").into())
}

/// Returns the text, the kind and the cause of the error of a connection.
async fn failure(endpoint: &Endpoint, url: &str) -> (String, ErrorKind, &'static str) {
    let error = within("an error", endpoint.connect(url, Tls::Off).into_future()).await.unwrap_err();
    match &error {
        ConnectError::Peering(PeeringError::Session(session)) => {
            (error.to_string(), session.kind, session.cause)
        }
        error => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_exchanged_with_curve() {
    let (server, client) = (keys(), keys());
    let proxy = proxy(&server, &client);
    let endpoint = endpoint_with(|endpoint| endpoint.zeromq = config(&server, &client));
    let mut subscriber = endpoint.subscribe("/t").await;
    let connector = endpoint.connect(&*proxy.url, Tls::Off);
    let publisher = within("both connections", connector.into_future()).await.unwrap();
    assert_eq!(proxy.next_change(), b"\x01/t");
    let ping = Event::new("Demo::ping", ("x".repeat(10_000),));
    proxy.publish(&[b"/t/x", b"worker-1", b"broker-bin-v1", &payload(ping.clone())]);
    let message = within("a message", subscriber.recv()).await.unwrap();
    assert_eq!((message.sender_name(), message.event::<Event>().unwrap()), (Some("worker-1"), ping.clone()));
    assert!(within("the subscriptions", endpoint.until_subscriptions_known(publisher)).await);
    assert_eq!(endpoint.publish("/u", ping.clone()).await.unwrap(), 1);
    assert_eq!(proxy.next_published()[3], payload(ping));
    endpoint.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_settings_apply_to_the_next_connection() {
    let (server, client, other) = (keys(), keys(), keys());
    let proxy = proxy(&server, &client);
    let endpoint = endpoint();
    let (text, kind, cause) = failure(&endpoint, &proxy.url).await;
    assert_eq!((kind, cause), (ErrorKind::Incompatible, "mechanism"), "{text}");
    for (settings, cause) in [(config(&other, &client), "curve"), (config(&server, &other), "refused")] {
        endpoint.set_zeromq(settings);
        let (text, _, found) = failure(&endpoint, &proxy.url).await;
        assert_eq!(found, cause, "{text}");
        assert!(
            text.contains(&format!("CURVE key {}", other.public()))
                || text.contains(&format!("CURVE key other than {}", other.public())),
            "{text}"
        );
        let secrets = [&client, &other].map(|keys| keys.secret().expose_z85());
        assert!(!secrets.iter().any(|secret| text.contains(secret)), "{text}");
    }
    endpoint.set_zeromq(ZeroMqConfig { format: Some(EventFormat::Json), ..config(&server, &client) });
    let connector = endpoint.connect(&*proxy.url, Tls::Off);
    let publisher = within("both connections", connector.into_future()).await.unwrap();
    assert!(within("the subscriptions", endpoint.until_subscriptions_known(publisher)).await);
    assert_eq!(endpoint.publish("/u", Event::new("Demo::ping", (7_u64,))).await.unwrap(), 1);
    let parts = proxy.next_published();
    assert_eq!(parts[2], b"broker-json-v1");
    assert!(parts[3].starts_with(b"{\"@data-type\":\"vector\""), "{}", String::from_utf8_lossy(&parts[3]));
    endpoint.shutdown().await;
}
