use super::*;

#[test]
fn each_addressed_node_can_respond_once() {
    let mut world = World::new().with(&["worker-1", "worker-2", "worker-3"]);
    world.ask_pending(A, "r", &["worker-1", "worker-2"]);
    assert_eq!(world.nodes.in_flight(), 2);
    assert_eq!(world.answer(0, "r", "worker-1"), Ok(peering(A)));
    assert_eq!(world.answer(0, "r", "worker-1"), Err(ResponseError::AnsweredAlready));
    assert_eq!(world.nodes.in_flight(), 1);
    assert_eq!(world.answer(1, "r", "worker-2"), Ok(peering(A)));
    assert_eq!(world.answer(1, "r", "worker-2"), Err(ResponseError::AnsweredAlready));
    assert_eq!(world.answer(2, "r", "worker-3"), Err(ResponseError::NotAsked));
    assert_eq!(world.nodes.in_flight(), 0);
}

#[test]
fn a_request_without_names_is_addressed_to_all_reached_nodes() {
    let mut world = World::new().with(&["worker-1", "worker-2"]);
    assert_eq!(world.ask_where(A, "r", &[], |link| link == LinkId(1)), Ok(vec![]));
    assert_eq!(world.nodes.in_flight(), 1);
    assert_eq!(world.answer(0, "r", "worker-1"), Err(ResponseError::NotAsked));
    assert_eq!(world.answer(1, "r", "worker-2"), Ok(peering(A)));
}

#[test]
fn no_response_is_pending_for_a_denied_request() {
    let mut world = World::new().with(&["worker-1"]);
    assert_eq!(world.ask_where(A, "r", &["worker-1"], |_| false), Ok(vec![]));
    assert_eq!(world.nodes.in_flight(), 0);
    assert_eq!(world.answer(0, "r", "worker-1"), Err(ResponseError::NotAsked));
    assert_eq!(world.gone(0), []);
}

#[test]
fn a_request_is_never_sent_back_to_its_peering() {
    let mut world = World::new().with(&["worker-1", "worker-2"]);
    world.ask_pending(0, "r", &[]);
    assert_eq!(world.nodes.in_flight(), 1);
    assert_eq!(world.answer(1, "r", "worker-2"), Ok(peering(0)));
}

#[test]
fn a_peer_cannot_respond_for_a_node_of_another_peer() {
    let mut world = World::new().with(&["worker-1", "worker-2"]);
    world.ask_pending(A, "r", &[]);
    let holder = peering(0);
    assert_eq!(world.answer(1, "r", "worker-1"), Err(ResponseError::NotItsName { holder }));
    assert_eq!(world.answer(1, "r", "worker-3"), Err(ResponseError::UnknownName));
    assert_eq!(world.answer(A, "r", "worker-1"), Err(ResponseError::NotItsName { holder }));
    assert_eq!(world.answer(0, "s", "worker-1"), Err(ResponseError::UnknownRequest));
    assert_eq!(world.answer(0, "r", "worker-1"), Ok(peering(A)));
}

#[test]
fn a_response_without_a_node_is_rejected() {
    use crate::data::{FromValue, Value};
    let mut world = World::new().with(&["worker-1"]);
    world.ask_pending(A, "r", &[]);
    let Value::Vector(mut fields) = ManagementResult::success("r", "worker-1", None).into() else { panic!() };
    fields[5] = Value::None;
    let nameless: DispatchResponse = ManagementResult::from_value(Value::Vector(fields)).unwrap().into();
    let error = world.nodes.response(peering(0), &nameless, world.now);
    assert_eq!(error, Err(ResponseError::Nameless));
}

