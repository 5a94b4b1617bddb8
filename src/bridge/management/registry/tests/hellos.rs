use super::*;
use crate::management::MAX_NODE_NAME;

fn again(number: u8) -> PeeringKey {
    PeeringKey { peering: 2, ..peering(number) }
}

#[test]
fn a_hello_is_told_to_the_agents_that_want_it_once() {
    let mut world = World::new();
    assert_eq!(world.wants(A), [""; 0]);
    assert_eq!(world.hello(1, "h", "worker-1").unwrap(), [peering(A)]);
    assert_eq!(world.hello(1, "h", "worker-1").unwrap(), []);
    assert_eq!(world.wants(A), [""; 0]);
    assert_eq!(world.hello(2, "h", "worker-2").unwrap(), [peering(A)]);
}

#[test]
fn an_agent_that_comes_later_is_told_who_is_there_once_per_peering() {
    let mut world = World::new().with(&["manager", "worker-1"]);
    assert_eq!(world.wants(A), ["manager", "worker-1"]);
    assert_eq!(world.wants(A), [""; 0]);
    assert_eq!(world.wants(B), ["manager", "worker-1"]);
    world.gone(A);
    let hellos = world.nodes.subscribe(again(A), |_, _| true, world.now);
    assert_eq!(hellos.len(), 2);
}

#[test]
fn what_an_agent_is_told_is_what_the_node_said() {
    let mut world = World::new();
    let mut hello = hello_of("worker-1");
    hello.payload = [&hello.payload[..], b"\x00\xff"].concat().into();
    hello.ttl = 3;
    let node = party(peering(1), "h");
    let heard = world.nodes.hello(&node, "worker-1", &hello, &everywhere(), world.now);
    assert_eq!(heard, Ok(vec![]));
    let said = world.nodes.subscribe(peering(A), |_, _| true, world.now);
    assert_eq!(said, [("worker-1".to_owned(), hello)]);
}

#[test]
fn a_kept_hello_does_not_keep_the_buffer_that_it_was_read_into() {
    let mut world = World::new();
    let hello = hello_of("worker-1");
    let node = party(peering(1), "h");
    let _ = world.nodes.hello(&node, "worker-1", &hello, &everywhere(), world.now).unwrap();
    assert!(hello.payload.is_unique());
}

#[test]
fn an_agent_that_wanted_no_more_and_wants_again_is_told_only_what_is_new() {
    let mut world = World::new().with(&["worker-1"]);
    assert_eq!(world.wants(A), ["worker-1"]);
    world.nodes.unsubscribe(peering(A));
    assert_eq!(world.hello(8, "h", "worker-2").unwrap(), []);
    assert_eq!(world.wants(A), ["worker-2"]);
    assert_eq!(world.hello(8, "h", "worker-2").unwrap(), []);
}

#[test]
fn a_node_that_comes_back_is_told_to_agents_that_stayed() {
    let mut world = World::new().with(&["worker-1"]);
    assert_eq!(world.wants(A), ["worker-1"]);
    world.gone(0);
    assert_eq!(world.nodes.live(), []);
    assert_eq!(world.hello_over(again(0), "elsewhere", "worker-1").unwrap(), [peering(A)]);
    assert_eq!(world.nodes.live(), [LiveNode { name: "worker-1", peering: again(0) }]);
}

#[test]
fn nodes_that_come_and_go_leave_nothing_with_agents_that_stay() {
    let mut world = World::new();
    assert_eq!(world.wants(A), [""; 0]);
    let before = world.nodes.remembered();
    let _ = world.hello(1, "h", "worker-1").unwrap();
    world.gone(1);
    world.now = after(world.now, GONE_FOR);
    world.nodes.expire(world.now);
    assert_eq!(world.nodes.remembered(), before);
}

#[test]
fn rules_keep_a_hello_from_an_agent_until_they_change() {
    let mut world = World::new();
    assert_eq!(world.wants(A), [""; 0]);
    assert_eq!(world.wants(B), [""; 0]);
    let hello = hello_of("worker-1");
    let (node, to) = (party(peering(1), "h"), [LinkId(usize::from(B))]);
    let heard = world.nodes.hello(&node, "worker-1", &hello, &to, world.now).unwrap();
    assert_eq!(heard, [peering(B)]);
    let keeps = |from, said: &Envelope| from != peering(1) || *said != hello;
    assert_eq!(world.nodes.subscribe(peering(A), keeps, world.now), []);
    assert_eq!(world.wants(A), ["worker-1"]);
    assert_eq!(world.wants(B), [""; 0]);
}

