//! Links that connect to the proxy of a ZeroMQ cluster.

use std::collections::BTreeSet;

use zeek_bridge::data::{Topic, Value};
use zeek_bridge::endpoint::{Endpoint, Subscriber};
use zeek_bridge::wire::EnvelopeType;
use zeek_bridge::zeek::{Event, ZeekMessage};

use crate::cluster::BridgeProcess;
use crate::peers::*;
use crate::program::child::soon;
use crate::raw_websocket::RawClient;
use crate::zeromq_proxy::{Proxy, payload};

pub const BROKER: &str = "[link.zeek]\nlisten = \"127.0.0.1:0\"\ntls = \"off\"\n";

pub fn rule(name: &str, from: &str, to: &str, more: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\nfrom = {from}\nto = {to}\n{more}\n")
}

/// Starts a bridge with a Broker link `zeek` and a link `cluster` to the proxy, and waits until it knows the subscriptions of the
/// nodes. Topics and events under `/t` cross in both directions.
fn bridge_to(proxy: &Proxy, more: &str) -> BridgeProcess {
    let topics = "topics = [\"/t\", \"zeek/cluster/worker\"]";
    let rules =
        [rule("in", "\"cluster\"", "\"zeek\"", topics), rule("out", "\"zeek\"", "\"cluster\"", topics)];
    let cluster = format!("[link.cluster]\nconnect = \"{}\"\n", proxy.url);
    let bridge = BridgeProcess::start(&format!("{BROKER}{cluster}{}{more}", rules.concat()));
    bridge.until("the subscriptions of the nodes", |bridge| {
        let link = bridge.link("cluster");
        let peers = link["peers"].as_array().unwrap();
        link["ready"] == true && peers.iter().any(|peer| peer["filter"].as_array().unwrap().len() > 1)
    });
    bridge
}

/// Returns the name of an event, and its topic.
pub async fn next(received: &mut Subscriber) -> (String, String) {
    let message = soon("an event", received.recv()).await.unwrap();
    let ZeekMessage::Event(event) = message.zeek_message().unwrap() else { panic!("not an event") };
    (event.name, message.topic().to_string())
}

/// Publishes an event once the bridge subscribes to the topic.
pub async fn send(endpoint: &Endpoint, topic: &'static str, event: Event) {
    soon("a subscription", endpoint.wait_for_subscribers(topic, 1)).await;
    endpoint.publish(topic, event).await.unwrap();
}

/// Another node of the cluster publishes an event without arguments.
fn publish(proxy: &Proxy, topic: &str, sender: &str, event: &str) {
    let payload = payload(Event::new(event, ()));
    proxy.publish(&[topic.as_bytes(), sender.as_bytes(), b"broker-bin-v1", &payload]);
}

/// Returns the topic, the sender and the payload of the next event that the bridge publishes.
fn published(proxy: &Proxy) -> (String, String, Vec<u8>) {
    let mut parts = proxy.next_published();
    let text = |part: &[u8]| String::from_utf8(part.to_vec()).unwrap();
    assert_eq!(text(&parts[2]), "broker-bin-v1");
    (text(&parts[0]), text(&parts[1]), parts.swap_remove(3))
}

