use super::*;
use crate::management::MAX_NODE_NAME;

fn repeated_by(number: u8) -> PeeringKey {
    PeeringKey { peering: 2, ..peering(number) }
}

#[test]
fn a_hello_is_sent_once_to_each_subscribed_agent() {
    let mut world = World::new();
    assert_eq!(world.subscribe(A), [""; 0]);
    assert_eq!(world.hello(1, "h", "worker-1").unwrap(), [peering(A)]);
    assert_eq!(world.hello(1, "h", "worker-1").unwrap(), []);
    assert_eq!(world.subscribe(A), [""; 0]);
    assert_eq!(world.hello(2, "h", "worker-2").unwrap(), [peering(A)]);
}

#[test]
fn a_new_agent_receives_each_hello_once_per_peering() {
    let mut world = World::new().with(&["manager", "worker-1"]);
    assert_eq!(world.subscribe(A), ["manager", "worker-1"]);
    assert_eq!(world.subscribe(A), [""; 0]);
    assert_eq!(world.subscribe(B), ["manager", "worker-1"]);
    world.gone(A);
    let hellos = world.nodes.subscribe(repeated_by(A), |_, _| true, world.now);
    assert_eq!(hellos.len(), 2);
}

#[test]
fn an_agent_receives_the_bytes_that_the_node_sent() {
    let mut world = World::new();
    let mut hello = hello_of("worker-1");
    hello.payload = [&hello.payload[..], b"\x00\xff"].concat().into();
    hello.ttl = 3;
    let node = party(peering(1), "h");
    let result = world.nodes.hello(&node, "worker-1", &hello, &everywhere(), world.now);
    assert_eq!(result, Ok(vec![]));
    let hellos = world.nodes.subscribe(peering(A), |_, _| true, world.now);
    assert_eq!(hellos, [("worker-1".to_owned(), hello)]);
}

#[test]
fn a_stored_hello_does_not_retain_the_receive_buffer() {
    let mut world = World::new();
    let hello = hello_of("worker-1");
    let node = party(peering(1), "h");
    let _ = world.nodes.hello(&node, "worker-1", &hello, &everywhere(), world.now).unwrap();
    assert!(hello.payload.is_unique());
}

#[test]
fn an_agent_that_subscribes_again_receives_only_new_hellos() {
    let mut world = World::new().with(&["worker-1"]);
    assert_eq!(world.subscribe(A), ["worker-1"]);
    world.nodes.unsubscribe(peering(A));
    assert_eq!(world.hello(8, "h", "worker-2").unwrap(), []);
    assert_eq!(world.subscribe(A), ["worker-2"]);
    assert_eq!(world.hello(8, "h", "worker-2").unwrap(), []);
}

#[test]
fn the_hello_of_a_returning_node_is_sent_to_agents_again() {
    let mut world = World::new().with(&["worker-1"]);
    assert_eq!(world.subscribe(A), ["worker-1"]);
    world.gone(0);
    assert_eq!(world.nodes.live(), []);
    assert_eq!(world.hello_over(repeated_by(0), "elsewhere", "worker-1").unwrap(), [peering(A)]);
    assert_eq!(world.nodes.live(), [LiveNode { name: "worker-1", peering: repeated_by(0) }]);
}

#[test]
fn gone_nodes_leave_no_state_in_the_registry_while_agents_stay_connected() {
    let mut world = World::new();
    assert_eq!(world.subscribe(A), [""; 0]);
    let before = world.nodes.remembered();
    let _ = world.hello(1, "h", "worker-1").unwrap();
    world.gone(1);
    world.now = after(world.now, GONE_FOR);
    world.nodes.expire(world.now);
    assert_eq!(world.nodes.remembered(), before);
}

#[test]
fn a_denied_hello_is_sent_to_an_agent_after_the_rules_change() {
    let mut world = World::new();
    assert_eq!(world.subscribe(A), [""; 0]);
    assert_eq!(world.subscribe(B), [""; 0]);
    let hello = hello_of("worker-1");
    let (node, to) = (party(peering(1), "h"), [LinkId(usize::from(B))]);
    let result = world.nodes.hello(&node, "worker-1", &hello, &to, world.now).unwrap();
    assert_eq!(result, [peering(B)]);
    let keeps = |from, hellos: &Envelope| from != peering(1) || *hellos != hello;
    assert_eq!(world.nodes.subscribe(peering(A), keeps, world.now), []);
    assert_eq!(world.subscribe(A), ["worker-1"]);
    assert_eq!(world.subscribe(B), [""; 0]);
}

#[test]
fn a_hello_is_never_sent_back_to_its_peering() {
    let mut world = World::new();
    assert_eq!(world.subscribe(1), [""; 0]);
    assert_eq!(world.hello(1, "h", "worker-1").unwrap(), []);
    assert_eq!(world.subscribe(1), [""; 0]);
}

