//! Rules that allow events of the node API on some links only.

use zeek_bridge::bridge::Bridge;
use zeek_bridge::bridge::config::BridgeConfig;
use zeek_bridge::data::EndpointId;
use zeek_bridge::management::{DispatchResponse, NodeMessage};
use zeek_bridge::wire::Envelope;

use crate::cluster::BridgeProcess;
use crate::node_api::*;
use crate::peers::raw;
use crate::raw::Raw;

fn id(n: u8) -> EndpointId {
    EndpointId::from_bytes([n; 16])
}

/// Returns a configuration with these links, and one rule for each element: its name, its links, and further lines.
fn config(links: &[&str], rules: &[(&str, &str, &[&str], &str)]) -> String {
    let link = |name| format!("[link.{name}]\ntls = \"off\"\nlisten = \"127.0.0.1:0\"\n");
    let rule = |(name, from, to, more): &(&str, &str, &[&str], &str)| {
        let lines = format!("from = \"{from}\"\nto = {to:?}\ntopics = [\"{NODE}\"]\n{more}\n");
        format!("[[rule]]\nname = \"{name}\"\n{lines}")
    };
    links.iter().map(link).chain(rules.iter().map(rule)).collect()
}

const HELLOS: &str = "events = [\"*::notify_node_hello\"]";
const REQUESTS: &str = "events = [\"*::node_dispatch_request\"]";
const RESPONSES: &str = "events = [\"*::node_dispatch_response\"]";

