//! Peers of a bridge that run in the test process.

use std::net::SocketAddr;
use std::time::Duration;

use zeek_bridge::data::{EndpointId, Topic, Value};
use zeek_bridge::endpoint::{Endpoint, EndpointConfig, Subscriber};
use zeek_bridge::management::{NODE_TOPIC, NodeMessage};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::zeek::{Event, ZeekMessage};

use crate::program::child::soon;
use crate::raw::Raw;

pub(crate) const PLAIN: Tls = Tls::Off;

/// Returns an endpoint whose `publish` waits for up to a minute if the queue of a peer is full.
pub(crate) fn peer() -> Endpoint {
    let config = EndpointConfig { patience: Duration::from_secs(60), ..EndpointConfig::default() };
    Endpoint::with_config(config).unwrap()
}

pub(crate) async fn subscribe(endpoint: &Endpoint, topic: &'static str) -> Subscriber {
    endpoint.subscribe([Topic::from_static(topic)]).await
}

/// Publishes the numbers from 0 up to, but not including, `numbers`.
pub(crate) async fn publish_numbers(endpoint: Endpoint, topic: &'static str, numbers: u64) {
    let topic = Topic::from_static(topic);
    soon("a subscription", endpoint.wait_for_subscribers(&topic, 1)).await;
    for n in 0..numbers {
        assert_eq!(endpoint.publish(topic.clone(), &Value::Count(n)).await.unwrap(), 1);
    }
}

/// Connects an endpoint to a bridge over plain TCP.
pub(crate) async fn connected(endpoint: Endpoint, address: &str) -> Endpoint {
    connected_with(endpoint, address, PLAIN).await
}

pub(crate) async fn connected_with(endpoint: Endpoint, address: &str, tls: Tls) -> Endpoint {
    endpoint.connect(address, tls).await.unwrap();
    endpoint
}

/// Connects a raw peer to a bridge. Each byte of its endpoint id is `id`.
pub(crate) async fn raw(id: u8, address: &str, topics: &[&'static str]) -> Raw {
    let address: SocketAddr = address.parse().unwrap();
    Raw::connect(EndpointId::from_bytes([id; 16]), address, topics).await
}

/// Returns an event as the value of a data payload.
pub(crate) fn event(event: impl Into<Event>) -> Value {
    ZeekMessage::Event(event.into()).into_value()
}

/// Publishes an event of the node API, once the bridge subscribes to it.
pub(crate) async fn publish(endpoint: &Endpoint, message: impl Into<Event>) {
    soon("a subscription", endpoint.wait_for_subscribers(&NODE_TOPIC, 1)).await;
    assert_eq!(endpoint.publish(NODE_TOPIC.clone(), &event(message)).await, Ok(1));
}

/// Receives the next event of the node API.
pub(crate) async fn next_of_node_api(received: &mut Subscriber) -> NodeMessage {
    let message = soon("a message", received.recv()).await.unwrap();
    let ZeekMessage::Event(event) = message.zeek_message().unwrap() else { panic!() };
    NodeMessage::parse(&event).unwrap().unwrap()
}
