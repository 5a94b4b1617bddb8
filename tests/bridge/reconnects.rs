//! Agents and nodes that disconnect and reconnect.

use std::collections::BTreeSet;
use std::time::Duration;

use zeek_bridge::data::EndpointId;
use zeek_bridge::endpoint::{Endpoint, EndpointConfig, Subscriber};
use zeek_bridge::management::{
    Agent, DispatchRequest, DispatchResponse, ManagementResult, Node, NodeMessage, NotifyNodeHello, Outcome,
    REQUEST_TIMEOUT, Values,
};

use crate::cluster::BridgeProcess;
use crate::peers::*;

const NODE: &str = "zeek/management/node";

/// Returns a configuration. `agents` is the address of the link `agents`.
fn config(bridge: &str, agents: &str) -> String {
    format!(
        "{bridge}\n[link.agents]\nfaces = \"agents\"\ntls = \"off\"\n{agents}\n\
         [link.nodes]\nfaces = \"nodes\"\ntls = \"off\"\nlisten = \"127.0.0.1:0\"\n"
    )
}

const LISTEN: &str = "listen = \"127.0.0.1:0\"";

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Connects a node that sends a hello, and subscribes it to requests.
async fn node(bridge: &BridgeProcess, name: &str) -> (Endpoint, Subscriber) {
    let node = peer();
    let received = subscribe(&node, NODE).await;
    let node = connected(node, &bridge.address("nodes")).await;
    publish(&node, NotifyNodeHello { node: name.into() }).await;
    bridge.until(name, |bridge| live(bridge).iter().any(|node| node == name));
    (node, received)
}

/// Returns the names of the live nodes.
fn live(bridge: &BridgeProcess) -> Vec<String> {
    let status = bridge.status();
    status["nodes"].as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap().into()).collect()
}

async fn hello(received: &mut Subscriber) -> String {
    match next_of_node_api(received).await {
        NodeMessage::Hello(hello) => hello.node,
        other => panic!("{other:?}"),
    }
}

