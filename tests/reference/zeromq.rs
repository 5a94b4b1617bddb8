//! A ZeroMQ cluster on libzmq, in Python.
//!
//! The environment variable `ZEEK_BRIDGE_PYTHON` names a Python interpreter that has the package `pyzmq`. If it is not set, the
//! tests are skipped with a notice.

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
        let Ok(python) = std::env::var("ZEEK_BRIDGE_PYTHON") else {
            skip("ZEEK_BRIDGE_PYTHON is not set: ZeroMQ is not tested with libzmq");
            return None;
        };
        let mut program = Program::spawn(command_of(python, [CLUSTER]));
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
