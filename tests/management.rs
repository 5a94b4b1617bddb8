//! Nodes and agents against each other over loopback. Everything waits on events.

#![cfg(feature = "cli")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use zeek_bridge::data::{Topic, Value};
use zeek_bridge::endpoint::{Endpoint, EndpointConfig, Retry, Status, Subscriber};
use zeek_bridge::management::{
    Agent, DispatchRequest, DispatchResponse, JsonText, MAX_NODE_NAME, ManagementResult, NODE_TOPIC, Node,
    NodeEvent, NodeMessage, NotifyNodeHello, Values, failure,
};
use zeek_bridge::net::tls::{Tls, ephemeral_authority};
use zeek_bridge::zeek::{Event, Message};

/// Longer than any test takes; only a failing one waits for it.
const LONG: Duration = Duration::from_secs(60);
const SOON: Retry = Retry { first: Duration::from_millis(20), cap: Duration::from_millis(20) };

async fn listening() -> (Endpoint, String) {
    let endpoint = Endpoint::new().unwrap();
    let listener = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap();
    (endpoint, listener.local_addr().to_string())
}

async fn connected(address: &str) -> Endpoint {
    let endpoint = Endpoint::new().unwrap();
    endpoint.connect(address, Tls::Off, Some(SOON)).first_attempt().await.unwrap();
    endpoint
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| name.to_string()).collect()
}