#[test]
fn a_live_name_cannot_be_taken_by_another_owner() {
    let mut world = World::new();
    let _ = world.hello(1, "h", "worker-1").unwrap();
    let taken = Err(HelloError::NameTaken { holder: peering(1) });
    assert_eq!(world.hello(2, "other", "worker-1"), taken);
    for owner in [Owner::Certificate([1; 32]), Owner::Host([192, 0, 2, 1].into())] {
        let other = Party { owner, ..party(peering(2), "") };
        let hello = hello_of("worker-1");
        assert_eq!(world.nodes.hello(&other, "worker-1", &hello, &everywhere(), world.now), taken);
    }
    assert_eq!(world.nodes.holder("worker-1"), Some(peering(1)));
    world.gone(1);
    assert!(world.hello(2, "other", "worker-1").is_ok());
}

#[test]
fn after_a_takeover_the_old_peering_cannot_respond_to_new_requests() {
    let mut world = World::new();
    assert_eq!(world.subscribe(A), [""; 0]);
    let _ = world.hello(1, "h", "worker-1").unwrap();
    assert_eq!(world.hello_over(repeated_by(1), "h", "worker-1").unwrap(), [peering(A)]);
    world.ask_pending(A, "r2", &["worker-1"]);
    let error = Err(ResponseError::NotItsName { holder: repeated_by(1) });
    assert_eq!(world.answer(1, "r2", "worker-1"), error);
    assert_eq!(world.gone(1), []);
    assert_eq!(world.nodes.holder("worker-1"), Some(repeated_by(1)));
    assert_eq!(world.nodes.response(repeated_by(1), &success("r2", "worker-1"), world.now), Ok(peering(A)));
}

/// The old peering may still be alive and respond, so a failure would be wrong.
#[test]
fn after_a_takeover_the_old_peering_may_respond_to_earlier_requests() {
    for by in [peering(1), repeated_by(1)] {
        let mut world = World::new();
        let _ = world.hello(1, "h", "worker-1").unwrap();
        world.ask_pending(A, "r1", &["worker-1"]);
        let _ = world.hello_over(repeated_by(1), "h", "worker-1").unwrap();
        assert_eq!((world.due(), world.nodes.in_flight()), (vec![], 1));
        assert_eq!(world.nodes.response(by, &success("r1", "worker-1"), world.now), Ok(peering(A)));
        assert!(world.nodes.response(peering(1), &success("r1", "worker-1"), world.now).is_err());
        assert!(world.nodes.response(repeated_by(1), &success("r1", "worker-1"), world.now).is_err());
    }
}

#[test]
fn a_name_returns_to_the_connection_that_held_it_before() {
    let mut world = World::new();
    assert_eq!(world.subscribe(A), [""; 0]);
    let _ = world.hello(1, "h", "worker-1").unwrap();
    let _ = world.hello(2, "h", "worker-1").unwrap();
    let _ = world.hello(3, "h", "worker-1").unwrap();
    world.ask_pending(A, "r", &["worker-1"]);
    // No failure is sent, because the remaining connections of the node have received the request, too.
    assert_eq!(world.gone(3), []);
    assert_eq!(world.nodes.holder("worker-1"), Some(peering(2)));
    assert_eq!(world.gone(2), []);
    assert_eq!(world.nodes.holder("worker-1"), Some(peering(1)));
    assert_eq!(world.subscribe(A), [""; 0]);
    world.ask_pending(A, "s", &["worker-1"]);
    for reqid in ["r", "s"] {
        assert_eq!(world.answer(1, reqid, "worker-1"), Ok(peering(A)));
    }
    // The name does not return to a connection that has ended in the meantime.
    let _ = world.hello(2, "h", "worker-1").unwrap();
    assert_eq!(world.gone(1), []);
    assert_eq!(world.gone(2), []);
    assert_eq!(world.nodes.holder("worker-1"), None);
    world.nodes.remembered();
}

#[test]
fn a_repeated_hello_of_an_earlier_holder_does_not_take_the_name_back() {
    let mut world = World::new();
    assert_eq!(world.subscribe(A), [""; 0]);
    assert_eq!(world.hello(1, "h", "worker-1").unwrap(), [peering(A)]);
    assert_eq!(world.hello(2, "h", "worker-1").unwrap(), [peering(A)]);
    for repeating in [1, 2, 1] {
        assert_eq!(world.hello(repeating, "h", "worker-1").unwrap(), []);
        assert_eq!(world.nodes.holder("worker-1"), Some(peering(2)));
    }
    assert_eq!(world.subscribe(A), [""; 0]);
}

#[test]
fn all_names_of_a_peering_are_lost_together() {
    let mut world = World::new().with(&["other"]);
    let _ = world.hello(1, "h", "worker-1").unwrap();
    let _ = world.hello(1, "h", "worker-2").unwrap();
    world.ask_pending(A, "r", &[]);
    let lost = [failure(A, "r", "worker-1", LOST), failure(A, "r", "worker-2", LOST)];
    assert_eq!(world.gone(1), lost);
    assert_eq!(world.nodes.live(), [LiveNode { name: "other", peering: peering(0) }]);
}

