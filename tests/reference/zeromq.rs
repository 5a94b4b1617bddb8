//! A ZeroMQ cluster on libzmq, in Python.
//!
//! The environment variable `ZEEK_BRIDGE_PYTHON` names a Python interpreter that has the package `pyzmq`. If it is not set, the
//! tests are skipped with a notice.

use std::path::Path;

use data_encoding::HEXLOWER;
use zeek_bridge::net::tls::Tls;
use zeek_bridge::zeek::Event;

use crate::program::child::skip;
use crate::program::{Program, command_of};
use crate::support::*;
use crate::zeromq_proxy::payload;

const CLUSTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/zeromq_cluster.py");
const SENDER: &str = "zeromq_worker-1_host_1_N";

/// A proxy and a node on libzmq.
struct Cluster {
    program: Program,
    url: String,
}

impl Cluster {
    /// Returns `None` after a notice if there is no interpreter.
    fn start() -> Option<Self> {
        Self::with(&[])
    }

    /// Starts a cluster with CURVE and the keys in this folder.
    fn with_keys(folder: &Path) -> Option<Self> {
        Self::with(&["--curve", folder.to_str().unwrap()])
    }

    fn with(options: &[&str]) -> Option<Self> {
        let Ok(python) = std::env::var("ZEEK_BRIDGE_PYTHON") else {
            skip("ZEEK_BRIDGE_PYTHON is not set: ZeroMQ is not tested with libzmq");
            return None;
        };
        let mut program = Program::spawn(command_of(python, [&[CLUSTER], options].concat()));
        let url = program.line()["url"].as_str().unwrap().to_owned();
        Some(Cluster { program, url })
    }

    /// The node publishes an event when it knows a subscriber.
    fn publish(&mut self, topic: &str, event: Event) {
        let payload = payload(event);
        self.program.give(&format!("{topic} {SENDER} {}", HEXLOWER.encode(&payload)));
    }

    /// Returns the parts of the next event that the node receives.
    fn received(&mut self) -> Vec<Vec<u8>> {
        let line = self.program.line();
        let parts = line["parts"].as_array().unwrap().iter();
        parts.map(|part| HEXLOWER.decode(part.as_str().unwrap().as_bytes()).unwrap()).collect()
    }
}

fn count(number: u64) -> Event {
    Event::new("Demo::count", (number, "x".repeat(300)))
}

#[tokio::test(flavor = "multi_thread")]
async fn events_cross_a_proxy_of_libzmq_in_order() {
    let Some(mut cluster) = Cluster::start() else { return };
    let endpoint = endpoint();
    let mut received = subscribe(&endpoint, "/to_bridge").await;
    let publisher =
        within("both connections", async { endpoint.connect(&*cluster.url, Tls::Off).await.unwrap() }).await;
    within("the subscriptions", endpoint.until_subscriptions_known(publisher)).await;
    const EVENTS: u64 = 2000;
    for number in 0..EVENTS {
        assert_eq!(endpoint.publish("/to_node/x", count(number)).await.unwrap(), 1);
    }
    let mut cluster = tokio::task::spawn_blocking(move || {
        for number in 0..EVENTS {
            let parts = cluster.received();
            assert_eq!(&parts[0], b"/to_node/x");
            assert_eq!(parts[3], payload(count(number)), "{number}");
        }
        cluster
    })
    .await
    .unwrap();
    for number in 0..EVENTS {
        cluster.publish("/to_bridge/x", count(number));
    }
    for number in 0..EVENTS {
        let message = within("an event", received.recv()).await.unwrap();
        assert_eq!(message.sender_name(), Some(SENDER));
        assert_eq!(message.event::<Event>().unwrap(), count(number));
    }
    endpoint.shutdown().await;
}

#[test]
fn the_program_publishes_and_receives_at_a_proxy_of_libzmq() {
    let Some(mut cluster) = Cluster::start() else { return };
    let end = Program::run(&format!("probe {}", cluster.url), "");
    assert_eq!(end.code, Some(0), "{end:?}");
    let mut tap =
        Program::start(&format!("tap --format json --count 1 --topic /to_bridge --connect {}", cluster.url));
    cluster.publish("/to_bridge", count(1));
    let line = tap.line();
    assert_eq!((&line["peer"], &line["event"]), (&SENDER.into(), &"Demo::count".into()), "{line}");
    assert_eq!(tap.end_by_itself().code, Some(0));
    let publish = |topic: &str, options: &str| {
        Program::run(
            &format!("publish --topic {topic} --connect {} {options} Demo::count count:7", cluster.url),
            "",
        )
    };
    publish("/nobody", "--wait 1s").fails(5, &["no subscriber for the topic /nobody"]);
    let end = publish("/to_node", "");
    assert_eq!(end.code, Some(0), "{end:?}");
    let payload = payload(Event::new("Demo::count", (7u64,)));
    assert_eq!(cluster.received()[3], payload);
}

