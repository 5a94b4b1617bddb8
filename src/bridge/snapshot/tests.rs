use std::fs;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::*;
use crate::bridge::LinkId;
use crate::bridge::config::BridgeConfig;
use crate::bridge::management::registry::{Party, PeeringKey};
use crate::data::{EndpointId, Topic, Value};
use crate::endpoint::{Endpoint, Owner, Subscriber};
use crate::management::{DispatchRequest, NODE_TOPIC, NotifyNodeHello};
use crate::net::tls::{PemSource, Tls, ephemeral_authority};
use crate::wire::Envelope;
use crate::zeek::{Event, ZeekMessage};

/// The alert for certificates that expire needs the time for each kind of TLS with certificates.
#[tokio::test]
async fn the_end_of_the_own_certificate_is_reported_with_and_without_certificates_of_clients() {
    let folder = tempfile::tempdir().unwrap();
    let issued = ephemeral_authority().unwrap().credentials("bridge").unwrap();
    let file = |name: &str, source: Option<PemSource>| {
        let Some(PemSource::Memory(pem)) = source else { panic!("{name} is not in memory") };
        let path = folder.path().join(name);
        fs::write(&path, pem).unwrap();
        format!("{name} = {path:?}\n")
    };
    let cafile = file("cafile", issued.cafile);
    let own = [file("certificate", issued.certificate), file("keyfile", issued.keyfile)].concat();
    let link = |name, settings: &str| format!("[link.{name}]\n{settings}\n{own}");
    let config = [
        link("mutual", &format!("listen = \"127.0.0.1:0\"\n{cafile}")),
        link("server", "listen = \"wss://127.0.0.1:0\""),
        "[link.plain]\ntls = \"off\"\nlisten = \"127.0.0.1:0\"\n".to_owned(),
        "[[rule]]\nname = \"all\"\nfrom = \"plain\"\nto = \"mutual\"\ntopics = \"/t\"\n".to_owned(),
    ];
    let config = BridgeConfig::parse(&config.concat(), "bridge.toml").unwrap();
    let bridge = Bridge::start(config).await.unwrap();
    let found: Vec<_> = (bridge.snapshot().links.iter())
        .map(|link| (link.name.clone(), link.tls.clone(), link.certificate_expires.is_some()))
        .collect();
    let expected = [("mutual", "mutual", true), ("server", "server", true), ("plain", "off", false)];
    assert_eq!(found, expected.map(|(name, tls, expires)| (name.to_owned(), tls.to_owned(), expires)));
}

/// A plain link that listens on a free port.
fn listening(name: &str) -> String {
    format!("[link.{name}]\ntls = \"off\"\nlisten = \"127.0.0.1:0\"\n")
}

fn rule(name: &str, from: &str, to: &str, more: &str) -> String {
    format!("[[rule]]\nname = {name:?}\nfrom = {from:?}\nto = {to:?}\ntopics = [\"/t\"]\n{more}\n")
}

fn parse(parts: &[String]) -> BridgeConfig {
    BridgeConfig::parse(&parts.concat(), "bridge.toml").unwrap()
}

/// Waits until the state of the bridge fulfills a condition, and returns it.
async fn until(bridge: &Bridge, condition: impl Fn(&Snapshot) -> bool) -> Snapshot {
    loop {
        let snapshot = bridge.snapshot();
        if condition(&snapshot) {
            return snapshot;
        }
        tokio::task::yield_now().await;
    }
}

/// A bridge from the link `in` to the link `out`, with a publisher and a subscriber of `/t`.
struct Running {
    bridge: Bridge,
    publisher: Endpoint,
    subscriber: Endpoint,
    received: Subscriber,
}

