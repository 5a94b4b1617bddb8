//! Links that are the proxy of a ZeroMQ cluster, and the format of events.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;

use zeek_bridge::data::Topic;
use zeek_bridge::endpoint::{CurveClient, Endpoint, EndpointConfig, ZeroMqConfig};
use zeek_bridge::net::Url;
use zeek_bridge::zeek::Event;
use zeek_bridge::zeromq::curve::KeyPair;

use crate::cluster::BridgeProcess;
use crate::peers::*;
use crate::program::child::soon;
use crate::program::write_secret;
use crate::zeromq::{BROKER, next, rule, send};
use crate::zeromq_client::Client;
use crate::zeromq_proxy::{Proxy, message, payload};

const LISTEN: &str = "listen = \"zeromq://127.0.0.1:0,0\"\n";

/// The addresses of a link that is a proxy: for subscribers and for publishers.
fn sockets(bridge: &BridgeProcess, link: &str) -> [SocketAddr; 2] {
    let url: Url = bridge.address(link).parse().unwrap();
    [url.xpub(), url.xsub()].map(|address| address.unwrap().to_string().parse().unwrap())
}

/// Runs blocking code of plain sockets.
async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    soon("plain sockets", tokio::task::spawn_blocking(run)).await.unwrap()
}

/// Returns an event of the node `zeromq_a_h_1_N`: a hello has the name and the id of the node, and other events have no arguments.
fn event_of_node(name: &str) -> Event {
    if name.ends_with("hello") {
        Event::new(name, ("worker-1", "zeromq_a_h_1_N"))
    } else {
        Event::new(name, ())
    }
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
            // The id in the hello is not that of its sender.
            ("zeek.cluster.nodeid.x.", "Cluster::hello"),
            ("/t", "Other::event"),
            ("/u", "Demo::far"),
            ("/v", "Demo::near"),
            ("/t", "Demo::ping"),
        ] {
            let payload = payload(event_of_node(name));
            let sender: &[u8] =
                if topic.contains("nodeid.x") { b"zeromq_x_h_1_N" } else { b"zeromq_a_h_1_N" };
            publisher.send(&[topic.as_bytes(), sender, b"broker-bin-v1", &payload]);
        }
        let received: Vec<_> = (0..4).map(|_| node.next().unwrap()).collect();
        (received, node, publisher)
    });
    let (received, _node, _publisher) = received.await;
    let expected = ["Cluster::Backend::ZeroMQ::hello", "Cluster::hello", "Demo::near", "Demo::ping"];
    for (message, name) in received.iter().zip(expected) {
        assert_eq!(message[3], payload(event_of_node(name)), "{name}");
        // Nodes recognize their own events by the exact sender.
        assert_eq!(message[1], b"zeromq_a_h_1_N");
    }
    let status = bridge.status();
    let passed: Vec<_> = status["rules"].as_array().unwrap().iter().map(|rule| &rule["passed"]).collect();
    assert_eq!(passed, [1, 0, 1], "{status}");
    for (reason, count) in
        [("no_rule", 1), ("invalid_hello", 1), ("event_not_allowed", 1), ("identity_not_allowed", 1)]
    {
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
    let without_guest = format!(
        "curve = {{ secret_key = '{}', client = [{}] }}\n",
        secret.display(),
        client("sensor", &sensor)
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
    bridge.reload_reporting(
        &format!("[link.cluster]\n{LISTEN}{without_guest}{rule}"),
        "clients of CURVE (clients that were removed are disconnected)",
    );
    bridge.until("the end of the removed client's connections", |bridge| bridge.peers("cluster") == 2);
    assert!(
        bridge.link("cluster")["peers"]
            .as_array()
            .unwrap()
            .iter()
            .all(|peer| peer["identity"] == "curve:sensor")
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
        // A publisher with a different format is reported, even if the format of the first one was.
        let binary = payload(Event::new("Demo::three", ()));
        proxy.publish(&[b"/t", b"node-2", b"broker-bin-v1", &binary]);
        assert_eq!(next(&mut at_zeek).await.0, "Demo::three");
        bridge.program.signal("TERM");
        let end = bridge.program.end_by_itself();
        let other = "but this link sends events from other links as";
        for line in [line, other] {
            assert_eq!(end.stderr.matches(line).count(), 1, "{line}: {}", end.stderr);
        }
    }
}
