//! Events of the node API for raw peers of a bridge in the test process.

use std::net::SocketAddr;

use zeek_bridge::bridge::Bridge;
use zeek_bridge::bridge::config::BridgeConfig;
use zeek_bridge::data::EndpointId;
use zeek_bridge::management::{
    DispatchRequest, DispatchResponse, ManagementResult, NODE_TOPIC, NodeMessage, NotifyNodeHello,
};
use zeek_bridge::wire::{Envelope, EnvelopeType, Limits};
use zeek_bridge::zeek::{Event, ZeekMessage};

use crate::peers::event;
use crate::raw::Raw;

pub(crate) const NODE: &str = "zeek/management/node";

fn envelope(message: impl Into<Event>) -> Envelope {
    Envelope::data(EndpointId::from_bytes([0x77; 16]), NODE_TOPIC.clone(), &event(message)).unwrap()
}

pub(crate) fn hello(node: &str) -> Envelope {
    envelope(NotifyNodeHello { node: node.into() })
}

/// Returns a request to these nodes, or to all nodes if there are none.
pub(crate) fn request(reqid: &str, nodes: &[&str]) -> Envelope {
    let action = vec!["get_id_value".to_owned(), "Cluster::node".to_owned()];
    let nodes = nodes.iter().map(ToString::to_string).collect();
    envelope(DispatchRequest { reqid: reqid.into(), action, nodes })
}

pub(crate) fn response(reqid: &str, node: &str) -> Envelope {
    envelope(DispatchResponse::from(ManagementResult::success(reqid, node, None)))
}

/// Receives the next event of the node API.
pub(crate) async fn next(raw: &mut Raw) -> NodeMessage {
    let envelope = raw.envelope_of(EnvelopeType::Data).await;
    let value = envelope.value(&Limits::DEFAULT).unwrap();
    let Ok(ZeekMessage::Event(event)) = ZeekMessage::from_value(value) else { panic!("{envelope:?}") };
    NodeMessage::parse(&event).unwrap().unwrap()
}

/// Receives the next response. Skips hellos, because the bridge repeats them.
pub(crate) async fn next_response(raw: &mut Raw) -> DispatchResponse {
    loop {
        match next(raw).await {
            NodeMessage::Response(response) => return response,
            NodeMessage::Hello(_) => {}
            other @ NodeMessage::Request(_) => panic!("{other:?}"),
        }
    }
}

/// Starts a bridge in this process.
pub(crate) async fn start(config: &str) -> Bridge {
    Bridge::start(BridgeConfig::parse(config, "bridge.toml").unwrap()).await.unwrap()
}

/// Returns the address that a link listens on.
pub(crate) fn address(bridge: &Bridge, link: &str) -> SocketAddr {
    let links = bridge.snapshot().links;
    links.iter().find(|candidate| candidate.name == link).unwrap().listening[0].parse().unwrap()
}

/// Connects a peer that subscribes to the node API.
pub(crate) async fn connect(bridge: &Bridge, link: &str, id: EndpointId) -> Raw {
    Raw::connect(id, address(bridge, link), &[NODE]).await
}

/// Sends messages, and waits until the bridge has handled them.
pub(crate) async fn send(raw: &mut Raw, messages: impl IntoIterator<Item = Envelope>) {
    for message in messages {
        raw.send(&message).await;
    }
    raw.settle().await;
}