impl Running {
    async fn start(rule: String) -> Self {
        let bridge = Bridge::start(parse(&[listening("in"), listening("out"), rule])).await.unwrap();
        let links = bridge.snapshot().links;
        let address = |link: usize| links[link].listening[0].clone();
        let (publisher, subscriber) = (Endpoint::new().unwrap(), Endpoint::new().unwrap());
        let received = subscriber.subscribe("/t").await;
        subscriber.connect(address(1), Tls::Off).await.unwrap();
        publisher.connect(address(0), Tls::Off).await.unwrap();
        publisher.wait_for_subscribers(&Topic::from_static("/t"), 1).await;
        let is_connected = |link: &LinkSnapshot| link.peers.iter().any(|peer| peer.connected > 0.0);
        until(&bridge, |snapshot| snapshot.links.iter().all(is_connected)).await;
        Running { bridge, publisher, subscriber, received }
    }

    async fn publish(&self, event: &str, times: usize) {
        for _ in 0..times {
            self.publisher.publish("/t/1", Event::new(event, Vec::<Value>::new())).await.unwrap();
        }
    }
}

fn flows(snapshot: &Snapshot) -> Vec<(&str, &str, u64)> {
    let flows = snapshot.flows.iter();
    flows.map(|flow| (flow.from.as_str(), flow.to.as_str(), flow.messages)).collect()
}

#[tokio::test]
async fn messages_are_counted_for_each_peer_and_pair_of_links() {
    let mut running = Running::start(rule("all", "in", "out", "")).await;
    assert_eq!(flows(&running.bridge.snapshot()), [("in", "out", 0)]);
    running.publish("E::e", 3).await;
    for _ in 0..3 {
        running.received.recv().await.unwrap();
    }
    let snapshot = until(&running.bridge, |snapshot| snapshot.links[1].peers[0].messages_out == 3).await;
    assert_eq!(flows(&snapshot), [("in", "out", 3)]);
    let [sender, receiver] = [&snapshot.links[0].peers[0], &snapshot.links[1].peers[0]];
    assert_eq!([sender.messages_in, sender.messages_out], [3, 0]);
    assert_eq!([receiver.messages_in, receiver.messages_out], [0, 3]);
    assert_eq!(
        (snapshot.rules[0].from.clone(), snapshot.rules[0].to.clone()),
        (vec!["in".into()], vec!["out".into()])
    );

    // The counts of links that are kept survive a reload, with and without a rule. Those of new links begin at zero.
    let other = [listening("in"), listening("out"), listening("other"), rule("all", "other", "in", "")];
    running.bridge.reload(parse(&other)).await.unwrap();
    assert_eq!(flows(&running.bridge.snapshot()), [("in", "out", 3), ("other", "in", 0)]);
    let both =
        [listening("in"), listening("out"), rule("all", "in", "out", ""), rule("back", "out", "in", "")];
    running.bridge.reload(parse(&both)).await.unwrap();
    running.publisher.wait_for_subscribers(&Topic::from_static("/t"), 1).await;
    running.publish("E::e", 1).await;
    running.received.recv().await.unwrap();
    assert_eq!(flows(&running.bridge.snapshot()), [("in", "out", 4), ("out", "in", 0)]);
    assert_eq!(bridge_peers(&running.bridge), 2, "the peerings survive too");
}

fn bridge_peers(bridge: &Bridge) -> usize {
    bridge.snapshot().links.iter().map(|link| link.peers.len()).sum()
}

#[tokio::test]
async fn denials_are_counted_for_the_link_and_are_recent_with_their_details() {
    let running = Running::start(rule("some", "in", "out", "events = [\"E::allowed\"]")).await;
    running.publish("E::denied", 2).await;
    let snapshot =
        until(&running.bridge, |snapshot| snapshot.refused.get("event_not_allowed") == Some(&2)).await;
    assert_eq!(snapshot.links[0].refused, [("event_not_allowed".to_owned(), 2)].into());
    assert_eq!(snapshot.links[1].refused, Default::default());
    let denied: Vec<_> = snapshot.recent.iter().filter(|entry| entry.kind == "denied").collect();
    assert_eq!(denied.len(), 2, "{:?}", snapshot.recent);
    let entry = denied[0];
    assert_eq!((entry.link.as_str(), entry.peer.as_ref()), ("in", Some(&running.publisher.id().to_string())));
    assert_eq!((entry.reason.as_deref(), entry.rule.as_deref()), (Some("event_not_allowed"), Some("some")));
    assert_eq!((entry.topic.as_deref(), entry.event.as_deref()), (Some("/t/1"), Some("E::denied")));
    assert_eq!(
        (entry.protocol.as_str(), entry.text.as_str()),
        ("broker", "the rules allow only other events")
    );
    assert!(denied[0].time >= denied[1].time);
}

