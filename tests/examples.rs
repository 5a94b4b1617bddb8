//! Runs each example with a peer in this process.

#![cfg(feature = "net")]
#![allow(dead_code, reason = "the examples' `main` is not called")]

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use zeek_bridge::endpoint::{ConnectError, EndpointConfig, WebSocketConfig};
use zeek_bridge::management::REQUEST_TIMEOUT;
use zeek_bridge::prelude::*;
use zeek_bridge::websocket::Token;

#[path = "../examples/agent.rs"]
mod agent;
#[cfg(feature = "bridge")]
#[path = "../examples/bridge.rs"]
mod bridge;
#[path = "../examples/node.rs"]
mod node;
#[path = "../examples/publish.rs"]
mod publish;
#[path = "../examples/subscribe.rs"]
mod subscribe;
#[path = "../examples/typed_events.rs"]
mod typed_events;
#[path = "../examples/websocket_server.rs"]
mod websocket_server;

type Outcome = Result<(), Box<dyn Error>>;

/// The output of an example, which sends each complete line to the test.
struct Output {
    line: Vec<u8>,
    lines: mpsc::UnboundedSender<String>,
}

struct Lines(mpsc::UnboundedReceiver<String>);

fn output() -> (Output, Lines) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Output { line: Vec::new(), lines: sender }, Lines(receiver))
}

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            if *byte == b'\n' {
                let line = String::from_utf8(std::mem::take(&mut self.line)).unwrap();
                self.lines.send(line).unwrap();
            } else {
                self.line.push(*byte);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), future).await.unwrap_or_else(|_| panic!("no {what} within 30 s"))
}

impl Lines {
    async fn next(&mut self) -> String {
        soon("line", self.0.recv()).await.expect("the example has ended")
    }
}

/// Returns an endpoint that takes the role of Zeek, and its address.
async fn zeek() -> (Endpoint, String) {
    let endpoint = Endpoint::new().unwrap();
    let address = endpoint.listen(("127.0.0.1", 0), Tls::Off).await.unwrap().local_addr();
    (endpoint, address.to_string())
}

/// Runs an example that does not end by itself until `checks` is done.
async fn during(example: impl Future<Output = Outcome>, checks: impl Future<Output = ()>) {
    tokio::select! {
        outcome = example => panic!("the example has ended: {outcome:?}"),
        () = checks => {}
    }
}

#[tokio::test]
async fn subscribe_prints_each_message() {
    let (zeek, address) = zeek().await;
    let (output, mut lines) = output();
    during(subscribe::subscribe(&address, Tls::Off, output), async {
        assert!(lines.next().await.starts_with("connected to "));
        soon("subscriber", zeek.wait_for_subscribers("/demo/", 1)).await;
        zeek.publish("/other", Event::new("other", ())).await.unwrap();
        zeek.publish("/demo/pong", Event::new("pong", ("hello\u{1b}[2J", 8u64))).await.unwrap();
        assert_eq!(lines.next().await, "/demo/pong: pong(hello?[2J, 8)");
        zeek.publish("/demo/x", Value::from("text")).await.unwrap();
        assert_eq!(lines.next().await, "/demo/x: text");
    })
    .await;
}

#[tokio::test]
async fn publish_sends_an_event_and_fails_without_a_subscriber() {
    let (zeek, address) = zeek().await;
    let mut messages = zeek.subscribe("/demo/ping").await;
    let (out, mut lines) = output();
    publish::publish(&address, Tls::Off, out).await.unwrap();
    assert_eq!(lines.next().await, "published to 1 peer");
    let message = soon("message", messages.recv()).await.unwrap();
    assert_eq!(message.event(), Ok(Event::new("ping", ("hello", 7u64))));
    drop(messages);
    messages = zeek.subscribe("/something/else").await;
    let error = publish::publish(&address, Tls::Off, io::sink()).await.unwrap_err();
    assert_eq!(error.to_string(), "the peer does not subscribe to /demo/ping");
    drop(messages);
}

#[tokio::test]
async fn typed_events_answers_a_host_without_a_name() {
    let (zeek, address) = zeek().await;
    let mut names = zeek.subscribe("/demo/names").await;
    let (output, mut lines) = output();
    let ip: Address = "10.0.0.7".parse().unwrap();
    let services: BTreeSet<Port> = ["443/tcp".parse().unwrap(), "53/udp".parse().unwrap()].into();
    // The record has a field that the site has added.
    let host = |name: Option<&str>| Value::from((ip, services.clone(), name.map(str::to_owned), "lab"));
    during(typed_events::name_hosts(&address, Tls::Off, output), async {
        soon("subscriber", zeek.wait_for_subscribers("/demo/hosts", 1)).await;
        for (name, times) in [(Some("known"), 1u64), (None, 3)] {
            zeek.publish("/demo/hosts", Event::new("Demo::host_seen", (host(name), times))).await.unwrap();
            assert_eq!(lines.next().await, format!("10.0.0.7 was seen {times} times, with 2 services"));
        }
        let named: typed_events::HostNamed = soon("answer", names.recv()).await.unwrap().event().unwrap();
        assert_eq!((named.ip.to_string(), named.name.as_str()), (ip.to_string(), "host-10.0.0.7"));
        zeek.publish("/demo/hosts", Event::new("Demo::host_seen", (1u64, 2u64))).await.unwrap();
        assert_eq!(
            lines.next().await,
            "ignored: Demo::host_seen: argument 1 (host): expected vector, found count"
        );
    })
    .await;
}

