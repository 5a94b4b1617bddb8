//! Bounded queues to peers and subscribers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::wire::Envelope;

/// How much may wait in one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Messages at most.
    pub messages: usize,
    /// Bytes of topics and payloads at most. One message alone is always taken, whatever the limits are.
    pub bytes: usize,
}

/// What can wait in a queue: a message, and perhaps what is known of it.
pub(super) trait Item: Clone {
    fn envelope(&self) -> &Envelope;
}

/// A message for a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub(super) envelope: Envelope,
    /// When it was heard, if its way through this process is measured.
    pub(super) heard: Option<std::time::Instant>,
}

impl Item for Outgoing {
    fn envelope(&self) -> &Envelope {
        &self.envelope
    }
}

/// One queue, between many who push and one who pops.
#[derive(Debug)]
pub(super) struct Queue<T = Outgoing> {
    state: Mutex<State<T>>,
    limits: QueueLimits,
    filled: Notify,
    emptied: Notify,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    bytes: usize,
    /// How many it had no room for.
    dropped: u64,
    /// Connections that are not read from until there is room here.
    blocked: Vec<Arc<Notify>>,
    end: Option<End>,
}

impl<T: Item> State<T> {
    fn has_room(&self, message: &T, limits: &QueueLimits) -> bool {
        let bytes = self.bytes.saturating_add(size(message.envelope()));
        self.items.is_empty() || (self.items.len() < limits.messages && bytes <= limits.bytes)
    }

    /// As [`State::has_room`], with a quarter of the queue left to others.
    fn has_room_to_spare(&self, message: &T, limits: &QueueLimits) -> bool {
        let most = |limit: usize| limit.saturating_sub(limit / 4);
        let limits = QueueLimits { messages: most(limits.messages), bytes: most(limits.bytes) };
        self.has_room(message, &limits)
    }

    fn push(&mut self, message: T) {
        self.bytes = self.bytes.saturating_add(size(message.envelope()));
        self.items.push_back(message);
    }

    fn pop(&mut self) -> Option<T> {
        let message = self.items.pop_front()?;
        self.bytes = self.bytes.saturating_sub(size(message.envelope()));
        Some(message)
    }

    fn note_dropped(&mut self, count: usize) {
        self.dropped = self.dropped.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Those who may go on now. They are all let go at once, when half of the queue is free, so that they need not
    /// wake for every message.
    fn unblocked(&mut self, limits: &QueueLimits) -> Vec<Arc<Notify>> {
        let half_free = self.items.len() <= limits.messages / 2 && self.bytes <= limits.bytes / 2;
        if half_free || self.items.is_empty() { std::mem::take(&mut self.blocked) } else { Vec::new() }
    }
}

/// Nothing more is taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// What is in the queue is still to be taken out.
    Closed,
    /// The queue was too full for too long; what was in it is gone.
    Overflowed {
        /// How much that was.
        dropped: usize,
    },
}

/// Why a message was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Ended,
}

/// What a pop gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Popped<T = Outgoing> {
    Message(T),
    Empty,
    Ended(End),
}

/// How much waits in a queue, and what was dropped before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fill {
    pub(super) messages: usize,
    /// As in [`QueueLimits::bytes`].
    pub(super) bytes: usize,
    pub(super) dropped: u64,
}

