//! Bounded queues to peers and subscribers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::net::Frames;

/// How much may wait in one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Messages at most.
    pub messages: usize,
    /// Bytes of topics and payloads at most. One message alone is always taken, whatever the limits are.
    pub bytes: usize,
}

/// What can wait in a queue: a message, or several.
pub(super) trait Item: Clone {
    /// How many messages these are.
    fn messages(&self) -> usize;

    /// What they take of [`QueueLimits::bytes`].
    fn bytes(&self) -> usize;

    /// Which memory is kept by keeping it, and how much that is. The memory of others is not to be kept for long.
    fn keeps(&self) -> (usize, usize) {
        (0, 0)
    }

    /// The same, in memory of its own.
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

    fn keeps(&self) -> (usize, usize) {
        self.keeps()
    }

    fn detached(self) -> Self {
        self.detached()
    }
}

/// How much more memory than twice its own bytes a queue may keep.
const SHARED: usize = 512 * 1024;

/// For how many items the memory is kept when there are none.
const KEPT_ITEMS: usize = 4;

/// One queue, between many who push and one who pops.
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
    /// The memory that is kept, where items that follow each other share it counted once.
    kept: usize,
    /// How many it had no room for.
    dropped: u64,
    /// How many wait for room: nobody passes them by.
    waiting: usize,
    /// Of connections that are not read from until there is room here, those to be told of it.
    blocked: Vec<Arc<Notify>>,
    end: Option<End>,
}

impl<T: Item> State<T> {
    fn has_room(&self, item: &T, limits: &QueueLimits) -> bool {
        let (messages, bytes) = self.room(limits);
        self.items.is_empty() || (item.messages() <= messages && item.bytes() <= bytes)
    }

    /// For how many messages there is room, and of how many bytes.
    fn room(&self, limits: &QueueLimits) -> (usize, usize) {
        (limits.messages.saturating_sub(self.messages), limits.bytes.saturating_sub(self.bytes))
    }

    fn push(&mut self, item: T) {
        self.messages = self.messages.saturating_add(item.messages());
        self.bytes = self.bytes.saturating_add(item.bytes());
        let (memory, kept) = item.keeps();
        if self.items.back().is_some_and(|last| last.keeps().0 == memory) {
            self.items.push_back(item);
            return;
        }
        let most = self.bytes.saturating_mul(2).saturating_add(SHARED);
        let item = if self.kept.saturating_add(kept) > most { item.detached() } else { item };
        self.kept = self.kept.saturating_add(item.keeps().1);
        self.items.push_back(item);
    }

    fn pop(&mut self) -> Option<T> {
        let item = self.items.pop_front()?;
        self.popped(&item);
        if self.items.is_empty() && self.items.capacity() > KEPT_ITEMS {
            self.items = VecDeque::new();
        }
        Some(item)
    }

    /// This was taken off the front.
    fn popped(&mut self, item: &T) {
        self.messages = self.messages.saturating_sub(item.messages());
        self.bytes = self.bytes.saturating_sub(item.bytes());
        let (memory, kept) = item.keeps();
        if self.items.front().is_none_or(|next| next.keeps().0 != memory) {
            self.kept = self.kept.saturating_sub(kept);
        }
    }

    fn note_dropped(&mut self, count: usize) {
        self.dropped = self.dropped.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Those who may go on now. They are all let go at once, when half of the queue is free, so that they need not
    /// wake for every message.
    fn unblocked(&mut self, limits: &QueueLimits) -> Vec<Arc<Notify>> {
        let half_free = self.messages <= limits.messages / 2 && self.bytes <= limits.bytes / 2;
        if half_free || self.items.is_empty() { std::mem::take(&mut self.blocked) } else { Vec::new() }
    }
}

impl State<Frames> {
    fn wait_unless(&mut self, taken: bool) -> Result<(), Refused> {
        if taken {
            return Ok(());
        }
        self.waiting = self.waiting.saturating_add(1);
        Err(Refused::Full)
    }