#[tokio::test]
async fn denials_that_are_not_logged_are_not_recent_but_their_number_is() {
    let running = Running::start(rule("some", "in", "out", "events = [\"E::allowed\"]")).await;
    running.publish("E::denied", 100).await;
    let snapshot =
        until(&running.bridge, |snapshot| snapshot.refused.get("event_not_allowed") == Some(&100)).await;
    assert_eq!(snapshot.links[0].refused["event_not_allowed"], 100);
    let denied = snapshot.recent.iter().filter(|entry| entry.kind == "denied").count();
    assert_eq!(denied, 10);
    // The other kinds are still there.
    assert_eq!(snapshot.recent.iter().filter(|entry| entry.kind == "connected").count(), 2);
}

#[tokio::test]
async fn denials_of_other_protocols_are_recent_too() {
    let link = "[link.in]\nlisten = \"ws://127.0.0.1:0\"\n".to_owned();
    let rule = rule("some", "in", "out", "events = [\"E::allowed\"]");
    let bridge = Bridge::start(parse(&[link, listening("out"), rule])).await.unwrap();
    let client = Endpoint::new().unwrap();
    client.connect(bridge.snapshot().links[0].listening[0].clone(), Tls::Off).await.unwrap();
    client.publish("/t/1", Event::new("E::denied", Vec::<Value>::new())).await.unwrap();
    let denied = |snapshot: &Snapshot| snapshot.recent.first().is_some_and(|entry| entry.kind == "denied");
    let snapshot = until(&bridge, denied).await;
    let entry = &snapshot.recent[0];
    assert_eq!((entry.protocol.as_str(), entry.event.as_deref()), ("websocket", Some("E::denied")));
    assert_eq!(snapshot.links[0].refused, [("event_not_allowed".to_owned(), 1)].into());
}

#[tokio::test]
async fn connects_disconnects_and_failures_are_recent() {
    let running = Running::start(rule("all", "in", "out", "")).await;
    let address = running.bridge.snapshot().links[0].listening[0].clone();
    running.subscriber.shutdown().await;
    let mut stranger = TcpStream::connect(&address).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let snapshot = until(&running.bridge, |snapshot| snapshot.recent.len() == 4).await;
    let mut found: Vec<_> = snapshot
        .recent
        .iter()
        .map(|entry| (entry.kind.as_str(), entry.link.as_str(), entry.peer.clone(), entry.reason.as_deref()))
        .collect();
    found.sort();
    let id = |endpoint: &Endpoint| Some(endpoint.id().to_string());
    let cause = snapshot.links[0].failures.keys().next().unwrap();
    assert_eq!(
        found,
        [
            ("connected", "in", id(&running.publisher), None),
            ("connected", "out", id(&running.subscriber), None),
            ("disconnected", "out", id(&running.subscriber), Some("peer_left")),
            ("failed", "in", None, Some(cause)),
        ]
    );
    let failed = snapshot.recent.iter().find(|entry| entry.kind == "failed").unwrap();
    assert_eq!(failed.address, stranger.local_addr().unwrap().to_string());
    assert_eq!(failed.protocol, "broker");

    // A target that cannot be reached.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let target =
        format!("[link.target]\ntls = \"off\"\nconnect = \"{closed}\"\nretry = {{ first = \"100ms\" }}\n");
    let config = [listening("in"), listening("out"), target, rule("all", "in", "out", "")];
    running.bridge.reload(parse(&config)).await.unwrap();
    let repeated =
        |snapshot: &Snapshot| snapshot.recent[0].link == "target" && snapshot.recent[0].suppressed > 0;
    let snapshot = until(&running.bridge, repeated).await;
    let entry = &snapshot.recent[0];
    assert_eq!((entry.address.clone(), entry.reason.as_deref()), (closed.to_string(), Some("connect")));
    assert_eq!(snapshot.recent.len(), 5, "a repeated failure has one entry");
}

