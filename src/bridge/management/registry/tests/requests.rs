use super::*;

#[test]
fn each_node_that_is_asked_answers_once() {
    let mut world = World::new().with(&["worker-1", "worker-2", "worker-3"]);
    world.asked(A, "r", &["worker-1", "worker-2"]);
    assert_eq!(world.nodes.in_flight(), 2);
    assert_eq!(world.answer(0, "r", "worker-1"), Ok(peering(A)));
    assert_eq!(world.answer(0, "r", "worker-1"), Err(ResponseRefused::AnsweredAlready));
    assert_eq!(world.nodes.in_flight(), 1);
    assert_eq!(world.answer(1, "r", "worker-2"), Ok(peering(A)));
    assert_eq!(world.answer(1, "r", "worker-2"), Err(ResponseRefused::AnsweredAlready));
    assert_eq!(world.answer(2, "r", "worker-3"), Err(ResponseRefused::NotAsked));
    assert_eq!(world.nodes.in_flight(), 0);
}

#[test]
fn a_request_that_names_nobody_is_for_all_that_it_reaches() {
    let mut world = World::new().with(&["worker-1", "worker-2"]);
    assert_eq!(world.ask_where(A, "r", &[], |link| link == LinkId(1)), Ok(vec![]));
    assert_eq!(world.nodes.in_flight(), 1);
    assert_eq!(world.answer(0, "r", "worker-1"), Err(ResponseRefused::NotAsked));
    assert_eq!(world.answer(1, "r", "worker-2"), Ok(peering(A)));
}

#[test]
fn a_node_that_rules_keep_a_request_from_owes_nothing() {
    let mut world = World::new().with(&["worker-1"]);
    assert_eq!(world.ask_where(A, "r", &["worker-1"], |_| false), Ok(vec![]));
    assert_eq!(world.nodes.in_flight(), 0);
    assert_eq!(world.answer(0, "r", "worker-1"), Err(ResponseRefused::NotAsked));
    assert_eq!(world.gone(0), []);
}

#[test]
fn a_request_does_not_go_back_to_where_it_came_from() {
    let mut world = World::new().with(&["worker-1", "worker-2"]);
    world.asked(0, "r", &[]);
    assert_eq!(world.nodes.in_flight(), 1);
    assert_eq!(world.answer(1, "r", "worker-2"), Ok(peering(0)));
}

#[test]
fn nobody_answers_for_another() {
    let mut world = World::new().with(&["worker-1", "worker-2"]);
    world.asked(A, "r", &[]);
    let holder = peering(0);
    assert_eq!(world.answer(1, "r", "worker-1"), Err(ResponseRefused::NotItsName { holder }));
    assert_eq!(world.answer(1, "r", "worker-3"), Err(ResponseRefused::UnknownName));
    assert_eq!(world.answer(A, "r", "worker-1"), Err(ResponseRefused::NotItsName { holder }));
    assert_eq!(world.answer(0, "s", "worker-1"), Err(ResponseRefused::UnknownRequest));
    assert_eq!(world.answer(0, "r", "worker-1"), Ok(peering(A)));
}

#[test]
fn an_answer_without_a_node_is_refused() {
    use crate::data::{FromValue, Value};
    let mut world = World::new().with(&["worker-1"]);
    world.asked(A, "r", &[]);
    let Value::Vector(mut fields) = ManagementResult::success("r", "worker-1", None).into() else { panic!() };
    fields[5] = Value::None;
    let nameless: DispatchResponse = ManagementResult::from_value(Value::Vector(fields)).unwrap().into();
    let refused = world.nodes.response(peering(0), &nameless, world.now);
    assert_eq!(refused, Err(ResponseRefused::Nameless));
}

