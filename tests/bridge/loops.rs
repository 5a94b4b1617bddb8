//! Bridges that are connected in a ring.

use zeek_bridge::data::{Topic, Value};

use crate::cluster::BridgeProcess;
use crate::peers::{PLAIN, peer, subscribe};
use crate::program::child::soon;

fn config(left: &str, right: &str) -> String {
    format!(
        "[link.left]\ntls = \"off\"\nlisten = \"{left}\"\n\
         [link.right]\ntls = \"off\"\nconnect = \"{right}\"\nretry = {{ first = \"100ms\", cap = \"100ms\" }}\n\
         [link.here]\ntls = \"off\"\nlisten = \"127.0.0.1:0\"\n\
         [[rule]]\nname = \"around\"\nfrom = [\"left\", \"right\", \"here\"]\nto = [\"left\", \"right\", \"here\"]\n\
         topics = [\"/around\"]\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_sent_over_each_link_of_a_ring_at_most_once() {
    // The port of the last bridge is known only after it has started. So the configuration of the first bridge is reloaded
    // to close the ring.
    let first = BridgeProcess::start(&config("127.0.0.1:0", "127.0.0.1:1"));
    let second = BridgeProcess::start(&config("127.0.0.1:0", &first.address("left")));
    let third = BridgeProcess::start(&config("127.0.0.1:0", &second.address("left")));
    let mut bridges = [first, second, third];
    let (own, last) = (bridges[0].address("left"), bridges[2].address("left"));
    bridges[0].reload(&config(&own, &last));
    for bridge in &bridges {
        while ["left", "right"].iter().any(|link| bridge.link(link)["peers"].as_array().unwrap().len() != 1) {
        }
    }

    let (sender, receiver) = (peer(), peer());
    let mut received = subscribe(&receiver, "/around").await;
    receiver.connect(bridges[1].address("here"), PLAIN).await.unwrap();
    sender.connect(bridges[0].address("here"), PLAIN).await.unwrap();
    let topic = Topic::from_static("/around");
    sender.wait_for_subscribers(&topic, 1).await;
    for number in [7, 8] {
        sender.publish(topic.clone(), &Value::Count(number)).await.unwrap();
        assert_eq!(soon("a message", received.recv()).await.unwrap().value(), Value::Count(number));
    }

    // The first bridge sends the message to the two other bridges, and each of these two sends it to the other one.
    let sum = |of: &dyn Fn(&BridgeProcess) -> u64| bridges.iter().map(of).sum::<u64>();
    let around_count = |bridge: &BridgeProcess| {
        ["left", "right"].iter().map(|link| bridge.link(link)["messages_in"].as_u64().unwrap()).sum()
    };
    while sum(&around_count) < 2 * 4 {}
    assert_eq!(sum(&around_count), 2 * 4);
    assert_eq!(received.waiting(), 0);
}
