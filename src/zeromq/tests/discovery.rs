//! The discovery of nodes.

use serde_json::Value as Json;

use super::captures::{folder, lines};
use super::*;
use crate::zeromq::discovery::Discovery;

const OWN: &str = "zeromq_bridge-1_host_1_N";
const BACKEND: &str = "Cluster::Backend::ZeroMQ::hello";
const CLUSTER: &str = "Cluster::hello";

fn discovery() -> Discovery {
    Discovery::new("bridge-1", OWN)
}

fn topic(id: &str) -> Topic {
    Topic::from(format!("zeek.cluster.nodeid.{id}."))
}

fn subscribed(id: &str) -> SubscriptionChange {
    SubscriptionChange::Subscribed(topic(id))
}

fn cancelled(id: &str) -> SubscriptionChange {
    SubscriptionChange::Cancelled(topic(id))
}

fn hello_to(to: &str, name: &str, id: &str) -> Envelope {
    let value = ZeekMessage::from(ZeekEvent::new(name, ("worker-1", id))).into_value();
    Envelope::data(super::id(9), topic(to), &value).unwrap()
}

fn apply(discovery: &mut Discovery, change: &SubscriptionChange) -> Vec<(Topic, ZeekEvent)> {
    discovery.handle_subscription(change)
}

/// Passes a hello of a node to this node.
fn hello(discovery: &mut Discovery, id: &str) -> Vec<(Topic, ZeekEvent)> {
    discovery.handle_message(&hello_to(OWN, BACKEND, id)).into_iter().collect()
}

/// Returns the expected events to a node.
fn sent(id: &str, names: &[&str]) -> Vec<(Topic, ZeekEvent)> {
    names.iter().map(|name| (topic(id), ZeekEvent::new(*name, ("bridge-1", OWN)))).collect()
}

#[test]
fn the_second_hello_follows_the_subscription_and_the_hello_of_a_node() {
    let mut discovery = discovery();
    let subscriptions = discovery.subscriptions();
    assert_eq!(subscriptions, [topic(OWN), Topic::from_static("zeek.cluster.node.bridge-1.")]);
    for topic in subscriptions {
        assert_eq!(apply(&mut discovery, &SubscriptionChange::Subscribed(topic)), []);
    }
    assert_eq!(apply(&mut discovery, &subscribed("a.b")), sent("a.b", &[BACKEND]));
    assert_eq!(apply(&mut discovery, &subscribed("a.b")), [], "a repeated subscription");
    assert_eq!(hello(&mut discovery, "a.b"), sent("a.b", &[CLUSTER]));
    assert_eq!(hello(&mut discovery, "a.b"), [], "a repeated hello");

    assert_eq!(hello(&mut discovery, "c"), []);
    assert_eq!(hello(&mut discovery, "c"), []);
    assert_eq!(apply(&mut discovery, &subscribed("c")), sent("c", &[BACKEND, CLUSTER]));
}

#[test]
fn a_node_that_is_gone_is_forgotten() {
    let mut discovery = discovery();
    for _ in 0..3 {
        assert_eq!(apply(&mut discovery, &subscribed("a")), sent("a", &[BACKEND]));
        assert_eq!(hello(&mut discovery, "a"), sent("a", &[CLUSTER]));
        assert_eq!(apply(&mut discovery, &cancelled("a")), []);
    }
    hello(&mut discovery, "a");
    assert_eq!(apply(&mut discovery, &cancelled("a")), []);
    assert_eq!(apply(&mut discovery, &subscribed("a")), sent("a", &[BACKEND]), "not the second hello");
}

#[test]
fn other_messages_and_subscriptions_are_ignored() {
    let mut discovery = discovery();
    apply(&mut discovery, &subscribed("a"));
    let not_an_event = Envelope::data(id(9), topic(OWN), &Value::Count(1)).unwrap();
    let wrong_arguments = ZeekMessage::from(ZeekEvent::new(BACKEND, ("worker-1",))).into_value();
    for envelope in [
        hello_to("another", BACKEND, "a"),
        hello_to(OWN, CLUSTER, "a"),
        hello_to(OWN, BACKEND, OWN),
        not_an_event,
        Envelope::data(id(9), topic(OWN), &wrong_arguments).unwrap(),
    ] {
        assert_eq!(discovery.handle_message(&envelope), []);
    }
    for topic in
        ["", "zeek.cluster.nodeid.", "zeek.cluster.nodeid..", "zeek.cluster.nodeid.b", "zeek.cluster.node.b."]
    {
        let change = SubscriptionChange::Subscribed(Topic::from(topic));
        assert_eq!(apply(&mut discovery, &change), [], "{topic}");
    }
    assert_eq!(hello(&mut discovery, "a"), sent("a", &[CLUSTER]), "the state is unchanged");
}