async fn hellos(received: &mut Subscriber, many: usize) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..many {
        names.push(hello(received).await);
    }
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconnecting_agent_receives_the_hello_of_each_live_node_once() {
    let bridge = BridgeProcess::start(&config("", LISTEN));
    let _nodes = [node(&bridge, "worker-1").await, node(&bridge, "worker-2").await];
    let id = EndpointId::from_bytes([9; 16]);
    // The first two rounds use a new endpoint id, as after a restart of the agent. The last two use the same id over a
    // new connection.
    for (round, id) in [None, None, Some(id), Some(id)].into_iter().enumerate() {
        let agent = Endpoint::with_config(EndpointConfig { id, ..EndpointConfig::default() }).unwrap();
        let mut received = subscribe(&agent, NODE).await;
        let agent = connected(agent, &bridge.address("agents")).await;
        assert_eq!(hellos(&mut received, 2).await, ["worker-1", "worker-2"]);
        // The agent receives this hello next, so it has received no hello twice.
        let late = format!("late-{round}");
        let (late_node, _) = node(&bridge, &late).await;
        assert_eq!(hello(&mut received).await, late);
        late_node.shutdown().await;
        agent.shutdown().await;
        bridge.until("the agent and the late node are disconnected", |bridge| {
            live(bridge).len() == 2 && bridge.peers("agents") == 0
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listening_agent_receives_each_hello_once_per_connection() {
    let agent = peer();
    let mut received = subscribe(&agent, NODE).await;
    let listener = agent.listen("127.0.0.1:0", PLAIN).await.unwrap();
    let retry = "retry = { first = \"50ms\", cap = \"100ms\" }";
    let connect = format!("connect = \"{}\"\n{retry}", listener.local_addr());
    let bridge = BridgeProcess::start(&config("", &connect));
    let _node = node(&bridge, "worker-1").await;
    assert_eq!(hello(&mut received).await, "worker-1");
    let id = bridge.link("agents")["id"].as_str().unwrap().parse().unwrap();
    for round in ["again", "and again"] {
        // The bridge reconnects.
        assert!(agent.unpeer(id).await);
        assert_eq!(hello(&mut received).await, "worker-1");
        let (late, _) = node(&bridge, round).await;
        assert_eq!(hello(&mut received).await, round);
        late.shutdown().await;
        bridge.until("the late node is disconnected", |bridge| live(bridge) == ["worker-1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hello_of_a_reconnecting_node_reaches_a_connected_agent() {
    let bridge = BridgeProcess::start(&config("", LISTEN));
    let agent = peer();
    let mut received = subscribe(&agent, NODE).await;
    let _agent = connected(agent, &bridge.address("agents")).await;
    for round in 0..3 {
        let (node, _) = node(&bridge, "worker-1").await;
        assert_eq!(hello(&mut received).await, "worker-1");
        // A repeated hello over the same connection is not forwarded.
        publish(&node, NotifyNodeHello { node: "worker-1".into() }).await;
        let marker = format!("marker-{round}");
        publish(&node, NotifyNodeHello { node: marker.clone() }).await;
        assert_eq!(hello(&mut received).await, marker);
        // Close the connection without a BYE.
        drop(node);
        bridge.until("no live node", |bridge| live(bridge).is_empty());
    }
}

/// Connects an agent, and waits until it knows these nodes.
async fn agent(bridge: &BridgeProcess, nodes: &[&str]) -> (Endpoint, Agent) {
    let endpoint = peer();
    let agent = Agent::start(endpoint.clone()).await;
    let endpoint = connected(endpoint, &bridge.address("agents")).await;
    agent.wait_for_nodes(|there| *there == names(nodes)).await;
    (endpoint, agent)
}

async fn dispatch(agent: &Agent, nodes: &[&str], timeout: Duration) -> Outcome {
    let action = vec!["get_id_value".to_owned(), "x".to_owned()];
    agent.dispatch(action, names(nodes), timeout).await.unwrap()
}

/// Returns the text of the only result, which is a failure.
fn failure(outcome: &Outcome) -> String {
    assert!(outcome.missing.is_empty(), "{outcome:?}");
    let [result] = outcome.answers.values().collect::<Vec<_>>()[..] else { panic!("{outcome:?}") };
    assert!(!result.is_success());
    result.error().unwrap().into_owned()
}

/// A timeout that no test reaches.
const FOREVER: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_sends_failures_for_gone_nodes() {
    let bridge = BridgeProcess::start(&config("", LISTEN));
    let (node, mut asked) = node(&bridge, "worker-1").await;
    let (_endpoint, agent) = agent(&bridge, &["worker-1"]).await;
    // The node receives the request, and disconnects.
    let outcome = tokio::join!(dispatch(&agent, &["worker-1"], FOREVER), async {
        assert!(matches!(next_of_node_api(&mut asked).await, NodeMessage::Request(_)));
        drop((node, asked));
    });
    let text = failure(&outcome.0);
    assert!(text.contains("lost before it answered"), "{text}");
    // The node is gone when the agent sends a request, by name or to all nodes.
    let (named, all) = tokio::join!(dispatch(&agent, &["worker-1"], FOREVER), dispatch(&agent, &[], FOREVER));
    for outcome in [named, all] {
        let text = failure(&outcome);
        assert!(text.contains("not connected to the bridge"), "{text}");
    }
    let status = bridge.status();
    assert_eq!(status["answered_for"], answered_for(0, 1, 2), "{status}");
    assert_eq!(status["in_flight"], 0, "{status}");
}

/// The counters of the failures that the bridge sent.
fn answered_for(denied: u64, lost: u64, no_answer: u64) -> serde_json::Value {
    serde_json::json!({"denied": denied, "lost": lost, "no_answer": no_answer, "forgotten": 0})
}

#[tokio::test(flavor = "multi_thread")]
async fn if_answer_in_flight_is_off_the_agent_waits_until_its_timeout() {
    let mut bridge = BridgeProcess::start(&config("answer_in_flight = false", LISTEN));
    let (first, mut asked) = node(&bridge, "worker-1").await;
    let (endpoint, agent) = agent(&bridge, &["worker-1"]).await;
    let short = Duration::from_millis(300);
    let (outcome, ()) = tokio::join!(dispatch(&agent, &["worker-1"], short), async {
        next_of_node_api(&mut asked).await;
        drop((first, asked));
    });
    assert_eq!((outcome.answers.len(), outcome.missing), (0, names(&["worker-1"])));
    bridge.until("the node is disconnected", |bridge| live(bridge).is_empty());
    let outcome = dispatch(&agent, &["worker-1"], short).await;
    assert_eq!((outcome.answers.len(), outcome.missing), (0, names(&["worker-1"])));
    assert_eq!(bridge.status()["answered_for"], answered_for(0, 0, 0));
    // Reload the configuration to enable the setting, and again to disable it.
    bridge.reload(&config("answer_in_flight = true", LISTEN));
    let text = failure(&dispatch(&agent, &["worker-1"], FOREVER).await);
    assert!(text.contains("not connected to the bridge"), "{text}");
    bridge.reload(&config("answer_in_flight = false", LISTEN));
    let outcome = dispatch(&agent, &["worker-1"], short).await;
    assert_eq!((outcome.answers.len(), outcome.missing), (0, names(&["worker-1"])));
    // Requests succeed when the node is back.
    let (node, mut asked) = node(&bridge, "worker-1").await;
    let (outcome, ()) = tokio::join!(dispatch(&agent, &["worker-1"], REQUEST_TIMEOUT), async {
        let NodeMessage::Request(DispatchRequest { reqid, .. }) = next_of_node_api(&mut asked).await else {
            panic!()
        };
        let answer = ManagementResult::success(reqid, "worker-1", None);
        publish(&node, DispatchResponse::from(answer)).await;
    });
    assert!(outcome.answers["worker-1"].is_success());
    drop(endpoint);
}

/// Connects a node that responds to `get_id_value x` with its name.
async fn responding_node(name: &str, address: &str) -> (Endpoint, Node) {
    let endpoint = peer();
    let values = Values::from_json_text(&format!("{{\"x\": \"{name}\"}}")).unwrap();
    let node = Node::start(endpoint.clone(), name, values).await;
    (connected(endpoint, address).await, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_does_not_answer_for_a_node_that_moved_to_the_agent() {
    let bridge = BridgeProcess::start(&config("", LISTEN));
    let (endpoint, _node) = responding_node("worker-1", &bridge.address("nodes")).await;
    let (agent_endpoint, agent) = agent(&bridge, &["worker-1"]).await;
    assert!(dispatch(&agent, &[], REQUEST_TIMEOUT).await.answers["worker-1"].is_success());
    endpoint.shutdown().await;
    bridge.until("the node is disconnected", |bridge| live(bridge).is_empty());
    let direct = agent_endpoint.listen("127.0.0.1:0", PLAIN).await.unwrap().local_addr().to_string();
    let mut received = subscribe(&agent_endpoint, NODE).await;
    let _moved = responding_node("worker-1", &direct).await;
    assert_eq!(hello(&mut received).await, "worker-1");
    for nodes in [&["worker-1"][..], &[]].into_iter().cycle().take(100) {
        let outcome = dispatch(&agent, nodes, REQUEST_TIMEOUT).await;
        assert!(outcome.missing.is_empty(), "{outcome:?}");
        assert!(outcome.answers["worker-1"].is_success(), "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_node_does_not_suppress_the_responses_of_others() {
    let bridge = BridgeProcess::start(&config("", LISTEN));
    let (hangs, mut asked) = node(&bridge, "worker-1").await;
    let _answers = responding_node("worker-2", &bridge.address("nodes")).await;
    let (_endpoint, agent) = agent(&bridge, &["worker-1", "worker-2"]).await;
    let outcome = dispatch(&agent, &[], FOREVER).await;
    assert!(outcome.missing.is_empty() && outcome.answers["worker-2"].is_success(), "{outcome:?}");
    let text = outcome.answers["worker-1"].error().unwrap();
    assert!(text.contains("connected to the bridge and did not answer"), "{text}");
    // The late response of the node is dropped.
    let NodeMessage::Request(DispatchRequest { reqid, .. }) = next_of_node_api(&mut asked).await else {
        panic!()
    };
    publish(&hangs, DispatchResponse::from(ManagementResult::success(reqid, "worker-1", None))).await;
    bridge.until("the late response is denied", |bridge| bridge.refused("late") == 1);
}

/// Returns a configuration with these lines in its rule for requests.
fn with_request_rule(bridge: &str, request_rule: &str) -> String {
    let rule = |name: &str, from: &str, to: &str, event: &str, more: &str| {
        format!(
            "[[rule]]\nname = \"{name}\"\nfrom = \"{from}\"\nto = \"{to}\"\ntopics = [\"{NODE}\"]\n\
             events = [\"*::{event}\"]\n{more}\n"
        )
    };
    config(bridge, LISTEN)
        + &rule("hellos", "nodes", "agents", "notify_node_hello", "")
        + &rule("answers", "nodes", "agents", "node_dispatch_response", "")
        + &rule("requests", "agents", "nodes", "node_dispatch_request", request_rule)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_answers_a_denied_request_at_once_for_each_live_node() {
    for (rule, what) in [
        ("actions = { other = [\"*\"] }", "rule requests does not allow this action"),
        ("nodes = [\"worker-9\"]", "rule requests does not allow a request to these nodes"),
    ] {
        let mut bridge = BridgeProcess::start(&with_request_rule("", rule));
        let (_one, mut asked) = node(&bridge, "worker-1").await;
        let _other = node(&bridge, "worker-2").await;
        let (_endpoint, agent) = agent(&bridge, &["worker-1", "worker-2"]).await;
        let outcome = dispatch(&agent, &["worker-1", "worker-2"], FOREVER).await;
        assert!(outcome.missing.is_empty() && outcome.answers.len() == 2, "{outcome:?}");
        for answer in outcome.answers.values() {
            let text = answer.error().unwrap();
            assert_eq!(text, format!("not allowed by zeek-bridge: {what}"));
        }
        assert_eq!(bridge.status()["answered_for"], answered_for(2, 0, 0));
        bridge.reload(&with_request_rule("answer_denied = false", rule));
        let outcome = dispatch(&agent, &["worker-1"], Duration::from_millis(300)).await;
        assert_eq!((outcome.answers.len(), outcome.missing), (0, names(&["worker-1"])));
        assert_eq!(bridge.status()["answered_for"], answered_for(2, 0, 0));
        // With the default rules, the node receives a request.
        bridge.reload(&config("", LISTEN));
        let (_, request) = tokio::join!(
            dispatch(&agent, &["worker-1"], Duration::from_millis(300)),
            next_of_node_api(&mut asked)
        );
        assert!(matches!(request, NodeMessage::Request(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_is_repeated_to_an_agent_that_sent_no_request() {
    let bridge = BridgeProcess::start(&config("", LISTEN));
    let agent = peer();
    let mut received = subscribe(&agent, NODE).await;
    let _agent = connected(agent, &bridge.address("agents")).await;
    let _node = node(&bridge, "worker-1").await;
    for _ in 0..2 {
        assert_eq!(hello(&mut received).await, "worker-1");
    }
}
