//! Nodes: handlers, hellos, and requests of unusual forms.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use zeek_bridge::data::{Topic, Value};
use zeek_bridge::endpoint::{Endpoint, EndpointConfig, Status};
use zeek_bridge::management::{
    Agent, DispatchError, DispatchRequest, JsonText, NODE_TOPIC, Node, NodeEvent, NodeMessage, Values,
};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::zeek::{Event, ZeekMessage};

use crate::support::*;

#[tokio::test]
async fn failures_have_the_same_texts_as_in_zeek() {
    let (agent, _nodes) = cluster(&["worker-1"]).await;
    for (request, text) in [
        (&[][..], "no dispatch arguments provided"),
        (&["reboot"], "dispatch reboot unknown"),
        (&["get_id_value"], "get_id_value expects name of global identifier"),
        (&["get_id_value", "nothing"], "unknown id"),
    ] {
        let outcome = agent.dispatch(action(request), names(&[]), LONG).await.unwrap();
        let result = &outcome.answers["worker-1"];
        assert!(!result.is_success());
        assert_eq!(result.error().as_deref(), Some(text));
    }
}

#[tokio::test]
async fn only_the_dispatch_of_a_panicking_handler_fails() {
    let (endpoint, address) = listening().await;
    let agent = Agent::start(endpoint).await;
    let handler = async |action: String, _args: Vec<String>| match action.as_str() {
        "panic" => panic!("requested"),
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
async fn a_slow_dispatch_does_not_delay_others() {
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
async fn a_late_response_is_not_sent() {
    let (endpoint, address) = listening().await;
    let mut subscriber = endpoint.subscribe([NODE_TOPIC.clone()]).await;
    let handler = async |action: String, _args: Vec<String>| {
        if action == "never" {
            std::future::pending::<()>().await;
        }
        Ok(None)
    };
    let limit = Duration::from_secs(2);
    let node = Node::start_with_time_limit(connected(&address).await, "worker-1", handler, limit).await;
    let mut events = node.events();
    endpoint.wait_for_subscribers(&NODE_TOPIC, 1).await;
    for (reqid, word) in [("1", "never"), ("2", "at once")] {
        let request = DispatchRequest { reqid: reqid.into(), action: action(&[word]), nodes: names(&[]) };
        let value = ZeekMessage::from(Event::from(request)).into_value();
        endpoint.publish(NODE_TOPIC.clone(), &value).await.unwrap();
    }
    loop {
        match events.recv().await.unwrap() {
            NodeEvent::Unanswered { reqid, .. } => {
                assert_eq!(reqid, "1");
                break;
            }
            NodeEvent::Answered { result, .. } => assert_eq!(result.reqid(), "2"),
            _ => {}
        }
    }
    node.stop().await;
    // The node sent a hello and one response.
    let mut received = Vec::new();
    endpoint.shutdown().await;
    while let Some(message) = subscriber.recv().await {
        let ZeekMessage::Event(event) = message.zeek_message().unwrap() else { panic!() };
        received.push(NodeMessage::parse(&event).unwrap().unwrap());
    }
    let [NodeMessage::Hello(_), NodeMessage::Response(response)] = received.as_slice() else {
        panic!("{received:?}")
    };
    assert_eq!(response.reqid(), "2");
}

#[tokio::test]
async fn a_node_sends_another_hello_to_an_agent_that_restarts() {
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
async fn a_node_sends_a_hello_when_the_agent_subscribes_later() {
    let (endpoint, address) = listening().await;
    let mut status = endpoint.status();
    let node = Node::start(connected(&address).await, "worker-1", Values::default()).await;
    while !matches!(status.recv().await, Some(Status::PeerAdded { .. })) {}
    let agent = Agent::start(endpoint).await;
    agent.wait_for_nodes(|nodes| nodes.contains("worker-1")).await;
    node.stop().await;
}

#[tokio::test]
async fn requests_in_batches_are_answered_and_other_messages_ignored() {
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
        ZeekMessage::Batch(vec![Event::new("other", ()).into(), Event::from(request).into()]).into_value();
    for value in [Value::Count(7), Value::Vector(vec![]), batch] {
        endpoint.publish(NODE_TOPIC.clone(), &value).await.unwrap();
    }
    loop {
        let value = answers.recv().await.unwrap().value();
        let ZeekMessage::Event(event) = ZeekMessage::from_value(value).unwrap() else { panic!() };
        if let Some(NodeMessage::Response(response)) = NodeMessage::parse(&event).unwrap() {
            assert_eq!(response.reqid(), "r");
            return;
        }
    }
}

#[tokio::test]
async fn a_response_too_large_for_a_frame_affects_no_other_request() {
    let (endpoint, address) = listening().await;
    let agent = Agent::start(endpoint).await;
    let mut config = EndpointConfig::default();
    config.limits.max_frame = 1000;
    let small = Endpoint::with_config(config).unwrap();
    small.connect_with_retry(&address, Tls::Off, SOON).await.unwrap();
    let handler = async |action: String, _args: Vec<String>| {
        Ok(Some(JsonText::from(serde_json::json!(action.repeat(if action == "big" { 1000 } else { 1 })))))
    };
    let node = Node::start(small, "worker-1", handler).await;
    let mut events = node.events();
    agent.wait_for_nodes(|nodes| nodes.len() == 1).await;
    let big = agent.dispatch(action(&["big"]), names(&[]), LONG);
    let unanswered = async {
        loop {
            if let NodeEvent::Unanswered { .. } = events.recv().await.unwrap() {
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
async fn a_node_repeats_its_hello_and_reports_only_the_first() {
    let (endpoint, address) = listening().await;
    let mut subscriber = endpoint.subscribe([NODE_TOPIC.clone()]).await;
    let node = Node::start(connected(&address).await, "worker-1", values("worker-1")).await;
    let mut events = node.events();
    assert_eq!(next_event(&mut subscriber).await, NodeMessage::Hello(hello("worker-1")));
    // From here on, tokio advances the paused clock to the next timer when all tasks are idle.
    tokio::time::pause();
    for _ in 0..3 {
        assert_eq!(next_event(&mut subscriber).await, NodeMessage::Hello(hello("worker-1")));
    }
    tokio::time::resume();
    let action = action(&["get_id_value", "Cluster::node"]);
    publish(&endpoint, DispatchRequest { reqid: "r".into(), action, nodes: names(&[]) }).await;
    while !matches!(next_event(&mut subscriber).await, NodeMessage::Response(_)) {}
    // The first hello may have been reported before `events` subscribed.
    let first = events.recv().await.unwrap();
    if matches!(first, NodeEvent::Hello { .. }) {
        assert!(matches!(events.recv().await.unwrap(), NodeEvent::Request { .. }));
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
        // The next two requests are not addressed to this node.
        ("other", vec![text(b"\xff")], vec![text(b"worker-2")]),
        ("other", get(), vec![text(b"worker-1\xff")]),
        ("nodes", get(), vec![text(b"\xff"), text(b"worker-1")]),
    ] {
        let nodes = Value::Set(nodes.into_iter().collect());
        publish(&endpoint, Event::new(DispatchRequest::NAME, (reqid, Value::Vector(action), nodes))).await;
    }
    let mut answers = BTreeMap::new();
    while answers.len() < 3 {
        if let NodeMessage::Response(response) = next_event(&mut subscriber).await {
            let error = response.result().error().map(|error| error.into_owned());
            answers.insert(response.reqid().to_owned(), error);
        }
    }
    let not_utf8 = Some(DispatchError::NotUtf8.to_string());
    let expected = [("action", not_utf8.clone()), ("argument", not_utf8), ("nodes", None)];
    assert_eq!(answers, expected.map(|(reqid, error)| (reqid.to_owned(), error)).into());
}
