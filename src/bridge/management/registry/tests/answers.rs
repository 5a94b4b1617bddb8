//! Failures that the bridge sends on behalf of nodes.

use super::*;

fn absent_error(agent: u8, reqid: &str, node: &str) -> (PeeringKey, String, String, String) {
    failure(agent, reqid, node, &absent(node))
}

/// The node may be connected to the agent over a different path, and respond over that path.
#[test]
fn the_bridge_waits_before_it_answers_for_a_gone_node() {
    let mut world = World::new().with(&["worker-1", "worker-2"]);
    world.gone(0);
    world.ask_pending(A, "r", &["worker-1", "worker-2", "never-seen"]);
    world.ask_pending(A, "all", &[]);
    assert_eq!(world.answer(1, "all", "worker-2"), Ok(peering(A)));
    assert_eq!(world.answer(1, "r", "worker-2"), Ok(peering(A)));
    assert_eq!(world.nodes.in_flight(), 2);
    assert_eq!(world.nodes.next_due(), Some(after(world.now, ANSWER_AFTER)));
    world.wait(3999);
    assert_eq!(world.due(), []);
    world.wait(1);
    assert_eq!(world.due(), [absent_error(A, "all", "worker-1"), absent_error(A, "r", "worker-1")]);
    assert_eq!(world.due(), []);
    assert_eq!((world.nodes.in_flight(), world.nodes.answered_for().total()), (0, 2));
    let _ = world.hello(5, "h", "worker-1").unwrap();
    assert_eq!(world.answer(5, "r", "worker-1"), Err(ResponseError::Late));
    world.ask_pending(A, "s", &["worker-1"]);
    assert_eq!(world.answer(5, "s", "worker-1"), Ok(peering(A)));
}

/// The node received the request over its new peering, before the bridge received the hello of the node.
#[test]
fn a_gone_node_that_returns_in_time_responds_itself() {
    let mut world = World::new().with(&["worker-1"]);
    world.gone(0);
    world.ask_pending(A, "r", &["worker-1"]);
    let _ = world.hello(5, "h", "worker-1").unwrap();
    world.wait(3000);
    assert_eq!(world.answer(5, "r", "worker-1"), Ok(peering(A)));
    world.wait(1000);
    assert_eq!(world.due(), []);
    assert_eq!(world.nodes.answered_for().total(), 0);
}

#[test]
fn the_bridge_answers_for_a_silent_node_and_rejects_its_late_response() {
    let mut world = World::new().with(&["worker-1", "worker-2"]);
    world.ask_pending(A, "r", &[]);
    world.wait(1000);
    assert_eq!(world.answer(1, "r", "worker-2"), Ok(peering(A)));
    world.wait(3000);
    assert_eq!(world.due(), [failure(A, "r", "worker-1", SILENT)]);
    assert_eq!(world.answer(0, "r", "worker-1"), Err(ResponseError::Late));
    assert_eq!(
        (world.nodes.in_flight(), world.nodes.answered_for().total(), world.nodes.expired()),
        (0, 1, 0)
    );
    assert!(ANSWER_AFTER < REQUEST_TIMEOUT);
}

#[test]
fn the_bridge_does_not_answer_for_a_node_seen_elsewhere() {
    for by_answer in [true, false] {
        let mut world = World::new().with(&["worker-1"]);
        world.gone(0);
        world.ask_pending(A, "r", &["worker-1"]);
        if by_answer {
            assert_eq!(world.answer(7, "r", "worker-1"), Err(ResponseError::UnknownName));
        } else {
            world.nodes.seen_elsewhere("worker-1");
        }
        world.ask_pending(A, "s", &["worker-1"]);
        world.wait(4000);
        assert_eq!((world.due(), world.nodes.in_flight()), (vec![], 0), "{by_answer}");
        // The node reconnects before the agent's timeout.
        let _ = world.hello(7, "h", "worker-1").unwrap();
        assert_eq!(world.answer(7, "r", "worker-1"), Ok(peering(A)));
        assert_eq!(world.answer(7, "r", "worker-1"), Err(ResponseError::AnsweredAlready));
    }
}

#[test]
fn the_bridge_still_answers_for_a_live_node_that_is_also_seen_elsewhere() {
    let mut world = World::new().with(&["worker-1"]);
    world.ask_pending(A, "r", &["worker-1"]);
    world.nodes.seen_elsewhere("worker-1");
    world.wait(4000);
    assert_eq!(world.due(), [failure(A, "r", "worker-1", SILENT)]);
}