#[test]
fn the_bridge_answers_once_for_a_lost_node_and_rejects_its_late_response() {
    let mut world = World::new().with(&["worker-1", "worker-2"]);
    world.ask_pending(A, "r", &[]);
    world.ask_pending(B, "s", &["worker-1"]);
    world.ask_pending(A, "t", &["worker-1"]);
    assert_eq!(world.answer(0, "t", "worker-1"), Ok(peering(A)));
    assert_eq!(world.gone(0), [failure(A, "r", "worker-1", LOST), failure(B, "s", "worker-1", LOST)]);
    assert_eq!(world.gone(0), []);
    assert_eq!((world.nodes.in_flight(), world.nodes.answered_for().total()), (1, 2));
    assert_eq!(world.answer(0, "r", "worker-1"), Err(ResponseError::UnknownName));
    let _ = world.hello(7, "h", "worker-1").unwrap();
    assert_eq!(world.answer(7, "r", "worker-1"), Err(ResponseError::Late));
    assert_eq!(world.answer(7, "s", "worker-1"), Err(ResponseError::Late));
    assert_eq!(world.answer(7, "t", "worker-1"), Err(ResponseError::AnsweredAlready));
    assert_eq!(world.answer(1, "r", "worker-2"), Ok(peering(A)));
}

#[test]
fn a_node_whose_hello_follows_the_request_may_respond_once() {
    let mut world = World::new().with(&["worker-1"]);
    world.ask_pending(A, "all", &[]);
    world.ask_pending(A, "named", &["worker-2"]);
    world.ask_pending(A, "other", &["worker-1"]);
    let _ = world.hello(5, "h", "worker-2").unwrap();
    world.ask_pending(A, "unreached", &["worker-1", "never-seen"]);
    for reqid in ["all", "named"] {
        assert_eq!(world.answer(5, reqid, "worker-2"), Ok(peering(A)), "{reqid}");
        assert_eq!(world.answer(5, reqid, "worker-2"), Err(ResponseError::AnsweredAlready), "{reqid}");
    }
    for reqid in ["other", "unreached"] {
        assert_eq!(world.answer(5, reqid, "worker-2"), Err(ResponseError::NotAsked), "{reqid}");
    }
    let _ = world.hello(6, "h", "worker-3").unwrap();
    world.wait(5000);
    assert_eq!(world.answer(6, "all", "worker-3"), Err(ResponseError::Late));
}

#[test]
fn a_response_after_the_timeout_is_rejected_as_late_and_later_as_unknown() {
    let mut world = World::new().with(&["worker-1", "worker-2", "worker-3"]);
    world.ask_pending(A, "r", &[]);
    assert_eq!(world.nodes.next_due(), Some(after(world.now, ANSWER_AFTER)));
    world.wait(4999);
    assert_eq!(world.answer(0, "r", "worker-1"), Ok(peering(A)));
    world.wait(1);
    assert_eq!(world.answer(1, "r", "worker-2"), Err(ResponseError::Late));
    assert_eq!((world.nodes.in_flight(), world.nodes.expired()), (0, 2));
    assert_eq!(world.gone(2), []);
    world.wait(5000);
    assert_eq!(world.answer(1, "r", "worker-2"), Err(ResponseError::UnknownRequest));
    assert_eq!(world.nodes.next_due().map(|at| at > world.now), Some(true));
}

#[test]
fn a_request_id_is_unique_per_agent_only() {
    let mut world = World::new().with(&["worker-1"]);
    world.ask_pending(A, "1", &["worker-1"]);
    world.ask_pending(B, "1", &["worker-1"]);
    assert_eq!(world.ask(A, "1", &["worker-1"]), Err(RequestError::Repeated));
    assert_eq!(world.nodes.in_flight(), 2);
    assert_eq!(world.answer(0, "1", "worker-1"), Ok(peering(A)));
    assert_eq!(world.ask(A, "1", &[]), Err(RequestError::Repeated));
    assert_eq!(world.answer(0, "1", "worker-1"), Ok(peering(B)));
    assert_eq!(world.answer(0, "1", "worker-1"), Err(ResponseError::AnsweredAlready));
    world.wait(10_000);
    world.ask_pending(A, "1", &["worker-1"]);
}

