//! Clients of the WebSocket API that use a bridge.

use std::collections::BTreeSet;

use zeek_bridge::data::Value;
use zeek_bridge::endpoint::{Endpoint, EndpointConfig, WebSocketConfig};
use zeek_bridge::management::{
    DispatchRequest, DispatchResponse, ManagementResult, NodeMessage, NotifyNodeHello,
};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::websocket::Token;
use zeek_bridge::zeek::Event;

use crate::cluster::BridgeProcess;
use crate::peers::*;
use crate::program::child::soon;
use crate::raw_websocket::RawClient;

const NODE: &str = "zeek/management/node";

/// A bridge that a SOAR may ask about the variables of one module, and other clients about nothing.
fn config(tokens: &str) -> String {
    format!(
        r#"
[link.nodes]
listen = "127.0.0.1:0"
tls = "off"
[link.soar]
listen = "ws://127.0.0.1:0"
{tokens}
[[rule]]
name = "hellos"
from = "nodes"
to = "soar"
topics = "{NODE}"
events = "*::notify_node_hello"
[[rule]]
name = "questions"
from = "soar"
to = "nodes"
topics = "{NODE}"
events = "*::node_dispatch_request"
nodes = "worker-*"
actions = {{ get_id_value = ["Site::*"] }}
identities = ["token:soar"]
[[rule]]
name = "answers"
from = "nodes"
to = "soar"
topics = "{NODE}"
events = "*::node_dispatch_response"
"#
    )
}

/// Returns the tables of tokens, each with its file.
fn tokens(folder: &std::path::Path, tokens: &[(&str, &str)]) -> String {
    let table = |(name, text): &(&str, &str)| {
        let path = folder.join(text);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        format!("[[link.soar.token]]\nname = \"{name}\"\nfile = \"{}\"\n", path.display())
    };
    tokens.iter().map(table).collect()
}

fn client(token: &str) -> Endpoint {
    let token = Some(Token::new(token).unwrap());
    let websocket = WebSocketConfig { token, ..WebSocketConfig::default() };
    Endpoint::with_config(EndpointConfig { websocket, ..EndpointConfig::default() }).unwrap()
}