#[test]
fn names_are_limited_and_a_rejected_hello_changes_nothing() {
    let mut world = World::small(true);
    for name in ["a", "b", "c"] {
        let _ = world.hello(1, "h", name).unwrap();
    }
    assert_eq!(world.hello(1, "h", "d"), Err(HelloError::TooManyOfPeering));
    assert!(world.hello(1, "h", "c").is_ok());
    let _ = world.hello(2, "h", "d").unwrap();
    assert_eq!(world.hello(2, "h", "e"), Err(HelloError::TooMany));
    assert!(world.hello(2, "h", "a").is_ok());
    // Peering 2 has taken over the name "a", but it still counts toward the limit of peering 1, which had it before.
    assert_eq!(world.hello(1, "h", "d"), Err(HelloError::TooManyOfPeering));
    let before = world.nodes.remembered();
    assert_eq!(world.hello(3, "h", "e"), Err(HelloError::TooMany));
    assert_eq!(world.hello(3, "other", "a"), Err(HelloError::NameTaken { holder: peering(2) }));
    assert_eq!(world.nodes.remembered(), before);
    world.gone(1);
    assert!(world.hello(2, "h", "e").is_ok());
}

#[test]
fn the_names_of_one_owner_are_limited_over_all_its_peerings() {
    let mut world = World::of(NodeRegistry::with_bounds(true, Bounds { names_per_owner: 2, ..SMALL }));
    let _ = world.hello(1, "greedy", "a").unwrap();
    let _ = world.hello(2, "greedy", "b").unwrap();
    assert_eq!(world.hello(3, "greedy", "c"), Err(HelloError::TooManyOfOwner));
    // If an owner takes over its own name, it does not count as a new name. The limit applies to each owner separately.
    assert!(world.hello(3, "greedy", "a").is_ok());
    let _ = world.hello(4, "other", "c").unwrap();
    world.gone(1);
    assert_eq!(world.hello(5, "greedy", "d"), Err(HelloError::TooManyOfOwner));
    world.gone(3);
    let _ = world.hello(5, "greedy", "d").unwrap();
    world.nodes.remembered();
}

#[test]
fn a_name_or_a_hello_that_is_too_long_is_rejected() {
    let mut world = World::new();
    assert!(world.hello(1, "h", &"n".repeat(MAX_NODE_NAME)).is_ok());
    let length = MAX_NODE_NAME + 1;
    assert_eq!(world.hello(1, "h", &"n".repeat(length)), Err(HelloError::NameTooLong { length }));

    let mut hello = hello_of("worker-1");
    for (length, fits) in [(MAX_HELLO, true), (MAX_HELLO + 1, false)] {
        hello.payload = vec![0; length - NODE_TOPIC.as_bytes().len()].into();
        let node = party(peering(1), "h");
        let result = world.nodes.hello(&node, "worker-1", &hello, &everywhere(), world.now);
        assert_eq!(result, if fits { Ok(vec![]) } else { Err(HelloError::TooLarge { length }) });
    }
}

#[test]
fn each_error_has_its_own_reason() {
    let holder = peering(1);
    let hellos = [
        HelloError::NameTaken { holder },
        HelloError::NameTooLong { length: 1025 },
        HelloError::TooLarge { length: 5000 },
        HelloError::TooManyOfPeering,
        HelloError::TooManyOfOwner,
        HelloError::TooManyBytesOfOwner { share: 1024 },
        HelloError::TooMany,
    ];
    let requests = [RequestError::Repeated, RequestError::ReqidTooLong { length: 257 }];
    let responses = [
        ResponseError::Nameless,
        ResponseError::UnknownName,
        ResponseError::NotItsName { holder },
        ResponseError::UnknownRequest,
        ResponseError::NotAsked,
        ResponseError::AnsweredAlready,
        ResponseError::Late,
    ];
    let all = hellos.iter().map(|r| (r.reason(), r.to_string()));
    let all = all.chain(requests.iter().map(|r| (r.reason(), r.to_string())));
    let all: Vec<_> = all.chain(responses.iter().map(|r| (r.reason(), r.to_string()))).collect();
    let reasons: std::collections::BTreeSet<_> = all.iter().map(|(reason, _)| *reason).collect();
    assert_eq!(reasons.len(), all.len());
    assert_eq!(all[1].1, "the name has 1025 bytes; the maximum is 1024");
    assert!(all[0].1.contains("01010101-0101-0101-0101-010101010101"), "{}", all[0].1);
}

#[test]
fn a_repeated_hello_is_sent_neither_to_its_sender_nor_to_the_holder_of_the_name() {
    let mut world = World::new();
    for number in [1, 2, A] {
        assert_eq!(world.nodes.subscribe(peering(number), |_, _| false, world.now), []);
    }
    // Rules allow the hellos to reach no link.
    for from in [1, 2] {
        let (node, hello) = (party(peering(from), "h"), hello_of("worker-1"));
        assert_eq!(world.nodes.hello(&node, "worker-1", &hello, &[], world.now), Ok(vec![]));
    }
    assert_eq!(world.nodes.holder("worker-1"), Some(peering(2)));
    // Now rules allow them to reach all links.
    assert_eq!(world.hello(1, "h", "worker-1").unwrap(), [peering(A)]);
}