#[test]
fn what_a_lost_node_owes_is_answered_once_and_its_own_answer_is_late() {
    let mut world = World::new().with(&["worker-1", "worker-2"]);
    world.asked(A, "r", &[]);
    world.asked(B, "s", &["worker-1"]);
    world.asked(A, "t", &["worker-1"]);
    assert_eq!(world.answer(0, "t", "worker-1"), Ok(peering(A)));
    assert_eq!(world.gone(0), [failure(A, "r", "worker-1", LOST), failure(B, "s", "worker-1", LOST)]);
    assert_eq!(world.gone(0), []);
    assert_eq!((world.nodes.in_flight(), world.nodes.answered_for()), (1, 2));
    assert_eq!(world.answer(0, "r", "worker-1"), Err(ResponseRefused::UnknownName));
    let _ = world.hello(7, "h", "worker-1").unwrap();
    assert_eq!(world.answer(7, "r", "worker-1"), Err(ResponseRefused::Late));
    assert_eq!(world.answer(7, "s", "worker-1"), Err(ResponseRefused::Late));
    assert_eq!(world.answer(7, "t", "worker-1"), Err(ResponseRefused::AnsweredAlready));
    assert_eq!(world.answer(1, "r", "worker-2"), Ok(peering(A)));
}

#[test]
fn a_node_that_is_heard_of_after_it_was_asked_may_answer_once() {
    let mut world = World::new().with(&["worker-1"]);
    world.asked(A, "all", &[]);
    world.asked(A, "named", &["worker-2"]);
    world.asked(A, "other", &["worker-1"]);
    let _ = world.hello(5, "h", "worker-2").unwrap();
    world.asked(A, "unreached", &["worker-1", "never-seen"]);
    for reqid in ["all", "named"] {
        assert_eq!(world.answer(5, reqid, "worker-2"), Ok(peering(A)), "{reqid}");
        assert_eq!(world.answer(5, reqid, "worker-2"), Err(ResponseRefused::AnsweredAlready), "{reqid}");
    }
    for reqid in ["other", "unreached"] {
        assert_eq!(world.answer(5, reqid, "worker-2"), Err(ResponseRefused::NotAsked), "{reqid}");
    }
    let _ = world.hello(6, "h", "worker-3").unwrap();
    world.wait(5000);
    assert_eq!(world.answer(6, "all", "worker-3"), Err(ResponseRefused::Late));
}

#[test]
fn an_answer_after_the_agents_budget_is_late_and_later_unknown() {
    let mut world = World::new().with(&["worker-1", "worker-2", "worker-3"]);
    world.asked(A, "r", &[]);
    assert_eq!(world.nodes.next_due(), Some(after(world.now, ANSWER_AFTER)));
    world.wait(4999);
    assert_eq!(world.answer(0, "r", "worker-1"), Ok(peering(A)));
    world.wait(1);
    assert_eq!(world.answer(1, "r", "worker-2"), Err(ResponseRefused::Late));
    assert_eq!((world.nodes.in_flight(), world.nodes.expired()), (0, 2));
    assert_eq!(world.gone(2), []);
    world.wait(5000);
    assert_eq!(world.answer(1, "r", "worker-2"), Err(ResponseRefused::UnknownRequest));
    assert_eq!(world.nodes.next_due().map(|at| at > world.now), Some(true));
}

#[test]
fn a_request_id_is_used_once_by_an_agent_but_may_be_anothers_too() {
    let mut world = World::new().with(&["worker-1"]);
    world.asked(A, "1", &["worker-1"]);
    world.asked(B, "1", &["worker-1"]);
    assert_eq!(world.ask(A, "1", &["worker-1"]), Err(RequestRefused::Repeated));
    assert_eq!(world.nodes.in_flight(), 2);
    assert_eq!(world.answer(0, "1", "worker-1"), Ok(peering(A)));
    assert_eq!(world.ask(A, "1", &[]), Err(RequestRefused::Repeated));
    assert_eq!(world.answer(0, "1", "worker-1"), Ok(peering(B)));
    assert_eq!(world.answer(0, "1", "worker-1"), Err(ResponseRefused::AnsweredAlready));
    world.wait(10_000);
    world.asked(A, "1", &["worker-1"]);
}