fn request(reqid: &str, variable: &str) -> DispatchRequest {
    let action = vec!["get_id_value".to_owned(), variable.to_owned()];
    let nodes = BTreeSet::from(["worker-1".to_owned()]);
    DispatchRequest { reqid: reqid.into(), action, nodes }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_client_asks_a_node_under_rules() {
    let folder = tempfile::tempdir().unwrap();
    let mut bridge =
        BridgeProcess::start(&config(&tokens(folder.path(), &[("soar", "secret"), ("guest", "other")])));
    let (soar, guest) = (client("secret"), client("other"));
    let mut answers = subscribe(&soar, NODE).await;
    let soar = connected(soar, &bridge.address("soar")).await;
    let guest = connected(guest, &bridge.address("soar")).await;

    let node = peer();
    let mut questions = subscribe(&node, NODE).await;
    let node = connected(node, &bridge.address("nodes")).await;
    let hello = NotifyNodeHello { node: "worker-1".into() };
    publish(&node, hello.clone()).await;
    assert_eq!(next_of_node_api(&mut answers).await, NodeMessage::Hello(hello));

    let allowed = request("r1", "Site::local_nets");
    publish(&guest, request("r0", "Site::local_nets")).await;
    let line = bridge.program.says("identity_not_allowed");
    assert!(line.contains("rule=\"questions\"") && line.contains("link=\"soar\""), "{line}");
    publish(&soar, request("r2", "Log::default_rotation_interval")).await;
    bridge.program.says("action_not_allowed");
    publish(&soar, allowed.clone()).await;
    assert_eq!(next_of_node_api(&mut questions).await, NodeMessage::Request(allowed));
    let answer = ManagementResult::success("r1", "worker-1", Some(serde_json::json!("10.0.0.0/8").into()));
    let answer: DispatchResponse = answer.into();
    publish(&node, answer.clone()).await;
    loop {
        // The bridge may answer the denied request on behalf of the node.
        match next_of_node_api(&mut answers).await {
            NodeMessage::Response(response) if response == answer => break,
            NodeMessage::Response(_) => {}
            other => panic!("{other:?}"),
        }
    }
    let peers = bridge.link("soar")["peers"].clone();
    let named: BTreeSet<_> =
        peers.as_array().unwrap().iter().map(|peer| peer["identity"].as_str().unwrap()).collect();
    assert_eq!(named, BTreeSet::from(["token:soar", "token:guest"]), "{peers}");
    assert!(
        peers[0]["protocol"] == "websocket" && peers[0]["name"].as_str().unwrap().starts_with("zeek-bridge/")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_replaced_without_disconnecting_clients() {
    let folder = tempfile::tempdir().unwrap();
    let text = |list: &[(&str, &str)]| config(&tokens(folder.path(), list));
    let mut bridge = BridgeProcess::start(&text(&[("soar", "old")]));
    let url = bridge.address("soar");
    let old = client("old");
    let mut hellos = subscribe(&old, NODE).await;
    let mut statuses = old.status();
    let _old = connected(old, &url).await;
    assert!(client("new").connect(&url, Tls::Off).await.is_err());
    let changed = "link soar: changed for new connections: ";
    bridge
        .reload_reporting(&text(&[("soar", "old"), ("soar", "new")]), &format!("{changed}tokens (now soar)"));
    let _new = connected(client("new"), &url).await;
    bridge.reload_reporting(&text(&[("soar", "new")]), &format!("{changed}tokens (now soar)"));
    assert!(client("old").connect(&url, Tls::Off).await.is_err());
    std::fs::remove_file(folder.path().join("new")).unwrap();
    let missing = config(&format!(
        "[[link.soar.token]]\nname = \"soar\"\nfile = \"{}\"\n",
        folder.path().join("new").display()
    ));
    bridge.reload_invalid(&missing, "link.soar.token: ");
    // The client with the old token is still connected.
    let node = connected(peer(), &bridge.address("nodes")).await;
    let hello = NotifyNodeHello { node: "worker-1".into() };
    publish(&node, hello.clone()).await;
    assert_eq!(next_of_node_api(&mut hellos).await, NodeMessage::Hello(hello));
    assert_eq!(bridge.peers("soar"), 2);
    let options = "origins = [\"https://soar.example\"]\nbinary = \"drop\"\n";
    let tokens = tokens(folder.path(), &[("soar", "new"), ("guest", "third")]);
    let changes = format!("{changed}tokens (now guest, soar), origins, binary");
    bridge.reload_reporting(&config(&format!("{options}{tokens}")), &changes);
    assert_eq!(bridge.peers("soar"), 2);
    let first = soon("the status of the only connection", statuses.recv()).await.unwrap();
    assert!(first.to_string().starts_with("peer added: "), "{first}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_websocket_clients_of_a_hub_receive_each_others_events() {
    let bridge = BridgeProcess::start(
        "[link.clients]\nlisten = \"ws://127.0.0.1:0\"\nhub = true\n\
         [[rule]]\nname = \"all\"\nfrom = \"clients\"\nto = \"clients\"\ntopics = \"/t\"\n",
    );
    let url = bridge.address("clients");
    let mut raw = RawClient::connect(url.strip_prefix("ws://").unwrap(), "", &["/t"]).await;
    let sender = connected(peer(), &url).await;
    sender.publish("/t/x", Event::new("Demo::ping", (1u64,))).await.unwrap();
    let text = soon("the event", raw.text()).await;
    assert!(
        text.starts_with(r#"{"type":"data-message","topic":"/t/x","#) && text.contains("Demo::ping"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_strings_that_the_api_cannot_carry_are_counted() {
    let vector = |elements: Vec<Value>| Value::Vector(elements);
    let log = vector(vec![
        Value::EnumValue("Conn::LOG".into()),
        Value::EnumValue("Log::WRITER_ASCII".into()),
        Value::String("conn".into()),
        Value::String(b"\0\0\0\0"[..].into()),
    ]);
    let log = vector(vec![Value::Count(1), Value::Count(3), log]);
    let odd = event(Event::new("odd", [Value::String(b"\xff"[..].into())]));
    let last = event(Event::new("last", ()));
    let batch = [log.clone(), odd.clone(), event(Event::new("first", ()))];
    let batch = vector(vec![Value::Count(1), Value::Count(5), vector(batch.into())]);
    for (binary, not_carried, altered) in [("escape", 2, 2), ("replace", 2, 2), ("drop", 4, 0)] {
        let bridge = BridgeProcess::start(&format!(
            "[link.zeek]\nlisten = \"127.0.0.1:0\"\ntls = \"off\"\n\
             [link.soar]\nlisten = \"ws://127.0.0.1:0\"\nbinary = \"{binary}\"\n\
             [[rule]]\nname = \"all\"\nfrom = \"zeek\"\nto = \"soar\"\ntopics = \"/t\"\n"
        ));
        let url = bridge.address("soar");
        let mut client = RawClient::connect(url.strip_prefix("ws://").unwrap(), "", &["/t"]).await;
        let zeek = connected(peer(), &bridge.address("zeek")).await;
        soon("a subscription", zeek.wait_for_subscribers("/t", 1)).await;
        for message in [&log, &odd, &batch, &last] {
            assert_eq!(zeek.publish("/t", message).await, Ok(1));
        }
        while !soon("an event", client.text()).await.contains("\"last\"") {}
        let link = bridge.link("soar");
        let peer = &link["peers"][0];
        assert_eq!(
            (&link["not_carried"], &link["altered_strings"]),
            (&not_carried.into(), &altered.into()),
            "{link}"
        );
        assert_eq!((&peer["not_carried"], &peer["dropped"]), (&not_carried.into(), &0.into()), "{link}");
    }
}
