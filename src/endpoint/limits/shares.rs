//! Entries counted per owner.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::Owner;

/// Entries by owner, in the order of their arrival for each owner. Finds the owners with the most entries without a
/// scan.
#[derive(Debug)]
pub(super) struct Shares<T> {
    entries: HashMap<Owner, VecDeque<(u64, T)>>,
    /// The owners by their number of entries.
    by_count: BTreeMap<usize, HashSet<Owner>>,
    total: usize,
    next_id: u64,
}

impl<T> Default for Shares<T> {
    fn default() -> Self {
        Shares { entries: HashMap::new(), by_count: BTreeMap::new(), total: 0, next_id: 0 }
    }
}

impl<T> Shares<T> {
    pub(super) fn total(&self) -> usize {
        self.total
    }

    pub(super) fn count(&self, owner: &Owner) -> usize {
        self.entries.get(owner).map_or(0, VecDeque::len)
    }

    /// Adds an entry, and returns its id.
    pub(super) fn insert(&mut self, owner: &Owner, entry: T) -> u64 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.change(owner, |entries| entries.push_back((id, entry)));
        id
    }

    pub(super) fn remove(&mut self, owner: &Owner, id: u64) -> Option<T> {
        self.change(owner, |entries| {
            let at = entries.iter().position(|(other, _)| *other == id)?;
            entries.remove(at).map(|(_, entry)| entry)
        })
    }

    pub(super) fn pop_newest(&mut self, owner: &Owner) -> Option<T> {
        self.change(owner, |entries| entries.pop_back().map(|(_, entry)| entry))
    }

    pub(super) fn pop_oldest(&mut self, owner: &Owner) -> Option<(u64, T)> {
        self.change(owner, VecDeque::pop_front)
    }

    /// Returns the entries of an owner, oldest first.
    pub(super) fn of_mut(&mut self, owner: &Owner) -> impl Iterator<Item = &mut T> {
        self.entries.get_mut(owner).into_iter().flatten().map(|(_, entry)| entry)
    }

    pub(super) fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.entries.keys()
    }

    /// Returns the owner that must lose an entry to make room for a new entry of `owner`. This is the owner with the most
    /// entries. Returns `None` if that owner would then have fewer entries than `owner`. So every owner can reach an equal
    /// share, and owners with equal shares do not displace each other in turns.
    pub(super) fn exceeds(&self, owner: &Owner) -> Option<Owner> {
        let (most, owners) = self.by_count.last_key_value()?;
        let enough = self.count(owner).saturating_add(1);
        if *most > enough { owners.iter().next().cloned() } else { None }
    }

    /// Returns the largest number of entries of an owner.
    pub(super) fn largest(&self) -> usize {
        self.by_count.last_key_value().map_or(0, |(count, _)| *count)
    }

    /// Changes the entries of an owner, and updates the counts.
    fn change<R>(&mut self, owner: &Owner, change: impl FnOnce(&mut VecDeque<(u64, T)>) -> R) -> R {
        let entries = self.entries.entry(owner.clone()).or_default();
        let before = entries.len();
        let result = change(entries);
        let after = entries.len();
        if after == 0 {
            self.entries.remove(owner);
        }
        if before != after {
            self.total = self.total.saturating_sub(before).saturating_add(after);
            if let Some(owners) = self.by_count.get_mut(&before) {
                owners.remove(owner);
                if owners.is_empty() {
                    self.by_count.remove(&before);
                }
            }
            if after > 0 {
                self.by_count.entry(after).or_default().insert(owner.clone());
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(n: u8) -> Owner {
        Owner::Host([192, 0, 2, n].into())
    }

    #[test]
    fn every_owner_reaches_an_equal_share() {
        let mut shares = Shares::default();
        // The first owner has all entries.
        (0..9).for_each(|n| _ = shares.insert(&owner(1), n));
        for newcomer in [2, 3, 2, 3, 2, 3] {
            let victim = shares.exceeds(&owner(newcomer)).unwrap();
            assert_eq!(victim, owner(1));
            shares.pop_newest(&victim).unwrap();
            shares.insert(&owner(newcomer), 0);
        }
        for n in [1, 2, 3] {
            assert_eq!((shares.count(&owner(n)), shares.exceeds(&owner(n))), (3, None));
        }
        // A fourth owner gets one entry. Afterwards, the owners have 2, 3, 3 and 1.
        let victim = shares.exceeds(&owner(4)).unwrap();
        shares.pop_newest(&victim).unwrap();
        shares.insert(&owner(4), 0);
        assert_eq!((shares.total(), shares.largest(), shares.owners().count()), (9, 3, 4));
    }

    #[test]
    fn an_owner_without_entries_is_removed() {
        let mut shares = Shares::default();
        let id = shares.insert(&owner(1), "a");
        shares.insert(&owner(1), "b");
        assert_eq!(shares.remove(&owner(1), id), Some("a"));
        assert_eq!(shares.remove(&owner(1), id), None);
        assert_eq!(shares.pop_oldest(&owner(1)), Some((1, "b")));
        assert_eq!(shares.remove(&owner(2), 7), None);
        assert!(shares.entries.is_empty() && shares.by_count.is_empty() && shares.total() == 0);
    }
}