/// Creates keys with these names in a folder, in zeekctl's format. Returns the public key of the last one.
fn create_keys(folder: &Path, names: &[&str]) -> String {
    for name in names {
        let end = Program::run(&format!("curve keygen {name} --out {}", folder.display()), "");
        assert_eq!(end.code, Some(0), "{end:?}");
    }
    let last = folder.join(format!("{}_publickey", names.last().unwrap()));
    std::fs::read_to_string(last).unwrap().trim_end().to_owned()
}

/// The options for the keys of a client.
fn key_options(folder: &Path, server: &str, client: &str) -> String {
    let folder = folder.display();
    format!(
        "--curve-server-key {folder}/{server}_publickey --curve-public-key {folder}/{client}_publickey --curve-secret-key \
         {folder}/{client}_secretkey"
    )
}

#[test]
fn the_program_uses_curve_at_a_proxy_of_libzmq_with_a_zap_handler() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let other = create_keys(folder, &["server", "client", "other"]);
    let Some(mut cluster) = Cluster::with_keys(folder) else { return };
    let at = |server, client| format!("--connect {} {}", cluster.url, key_options(folder, server, client));
    let options = at("server", "client");
    let (no_server, no_client) = (at("other", "client"), at("server", "other"));
    let end = Program::run(&format!("probe --format json {options}"), "");
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!((&end.json()[0]["mechanism"], &end.json()[0]["keys"]), (&"CURVE".into(), &"accepted".into()));

    let mut tap = Program::start(&format!("tap --format json --count 1 --topic /to_bridge {options}"));
    cluster.publish("/to_bridge", count(1));
    let line = tap.line();
    assert_eq!((&line["peer"], &line["event"]), (&SENDER.into(), &"Demo::count".into()), "{line}");
    assert_eq!(tap.end_by_itself().code, Some(0));
    let end = Program::run(&format!("publish --topic /to_node {options} Demo::count count:7"), "");
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!(cluster.received()[3], payload(Event::new("Demo::count", (7u64,))));

    for command in ["tap", "publish --topic /to_node e"] {
        Program::run(&format!("{command} {no_server}"), "")
            .fails(4, &["CURVE key", &other, "check --curve-server-key"]);
        Program::run(&format!("{command} {no_client}"), "")
            .fails(4, &["CURVE key", &other, "--curve-public-key and --curve-secret-key"]);
        Program::run(&format!("{command} --connect {}", cluster.url), "")
            .fails(4, &["mechanism CURVE", "--curve-server-key"]);
    }
    for (options, keys) in [(&no_server, "refused".into()), (&no_client, "refused".into())] {
        let end = Program::run(&format!("probe --format json {options}"), "");
        assert_eq!((end.code, &end.json()[0]["keys"]), (Some(4), &keys), "{end:?}");
        assert!(end.json()[0]["notes"][0].as_str().unwrap().contains(&other), "{end:?}");
    }
    let end = Program::run(&format!("probe --format json {}", cluster.url), "");
    assert_eq!((end.code, &end.json()[0]["mechanism"]), (Some(4), &"CURVE".into()), "{end:?}");
}

#[test]
fn the_keys_of_curve_are_refused_at_a_proxy_of_libzmq_without_it() {
    let Some(cluster) = Cluster::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = create_keys(folder.path(), &["client", "server"]);
    let options = format!("--connect {} {}", cluster.url, key_options(folder.path(), "server", "client"));
    for command in ["tap", "publish --topic /to_node e"] {
        Program::run(&format!("{command} {options}"), "")
            .fails(4, &["mechanism NULL", "CURVE with the server key", &server, "--curve-server-key"]);
    }
    let end = Program::run(&format!("probe --format json {options}"), "");
    assert_eq!((end.code, &end.json()[0]["keys"]), (Some(4), &"unused".into()), "{end:?}");
    assert_eq!(end.json()[0]["mechanism"], "NULL", "{end:?}");
}
