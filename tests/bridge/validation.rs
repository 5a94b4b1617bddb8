//! Messages that would make a Zeek agent or node fail.

use zeek_bridge::data::Value;
use zeek_bridge::management::{DispatchRequest, DispatchResponse, NODE_TOPIC, NodeMessage, NotifyNodeHello};
use zeek_bridge::wire::Envelope;
use zeek_bridge::zeek::Event;

use crate::cluster::BridgeProcess;
use crate::peers::*;
use crate::raw::Raw;

const NODE: &str = "zeek/management/node";

fn links(more: &str) -> String {
    format!(
        "[link.agents]\nfaces = \"agents\"\ntls = \"off\"\nlisten = \"127.0.0.1:0\"\n\
         [link.nodes]\nfaces = \"nodes\"\ntls = \"off\"\nlisten = \"127.0.0.1:0\"\n{more}"
    )
}

fn text(text: &str) -> Value {
    Value::String(text.into())
}

/// Returns the elements of a successful result.
fn result() -> Vec<Value> {
    vec![text("r1"), Value::Boolean(true), Value::None, text("\"data\""), Value::None, text("worker-1")]
}

fn response(result: Vec<Value>) -> Value {
    event(Event::new(DispatchResponse::NAME, vec![text("r1"), Value::Vector(result)]))
}

fn with(index: usize, value: Value) -> Value {
    let mut result = result();
    result[index] = value;
    response(result)
}

/// Returns messages that a node must not send, each with a description and a part of its log line.
fn invalid_from_nodes() -> Vec<(&'static str, Value, &'static str)> {
    let hello = |args: Vec<Value>| event(Event::new(NotifyNodeHello::NAME, args));
    vec![
        ("a result with five fields", response(result()[..5].to_vec()), "node_dispatch_response"),
        (
            "a result with seven fields",
            response([result(), vec![Value::None]].concat()),
            "node_dispatch_response",
        ),
        ("data that is not a string", with(3, Value::Count(5)), "node_dispatch_response"),
        ("data that is a vector", with(3, Value::Vector(vec![])), "node_dispatch_response"),
        ("success that is not a boolean", with(1, text("yes")), "node_dispatch_response"),
        ("a result without a node", with(5, Value::None), "node_dispatch_response"),
        ("a different request id in the result", with(0, text("r2")), "node_dispatch_response"),
        (
            "a result without a request id",
            event(Event::new(DispatchResponse::NAME, vec![Value::Vector(result())])),
            "",
        ),
        ("a hello without a node", hello(vec![]), "notify_node_hello"),
        ("a hello with a count as name", hello(vec![Value::Count(1)]), "notify_node_hello"),
        ("a hello with two names", hello(vec![text("worker-1"), text("worker-2")]), "notify_node_hello"),
    ]
}

