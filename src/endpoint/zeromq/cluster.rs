//! The subscriptions of a cluster whose proxy is this endpoint (`PROTOCOL.md`, section 11).
//!
//! Each publisher receives the subscriptions of all subscribers, because it sends only messages to which somebody subscribes. All
//! publishers read one log of changes, each at its own position. So a change is stored once, and a publisher that does not read
//! does not delay the others.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::vec;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::data::{Filter, Topic};
use crate::zeromq::SubscriptionChange;

/// The memory of a prefix in a table or in the log, in addition to its text.
const OVERHEAD: usize = 64;

/// The minimum limit, in bytes. A cluster needs a few kilobytes.
const MIN_LIMIT: usize = 64 * 1024;

/// Below this length in bytes, changes that all publishers have read are not removed from the log.
const MIN_LOG: usize = 16 * 1024;

/// The subscriptions of a cluster, and the log of their changes.
#[derive(Debug)]
pub(in crate::endpoint) struct Cluster {
    state: Mutex<State>,
    /// The position of the end of the log. Only changed while `state` is locked.
    end: watch::Sender<u64>,
    /// The maximum length of all prefixes together, and of the log, in bytes.
    limit: usize,
    /// Whether the filter of this endpoint is included.
    follows: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// The number of subscribers of each prefix.
    prefixes: BTreeMap<Topic, usize>,
    /// The memory of the prefixes.
    bytes: usize,
    log: Log,
}

/// The subscriptions of all peers together exceed a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::endpoint) struct TooLong {
    pub(in crate::endpoint) limit: usize,
}

/// A publisher has not read the changes, and more of them than the limit allows are unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::endpoint) struct Unread {
    pub(in crate::endpoint) limit: usize,
}

impl Cluster {
    /// Returns a cluster without subscriptions. `limit` is the maximum length in bytes of all prefixes together, and of the changes
    /// that a publisher has not read. At least [`MIN_LIMIT`] applies.
    pub(in crate::endpoint) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Cluster {
            state: Mutex::default(),
            end: watch::Sender::new(0),
            limit: limit.max(MIN_LIMIT),
            follows: AtomicBool::new(false),
        })
    }

    /// Adds a subscriber.
    pub(in crate::endpoint) fn subscriber(self: &Arc<Self>) -> Subscriber {
        Subscriber { cluster: self.clone(), held: BTreeSet::new() }
    }

    /// Adds a publisher.
    pub(in crate::endpoint) fn publisher(self: &Arc<Self>) -> Publisher {
        let mut state = self.state.lock();
        let current: Vec<Topic> = state.prefixes.keys().cloned().collect();
        let (reader, position) = state.log.add_reader();
        let end = self.end.subscribe();
        Publisher { cluster: self.clone(), current: current.into_iter(), reader, position, end }
    }

    /// Adds this endpoint as a subscriber of `filter`, whose changes a task applies. Only the first call has an effect.
    pub(in crate::endpoint) fn follow(self: &Arc<Self>, filter: impl FnOnce() -> watch::Receiver<Filter>) {
        if self.follows.swap(true, Ordering::Relaxed) {
            return;
        }
        let (mut filter, mut own) = (filter(), self.subscriber());
        own.replace(&filter.borrow_and_update());
        tokio::spawn(async move {
            while filter.changed().await.is_ok() {
                own.replace(&filter.borrow_and_update());
            }
        });
    }

    /// Calls `change` with the subscriptions, then wakes the publishers.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let result = change(&mut state);
        let end = state.log.end();
        self.end.send_if_modified(|before| std::mem::replace(before, end) != end);
        result
    }
}

impl State {
    /// Adds a subscriber to a prefix. `held` are the other prefixes of the subscriber.
    fn subscribe(&mut self, prefix: Topic, held: &mut BTreeSet<Topic>, limit: usize) {
        let known = self.prefixes.get_key_value(&prefix).map(|(known, _)| known.clone());
        let prefix = known.unwrap_or(prefix);
        if held.insert(prefix.clone()) {
            let count = self.prefixes.entry(prefix.clone()).or_insert_with(|| {
                self.bytes = self.bytes.saturating_add(memory(&prefix));
                0
            });
            *count = count.saturating_add(1);
        }
        self.log.push(SubscriptionChange::Subscribed(prefix), limit);
    }

    /// Removes a subscriber from a prefix that it held.
    fn cancel(&mut self, prefix: Topic, limit: usize) {
        let Some(count) = self.prefixes.get_mut(&prefix) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.prefixes.remove(&prefix);
            self.bytes = self.bytes.saturating_sub(memory(&prefix));
            self.log.push(SubscriptionChange::Cancelled(prefix), limit);
        }
    }
}

