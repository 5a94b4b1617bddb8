//! Bounded queues to peers and subscribers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::net::Frames;

/// The capacity of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// The maximum number of messages.
    pub messages: usize,
    /// The maximum total length of topics and payloads in bytes. An empty queue accepts one message of any length.
    pub bytes: usize,
}

/// The items of a queue: single messages or batches.
pub(super) trait Item: Clone {
    /// Returns the number of messages.
    fn messages(&self) -> usize;

    /// Returns how much of [`QueueLimits::bytes`] the messages use.
    fn bytes(&self) -> usize;

    /// Returns the start and the length of the memory that the item keeps allocated. The item may share this memory with
    /// other items.
    fn allocation(&self) -> (usize, usize) {
        (0, 0)
    }

    /// Returns the same item in memory that it does not share with other items.
    fn detached(self) -> Self {
        self
    }
}

impl Item for Frames {
    fn messages(&self) -> usize {
        self.messages()
    }

    fn bytes(&self) -> usize {
        self.content()
    }

    fn allocation(&self) -> (usize, usize) {
        self.allocation()
    }

    fn detached(self) -> Self {
        self.detached()
    }
}

/// The maximum memory, in bytes, that a queue keeps allocated in addition to twice the bytes of its messages.
const SHARED: usize = 512 * 1024;

/// The capacity that is kept while the queue is empty.
const KEPT_ITEMS: usize = 4;

/// A queue with many producers and one consumer.
#[derive(Debug)]
pub(super) struct Queue<T = Frames> {
    state: Mutex<State<T>>,
    limits: QueueLimits,
    filled: Notify,
    emptied: Notify,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    messages: usize,
    bytes: usize,
    /// The memory that the items keep allocated. Memory that consecutive items share is counted once.
    kept: usize,
    /// The number of messages that were dropped because the queue was full.
    dropped: u64,
    /// The number of messages that were dropped because the peer's protocol cannot carry them.
    not_carried: u64,
    /// The number of blocked batches that wait for room. Later batches must not overtake them.
    waiting: usize,
    /// The connections on which reading is stopped until this queue has room.
    blocked: Vec<Arc<Notify>>,
    end: Option<End>,
}

impl<T: Item> State<T> {
    fn has_room(&self, item: &T, limits: &QueueLimits) -> bool {
        let (messages, bytes) = self.room(limits);
        self.items.is_empty() || (item.messages() <= messages && item.bytes() <= bytes)
    }

    /// Returns the free capacity in messages and in bytes.
    fn room(&self, limits: &QueueLimits) -> (usize, usize) {
        (limits.messages.saturating_sub(self.messages), limits.bytes.saturating_sub(self.bytes))
    }

    fn push(&mut self, item: T) {
        self.messages = self.messages.saturating_add(item.messages());
        self.bytes = self.bytes.saturating_add(item.bytes());
        let (memory, kept) = item.allocation();
        if self.items.back().is_some_and(|last| last.allocation().0 == memory) {
            self.items.push_back(item);
            return;
        }
        let most = self.bytes.saturating_mul(2).saturating_add(SHARED);
        let item = if self.kept.saturating_add(kept) > most { item.detached() } else { item };
        self.kept = self.kept.saturating_add(item.allocation().1);
        self.items.push_back(item);
    }

    fn pop(&mut self) -> Option<T> {
        let item = self.items.pop_front()?;
        self.account_popped(&item);
        if self.items.is_empty() && self.items.capacity() > KEPT_ITEMS {
            self.items = VecDeque::new();
        }
        Some(item)
    }

    /// Accounts for an item that was removed from the front.
    fn account_popped(&mut self, item: &T) {
        self.messages = self.messages.saturating_sub(item.messages());
        self.bytes = self.bytes.saturating_sub(item.bytes());
        let (memory, kept) = item.allocation();
        if self.items.front().is_none_or(|next| next.allocation().0 != memory) {
            self.kept = self.kept.saturating_sub(kept);
        }
    }

    /// Returns whether these are the first dropped messages.
    fn note_dropped(&mut self, count: usize) -> bool {
        let is_first = self.dropped == 0 && count > 0;
        self.dropped = self.dropped.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        is_first
    }

    /// Returns the connections to wake. All are woken at once when half of the queue is free, so that they do not wake for
    /// each message.
    fn take_unblocked(&mut self, limits: &QueueLimits) -> Vec<Arc<Notify>> {
        let half_free = self.messages <= limits.messages / 2 && self.bytes <= limits.bytes / 2;
        if half_free || self.items.is_empty() { std::mem::take(&mut self.blocked) } else { Vec::new() }
    }
}

impl State<Frames> {
    fn wait_unless(&mut self, accepted: bool) -> Result<(), Refused> {
        if accepted {
            return Ok(());
        }
        self.waiting = self.waiting.saturating_add(1);
        Err(Refused::Full)
    }