    /// Takes of these what there is room for; says whether there is any left.
    fn take(&mut self, frames: &mut Frames, limits: &QueueLimits) -> bool {
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

    /// Forgets the oldest message; says whether there was one.
    fn drop_oldest(&mut self) -> bool {
        let Some(front) = self.items.front_mut() else { return false };
        let oldest = front.cut(1, usize::MAX);
        if front.messages() == 0 {
            self.items.pop_front();
        }
        if let Some(oldest) = &oldest {
            self.popped(oldest);
            self.note_dropped(1);
        }
        oldest.is_some()
    }
}

/// With a quarter left to others.
fn spared(limits: QueueLimits) -> QueueLimits {
    let most = |limit: usize| limit.saturating_sub(limit / 4);
    QueueLimits { messages: most(limits.messages), bytes: most(limits.bytes) }
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
pub(super) enum Popped<T = Frames> {
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
        let state = State {
            items: VecDeque::new(),
            messages: 0,
            bytes: 0,
            kept: 0,
            dropped: 0,
            waiting: 0,
            blocked: Vec::new(),
            end: None,
        };
        Queue { state: Mutex::new(state), limits, filled: Notify::new(), emptied: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // No code panics while it holds the lock, and a queue is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a message if there is room; does not copy it if there is none.
    pub(super) fn try_push(&self, message: &T) -> Result<(), Refused> {
        self.put(|state| {
            let room = state.has_room(message, &self.limits);
            room.then(|| state.push(message.clone())).ok_or(Refused::Full)
        })
    }

    /// Lets `put` take in something, and says so if it did.
    fn put(&self, put: impl FnOnce(&mut State<T>) -> Result<(), Refused>) -> Result<(), Refused> {
        let mut state = self.state();
        if state.end.is_some() {
            return Err(Refused::Ended);
        }
        let before = state.items.len();
        let done = put(&mut state);
        let filled = state.items.len() > before || done.is_ok();
        drop(state);
        if filled {
            self.filled.notify_one();
        }
        done
    }

    /// So many messages were not taken, and are lost.
    pub(super) fn note_dropped(&self, messages: usize) {
        self.state().note_dropped(messages);
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

    /// Takes nothing more in and drops what is there. Returns how many messages are lost, with the one that found no room,
    /// unless it had ended before.
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
        self.state().messages
    }

    pub(super) fn fill(&self) -> Fill {
        let state = self.state();
        Fill { messages: state.messages, bytes: state.bytes, dropped: state.dropped }
    }
}

impl Queue<Frames> {
    /// Takes what there is room for, and leaves the rest.
    pub(super) fn try_push_some(&self, frames: &mut Frames) -> Result<(), Refused> {
        self.put(|state| if state.take(frames, &self.limits) { Err(Refused::Full) } else { Ok(()) })
    }

    /// As [`Queue::try_push_some`], but not past those who wait for room already: they might wait for ever, or be from
    /// the same peer. What is refused waits for room from now on, until [`Queue::waits_no_more`].
    pub(super) fn try_push_behind(&self, frames: &mut Frames) -> Result<(), Refused> {
        self.put(|state| {
            let all = state.waiting == 0 && !state.take(frames, &self.limits);
            state.wait_unless(all)
        })
    }

    /// As [`Queue::try_push`], but leaves a quarter of the queue to others. What is refused waits as above.
    pub(super) fn try_push_sparingly(&self, message: &Frames) -> Result<(), Refused> {
        self.put(|state| {
            let all = state.has_room(message, &spared(self.limits));
            if all {
                state.push(message.clone());
            }
            state.wait_unless(all)
        })
    }

    /// Something that was refused needs no room any more; so many messages of it are lost.
    pub(super) fn waits_no_more(&self, lost: usize) {
        let mut state = self.state();
        state.waiting = state.waiting.saturating_sub(1);
        state.note_dropped(lost);
    }

    /// For what was refused before: as [`Queue::try_push_some`], or, if it is `sparing`, with a quarter of the queue left
    /// to others; if there is no room, `room` is told when to come again.
    pub(super) fn try_push_or_wait(
        &self,
        frames: &mut Frames,
        sparing: bool,
        room: &Arc<Notify>,
    ) -> Result<(), Refused> {
        self.put(|state| {
            let limits = if sparing { spared(self.limits) } else { self.limits };
            if !state.take(frames, &limits) {
                return Ok(());
            }
            if !state.blocked.iter().any(|waiting| Arc::ptr_eq(waiting, room)) {
                state.blocked.push(room.clone());
            }
            Err(Refused::Full)
        })
    }

    /// Takes them all, and drops the oldest that wait until there is room; says how many those were.
    pub(super) fn push_out(&self, frames: &mut Frames) -> Result<usize, Refused> {
        let mut dropped = 0usize;
        self.put(|state| {
            while state.take(frames, &self.limits) && state.drop_oldest() {
                dropped = dropped.saturating_add(1);
            }
            Ok(())
        })?;
        Ok(dropped)
    }
}

#[cfg(test)]
mod tests;
