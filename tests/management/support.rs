//! Set-up shared by the tests.

use std::collections::BTreeSet;
use std::time::Duration;

use zeek_bridge::endpoint::{Endpoint, Retry, Subscriber};
use zeek_bridge::management::{
    Agent, DispatchRequest, DispatchResponse, JsonText, ManagementResult, NODE_TOPIC, Node, NodeMessage,
    NotifyNodeHello, Values,
};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::zeek::Event;

/// A time limit that only a failing test reaches.
pub(crate) const LONG: Duration = Duration::from_secs(60);
pub(crate) const SOON: Retry = Retry { first: Duration::from_millis(20), cap: Duration::from_millis(20) };

pub(crate) async fn listening() -> (Endpoint, String) {
    let endpoint = Endpoint::new().unwrap();
    let listener = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap();
    (endpoint, listener.local_addr().to_string())
}

pub(crate) async fn connected(address: &str) -> Endpoint {
    let endpoint = Endpoint::new().unwrap();
    endpoint.connect_with_retry(address, Tls::Off, SOON).await.unwrap();
    endpoint
}

pub(crate) fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| name.to_string()).collect()
}

pub(crate) fn action(parts: &[&str]) -> Vec<String> {
    parts.iter().map(|part| part.to_string()).collect()
}

pub(crate) fn values(name: &str) -> Values {
    Values::from_json_text(&format!("{{\"Cluster::node\": \"{name}\"}}")).unwrap()
}

pub(crate) async fn cluster(nodes: &[&str]) -> (Agent, Vec<Node>) {
    let (endpoint, address) = listening().await;
    let agent = Agent::start(endpoint).await;
    let mut running = Vec::new();
    for name in nodes {
        running.push(Node::start(connected(&address).await, *name, values(name)).await);
    }
    let expected = names(nodes);
    agent.wait_for_nodes(|there| *there == expected).await;
    (agent, running)
}

pub(crate) async fn publish(endpoint: &Endpoint, event: impl Into<Event>) {
    endpoint.publish(&NODE_TOPIC, event.into()).await.unwrap();
}

pub(crate) fn hello(node: &str) -> NotifyNodeHello {
    NotifyNodeHello { node: node.to_owned() }
}

pub(crate) fn answer(reqid: &str, node: &str, data: &str) -> DispatchResponse {
    ManagementResult::success(reqid, node, Some(JsonText::from(serde_json::json!(data)))).into()
}

/// Receives the next event of the node API.
pub(crate) async fn next_event(subscriber: &mut Subscriber) -> NodeMessage {
    let message = tokio::time::timeout(LONG, subscriber.recv()).await.unwrap().unwrap();
    NodeMessage::parse(&message.event().unwrap()).unwrap().unwrap()
}

/// Receives the next request.
pub(crate) async fn next_request(subscriber: &mut Subscriber) -> DispatchRequest {
    loop {
        if let NodeMessage::Request(request) = next_event(subscriber).await {
            return request;
        }
    }
}
