//! The names of nodes that were live recently.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::limits::{Bounds, shrink};
use crate::bridge::LinkId;

/// The memory of an entry in bytes, without the text of the name: table entries and allocations.
const GONE_COST: usize = 256;

#[derive(Debug)]
struct Gone {
    name: Arc<str>,
    /// The link of the node.
    link: LinkId,
    /// The links to which rules allowed its hello to be forwarded.
    links: Vec<LinkId>,
    until: Instant,
}

impl Gone {
    fn bytes(&self) -> usize {
        let links = self.links.capacity().saturating_mul(size_of::<LinkId>());
        GONE_COST.saturating_add(self.name.len()).saturating_add(links)
    }
}

#[derive(Debug, Default)]
pub(super) struct GoneNames {
    by_name: HashMap<Arc<str>, u64>,
    /// The names, in the order in which their nodes disconnected.
    by_age: BTreeMap<u64, Gone>,
    bytes: usize,
    next: u64,
}

impl GoneNames {
    /// Adds a name. If a limit is exceeded, the names that were added first are removed.
    pub(super) fn insert(
        &mut self,
        name: Arc<str>,
        link: LinkId,
        links: Vec<LinkId>,
        until: Instant,
        bounds: &Bounds,
    ) {
        self.remove(&name);
        let age = self.next;
        self.next = age.saturating_add(1);
        let gone = Gone { name: name.clone(), link, links, until };
        self.bytes = self.bytes.saturating_add(gone.bytes());
        self.by_age.insert(age, gone);
        self.by_name.insert(name, age);
        while self.by_name.len() > bounds.gone || self.bytes > bounds.gone_bytes {
            self.pop();
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Some(age) = self.by_name.remove(name)
            && let Some(gone) = self.by_age.remove(&age)
        {
            self.bytes = self.bytes.saturating_sub(gone.bytes());
        }
    }

    /// Returns the stored name, the link of the node, and the links to which rules allowed its hello to be forwarded.
    pub(super) fn get(&self, name: &str) -> Option<(&Arc<str>, LinkId, &[LinkId])> {
        self.by_age.get(self.by_name.get(name)?).map(|gone| (&gone.name, gone.link, &*gone.links))
    }

    /// Returns the same data as [`GoneNames::get`] for all names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, LinkId, &[LinkId])> {
        self.by_age.values().map(|gone| (&gone.name, gone.link, &*gone.links))
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.by_age.first_key_value().map(|(_, gone)| gone.until)
    }

    pub(super) fn expire(&mut self, now: Instant) {
        while self.next_expiry().is_some_and(|until| until <= now) {
            self.pop();
        }
    }

    pub(super) fn shrink(&mut self) {
        shrink(&mut self.by_name);
    }

    fn pop(&mut self) {
        if let Some((_, gone)) = self.by_age.pop_first() {
            self.bytes = self.bytes.saturating_sub(gone.bytes());
            self.by_name.remove(&gone.name);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.by_name.len(), self.by_age.len());
        assert_eq!(self.bytes, self.by_age.values().map(Gone::bytes).sum::<usize>());
        self.by_name.len()
    }
}
