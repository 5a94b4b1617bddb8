//! Helpers for tests with endpoints.

#![allow(dead_code, reason = "each test binary uses a part of this module")]

use std::future::Future;
use std::time::Duration;

use zeek_bridge::data::{EndpointId, Topic, Value};
use zeek_bridge::endpoint::{
    ConnectError, Endpoint, EndpointConfig, Listener, Retry, Status, StatusReceiver, Subscriber,
};
use zeek_bridge::net::tls::{Tls, ephemeral_authority};

/// The time limit for each wait.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, wait).await.unwrap_or_else(|_| panic!("timed out while waiting for {what}"))
}

pub(crate) fn topic(text: &str) -> Topic {
    Topic::new(text.to_owned()).unwrap()
}

pub(crate) fn text(text: impl Into<String>) -> Value {
    Value::String(text.into().into())
}

pub(crate) fn id(n: u8) -> EndpointId {
    EndpointId::from_bytes([n; 16])
}

/// A reconnect policy with short delays.
pub(crate) const SOON: Retry = Retry { first: Duration::from_millis(20), cap: Duration::from_millis(100) };

pub(crate) fn endpoint() -> Endpoint {
    endpoint_with(|_| {})
}

pub(crate) fn endpoint_with(change: impl FnOnce(&mut EndpointConfig)) -> Endpoint {
    let mut config = EndpointConfig::default();
    change(&mut config);
    Endpoint::with_config(config).unwrap()
}

pub(crate) fn endpoint_of(id: EndpointId) -> Endpoint {
    endpoint_with(|config| config.id = Some(id))
}

/// Returns pairs of TLS settings for a listener and a connector: first without TLS, then with mutual TLS.
pub(crate) fn kinds_of_tls() -> [(Tls, Tls); 2] {
    let authority = ephemeral_authority().unwrap();
    let mutual = |name| Tls::Mutual(authority.issue(name).unwrap());
    [(Tls::Off, Tls::Off), (mutual("listener"), mutual("connector"))]
}

pub(crate) async fn listen(endpoint: &Endpoint) -> Listener {
    listen_with(endpoint, Tls::Off).await
}

pub(crate) async fn listen_with(endpoint: &Endpoint, tls: Tls) -> Listener {
    endpoint.listen("127.0.0.1:0", tls).await.unwrap()
}

/// Makes one attempt to connect over plain TCP.
pub(crate) async fn connect(endpoint: &Endpoint, listener: &Listener) -> Result<EndpointId, ConnectError> {
    connect_with(endpoint, listener, Tls::Off).await
}

pub(crate) async fn connect_with(
    endpoint: &Endpoint,
    listener: &Listener,
    tls: Tls,
) -> Result<EndpointId, ConnectError> {
    let mut connector = endpoint.connect(listener.local_addr(), tls);
    within("the first attempt", connector.first_attempt()).await
}

/// Returns a listening endpoint, and one that is connected to it.
pub(crate) async fn pair() -> (Endpoint, Endpoint) {
    let (a, b) = (endpoint(), endpoint());
    let listener = listen(&a).await;
    connect(&b, &listener).await.unwrap();
    (a, b)
}

/// Returns an address without a listener.
pub(crate) fn dead_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

pub(crate) async fn subscribe(endpoint: &Endpoint, topic: &'static str) -> Subscriber {
    endpoint.subscribe([Topic::from_static(topic)]).await
}

/// Waits until `count` peers of `endpoint` subscribe to a topic, and returns them.
pub(crate) async fn subscribers(endpoint: &Endpoint, prefix: &str, count: usize) -> Vec<EndpointId> {
    within(prefix, endpoint.wait_for_subscribers(&topic(prefix), count)).await
}

/// Returns the topic and the text of the next message.
pub(crate) async fn next(subscriber: &mut Subscriber) -> (String, String) {
    let message = within("a message", subscriber.recv()).await.expect("a message");
    let Value::String(text) = message.value() else { panic!("{message:?}") };
    (message.topic().to_string(), text.to_string())
}

pub(crate) async fn next_text(subscriber: &mut Subscriber) -> String {
    next(subscriber).await.1
}

/// Waits for the first status for which `pick` returns a value. Discards the statuses before it.
pub(crate) async fn status<T>(
    statuses: &mut StatusReceiver,
    mut pick: impl FnMut(&Status) -> Option<T>,
) -> T {
    let mut others = Vec::new();
    let wait = async {
        loop {
            let status = statuses.recv().await.unwrap_or_else(|| panic!("no more statuses after {others:?}"));
            if let Some(picked) = pick(&status) {
                return picked;
            }
            others.push(status);
        }
    };
    within("a status", wait).await
}

/// Waits for the next new peer.
pub(crate) async fn added(statuses: &mut StatusReceiver) -> EndpointId {
    status(statuses, |status| match status {
        Status::PeerAdded { peer, .. } => Some(*peer),
        _ => None,
    })
    .await
}

/// Waits until a peer is lost, and returns the error.
pub(crate) async fn lost(statuses: &mut StatusReceiver) -> ConnectError {
    status(statuses, |status| match status {
        Status::PeerLost { error, .. } => Some(error.clone()),
        _ => None,
    })
    .await
}

/// Waits until this side has ended a peering. Returns the reason, or `None` if the peer has confirmed the BYE.
pub(crate) async fn removed(statuses: &mut StatusReceiver) -> Option<ConnectError> {
    status(statuses, |status| match status {
        Status::PeerRemoved { error, .. } => Some(error.clone()),
        _ => None,
    })
    .await
}

/// Waits for the next failed handshake of a connection to a listener, and returns its error.
pub(crate) async fn failed(statuses: &mut StatusReceiver) -> ConnectError {
    status(statuses, |status| match status {
        Status::HandshakeFailed { error, .. } => Some(error.clone()),
        _ => None,
    })
    .await
}
