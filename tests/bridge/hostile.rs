//! Malicious peers, which must not affect other peers.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use bytes::BytesMut;
use tokio::net::TcpStream;
use zeek_bridge::data::EndpointId;
use zeek_bridge::management::{DispatchRequest, NODE_TOPIC, NodeMessage, NotifyNodeHello};
use zeek_bridge::wire::{Envelope, EnvelopeType, INITIAL_TTL, Limits};
use zeek_bridge::zeek::{Event, ZeekMessage};

use crate::cluster::BridgeProcess;
use crate::raw::Raw;

const NODE: &str = "zeek/management/node";

/// The default ttl of a link.
const TTL: u16 = 4;

/// A number of messages that exceeds the size of a queue.
const MANY: usize = 1000;

/// Agents and nodes connect to the bridge; the queues of agents are short.
const CONFIG: &str = "
[link.agents]
faces = \"agents\"
tls = \"off\"
listen = \"127.0.0.1:0\"
limits = { queue = 64 }
[link.nodes]
faces = \"nodes\"
tls = \"off\"
listen = \"127.0.0.1:0\"
";

/// Rules that deny every request.
const DENYING: &str = "
[[rule]]
name = \"hellos\"
from = \"nodes\"
to = \"agents\"
topics = [\"zeek/management/node\"]
[[rule]]
name = \"requests\"
from = \"agents\"
to = \"nodes\"
topics = [\"zeek/management/node\"]
nodes = [\"nobody\"]
";

async fn connect(bridge: &BridgeProcess, link: &str, id: u8) -> Raw {
    let address: SocketAddr = bridge.link(link)["listening"][0].as_str().unwrap().parse().unwrap();
    Raw::connect(EndpointId::from_bytes([id; 16]), address, &[NODE]).await
}

fn envelope(event: impl Into<Event>) -> Envelope {
    let value = ZeekMessage::Event(event.into()).into_value();
    Envelope::data(EndpointId::from_bytes([0x77; 16]), NODE_TOPIC.clone(), &value).unwrap()
}

fn hello(node: &str) -> Envelope {
    envelope(NotifyNodeHello { node: node.into() })
}

fn request(reqid: &str, nodes: &[&str]) -> Envelope {
    envelope(DispatchRequest {
        reqid: reqid.into(),
        action: vec!["get_id_value".into(), "Cluster::node".into()],
        nodes: nodes.iter().map(ToString::to_string).collect(),
    })
}

/// Sends messages in one write.
async fn send(raw: &mut Raw, envelopes: impl IntoIterator<Item = Envelope>) {
    let mut bytes = BytesMut::new();
    for envelope in envelopes {
        envelope.encode(&mut bytes).unwrap();
    }
    raw.bytes(&bytes).await;
}

/// Receives the next event of the node API.
async fn node_message(raw: &mut Raw) -> NodeMessage {
    let envelope = raw.envelope_of(EnvelopeType::Data).await;
    let value = envelope.value(&Limits::DEFAULT).unwrap();
    let Ok(ZeekMessage::Event(event)) = ZeekMessage::from_value(value) else { panic!("{envelope:?}") };
    NodeMessage::parse(&event).unwrap().unwrap()
}

async fn failures(agent: &mut Raw, count: usize) {
    for _ in 0..count {
        let response = loop {
            match node_message(agent).await {
                NodeMessage::Response(response) => break response,
                // Skip hellos that the bridge repeats.
                NodeMessage::Hello(_) => {}
                other @ NodeMessage::Request(_) => panic!("{other:?}"),
            }
        };
        assert!(response.result().error().unwrap().contains("bridge"), "{response:?}");
    }
}

fn wait_until_no_node_is_live(bridge: &BridgeProcess) {
    while !bridge.status()["nodes"].as_array().unwrap().is_empty() {}
}

fn assert_agent_unaffected(bridge: &BridgeProcess) {
    let agents = bridge.link("agents");
    assert_eq!((&agents["overflows"], &agents["dropped"]), (&0.into(), &0.into()), "{agents}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_invented_nodes_do_not_disconnect_an_agent() {
    let bridge = BridgeProcess::start(CONFIG);
    let mut node = connect(&bridge, "nodes", 2).await;
    send(&mut node, (0..MANY).map(|n| hello(&format!("invented-{n}")))).await;
    node.settle().await;
    // The agent receives the hellos of all nodes as soon as it connects.
    let mut agent = connect(&bridge, "agents", 1).await;
    for _ in 0..MANY {
        let message = node_message(&mut agent).await;
        assert!(matches!(message, NodeMessage::Hello(_)), "{message:?}");
    }
    drop(node);
    wait_until_no_node_is_live(&bridge);
    // After the nodes are gone, the agent receives a failure for each of them.
    send(&mut agent, [request("to all", &[])]).await;
    failures(&mut agent, MANY).await;
    assert_agent_unaffected(&bridge);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_receives_a_failure_for_every_request_to_a_lost_node() {
    let bridge = BridgeProcess::start(CONFIG);
    let mut agent = connect(&bridge, "agents", 1).await;
    let mut node = connect(&bridge, "nodes", 2).await;
    send(&mut node, [hello("n")]).await;
    node_message(&mut agent).await;
    send(&mut agent, (0..MANY).map(|n| request(&n.to_string(), &["n"]))).await;
    for _ in 0..MANY {
        node_message(&mut node).await;
    }
    drop(node);
    failures(&mut agent, MANY).await;
    assert_agent_unaffected(&bridge);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_floods_denied_requests_without_reading_is_not_disconnected() {
    /// More messages than the operating system buffers.
    const FLOOD: usize = 20 * MANY;
    let bridge = BridgeProcess::start(&format!("{CONFIG}{DENYING}"));
    let mut agent = connect(&bridge, "agents", 1).await;
    let mut node = connect(&bridge, "nodes", 2).await;
    send(&mut node, [hello("n")]).await;
    node_message(&mut agent).await;
    let sender = std::net::TcpStream::from(agent.stream.as_fd().try_clone_to_owned().unwrap());
    let mut sender = Raw::on(agent.id, TcpStream::from_std(sender).unwrap());
    let sender = tokio::spawn(async move {
        for n in 0..FLOOD {
            sender.send(&request(&format!("{n:0250}"), &["n"])).await;
        }
    });
    // Waits until the socket is full and messages are queued.
    while bridge.link("agents")["peers"][0]["queued"].as_u64().expect("the agent is connected") < 48 {}
    failures(&mut agent, FLOOD).await;
    sender.await.unwrap();
    assert_agent_unaffected(&bridge);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_limits_the_ttl_of_every_message() {
    let bridge = BridgeProcess::start(CONFIG);
    let mut agent = connect(&bridge, "agents", 1).await;
    let mut node = connect(&bridge, "nodes", 2).await;
    // Waits until the bridge has recorded the peering.
    node.settle().await;
    for (number, ttl, further) in [(1, u16::MAX, TTL), (2, INITIAL_TTL, TTL), (3, TTL, TTL - 1), (4, 2, 1)] {
        send(&mut agent, [Envelope { ttl, ..request(&number.to_string(), &[]) }]).await;
        assert_eq!(node.envelope_of(EnvelopeType::Data).await.ttl, further);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_names_are_truncated_in_the_log() {
    const LONG: usize = 1 << 20;
    let mut bridge = BridgeProcess::start(CONFIG);
    let mut agent = connect(&bridge, "agents", 1).await;
    let mut node = connect(&bridge, "nodes", 2).await;
    let long = "\u{1}".repeat(LONG);
    send(&mut node, [hello(&long)]).await;
    send(&mut agent, [request(&long, &[])]).await;
    for _ in 0..2 {
        let line = bridge.program.says("refused: ");
        assert!(line.len() < 1000 + "\\u{1}".len() * 128, "{} bytes", line.len());
        assert!(line.contains(&format!("({LONG} bytes)")), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_frames_are_logged_once_for_each_peering() {
    let bridge = BridgeProcess::start(CONFIG);
    let mut node = connect(&bridge, "nodes", 1).await;
    for _ in 0..3 {
        // A frame of one byte is not an envelope.
        node.bytes(&[0, 0, 0, 1, 77]).await;
    }
    node.settle().await;
    assert_eq!(bridge.link("nodes")["malformed"], 3);
    bridge.program.signal("TERM");
    let end = bridge.end();
    assert_eq!(end.stderr.matches("dropped a malformed message").count(), 1, "{end:?}");
}
