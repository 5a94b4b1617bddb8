//! Messages from other bridges: their ids, and copies that arrive over several paths.

use std::collections::BTreeSet;

use zeek_bridge::data::EndpointId;
use zeek_bridge::management::NodeMessage;
use zeek_bridge::wire::{Envelope, EnvelopeType};

use crate::cluster::BridgeProcess;
use crate::node_api::{NODE, connect, hello, next, next_response, request, response, send, start};
use crate::peers::raw;
use crate::raw::Raw;

fn id(n: u8) -> EndpointId {
    EndpointId::from_bytes([n; 16])
}

/// Returns the endpoint id of a link of another bridge.
fn bridge_id(instance: u8, slot: u8) -> EndpointId {
    let mut bytes = *b"ZBRG\0\0\x40\0\x80\0\0\0\0\0\0\0";
    (bytes[7], bytes[15]) = (slot, instance);
    EndpointId::from_bytes(bytes)
}

/// Returns a message as another bridge forwards it: its sender is its id.
fn with_id(envelope: Envelope, number: u8) -> Envelope {
    let mut sender = *b"\x80\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0";
    sender[15] = number;
    Envelope { sender: EndpointId::from_bytes(sender), ..envelope }
}

/// Returns a configuration with one rule for each element: a link, and the links to which its messages may be forwarded.
fn config(rules: &[(&str, &[&str])], topic: &str) -> String {
    let names: BTreeSet<_> = rules.iter().flat_map(|(from, to)| to.iter().chain([from])).collect();
    let link = |name| format!("[link.{name}]\ntls = \"off\"\nlisten = \"127.0.0.1:0\"\n");
    let rule = |(from, to): &(&str, &[&str])| {
        format!("[[rule]]\nname = \"from-{from}\"\nfrom = \"{from}\"\nto = {to:?}\ntopics = [\"{topic}\"]\n")
    };
    names.into_iter().map(link).chain(rules.iter().map(rule)).collect()
}

#[tokio::test]
async fn an_event_has_the_same_id_on_all_links_to_other_bridges() {
    let bridge = start(&config(&[("in", &["left", "right"])], NODE)).await;
    let mut left = connect(&bridge, "left", bridge_id(1, 0)).await;
    let mut right = connect(&bridge, "right", bridge_id(2, 0)).await;
    let mut agent = connect(&bridge, "in", id(3)).await;
    for peer in [&mut left, &mut right] {
        peer.settle().await;
    }
    let mut ids = Vec::new();
    for reqid in ["r1", "r2"] {
        agent.send(&request(reqid, &[])).await;
        let left = left.envelope_of(EnvelopeType::Data).await;
        assert_eq!(left.sender, right.envelope_of(EnvelopeType::Data).await.sender);
        ids.push(left.sender);
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_copy_of_a_request_is_forwarded_to_further_links_and_causes_no_failures() {
    let both: &[_] = &["a", "b"];
    let rules = [("a", &["near"][..]), ("b", &["near", "far"]), ("near", both), ("far", both)];
    let bridge = start(&config(&rules, NODE)).await;
    let mut first = connect(&bridge, "a", bridge_id(1, 0)).await;
    let mut second = connect(&bridge, "b", bridge_id(2, 0)).await;
    let mut near = connect(&bridge, "near", id(3)).await;
    let mut far = connect(&bridge, "far", id(4)).await;
    send(&mut near, [hello("near")]).await;
    send(&mut far, [hello("far")]).await;
    let is_request = |message, reqid: &str| match message {
        NodeMessage::Request(request) => request.reqid == reqid,
        other => panic!("{other:?}"),
    };
    first.send(&with_id(request("r1", &[]), 1)).await;
    assert!(is_request(next(&mut near).await, "r1"));
    second.send(&with_id(request("r1", &[]), 1)).await;
    assert!(is_request(next(&mut far).await, "r1"));
    // The first copy is recorded, so the response is forwarded to the peer that sent it.
    near.send(&response("r1", "near")).await;
    assert_eq!(next_response(&mut first).await.reqid(), "r1");
    // The link `near` did not receive the second copy. That is not a denial, so the bridge sends no failure.
    second.send(&with_id(request("r2", &[]), 2)).await;
    assert!(is_request(next(&mut near).await, "r2"));
    near.send(&response("r2", "near")).await;
    assert_eq!(next_response(&mut second).await.reqid(), "r2");
}

#[tokio::test]
async fn a_node_is_live_as_long_as_one_of_two_paths_to_it() {
    let bridge = start(&config(&[("a", &["agents"]), ("b", &["agents"])], NODE)).await;
    let mut first = connect(&bridge, "a", bridge_id(2, 0)).await;
    let mut second = connect(&bridge, "b", bridge_id(2, 1)).await;
    for path in [&mut first, &mut second] {
        send(path, [with_id(hello("n"), 1)]).await;
    }
    let link = || bridge.snapshot().nodes.first().expect("the node is live").link.clone();
    assert_eq!(link(), "a");
    drop(first);
    while link() != "b" {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_returns_to_its_first_bridge_is_dropped_and_reported_once() {
    let bridge = BridgeProcess::start(&config(&[("in", &["out"]), ("back", &["in"])], "/t"));
    let address = |link| bridge.address(link).parse().unwrap();
    let mut out = Raw::connect(bridge_id(1, 0), address("out"), &["/t"]).await;
    let mut back = Raw::connect(bridge_id(2, 0), address("back"), &[]).await;
    let mut from = raw(3, &bridge.address("in"), &["/t"]).await;
    out.settle().await;
    from.publish("/t", "text").await;
    let sent = out.envelope_of(EnvelopeType::Data).await;
    for _ in 0..3 {
        back.send(&sent).await;
    }
    back.settle().await;
    assert_eq!(bridge.refused("returned"), 3);
    bridge.program.signal("TERM");
    let end = bridge.end();
    let reports = end.stderr.matches("a message with an id of this bridge as the sender").count();
    assert_eq!(reports, 1, "{end:?}");
}