#[tokio::test]
async fn websocket_server_answers_a_client_with_the_token() {
    let (output, mut lines) = output();
    let client = |token: &str| {
        let token = Some(Token::new(token).unwrap());
        let websocket = WebSocketConfig { token, ..WebSocketConfig::default() };
        Endpoint::with_config(EndpointConfig { websocket, ..EndpointConfig::default() }).unwrap()
    };
    during(websocket_server::serve("ws://127.0.0.1:0", "secret", output), async {
        let line = lines.next().await;
        let url = line.strip_prefix("listening on ").unwrap();
        let refused = client("wrong").connect(url, Tls::Off).await;
        assert!(matches!(refused, Err(ConnectError::Peering(_))), "{refused:?}");
        let client = client("secret");
        let mut answers = client.subscribe("/demo/pong").await;
        client.connect(url, Tls::Off).await.unwrap();
        client.publish("/demo/ping", Event::new("other", ())).await.unwrap();
        client.publish("/demo/ping", websocket_server::Ping { text: "hi\u{1b}".into(), n: 7 }).await.unwrap();
        assert_eq!(lines.next().await, "ping hi? 7");
        let answer = soon("answer", answers.recv()).await.unwrap().event();
        assert_eq!(answer, Ok(websocket_server::Pong { text: "hi\u{1b}".into(), n: 8 }));
    })
    .await;
}

#[tokio::test]
async fn node_answers_its_agent() {
    let (endpoint, address) = zeek().await;
    let agent = Agent::start(endpoint).await;
    let (output, mut lines) = output();
    during(node::node(&address, "worker-07", output), async {
        soon("node", agent.wait_for_nodes(|nodes| nodes.contains("worker-07"))).await;
        assert!(lines.next().await.starts_with("sent a hello to "));
        let names = agent.get_id_value::<String>("Cluster::node").await.unwrap();
        assert_eq!(names["worker-07"], Ok("worker-07".to_owned()));
        assert_eq!(lines.next().await, "answered with \"worker-07\"");
        let unknown = agent.get_id_value::<String>("x").await.unwrap();
        assert_eq!(unknown["worker-07"], Err(AnswerError::Failed("unknown id".to_owned())));
        assert_eq!(lines.next().await, "answered with a failure: unknown id");
        let echo = agent.dispatch(["echo", "a", "b"], ["worker-07"], REQUEST_TIMEOUT).await.unwrap();
        assert_eq!(echo.answers["worker-07"].value(), Ok(vec!["a".to_owned(), "b".to_owned()]));
    })
    .await;
}

#[tokio::test]
async fn agent_asks_the_node_that_connects() {
    let (output, mut lines) = output();
    let endpoint = Endpoint::new().unwrap();
    let values = Values::from_json_text(r#"{"Cluster::node": "worker-01"}"#).unwrap();
    let node = Node::start(endpoint.clone(), "worker-01", values).await;
    let (outcome, ()) = tokio::join!(agent::agent("127.0.0.1:0", "Cluster::node", output), async {
        let line = lines.next().await;
        let address = line.strip_prefix("listening on ").unwrap();
        endpoint.connect(address, Tls::Off).await.unwrap();
        assert_eq!(lines.next().await, "worker-01: Cluster::node is \"worker-01\"");
    });
    outcome.unwrap();
    node.stop().await;
}

#[cfg(feature = "bridge")]
#[tokio::test]
async fn bridge_forwards_what_its_rule_allows() {
    let (output, mut lines) = output();
    let bridge = bridge::start("127.0.0.1:0", "127.0.0.1:0", output).await.unwrap();
    let mut ends = Vec::new();
    for name in ["left", "right"] {
        let line = lines.next().await;
        let address = line.strip_prefix(&format!("{name} listens on ")).unwrap().to_owned();
        ends.push((Endpoint::new().unwrap(), address));
    }
    let [(left, left_address), (right, right_address)] = &ends[..] else { unreachable!() };
    let mut messages = right.subscribe("").await;
    right.connect(right_address, Tls::Off).await.unwrap();
    left.connect(left_address, Tls::Off).await.unwrap();
    soon("subscription", left.wait_for_subscribers("/demo/x", 1)).await;
    left.publish("/other", Event::new("other", ())).await.unwrap();
    left.publish("/demo/x", Event::new("allowed", (1u64,))).await.unwrap();
    let message = soon("message", messages.recv()).await.unwrap();
    assert_eq!(message.to_string(), "/demo/x: allowed(1)");
    bridge.shutdown().await;
}
