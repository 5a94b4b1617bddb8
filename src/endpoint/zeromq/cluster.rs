//! The subscriptions of a cluster whose proxy is this endpoint (`PROTOCOL.md`, section 11).
//!
//! Each publisher receives the subscriptions of all subscribers, because it sends a message only if there is a subscriber. All
//! publishers read one log of changes, each at its own position. So a change is stored once, and a publisher that does not read
//! does not delay the others.

mod accounts;
mod log;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::vec;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::super::limits::Owner;
use crate::data::{Filter, Topic};
use crate::net::spawn;
use crate::zeromq::SubscriptionChange;
use accounts::Accounts;
pub(in crate::endpoint) use accounts::TooLong;
use log::Log;

/// The memory of a subscriber's prefix in addition to its text, in bytes. The session, this cluster and the routes have tables of
/// prefixes. Measured with 16,000 prefixes for each subscriber.
const OVERHEAD: usize = 384;

const MIB: usize = 1024 * 1024;

/// The limits of a cluster, in bytes.
#[derive(Clone, Copy, Debug)]
struct Limits {
    memory: accounts::Limits,
    /// The maximum length of the unread changes that an owner has caused. Further changes of the owner wait.
    unread_of_owner: usize,
    /// The maximum length of all unread changes.
    unread: usize,
}

impl Limits {
    /// A node of Zeek has about a hundred subscriptions, which need 50 kB.
    const DEFAULT: Self = Limits {
        memory: accounts::Limits {
            // About 10,000 subscriptions.
            subscriber: 4 * MIB,
            // 300 nodes on one host.
            owner: 16 * MIB,
            // Several hosts must misbehave before the total matters.
            total: 64 * MIB,
        },
        // 2 s of input for a publisher that reads 1 Mbit/s.
        unread_of_owner: 256 * 1024,
        // If all subscribers disconnect at once, their cancellations need less than half of this limit.
        unread: 64 * MIB,
    };
}

/// The subscriptions of a cluster, and the log of their changes.
#[derive(Debug)]
pub(in crate::endpoint) struct Cluster {
    state: Mutex<State>,
    /// The position of the end of the log. Only changed while `state` is locked.
    end: watch::Sender<u64>,
    limits: Limits,
    /// Whether the filter of this endpoint is included.
    follows: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// The number of subscribers of each prefix.
    prefixes: BTreeMap<Topic, usize>,
    accounts: Accounts,
    log: Log,
}

/// A publisher was removed, because it did not read changes in time, or because its unread changes exceeded the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::endpoint) struct Unread {
    pub(in crate::endpoint) limit: usize,
}

impl Cluster {
    /// Returns a cluster without subscriptions.
    pub(in crate::endpoint) fn new() -> Arc<Self> {
        Self::with_limits(Limits::DEFAULT)
    }

    fn with_limits(limits: Limits) -> Arc<Self> {
        let accounts = Accounts::new(limits.memory);
        Arc::new(Cluster {
            state: Mutex::new(State { prefixes: BTreeMap::new(), accounts, log: Log::default() }),
            end: watch::Sender::new(0),
            limits,
            follows: AtomicBool::new(false),
        })
    }

    /// Adds a subscriber.
    pub(in crate::endpoint) fn subscriber(self: &Arc<Self>, owner: Owner) -> Subscriber {
        let (account, refused) = self.state.lock().accounts.open(owner.clone());
        let subscriptions =
            Subscriptions { cluster: self.clone(), owner: Some(owner), held: BTreeSet::new() };
        Subscriber { subscriptions, account, refused }
    }

    /// Adds a publisher.
    pub(in crate::endpoint) fn publisher(self: &Arc<Self>) -> Publisher {
        let mut state = self.state.lock();
        let current: Vec<Topic> = state.prefixes.keys().cloned().collect();
        let (reader, position) = state.log.add_reader();
        let end = self.end.subscribe();
        Publisher { cluster: self.clone(), current: current.into_iter(), reader, position, end }
    }