#[tokio::test(flavor = "multi_thread")]
async fn events_cross_with_the_topics_of_each_side() {
    let proxy = Proxy::with_subscriptions(&["zeek.cluster.worker", "/t"], false);
    let soar = "[link.soar]\nlisten = \"ws://127.0.0.1:0\"\n";
    let topics = "topics = [\"/t\", \"zeek.cluster.worker\"]";
    let more = [
        rule("soar", "\"cluster\"", "\"soar\"", topics),
        rule("from-soar", "\"soar\"", "\"cluster\"", topics),
    ];
    let bridge = bridge_to(&proxy, &format!("{}{soar}", more.concat()));
    let changes: BTreeSet<Vec<u8>> = (0..3).map(|_| proxy.next_change()).collect();
    let expected = ["\x01/t", "\x01zeek.cluster.worker", "\x01zeek/cluster/worker"];
    assert_eq!(changes, expected.iter().map(|change| change.as_bytes().to_vec()).collect());

    let zeek = peer();
    let mut at_zeek = zeek.subscribe(["/t", "zeek"].map(Topic::from)).await;
    let zeek = connected(zeek, &bridge.address("zeek")).await;
    let url = bridge.address("soar");
    let mut raw =
        RawClient::connect(url.strip_prefix("ws://").unwrap(), "", &["/t", "zeek/cluster/worker"]).await;
    bridge.until("two peers", |bridge| bridge.peers("zeek") + bridge.peers("soar") == 2);
    for (topic, translated) in [("zeek.cluster.worker", "zeek/cluster/worker"), ("/t/x", "/t/x")] {
        publish(&proxy, topic, "node-1", "Demo::in");
        assert_eq!(next(&mut at_zeek).await, ("Demo::in".to_owned(), translated.to_owned()));
        let text = soon("an event", raw.text()).await;
        assert!(text.contains(&format!(r#""topic":"{translated}""#)) && text.contains("Demo::in"), "{text}");
    }
    let id = bridge.link("cluster")["id"].as_str().unwrap().to_owned();
    let client = connected(peer(), &url).await;
    for (number, endpoint) in [&zeek, &client].into_iter().enumerate() {
        for (topic, translated) in [("zeek/cluster/worker", "zeek.cluster.worker"), ("/t/y", "/t/y")] {
            let event = Event::new("Demo::out", (u64::try_from(number).unwrap(),));
            send(endpoint, topic, event.clone()).await;
            assert_eq!(published(&proxy), (translated.to_owned(), id.clone(), payload(event)));
        }
    }
    let link = bridge.link("cluster");
    let shown: BTreeSet<_> = link["peers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|peer| (peer["protocol"].as_str().unwrap(), peer["socket"].as_str().unwrap()))
        .collect();
    assert_eq!(shown, BTreeSet::from([("zeromq", "XPUB"), ("zeromq", "XSUB")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_split_and_events_of_one_cluster_stay_there() {
    let proxy = Proxy::with_subscriptions(&["zeek.cluster.nodeid.n.", "/t"], false);
    let mut bridge = bridge_to(&proxy, "");
    let zeek = peer();
    let mut at_zeek = subscribe(&zeek, "/t").await;
    let zeek = connected(zeek, &bridge.address("zeek")).await;
    let events = ["Demo::a", "Cluster::hello", "Demo::b"].map(|name| event(Event::new(name, ())));
    let log = Value::Vector(vec![
        Value::EnumValue("Conn::LOG".into()),
        Value::EnumValue("Log::WRITER_ASCII".into()),
        Value::String("conn".into()),
        Value::String(b"\0\0\0\0"[..].into()),
    ]);
    let message = |kind, content| Value::Vector(vec![Value::Count(1), Value::Count(kind), content]);
    soon("a subscription", zeek.wait_for_subscribers("/t", 1)).await;
    for value in [
        message(5, Value::Vector(events.into())),
        message(3, log),
        event(Event::new("Cluster::hello", ())),
        event(Event::new("Demo::last", ())),
    ] {
        zeek.publish("/t", &value).await.unwrap();
    }
    for name in ["Demo::a", "Demo::b", "Demo::last"] {
        assert_eq!(published(&proxy).2, payload(Event::new(name, ())));
    }
    let line = bridge.program.says("cluster_only");
    assert!(line.contains("topic=\"/t\"") && line.contains("event=\"Cluster::hello\""), "{line}");
    assert_eq!((bridge.refused("cluster_only"), &bridge.link("cluster")["not_carried"]), (1, &2.into()));

    for name in ["Cluster::Backend::ZeroMQ::hello", "Cluster::Experimental::started", "Demo::in"] {
        publish(&proxy, "/t", "node-1", name);
    }
    assert_eq!(next(&mut at_zeek).await.0, "Demo::in");
    assert_eq!(bridge.refused("cluster_only"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_the_bridge_are_dropped_and_other_senders_prove_nothing() {
    let proxy = Proxy::with_subscriptions(&["/t", "/u"], false);
    let bridge = bridge_to(&proxy, "");
    let zeek = peer();
    let mut at_zeek = subscribe(&zeek, "/t").await;
    let zeek = connected(zeek, &bridge.address("zeek")).await;
    bridge.until("a peer", |bridge| bridge.peers("zeek") == 1);
    let own = bridge.link("zeek")["id"].as_str().unwrap().to_owned();
    publish(&proxy, "/t", &own, "Demo::returned");
    // A node that sends under the id of a Broker peer does not keep the event from this peer.
    publish(&proxy, "/t", &zeek.id().to_string(), "Demo::spoofed");
    assert_eq!(next(&mut at_zeek).await.0, "Demo::spoofed");
    assert_eq!(bridge.refused("returned"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_another_bridge_reach_only_broker_links() {
    let proxy = Proxy::with_subscriptions(&["/t", "/u"], false);
    let other = Proxy::with_subscriptions(&["/t"], false);
    let links = format!(
        "[link.other]\nconnect = \"{}\"\nloop = \"accepted\"\n[link.soar]\nlisten = \"ws://127.0.0.1:0\"\n",
        other.url
    );
    let far = rule("far", "\"cluster\"", "[\"other\", \"soar\"]", "topics = \"/t\"");
    let bridge = bridge_to(&proxy, &format!("{far}{links}"));
    let mut broker = raw(3, &bridge.address("zeek"), &["/t"]).await;
    let url = bridge.address("soar");
    let mut soar = RawClient::connect(url.strip_prefix("ws://").unwrap(), "", &["/t"]).await;
    bridge.until("all peers", |bridge| {
        let link = bridge.link("other");
        let knows = |peer: &serde_json::Value| peer["filter"].as_array().unwrap().len() == 1;
        bridge.peers("zeek") + bridge.peers("soar") == 2
            && link["peers"].as_array().unwrap().iter().any(knows)
    });
    let of_bridge = "5a425247-0000-4000-8000-000000000001";
    publish(&proxy, "/t", of_bridge, "Demo::of_bridge");
    publish(&proxy, "/t", "node-1", "Demo::of_node");
    for (name, ttl) in [("Demo::of_bridge", 1), ("Demo::of_node", 4)] {
        let envelope = broker.envelope_of(EnvelopeType::Data).await;
        assert_eq!(*envelope.payload, payload(Event::new(name, ())));
        assert_eq!(envelope.ttl, ttl, "{name}");
    }
    assert_eq!(published(&other).2, payload(Event::new("Demo::of_node", ())));
    let text = soon("an event", soar.text()).await;
    assert!(text.contains("Demo::of_node"), "{text}");
    assert_eq!(bridge.refused("other_bridge"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_not_translated_without_map_topics() {
    let proxy = Proxy::with_subscriptions(&["zeek.", "zeek/"], false);
    let topics = "topics = \"zeek/cluster/worker\"";
    let bridge = BridgeProcess::start(&format!(
        "{BROKER}[link.cluster]\nconnect = \"{}\"\nmap_topics = false\n{}",
        proxy.url,
        rule("out", "\"zeek\"", "\"cluster\"", topics),
    ));
    bridge.until("the subscriptions", |bridge| {
        let link = bridge.link("cluster");
        link["peers"].as_array().unwrap().iter().any(|peer| peer["filter"].as_array().unwrap().len() > 1)
    });
    let zeek = connected(peer(), &bridge.address("zeek")).await;
    send(&zeek, "zeek/cluster/worker", Event::new("Demo::out", ())).await;
    assert_eq!(published(&proxy).0, "zeek/cluster/worker");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_takes_part_in_the_discovery_of_nodes() {
    let proxy = Proxy::with_subscriptions(&["zeek.cluster.nodeid.other."], false);
    let bridge = BridgeProcess::start(&format!(
        "{BROKER}[link.cluster]\nconnect = \"{}\"\nnode = \"bridge-1\"\nretry = {{ first = \"10ms\", cap = \"10ms\" }}\n{}",
        proxy.url,
        rule("in", "\"cluster\"", "\"zeek\"", "topics = \"\""),
    ));
    let id = bridge.link("cluster")["id"].as_str().unwrap().to_owned();
    let own_topic = format!("zeek.cluster.nodeid.{id}.");
    let names = [&own_topic, "zeek.cluster.node.bridge-1."].map(|topic| format!("\x01{topic}").into_bytes());
    let expect_subscriptions = || {
        // The rule subscribes to all topics, which does not replace the topics of the node.
        let changes: Vec<_> = (0..3).map(|_| proxy.next_change()).collect();
        assert!(names.iter().all(|name| changes.contains(name)), "{changes:?}");
    };
    let hello = |event: &str, name: &str, id: &str| payload(Event::new(event, (name, id)));
    let expect = |event: &str, topic: &str| {
        let hello = hello(event, "bridge-1", &id);
        assert_eq!(published(&proxy), (topic.to_owned(), id.clone(), hello), "{event}");
    };
    let (first, second) = ("Cluster::Backend::ZeroMQ::hello", "Cluster::hello");
    expect_subscriptions();
    expect(first, "zeek.cluster.nodeid.other.");
    let of_other = hello(first, "worker-1", "other");
    proxy.publish(&[own_topic.as_bytes(), b"other", b"broker-bin-v1", &of_other]);
    expect(second, "zeek.cluster.nodeid.other.");
    proxy.subscribe("zeek.cluster.nodeid.late.");
    expect(first, "zeek.cluster.nodeid.late.");
    assert_eq!(bridge.refused("cluster_only"), 0, "hellos to the node are not for the rules");

    proxy.disconnect();
    expect_subscriptions();
    let topics = ["zeek.cluster.nodeid.other.", "zeek.cluster.nodeid.late."];
    let again: BTreeSet<_> = (0..3).map(|_| published(&proxy)).collect();
    for (event, topic) in [(first, topics[0]), (second, topics[0]), (first, topics[1])] {
        let expected = (topic.to_owned(), id.clone(), hello(event, "bridge-1", &id));
        assert!(again.contains(&expected), "{event} to {topic}: {again:?}");
    }
}
