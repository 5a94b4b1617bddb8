//! Bounded queues to peers and subscribers.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::wire::Envelope;

/// How much may wait in one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Messages at most.
    pub messages: usize,
    /// Bytes of topics and payloads at most. One message alone is always taken.
    pub bytes: usize,
}

/// What can wait in a queue: a message, and perhaps what is known of it.
pub(super) trait Item: Clone {
    fn envelope(&self) -> &Envelope;
}

impl Item for Envelope {
    fn envelope(&self) -> &Envelope {
        self
    }
}

/// One queue, between many who push and one who pops.
#[derive(Debug)]
pub(super) struct Queue<T = Envelope> {
    state: Mutex<State<T>>,
    limits: QueueLimits,
    filled: Notify,
    emptied: Notify,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    bytes: usize,
    end: Option<End>,
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
pub(super) enum Popped<T = Envelope> {
    Message(T),
    Empty,
    Ended(End),
}

impl<T: Item> Queue<T> {
    pub(super) fn new(limits: QueueLimits) -> Self {
        let state = State { items: VecDeque::new(), bytes: 0, end: None };
        Queue { state: Mutex::new(state), limits, filled: Notify::new(), emptied: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // No code panics while it holds the lock, and a queue is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a message if there is room; does not copy it if there is none.
    pub(super) fn try_push(&self, message: &T) -> Result<(), Refused> {
        let mut state = self.state();
        if state.end.is_some() {
            return Err(Refused::Ended);
        }
        let bytes = state.bytes.saturating_add(size(message.envelope()));
        if state.items.len() >= self.limits.messages || (bytes > self.limits.bytes && !state.items.is_empty())
        {
            return Err(Refused::Full);
        }
        state.bytes = bytes;
        state.items.push_back(message.clone());
        drop(state);
        self.filled.notify_one();
        Ok(())
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
        match state.items.pop_front() {
            Some(message) => {
                state.bytes = state.bytes.saturating_sub(size(message.envelope()));
                drop(state);
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
        self.end(End::Closed);
    }

    /// Takes nothing more in and forgets what is there; says how much that was.
    pub(super) fn overflow(&self) -> usize {
        let dropped = std::mem::take(&mut self.state().items).len();
        self.end(End::Overflowed { dropped });
        dropped
    }

    fn end(&self, end: End) {
        self.state().end.get_or_insert(end);
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
}

/// What a message takes of [`QueueLimits::bytes`].
fn size(message: &Envelope) -> usize {
    message.topic.as_bytes().len().saturating_add(message.payload.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{EndpointId, Topic, Value};

    fn message(text: &str) -> Envelope {
        Envelope::data(EndpointId::NIL, Topic::from_static("/t"), &Value::String(text.into())).unwrap()
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
        assert_eq!(overflowed.overflow(), 1);
        assert_eq!(overflowed.try_pop(), Popped::Ended(End::Overflowed { dropped: 1 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_push_waits_for_room_but_not_for_ever() {
        let queue = queue(1, 1000);
        queue.try_push(&message("a")).unwrap();
        let second = message("b");
        let patience = || Instant::now() + std::time::Duration::from_secs(5);
        assert_eq!(queue.push(&second, patience()).await, Err(Refused::Full));
        let (pushed, popped) = tokio::join!(queue.push(&second, patience()), queue.pop());
        assert_eq!((pushed, popped), (Ok(()), Some(message("a"))));
        assert_eq!(queue.pop().await, Some(second));
    }
}
