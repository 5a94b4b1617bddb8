//! Agents: requests, responses, and the ownership of node names.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use zeek_bridge::data::Value;
use zeek_bridge::endpoint::{Endpoint, Subscriber};
use zeek_bridge::management::{
    ALL_NODES, Agent, AnswerError, MAX_NODE_NAME, NODE_TOPIC, Node, NodeEvent, NotifyNodeHello, Values,
};
use zeek_bridge::net::tls::{Tls, ephemeral_authority};
use zeek_bridge::zeek::{Event, ZeekMessage};

use crate::support::*;

#[tokio::test]
async fn all_nodes_respond_to_a_dispatch_to_all() {
    let (agent, _nodes) = cluster(&["manager", "worker-1", "worker-2"]).await;
    let outcome = agent.dispatch(action(&["get_id_value", "Cluster::node"]), names(&[]), LONG).await.unwrap();
    assert_eq!(outcome.missing, names(&[]));
    for (name, result) in &outcome.answers {
        assert_eq!(result.json(), Some(Ok(name.as_str().into())));
        assert_eq!((result.node(), result.instance()), (Some(name.as_str()), None));
    }
    assert_eq!(outcome.answers.len(), 3);
}

#[tokio::test]
async fn only_the_named_nodes_respond_to_a_dispatch() {
    let (agent, nodes) = cluster(&["manager", "worker-1"]).await;
    let mut idle = nodes[0].events();
    let request = action(&["get_id_value", "Cluster::node"]);
    let outcome = agent.dispatch(request.clone(), names(&["worker-1"]), LONG).await.unwrap();
    assert_eq!(outcome.answers.keys().collect::<Vec<_>>(), ["worker-1"]);
    // The manager reports only the second request, so it has ignored the first one.
    agent.dispatch(request, names(&["manager"]), LONG).await.unwrap();
    let Some(NodeEvent::Request { request, .. }) = idle.recv().await else { panic!() };
    assert_eq!(request.nodes, names(&["manager"]));
}

#[tokio::test]
async fn a_node_that_is_not_connected_is_reported_as_missing() {
    let (agent, _nodes) = cluster(&["worker-1"]).await;
    let asked = names(&["worker-1", "worker-2"]);
    let outcome =
        agent.dispatch(action(&["get_id_value", "x"]), asked, Duration::from_millis(50)).await.unwrap();
    assert_eq!(outcome.missing, names(&["worker-2"]));
    assert_eq!(outcome.answers.len(), 1);
}