impl<T: Item> Queue<T> {
    pub(super) fn new(limits: QueueLimits) -> Self {
        let state = State { items: VecDeque::new(), bytes: 0, dropped: 0, blocked: Vec::new(), end: None };
        Queue { state: Mutex::new(state), limits, filled: Notify::new(), emptied: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // No code panics while it holds the lock, and a queue is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a message if there is room; does not copy it if there is none.
    pub(super) fn try_push(&self, message: &T) -> Result<(), Refused> {
        self.offer(message, |state| state.has_room(message, &self.limits))
    }

    /// As [`Queue::try_push`], but not past those who wait for room already, or they might wait for ever.
    pub(super) fn try_push_behind(&self, message: &T) -> Result<(), Refused> {
        self.offer(message, |state| state.blocked.is_empty() && state.has_room(message, &self.limits))
    }

    /// As [`Queue::try_push`], but leaves a quarter of the queue to others.
    pub(super) fn try_push_sparingly(&self, message: &T) -> Result<(), Refused> {
        self.offer(message, |state| state.has_room_to_spare(message, &self.limits))
    }

    /// As [`Queue::try_push`], or, if it is `sparing`, as [`Queue::try_push_sparingly`]; if there is no room, `room` is
    /// told when to come again.
    pub(super) fn try_push_or_wait(
        &self,
        message: &T,
        sparing: bool,
        room: &Arc<Notify>,
    ) -> Result<(), Refused> {
        self.offer(message, |state| {
            let has_room = if sparing {
                state.has_room_to_spare(message, &self.limits)
            } else {
                state.has_room(message, &self.limits)
            };
            if !has_room && !state.blocked.iter().any(|waiting| Arc::ptr_eq(waiting, room)) {
                state.blocked.push(room.clone());
            }
            has_room
        })
    }

    /// Takes a message, and drops the oldest that wait until there is room; says how many those were.
    pub(super) fn push_out(&self, message: &T) -> Result<usize, Refused> {
        let mut dropped = 0usize;
        self.offer(message, |state| {
            while !state.has_room(message, &self.limits) && state.pop().is_some() {
                dropped = dropped.saturating_add(1);
            }
            state.note_dropped(dropped);
            true
        })?;
        Ok(dropped)
    }

    fn offer(&self, message: &T, makes_room: impl FnOnce(&mut State<T>) -> bool) -> Result<(), Refused> {
        let mut state = self.state();
        if state.end.is_some() {
            return Err(Refused::Ended);
        }
        if !makes_room(&mut state) {
            return Err(Refused::Full);
        }
        state.push(message.clone());
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// A message was not taken, and is lost.
    pub(super) fn note_dropped(&self) {
        self.state().note_dropped(1);
    }

    /// Takes a message, and waits for room until `deadline` at most.
    pub(super) async fn push(&self, message: &T, deadline: Instant) -> Result<(), Refused> {
        let wait = async {
            loop {
                // Registered before the look, so that no room is missed.
                let emptied = self.emptied.notified();
                tokio::pin!(emptied);
                emptied.as_mut().enable();
                match self.try_push(message) {
                    Err(Refused::Full) => emptied.await,
                    done => return done,
                }
            }
        };
        tokio::time::timeout_at(deadline, wait).await.unwrap_or(Err(Refused::Full))
    }

    pub(super) fn try_pop(&self) -> Popped<T> {
        let mut state = self.state();
        match state.pop() {
            Some(message) => {
                let unblocked = state.unblocked(&self.limits);
                drop(state);
                unblocked.iter().for_each(|room| room.notify_one());
                self.emptied.notify_waiters();
                Popped::Message(message)
            }
            None => state.end.map_or(Popped::Empty, Popped::Ended),
        }
    }

    /// The next message; `None` at the end.
    pub(super) async fn pop(&self) -> Option<T> {
        loop {
            match self.try_pop() {
                Popped::Message(message) => return Some(message),
                Popped::Ended(_) => return None,
                Popped::Empty => self.filled.notified().await,
            }
        }
    }

    /// Waits until there may be something to pop. Only one may wait.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Takes nothing more in.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.end.get_or_insert(End::Closed);
        self.tell_end(state);
    }

    /// Takes nothing more in and forgets what is there; says how much that was, if it had not ended before.
    pub(super) fn overflow(&self) -> Option<usize> {
        let mut state = self.state();
        if state.end.is_some() {
            return None;
        }
        let items = std::mem::take(&mut state.items);
        let dropped = items.len();
        state.bytes = 0;
        state.note_dropped(dropped);
        state.end = Some(End::Overflowed { dropped });
        self.tell_end(state);
        Some(dropped)
    }

    fn tell_end(&self, mut state: MutexGuard<'_, State<T>>) {
        let blocked = std::mem::take(&mut state.blocked);
        drop(state);
        blocked.iter().for_each(|room| room.notify_one());
        self.filled.notify_one();
        self.emptied.notify_waiters();
    }

    /// Whether, and how, it has come to an end; there may be something in it all the same.
    pub(super) fn ended(&self) -> Option<End> {
        self.state().end
    }

    pub(super) fn len(&self) -> usize {
        self.state().items.len()
    }

    pub(super) fn fill(&self) -> Fill {
        let state = self.state();
        Fill { messages: state.items.len(), bytes: state.bytes, dropped: state.dropped }
    }
}

/// What a message takes of [`QueueLimits::bytes`].
fn size(message: &Envelope) -> usize {
    message.topic.as_bytes().len().saturating_add(message.payload.len())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::data::{EndpointId, Topic, Value};

    fn message(text: &str) -> Outgoing {
        let value = Value::String(text.into());
        let envelope = Envelope::data(EndpointId::NIL, Topic::from_static("/t"), &value).unwrap();
        Outgoing { envelope, heard: None }
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
        assert_eq!(overflowed.overflow(), Some(1));
        assert_eq!(overflowed.overflow(), None, "only once");
        assert_eq!(overflowed.try_pop(), Popped::Ended(End::Overflowed { dropped: 1 }));
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
            assert_eq!(queue.push_out(&message(text)), Ok(0));
        }
        assert_eq!(queue.push_out(&message("d")), Ok(1));
        assert_eq!(queue.push_out(&message(&"e".repeat(90))), Ok(2), "by bytes");
        assert_eq!(queue.push_out(&message(&"f".repeat(1000))), Ok(2), "one alone is always taken");
        assert_eq!(queue.fill(), Fill { messages: 1, bytes: 2 + 1000 + 3, dropped: 5 });
        queue.close();
        assert_eq!(queue.push_out(&message("g")), Err(Refused::Ended));
    }

    #[tokio::test]
    async fn whoever_waits_for_room_is_told_when_half_is_free_and_nobody_passes_by() {
        let queue = queue(4, 1000);
        let room = Arc::new(Notify::new());
        for text in ["a", "b", "c", "d"] {
            assert_eq!(queue.try_push_behind(&message(text)), Ok(()));
        }
        for _ in 0..2 {
            assert_eq!(queue.try_push_or_wait(&message("e"), false, &room), Err(Refused::Full));
        }
        let told = || async { tokio::time::timeout(Duration::ZERO, room.notified()).await.is_ok() };
        queue.try_pop();
        assert!(!told().await);
        assert_eq!(queue.try_push_behind(&message("f")), Err(Refused::Full), "there is room, but not for it");
        queue.try_pop();
        assert!(told().await);
        assert!(!told().await, "once");
        assert_eq!(queue.try_push_or_wait(&message("e"), false, &room), Ok(()));
        assert_eq!(queue.try_push_behind(&message("f")), Ok(()));
        assert_eq!(queue.try_push_or_wait(&message("g"), false, &room), Err(Refused::Full));
        queue.close();
        assert!(told().await);
        assert_eq!(queue.try_push_or_wait(&message("g"), false, &room), Err(Refused::Ended));
    }

    #[tokio::test]
    async fn whoever_is_sparing_leaves_a_quarter_to_others() {
        let queue = queue(8, 1000);
        let room = Arc::new(Notify::new());
        while queue.try_push_sparingly(&message("a")).is_ok() {}
        assert_eq!(queue.len(), 6);
        assert_eq!(queue.try_push_or_wait(&message("b"), true, &room), Err(Refused::Full));
        assert_eq!(queue.try_push(&message("c")), Ok(()));
        for _ in 0..3 {
            queue.try_pop();
        }
        tokio::time::timeout(Duration::ZERO, room.notified()).await.unwrap();
        assert_eq!(queue.try_push_or_wait(&message("b"), true, &room), Ok(()));
    }
}