#[tokio::test]
async fn the_busiest_topics_are_those_of_forwarded_messages() {
    let mut running = Running::start(rule("some", "in", "out", "events = [\"E::*\"]")).await;
    // From now on, the clock advances only when the test advances it.
    tokio::time::pause();
    running.publish("E::first", 40).await;
    running.publish("E::second", 10).await;
    for _ in 0..50 {
        running.received.recv().await.unwrap();
    }
    running.publish("denied", 50).await;
    until(&running.bridge, |snapshot| snapshot.refused.get("event_not_allowed") == Some(&50)).await;
    tokio::time::advance(Duration::from_secs(5)).await;
    let busiest = running.bridge.snapshot().busiest;
    assert!(
        busiest.iter().all(|rate| rate.topic == "/t/1" && rate.event.as_ref().unwrap().starts_with("E::")),
        "{busiest:?}"
    );
    assert!(busiest.is_sorted_by(|one, other| one.rate >= other.rate), "{busiest:?}");
    // Each batch counts with its size, whichever message is selected, and batches of denied messages do not count.
    let sum: f64 = busiest.iter().map(|rate| rate.rate * 5.0).sum();
    assert!((sum - 50.0).abs() < 1e-6, "{busiest:?}");
}

#[tokio::test(start_paused = true)]
async fn pending_responses_are_listed_with_their_age() {
    let bridge = Bridge::start(parse(&[listening("in"), listening("out"), rule("all", "in", "out", "")]))
        .await
        .unwrap();
    let party = |number: u8| Party {
        peering: PeeringKey {
            link: LinkId(number.into()),
            peer: EndpointId::from_bytes([number; 16]),
            peering: number.into(),
        },
        owner: Owner::Target(number.to_string().into()),
        share: 1_000_000,
    };
    let ask = |reqid: &str, nodes: &[&str]| {
        let (reqid, action) = (reqid.to_owned(), vec!["x".to_owned()]);
        let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
        let request = DispatchRequest { reqid, action, nodes };
        let _ = bridge.core.nodes().request(&party(9), &request, |_| true, now()).unwrap();
    };
    for (number, node) in [(1, "worker"), (2, "logger")] {
        let value = ZeekMessage::Event(NotifyNodeHello { node: node.to_owned() }.into()).into_value();
        let hello = Envelope::data(EndpointId::NIL, NODE_TOPIC.clone(), &value).unwrap();
        bridge.core.nodes().hello(&party(number), node, &hello, &[LinkId(9)], now()).unwrap();
    }
    ask("first", &["worker", "logger"]);
    tokio::time::advance(Duration::from_millis(1500)).await;
    ask("second", &["worker"]);
    tokio::time::advance(Duration::from_millis(500)).await;
    let requests = || -> Vec<_> {
        let requests = bridge.snapshot().requests.into_iter();
        requests.map(|request| (request.node, request.request, request.age)).collect()
    };
    let expected = [("logger", "first", 2.0), ("worker", "first", 2.0), ("worker", "second", 0.5)];
    let expected = expected.map(|(node, request, age)| (node.to_owned(), request.to_owned(), age));
    assert_eq!(requests(), expected);
    // Only the oldest are listed.
    (0..100).for_each(|number| ask(&number.to_string(), &["worker"]));
    let many = requests();
    assert_eq!((many.len(), &many[..3]), (MAX_REQUESTS, &expected[..]));
}