/// If the connection of this node's XSUB is lost, the other nodes receive the cancellation of its subscription. They treat its next
/// subscription as that of a new node.
#[test]
fn a_new_subscription_of_this_node_starts_the_hellos_again() {
    for hello_is_early in [false, true] {
        let mut discovery = discovery();
        apply(&mut discovery, &subscribed(OWN));
        apply(&mut discovery, &subscribed("a"));
        hello(&mut discovery, "a");
        if hello_is_early {
            // Both connections of this node deliver in any order.
            assert_eq!(hello(&mut discovery, "a"), []);
        }
        assert_eq!(apply(&mut discovery, &cancelled(OWN)), []);
        let names: &[&str] = if hello_is_early { &[BACKEND, CLUSTER] } else { &[BACKEND] };
        assert_eq!(apply(&mut discovery, &subscribed(OWN)), sent("a", names));
        if !hello_is_early {
            assert_eq!(hello(&mut discovery, "a"), sent("a", &[CLUSTER]));
        }
    }
    let mut discovery = discovery();
    apply(&mut discovery, &subscribed("a"));
    apply(&mut discovery, &cancelled(OWN));
    assert_eq!(hello(&mut discovery, "a"), [], "the first hello is missing");
    assert_eq!(apply(&mut discovery, &subscribed(OWN)), sent("a", &[BACKEND, CLUSTER]));
}

#[test]
fn a_new_connection_receives_the_subscriptions_again() {
    let mut discovery = discovery();
    apply(&mut discovery, &subscribed("a"));
    apply(&mut discovery, &subscribed("b"));
    hello(&mut discovery, "b");
    discovery.handle_disconnected();
    assert_eq!(apply(&mut discovery, &subscribed("b")), sent("b", &[BACKEND, CLUSTER]));
    assert_eq!(apply(&mut discovery, &subscribed("a")), sent("a", &[BACKEND]));
    assert_eq!(hello(&mut discovery, "a"), sent("a", &[CLUSTER]));
}

#[test]
fn the_number_of_nodes_and_the_length_of_their_ids_are_limited() {
    let mut discovery = discovery();
    let longest = "x".repeat(1024);
    assert_eq!(apply(&mut discovery, &subscribed(&format!("{longest}x"))), []);
    assert_eq!(apply(&mut discovery, &subscribed(&longest)).len(), 1);
    let ids = || (0..2000).map(|id| id.to_string());
    assert_eq!(hello(&mut discovery, &longest).len(), 1);
    // The oldest node without a hello is replaced.
    for id in ids() {
        assert_eq!(apply(&mut discovery, &subscribed(&id)), sent(&id, &[BACKEND]));
    }
    assert_eq!(
        apply(&mut discovery, &subscribed(&longest)),
        [],
        "a node that has sent a hello is not replaced"
    );
    let known = ids().filter(|id| !hello(&mut discovery, id).is_empty());
    assert_eq!(known.collect::<Vec<_>>(), ids().skip(977).collect::<Vec<_>>());
    assert_eq!(apply(&mut discovery, &subscribed("new")), [], "all nodes have sent a hello");
    apply(&mut discovery, &cancelled("1000"));
    assert_eq!(apply(&mut discovery, &subscribed("new")), sent("new", &[BACKEND]));

    let mut discovery = Discovery::new("bridge-1", OWN);
    hello(&mut discovery, &format!("{longest}x"));
    (0..1025).for_each(|id| drop(hello(&mut discovery, &id.to_string())));
    assert_eq!(apply(&mut discovery, &subscribed(&format!("{longest}x"))), []);
    assert_eq!(apply(&mut discovery, &subscribed("0")), sent("0", &[BACKEND]), "forgotten");
    assert_eq!(apply(&mut discovery, &subscribed("1")), sent("1", &[BACKEND, CLUSTER]));
}

