//! Memory shares: one owner cannot use the memory of another.

use std::collections::HashMap;

use super::gone::GoneNames;
use super::request::{ASKED_COST, REQUEST_COST};
use super::*;

/// Returns the memory of `requests` requests with an id of one byte to `nodes` nodes each.
fn share(requests: usize, nodes: usize) -> usize {
    requests * (REQUEST_COST + 1 + nodes * ASKED_COST)
}

fn ask(world: &mut World, agent: u8, owner: &str, share: usize, reqid: &str) -> Vec<Answer> {
    let agent = Party { share, ..party(peering(agent), owner) };
    world.nodes.request(&agent, &request(reqid, &[]), |_| true, world.now).unwrap().answers
}

#[test]
fn the_limits_of_memory_are_those_of_the_documentation() {
    assert_eq!((MAX_SHARE, MAX_GONE_BYTES), (16_777_216, 524_288));
    assert_eq!((MAX_NAMES, MAX_NAMES_PER_OWNER), (16_384, 4096));
}

#[test]
fn a_new_request_ends_the_oldest_one_of_its_owner_if_the_share_is_used_up() {
    let mut world = World::new().with(&["a", "b", "c"]);
    let share = share(2, 3);
    assert_eq!(ask(&mut world, B, "b", share, "b"), []);
    assert_eq!(ask(&mut world, A, "a", share, "1"), []);
    assert_eq!(ask(&mut world, A, "a", share, "2"), []);
    let answers = ask(&mut world, A, "a", share, "3");
    assert_eq!(sorted(&answers), ["a", "b", "c"].map(|name| failure(A, "1", name, TOO_MANY)));
    assert_eq!((world.nodes.in_flight(), world.nodes.forgotten()), (9, 3));
    assert_eq!(world.answer(0, "1", "a"), Err(ResponseError::UnknownRequest));
    for reqid in ["2", "3"] {
        assert_eq!(world.answer(0, reqid, "a"), Ok(peering(A)));
    }
    assert_eq!(world.answer(0, "b", "a"), Ok(peering(B)));
}

#[test]
fn many_peerings_of_one_owner_have_one_share() {
    let mut world = World::new().with(&["a"]);
    let share = share(3, 1);
    assert_eq!(ask(&mut world, B, "other", share, "b"), []);
    for number in 0..100u8 {
        let _ = ask(&mut world, 110 + number % 4, "greedy", share, &(number % 10).to_string());
        world.nodes.remembered();
        world.wait(1);
    }
    assert!(world.nodes.in_flight.bytes_of(&host("greedy")) <= share);
    assert_eq!(world.nodes.in_flight(), 4);
    assert_eq!(world.answer(0, "b", "a"), Ok(peering(B)));
}

#[test]
fn requests_with_all_responses_are_forgotten_first() {
    let mut world = World::new().with(&["a"]);
    let share = share(2, 1);
    for reqid in ["1", "2"] {
        assert_eq!(ask(&mut world, A, "h", share, reqid), []);
    }
    assert_eq!(world.answer(0, "2", "a"), Ok(peering(A)));
    assert_eq!(ask(&mut world, A, "h", share, "3"), []);
    assert_eq!(world.answer(0, "2", "a"), Err(ResponseError::UnknownRequest));
    assert_eq!(world.answer(0, "1", "a"), Ok(peering(A)));
}

#[test]
fn a_request_larger_than_the_share_is_accepted_without_other_requests() {
    let mut world = World::new().with(&["a", "b"]);
    assert_eq!(ask(&mut world, A, "h", 1, "1"), []);
    assert_eq!(ask(&mut world, A, "h", 1, "2").len(), 2);
    assert_eq!(world.answer(0, "2", "a"), Ok(peering(A)));
}

