//! The names that were live a while ago.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

#[derive(Debug)]
struct Gone {
    name: Arc<str>,
    /// The link that it was behind.
    link: usize,
    until: Instant,
}

#[derive(Debug, Default)]
pub(super) struct GoneNames {
    by_name: HashMap<Arc<str>, u64>,
    /// In the order in which they went, with when they are forgotten.
    by_age: BTreeMap<u64, Gone>,
    next: u64,
}

impl GoneNames {
    /// Remembers a name. Beyond `most`, the one that has been gone longest is forgotten.
    pub(super) fn insert(&mut self, name: Arc<str>, link: usize, until: Instant, most: usize) {
        self.remove(&name);
        let age = self.next;
        self.next = age.saturating_add(1);
        self.by_age.insert(age, Gone { name: name.clone(), link, until });
        self.by_name.insert(name, age);
        while self.by_name.len() > most {
            self.pop();
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Some(age) = self.by_name.remove(name) {
            self.by_age.remove(&age);
        }
    }

    /// The name, as it is remembered, with the link that it was behind.
    pub(super) fn get(&self, name: &str) -> Option<(&Arc<str>, usize)> {
        self.by_age.get(self.by_name.get(name)?).map(|gone| (&gone.name, gone.link))
    }

    /// All of them, each with the link that it was behind.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, usize)> {
        self.by_age.values().map(|gone| (&gone.name, gone.link))
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.by_age.first_key_value().map(|(_, gone)| gone.until)
    }

    pub(super) fn expire(&mut self, now: Instant) {
        while self.next_expiry().is_some_and(|until| until <= now) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((_, gone)) = self.by_age.pop_first() {
            self.by_name.remove(&gone.name);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.by_name.len(), self.by_age.len());
        self.by_name.len()
    }
}