/// If the bridge answered for other names, a node whose hello is denied by rules could cause failures on behalf of a
/// different node with the same name, and so prevent the responses of that node.
#[test]
fn the_bridge_answers_only_for_names_whose_hello_could_reach_the_agent() {
    let mut world = World::new();
    let (node, only_b) = (party(peering(1), "h"), [LinkId(usize::from(B))]);
    for stage in ["hangs", "is lost", "is gone"] {
        let hello = hello_of("logger");
        let _ = world.nodes.hello(&node, "logger", &hello, &only_b, world.now).unwrap();
        if stage == "is gone" {
            world.gone(1);
        }
        for agent in [A, B] {
            world.ask_pending(agent, stage, &["logger"]);
            world.ask_pending(agent, &format!("{stage}, all"), &[]);
        }
        let mut answers = if stage == "is lost" { world.gone(1) } else { vec![] };
        world.wait(4000);
        answers.extend(world.due());
        assert_eq!(answers.len(), 2, "{stage}");
        assert!(answers.iter().all(|(agent, ..)| *agent == peering(B)), "{stage}: {answers:?}");
        world.wait(5_000);
        world.nodes.expire(world.now);
    }
}

#[test]
fn the_bridge_does_not_answer_a_denied_request_for_a_gone_node() {
    let mut world = World::new().with(&["worker-1"]);
    world.gone(0);
    for (reqid, nodes) in [("all", &[][..]), ("named", &["worker-1"])] {
        assert_eq!(world.ask_where(A, reqid, nodes, |_| false), Ok(vec![]), "{reqid}");
    }
    world.wait(4000);
    assert_eq!(world.due(), []);
}

#[test]
fn gone_names_are_limited_in_time_and_number() {
    let mut world = World::new().with(&["worker-1"]);
    world.gone(0);
    world.now = after(world.now, GONE_FOR - Duration::from_millis(1));
    world.ask_pending(A, "r", &["worker-1"]);
    world.wait(1);
    world.ask_pending(A, "s", &["worker-1"]);
    world.wait(4000);
    assert_eq!(world.due(), [absent_error(A, "r", "worker-1")]);

    let mut world = World::small(true).with(&["a", "b", "c"]);
    for number in 0..3 {
        world.gone(number);
    }
    world.ask_pending(A, "r", &["a", "b", "c"]);
    world.wait(4000);
    assert_eq!(world.due(), [absent_error(A, "r", "b"), absent_error(A, "r", "c")]);
}

#[test]
fn a_name_that_is_live_again_is_not_counted_as_gone() {
    let mut world = World::small(true).with(&["a", "b", "c"]);
    world.gone(0);
    world.gone(1);
    let _ = world.hello(1, "h", "b").unwrap();
    world.gone(2);
    world.ask_pending(A, "r", &["a", "b", "c"]);
    world.wait(4000);
    assert_eq!(world.due().len(), 3);
}

#[test]
fn if_answer_in_flight_is_off_the_bridge_never_answers() {
    let mut world = World::of(NodeRegistry::new(false)).with(&["worker-1", "worker-2"]);
    world.gone(0);
    world.ask_pending(A, "r", &[]);
    world.ask_pending(A, "s", &["worker-1", "worker-2"]);
    for _ in 0..3 {
        world.wait(4000);
        assert_eq!(world.due(), []);
    }
    assert_eq!((world.nodes.answered_for().total(), world.nodes.expired()), (0, 2));
}

fn denied(node: &str, link: u8) -> DeniedNode {
    DeniedNode { node: node.into(), link: LinkId(link.into()) }
}

#[test]
fn the_denied_nodes_are_those_live_nodes_that_a_request_may_not_reach() {
    let mut world = World::new().with(&["worker-1", "worker-2", "worker-3"]);
    let (hidden, hello) = (party(peering(7), "h"), hello_of("hidden"));
    let _ = world.nodes.hello(&hidden, "hidden", &hello, &[LinkId(usize::from(B))], world.now).unwrap();
    world.gone(2);
    let agent = party(peering(A), "agent");
    let first = |link| link == LinkId(0);
    for (reqid, nodes, to) in [
        ("all", &[][..], &[denied("worker-2", 1)][..]),
        ("some", &["worker-1", "worker-2", "worker-3", "hidden", "never-seen"], &[denied("worker-2", 1)]),
        ("one", &["worker-1"], &[]),
    ] {
        let accepted = world.nodes.request(&agent, &request(reqid, nodes), first, world.now).unwrap();
        assert_eq!(accepted, Accepted { answers: vec![], denied: to.to_vec() }, "{reqid}");
    }
    assert_eq!(world.nodes.in_flight(), 3, "the requests reach worker-1");
    let mut nowhere = world.nodes.denied(peering(A), &request("r", &[]));
    nowhere.sort_unstable_by(|one, other| one.node.cmp(&other.node));
    assert_eq!(nowhere, [denied("worker-1", 0), denied("worker-2", 1)]);
    assert_eq!(
        world.nodes.denied(peering(0), &request("r", &["worker-1"])),
        [],
        "a request is not sent back to its sender"
    );
    let answer = world.nodes.answer_denied(peering(A), "r", "worker-1", "no");
    assert_eq!(sorted(&[answer]), [failure(A, "r", "worker-1", "no")]);
    assert_eq!((world.nodes.in_flight(), world.nodes.answered_for().total()), (3, 1));
}