    /// Adds this endpoint as a subscriber of `filter`. A task applies later changes of the filter. Only the first call has an effect.
    pub(in crate::endpoint) fn follow(self: &Arc<Self>, filter: impl FnOnce() -> watch::Receiver<Filter>) {
        if self.follows.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut own = Subscriptions { cluster: self.clone(), owner: None, held: BTreeSet::new() };
        let mut filter = filter();
        own.replace(&filter.borrow_and_update());
        spawn(async move {
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
    /// Adds a subscriber to a prefix. `held` are the other prefixes of the subscriber. Returns whether the prefix is new to it.
    fn subscribe(
        &mut self,
        prefix: Topic,
        held: &mut BTreeSet<Topic>,
        owner: Option<&Owner>,
        limit: usize,
    ) -> bool {
        let known = self.prefixes.get_key_value(&prefix).map(|(known, _)| known.clone());
        let prefix = known.unwrap_or(prefix);
        let is_new = held.insert(prefix.clone());
        if is_new {
            let count = self.prefixes.entry(prefix.clone()).or_default();
            *count = count.saturating_add(1);
        }
        self.log.push(SubscriptionChange::Subscribed(prefix), owner, limit);
        is_new
    }

    /// Removes a subscriber from a prefix that it held.
    fn cancel(&mut self, prefix: Topic, owner: Option<&Owner>, limit: usize) {
        let Some(count) = self.prefixes.get_mut(&prefix) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.prefixes.remove(&prefix);
            self.log.push(SubscriptionChange::Cancelled(prefix), owner, limit);
        }
    }
}

/// Returns the memory of a subscriber's prefix. The session and the cluster have a copy of the text each.
fn memory(prefix: &Topic) -> usize {
    prefix.as_bytes().len().saturating_mul(2).saturating_add(OVERHEAD)
}

/// The subscriptions of one subscriber, or of this endpoint. They are cancelled when this is dropped.
#[derive(Debug)]
struct Subscriptions {
    cluster: Arc<Cluster>,
    /// `None` for this endpoint.
    owner: Option<Owner>,
    held: BTreeSet<Topic>,
}

impl Subscriptions {
    /// Replaces all subscriptions, new ones first.
    fn replace(&mut self, filter: &Filter) {
        let new: BTreeSet<Topic> = filter.topics().iter().cloned().collect();
        let (held, owner, limit) = (&mut self.held, self.owner.as_ref(), self.cluster.limits.unread);
        self.cluster.change(|state| {
            for prefix in &new {
                if !held.contains(prefix) {
                    state.subscribe(prefix.clone(), held, owner, limit);
                }
            }
            for prefix in held.difference(&new) {
                state.cancel(prefix.clone(), owner, limit);
            }
            *held = new;
        });
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        let (held, owner) = (std::mem::take(&mut self.held), self.owner.as_ref());
        let limit = self.cluster.limits.unread;
        self.cluster.change(|state| held.into_iter().for_each(|prefix| state.cancel(prefix, owner, limit)));
    }
}

/// A subscriber. Its subscriptions are cancelled when it is dropped.
#[derive(Debug)]
pub(in crate::endpoint) struct Subscriber {
    subscriptions: Subscriptions,
    account: u64,
    /// Contains the reason once the subscriber is refused.
    refused: watch::Receiver<Option<TooLong>>,
}

impl Subscriber {
    /// Applies changes in the order in which the subscriber has sent them. The publishers receive every subscription, even if it is
    /// repeated or other subscribers have the same prefix. They receive a cancellation only if no other subscriber has the prefix.
    ///
    /// If the subscriptions need too much memory, this or another subscriber is refused; see [`Subscriber::check`]. The changes of a
    /// subscriber that is refused have no effect.
    pub(in crate::endpoint) fn apply(&mut self, changes: impl IntoIterator<Item = SubscriptionChange>) {
        let Subscriptions { cluster, owner, held } = &mut self.subscriptions;
        let (owner, limit) = (owner.as_ref(), cluster.limits.unread);
        cluster.change(|state| {
            for change in changes {
                if self.refused.borrow().is_some() {
                    return;
                }
                match change {
                    SubscriptionChange::Subscribed(prefix) => {
                        if state.subscribe(prefix.clone(), held, owner, limit) {
                            state.accounts.add(self.account, &prefix);
                        }
                    }
                    SubscriptionChange::Cancelled(prefix) if held.remove(&prefix) => {
                        state.accounts.remove(self.account, &prefix);
                        state.cancel(prefix, owner, limit);
                    }
                    SubscriptionChange::Cancelled(_) => {}
                }
            }
        });
    }

    /// Returns whether the unread changes of this subscriber's owner exceed the limit for at least one publisher. In this case, do not
    /// apply further changes, and do not read from the subscriber. Otherwise, an owner that changes its subscriptions very often could
    /// fill the log, and publishers that read more slowly would be removed. Subscribers of other owners do not wait.
    pub(in crate::endpoint) fn is_too_fast(&self) -> bool {
        let Subscriptions { cluster, owner, .. } = &self.subscriptions;
        let limit = cluster.limits.unread_of_owner;
        owner.as_ref().is_some_and(|owner| cluster.state.lock().log.has_unread(owner, limit))
    }

    /// Returns the position of the next change.
    pub(in crate::endpoint) fn position(&self) -> u64 {
        self.subscriptions.cluster.state.lock().log.end()
    }

    /// Removes the publishers that have not read all changes before this position.
    pub(in crate::endpoint) fn remove_stalled(&self, position: u64) {
        let cluster = &self.subscriptions.cluster;
        cluster.state.lock().log.remove_readers_before(position);
        // Wakes the publishers. The position is unchanged.
        cluster.end.send_modify(|_| {});
    }

    /// Checks that the subscriber was not refused.
    ///
    /// # Errors
    /// Fails if this subscriber needs too much memory. Also fails if it needs the most memory of its owner, and the subscribers of this
    /// owner, or all subscribers together, need too much.
    pub(in crate::endpoint) fn check(&self) -> Result<(), TooLong> {
        self.refused.borrow().map_or(Ok(()), Err)
    }

    /// Waits until the subscriber is refused. Cancel-safe.
    pub(in crate::endpoint) async fn refused(&mut self) {
        if self.refused.changed().await.is_err() {
            // It was refused before.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.subscriptions.cluster.state.lock().accounts.close(self.account);
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
        let change = state.log.read(self.reader).ok_or(Unread { limit: self.cluster.limits.unread })?;
        self.position = self.position.saturating_add(1);
        Ok(Some(change))
    }

    /// Checks that no unread change was removed from the log.
    ///
    /// # Errors
    /// Fails if the changes after the publisher's position exceed the limit, or if it was removed by [`Subscriber::remove_stalled`].
    pub(in crate::endpoint) fn check(&mut self) -> Result<(), Unread> {
        let is_up_to_date = *self.end.borrow_and_update() == self.position;
        let is_reading = is_up_to_date || self.cluster.state.lock().log.readers.contains_key(&self.reader);
        if is_reading { Ok(()) } else { Err(Unread { limit: self.cluster.limits.unread }) }
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
