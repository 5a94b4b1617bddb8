//! The memory of the subscriptions of a cluster, for each subscriber and for its owner.

use std::collections::HashMap;

use tokio::sync::watch;

use super::memory;
use crate::data::Topic;
use crate::endpoint::limits::Owner;

/// The maximum memory of subscriptions in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) subscriber: usize,
    pub(super) owner: usize,
    pub(super) total: usize,
}

/// A subscriber was refused, because its subscriptions need too much memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::endpoint) struct TooLong {
    pub(in crate::endpoint) limit: usize,
    /// The subscriptions to which the limit applies.
    pub(in crate::endpoint) subject: &'static str,
}

/// The accounts of all subscribers except those that were refused.
#[derive(Debug)]
pub(super) struct Accounts {
    limits: Limits,
    accounts: HashMap<u64, Account>,
    owners: HashMap<Owner, usize>,
    total: usize,
    next_id: u64,
}

#[derive(Debug)]
struct Account {
    owner: Owner,
    bytes: usize,
    refused: watch::Sender<Option<TooLong>>,
}

impl Accounts {
    pub(super) fn new(limits: Limits) -> Self {
        Accounts { limits, accounts: HashMap::new(), owners: HashMap::new(), total: 0, next_id: 0 }
    }

    /// Opens an account. Returns its id, and a channel that receives a value when the subscriber is refused.
    pub(super) fn open(&mut self, owner: Owner) -> (u64, watch::Receiver<Option<TooLong>>) {
        let id = self.next_id;
        self.next_id = id.saturating_add(1);
        let (refused, receiver) = watch::channel(None);
        self.accounts.insert(id, Account { owner, bytes: 0, refused });
        (id, receiver)
    }

    /// Closes an account.
    pub(super) fn close(&mut self, id: u64) {
        let Some(Account { owner, bytes, .. }) = self.accounts.remove(&id) else { return };
        self.subtract(&owner, bytes);
    }

    /// Records that a subscriber has one more prefix. If the limit of a subscriber is now exceeded, refuses this subscriber. If the
    /// limit of an owner is exceeded, refuses the largest subscribers of this owner. If the limit of all subscribers is exceeded,
    /// refuses the largest subscribers of the largest owner. So a subscriber that needs little memory is not refused, regardless
    /// of the order of the connections.
    pub(super) fn add(&mut self, id: u64, prefix: &Topic) {
        let Some(account) = self.accounts.get_mut(&id) else { return };
        let bytes = memory(prefix);
        account.bytes = account.bytes.saturating_add(bytes);
        let (owner, of_subscriber) = (account.owner.clone(), account.bytes);
        let of_owner = self.owners.entry(owner.clone()).or_default();
        *of_owner = of_owner.saturating_add(bytes);
        self.total = self.total.saturating_add(bytes);

        let Limits { subscriber, owner: limit_of_owner, total } = self.limits;
        if of_subscriber > subscriber {
            self.refuse(id, TooLong { limit: subscriber, subject: "this subscriber" });
        }
        let too_long =
            TooLong { limit: limit_of_owner, subject: "all subscribers with this identity or on this host" };
        while self.owners.get(&owner).is_some_and(|bytes| *bytes > limit_of_owner)
            && self.refuse_largest_of(&owner, too_long)
        {}
        let too_long = TooLong { limit: total, subject: "all subscribers" };
        while self.total > total {
            let largest = self.owners.iter().max_by_key(|(_, bytes)| **bytes).map(|(owner, _)| owner.clone());
            if !largest.is_some_and(|owner| self.refuse_largest_of(&owner, too_long)) {
                break;
            }
        }
    }

    /// Records that a subscriber has one prefix less.
    pub(super) fn remove(&mut self, id: u64, prefix: &Topic) {
        let Some(account) = self.accounts.get_mut(&id) else { return };
        let bytes = memory(prefix);
        account.bytes = account.bytes.saturating_sub(bytes);
        let owner = account.owner.clone();
        self.subtract(&owner, bytes);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.total == 0 && self.owners.is_empty()
    }

    fn subtract(&mut self, owner: &Owner, bytes: usize) {
        self.total = self.total.saturating_sub(bytes);
        if let Some(of_owner) = self.owners.get_mut(owner) {
            *of_owner = of_owner.saturating_sub(bytes);
            if *of_owner == 0 {
                self.owners.remove(owner);
            }
        }
    }

    /// Refuses the subscriber of this owner that needs the most. Returns `false` if there is none. All accounts are searched, but only
    /// once for each connection that is then closed.
    fn refuse_largest_of(&mut self, owner: &Owner, too_long: TooLong) -> bool {
        let of_owner = self.accounts.iter().filter(|(_, account)| account.owner == *owner);
        let Some(id) = of_owner.max_by_key(|(_, account)| account.bytes).map(|(id, _)| *id) else {
            return false;
        };
        self.refuse(id, too_long);
        true
    }

    /// Closes the account of a subscriber, and notifies it. Its memory does not count any more, so that only as many subscribers
    /// as necessary are refused.
    fn refuse(&mut self, id: u64, too_long: TooLong) {
        let Some(Account { owner, bytes, refused }) = self.accounts.remove(&id) else { return };
        refused.send_replace(Some(too_long));
        self.subtract(&owner, bytes);
    }
}
