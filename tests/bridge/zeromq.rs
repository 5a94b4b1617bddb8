//! Links into clusters with Zeek's ZeroMQ back end: to their proxy, and as their proxy.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;

use zeek_bridge::data::{Topic, Value};
use zeek_bridge::endpoint::{CurveClient, Endpoint, EndpointConfig, Subscriber, ZeroMqConfig};
use zeek_bridge::net::Url;
use zeek_bridge::zeek::{Event, ZeekMessage};
use zeek_bridge::zeromq::curve::KeyPair;

use crate::cluster::BridgeProcess;
use crate::peers::*;
use crate::program::child::soon;
use crate::program::write_secret;
use crate::raw_websocket::RawClient;
use crate::zeromq_client::Client;
use crate::zeromq_proxy::{Proxy, message, payload};

const BROKER: &str = "[link.zeek]\nlisten = \"127.0.0.1:0\"\ntls = \"off\"\n";
const LISTEN: &str = "listen = \"zeromq://127.0.0.1:0,0\"\n";

fn rule(name: &str, from: &str, to: &str, more: &str) -> String {
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
async fn next(received: &mut Subscriber) -> (String, String) {
    let message = soon("an event", received.recv()).await.unwrap();
    let ZeekMessage::Event(event) = message.zeek_message().unwrap() else { panic!("not an event") };
    (event.name, message.topic().to_string())
}

/// Publishes an event once the bridge subscribes to the topic.
async fn send(endpoint: &Endpoint, topic: &'static str, event: Event) {
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

/// The addresses of a link that is a proxy: for subscribers and for publishers.
fn sockets(bridge: &BridgeProcess, link: &str) -> [SocketAddr; 2] {
    let url: Url = bridge.address(link).parse().unwrap();
    [url.xpub(), url.xsub()].map(|address| address.unwrap().to_string().parse().unwrap())
}

/// Runs blocking code of plain sockets.
async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    soon("plain sockets", tokio::task::spawn_blocking(run)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_forwards_what_rules_allow_and_the_hellos_of_its_nodes() {
    let rules = [
        rule("pings", "\"cluster\"", "\"cluster\"", "topics = \"/t\"\nevents = \"Demo::*\""),
        rule("far", "\"cluster\"", "\"cluster\"", "topics = \"/u\"\nidentities = \"address:192.0.2.0/24\""),
        rule("near", "\"cluster\"", "\"cluster\"", "topics = \"/v\"\nidentities = \"address:127.0.0.0/8\""),
    ];
    let bridge = BridgeProcess::start(&format!("[link.cluster]\n{LISTEN}{}", rules.concat()));
    let [xpub, xsub] = sockets(&bridge, "cluster");
    let received = blocking(move || {
        let mut node = Client::connect(xpub, "XSUB");
        let topics = ["/t", "/u", "/v", "zeek.cluster.nodeid.b."];
        let mut publisher = Client::connect(xsub, "XPUB");
        for topic in topics {
            node.subscribe(topic);
            assert_eq!(publisher.change(), format!("+{topic}"));
        }
        for (topic, name) in [
            ("zeek.cluster.nodeid.b.", "Cluster::Backend::ZeroMQ::hello"),
            ("zeek.cluster.nodeid.b.", "Cluster::hello"),
            ("zeek.cluster.nodeid.b.", "Demo::to_id"),
            ("/t", "Other::event"),
            ("/u", "Demo::far"),
            ("/v", "Demo::near"),
            ("/t", "Demo::ping"),
        ] {
            let payload = payload(Event::new(name, ()));
            publisher.send(&[topic.as_bytes(), b"zeromq_a_h_1_N", b"broker-bin-v1", &payload]);
        }
        let received: Vec<_> = (0..4).map(|_| node.next().unwrap()).collect();
        (received, node, publisher)
    });
    let (received, _node, _publisher) = received.await;
    let expected = ["Cluster::Backend::ZeroMQ::hello", "Cluster::hello", "Demo::near", "Demo::ping"];
    for (message, name) in received.iter().zip(expected) {
        assert_eq!(message[3], payload(Event::new(name, ())), "{name}");
        // Nodes recognize their own events by the exact sender.
        assert_eq!(message[1], b"zeromq_a_h_1_N");
    }
    let status = bridge.status();
    let passed: Vec<_> = status["rules"].as_array().unwrap().iter().map(|rule| &rule["passed"]).collect();
    assert_eq!(passed, [1, 0, 1], "{status}");
    for (reason, count) in [("no_rule", 1), ("event_not_allowed", 1), ("identity_not_allowed", 1)] {
        assert_eq!(status["refused"][reason], count, "{reason}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_exchanges_events_with_other_links() {
    let topics = "topics = [\"/t\", \"zeek/cluster/worker\"]";
    let rules =
        [rule("in", "\"cluster\"", "\"zeek\"", topics), rule("out", "\"zeek\"", "\"cluster\"", topics)];
    let bridge = BridgeProcess::start(&format!("{BROKER}[link.cluster]\n{LISTEN}{}", rules.concat()));
    let zeek = peer();
    let mut at_zeek = zeek.subscribe(["/t", "zeek"].map(Topic::from)).await;
    let zeek = connected(zeek, &bridge.address("zeek")).await;
    bridge.until("a peer", |bridge| bridge.peers("zeek") == 1);
    let [xpub, xsub] = sockets(&bridge, "cluster");
    let mut node = blocking(move || {
        let mut publisher = Client::connect(xsub, "XPUB");
        // The bridge subscribes to the topics of rules to other links.
        assert_eq!(publisher.changes(3), ["+/t", "+zeek.cluster.worker", "+zeek/cluster/worker"]);
        let payload = payload(Event::new("Demo::in", ()));
        publisher.send(&[b"zeek.cluster.worker", b"node-1", b"broker-bin-v1", &payload]);
        let mut node = Client::connect(xpub, "XSUB");
        node.subscribe("zeek.cluster.worker");
        assert_eq!(publisher.change(), "+zeek.cluster.worker");
        node
    })
    .await;
    assert_eq!(next(&mut at_zeek).await, ("Demo::in".to_owned(), "zeek/cluster/worker".to_owned()));
    send(&zeek, "zeek/cluster/worker", Event::new("Demo::out", ())).await;
    let message = blocking(move || node.next().unwrap()).await;
    let id = bridge.link("cluster")["id"].as_str().unwrap().to_owned();
    assert_eq!(message[..2], [b"zeek.cluster.worker".to_vec(), id.into_bytes()]);
    assert_eq!(message[3], payload(Event::new("Demo::out", ())));
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_select_the_clients_of_a_proxy_by_their_curve_keys() {
    let folder = tempfile::tempdir().unwrap();
    let (server, sensor, guest) =
        (KeyPair::generate().unwrap(), KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let secret = folder.path().join("server_secretkey");
    write_secret(&secret, server.secret().expose_z85().as_bytes());
    let client =
        |name: &str, keys: &KeyPair| format!("{{ name = '{name}', public_key = '{}' }}", keys.public());
    let curve = format!(
        "curve = {{ secret_key = '{}', client = [{}, {}] }}\n",
        secret.display(),
        client("sensor", &sensor),
        client("guest", &guest)
    );
    let rule = rule("r", "\"cluster\"", "\"cluster\"", "topics = \"/t\"\nidentities = \"curve:sens*\"");
    let mut bridge = BridgeProcess::start(&format!("[link.cluster]\n{LISTEN}{curve}{rule}"));
    let url = bridge.address("cluster");
    let endpoint = |keys: &KeyPair| {
        let client = Some(CurveClient { server: *server.public(), keys: keys.clone() });
        let zeromq = ZeroMqConfig { client, ..ZeroMqConfig::default() };
        Endpoint::with_config(EndpointConfig { zeromq, ..EndpointConfig::default() }).unwrap()
    };
    let receiver = endpoint(&guest);
    let mut received = subscribe(&receiver, "/t").await;
    let _receiver = connected(receiver, &url).await;
    let [by_guest, by_sensor] =
        [connected(endpoint(&guest), &url).await, connected(endpoint(&sensor), &url).await];
    send(&by_guest, "/t", Event::new("Demo::guest", ())).await;
    let line = bridge.program.says("identity_not_allowed");
    assert!(line.contains("rule=\"r\"") && line.contains("link=\"cluster\""), "{line}");
    send(&by_sensor, "/t", Event::new("Demo::sensor", ())).await;
    assert_eq!(next(&mut received).await.0, "Demo::sensor");
    let link = bridge.link("cluster");
    let shown: BTreeSet<_> =
        link["peers"].as_array().unwrap().iter().map(|peer| peer["identity"].as_str().unwrap()).collect();
    assert_eq!(
        (shown, link["tls"].as_str()),
        (BTreeSet::from(["curve:guest", "curve:sensor"]), Some("curve"))
    );
}

/// Returns the payload of an event without arguments, as `broker-json-v1`.
fn json(name: &str) -> Vec<u8> {
    let count = r#"{"@data-type":"count","data":1}"#;
    let event = format!(r#"[{{"@data-type":"string","data":"{name}"}},{{"@data-type":"vector","data":[]}}]"#);
    let parts = format!(r#"[{count},{count},{{"@data-type":"vector","data":{event}}}]"#);
    format!(r#"{{"@data-type":"vector","data":{parts}}}"#).into_bytes()
}

fn parsed(json: &[u8]) -> serde_json::Value {
    serde_json::from_slice(json).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_forwards_events_within_its_cluster_in_the_format_of_the_publisher() {
    let rule = rule("r", "\"cluster\"", "\"cluster\"", "topics = \"/t\"");
    for key in ["", "event_format = \"bin\"\n", "event_format = \"json\"\n"] {
        let bridge = BridgeProcess::start(&format!("[link.cluster]\n{LISTEN}{key}{rule}"));
        let [xpub, xsub] = sockets(&bridge, "cluster");
        let received = blocking(move || {
            let mut node = Client::connect(xpub, "XSUB");
            let mut publisher = Client::connect(xsub, "XPUB");
            node.subscribe("/t");
            assert_eq!(publisher.change(), "+/t");
            // In one write, so that the bridge receives them together.
            let (binary, json) = (payload(Event::new("Demo::bin", ())), json("Demo::json"));
            let binary = message(&[b"/t", b"node-1", b"broker-bin-v1", &binary]);
            let json = message(&[b"/t", b"node-1", b"broker-json-v1", &json]);
            publisher.0.write_all(&[&json[..], &binary, &binary, &json, &json, &binary].concat()).unwrap();
            (0..6).map(|_| node.next().unwrap()).collect::<Vec<_>>()
        });
        let received = received.await;
        for (message, is_json) in received.iter().zip([true, false, false, true, true, false]) {
            assert_eq!(message[1], b"node-1");
            if is_json {
                assert_eq!(message[2], b"broker-json-v1", "{key}");
                assert_eq!(parsed(&message[3]), parsed(&json("Demo::json")));
            } else {
                assert_eq!(message[2], b"broker-bin-v1", "{key}");
                assert_eq!(message[3], payload(Event::new("Demo::bin", ())));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_from_other_links_have_the_format_of_the_first_event_unless_it_is_configured() {
    for (key, format, line) in [
        ("", "broker-json-v1", "the first publisher sends events as broker-json-v1"),
        (
            "event_format = \"bin\"\n",
            "broker-bin-v1",
            "but this link sends events from other links as broker-bin-v1",
        ),
    ] {
        let proxy = Proxy::with_subscriptions(&["/t"], false);
        // The rules are after the key of the link.
        let config = format!("{key}connect = \"{}\"\n", proxy.url);
        let rules = [
            rule("in", "\"cluster\"", "\"zeek\"", "topics = \"/t\""),
            rule("out", "\"zeek\"", "\"cluster\"", "topics = \"/t\""),
        ];
        let bridge = BridgeProcess::start(&format!("{BROKER}[link.cluster]\n{config}{}", rules.concat()));
        bridge.until("the subscriptions of the nodes", |bridge| {
            let link = bridge.link("cluster");
            let peers = link["peers"].as_array().unwrap();
            link["ready"] == true && peers.iter().any(|peer| !peer["filter"].as_array().unwrap().is_empty())
        });
        let zeek = peer();
        let mut at_zeek = subscribe(&zeek, "/t").await;
        let zeek = connected(zeek, &bridge.address("zeek")).await;
        bridge.until("a peer", |bridge| bridge.peers("zeek") == 1);
        for name in ["Demo::one", "Demo::two"] {
            proxy.publish(&[b"/t", b"node-1", b"broker-json-v1", &json(name)]);
            assert_eq!(next(&mut at_zeek).await.0, name);
        }
        send(&zeek, "/t", Event::new("Demo::out", ())).await;
        let parts = proxy.next_published();
        assert_eq!(String::from_utf8_lossy(&parts[2]), format, "{key}");
        if format == "broker-json-v1" {
            assert_eq!(parsed(&parts[3]), parsed(&json("Demo::out")));
        } else {
            assert_eq!(parts[3], payload(Event::new("Demo::out", ())));
        }
        bridge.program.signal("TERM");
        let end = bridge.program.end_by_itself();
        assert_eq!(end.stderr.matches(line).count(), 1, "{}", end.stderr);
    }
}