/// Replays what each node of a captured cluster received on its two connections. The hellos are those that it sent.
#[test]
fn each_captured_node_sends_the_same_hellos() {
    let frames = lines(folder("cluster").join("frames.jsonl"));
    let events = lines(folder("cluster").join("events.jsonl"));
    let part = |event: &Json, at: usize| {
        data_encoding::HEXLOWER.decode(event["parts"][at].as_str().unwrap().as_bytes()).unwrap()
    };
    // The connections of the XSUB and the XPUB of each node.
    for (name, xsub, xpub) in [
        ("manager-1", "00", "01"),
        ("logger-1", "03", "04"),
        ("proxy-1", "06", "07"),
        ("worker-1", "09", "10"),
    ] {
        let id = frames.iter().find_map(|frame| {
            let topic = frame["topic"].as_str()?.strip_prefix("zeek.cluster.nodeid.")?;
            (frame["connection"] == xsub && frame["subscribe"] == true).then(|| topic.trim_end_matches('.'))
        });
        let mut discovery = Discovery::new(name, id.unwrap());
        let (mut publisher, mut sent, mut expected) =
            (End::established(SocketType::XPub, |_| {}), Vec::new(), Vec::new());
        for frame in &frames {
            let is_from_proxy = frame["from"] == "listener";
            let event = frame["event"].as_u64().filter(|_| frame["part"] == 0);
            let event = event.map(|event| &events[usize::try_from(event).unwrap()]);
            let hellos = match frame["connection"].as_str().unwrap() {
                connection if connection == xpub && is_from_proxy => {
                    let topic = frame["topic"].as_str().map(Topic::from);
                    let change = match (topic, frame["kind"].as_str().unwrap()) {
                        (Some(topic), "subscription-message") if frame["subscribe"] == false => {
                            SubscriptionChange::Cancelled(topic)
                        }
                        (Some(topic), "subscription-message" | "command") => {
                            SubscriptionChange::Subscribed(topic)
                        }
                        _ => continue,
                    };
                    apply(&mut discovery, &change)
                }
                connection if connection == xsub && is_from_proxy => {
                    let Some(event) = event else { continue };
                    let topic = Topic::new(part(event, 0)).unwrap();
                    let value = Value::from_json(&event["value"]).unwrap();
                    discovery
                        .handle_message(&Envelope::data(super::id(9), topic, &value).unwrap())
                        .into_iter()
                        .collect()
                }
                connection if connection == xpub => {
                    let Some(event) = event else { continue };
                    if event["value"].to_string().contains("hello\"") {
                        expected.push((part(event, 0), part(event, 3)));
                    }
                    continue;
                }
                _ => continue,
            };
            for (topic, event) in hellos {
                let value = ZeekMessage::from(event).into_value();
                publisher
                    .session
                    .send(&Envelope::data(super::id(9), topic.clone(), &value).unwrap())
                    .unwrap();
                publisher.poll();
                let output = publisher.take_output();
                let parts =
                    message(&[topic.as_bytes(), super::id(1).to_string().as_bytes(), b"broker-bin-v1", b""]);
                // Without the size of the last part.
                let payload = output[parts.len()..].to_vec();
                sent.push((topic.as_bytes().to_vec(), payload));
            }
        }
        assert_eq!(sent.len(), 6, "{name}");
        assert_eq!(sent, expected, "{name}");
    }
}

#[test]
fn a_node_can_be_greeted_after_its_hello() {
    let mut discovery = discovery();
    assert_eq!(discovery.handle_subscription_quietly(&subscribed("a")), []);
    assert_eq!(apply(&mut discovery, &subscribed("a")), [], "a repeated subscription");
    assert_eq!(apply(&mut discovery, &subscribed(OWN)), [], "a subscription of this node");
    assert_eq!(apply(&mut discovery, &cancelled(OWN)), []);
    assert_eq!(hello(&mut discovery, "a"), sent("a", &[BACKEND, CLUSTER]));
    assert_eq!(hello(&mut discovery, "a"), []);

    hello(&mut discovery, "b");
    let events = discovery.handle_subscription_quietly(&subscribed("b"));
    assert_eq!(events, sent("b", &[BACKEND, CLUSTER]), "its hello arrived first");
}