/// Returns a peering with a bridge over this link.
fn bridge(link: u8, instance: u8) -> PeeringKey {
    let id = [0x5a, 0x42, 0x52, 0x47, 0, 0, 0x40, link, 0x80, 0, 0, 0, 0, 0, 0, instance];
    PeeringKey { link: LinkId(usize::from(link)), peer: EndpointId::from_bytes(id), peering: 1 }
}

#[test]
fn a_bridge_may_respond_over_another_path_than_that_of_the_hello() {
    for second in [bridge(2, 1), bridge(2, 2)] {
        let first = bridge(1, 1);
        let mut world = World::new();
        assert_eq!(world.subscribe(A), [""; 0]);
        let _ = world.hello_over(first, "h", "worker-1").unwrap();
        let _ = world.hello_over(second, "h", "worker-1").unwrap();
        for (reqid, path) in [("r", first), ("s", second)] {
            world.ask_pending(A, reqid, &["worker-1"]);
            let answer = success(reqid, "worker-1");
            assert_eq!(world.nodes.response(path, &answer, world.now), Ok(peering(A)), "{second:?}");
        }
    }
}

#[test]
fn agents_receive_a_hello_once_if_it_arrives_over_two_paths_to_one_bridge() {
    let mut world = World::new();
    assert_eq!(world.subscribe(A), [""; 0]);
    assert_eq!(world.hello_over(bridge(1, 1), "h", "worker-1").unwrap(), [peering(A)]);
    assert_eq!(world.hello_over(bridge(2, 1), "h", "worker-1").unwrap(), []);
    assert_eq!(world.nodes.holder("worker-1"), Some(bridge(1, 1)));
    // The second path takes over when the first one ends.
    let _ = world.nodes.gone(bridge(1, 1), world.now);
    assert_eq!(world.nodes.holder("worker-1"), Some(bridge(2, 1)));
}

#[test]
fn the_failure_for_a_gone_node_contains_its_name() {
    assert!(absent("w").starts_with("node w is not connected to the bridge; "));
}

#[test]
fn a_gone_node_whose_hello_the_agent_did_not_receive_can_still_respond() {
    let mut world = World::new();
    let (node, links) = (party(peering(0), "host"), [LinkId(usize::from(A))]);
    let _ = world.nodes.hello(&node, "w", &hello_of("w"), &links, world.now).unwrap();
    world.gone(0);
    world.ask_pending(B, "r", &["w"]);
    let _ = world.hello(0, "host", "w").unwrap();
    assert_eq!(world.answer(0, "r", "w"), Ok(peering(B)));
}

#[test]
fn a_node_seen_elsewhere_can_respond_only_in_time() {
    for (millis, expected) in [(4_999, Ok(peering(A))), (5_000, Err(ResponseError::Late))] {
        let mut world = World::new().with(&["w"]);
        world.gone(0);
        world.ask_pending(A, "r", &["w"]);
        world.nodes.seen_elsewhere("w");
        let _ = world.hello(5, "h", "w").unwrap();
        world.wait(millis);
        assert_eq!(world.answer(5, "r", "w"), expected);
    }
}

#[test]
fn a_repeated_response_is_reported_as_repeated_and_not_as_late() {
    let mut world = World::new().with(&["w"]);
    world.ask_pending(A, "r", &["w"]);
    assert_eq!(world.answer(0, "r", "w"), Ok(peering(A)));
    world.gone(0);
    world.ask_pending(B, "r", &["unknown"]);
    let _ = world.hello(0, "host-0", "w").unwrap();
    world.wait(5_000);
    assert_eq!(world.answer(0, "r", "w"), Err(ResponseError::AnsweredAlready));
}
