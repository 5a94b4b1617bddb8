//! The bridge between two libbroker endpoints, and between a libbroker endpoint and an endpoint of this crate.

use zeek_bridge::data::Value;
use zeek_bridge::endpoint::Endpoint;
use zeek_bridge::net::tls::Tls;
use zeek_bridge::zeek::{Event, ZeekMessage};

use crate::cluster::{BridgeProcess, Certificates};
use crate::driver::*;
use crate::program::Files;
use crate::support::*;

/// The TLS settings of a link of the bridge to a libbroker endpoint, and the command-line options for libbroker.
struct Side {
    name: &'static str,
    lines: String,
    options: Vec<String>,
    /// Files that must exist as long as this value.
    _files: Option<(Certificates, Files)>,
}

impl Side {
    fn plain() -> Self {
        let (lines, options) = ("tls = \"off\"\n".to_owned(), vec!["--disable-ssl".to_owned()]);
        Side { name: "plain", lines, options, _files: None }
    }

    fn mutual() -> Self {
        let certificates = Certificates::new();
        let files = certificates.issue("zeek");
        let options = ["cafile", "certificate", "keyfile"].map(|option| {
            [format!("--ssl-{option}"), files.folder.path().join(option).display().to_string()]
        });
        let (lines, options) = (certificates.lines(), options.concat());
        Side { name: "mutual", lines, options, _files: Some((certificates, files)) }
    }

    #[cfg(feature = "openssl")]
    fn anonymous() -> Self {
        Side { name: "anonymous", lines: "tls = \"anonymous\"\n".into(), options: Vec::new(), _files: None }
    }

    fn all() -> Vec<Self> {
        vec![
            Self::plain(),
            Self::mutual(),
            #[cfg(feature = "openssl")]
            Self::anonymous(),
        ]
    }

    fn options<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        self.options.iter().map(String::as_str).chain(more.iter().copied()).collect()
    }
}

/// Returns a configuration that forwards events named `Test::*` with topics `/left` and `/right`, and nothing else.
fn config(left: &str, right: &str) -> String {
    let rule = |name: &str, to: &str| {
        format!(
            "[[rule]]\nname = \"{name}\"\nfrom = \"{name}\"\nto = \"{to}\"\ntopics = [\"/{to}\"]\n\
             events = [\"Test::*\"]\n"
        )
    };
    format!("[link.left]\n{left}\n[link.right]\n{right}\n{}{}", rule("left", "right"), rule("right", "left"))
}

const LISTEN: &str = "listen = \"127.0.0.1:0\"\n";

fn connect(addresses: &[&str]) -> String {
    format!("connect = {addresses:?}\nretry = {{ first = \"50ms\", cap = \"100ms\" }}\n")
}

fn port(address: &str) -> &str {
    address.rsplit(':').next().unwrap()
}

fn event(name: &str, text: &str) -> Value {
    ZeekMessage::Event(Event::new(name, (text.to_owned(),))).into_value()
}

/// Waits until libbroker reports the peering with this link as established.
async fn wait_until_peered(reference: &mut LibbrokerProcess, bridge: &BridgeProcess, link: &str) {
    let id = bridge.link(link)["id"].as_str().unwrap().parse().unwrap();
    reference.status("peer_added", id).await;
}