/// The node may respond over a different path.
#[test]
fn the_bridge_does_not_answer_a_forgotten_request_for_a_gone_node() {
    let mut world = World::new().with(&["a"]);
    world.gone(0);
    assert_eq!(ask(&mut world, A, "h", 1, "1"), []);
    assert_eq!(ask(&mut world, A, "h", 1, "2"), []);
    assert_eq!((world.nodes.in_flight(), world.nodes.forgotten()), (1, 1));
}

#[test]
fn unexpected_responses_are_recorded_up_to_the_share() {
    let mut world = World::new();
    let share = share(3, 0) + ASKED_COST;
    for reqid in ["1", "2", "3"] {
        assert_eq!(ask(&mut world, A, "h", share, reqid), []);
    }
    for name in ["a", "b"] {
        let _ = world.hello(1, "h", name).unwrap();
    }
    assert_eq!(world.answer(1, "3", "a"), Ok(peering(A)));
    assert_eq!(world.answer(1, "2", "a"), Ok(peering(A)));
    assert_eq!(world.answer(1, "1", "a"), Err(ResponseError::UnknownRequest));
    assert!(world.nodes.in_flight.bytes_of(&host("h")) <= share);
    world.nodes.remembered();
}

#[test]
fn the_names_of_an_owner_are_bounded_in_bytes() {
    let mut world = World::new();
    let share = 4 * (NAME_COST + 1024);
    let mut hello = |from: u8, owner: &str, name: &str| {
        let node = Party { share, ..party(peering(from), owner) };
        world.nodes.hello(&node, name, &hello_of(name), &everywhere(), world.now).map(drop)
    };
    let name = |n: usize| format!("{n:0>400}");
    let taken = (0..100).take_while(|n| hello(u8::try_from(n % 5).unwrap(), "h", &name(*n)).is_ok()).count();
    assert!((2..=8).contains(&taken), "{taken}");
    let full = Err(HelloError::TooManyBytesOfOwner { share });
    assert_eq!(hello(9, "h", &name(200)), full);
    // A repeated hello over the same connection needs no memory.
    assert_eq!(hello(0, "h", &name(0)), Ok(()));
    assert_eq!(hello(9, "h", &name(0)), full, "a hello over another connection needs memory");
    assert_eq!(hello(10, "other", &name(200)), Ok(()));
    world.gone(0);
    let node = Party { share, ..party(peering(9), "h") };
    let _ = world.nodes.hello(&node, "small", &hello_of("small"), &everywhere(), world.now).unwrap();
    world.nodes.remembered();
}

#[test]
fn the_response_of_a_node_that_connects_after_the_request_needs_room_in_the_share() {
    for (share, expected) in [(share(1, 1), Ok(peering(A))), (share(1, 1) - 1, Err(ResponseError::NotAsked))]
    {
        let mut world = World::new();
        assert_eq!(ask(&mut world, A, "a", share, "1"), []);
        world.hello(0, "host", "late").unwrap();
        assert_eq!(world.answer(0, "1", "late"), expected);
    }
}

#[test]
fn the_memory_of_gone_names_is_limited() {
    // 256 bytes for each entry, a name of 100 bytes, and one link.
    let cost = 256 + 100 + size_of::<LinkId>();
    let bounds = Bounds { gone: 100, gone_bytes: 3 * cost, ..SMALL };
    let (mut names, now) = (GoneNames::default(), Instant::now());
    for number in 0..6 {
        let name = format!("{number:0>100}");
        names.insert(name.into(), LinkId(0), vec![LinkId(1)], now, &bounds);
        assert_eq!(names.len(), 3.min(number + 1));
    }
}

#[test]
fn a_map_is_shrunk_only_if_it_was_much_larger() {
    let mut map: HashMap<u32, u32> = (0..10_000).map(|number| (number, number)).collect();
    map.retain(|number, _| *number < 100);
    shrink(&mut map);
    assert!((100..1_000).contains(&map.capacity()), "{}", map.capacity());
    let capacity = map.capacity();
    map.remove(&0);
    shrink(&mut map);
    assert_eq!(map.capacity(), capacity);
}
