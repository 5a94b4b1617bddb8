//! Clients on libzmq, in Python, of a bridge as the proxy of a ZeroMQ cluster. See [`super::zeromq`] for the interpreter.

use std::process::Command;

use data_encoding::HEXLOWER;
use zeek_bridge::net::Url;
use zeek_bridge::zeek::Event;
use zeek_bridge::zeromq::curve::KeyPair;
use zeek_bridge::zeromq::{LogField, LogHeader, LogValue, TypeTag};

use crate::cluster::BridgeProcess;
use crate::program::child::skip;
use crate::program::{Program, command_of, write_secret};
use crate::support::*;
use crate::zeromq_proxy::payload;

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/zeromq_clients.py");
const RULE: &str = "[[rule]]\nname = \"all\"\nfrom = \"cluster\"\nto = \"cluster\"\ntopics = \"/t\"\n";
/// More than the events of all tests, so that only a subscriber that reads nothing loses events.
const LIMITS: &str = "limits = { queue = 200000 }\n";

/// Returns the command for a scenario. `None` after a notice if there is no interpreter.
fn clients(scenario: &str, addresses: [&str; 2], payload: &[u8]) -> Option<Command> {
    let Ok(python) = std::env::var("ZEEK_BRIDGE_PYTHON") else {
        skip("ZEEK_BRIDGE_PYTHON is not set: ZeroMQ is not tested with libzmq");
        return None;
    };
    let [one, other] = addresses;
    Some(command_of(python, [CLIENTS, scenario, one, other, &HEXLOWER.encode(payload)]))
}

fn proxy(listen: &str, more: &str) -> BridgeProcess {
    BridgeProcess::start(&format!("[link.cluster]\nlisten = \"{listen}\"\n{LIMITS}{more}{RULE}"))
}

/// Returns the addresses of the proxy in the notation of libzmq.
fn addresses(bridge: &BridgeProcess) -> [String; 2] {
    let url: Url = bridge.address("cluster").parse().unwrap();
    [url.xpub(), url.xsub()].map(|address| format!("tcp://{}", address.unwrap()))
}

fn event() -> Vec<u8> {
    payload(Event::new("Demo::count", (7_u64, "x".repeat(100))))
}

/// Runs a scenario at a bridge. `set` sets the keys of the clients.
fn runs(scenario: &str, bridge: &BridgeProcess, set: impl FnOnce(&mut Command)) {
    let [xpub, xsub] = addresses(bridge);
    let Some(mut command) = clients(scenario, [&xpub, &xsub], &event()) else { return };
    set(&mut command);
    let end = Program::spawn(command).end_by_itself();
    assert_eq!(
        (end.code, end.stdout.last().map(String::as_str)),
        (Some(0), Some("done")),
        "{scenario}: {end:?}"
    );
}

#[test]
fn sockets_of_libzmq_exchange_events_and_subscriptions_through_a_bridge() {
    for scenario in ["subscriptions", "plain_publisher"] {
        runs(scenario, &proxy("zeromq://127.0.0.1:0,0", ""), |_| {});
    }
}

#[test]
fn a_subscriber_that_reads_nothing_does_not_delay_the_others_and_no_event_is_lost() {
    runs("many", &proxy("zeromq://127.0.0.1:0,0", ""), |_| {});
}

#[test]
fn sockets_of_libzmq_with_an_allowed_key_are_accepted() {
    let [server, client, other] = [(); 3].map(|()| KeyPair::generate().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("server_secretkey");
    write_secret(&secret, server.secret().expose_z85().as_bytes());
    let curve = format!(
        "curve = {{ secret_key = \"{}\", client = [{{ name = \"zeek\", public_key = \"{}\" }}] }}\n",
        secret.display(),
        client.public()
    );
    let bridge = proxy("zeromq://127.0.0.1:0,0", &curve);
    let keys = |keys: &KeyPair, command: &mut Command| {
        command.env("SERVER_KEY", server.public().to_string());
        command.env("PUBLIC_KEY", keys.public().to_string());
        command.env("SECRET_KEY", keys.secret().expose_z85());
    };
    runs("subscriptions", &bridge, |command| keys(&client, command));
    runs("refused", &bridge, |command| keys(&other, command));
    runs("refused", &bridge, |_| {});
}

#[test]
fn sockets_of_libzmq_connect_again_after_a_restart() {
    let bridge = proxy("zeromq://127.0.0.1:0,0", "");
    let ([xpub, xsub], url) = (addresses(&bridge), bridge.address("cluster"));
    let Some(command) = clients("restart", [&xpub, &xsub], &event()) else { return };
    let mut clients = Program::spawn(command);
    assert_eq!(clients.text(), "connected");
    drop(bridge);
    let _bridge = proxy(&url, "");
    let end = clients.end_by_itself();
    assert_eq!((end.code, end.stdout.last().map(String::as_str)), (Some(0), Some("done")), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_socket_of_libzmq_sends_its_logs_to_an_endpoint() {
    let header = LogHeader {
        stream: b"Demo::LOG",
        writer: b"Log::WRITER_ASCII",
        filter: b"default",
        path: b"demo",
        fields: vec![LogField::new("n", TypeTag::Count)],
    };
    let mut batch = Vec::new();
    header.encode(&[vec![LogValue::Count(7)]], &mut batch).unwrap();
    let logger = endpoint();
    let mut logs = logger.listen_for_logs("zeromq://127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", logs.local_addr());
    let Some(command) = clients("logs", [&address, ""], &batch) else { return };
    let pusher = Program::spawn(command);
    for number in 0..1000 {
        let received = within("a batch", logs.recv()).await.unwrap();
        assert_eq!((received.sender_name(), received.bytes()), (Some(&*number.to_string()), &*batch));
    }
    let end = tokio::task::spawn_blocking(|| pusher.end_by_itself()).await.unwrap();
    assert_eq!(end.code, Some(0), "{end:?}");
}