fn memory(prefix: &Topic) -> usize {
    prefix.as_bytes().len().saturating_add(OVERHEAD)
}

/// A subscriber. Its subscriptions are cancelled when it is dropped.
#[derive(Debug)]
pub(in crate::endpoint) struct Subscriber {
    cluster: Arc<Cluster>,
    held: BTreeSet<Topic>,
}

impl Subscriber {
    /// Applies changes in the order in which the subscriber has sent them. The publishers also receive a subscription that is
    /// repeated or that others have; a cancellation only if no other subscriber has the prefix.
    ///
    /// # Errors
    /// Fails if the prefixes of all subscribers together are too long.
    pub(in crate::endpoint) fn apply(
        &mut self,
        changes: impl Iterator<Item = SubscriptionChange>,
    ) -> Result<(), TooLong> {
        let (held, limit) = (&mut self.held, self.cluster.limit);
        self.cluster.change(|state| {
            for change in changes {
                match change {
                    SubscriptionChange::Subscribed(prefix) => state.subscribe(prefix, held, limit),
                    SubscriptionChange::Cancelled(prefix) if held.remove(&prefix) => {
                        state.cancel(prefix, limit)
                    }
                    SubscriptionChange::Cancelled(_) => {}
                }
                if state.bytes > limit {
                    return Err(TooLong { limit });
                }
            }
            Ok(())
        })
    }

    /// Returns whether some publisher has not read more than half of the changes that the limit allows. Wait for a while before
    /// further changes are applied, so that a subscriber that changes its subscriptions very often does not disconnect publishers
    /// that read more slowly.
    pub(in crate::endpoint) fn is_too_fast(&self) -> bool {
        let mut state = self.cluster.state.lock();
        if state.log.bytes <= self.cluster.limit / 2 {
            return false;
        }
        state.log.remove_read();
        state.log.bytes > self.cluster.limit / 2
    }

    /// Replaces all subscriptions, new ones first.
    fn replace(&mut self, filter: &Filter) {
        let new: BTreeSet<Topic> = filter.topics().iter().cloned().collect();
        let (held, limit) = (&mut self.held, self.cluster.limit);
        self.cluster.change(|state| {
            for prefix in &new {
                if !held.contains(prefix) {
                    state.subscribe(prefix.clone(), held, limit);
                }
            }
            for prefix in held.difference(&new) {
                state.cancel(prefix.clone(), limit);
            }
            *held = new;
        });
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let (held, limit) = (std::mem::take(&mut self.held), self.cluster.limit);
        self.cluster.change(|state| held.into_iter().for_each(|prefix| state.cancel(prefix, limit)));
    }
}

/// A publisher, which receives the current subscriptions once, then their changes.
#[derive(Debug)]
pub(in crate::endpoint) struct Publisher {
    cluster: Arc<Cluster>,
    /// The subscriptions at the position where the publisher was added.
    current: vec::IntoIter<Topic>,
    reader: u64,
    position: u64,
    end: watch::Receiver<u64>,
}

impl Publisher {
    /// Returns the next change, if there is one.
    ///
    /// # Errors
    /// Fails as [`Publisher::check`].
    pub(in crate::endpoint) fn next(&mut self) -> Result<Option<SubscriptionChange>, Unread> {
        if let Some(prefix) = self.current.next() {
            return Ok(Some(SubscriptionChange::Subscribed(prefix)));
        }
        // The log is locked only if it contains a change.
        if *self.end.borrow_and_update() == self.position {
            return Ok(None);
        }
        let mut state = self.cluster.state.lock();
        let change = state.log.read(self.reader).ok_or(Unread { limit: self.cluster.limit })?;
        self.position = self.position.saturating_add(1);
        Ok(Some(change))
    }

    /// Checks that no unread change was removed from the log.
    ///
    /// # Errors
    /// Fails if the publisher has read so little that the changes after its position exceed the limit.
    pub(in crate::endpoint) fn check(&mut self) -> Result<(), Unread> {
        let is_up_to_date = *self.end.borrow_and_update() == self.position;
        let is_reading = is_up_to_date || self.cluster.state.lock().log.readers.contains_key(&self.reader);
        if is_reading { Ok(()) } else { Err(Unread { limit: self.cluster.limit }) }
    }

