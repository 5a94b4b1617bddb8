//! Python clients of the WebSocket server: `websockets`, `websocket-client` and `zeek-client`.
//!
//! The environment variable `ZEEK_BRIDGE_PYTHON` names a Python interpreter that has these packages. If it is not set, the
//! tests are skipped with a notice.

use serde_json::{Value as Json, json};
use zeek_bridge::data::{Value, parse_json};
use zeek_bridge::endpoint::{Endpoint, Listener, WebSocketConfig};
use zeek_bridge::net::tls::{Credentials, Tls, ephemeral_authority};
use zeek_bridge::websocket::{Access, Token, Tokens};
use zeek_bridge::zeek::Event;

use crate::program::child::skip;
use crate::program::{Files, Program, command_of};
use crate::support::*;

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/websocket_client.py");
const TOKEN: &str = "a-token-for-tests";

/// Returns the interpreter, or `None` after a notice.
fn python() -> Option<String> {
    let python = std::env::var("ZEEK_BRIDGE_PYTHON").ok();
    if python.is_none() {
        skip("ZEEK_BRIDGE_PYTHON is not set: the WebSocket server is not tested with Python clients");
    }
    python
}

/// An argument of each type, as JSON.
fn arguments() -> Json {
    let typed = |kind: &str, data: Json| json!({"@data-type": kind, "data": data});
    let strings = |texts: &[&str]| texts.iter().map(|text| typed("string", json!(text))).collect::<Vec<_>>();
    json!([
        typed("none", json!({})),
        typed("boolean", json!(true)),
        typed("count", json!(u64::MAX)),
        typed("integer", json!(i64::MIN)),
        typed("real", json!(-7.5)),
        typed("string", json!("caf\u{e9} \u{b} \u{1} \" \\ /")),
        typed("enum-value", json!("Notice::NOTE")),
        typed("address", json!("2001:db8::1")),
        typed("subnet", json!("10.0.0.0/8")),
        typed("port", json!("443/tcp")),
        typed("timestamp", json!("2023-04-18T14:13:14.123")),
        typed("timespan", json!("-1500us")),
        typed("vector", json!(strings(&["b", "a"]))),
        typed("set", json!(strings(&["a", "b"]))),
        typed("table", json!([{"key": typed("count", json!(1)), "value": typed("port", json!("53/udp"))}])),
    ])
}

/// Returns the values of [`arguments`].
fn values() -> Vec<Value> {
    let vector = json!({"@data-type": "vector", "data": arguments()});
    match Value::from_json(&parse_json(vector.to_string()).unwrap()) {
        Ok(Value::Vector(values)) => values,
        other => panic!("{other:?}"),
    }
}

/// An endpoint that listens for the WebSocket API, optionally with TLS and a token.
struct Server {
    endpoint: Endpoint,
    listener: Listener,
    files: Option<Files>,
}

impl Server {
    async fn start(with_tls: bool, with_token: bool) -> Self {
        let mut tokens = Tokens::default();
        if with_token {
            tokens.insert("python", Token::new(TOKEN).unwrap());
        }
        let access = Access { tokens, ..Access::default() };
        let websocket = WebSocketConfig { access, ..WebSocketConfig::default() };
        let endpoint = endpoint_with(|config| config.websocket = websocket);
        let files = with_tls.then(|| Files::issue(&ephemeral_authority().unwrap(), "127.0.0.1"));
        let (url, tls) = match &files {
            Some(files) => {
                let [certificate, keyfile] =
                    ["certificate", "keyfile"].map(|name| files.folder.path().join(name));
                (
                    "wss://127.0.0.1:0",
                    Tls::from(Credentials::for_server(certificate, keyfile).load().unwrap()),
                )
            }
            None => ("ws://127.0.0.1:0", Tls::Off),
        };
        let listener = endpoint.listen(url, tls).await.unwrap();
        Server { endpoint, listener, files }
    }

    /// Starts the Python client with this package.
    fn client(&self, python: &str, package: &str, token: Option<&str>) -> Program {
        let scheme = if self.files.is_some() { "wss" } else { "ws" };
        let url = format!("{scheme}://{}/v1/messages/json", self.listener.local_addr());
        let mut args = vec![CLIENT.to_owned(), package.to_owned(), url];
        if let Some(token) = token {
            args.extend(["--token".to_owned(), token.to_owned()]);
        }
        if let Some(files) = &self.files {
            args.extend(["--cafile".to_owned(), files.folder.path().join("cafile").display().to_string()]);
        }
        Program::spawn(command_of(python, args))
    }
}

