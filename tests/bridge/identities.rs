//! Rules for certificates, and the owners of node names.

use std::collections::BTreeSet;

use zeek_bridge::endpoint::{Endpoint, Subscriber};
use zeek_bridge::management::{
    DispatchRequest, DispatchResponse, ManagementResult, NodeMessage, NotifyNodeHello,
};
use zeek_bridge::net::tls::Tls;

use crate::cluster::{BridgeProcess, Certificates};
use crate::peers::*;

const NODE: &str = "zeek/management/node";

fn hello(node: &str) -> NotifyNodeHello {
    NotifyNodeHello { node: node.into() }
}

fn request(reqid: &str) -> DispatchRequest {
    let action = vec!["get_id_value".to_owned(), "Cluster::node".to_owned()];
    DispatchRequest { reqid: reqid.into(), action, nodes: BTreeSet::new() }
}

fn answer(reqid: &str, node: &str, data: &str) -> DispatchResponse {
    ManagementResult::success(reqid, node, Some(serde_json::json!(data).into())).into()
}

/// Returns the links of these tests. The link of the nodes uses mutual TLS.
fn links(certificates: &Certificates, more: &str) -> String {
    format!(
        "[link.agents]\nfaces = \"agents\"\ntls = \"off\"\nlisten = \"127.0.0.1:0\"\n\
         [link.nodes]\nfaces = \"nodes\"\nlisten = \"127.0.0.1:0\"\n{}{more}",
        certificates.lines()
    )
}

/// Returns rules that bind the name of each node to its certificate.
fn rules_by_certificate() -> String {
    let mut rules = "[[rule]]\nname = \"requests\"\nfrom = \"agents\"\nto = \"nodes\"\n\
                     topics = [\"zeek/management/node\"]\nevents = [\"*::node_dispatch_request\"]\n"
        .to_owned();
    for name in ["worker-1", "worker-2"] {
        rules += &format!(
            "[[rule]]\nname = \"{name}\"\nfrom = \"nodes\"\nto = \"agents\"\n\
             topics = [\"zeek/management/node\"]\n\
             events = [\"*::notify_node_hello\", \"*::node_dispatch_response\"]\n\
             nodes = [\"{name}\"]\nidentities = [\"subject:CN={name}\"]\n"
        );
    }
    rules
}

/// A connected agent, and two connected nodes, each with its own certificate.
struct Cluster {
    bridge: BridgeProcess,
    agent: Endpoint,
    received: Subscriber,
    nodes: [(Endpoint, Subscriber); 2],
    tls: [Tls; 2],
}

impl Cluster {
    async fn new(config: &str, certificates: &Certificates) -> Self {
        let bridge = BridgeProcess::start(config);
        let agent = peer();
        let received = subscribe(&agent, NODE).await;
        let agent = connected(agent, &bridge.address("agents")).await;
        let tls = ["worker-1", "worker-2"].map(|name| certificates.tls(name));
        let node = async |tls: &Tls| {
            let node = peer();
            let received = subscribe(&node, NODE).await;
            (connected_with(node, &bridge.address("nodes"), tls.clone()).await, received)
        };
        let nodes = [node(&tls[0]).await, node(&tls[1]).await];
        Cluster { bridge, agent, received, nodes, tls }
    }

    /// Sends a request to all nodes.
    async fn ask(&mut self, reqid: &str) {
        let request = request(reqid);
        publish(&self.agent, request.clone()).await;
        for (_, received) in &mut self.nodes {
            assert_eq!(next_of_node_api(received).await, NodeMessage::Request(request.clone()));
        }
    }

    async fn assert_agent_receives(&mut self, message: NodeMessage) {
        assert_eq!(next_of_node_api(&mut self.received).await, message);
    }