#[test]
fn a_request_id_that_is_too_long_is_rejected() {
    let mut world = World::new();
    world.ask_pending(A, &"r".repeat(MAX_REQID), &[]);
    let length = MAX_REQID + 1;
    assert_eq!(world.ask(A, &"r".repeat(length), &[]), Err(RequestError::ReqidTooLong { length }));
}

#[test]
fn a_response_to_a_gone_agent_is_rejected() {
    let mut world = World::new().with(&["worker-1", "worker-2"]);
    world.ask_pending(A, "r", &[]);
    world.ask_pending(B, "s", &[]);
    assert_eq!(world.gone(A), []);
    assert_eq!(world.nodes.in_flight(), 2);
    assert_eq!(world.answer(0, "r", "worker-1"), Err(ResponseError::UnknownRequest));
    assert_eq!(world.gone(1), [failure(B, "s", "worker-2", LOST)]);
    assert_eq!(world.answer(0, "s", "worker-1"), Ok(peering(B)));
}

#[test]
fn an_unexpected_response_to_a_gone_agent_is_rejected() {
    let mut world = World::new();
    world.ask_pending(A, "r", &[]);
    world.gone(A);
    let _ = world.hello(1, "h", "worker-1").unwrap();
    assert_eq!(world.answer(1, "r", "worker-1"), Err(ResponseError::UnknownRequest));
}

#[test]
fn if_answer_in_flight_is_off_a_returning_node_may_respond() {
    let mut world = World::of(NodeRegistry::new(false)).with(&["worker-1", "worker-2"]);
    world.ask_pending(A, "r", &[]);
    assert_eq!(world.gone(0), []);
    world.ask_pending(A, "s", &["worker-1"]);
    let _ = world.hello(5, "h", "worker-1").unwrap();
    assert_eq!(world.answer(5, "r", "worker-1"), Ok(peering(A)));
    assert_eq!(world.answer(5, "r", "worker-1"), Err(ResponseError::AnsweredAlready));
    assert_eq!(world.answer(5, "s", "worker-1"), Ok(peering(A)));
    world.ask_pending(A, "t", &["worker-1"]);
    assert_eq!(world.hello(6, "h", "worker-1").unwrap(), []);
    assert_eq!(world.answer(6, "t", "worker-1"), Ok(peering(A)));
    world.wait(5000);
    assert_eq!(world.answer(1, "r", "worker-2"), Err(ResponseError::Late));
    assert_eq!(world.nodes.answered_for().total(), 0);
}

#[test]
fn a_clock_that_runs_backwards_has_no_effect() {
    let mut world = World::new().with(&["worker-1"]);
    let start = world.now;
    world.wait(4000);
    world.nodes.expire(world.now);
    world.now = start;
    world.ask_pending(A, "r", &[]);
    assert_eq!(world.nodes.next_due(), Some(after(start, Duration::from_secs(8))));
    world.wait(8999);
    assert_eq!(world.answer(0, "r", "worker-1"), Ok(peering(A)));
}

#[test]
fn ten_thousand_requests_to_five_nodes_are_all_remembered() {
    let names = ["a", "b", "c", "d", "e"];
    let mut world = World::new().with(&names);
    for number in 0..10_000 {
        world.ask_pending(A, &number.to_string(), &[]);
    }
    assert_eq!((world.nodes.in_flight(), world.nodes.forgotten()), (50_000, 0));
    assert_eq!(world.gone(4).len(), 10_000);
    for number in (0..10_000).rev() {
        for (from, name) in (0..4).zip(names) {
            assert_eq!(world.answer(from, &number.to_string(), name), Ok(peering(A)));
        }
    }
    assert_eq!((world.nodes.in_flight(), world.nodes.answered_for().total()), (0, 10_000));
    world.wait(10_000);
    world.nodes.expire(world.now);
    assert_eq!(world.nodes.in_flight.len(), 0);
}
