//! Reloads while messages are relayed.

use crate::cluster::BridgeProcess;
use crate::peers::{peer, publish_numbers, subscribe};
use crate::program::child::soon;

const MESSAGES: u64 = 20_000;

/// The part of the configuration that does not change.
const UNCHANGED: &str = "
[link.in]
tls = \"off\"
listen = \"127.0.0.1:0\"
[link.out]
tls = \"off\"
listen = \"127.0.0.1:0\"
when_full = \"block\"
[[rule]]
name = \"load\"
from = \"in\"
to = \"out\"
topics = [\"/load\"]
";

fn unchanged_with(other: &str) -> String {
    format!("{UNCHANGED}{other}")
}

fn other(queue: u32) -> String {
    unchanged_with(&format!(
        "[link.other]\ntls = \"off\"\nlisten = \"127.0.0.1:0\"\nlimits = {{ queue = {queue} }}\n\
         [[rule]]\nname = \"other\"\nfrom = \"other\"\nto = \"out\"\ntopics = [\"/other\"]\n"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_loses_no_message_on_unchanged_links() {
    let mut bridge = BridgeProcess::start(&unchanged_with(""));
    let address = |link: &str| bridge.link(link)["listening"][0].as_str().unwrap().to_owned();
    let (publisher, subscriber) = (peer(), peer());
    let mut received = subscribe(&subscriber, "/load").await;
    subscriber.connect(address("out"), crate::peers::PLAIN).await.unwrap();
    publisher.connect(address("in"), crate::peers::PLAIN).await.unwrap();
    let publishing = tokio::spawn(publish_numbers(publisher.clone(), "/load", MESSAGES));
    let reloading = tokio::task::spawn_blocking(move || {
        for queue in 100..105 {
            bridge.reload(&other(queue));
        }
        // An invalid configuration changes nothing.
        bridge.reload_invalid(&unchanged_with("[link.wrong]\ntls = \"off\"\n"), "link.wrong");
        let names = |bridge: &BridgeProcess| {
            let status = bridge.status();
            let links = status["links"].as_array().unwrap();
            links.iter().map(|link| link["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&bridge), ["in", "out", "other"]);
        bridge.reload(&unchanged_with(""));
        assert_eq!(names(&bridge), ["in", "out"]);
        bridge
    });
    for n in 0..MESSAGES {
        let message = soon("a message", received.recv()).await.unwrap();
        assert_eq!(message.value(), n.into());
    }
    publishing.await.unwrap();
    let bridge = reloading.await.unwrap();
    let rules = &bridge.status()["rules"];
    assert_eq!((&rules[0]["name"], &rules[0]["passed"]), (&"load".into(), &MESSAGES.into()));
}

#[test]
fn a_failed_listen_is_retried_at_the_next_reload() {
    let occupied = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = occupied.local_addr().unwrap().to_string();
    let config = unchanged_with(&format!(
        "[link.late]\ntls = \"off\"\nlisten = \"{address}\"\n\
         [[rule]]\nname = \"late\"\nfrom = \"late\"\nto = \"out\"\ntopics = [\"/late\"]\n"
    ));
    let mut bridge = BridgeProcess::start(&unchanged_with(""));
    bridge.reload_partially(&config, "link.late.listen: cannot listen on");
    assert_eq!(bridge.link("late")["ready"], false);
    drop(occupied);
    bridge.reload(&config);
    assert_eq!(bridge.link("late")["listening"][0], *address);
    assert_eq!(bridge.link("late")["ready"], true);
}