    /// Waits for a change after the last call of [`Publisher::next`] or [`Publisher::check`]. Cancel-safe.
    pub(in crate::endpoint) async fn changed(&mut self) {
        if self.end.changed().await.is_err() {
            // Not reached: `cluster` has the sender.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.cluster.state.lock().log.readers.remove(&self.reader);
    }
}

/// The changes that at least one publisher has not read.
#[derive(Debug, Default)]
struct Log {
    changes: VecDeque<SubscriptionChange>,
    /// The position of the first one.
    first: u64,
    bytes: usize,
    /// The length in bytes from which read changes are removed. It is twice the length after the last removal, so that the work for
    /// each change is constant on average.
    trim_at: usize,
    /// The positions of the publishers.
    readers: HashMap<u64, u64>,
    next_reader: u64,
}

impl Log {
    fn end(&self) -> u64 {
        self.first.saturating_add(u64::try_from(self.changes.len()).unwrap_or(u64::MAX))
    }

    /// Returns the id and the position of a new reader, which reads the later changes.
    fn add_reader(&mut self) -> (u64, u64) {
        let (reader, position) = (self.next_reader, self.end());
        self.next_reader = reader.saturating_add(1);
        self.readers.insert(reader, position);
        (reader, position)
    }

    /// Returns the next change of a reader. `None` if it has been removed, or the reader is at the end.
    fn read(&mut self, reader: u64) -> Option<SubscriptionChange> {
        let position = self.readers.get_mut(&reader)?;
        let index = usize::try_from(position.checked_sub(self.first)?).ok()?;
        let change = self.changes.get(index)?.clone();
        *position = position.saturating_add(1);
        Some(change)
    }

    /// Appends a change. If the log exceeds `limit`, removes its first changes, and the readers that have not read them.
    fn push(&mut self, change: SubscriptionChange, limit: usize) {
        self.bytes = self.bytes.saturating_add(memory_of(&change));
        self.changes.push_back(change);
        if self.bytes <= self.trim_at.min(limit) {
            return;
        }
        self.remove_read();
        if self.bytes > limit {
            while self.bytes > limit && self.remove_first() {}
            let first = self.first;
            self.readers.retain(|_, position| *position >= first);
        }
        self.trim_at = self.bytes.saturating_mul(2).max(MIN_LOG);
        self.changes.shrink_to(self.changes.len().saturating_mul(2));
    }

    /// Removes the changes that all readers have read.
    fn remove_read(&mut self) {
        let slowest = self.readers.values().copied().min().unwrap_or(u64::MAX);
        while self.first < slowest && self.remove_first() {}
    }

