//! What a queue takes, keeps and gives.

#![allow(clippy::arithmetic_side_effects)]

use std::time::Duration;

use super::*;
use crate::data::{EndpointId, Topic, Value};
use crate::net::{BROKER, Batch, Encoder};
use crate::wire::Envelope;

fn message(text: &str) -> Frames {
    let value = Value::String(text.into());
    let envelope = Envelope::data(EndpointId::NIL, Topic::from_static("/t"), &value).unwrap();
    frames(Batch::of(envelope, None))
}

fn frames(batch: Batch) -> Frames {
    Encoder::default().frames(&BROKER, &batch, &|_| EndpointId::NIL).unwrap().clone()
}

fn queue(messages: usize, bytes: usize) -> Queue {
    Queue::new(QueueLimits { messages, bytes })
}

#[test]
fn a_queue_is_bounded_in_messages_and_bytes() {
    let by_count = queue(2, 1000);
    assert_eq!(by_count.try_push(&message("a")), Ok(()));
    assert_eq!(by_count.try_push(&message("b")), Ok(()));
    assert_eq!(by_count.try_push(&message("c")), Err(Refused::Full));
    assert_eq!(by_count.try_pop(), Popped::Message(message("a")));
    assert_eq!(by_count.try_push(&message("c")), Ok(()));
    let by_bytes = queue(10, 20);
    assert_eq!(by_bytes.try_push(&message(&"x".repeat(50))), Ok(()), "one alone is always taken");
    assert_eq!(by_bytes.try_push(&message("b")), Err(Refused::Full));
}

#[test]
fn a_closed_queue_gives_what_it_has_and_an_overflowed_one_does_not() {
    let closed = queue(2, 1000);
    closed.try_push(&message("a")).unwrap();
    closed.close();
    assert_eq!(closed.try_push(&message("b")), Err(Refused::Ended));
    assert_eq!(closed.try_pop(), Popped::Message(message("a")));
    assert_eq!(closed.try_pop(), Popped::Ended(End::Closed));
    let overflowed = queue(2, 1000);
    overflowed.try_push(&message("a")).unwrap();
    // One is queued, and another found no room.
    assert_eq!(overflowed.overflow(), Some(2));
    assert_eq!(overflowed.overflow(), None, "only once");
    assert_eq!(overflowed.try_pop(), Popped::Ended(End::Overflowed { dropped: 2 }));
}

#[tokio::test(start_paused = true)]
async fn a_push_waits_for_room_but_not_for_ever() {
    let queue = queue(1, 1000);
    queue.try_push(&message("a")).unwrap();
    let second = message("b");
    let patience = || Instant::now() + Duration::from_secs(5);
    assert_eq!(queue.push(&second, patience()).await, Err(Refused::Full));
    let (pushed, popped) = tokio::join!(queue.push(&second, patience()), queue.pop());
    assert_eq!((pushed, popped), (Ok(()), Some(message("a"))));
    assert_eq!(queue.pop().await, Some(second));
}

#[test]
fn the_oldest_make_way_until_there_is_room() {
    let queue = queue(3, 100);
    for text in ["a", "b", "c"] {
        assert_eq!(queue.push_out(&mut message(text)), Ok(0));
    }
    assert_eq!(queue.push_out(&mut message("d")), Ok(1));
    assert_eq!(queue.push_out(&mut message(&"e".repeat(90))), Ok(2), "by bytes");
    assert_eq!(queue.push_out(&mut message(&"f".repeat(1000))), Ok(2), "one alone is always taken");
    assert_eq!(queue.fill(), Fill { messages: 1, bytes: 2 + 1000 + 3, dropped: 5 });
    queue.close();
    assert_eq!(queue.push_out(&mut message("g")), Err(Refused::Ended));
}

#[tokio::test]
async fn whoever_waits_for_room_is_told_when_half_is_free_and_nobody_passes_by() {
    let queue = queue(4, 1000);
    let room = Arc::new(Notify::new());
    for text in ["a", "b", "c", "d"] {
        assert_eq!(queue.try_push_behind(&mut message(text)), Ok(()));
    }
    assert_eq!(queue.try_push_behind(&mut message("e")), Err(Refused::Full));
    for _ in 0..2 {
        assert_eq!(queue.try_push_or_wait(&mut message("e"), false, &room), Err(Refused::Full));
    }
    let told = || async { tokio::time::timeout(Duration::ZERO, room.notified()).await.is_ok() };
    queue.try_pop();
    assert!(!told().await);
    queue.try_pop();
    assert!(told().await);
    assert!(!told().await, "once");
    assert_eq!(queue.try_push_behind(&mut message("f")), Err(Refused::Full), "there is room, but not for it");
    assert_eq!(queue.try_push_or_wait(&mut message("e"), false, &room), Ok(()));
    queue.waits_no_more(0);
    assert_eq!(queue.try_push_behind(&mut message("g")), Err(Refused::Full), "not past any that wait");
    assert_eq!(queue.try_push_or_wait(&mut message("f"), false, &room), Ok(()));
    queue.waits_no_more(0);
    queue.waits_no_more(1);
    assert_eq!(queue.fill().dropped, 1);
    queue.try_pop();
    assert_eq!(queue.try_push_behind(&mut message("h")), Ok(()));
    assert_eq!(queue.try_push_or_wait(&mut message("i"), false, &room), Err(Refused::Full));
    queue.close();
    assert!(told().await);
    assert_eq!(queue.try_push_or_wait(&mut message("i"), false, &room), Err(Refused::Ended));
}

#[tokio::test]
async fn whoever_is_sparing_leaves_a_quarter_to_others() {
    let queue = queue(8, 1000);
    let room = Arc::new(Notify::new());
    while queue.try_push_sparingly(&message("a")).is_ok() {}
    assert_eq!(queue.len(), 6);
    assert_eq!(queue.try_push_or_wait(&mut message("b"), true, &room), Err(Refused::Full));
    assert_eq!(queue.try_push(&message("c")), Ok(()));
    for _ in 0..3 {
        queue.try_pop();
    }
    tokio::time::timeout(Duration::ZERO, room.notified()).await.unwrap();
    assert_eq!(queue.try_push_or_wait(&mut message("b"), true, &room), Ok(()));
}

#[test]
fn small_messages_out_of_large_memory_keep_little_of_it() {
    let queue = queue(usize::MAX, usize::MAX);
    for _ in 0..1000 {
        let value = Value::String("x".repeat(100).into());
        let envelope = Envelope::data(EndpointId::NIL, Topic::from_static("/t"), &value).unwrap();
        let mut batch = Batch::of(envelope, None);
        batch.set_following(1000);
        let frames = frames(batch);
        assert!(frames.keeps().1 > 50_000);
        queue.try_push(&frames).unwrap();
        let state = queue.state();
        assert!(state.kept <= 2 * state.bytes + SHARED + frames.keeps().1);
    }
    while queue.try_pop() != Popped::Empty {}
    assert_eq!(queue.state().kept, 0);
}