/// Exchanges events with a client. Their arguments have all types.
async fn exchange(python: &str, package: &str, with_tls: bool) {
    let server = Server::start(with_tls, true).await;
    let mut received = subscribe(&server.endpoint, "/from_client").await;
    let mut client = server.client(python, package, Some(TOKEN));
    client.give(&arguments().to_string());
    let mut client = tokio::task::spawn_blocking(move || {
        let ack = client.line();
        assert_eq!(ack["type"], "ack", "{ack}");
        assert!(ack["endpoint"].is_string() && ack["version"].is_string(), "{ack}");
        client
    })
    .await
    .unwrap();
    let message = within("the client's event", received.recv()).await.unwrap();
    assert_eq!(message.topic().to_string(), "/from_client");
    let events = message.events();
    assert_eq!(events.len(), 1, "{message}");
    assert_eq!(events[0].name, "values");
    assert_eq!(events[0].args, values());

    let event = Event::new("values", values());
    server.endpoint.publish("/to_client", event).await.unwrap();
    let expected = json!({
        "type": "data-message", "topic": "/to_client", "@data-type": "vector",
        "data": [
            {"@data-type": "count", "data": 1},
            {"@data-type": "count", "data": 1},
            {"@data-type": "vector", "data": [
                {"@data-type": "string", "data": "values"},
                {"@data-type": "vector", "data": arguments()},
            ]},
        ],
    });
    let end = tokio::task::spawn_blocking(move || {
        let message = client.line();
        assert_eq!(message, expected);
        client.end_by_itself()
    });
    let end = end.await.unwrap();
    assert_eq!(end.code, Some(0), "{end:?}");
    server.endpoint.shutdown().await;
}

#[tokio::test]
async fn python_clients_exchange_values_of_all_types() {
    let Some(python) = python() else { return };
    for package in ["websockets", "websocket-client"] {
        for with_tls in [false, true] {
            exchange(&python, package, with_tls).await;
        }
    }
}

#[tokio::test]
async fn python_clients_without_the_token_are_refused() {
    let Some(python) = python() else { return };
    for package in ["websockets", "websocket-client"] {
        for token in [None, Some("wrong")] {
            let server = Server::start(false, true).await;
            let mut client = server.client(&python, package, token);
            let end = tokio::task::spawn_blocking(move || {
                client.give("[]");
                client.end()
            });
            let end = end.await.unwrap();
            assert_eq!(end.code, Some(1), "{end:?}");
            assert!(end.stdout.is_empty() && end.stderr.contains("401"), "{package}: {end:?}");
        }
    }
}

/// `zeek-client get-id-value`: the answer of a controller is received as sent.
#[tokio::test]
async fn zeek_client_receives_the_answer_of_a_controller() {
    const CONTROLLER: &str = "zeek/management/controller";
    let Some(python) = python() else { return };
    let server = Server::start(false, false).await;
    let mut requests = subscribe(&server.endpoint, CONTROLLER).await;
    let zeek_client = std::path::Path::new(&python).with_file_name("zeek-client");
    let port = server.listener.local_addr().port();
    let setting = format!("controller.port={port}");
    let args = ["--set", &setting, "get-id-value", "Site::local_nets"];
    let client = Program::spawn(command_of(zeek_client, args));
    let message = within("the request", requests.recv()).await.unwrap();
    let events = message.events();
    assert_eq!(events[0].name, "Management::Controller::API::get_id_value_request");
    let request = events[0].args[0].clone();
    assert_eq!(events[0].args[1], text("Site::local_nets"));
    let result = Value::Vector(vec![
        request.clone(),
        Value::Boolean(true),
        text("agent-1"),
        text("[\"10.0.0.0/8\"]"),
        Value::None,
        text("worker-1"),
    ]);
    let response = Event::new(
        "Management::Controller::API::get_id_value_response",
        vec![request, Value::Vector(vec![result])],
    );
    server.endpoint.publish(CONTROLLER, response).await.unwrap();
    let end = tokio::task::spawn_blocking(move || client.end()).await.unwrap();
    assert_eq!(end.code, Some(0), "{end:?}");
    let output: Json = serde_json::from_str(&end.stdout.join("\n")).unwrap();
    assert_eq!(output["results"]["worker-1"], json!(["10.0.0.0/8"]), "{output}");
}