#[test]
fn a_hello_never_goes_back_to_where_it_came_from() {
    let mut world = World::new();
    assert_eq!(world.wants(1), [""; 0]);
    assert_eq!(world.hello(1, "h", "worker-1").unwrap(), []);
    assert_eq!(world.wants(1), [""; 0]);
}

#[test]
fn a_live_name_is_not_given_to_another() {
    let mut world = World::new();
    let _ = world.hello(1, "h", "worker-1").unwrap();
    let taken = Err(HelloRefused::NameTaken { holder: peering(1) });
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
fn its_owner_takes_a_name_over_and_the_old_peering_has_it_no_more() {
    let mut world = World::new();
    assert_eq!(world.wants(A), [""; 0]);
    let _ = world.hello(1, "h", "worker-1").unwrap();
    assert_eq!(world.hello_over(again(1), "h", "worker-1").unwrap(), [peering(A)]);
    world.asked(A, "r2", &["worker-1"]);
    let refused = Err(ResponseRefused::NotItsName { holder: again(1) });
    assert_eq!(world.answer(1, "r2", "worker-1"), refused);
    assert_eq!(world.gone(1), []);
    assert_eq!(world.nodes.holder("worker-1"), Some(again(1)));
    assert_eq!(world.nodes.response(again(1), &success("r2", "worker-1"), world.now), Ok(peering(A)));
}

/// It may well be alive, and then the failure would be false.
#[test]
fn what_the_old_peering_was_asked_before_a_takeover_it_may_still_answer() {
    for by in [peering(1), again(1)] {
        let mut world = World::new();
        let _ = world.hello(1, "h", "worker-1").unwrap();
        world.asked(A, "r1", &["worker-1"]);
        let _ = world.hello_over(again(1), "h", "worker-1").unwrap();
        assert_eq!((world.due(), world.nodes.in_flight()), (vec![], 1));
        assert_eq!(world.nodes.response(by, &success("r1", "worker-1"), world.now), Ok(peering(A)));
        assert!(world.nodes.response(peering(1), &success("r1", "worker-1"), world.now).is_err());
        assert!(world.nodes.response(again(1), &success("r1", "worker-1"), world.now).is_err());
    }
}

#[test]
fn a_name_goes_back_to_the_connection_that_had_it_before() {
    let mut world = World::new();
    assert_eq!(world.wants(A), [""; 0]);
    let _ = world.hello(1, "h", "worker-1").unwrap();
    let _ = world.hello(2, "h", "worker-1").unwrap();
    let _ = world.hello(3, "h", "worker-1").unwrap();
    world.asked(A, "r", &["worker-1"]);
    // Nothing is known to be lost: the others have received the request, too.
    assert_eq!(world.gone(3), []);
    assert_eq!(world.nodes.holder("worker-1"), Some(peering(2)));
    assert_eq!(world.gone(2), []);
    assert_eq!(world.nodes.holder("worker-1"), Some(peering(1)));
    assert_eq!(world.wants(A), [""; 0]);
    world.asked(A, "s", &["worker-1"]);
    for reqid in ["r", "s"] {
        assert_eq!(world.answer(1, reqid, "worker-1"), Ok(peering(A)));
    }
    // Nor does it go to one that ended while another had it.
    let _ = world.hello(2, "h", "worker-1").unwrap();
    assert_eq!(world.gone(1), []);
    assert_eq!(world.gone(2), []);
    assert_eq!(world.nodes.holder("worker-1"), None);
    world.nodes.remembered();
}

#[test]
fn a_repeated_hello_of_an_earlier_holder_does_not_take_the_name_back() {
    let mut world = World::new();
    assert_eq!(world.wants(A), [""; 0]);
    assert_eq!(world.hello(1, "h", "worker-1").unwrap(), [peering(A)]);
    assert_eq!(world.hello(2, "h", "worker-1").unwrap(), [peering(A)]);
    for repeating in [1, 2, 1] {
        assert_eq!(world.hello(repeating, "h", "worker-1").unwrap(), []);
        assert_eq!(world.nodes.holder("worker-1"), Some(peering(2)));
    }
    assert_eq!(world.wants(A), [""; 0]);
}

#[test]
fn a_peering_may_have_several_names_and_loses_them_together() {
    let mut world = World::new().with(&["other"]);
    let _ = world.hello(1, "h", "worker-1").unwrap();
    let _ = world.hello(1, "h", "worker-2").unwrap();
    world.asked(A, "r", &[]);
    let lost = [failure(A, "r", "worker-1", LOST), failure(A, "r", "worker-2", LOST)];
    assert_eq!(world.gone(1), lost);
    assert_eq!(world.nodes.live(), [LiveNode { name: "other", peering: peering(0) }]);
}

#[test]
fn names_are_bounded_and_a_refused_hello_changes_nothing() {
    let mut world = World::small(true);
    for name in ["a", "b", "c"] {
        let _ = world.hello(1, "h", name).unwrap();
    }
    assert_eq!(world.hello(1, "h", "d"), Err(HelloRefused::TooManyOfPeering));
    assert!(world.hello(1, "h", "c").is_ok());
    let _ = world.hello(2, "h", "d").unwrap();
    assert_eq!(world.hello(2, "h", "e"), Err(HelloRefused::TooMany));
    assert!(world.hello(2, "h", "a").is_ok());
    // A name that was lost to another still counts as said.
    assert_eq!(world.hello(1, "h", "d"), Err(HelloRefused::TooManyOfPeering));
    let before = world.nodes.remembered();
    assert_eq!(world.hello(3, "h", "e"), Err(HelloRefused::TooMany));
    assert_eq!(world.hello(3, "other", "a"), Err(HelloRefused::NameTaken { holder: peering(2) }));
    assert_eq!(world.nodes.remembered(), before);
    world.gone(1);
    assert!(world.hello(2, "h", "e").is_ok());
}

#[test]
fn one_owner_does_not_take_all_names_over_however_many_peerings() {
    let mut world = World::of(NodeRegistry::with_bounds(true, Bounds { names_per_owner: 2, ..SMALL }));
    let _ = world.hello(1, "greedy", "a").unwrap();
    let _ = world.hello(2, "greedy", "b").unwrap();
    assert_eq!(world.hello(3, "greedy", "c"), Err(HelloRefused::TooManyOfOwner));
    // A name that it has goes from one to another, and others have their room.
    assert!(world.hello(3, "greedy", "a").is_ok());
    let _ = world.hello(4, "other", "c").unwrap();
    world.gone(1);
    assert_eq!(world.hello(5, "greedy", "d"), Err(HelloRefused::TooManyOfOwner));
    world.gone(3);
    let _ = world.hello(5, "greedy", "d").unwrap();
    world.nodes.remembered();
}

#[test]
fn a_name_or_a_hello_that_is_too_long_is_refused() {
    let mut world = World::new();
    assert!(world.hello(1, "h", &"n".repeat(MAX_NODE_NAME)).is_ok());
    let length = MAX_NODE_NAME + 1;
    assert_eq!(world.hello(1, "h", &"n".repeat(length)), Err(HelloRefused::NameTooLong { length }));

    let mut hello = hello_of("worker-1");
    for (length, fits) in [(MAX_HELLO, true), (MAX_HELLO + 1, false)] {
        hello.payload = vec![0; length - NODE_TOPIC.as_bytes().len()].into();
        let node = party(peering(1), "h");
        let heard = world.nodes.hello(&node, "worker-1", &hello, &everywhere(), world.now);
        assert_eq!(heard, if fits { Ok(vec![]) } else { Err(HelloRefused::TooLarge { length }) });
    }
}

#[test]
fn every_refusal_says_what_is_wrong_and_has_a_reason_of_its_own() {
    let holder = peering(1);
    let hellos = [
        HelloRefused::NameTaken { holder },
        HelloRefused::NameTooLong { length: 1025 },
        HelloRefused::TooLarge { length: 5000 },
        HelloRefused::TooManyOfPeering,
        HelloRefused::TooManyOfOwner,
        HelloRefused::TooManyBytesOfOwner { share: 1024 },
        HelloRefused::TooMany,
    ];
    let requests = [RequestRefused::Repeated, RequestRefused::ReqidTooLong { length: 257 }];
    let responses = [
        ResponseRefused::Nameless,
        ResponseRefused::UnknownName,
        ResponseRefused::NotItsName { holder },
        ResponseRefused::UnknownRequest,
        ResponseRefused::NotAsked,
        ResponseRefused::AnsweredAlready,
        ResponseRefused::Late,
    ];
    let all = hellos.iter().map(|r| (r.reason(), r.to_string()));
    let all = all.chain(requests.iter().map(|r| (r.reason(), r.to_string())));
    let all: Vec<_> = all.chain(responses.iter().map(|r| (r.reason(), r.to_string()))).collect();
    let reasons: std::collections::BTreeSet<_> = all.iter().map(|(reason, _)| *reason).collect();
    assert_eq!(reasons.len(), all.len());
    assert_eq!(all[1].1, "a name of 1025 bytes: it may have at most 1024");
    assert!(all[0].1.contains("01010101-0101-0101-0101-010101010101"), "{}", all[0].1);
}