fn action(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

fn values(name: &str) -> Values {
    Values::from_json_text(&format!("{{\"Cluster::node\": \"{name}\"}}")).unwrap()
}

async fn cluster(nodes: &[&str]) -> (Agent, Vec<Node>) {
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

async fn say(endpoint: &Endpoint, event: impl Into<Event>) {
    endpoint.publish(NODE_TOPIC.clone(), &Message::from(event.into()).into_value()).await.unwrap();
}

fn hello(node: &str) -> NotifyNodeHello {
    NotifyNodeHello { node: node.to_owned() }
}

fn answer(reqid: &str, node: &str, data: &str) -> DispatchResponse {
    ManagementResult::success(reqid, node, Some(JsonText::from(serde_json::json!(data)))).into()
}

/// The next event of the node API.
async fn heard(subscriber: &mut Subscriber) -> NodeMessage {
    let message = tokio::time::timeout(LONG, subscriber.recv()).await.unwrap().unwrap();
    let Message::Event(event) = Message::from_value(message.value().unwrap()).unwrap() else { panic!() };
    NodeMessage::parse(&event).unwrap().unwrap()
}

/// The next request.
async fn asked(subscriber: &mut Subscriber) -> DispatchRequest {
    loop {
        if let NodeMessage::Request(request) = heard(subscriber).await {
            return request;
        }
    }
}

#[tokio::test]
async fn a_dispatch_to_all_is_answered_by_all() {
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
async fn a_dispatch_to_some_is_answered_by_those_alone() {
    let (agent, nodes) = cluster(&["manager", "worker-1"]).await;
    let mut idle = nodes[0].events();
    let request = action(&["get_id_value", "Cluster::node"]);
    let outcome = agent.dispatch(request.clone(), names(&["worker-1"]), LONG).await.unwrap();
    assert_eq!(outcome.answers.keys().collect::<Vec<_>>(), ["worker-1"]);
    // What the manager hears next is the request to it, so it has passed over the first.
    agent.dispatch(request, names(&["manager"]), LONG).await.unwrap();
    let Some(NodeEvent::Request { request, .. }) = idle.recv().await else { panic!() };
    assert_eq!(request.nodes, names(&["manager"]));
}

#[tokio::test]
async fn failures_are_answers_in_zeek_s_words() {
    let (agent, _nodes) = cluster(&["worker-1"]).await;
    for (words, text) in [
        (&[][..], "no dispatch arguments provided"),
        (&["reboot"], "dispatch reboot unknown"),
        (&["get_id_value"], "get_id_value expects name of global identifier"),
        (&["get_id_value", "nothing"], "unknown id"),
    ] {
        let outcome = agent.dispatch(action(words), names(&[]), LONG).await.unwrap();
        let result = &outcome.answers["worker-1"];
        assert!(!result.is_success());
        assert_eq!(result.error().as_deref(), Some(text));
    }
}

#[tokio::test]
async fn a_node_that_is_not_there_is_missing() {
    let (agent, _nodes) = cluster(&["worker-1"]).await;
    let asked = names(&["worker-1", "worker-2"]);
    let outcome =
        agent.dispatch(action(&["get_id_value", "x"]), asked, Duration::from_millis(50)).await.unwrap();
    assert_eq!(outcome.missing, names(&["worker-2"]));
    assert_eq!(outcome.answers.len(), 1);
}

#[tokio::test]
async fn an_agent_without_peers_waits_for_nobody() {
    let agent = Agent::start(Endpoint::new().unwrap()).await;
    let outcome = agent.dispatch(action(&["x"]), names(&["worker-1"]), LONG).await.unwrap();
    assert_eq!(outcome.missing, names(&["worker-1"]));
}

#[tokio::test]
async fn a_panicking_handler_fails_its_dispatch_and_nothing_else() {
    let (endpoint, address) = listening().await;
    let agent = Agent::start(endpoint).await;
    let handler = async |action: String, _args: Vec<String>| match action.as_str() {
        "panic" => panic!("as told"),
        _ => Ok(Some(JsonText::from(serde_json::json!(1)))),
    };
    let _node = Node::start(connected(&address).await, "worker-1", handler).await;
    agent.wait_for_nodes(|nodes| nodes.len() == 1).await;
    for (word, success) in [("panic", false), ("fine", true), ("panic", false), ("fine", true)] {
        let outcome = agent.dispatch(action(&[word]), names(&[]), LONG).await.unwrap();
        assert_eq!(outcome.answers["worker-1"].is_success(), success, "{word}");
    }
}

#[tokio::test]
async fn a_slow_dispatch_does_not_hold_up_others() {
    let (endpoint, address) = listening().await;
    let agent = Arc::new(Agent::start(endpoint).await);
    let gate = Arc::new(Semaphore::new(0));
    let handler = {
        let gate = gate.clone();
        move |action: String, _args: Vec<String>| {
            let gate = gate.clone();
            async move {
                if action == "slow" {
                    let _ = gate.acquire().await;
                }
                Ok(Some(JsonText::from(serde_json::json!(action))))
            }
        }
    };
    let _node = Node::start(connected(&address).await, "worker-1", handler).await;
    agent.wait_for_nodes(|nodes| nodes.len() == 1).await;
    let slow = tokio::spawn({
        let agent = agent.clone();
        async move { agent.dispatch(action(&["slow"]), names(&[]), LONG).await.unwrap() }
    });
    for _ in 0..10 {
        let outcome = agent.dispatch(action(&["fast"]), names(&[]), LONG).await.unwrap();
        assert!(outcome.missing.is_empty());
    }
    assert!(!slow.is_finished());
    gate.add_permits(1);
    assert!(slow.await.unwrap().missing.is_empty());
}

#[tokio::test]
async fn a_late_answer_is_not_sent() {
    let (endpoint, address) = listening().await;
    let mut subscriber = endpoint.subscribe([NODE_TOPIC.clone()]).await;
    let handler = async |action: String, _args: Vec<String>| {
        if action == "never" {
            std::future::pending::<()>().await;
        }
        Ok(None)
    };
    let budget = Duration::from_secs(2);
    let node = Node::start_with_budget(connected(&address).await, "worker-1", handler, budget).await;
    let mut did = node.events();
    endpoint.wait_for_subscribers(&NODE_TOPIC, 1).await;
    for (reqid, word) in [("1", "never"), ("2", "at once")] {
        let request = DispatchRequest { reqid: reqid.into(), action: action(&[word]), nodes: names(&[]) };
        let value = Message::from(Event::from(request)).into_value();
        endpoint.publish(NODE_TOPIC.clone(), &value).await.unwrap();
    }
    loop {
        match did.recv().await.unwrap() {
            NodeEvent::Unanswered { reqid, .. } => {
                assert_eq!(reqid, "1");
                break;
            }
            NodeEvent::Answered { result, .. } => assert_eq!(result.reqid(), "2"),
            _ => {}
        }
    }
    node.stop().await;
    // All that was sent: a hello, and the one answer.
    let mut heard = Vec::new();
    endpoint.shutdown().await;
    while let Some(message) = subscriber.recv().await {
        let Message::Event(event) = Message::from_value(message.value().unwrap()).unwrap() else { panic!() };
        heard.push(NodeMessage::parse(&event).unwrap().unwrap());
    }
    let [NodeMessage::Hello(_), NodeMessage::Response(response)] = heard.as_slice() else {
        panic!("{heard:?}")
    };
    assert_eq!(response.reqid(), "2");
}

#[tokio::test]
async fn a_node_says_hello_again_to_an_agent_that_comes_back() {
    let (first, address) = listening().await;
    let agent = Agent::start(first.clone()).await;
    let node_endpoint = connected(&address).await;
    let mut status = node_endpoint.status();
    let _node = Node::start(node_endpoint, "worker-1", Values::default()).await;
    agent.wait_for_nodes(|nodes| nodes.len() == 1).await;
    first.shutdown().await;
    agent.wait_for_nodes(BTreeSet::is_empty).await;
    while !matches!(status.recv().await, Some(Status::PeerLost { .. })) {}
    let second = Endpoint::new().unwrap();
    let agent = Agent::start(second.clone()).await;
    second.listen(&address, Tls::Off).await.unwrap();
    agent.wait_for_nodes(|nodes| nodes.contains("worker-1")).await;
}

#[tokio::test]
async fn a_node_says_hello_when_the_agent_subscribes_later() {
    let (endpoint, address) = listening().await;
    let mut status = endpoint.status();
    let node = Node::start(connected(&address).await, "worker-1", Values::default()).await;
    while !matches!(status.recv().await, Some(Status::PeerAdded { .. })) {}
    let agent = Agent::start(endpoint).await;
    agent.wait_for_nodes(|nodes| nodes.contains("worker-1")).await;
    node.stop().await;
}

#[tokio::test]
async fn an_agent_takes_one_answer_from_each_node_it_asked() {
    let (endpoint, address) = listening().await;
    let agent = Arc::new(Agent::start(endpoint).await);
    // A peer of no good will: it answers for others, twice, without a name, and to other requests.
    let rogue = connected(&address).await;
    let mut requests = rogue.subscribe([NODE_TOPIC.clone()]).await;
    rogue.wait_for_subscribers(&NODE_TOPIC, 1).await;
    let say = async |event: Event| say(&rogue, event).await;
    say(NotifyNodeHello { node: "worker-1".into() }.into()).await;
    agent.wait_for_nodes(|nodes| nodes.len() == 1).await;
    let outcome = tokio::spawn({
        let agent = agent.clone();
        async move { agent.dispatch(action(&["x"]), names(&["worker-1", "worker-2"]), LONG).await.unwrap() }
    });
    let request = asked(&mut requests).await;
    let answer = |reqid: &str, node: Option<&str>, data: &str| {
        let (reqid, none) = (Value::from(reqid), Value::None);
        let node = node.map_or(Value::None, Value::from);
        let data = Value::from(format!("\"{data}\""));
        let fields = vec![reqid.clone(), true.into(), none.clone(), data, none, node];
        Event::new("Management::Node::API::node_dispatch_response", vec![reqid, Value::Vector(fields)])
    };
    say(answer("another", Some("worker-1"), "wrong request")).await;
    say(answer(&request.reqid, Some("worker-9"), "not asked")).await;
    say(answer(&request.reqid, None, "no name")).await;
    say(answer(&request.reqid, Some("worker-1"), "first")).await;
    say(answer(&request.reqid, Some("worker-1"), "second")).await;
    say(Event::new("Management::Node::API::node_dispatch_response", ("only one",))).await;
    say(answer(&request.reqid, Some("worker-2"), "no hello")).await;
    say(NotifyNodeHello { node: "worker-2".into() }.into()).await;
    say(answer(&request.reqid, Some("worker-2"), "last")).await;
    let outcome = outcome.await.unwrap();
    let data: Vec<_> =
        outcome.answers.iter().map(|(n, r)| (n.as_str(), r.data().unwrap().to_string())).collect();
    assert_eq!(data, [("worker-1", "\"first\"".to_owned()), ("worker-2", "\"last\"".to_owned())]);
}

#[tokio::test]
async fn requests_in_batches_are_answered_and_other_messages_passed_over() {
    let (endpoint, address) = listening().await;
    let mut answers = endpoint.subscribe([NODE_TOPIC.clone()]).await;
    let _node = Node::start(connected(&address).await, "worker-1", values("worker-1")).await;
    endpoint.wait_for_subscribers(&NODE_TOPIC, 1).await;
    let request = DispatchRequest {
        reqid: "r".into(),
        action: action(&["get_id_value", "Cluster::node"]),
        nodes: names(&["worker-1"]),
    };
    let batch =
        Message::Batch(vec![Event::new("other", ()).into(), Event::from(request).into()]).into_value();
    for value in [Value::Count(7), Value::Vector(vec![]), batch] {
        endpoint.publish(NODE_TOPIC.clone(), &value).await.unwrap();
    }
    loop {
        let value = answers.recv().await.unwrap().value().unwrap();
        let Message::Event(event) = Message::from_value(value).unwrap() else { panic!() };
        if let Some(NodeMessage::Response(response)) = NodeMessage::parse(&event).unwrap() {
            assert_eq!(response.reqid(), "r");
            return;
        }
    }
}

#[tokio::test]
async fn an_answer_too_large_for_the_wire_is_not_sent_and_costs_nothing_else() {
    let (endpoint, address) = listening().await;
    let agent = Agent::start(endpoint).await;
    let mut config = EndpointConfig::default();
    config.limits.max_frame = 1000;
    let small = Endpoint::with_config(config).unwrap();
    small.connect(&address, Tls::Off, Some(SOON)).first_attempt().await.unwrap();
    let handler = async |action: String, _args: Vec<String>| {
        Ok(Some(JsonText::from(serde_json::json!(action.repeat(if action == "big" { 1000 } else { 1 })))))
    };
    let node = Node::start(small, "worker-1", handler).await;
    let mut did = node.events();
    agent.wait_for_nodes(|nodes| nodes.len() == 1).await;
    let big = agent.dispatch(action(&["big"]), names(&[]), LONG);
    let unanswered = async {
        loop {
            if let NodeEvent::Unanswered { .. } = did.recv().await.unwrap() {
                return;
            }
        }
    };
    tokio::select! {
        outcome = big => panic!("{outcome:?}"),
        () = unanswered => {}
    }
    let outcome = agent.dispatch(action(&["ok"]), names(&[]), LONG).await.unwrap();
    assert!(outcome.answers["worker-1"].is_success());
    assert_eq!(NODE_TOPIC, Topic::from_static("zeek/management/node"));
}

#[tokio::test]
async fn a_hello_under_a_name_of_no_sane_length_is_ignored() {
    let (endpoint, address) = listening().await;
    let agent = Agent::start(endpoint).await;
    let rogue = connected(&address).await;
    rogue.wait_for_subscribers(&NODE_TOPIC, 1).await;
    for node in ["x".repeat(MAX_NODE_NAME + 1), "y".repeat(MAX_NODE_NAME), "worker-1".to_owned()] {
        let hello = Message::from(Event::from(NotifyNodeHello { node })).into_value();
        rogue.publish(NODE_TOPIC.clone(), &hello).await.unwrap();
    }
    let nodes = agent.wait_for_nodes(|nodes| nodes.contains("worker-1")).await;
    assert_eq!(nodes, names(&["worker-1", &"y".repeat(MAX_NODE_NAME)]));
}

/// A peer that speaks for nodes by hand, and the requests that it receives.
async fn by_hand(address: &str, tls: Tls) -> (Endpoint, Subscriber) {
    let endpoint = Endpoint::new().unwrap();
    let requests = endpoint.subscribe([NODE_TOPIC.clone()]).await;
    endpoint.connect(address, tls, None).first_attempt().await.unwrap();
    endpoint.wait_for_subscribers(&NODE_TOPIC, 1).await;
    (endpoint, requests)
}

/// Asks the node while `answers` answers by hand, and returns the data of its answer.
async fn ask(agent: &Agent, node: &str, answers: impl AsyncFnOnce()) -> String {
    let dispatch = agent.dispatch(action(&["x"]), names(&[node]), LONG);
    let (outcome, ()) = tokio::join!(dispatch, answers());
    outcome.unwrap().answers[node].data().unwrap().to_string()
}

#[tokio::test]
async fn a_name_and_its_answers_are_those_of_the_peer_that_said_hello() {
    let authority = ephemeral_authority().unwrap();
    let tls = |name| Tls::Mutual(authority.issue(name).unwrap());
    let endpoint = Endpoint::new().unwrap();
    let address = endpoint.listen("127.0.0.1:0", tls("agent")).await.unwrap().local_addr().to_string();
    let agent = Agent::start(endpoint).await;
    let (owner, mut owners) = by_hand(&address, tls("worker-1")).await;
    say(&owner, hello("worker-1")).await;
    agent.wait_for_nodes(|nodes| nodes.contains("worker-1")).await;

    let (thief, mut thiefs) = by_hand(&address, tls("worker-2")).await;
    say(&thief, hello("worker-1")).await;
    // What a peer says is taken in its order: once this is known, so is what came before.
    say(&thief, hello("worker-2")).await;
    agent.wait_for_nodes(|nodes| nodes.contains("worker-2")).await;
    let data = ask(&agent, "worker-1", async || {
        let reqid = asked(&mut thiefs).await.reqid;
        say(&thief, answer(&reqid, "worker-1", "stolen")).await;
        say(&thief, hello("worker-3")).await;
        agent.wait_for_nodes(|nodes| nodes.contains("worker-3")).await;
        say(&owner, answer(&asked(&mut owners).await.reqid, "worker-1", "own")).await;
    })
    .await;
    assert_eq!(data, "\"own\"");

    // Once its owner is gone, the name is free.
    owner.shutdown().await;
    agent.wait_for_nodes(|nodes| !nodes.contains("worker-1")).await;
    say(&thief, hello("worker-1")).await;
    agent.wait_for_nodes(|nodes| nodes.contains("worker-1")).await;
}

#[tokio::test]
async fn a_name_goes_to_the_last_peer_of_the_same_host_and_back_when_that_leaves() {
    let (endpoint, address) = listening().await;
    let agent = Agent::start(endpoint).await;
    let (first, mut firsts) = by_hand(&address, Tls::Off).await;
    say(&first, hello("worker-1")).await;
    agent.wait_for_nodes(|nodes| nodes.contains("worker-1")).await;
    let (second, mut seconds) = by_hand(&address, Tls::Off).await;
    say(&second, hello("worker-1")).await;
    say(&second, hello("worker-2")).await;
    agent.wait_for_nodes(|nodes| nodes.contains("worker-2")).await;
    // That the first repeats its hello changes nothing.
    say(&first, hello("worker-1")).await;
    let data = ask(&agent, "worker-1", async || {
        say(&first, answer(&asked(&mut firsts).await.reqid, "worker-1", "first")).await;
        say(&first, hello("worker-3")).await;
        agent.wait_for_nodes(|nodes| nodes.contains("worker-3")).await;
        say(&second, answer(&asked(&mut seconds).await.reqid, "worker-1", "second")).await;
    })
    .await;
    assert_eq!(data, "\"second\"");
    second.shutdown().await;
    let left = agent.wait_for_nodes(|nodes| !nodes.contains("worker-2")).await;
    assert_eq!(left, names(&["worker-1", "worker-3"]));
    let data = ask(&agent, "worker-1", async || {
        say(&first, answer(&asked(&mut firsts).await.reqid, "worker-1", "first again")).await;
    })
    .await;
    assert_eq!(data, "\"first again\"");
}

#[tokio::test]
async fn a_node_repeats_its_hello_and_reports_the_first_alone() {
    let (endpoint, address) = listening().await;
    let mut subscriber = endpoint.subscribe([NODE_TOPIC.clone()]).await;
    let node = Node::start(connected(&address).await, "worker-1", values("worker-1")).await;
    let mut did = node.events();
    assert_eq!(heard(&mut subscriber).await, NodeMessage::Hello(hello("worker-1")));
    // From here on, time passes as soon as everybody waits for it.
    tokio::time::pause();
    for _ in 0..3 {
        assert_eq!(heard(&mut subscriber).await, NodeMessage::Hello(hello("worker-1")));
    }
    tokio::time::resume();
    let action = action(&["get_id_value", "Cluster::node"]);
    say(&endpoint, DispatchRequest { reqid: "r".into(), action, nodes: names(&[]) }).await;
    while !matches!(heard(&mut subscriber).await, NodeMessage::Response(_)) {}
    // The first hello may have been reported before anybody asked.
    let first = did.recv().await.unwrap();
    if matches!(first, NodeEvent::Hello { .. }) {
        assert!(matches!(did.recv().await.unwrap(), NodeEvent::Request { .. }));
    } else {
        assert!(matches!(first, NodeEvent::Request { .. }), "{first:?}");
    }
}

#[tokio::test]
async fn a_request_that_is_not_utf_8_is_answered_with_a_failure() {
    let (endpoint, address) = listening().await;
    let mut subscriber = endpoint.subscribe([NODE_TOPIC.clone()]).await;
    let _node = Node::start(connected(&address).await, "worker-1", values("worker-1")).await;
    endpoint.wait_for_subscribers(&NODE_TOPIC, 1).await;
    let text = |text: &[u8]| Value::String(text.to_vec().into());
    let get = || vec![text(b"get_id_value"), text(b"Cluster::node")];
    for (reqid, action, nodes) in [
        ("action", vec![text(b"get\xff")], vec![]),
        ("argument", vec![text(b"get_id_value"), text(b"\xc3")], vec![text(b"worker-1"), text(b"\xff")]),
        // These two are for others.
        ("other", vec![text(b"\xff")], vec![text(b"worker-2")]),
        ("other", get(), vec![text(b"worker-1\xff")]),
        ("nodes", get(), vec![text(b"\xff"), text(b"worker-1")]),
    ] {
        let nodes = Value::Set(nodes.into_iter().collect());
        say(&endpoint, Event::new(DispatchRequest::NAME, (reqid, Value::Vector(action), nodes))).await;
    }
    let mut answers = BTreeMap::new();
    while answers.len() < 3 {
        if let NodeMessage::Response(response) = heard(&mut subscriber).await {
            let error = response.result().error().map(|error| error.into_owned());
            answers.insert(response.reqid().to_owned(), error);
        }
    }
    let not_utf8 = Some(failure::NOT_UTF8.to_owned());
    let expected = [("action", not_utf8.clone()), ("argument", not_utf8), ("nodes", None)];
    assert_eq!(answers, expected.map(|(reqid, error)| (reqid.to_owned(), error)).into());
}