async fn publish(raw: &mut Raw, value: &Value) {
    raw.send(&Envelope::data(raw.id, NODE_TOPIC.clone(), value).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_messages_of_nodes_are_not_forwarded_to_agents() {
    for (what, value, logged) in invalid_from_nodes() {
        let mut bridge = BridgeProcess::start(&links(""));
        let agent = peer();
        let mut received = subscribe(&agent, NODE).await;
        let agent = connected(agent, &bridge.address("agents")).await;
        let mut node = raw(1, &bridge.address("nodes"), &[NODE]).await;
        let hello = NotifyNodeHello { node: "worker-1".into() };
        publish(&mut node, &event(hello.clone())).await;
        assert_eq!(next_of_node_api(&mut received).await, NodeMessage::Hello(hello));
        let action = vec!["get_id_value".to_owned(), "x".to_owned()];
        crate::peers::publish(&agent, DispatchRequest { reqid: "r1".into(), action, nodes: [].into() }).await;
        node.envelope().await.unwrap();

        publish(&mut node, &value).await;
        let line = bridge.program.says("reason=\"invalid_node_api\"");
        let (rule, name) = match what.starts_with("a hello") {
            true => ("hellos", NotifyNodeHello::NAME),
            false => ("responses", DispatchResponse::NAME),
        };
        let fields = [format!("rule=\"{rule}\""), format!("topic=\"{NODE}\""), format!("event=\"{name}\"")];
        for part in fields.iter().map(String::as_str).chain([
            logged,
            "link=\"nodes\"",
            &node.id.to_string(),
            "127.0.0.1:",
            "refused: ",
        ]) {
            assert!(line.contains(part), "{what}: {part} is not in {line}");
        }
        let status = bridge.status();
        assert_eq!(status["refused"], serde_json::json!({"invalid_node_api": 1}), "{what}");
        assert_eq!(status["rules"].as_array().unwrap().iter().map(invalid).sum::<u64>(), 1, "{what}");
        // The request is still pending. A valid response to it is the next message that the agent receives.
        publish(&mut node, &response(result())).await;
        let NodeMessage::Response(response) = next_of_node_api(&mut received).await else { panic!("{what}") };
        assert_eq!(response.result().node(), Some("worker-1"), "{what}");
    }
}

fn invalid(rule: &serde_json::Value) -> u64 {
    rule["invalid"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_requests_are_not_forwarded_to_nodes() {
    let request = |args: Vec<Value>| event(Event::new(DispatchRequest::NAME, args));
    let action = || Value::Vector(vec![text("get_id_value"), text("x")]);
    let nodes = || Value::Set(Default::default());
    for (what, value) in [
        ("no nodes", request(vec![text("r1"), action()])),
        ("an action with a count", request(vec![text("r1"), Value::Vector(vec![Value::Count(1)]), nodes()])),
        ("an action that is a string", request(vec![text("r1"), text("get_id_value"), nodes()])),
        ("nodes in a vector", request(vec![text("r1"), action(), Value::Vector(vec![text("worker-1")])])),
        ("an id that is a count", request(vec![Value::Count(1), action(), nodes()])),
    ] {
        let mut bridge = BridgeProcess::start(&links(""));
        let node = peer();
        let mut received = subscribe(&node, NODE).await;
        let _node = connected(node, &bridge.address("nodes")).await;
        let mut agent = raw(1, &bridge.address("agents"), &[NODE]).await;
        publish(&mut agent, &value).await;
        let line = bridge.program.says("reason=\"invalid_node_api\"");
        assert!(line.contains("link=\"agents\"") && line.contains("node_dispatch_request"), "{what}: {line}");
        publish(&mut agent, &request(vec![text("r1"), action(), nodes()])).await;
        let NodeMessage::Request(request) = next_of_node_api(&mut received).await else { panic!("{what}") };
        assert_eq!(request.reqid, "r1", "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_passthrough_forwards_invalid_messages() {
    let rule = "[[rule]]\nname = \"all\"\nfrom = [\"agents\", \"nodes\"]\nto = [\"agents\", \"nodes\"]\n\
                topics = [\"zeek/management/node\", \"/other\"]\n";
    for passthrough in [false, true] {
        let bridge = BridgeProcess::start(&links(&format!("{rule}passthrough = {passthrough}\n")));
        let mut agent = raw(1, &bridge.address("agents"), &["/other"]).await;
        let mut node = raw(2, &bridge.address("nodes"), &[]).await;
        let topic = zeek_bridge::data::Topic::from_static("/other");
        let good = Envelope::data(node.id, topic, &text("fine")).unwrap();
        let bad = Envelope { payload: bytes::Bytes::from_static(b"\x0e\x02\x00"), ..good.clone() };
        node.send(&bad).await;
        node.send(&good).await;
        let expected: &[&[u8]] = if passthrough { &[&bad.payload, &good.payload] } else { &[&good.payload] };
        for payload in expected {
            assert_eq!(agent.envelope().await.unwrap().payload, *payload);
        }
        assert_eq!(bridge.refused("malformed"), u64::from(!passthrough));
    }
}