    /// Waits for the log line about a denied message. Asserts that it contains these parts and the identity of the
    /// peer.
    fn assert_denied(&mut self, reason: &str, parts: &[&str]) {
        let line = self.bridge.program.says(&format!("reason=\"{reason}\""));
        let id = self.nodes[1].0.id().to_string();
        for part in parts.iter().chain(&["link=\"nodes\"", "127.0.0.1:", "CN=worker-2", &id]) {
            assert!(line.contains(part), "{part} is not in {line}");
        }
        assert_eq!(self.bridge.refused(reason), 1, "{}", self.bridge.status());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_can_send_hellos_only_with_the_name_of_its_certificate() {
    let certificates = Certificates::new();
    let mut cluster =
        Cluster::new(&(links(&certificates, "") + &rules_by_certificate()), &certificates).await;
    // No peering holds the name yet.
    publish(&cluster.nodes[1].0, hello("worker-1")).await;
    cluster.assert_denied("node_not_allowed", &["notify_node_hello", "node=\"worker-1\""]);
    let counted = cluster.bridge.status()["rules"].clone();
    let refused =
        counted.as_array().unwrap().iter().filter_map(|rule| rule["refused"]["node_not_allowed"].as_u64());
    assert_eq!(refused.sum::<u64>(), 1, "{counted}");
    assert_eq!(cluster.bridge.status()["nodes"].as_array().unwrap().len(), 0);
    publish(&cluster.nodes[1].0, hello("worker-2")).await;
    cluster.assert_agent_receives(NodeMessage::Hello(hello("worker-2"))).await;
    publish(&cluster.nodes[0].0, hello("worker-1")).await;
    cluster.assert_agent_receives(NodeMessage::Hello(hello("worker-1"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_can_respond_only_with_the_name_of_its_certificate() {
    let certificates = Certificates::new();
    let mut cluster =
        Cluster::new(&(links(&certificates, "") + &rules_by_certificate()), &certificates).await;
    for (node, name) in [(0, "worker-1"), (1, "worker-2")] {
        publish(&cluster.nodes[node].0, hello(name)).await;
        cluster.assert_agent_receives(NodeMessage::Hello(hello(name))).await;
    }
    cluster.ask("r1").await;
    publish(&cluster.nodes[1].0, answer("r1", "worker-1", "forged")).await;
    cluster.assert_denied(
        "node_not_allowed",
        &["node_dispatch_response", "node=\"worker-1\"", "request=\"r1\""],
    );
    let (own, real_answer) = (answer("r1", "worker-2", "own"), answer("r1", "worker-1", "true"));
    publish(&cluster.nodes[1].0, own.clone()).await;
    cluster.assert_agent_receives(NodeMessage::Response(own)).await;
    publish(&cluster.nodes[0].0, real_answer.clone()).await;
    cluster.assert_agent_receives(NodeMessage::Response(real_answer)).await;
}

/// Without rules for names, a name belongs to the first peer that sends a hello for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_live_name_cannot_be_taken_by_a_peer_with_another_certificate() {
    let certificates = Certificates::new();
    let mut cluster = Cluster::new(&links(&certificates, ""), &certificates).await;
    publish(&cluster.nodes[0].0, hello("worker-1")).await;
    cluster.assert_agent_receives(NodeMessage::Hello(hello("worker-1"))).await;
    publish(&cluster.nodes[1].0, hello("worker-1")).await;
    cluster.assert_denied("name_taken", &["\"worker-1\"", &cluster.nodes[0].0.id().to_string()]);
    cluster.ask("r1").await;
    publish(&cluster.nodes[1].0, answer("r1", "worker-1", "forged")).await;
    cluster.assert_denied("not_its_name", &["\"worker-1\"", "\"r1\""]);
    let real_answer = answer("r1", "worker-1", "true");
    publish(&cluster.nodes[0].0, real_answer.clone()).await;
    cluster.assert_agent_receives(NodeMessage::Response(real_answer)).await;
    // A new connection with the same certificate counts as the same node.
    let reconnected = connected_with(peer(), &cluster.bridge.address("nodes"), cluster.tls[0].clone()).await;
    publish(&reconnected, hello("worker-1")).await;
    cluster.assert_agent_receives(NodeMessage::Hello(hello("worker-1"))).await;
    // A different certificate with the same name counts as a different node.
    let impostor =
        connected_with(peer(), &cluster.bridge.address("nodes"), certificates.tls("worker-1")).await;
    publish(&impostor, hello("worker-1")).await;
    cluster.bridge.until("a second denial", |bridge| bridge.refused("name_taken") == 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_the_link_does_not_allow_is_rejected() {
    let certificates = Certificates::new();
    let config = links(&certificates, "allow = [\"subject:CN=worker-*\", \"DNS:logger\"]\n");
    let mut bridge = BridgeProcess::start(&config);
    let address = bridge.address("nodes");
    let refused = peer();
    let tls = certificates.tls("proxy-1");
    let error = refused.connect(&address, tls).await.unwrap_err();
    assert_eq!(error.cause(), "refused", "{error}");
    let line = bridge.program.says("is not allowed to peer here");
    assert!(line.contains("CN=proxy-1"), "{line}");
    assert_eq!(bridge.link("nodes")["failures"]["not_allowed"], 1, "{}", bridge.status());
    let _worker = connected_with(peer(), &address, certificates.tls("worker-9")).await;
    let _logger = connected_with(peer(), &address, certificates.tls("logger")).await;
    bridge.until("both allowed peers", |bridge| bridge.peers("nodes") == 2);
}

/// The rule `requests` has a condition on the sender's certificate, and none on the payload.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_certificate_is_denied_receives_failures() {
    let certificates = Certificates::new();
    let rule = |name: &str, from: &str, to: &str, event: &str| {
        format!(
            "[[rule]]\nname = \"{name}\"\nfrom = \"{from}\"\nto = \"{to}\"\ntopics = [\"{NODE}\"]\n\
             events = [\"*::{event}\"]\n"
        )
    };
    let bridge = BridgeProcess::start(&format!(
        "[link.agents]\nfaces = \"agents\"\nlisten = \"127.0.0.1:0\"\n{}\
         [link.nodes]\nfaces = \"nodes\"\ntls = \"off\"\nlisten = \"127.0.0.1:0\"\n{}{}\
         identities = [\"subject:CN=boss\"]\n",
        certificates.lines(),
        rule("hellos", "nodes", "agents", "notify_node_hello"),
        rule("requests", "agents", "nodes", "node_dispatch_request"),
    ));
    let agent = peer();
    let mut received = subscribe(&agent, NODE).await;
    let agent = connected_with(agent, &bridge.address("agents"), certificates.tls("intern")).await;
    let node = connected(peer(), &bridge.address("nodes")).await;
    publish(&node, hello("worker-1")).await;
    assert_eq!(next_of_node_api(&mut received).await, NodeMessage::Hello(hello("worker-1")));
    publish(&agent, request("r1")).await;
    let reason = "not allowed by zeek-bridge: rule requests does not allow requests of this peer";
    let answer = ManagementResult::failure("r1", "worker-1", reason);
    assert_eq!(next_of_node_api(&mut received).await, NodeMessage::Response(answer.into()));
}

/// Only Linux accepts all addresses in 127.0.0.0/8 as loopback addresses. Other systems accept 127.0.0.1 only.
#[cfg(target_os = "linux")]
mod without_certificates {
    use tokio::net::TcpSocket;
    use zeek_bridge::data::EndpointId;
    use zeek_bridge::management::NODE_TOPIC;
    use zeek_bridge::wire::Envelope;
    use zeek_bridge::zeek::Event;

    use super::*;
    use crate::raw::Raw;

    fn plain_links() -> BridgeProcess {
        BridgeProcess::start(
            "[link.agents]\nfaces = \"agents\"\ntls = \"off\"\nlisten = \"127.0.0.1:0\"\n\
         [link.nodes]\nfaces = \"nodes\"\ntls = \"off\"\nlisten = \"127.0.0.1:0\"\n",
        )
    }

    async fn send(raw: &mut Raw, message: impl Into<Event>) {
        let envelope = Envelope::data(raw.id, NODE_TOPIC.clone(), &event(message)).unwrap();
        raw.send(&envelope).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_live_name_cannot_be_taken_by_a_peer_on_another_host() {
        let mut bridge = plain_links();
        let agent = peer();
        let mut received = subscribe(&agent, NODE).await;
        let agent = connected(agent, &bridge.address("agents")).await;
        let address = bridge.address("nodes");
        let mut first = raw(1, &address, &[NODE]).await;
        send(&mut first, hello("worker-1")).await;
        assert_eq!(next_of_node_api(&mut received).await, NodeMessage::Hello(hello("worker-1")));
        publish(&agent, request("r1")).await;
        first.envelope().await.unwrap();

        // A peer from a different host is a different owner, which cannot take over the name.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let stream = socket.connect(address.parse().unwrap()).await.unwrap();
        let mut other_host = Raw::on(EndpointId::from_bytes([2; 16]), stream);
        other_host.send_handshake(&other_host.hello()).await;
        other_host.handshake(&[NODE]).await;
        send(&mut other_host, hello("worker-1")).await;
        let line = bridge.program.says("reason=\"name_taken\"");
        assert!(line.contains("127.0.0.2:"), "{line}");

        // A peer from the same host may be the same node after a reconnect, so it gets the name.
        let mut second = raw(3, &address, &[NODE]).await;
        send(&mut second, hello("worker-1")).await;
        assert_eq!(next_of_node_api(&mut received).await, NodeMessage::Hello(hello("worker-1")));
        assert_eq!(bridge.status()["nodes"][0]["peer"], second.id.to_string());

        // The first connection may still respond to earlier requests, but not to new ones.
        let real_answer = answer("r1", "worker-1", "true");
        send(&mut first, real_answer.clone()).await;
        assert_eq!(next_of_node_api(&mut received).await, NodeMessage::Response(real_answer));
        publish(&agent, request("r2")).await;
        first.envelope().await.unwrap();
        send(&mut first, answer("r2", "worker-1", "not asked")).await;
        bridge.program.says("reason=\"not_its_name\"");
        let real_answer = answer("r2", "worker-1", "true");
        second.envelope().await.unwrap();
        send(&mut second, real_answer.clone()).await;
        assert_eq!(next_of_node_api(&mut received).await, NodeMessage::Response(real_answer));

        // When the second connection ends, the name belongs to the first connection again.
        drop(second);
        bridge.until("the name of the first connection", |bridge| {
            bridge.status()["nodes"][0]["peer"] == first.id.to_string()
        });
        publish(&agent, request("r3")).await;
        first.envelope().await.unwrap();
        let real_answer = answer("r3", "worker-1", "true");
        send(&mut first, real_answer.clone()).await;
        assert_eq!(next_of_node_api(&mut received).await, NodeMessage::Response(real_answer));
    }
}