/// Waits until a peer of this link has subscribed to this topic.
fn wait_until_subscribed(bridge: &BridgeProcess, link: &str, topic: &str) {
    bridge.until("the peer subscribes to the topic", |bridge| {
        let link = bridge.link(link);
        link["peers"].as_array().unwrap().iter().any(|peer| peer["filter"][0] == topic)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_between_two_libbroker_endpoints_are_forwarded_by_the_rules() {
    let program = reference_or_skip!();
    for side in Side::all() {
        for bridge_connects in [false, true] {
            let (mut left, mut right, bridge);
            let left_options = ["--subscribe", "/left"];
            let right_options = ["--disable-ssl", "--subscribe", "/right"];
            if bridge_connects {
                let (left_at, right_at);
                (left, left_at) = LibbrokerProcess::listen(&program, &side.options(&left_options)).await;
                (right, right_at) = LibbrokerProcess::listen(&program, &right_options).await;
                let left_lines = side.lines.clone() + &connect(&[&left_at]);
                let right_lines = Side::plain().lines + &connect(&[&right_at]);
                bridge = BridgeProcess::start(&config(&left_lines, &right_lines));
            } else {
                let left_lines = side.lines.clone() + LISTEN;
                bridge = BridgeProcess::start(&config(&left_lines, &(Side::plain().lines + LISTEN)));
                let (left_at, right_at) = (bridge.address("left"), bridge.address("right"));
                let left_options = [&["--connect", port(&left_at)], &left_options[..]].concat();
                left = LibbrokerProcess::start(&program, &side.options(&left_options)).await;
                let right_options = [&["--connect", port(&right_at)], &right_options[..]].concat();
                right = LibbrokerProcess::start(&program, &right_options).await;
            }
            wait_until_peered(&mut left, &bridge, "left").await;
            wait_until_peered(&mut right, &bridge, "right").await;
            wait_until_subscribed(&bridge, "left", "/left");
            wait_until_subscribed(&bridge, "right", "/right");
            for n in 0..100 {
                left.send_line(&format!("event /right/x Test::ping {n} {}", side.name)).await;
                right.send_line(&format!("event /left/y Test::pong {n}")).await;
            }
            for n in 0..100 {
                let expected = format!("/right/x (1, 1, (Test::ping, ({n}, {})))", side.name);
                assert_eq!(right.line("message ").await, expected);
                assert_eq!(left.line("message ").await, format!("/left/y (1, 1, (Test::pong, ({n})))"));
            }
            // Two messages that no rule allows, and then one that is allowed.
            left.send_line("event /right Other::ping x").await;
            left.send_line("publish /right string no event").await;
            left.send_line("event /right Test::last x").await;
            assert_eq!(right.line("message ").await, "/right (1, 1, (Test::last, (x)))");
            assert_eq!(
                bridge.status()["refused"],
                serde_json::json!({"event_not_allowed": 1, "malformed": 1})
            );
        }
    }
}

/// Connects an endpoint of this crate to the link `right`.
async fn ours(bridge: &BridgeProcess) -> (Endpoint, zeek_bridge::endpoint::Subscriber) {
    let ours = endpoint();
    let subscriber = subscribe(&ours, "/right").await;
    ours.connect(bridge.address("right"), Tls::Off).await.unwrap();
    wait_until_subscribed(bridge, "right", "/right");
    (ours, subscriber)
}

async fn assert_next_event(subscriber: &mut zeek_bridge::endpoint::Subscriber, name: &str, text: &str) {
    let message = within("an event", subscriber.recv()).await.unwrap();
    assert_eq!(message.value(), event(name, text));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_between_a_libbroker_endpoint_and_our_endpoint_are_forwarded() {
    let program = reference_or_skip!();
    for side in Side::all() {
        let left_lines = side.lines.clone() + LISTEN;
        let bridge = BridgeProcess::start(&config(&left_lines, &(Side::plain().lines + LISTEN)));
        let (ours, mut subscriber) = ours(&bridge).await;
        let left_at = bridge.address("left");
        let options = ["--connect", port(&left_at), "--subscribe", "/left"];
        let mut theirs = LibbrokerProcess::start(&program, &side.options(&options)).await;
        wait_until_peered(&mut theirs, &bridge, "left").await;
        wait_until_subscribed(&bridge, "left", "/left");
        subscribers(&ours, "/left", 1).await;
        for n in 0..100 {
            theirs.send_line(&format!("event /right Test::ping {n}")).await;
            assert_eq!(ours.publish(topic("/left"), &event("Test::pong", &n.to_string())).await, Ok(1));
        }
        for n in 0..100 {
            assert_next_event(&mut subscriber, "Test::ping", &n.to_string()).await;
            let line = theirs.line("message ").await;
            assert_eq!(line, format!("/left (1, 1, (Test::pong, ({n})))"), "{}", side.name);
        }
        if side.name == "mutual" {
            let identity = bridge.link("left")["peers"][0]["identity"].clone();
            assert!(identity.as_str().is_some_and(|identity| identity.contains("CN=zeek")), "{identity}");
        }
        // The bridge sends a BYE, and libbroker confirms it.
        bridge.program.signal("TERM");
        assert_eq!(bridge.end().code, Some(0));
        theirs.line("status peer_lost").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_libbroker_endpoint_that_is_killed_and_restarted_has_a_peering_again() {
    let program = reference_or_skip!();
    for side in Side::all() {
        let options = side.options(&["--subscribe", "/left"]);
        let (mut theirs, at) = LibbrokerProcess::listen(&program, &options).await;
        let left_lines = side.lines.clone() + &connect(&[&at]);
        let bridge = BridgeProcess::start(&config(&left_lines, &(Side::plain().lines + LISTEN)));
        let (ours, mut subscriber) = ours(&bridge).await;
        subscribers(&ours, "/left", 1).await;
        for round in 0..4 {
            wait_until_peered(&mut theirs, &bridge, "left").await;
            wait_until_subscribed(&bridge, "left", "/left");
            let round = round.to_string();
            theirs.send_line(&format!("event /right Test::ping {round}")).await;
            assert_next_event(&mut subscriber, "Test::ping", &round).await;
            ours.publish(topic("/left"), &event("Test::pong", &round)).await.unwrap();
            assert_eq!(theirs.line("message ").await, format!("/left (1, 1, (Test::pong, ({round})))"));
            theirs.kill().await;
            bridge.until("the end of the peering", |bridge| {
                let left = bridge.link("left");
                left["ready"] == false && left["peers"].as_array().unwrap().is_empty()
            });
            // The other side is not affected.
            assert_eq!(bridge.peers("right"), 1);
            theirs =
                LibbrokerProcess::start(&program, &[&["--listen", port(&at)], &options[..]].concat()).await;
        }
    }
}

/// Returns the configuration of a bridge in a circle of bridges: `left` listens for the previous bridge, `next` connects to
/// the next one, and `right` listens for other endpoints. The topic `/around` is forwarded between all links.
fn circle_config(left: &str, next: &str) -> String {
    let link = |name: &str, address_line: &str| format!("[link.{name}]\ntls = \"off\"\n{address_line}");
    let all = "[\"left\", \"next\", \"right\"]";
    [
        link("left", &format!("listen = \"{left}\"\n")),
        link("next", &connect(&[next])),
        link("right", LISTEN),
        format!("[[rule]]\nname = \"around\"\nfrom = {all}\nto = {all}\ntopics = [\"/around\"]\n"),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_forwarded_once_around_a_circle_of_three_bridges() {
    let program = reference_or_skip!();
    let first = BridgeProcess::start(&circle_config("127.0.0.1:0", "127.0.0.1:1"));
    let second = BridgeProcess::start(&circle_config("127.0.0.1:0", &first.address("left")));
    let third = BridgeProcess::start(&circle_config("127.0.0.1:0", &second.address("left")));
    let mut bridges = [first, second, third];
    let (own, last) = (bridges[0].address("left"), bridges[2].address("left"));
    bridges[0].reload(&circle_config(&own, &last));
    for bridge in &bridges {
        bridge.until("the bridges are connected in a circle", |bridge| {
            bridge.peers("left") == 1 && bridge.peers("next") == 1
        });
    }
    let at = |bridge: &BridgeProcess| bridge.address("right");
    let (publisher_address, receiver_address) = (at(&bridges[0]), at(&bridges[1]));
    let options = ["--disable-ssl", "--subscribe", "/around", "--connect"];
    let mut publisher =
        LibbrokerProcess::start(&program, &[&options[..], &[port(&publisher_address)]].concat()).await;
    let mut receiver =
        LibbrokerProcess::start(&program, &[&options[..], &[port(&receiver_address)]].concat()).await;
    for (reference, bridge) in [(&mut publisher, &bridges[0]), (&mut receiver, &bridges[1])] {
        wait_until_peered(reference, bridge, "right").await;
        wait_until_subscribed(bridge, "right", "/around");
    }
    publisher.send_line("event /around Test::around once").await;
    // The receiver gets this message only once: the next message that it gets, below, is a different one.
    assert_eq!(receiver.line("message ").await, "/around (1, 1, (Test::around, (once)))");
    let between = |bridge: &BridgeProcess| -> u64 {
        ["left", "next"].iter().map(|link| bridge.link(link)["messages_in"].as_u64().unwrap()).sum()
    };
    while bridges.iter().map(between).sum::<u64>() < 4 {}
    publisher.send_line("event /around Test::around again").await;
    assert_eq!(receiver.line("message ").await, "/around (1, 1, (Test::around, (again)))");
    assert_eq!(bridges[0].link("right")["messages_out"], 0, "no message returns to its publisher");
}
