//! Repeated hellos.

use super::*;

fn to(agent: u8, names: &[&str]) -> Vec<(PeeringKey, String)> {
    names.iter().map(|name| (peering(agent), (*name).to_owned())).collect()
}

#[test]
fn a_hello_is_repeated_until_the_agent_sends_the_node_a_request() {
    let mut world = World::new();
    assert_eq!(world.subscribe(A), [""; 0]);
    assert_eq!(world.nodes.next_due(), None);
    let _ = world.hello(1, "h", "worker-1").unwrap();
    let _ = world.hello(2, "h", "worker-2").unwrap();
    assert_eq!(world.subscribe(B), ["worker-1", "worker-2"]);
    assert_eq!(world.nodes.next_due(), Some(after(world.now, HELLO_EVERY)));
    world.wait(3999);
    assert_eq!(world.repeats(), []);
    let both = [to(A, &["worker-1", "worker-2"]), to(B, &["worker-1", "worker-2"])].concat();
    world.wait(1);
    for _ in 0..3 {
        assert_eq!(world.repeats(), both);
        assert_eq!(world.repeats(), []);
        world.wait(4000);
    }
    world.ask_pending(A, "r", &["worker-2"]);
    world.ask_pending(B, "r", &[]);
    assert_eq!(world.repeats(), to(A, &["worker-1"]));
    // A request that rules deny also ends the repetition.
    let _ = world.nodes.denied(peering(A), &request("s", &["worker-1"]));
    world.wait(4000);
    assert_eq!(world.repeats(), []);
    // A new connection of an agent or a node starts the repetition again.
    world.gone(1);
    let _ = world.hello(1, "h", "worker-1").unwrap();
    world.wait(4000);
    assert_eq!(world.repeats(), [to(A, &["worker-1"]), to(B, &["worker-1"])].concat());
}

#[test]
fn hellos_are_repeated_before_the_request_timeout() {
    assert!(HELLO_EVERY < REQUEST_TIMEOUT);
}

#[test]
fn hellos_of_gone_nodes_and_to_gone_agents_are_not_repeated() {
    let mut world = World::new().with(&["worker-1", "worker-2"]);
    assert_eq!(world.subscribe(A), ["worker-1", "worker-2"]);
    assert_eq!(world.subscribe(B), ["worker-1", "worker-2"]);
    world.gone(0);
    world.gone(B);
    world.wait(4000);
    assert_eq!(world.repeats(), to(A, &["worker-2"]));
    world.nodes.unsubscribe(peering(A));
    world.wait(4000);
    assert_eq!(world.repeats(), []);
    assert_eq!(world.subscribe(A), [""; 0]);
    world.wait(4000);
    assert_eq!(world.repeats(), to(A, &["worker-2"]));
}

#[test]
fn hellos_that_exceed_the_limit_are_repeated_in_turns() {
    let mut world = World::small(true).with(&["a", "b", "c"]);
    world.subscribe(A);
    let mut seen: Vec<_> = Vec::new();
    for _ in 0..3 {
        world.wait(4000);
        let repeats = world.repeats();
        assert_eq!(repeats.len(), 2);
        seen.extend(repeats);
    }
    seen.sort_unstable();
    assert_eq!(seen, to(A, &["a", "a", "b", "b", "c", "c"]));
}

/// A peer that sends hellos is a node. If rules allow hellos between nodes, repeated hellos would reach every other node
/// forever.
#[test]
fn no_hello_is_repeated_to_a_peer_that_sends_hellos() {
    let mut world = World::new().with(&["worker-1", "worker-2"]);
    assert_eq!(world.subscribe(0), ["worker-2"]);
    world.wait(4000);
    assert_eq!(world.repeats(), []);
}
