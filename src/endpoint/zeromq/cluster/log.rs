//! The log of the changes of a cluster's subscriptions.

use std::collections::{HashMap, VecDeque};

use crate::endpoint::limits::Owner;
use crate::zeromq::SubscriptionChange;

/// The memory of a change in the log, in addition to the text of its prefix.
pub(super) const OVERHEAD: usize = 128;

/// Below this length in bytes, changes that all publishers have read are not removed from the log.
pub(super) const MIN_LOG: usize = 16 * 1024;

/// The changes that at least one publisher has not read.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// The changes, each with the owner of the subscriber that has caused it. `None` for this endpoint.
    changes: VecDeque<(SubscriptionChange, Option<Owner>)>,
    /// The position of the first one.
    first: u64,
    pub(super) bytes: usize,
    /// The part of `bytes` that each owner has caused.
    by_owner: HashMap<Owner, usize>,
    /// The length in bytes from which read changes are removed. It is twice the length after the last removal, so that the work for
    /// each change is constant on average.
    trim_at: usize,
    /// The positions of the publishers.
    pub(super) readers: HashMap<u64, u64>,
    next_reader: u64,
}

impl Log {
    pub(super) fn end(&self) -> u64 {
        self.first.saturating_add(u64::try_from(self.changes.len()).unwrap_or(u64::MAX))
    }

    /// Returns the id and the position of a new reader, which reads the later changes.
    pub(super) fn add_reader(&mut self) -> (u64, u64) {
        let (reader, position) = (self.next_reader, self.end());
        self.next_reader = reader.saturating_add(1);
        self.readers.insert(reader, position);
        (reader, position)
    }

    /// Returns the next change of a reader. `None` if the reader was removed, or is at the end.
    pub(super) fn read(&mut self, reader: u64) -> Option<SubscriptionChange> {
        let position = self.readers.get_mut(&reader)?;
        let index = usize::try_from(position.checked_sub(self.first)?).ok()?;
        let (change, _) = self.changes.get(index)?.clone();
        *position = position.saturating_add(1);
        Some(change)
    }

    /// Appends a change. If the log exceeds `limit`, removes its first changes, and the readers that have not read them.
    pub(super) fn push(&mut self, change: SubscriptionChange, owner: Option<&Owner>, limit: usize) {
        let length = memory_of(&change);
        self.bytes = self.bytes.saturating_add(length);
        if let Some(owner) = owner {
            match self.by_owner.get_mut(owner) {
                Some(bytes) => *bytes = bytes.saturating_add(length),
                None => _ = self.by_owner.insert(owner.clone(), length),
            }
        }
        self.changes.push_back((change, owner.cloned()));
        if self.bytes <= self.trim_at.min(limit) {
            return;
        }
        self.remove_read();
        if self.bytes > limit {
            while self.bytes > limit && self.remove_first() {}
            self.remove_readers_before(self.first);
        }
        self.trim_at = self.bytes.saturating_mul(2).max(MIN_LOG);
        self.changes.shrink_to(self.changes.len().saturating_mul(2));
    }

    /// Returns whether more than `limit` bytes of the changes that this owner has caused are unread.
    pub(super) fn has_unread(&mut self, owner: &Owner, limit: usize) -> bool {
        let exceeds = |log: &Log| log.by_owner.get(owner).is_some_and(|bytes| *bytes > limit);
        if !exceeds(self) {
            return false;
        }
        // The log may still contain changes that all readers have read.
        self.remove_read();
        exceeds(self)
    }

    /// Removes the readers that have not read all changes before this position.
    pub(super) fn remove_readers_before(&mut self, position: u64) {
        self.readers.retain(|_, reader| *reader >= position);
    }

    /// Removes the changes that all readers have read.
    fn remove_read(&mut self) {
        let slowest = self.readers.values().copied().min().unwrap_or(u64::MAX);
        while self.first < slowest && self.remove_first() {}
    }

    fn remove_first(&mut self) -> bool {
        let Some((change, owner)) = self.changes.pop_front() else { return false };
        let length = memory_of(&change);
        self.bytes = self.bytes.saturating_sub(length);
        if let Some(owner) = &owner
            && let Some(bytes) = self.by_owner.get_mut(owner)
        {
            *bytes = bytes.saturating_sub(length);
            if *bytes == 0 {
                self.by_owner.remove(owner);
            }
        }
        self.first = self.first.saturating_add(1);
        true
    }
}

fn memory_of(change: &SubscriptionChange) -> usize {
    let (SubscriptionChange::Subscribed(prefix) | SubscriptionChange::Cancelled(prefix)) = change;
    prefix.as_bytes().len().saturating_add(OVERHEAD)
}