    /// Moves as many messages into the queue as there is room for; if the queue is empty, at least one. Returns whether
    /// messages are left in `frames`.
    fn push_some(&mut self, frames: &mut Frames, limits: &QueueLimits) -> bool {
        let (messages, bytes) = self.room(limits);
        if let Some(some) = frames.cut(messages, bytes) {
            self.push(some);
        }
        if self.items.is_empty()
            && let Some(one) = frames.cut(1, usize::MAX)
        {
            self.push(one);
        }
        frames.messages() > 0
    }

    /// Drops the oldest message. Returns whether there was one.
    fn drop_oldest(&mut self) -> bool {
        let Some(front) = self.items.front_mut() else { return false };
        let oldest = front.cut(1, usize::MAX);
        if front.messages() == 0 {
            self.items.pop_front();
        }
        if let Some(oldest) = &oldest {
            self.account_popped(oldest);
            self.note_dropped(1);
        }
        oldest.is_some()
    }
}

/// Returns limits that leave a quarter of the queue free.
fn sparing(limits: QueueLimits) -> QueueLimits {
    let most = |limit: usize| limit.saturating_sub(limit / 4);
    QueueLimits { messages: most(limits.messages), bytes: most(limits.bytes) }
}

/// Why a queue accepts no more messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The queue was closed. Its remaining messages can still be popped.
    Closed,
    /// The queue was full for too long. Its messages were dropped.
    Overflowed {
        /// The number of dropped messages.
        dropped: usize,
    },
}

/// Why a message was not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Ended,
}

/// The result of a pop.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Popped<T = Frames> {
    Message(T),
    Empty,
    Ended(End),
}

/// The number and size of queued messages, and the number of dropped ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fill {
    pub(super) messages: usize,
    /// As in [`QueueLimits::bytes`].
    pub(super) bytes: usize,
    /// The number of messages that were dropped because the queue was full.
    pub(super) dropped: u64,
    /// The number of messages that were dropped because the peer's protocol cannot carry them.
    pub(super) not_carried: u64,
}

impl<T: Item> Queue<T> {
    pub(super) fn new(limits: QueueLimits) -> Self {
        let state = State {
            items: VecDeque::new(),
            messages: 0,
            bytes: 0,
            kept: 0,
            dropped: 0,
            not_carried: 0,
            waiting: 0,
            blocked: Vec::new(),
            end: None,
        };
        Queue { state: Mutex::new(state), limits, filled: Notify::new(), emptied: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // No code panics while it holds the lock, and the state is consistent between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pushes a copy of a message if there is room.
    pub(super) fn try_push(&self, message: &T) -> Result<(), Refused> {
        self.with_state(|state| {
            let room = state.has_room(message, &self.limits);
            room.then(|| state.push(message.clone())).ok_or(Refused::Full)
        })
    }

    /// Calls `push` unless the queue has ended. Wakes the consumer if `push` added a message.
    fn with_state(&self, push: impl FnOnce(&mut State<T>) -> Result<(), Refused>) -> Result<(), Refused> {
        let mut state = self.state();
        if state.end.is_some() {
            return Err(Refused::Ended);
        }
        let before = state.items.len();
        let done = push(&mut state);
        let filled = state.items.len() > before || done.is_ok();
        drop(state);
        if filled {
            self.filled.notify_one();
        }
        done
    }

    /// Counts dropped messages. The first ones wake the consumer, which reports them.
    pub(super) fn note_dropped(&self, messages: usize) {
        let mut state = self.state();
        let is_first = state.note_dropped(messages);
        self.wake_if(is_first, state);
    }

    fn wake_if(&self, is_first: bool, state: MutexGuard<'_, State<T>>) {
        drop(state);
        if is_first {
            self.filled.notify_one();
        }
    }

    /// Counts messages that the peer's protocol cannot carry.
    pub(super) fn note_not_carried(&self, messages: usize) {
        let mut state = self.state();
        state.not_carried = state.not_carried.saturating_add(u64::try_from(messages).unwrap_or(u64::MAX));
    }

    /// Pushes a message. If there is no room, waits for room until `deadline` at most.
    pub(super) async fn push(&self, message: &T, deadline: Instant) -> Result<(), Refused> {
        let wait = async {
            loop {
                // Registered before the attempt, so that no notification between the attempt and the wait is missed.
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
                let unblocked = state.take_unblocked(&self.limits);
                drop(state);
                unblocked.iter().for_each(|room| room.notify_one());
                self.emptied.notify_waiters();
                Popped::Message(message)
            }
            None => state.end.map_or(Popped::Empty, Popped::Ended),
        }
    }

    /// Waits for the next message. `None` at the end. Cancel-safe.
    pub(super) async fn pop(&self) -> Option<T> {
        loop {
            match self.try_pop() {
                Popped::Message(message) => return Some(message),
                Popped::Ended(_) => return None,
                Popped::Empty => self.filled.notified().await,
            }
        }
    }

    /// Waits until there may be something to pop, or the queue has ended. Only one task may wait.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Closes the queue: nothing more is accepted.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.end.get_or_insert(End::Closed);
        self.notify_end(state);
    }

    /// Closes the queue and drops its messages. Returns the number of lost messages, including the one for which there was
    /// no room. `None` if the queue had ended before.
    pub(super) fn overflow(&self) -> Option<usize> {
        let mut state = self.state();
        if state.end.is_some() {
            return None;
        }
        state.items = VecDeque::new();
        let dropped = std::mem::take(&mut state.messages).saturating_add(1);
        (state.bytes, state.kept) = (0, 0);
        state.note_dropped(dropped);
        state.end = Some(End::Overflowed { dropped });
        self.notify_end(state);
        Some(dropped)
    }

    fn notify_end(&self, mut state: MutexGuard<'_, State<T>>) {
        let blocked = std::mem::take(&mut state.blocked);
        drop(state);
        blocked.iter().for_each(|room| room.notify_one());
        self.filled.notify_one();
        self.emptied.notify_waiters();
    }

    /// Returns [`Queue::ended`], and the number of messages that were dropped because the queue was full.
    pub(super) fn losses(&self) -> (Option<End>, u64) {
        let state = self.state();
        (state.end, state.dropped)
    }

    /// Returns how the queue has ended, or `None` if it has not. A closed queue may still contain messages.
    pub(super) fn ended(&self) -> Option<End> {
        self.state().end
    }

    pub(super) fn len(&self) -> usize {
        self.state().messages
    }

    pub(super) fn fill(&self) -> Fill {
        let state = self.state();
        Fill {
            messages: state.messages,
            bytes: state.bytes,
            dropped: state.dropped,
            not_carried: state.not_carried,
        }
    }
}

impl Queue<Frames> {
    /// Pushes as many messages as there is room for, and leaves the others in `frames`.
    pub(super) fn try_push_some(&self, frames: &mut Frames) -> Result<(), Refused> {
        self.with_state(
            |state| if state.push_some(frames, &self.limits) { Err(Refused::Full) } else { Ok(()) },
        )
    }