#[tokio::test]
async fn get_id_value_returns_typed_values_or_the_reason_for_each_node() {
    let (endpoint, address) = listening().await;
    let agent = Agent::start(endpoint).await;
    let mut nodes = Vec::new();
    for (name, values) in
        [("text", r#"{"x": "a"}"#), ("number", r#"{"x": 8192}"#), ("unknown", r#"{"y": 1}"#)]
    {
        let values = Values::from_json_text(values).unwrap();
        nodes.push(Node::start(connected(&address).await, name, values).await);
    }
    let nothing = async |_: String, _: Vec<String>| Ok(None);
    nodes.push(Node::start(connected(&address).await, "nothing", nothing).await);
    agent.wait_for_nodes(|nodes| nodes.len() == 4).await;

    let numbers = agent.get_id_value::<u32>("x").await.unwrap();
    assert_eq!(numbers.keys().collect::<Vec<_>>(), ["nothing", "number", "text", "unknown"]);
    assert_eq!(numbers["number"], Ok(8192));
    assert!(matches!(&numbers["text"], Err(AnswerError::Data(_))), "{numbers:?}");
    assert_eq!(numbers["unknown"], Err(AnswerError::Failed("unknown id".into())));
    assert_eq!(numbers["nothing"], Err(AnswerError::NoData));
    let any = agent.get_id_value::<serde_json::Value>("x").await.unwrap();
    assert_eq!((&any["number"], &any["text"]), (&Ok(8192.into()), &Ok("a".into())));

    // Pass the action and the nodes in different types. The first request also names a node that does not exist.
    let absent = agent.dispatch(["get_id_value", "x"], ["number", "absent"], Duration::from_millis(50));
    let values = absent.await.unwrap().into_values::<u32>();
    assert_eq!((&values["number"], &values["absent"]), (&Ok(8192), &Err(AnswerError::NoAnswer)));
    let all = agent.dispatch(vec!["get_id_value".to_owned(), "x".to_owned()], ALL_NODES, LONG).await.unwrap();
    assert_eq!((all.answers.len(), all.missing), (4, names(&[])));
}

#[tokio::test]
async fn an_agent_without_peers_does_not_wait() {
    let agent = Agent::start(Endpoint::new().unwrap()).await;
    let outcome = agent.dispatch(action(&["x"]), names(&["worker-1"]), LONG).await.unwrap();
    assert_eq!(outcome.missing, names(&["worker-1"]));
}

#[tokio::test]
async fn an_agent_accepts_only_one_response_from_each_node_in_the_request() {
    let (endpoint, address) = listening().await;
    let agent = Arc::new(Agent::start(endpoint).await);
    // A malicious peer also sends invalid responses, for example to an unknown request, for the wrong node, or twice.
    let rogue = connected(&address).await;
    let mut requests = rogue.subscribe([NODE_TOPIC.clone()]).await;
    rogue.wait_for_subscribers(&NODE_TOPIC, 1).await;
    let send = async |event: Event| publish(&rogue, event).await;
    send(NotifyNodeHello { node: "worker-1".into() }.into()).await;
    agent.wait_for_nodes(|nodes| nodes.len() == 1).await;
    let outcome = tokio::spawn({
        let agent = agent.clone();
        async move { agent.dispatch(action(&["x"]), names(&["worker-1", "worker-2"]), LONG).await.unwrap() }
    });
    let request = next_request(&mut requests).await;
    let answer = |reqid: &str, node: Option<&str>, data: &str| {
        let (reqid, none) = (Value::from(reqid), Value::None);
        let node = node.map_or(Value::None, Value::from);
        let data = Value::from(format!("\"{data}\""));
        let fields = vec![reqid.clone(), true.into(), none.clone(), data, none, node];
        Event::new("Management::Node::API::node_dispatch_response", vec![reqid, Value::Vector(fields)])
    };
    send(answer("another", Some("worker-1"), "wrong request")).await;
    send(answer(&request.reqid, Some("worker-9"), "not asked")).await;
    send(answer(&request.reqid, None, "no name")).await;
    send(answer(&request.reqid, Some("worker-1"), "first")).await;
    send(answer(&request.reqid, Some("worker-1"), "second")).await;
    send(Event::new("Management::Node::API::node_dispatch_response", ("only one",))).await;
    send(answer(&request.reqid, Some("worker-2"), "no hello")).await;
    send(NotifyNodeHello { node: "worker-2".into() }.into()).await;
    send(answer(&request.reqid, Some("worker-2"), "last")).await;
    let outcome = outcome.await.unwrap();
    let data: Vec<_> =
        outcome.answers.iter().map(|(n, r)| (n.as_str(), r.data().unwrap().to_string())).collect();
    assert_eq!(data, [("worker-1", "\"first\"".to_owned()), ("worker-2", "\"last\"".to_owned())]);
}

#[tokio::test]
async fn a_hello_with_too_long_a_name_is_ignored() {
    let (endpoint, address) = listening().await;
    let agent = Agent::start(endpoint).await;
    let rogue = connected(&address).await;
    rogue.wait_for_subscribers(&NODE_TOPIC, 1).await;
    for node in ["x".repeat(MAX_NODE_NAME + 1), "y".repeat(MAX_NODE_NAME), "worker-1".to_owned()] {
        let hello = ZeekMessage::from(Event::from(NotifyNodeHello { node })).into_value();
        rogue.publish(NODE_TOPIC.clone(), &hello).await.unwrap();
    }
    let nodes = agent.wait_for_nodes(|nodes| nodes.contains("worker-1")).await;
    assert_eq!(nodes, names(&["worker-1", &"y".repeat(MAX_NODE_NAME)]));
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_log_line_contains_only_an_excerpt_of_long_text_from_a_peer() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    // The subscriber is global, although it then also receives the lines of other tests. With a subscriber of this thread
    // only, tracing may skip a log statement that another thread has executed before.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let (endpoint, address) = listening().await;
    let agent = Agent::start(endpoint).await;
    let rogue = connected(&address).await;
    rogue.wait_for_subscribers(&NODE_TOPIC, 1).await;
    publish(&rogue, answer("1", &"\u{1b}".repeat(100_000), "x")).await;
    publish(&rogue, hello("worker-1")).await;
    agent.wait_for_nodes(|nodes| nodes.len() == 1).await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let is_expected = |line: &&str| line.contains("ignored a response of a node") && line.contains("\\u{1b}");
    let line = text.lines().find(is_expected);
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert_eq!(line.matches("\\u{1b}").count(), 128, "{line}");
    assert!(line.len() < 2000 && !line.contains('\u{1b}'), "{line}");
}

/// Connects a peer that subscribes to requests. The test sends the events of this peer.
async fn manual_peer(address: &str, tls: Tls) -> (Endpoint, Subscriber) {
    let endpoint = Endpoint::new().unwrap();
    let requests = endpoint.subscribe([NODE_TOPIC.clone()]).await;
    endpoint.connect(address, tls).await.unwrap();
    endpoint.wait_for_subscribers(&NODE_TOPIC, 1).await;
    (endpoint, requests)
}

/// Sends a request to a node, responds with `respond`, and returns the data that the agent accepts.
async fn dispatch(agent: &Agent, node: &str, respond: impl AsyncFnOnce()) -> String {
    let outcome = agent.dispatch(action(&["x"]), names(&[node]), LONG);
    let (outcome, ()) = tokio::join!(outcome, respond());
    outcome.unwrap().answers[node].data().unwrap().to_string()
}

#[tokio::test]
async fn only_the_peer_that_sent_the_hello_of_a_node_can_respond_for_it() {
    let authority = ephemeral_authority().unwrap();
    let tls = |name| Tls::Mutual(authority.issue(name).unwrap());
    let endpoint = Endpoint::new().unwrap();
    let address = endpoint.listen("127.0.0.1:0", tls("agent")).await.unwrap().local_addr().to_string();
    let agent = Agent::start(endpoint).await;
    let (owner, mut owner_requests) = manual_peer(&address, tls("worker-1")).await;
    publish(&owner, hello("worker-1")).await;
    agent.wait_for_nodes(|nodes| nodes.contains("worker-1")).await;

    let (thief, mut thief_requests) = manual_peer(&address, tls("worker-2")).await;
    publish(&thief, hello("worker-1")).await;
    // The events of a peer are handled in order. When this event has an effect, all previous events have been handled.
    publish(&thief, hello("worker-2")).await;
    agent.wait_for_nodes(|nodes| nodes.contains("worker-2")).await;
    let data = dispatch(&agent, "worker-1", async || {
        let reqid = next_request(&mut thief_requests).await.reqid;
        publish(&thief, answer(&reqid, "worker-1", "stolen")).await;
        publish(&thief, hello("worker-3")).await;
        agent.wait_for_nodes(|nodes| nodes.contains("worker-3")).await;
        publish(&owner, answer(&next_request(&mut owner_requests).await.reqid, "worker-1", "own")).await;
    })
    .await;
    assert_eq!(data, "\"own\"");

    // The name is free once its owner has disconnected.
    owner.shutdown().await;
    agent.wait_for_nodes(|nodes| !nodes.contains("worker-1")).await;
    publish(&thief, hello("worker-1")).await;
    agent.wait_for_nodes(|nodes| nodes.contains("worker-1")).await;
}

#[tokio::test]
async fn a_name_moves_to_the_newest_peer_of_a_host_and_back_when_this_peer_disconnects() {
    let (endpoint, address) = listening().await;
    let agent = Agent::start(endpoint).await;
    let (first, mut first_requests) = manual_peer(&address, Tls::Off).await;
    publish(&first, hello("worker-1")).await;
    agent.wait_for_nodes(|nodes| nodes.contains("worker-1")).await;
    let (second, mut second_requests) = manual_peer(&address, Tls::Off).await;
    publish(&second, hello("worker-1")).await;
    publish(&second, hello("worker-2")).await;
    agent.wait_for_nodes(|nodes| nodes.contains("worker-2")).await;
    // A repeated hello of the first peer changes nothing.
    publish(&first, hello("worker-1")).await;
    let data = dispatch(&agent, "worker-1", async || {
        publish(&first, answer(&next_request(&mut first_requests).await.reqid, "worker-1", "first")).await;
        publish(&first, hello("worker-3")).await;
        agent.wait_for_nodes(|nodes| nodes.contains("worker-3")).await;
        publish(&second, answer(&next_request(&mut second_requests).await.reqid, "worker-1", "second")).await;
    })
    .await;
    assert_eq!(data, "\"second\"");
    second.shutdown().await;
    let left = agent.wait_for_nodes(|nodes| !nodes.contains("worker-2")).await;
    assert_eq!(left, names(&["worker-1", "worker-3"]));
    let data = dispatch(&agent, "worker-1", async || {
        publish(&first, answer(&next_request(&mut first_requests).await.reqid, "worker-1", "first again"))
            .await;
    })
    .await;
    assert_eq!(data, "\"first again\"");
}