    fn remove_first(&mut self) -> bool {
        let Some(change) = self.changes.pop_front() else { return false };
        self.bytes = self.bytes.saturating_sub(memory_of(&change));
        self.first = self.first.saturating_add(1);
        true
    }
}

fn memory_of(change: &SubscriptionChange) -> usize {
    let (SubscriptionChange::Subscribed(prefix) | SubscriptionChange::Cancelled(prefix)) = change;
    memory(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> Topic {
        Topic::from(text)
    }

    fn subscribed(text: &str) -> SubscriptionChange {
        SubscriptionChange::Subscribed(topic(text))
    }

    fn cancelled(text: &str) -> SubscriptionChange {
        SubscriptionChange::Cancelled(topic(text))
    }

    fn read(publisher: &mut Publisher) -> Vec<SubscriptionChange> {
        std::iter::from_fn(|| publisher.next().unwrap()).collect()
    }

    #[test]
    fn subscriptions_are_repeated_and_cancelled_when_the_last_subscriber_is_gone() {
        let cluster = Cluster::new(0);
        let (mut early, mut one, mut other) =
            (cluster.publisher(), cluster.subscriber(), cluster.subscriber());
        one.apply([subscribed("a"), subscribed("a"), subscribed("b")].into_iter()).unwrap();
        other.apply([cancelled("a"), subscribed("a")].into_iter()).unwrap();
        assert_eq!(read(&mut early), [subscribed("a"), subscribed("a"), subscribed("b"), subscribed("a")]);
        let mut late = cluster.publisher();
        assert_eq!(read(&mut late), [subscribed("a"), subscribed("b")], "each prefix once");
        one.apply([cancelled("a"), cancelled("a"), cancelled("never")].into_iter()).unwrap();
        assert_eq!(read(&mut late), [], "another subscriber has it");
        drop(one);
        assert_eq!(read(&mut late), [cancelled("b")], "only what nobody else has");
        other.apply([cancelled("a")].into_iter()).unwrap();
        for publisher in [&mut early, &mut late] {
            assert_eq!(read(publisher).last(), Some(&cancelled("a")));
        }
        assert_eq!(read(&mut cluster.publisher()), []);
        assert_eq!(cluster.state.lock().bytes, 0);
    }

    #[test]
    fn the_current_subscriptions_are_read_before_later_changes() {
        let cluster = Cluster::new(0);
        let mut subscriber = cluster.subscriber();
        subscriber.apply([subscribed("b"), subscribed("c")].into_iter()).unwrap();
        let mut publisher = cluster.publisher();
        subscriber.apply([cancelled("c"), subscribed("a")].into_iter()).unwrap();
        assert_eq!(read(&mut publisher), [subscribed("b"), subscribed("c"), cancelled("c"), subscribed("a")]);
    }

    #[test]
    fn a_publisher_that_does_not_read_is_removed_and_the_others_read_everything() {
        let cluster = Cluster::new(0);
        let (mut slow, mut fast, mut subscriber) =
            (cluster.publisher(), cluster.publisher(), cluster.subscriber());
        let changes = MIN_LIMIT / OVERHEAD;
        for round in 0..changes {
            subscriber.apply([subscribed(""), cancelled("")].into_iter()).unwrap();
            assert_eq!(read(&mut fast), [subscribed(""), cancelled("")], "{round}");
            let state = cluster.state.lock();
            assert!(state.log.bytes <= MIN_LIMIT);
            assert_eq!(state.log.readers.len(), if 2 * (round + 1) > changes { 1 } else { 2 });
        }
        assert_eq!(slow.check(), Err(Unread { limit: MIN_LIMIT }));
        assert_eq!(slow.next(), Err(Unread { limit: MIN_LIMIT }));
        assert_eq!(fast.check(), Ok(()));
        drop(slow);
        subscriber.apply([subscribed("")].into_iter()).unwrap();
        assert_eq!(read(&mut fast), [subscribed("")]);
        assert!(cluster.state.lock().log.bytes <= 2 * MIN_LOG, "read changes are not kept");
    }

    #[test]
    fn a_subscriber_is_too_fast_until_the_publishers_have_read_its_changes() {
        let cluster = Cluster::new(0);
        let (mut slow, mut fast, mut subscriber) =
            (cluster.publisher(), cluster.publisher(), cluster.subscriber());
        for _ in 0..MIN_LIMIT / OVERHEAD / 4 {
            assert!(!subscriber.is_too_fast());
            subscriber.apply([subscribed(""), cancelled("")].into_iter()).unwrap();
        }
        subscriber.apply([subscribed("")].into_iter()).unwrap();
        assert!(subscriber.is_too_fast());
        read(&mut fast);
        assert!(subscriber.is_too_fast(), "the other publisher has not read them");
        slow.next().unwrap();
        assert!(!subscriber.is_too_fast());
        drop((slow, fast));
        assert!(!cluster.subscriber().is_too_fast());
    }

    #[test]
    fn all_prefixes_together_are_limited() {
        let cluster = Cluster::new(0);
        let (mut one, mut other) = (cluster.subscriber(), cluster.subscriber());
        let prefixes = |from: usize| (from..).map(|number| subscribed(&format!("{number:>036}")));
        let half = MIN_LIMIT / 200;
        one.apply(prefixes(0).take(half)).unwrap();
        other.apply(prefixes(0).take(half)).unwrap();
        assert_eq!(other.apply(prefixes(half).take(MIN_LIMIT / 100)), Err(TooLong { limit: MIN_LIMIT }));
        drop(other);
        one.apply(prefixes(half).take(half)).unwrap();
    }

    #[tokio::test]
    async fn the_filter_of_the_endpoint_is_one_of_the_subscribers() {
        let cluster = Cluster::new(0);
        let filter = |topics: &[&str]| -> Filter { topics.iter().map(|text| topic(text)).collect() };
        let (own, receiver) = watch::channel(filter(&["a", "b"]));
        let mut subscriber = cluster.subscriber();
        subscriber.apply([subscribed("b")].into_iter()).unwrap();
        cluster.follow(|| receiver);
        cluster.follow(|| panic!("called twice"));
        let mut publisher = cluster.publisher();
        assert_eq!(read(&mut publisher), [subscribed("a"), subscribed("b")]);
        own.send_replace(filter(&["c"]));
        publisher.changed().await;
        assert_eq!(read(&mut publisher), [subscribed("c"), cancelled("a")]);
        drop(own);
        publisher.changed().await;
        assert_eq!(read(&mut publisher), [cancelled("c")]);
    }
}