    /// Like [`Queue::try_push_some`], but pushes nothing while earlier batches wait for room. Otherwise, those batches
    /// could starve, or messages of one peer could change their order. A refused batch counts as waiting until
    /// [`Queue::cancel_wait`].
    pub(super) fn push_fair(&self, frames: &mut Frames) -> Result<(), Refused> {
        self.with_state(|state| {
            let all = state.waiting == 0 && !state.push_some(frames, &self.limits);
            state.wait_unless(all)
        })
    }

    /// Like [`Queue::try_push`], but leaves a quarter of the queue free. A refused batch also counts as waiting.
    pub(super) fn try_push_sparingly(&self, message: &Frames) -> Result<(), Refused> {
        self.with_state(|state| {
            let all = state.has_room(message, &sparing(self.limits));
            if all {
                state.push(message.clone());
            }
            state.wait_unless(all)
        })
    }

    /// Ends the wait of a batch that was refused. `lost` is the number of its messages that are not in the queue; they are
    /// counted as dropped.
    pub(super) fn cancel_wait(&self, lost: usize) {
        let mut state = self.state();
        state.waiting = state.waiting.saturating_sub(1);
        let is_first = state.note_dropped(lost);
        self.wake_if(is_first, state);
    }

    /// Retries a batch that was refused, like [`Queue::try_push_some`]. If `leave_quarter` is set, a quarter of the queue
    /// is left free. If there is not enough room for all messages, `room` is notified when it is time to retry.
    pub(super) fn try_push_or_wait(
        &self,
        frames: &mut Frames,
        leave_quarter: bool,
        room: &Arc<Notify>,
    ) -> Result<(), Refused> {
        self.with_state(|state| {
            let limits = if leave_quarter { sparing(self.limits) } else { self.limits };
            if !state.push_some(frames, &limits) {
                return Ok(());
            }
            if !state.blocked.iter().any(|waiting| Arc::ptr_eq(waiting, room)) {
                state.blocked.push(room.clone());
            }
            Err(Refused::Full)
        })
    }

    /// Pushes all messages. Drops the oldest messages of the queue until there is room. Returns the number of dropped
    /// messages.
    pub(super) fn evict_and_push(&self, frames: &mut Frames) -> Result<usize, Refused> {
        let mut dropped = 0usize;
        self.with_state(|state| {
            while state.push_some(frames, &self.limits) && state.drop_oldest() {
                dropped = dropped.saturating_add(1);
            }
            Ok(())
        })?;
        Ok(dropped)
    }
}

#[cfg(test)]
mod tests;