/// Receives hellos until one is for this node.
async fn hello_of(raw: &mut Raw, node: &str) {
    loop {
        match next(raw).await {
            NodeMessage::Hello(hello) if hello.node == node => return,
            NodeMessage::Hello(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Returns the names of the live nodes.
fn live(bridge: &Bridge) -> Vec<String> {
    bridge.snapshot().nodes.into_iter().map(|node| node.name).collect()
}

#[tokio::test]
async fn an_agent_that_connects_later_receives_the_hellos_that_rules_allow_on_its_link() {
    let rules = [
        ("agents", "nodes", &["agents"][..], "nodes = [\"n1\"]"),
        ("other", "nodes", &["other"], "nodes = [\"n2\"]"),
    ];
    let bridge = start(&config(&["nodes", "agents", "other"], &rules)).await;
    let passed = || bridge.snapshot().rules.into_iter().map(|rule| rule.passed).collect::<Vec<_>>();
    let mut node = connect(&bridge, "nodes", id(1)).await;
    // The bridge decrements the ttl to 1. Nevertheless, it sends the hello to later agents.
    send(&mut node, [Envelope { ttl: 2, ..hello("n1") }]).await;
    let mut without_subscription = Raw::connect(id(2), address(&bridge, "agents"), &["/t"]).await;
    without_subscription.settle().await;
    assert_eq!(passed(), [0, 0]);
    let mut agent = connect(&bridge, "agents", id(3)).await;
    hello_of(&mut agent, "n1").await;
    let counts = passed();
    // The bridge may have repeated the hello.
    assert!(counts[0] >= 1 && counts[1] == 0, "{counts:?}");
    let mut other = connect(&bridge, "other", id(4)).await;
    other.settle().await;
    send(&mut node, [hello("n2")]).await;
    let NodeMessage::Hello(hello) = next(&mut other).await else { panic!() };
    assert_eq!(hello.node, "n2");
}

#[tokio::test]
async fn after_a_change_of_the_rules_nodes_stay_live_and_agents_receive_further_hellos() {
    let config = |nodes: &str| {
        let rules =
            [("agents", "nodes", &["agents"][..], nodes), ("other", "nodes", &["other"], "nodes = [\"n2\"]")];
        config(&["nodes", "agents", "other"], &rules)
    };
    let bridge = start(&config("nodes = [\"n1\"]")).await;
    let mut node = connect(&bridge, "nodes", id(1)).await;
    let mut agent = connect(&bridge, "agents", id(2)).await;
    send(&mut node, [hello("n1"), hello("n2")]).await;
    hello_of(&mut agent, "n1").await;
    let changed = BridgeConfig::parse(&config("nodes = [\"n1\", \"n2\"]"), "bridge.toml").unwrap();
    bridge.reload(changed).await.unwrap();
    assert_eq!(live(&bridge), ["n1", "n2"]);
    hello_of(&mut agent, "n2").await;
}

#[tokio::test]
async fn a_response_that_no_rule_allows_to_reach_the_agent_is_denied() {
    let rules = [
        ("hellos", "nodes", &["agents"][..], HELLOS),
        ("requests", "agents", &["nodes"], REQUESTS),
        ("responses", "nodes", &["other"], RESPONSES),
    ];
    let bridge = start(&config(&["nodes", "agents", "other"], &rules)).await;
    let mut agent = connect(&bridge, "agents", id(1)).await;
    let mut node = connect(&bridge, "nodes", id(2)).await;
    send(&mut node, [hello("n")]).await;
    send(&mut agent, [request("r", &[])]).await;
    send(&mut node, [response("r", "n")]).await;
    let refused = bridge.snapshot().refused;
    assert!(refused.iter().eq([(&"no_rule".to_owned(), &1)]), "{refused:?}");
}

#[tokio::test]
async fn failures_for_denied_nodes_of_a_request_are_sent_only_if_configured() {
    for answers in [true, false] {
        let rules = [
            ("first", "nodes-1", &["agents"][..], ""),
            ("second", "nodes-2", &["agents"], ""),
            ("requests", "agents", &["nodes-1"], REQUESTS),
        ];
        let config = config(&["agents", "nodes-1", "nodes-2"], &rules);
        let bridge = start(&format!("[bridge]\nanswer_denied = {answers}\n{config}")).await;
        let mut agent = connect(&bridge, "agents", id(1)).await;
        let mut allowed = connect(&bridge, "nodes-1", id(2)).await;
        let mut denied = connect(&bridge, "nodes-2", id(3)).await;
        send(&mut allowed, [hello("allowed")]).await;
        send(&mut denied, [hello("denied")]).await;
        agent.send(&request("r", &[])).await;
        assert!(matches!(next(&mut allowed).await, NodeMessage::Request(_)));
        allowed.send(&response("r", "allowed")).await;
        let expected: &[_] = if answers { &["denied", "allowed"] } else { &["allowed"] };
        for node in expected {
            assert_eq!(next_response(&mut agent).await.result().node(), Some(*node), "{answers}");
        }
    }
}

#[tokio::test]
async fn a_node_is_seen_elsewhere_if_its_hello_arrives_over_a_link_that_leads_to_no_nodes() {
    let rules = [
        ("hellos", "nodes", &["agents"][..], HELLOS),
        ("requests", "agents", &["nodes"], REQUESTS),
        ("one", "named", &["agents"], "events = [\"*::notify_node_hello\"]\nnodes = [\"one\"]"),
    ];
    // Rules allow no hellos on the link of the agents. On the link `named`, they allow the hello of another node.
    for (link, pending) in [("agents", 0), ("named", 1)] {
        let bridge = start(&config(&["nodes", "agents", "named"], &rules)).await;
        let mut node = connect(&bridge, "nodes", id(1)).await;
        send(&mut node, [hello("n")]).await;
        drop(node);
        while !live(&bridge).is_empty() {
            tokio::task::yield_now().await;
        }
        let mut elsewhere = connect(&bridge, link, id(2)).await;
        send(&mut elsewhere, [hello("n")]).await;
        let mut agent = connect(&bridge, "agents", id(3)).await;
        send(&mut agent, [request("r", &["n"])]).await;
        // After some seconds, the bridge answers for a node that is gone.
        let snapshot = bridge.snapshot();
        assert_eq!(snapshot.in_flight + snapshot.answered_for.total(), pending, "{link}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_without_a_request_is_logged_with_its_topic_and_event() {
    let mut bridge =
        BridgeProcess::start(&config(&["nodes", "agents"], &[("all", "nodes", &["agents"], "")]));
    let mut node = raw(1, &bridge.address("nodes"), &[]).await;
    node.send(&hello("n")).await;
    node.send(&response("r", "n")).await;
    let line = bridge.program.says("refused: ");
    for field in [format!("topic=\"{NODE}\""), format!("event=\"{}\"", DispatchResponse::NAME)] {
        assert!(line.contains(&field), "{field} is not in {line}");
    }
}

#[tokio::test]
async fn all_failures_for_one_request_reach_the_agent_although_its_queue_is_short() {
    const NODES: usize = 200;
    let rules = [
        ("first", "nodes-1", &["agents"][..], ""),
        ("second", "nodes-2", &["agents"], ""),
        ("requests", "agents", &["nodes-1"], REQUESTS),
    ];
    let config = config(&["agents", "nodes-1", "nodes-2"], &rules);
    let short = "[link.agents]\nlimits = { queue = 8, queue_bytes = 10_000 }\n";
    let bridge = start(&config.replace("[link.agents]\n", short)).await;
    let mut allowed = connect(&bridge, "nodes-1", id(1)).await;
    let mut denied = connect(&bridge, "nodes-2", id(2)).await;
    send(&mut allowed, [hello("allowed")]).await;
    send(&mut denied, (0..NODES).map(|n| hello(&format!("denied-{n}")))).await;
    let mut agent = connect(&bridge, "agents", id(3)).await;
    agent.send(&request("to all", &[])).await;
    agent.send(&request("to one", &["allowed"])).await;
    for reqid in ["to all", "to one"] {
        let NodeMessage::Request(request) = next(&mut allowed).await else { panic!() };
        assert_eq!(request.reqid, reqid);
    }
    allowed.send(&response("to one", "allowed")).await;
    // The bridge reads the second request only when all failures for the first one are queued.
    for _ in 0..NODES {
        assert_eq!(next_response(&mut agent).await.reqid(), "to all");
    }
    assert_eq!(next_response(&mut agent).await.reqid(), "to one");
}
