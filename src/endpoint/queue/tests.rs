//! Limits, order and memory of a queue.

#![allow(clippy::arithmetic_side_effects)]

use std::time::Duration;

use super::*;
use crate::data::{EndpointId, Topic, Value};
use crate::endpoint::Message;
use crate::net::{BROKER, Batch, Encoder};
use crate::wire::{Envelope, Limits};

fn message(text: &str) -> Frames {
    let value = Value::String(text.into());
    let envelope = Envelope::data(EndpointId::NIL, Topic::from_static("/t"), &value).unwrap();
    frames(Batch::of(envelope, None))
}

fn frames(batch: Batch) -> Frames {
    Encoder::default().frames(&BROKER, &batch, &|_| EndpointId::NIL.into()).0.unwrap().clone()
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
    assert_eq!(by_bytes.try_push(&message(&"x".repeat(50))), Ok(()), "a single message is always accepted");
    assert_eq!(by_bytes.try_push(&message("b")), Err(Refused::Full));
}

#[test]
fn a_queue_of_received_messages_is_bounded_in_messages_and_bytes() {
    let message = || {
        let envelope =
            Envelope::data(EndpointId::NIL, Topic::from_static("/t"), &Value::from("abc")).unwrap();
        Message { envelope, limits: Limits::DEFAULT, from: None, sender: None }
    };
    let queue = |messages, bytes| Queue::<Message>::new(QueueLimits { messages, bytes });
    // The topic has two bytes. The payload has five: a tag, a length and the text.
    for queue in [queue(2, 1000), queue(1000, 14)] {
        assert_eq!(queue.try_push(&message()), Ok(()));
        assert_eq!(queue.try_push(&message()), Ok(()));
        assert_eq!(queue.try_push(&message()), Err(Refused::Full));
        assert_eq!(queue.fill(), Fill { messages: 2, bytes: 14, dropped: 0, not_carried: 0 });
    }
}

#[test]
fn a_closed_queue_returns_its_messages_and_an_overflowed_one_does_not() {
    let closed = queue(2, 1000);
    closed.try_push(&message("a")).unwrap();
    closed.close();
    assert_eq!(closed.try_push(&message("b")), Err(Refused::Ended));
    assert_eq!(closed.try_pop(), Popped::Message(message("a")));
    assert_eq!(closed.try_pop(), Popped::Ended(End::Closed));
    let overflowed = queue(2, 1000);
    overflowed.try_push(&message("a")).unwrap();
    // One message is queued, and there was no room for the second one.
    assert_eq!(overflowed.overflow(), Some(2));
    assert_eq!(overflowed.overflow(), None, "the overflow is reported only once");
    assert_eq!(overflowed.try_pop(), Popped::Ended(End::Overflowed { dropped: 2 }));
}

#[tokio::test(start_paused = true)]
async fn a_push_waits_for_room_until_its_deadline() {
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
fn the_oldest_messages_are_dropped_until_there_is_room() {
    let queue = queue(3, 100);
    for text in ["a", "b", "c"] {
        assert_eq!(queue.evict_and_push(&mut message(text)), Ok(0));
    }
    assert_eq!(queue.evict_and_push(&mut message("d")), Ok(1));
    assert_eq!(
        queue.evict_and_push(&mut message(&"e".repeat(90))),
        Ok(2),
        "two messages are dropped to free enough bytes"
    );
    assert_eq!(
        queue.evict_and_push(&mut message(&"f".repeat(1000))),
        Ok(2),
        "a single message is always accepted"
    );
    assert_eq!(queue.fill(), Fill { messages: 1, bytes: 2 + 1000 + 3, dropped: 5, not_carried: 0 });
    queue.close();
    assert_eq!(queue.evict_and_push(&mut message("g")), Err(Refused::Ended));
}

#[tokio::test]
async fn a_blocked_batch_is_notified_when_half_is_free_and_is_not_overtaken() {
    let queue = queue(4, 1000);
    let room = Arc::new(Notify::new());
    for text in ["a", "b", "c", "d"] {
        assert_eq!(queue.push_fair(&mut message(text)), Ok(()));
    }
    assert_eq!(queue.push_fair(&mut message("e")), Err(Refused::Full));
    for _ in 0..2 {
        assert_eq!(queue.try_push_or_wait(&mut message("e"), false, &room), Err(Refused::Full));
    }
    let notified = || async { tokio::time::timeout(Duration::ZERO, room.notified()).await.is_ok() };
    queue.try_pop();
    assert!(!notified().await);
    queue.try_pop();
    assert!(notified().await);
    assert!(!notified().await, "there is only one notification");
    assert_eq!(queue.push_fair(&mut message("f")), Err(Refused::Full), "another sender waits for the room");
    assert_eq!(queue.try_push_or_wait(&mut message("e"), false, &room), Ok(()));
    queue.cancel_wait(0);
    assert_eq!(queue.push_fair(&mut message("g")), Err(Refused::Full), "another sender still waits");
    assert_eq!(queue.try_push_or_wait(&mut message("f"), false, &room), Ok(()));
    queue.cancel_wait(0);
    queue.cancel_wait(1);
    assert_eq!(queue.fill().dropped, 1);
    queue.try_pop();
    assert_eq!(queue.push_fair(&mut message("h")), Ok(()));
    assert_eq!(queue.try_push_or_wait(&mut message("i"), false, &room), Err(Refused::Full));
    queue.close();
    assert!(notified().await);
    assert_eq!(queue.try_push_or_wait(&mut message("i"), false, &room), Err(Refused::Ended));
}

#[tokio::test]
async fn a_sparing_push_leaves_a_quarter_of_the_queue_free() {
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
fn small_messages_do_not_keep_large_buffers() {
    let queue = queue(usize::MAX, usize::MAX);
    for pushed in 0..1000 {
        let value = Value::String("x".repeat(100).into());
        let envelope = Envelope::data(EndpointId::NIL, Topic::from_static("/t"), &value).unwrap();
        let mut batch = Batch::of(envelope, None);
        batch.set_following(1000);
        let frames = frames(batch);
        assert!(frames.allocation().1 > 50_000);
        queue.try_push(&frames).unwrap();
        let state = queue.state();
        assert!(state.kept <= 2 * state.bytes + SHARED + frames.allocation().1);
        if pushed == 0 {
            assert_eq!(state.kept, frames.allocation().1, "a few large buffers are kept");
        }
    }
    let mut popped = 0;
    while let Popped::Message(frames) = queue.try_pop() {
        popped += frames.messages();
    }
    assert_eq!((popped, queue.state().kept), (1000, 0));
}

#[tokio::test]
async fn the_consumer_is_notified_of_a_batch_that_is_queued_in_part() {
    let queue = queue(2, 1000);
    let mut batch = Batch::default();
    for text in ["a", "b", "c"] {
        batch.push(Envelope::data(EndpointId::NIL, Topic::from_static("/t"), &Value::from(text)).unwrap());
    }
    let mut frames = frames(batch);
    let filled = || async { tokio::time::timeout(Duration::ZERO, queue.filled()).await.is_ok() };
    assert_eq!(queue.try_push_some(&mut frames), Err(Refused::Full));
    assert_eq!((queue.len(), frames.messages()), (2, 1));
    assert!(filled().await);
    assert_eq!(queue.try_push_some(&mut frames), Err(Refused::Full));
    assert!(!filled().await, "nothing was added");
}