#[test]
fn a_request_id_that_is_too_long_is_refused() {
    let mut world = World::new();
    world.asked(A, &"r".repeat(MAX_REQID), &[]);
    let length = MAX_REQID + 1;
    assert_eq!(world.ask(A, &"r".repeat(length), &[]), Err(RequestRefused::ReqidTooLong { length }));
}

#[test]
fn an_answer_to_an_agent_that_is_gone_is_refused() {
    let mut world = World::new().with(&["worker-1", "worker-2"]);
    world.asked(A, "r", &[]);
    world.asked(B, "s", &[]);
    assert_eq!(world.gone(A), []);
    assert_eq!(world.nodes.in_flight(), 2);
    assert_eq!(world.answer(0, "r", "worker-1"), Err(ResponseRefused::UnknownRequest));
    assert_eq!(world.gone(1), [failure(B, "s", "worker-2", LOST)]);
    assert_eq!(world.answer(0, "s", "worker-1"), Ok(peering(B)));
}

#[test]
fn an_agent_that_is_gone_is_answered_by_no_stranger() {
    let mut world = World::new();
    world.asked(A, "r", &[]);
    world.gone(A);
    let _ = world.hello(1, "h", "worker-1").unwrap();
    assert_eq!(world.answer(1, "r", "worker-1"), Err(ResponseRefused::UnknownRequest));
}

#[test]
fn a_bridge_that_does_not_answer_itself_lets_the_node_answer_when_it_is_back() {
    let mut world = World::of(NodeRegistry::new(false)).with(&["worker-1", "worker-2"]);
    world.asked(A, "r", &[]);
    assert_eq!(world.gone(0), []);
    world.asked(A, "s", &["worker-1"]);
    let _ = world.hello(5, "h", "worker-1").unwrap();
    assert_eq!(world.answer(5, "r", "worker-1"), Ok(peering(A)));
    assert_eq!(world.answer(5, "r", "worker-1"), Err(ResponseRefused::AnsweredAlready));
    assert_eq!(world.answer(5, "s", "worker-1"), Ok(peering(A)));
    world.asked(A, "t", &["worker-1"]);
    assert_eq!(world.hello(6, "h", "worker-1").unwrap(), []);
    assert_eq!(world.answer(6, "t", "worker-1"), Ok(peering(A)));
    world.wait(5000);
    assert_eq!(world.answer(1, "r", "worker-2"), Err(ResponseRefused::Late));
    assert_eq!(world.nodes.answered_for(), 0);
}

#[test]
fn time_that_goes_back_stands_still() {
    let mut world = World::new().with(&["worker-1"]);
    let start = world.now;
    world.wait(4000);
    world.nodes.expire(world.now);
    world.now = start;
    world.asked(A, "r", &[]);
    assert_eq!(world.nodes.next_due(), Some(after(start, Duration::from_secs(8))));
    world.wait(8999);
    assert_eq!(world.answer(0, "r", "worker-1"), Ok(peering(A)));
}

#[test]
fn ten_thousand_requests_to_five_nodes_are_all_remembered() {
    let names = ["a", "b", "c", "d", "e"];
    let mut world = World::new().with(&names);
    for number in 0..10_000 {
        world.asked(A, &number.to_string(), &[]);
    }
    assert_eq!((world.nodes.in_flight(), world.nodes.forgotten()), (50_000, 0));
    assert_eq!(world.gone(4).len(), 10_000);
    for number in (0..10_000).rev() {
        for (from, name) in (0..4).zip(names) {
            assert_eq!(world.answer(from, &number.to_string(), name), Ok(peering(A)));
        }
    }
    assert_eq!((world.nodes.in_flight(), world.nodes.answered_for()), (0, 10_000));
    world.wait(10_000);
    world.nodes.expire(world.now);
    assert_eq!(world.nodes.in_flight.len(), 0);
}
