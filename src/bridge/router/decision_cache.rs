//! A cache of the rules' decisions on the latest classes of events from one peer.

use super::links::Target;
use crate::bridge::policy::EventClass;
use crate::wire::{Envelope, Limits};

/// The maximum number of classes.
const CLASSES: usize = 4;

/// The maximum number of links to which events of a class go. With more links, rules are a small part of the work.
const LINKS: usize = 2;

/// The latest classes of events that rules allow, each with the links that receive them. So the rules are evaluated once for many
/// events, and no memory is allocated.
#[derive(Debug, Default)]
pub(super) struct DecisionCache {
    classes: [Option<Class>; CLASSES],
    /// The index of the oldest class, which is replaced next.
    next: usize,
}

/// The position of a class in the cache. Valid until a class is added.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClassIndex(usize);

#[derive(Debug)]
struct Class {
    events: EventClass,
    to: [Option<Target>; LINKS],
}

impl DecisionCache {
    /// If a message is a valid event of a known class, adds the links that receive it to `to`, and returns the class and the name of
    /// the event.
    pub(super) fn find<'a>(
        &self,
        envelope: &'a Envelope,
        limits: &Limits,
        to: &mut Vec<Target>,
    ) -> Option<(ClassIndex, &'a [u8])> {
        let (index, class) = self.class_of(envelope)?;
        let name = class.events.name_of(envelope, limits)?;
        to.extend(class.to.into_iter().flatten());
        Some((index, name))
    }

    /// Returns the events of a class that [`DecisionCache::find`] has returned.
    pub(super) fn events(&self, ClassIndex(index): ClassIndex) -> Option<&EventClass> {
        self.classes.get(index)?.as_ref().map(|class| &class.events)
    }

    /// Adds the class of an allowed event that is received by the links `to`.
    pub(super) fn add(&mut self, envelope: &Envelope, to: &[Target]) {
        if to.len() > LINKS || self.class_of(envelope).is_some() {
            return;
        }
        let mut targets = [None; LINKS];
        for (slot, target) in targets.iter_mut().zip(to) {
            *slot = Some(*target);
        }
        if let Some(slot) = self.classes.get_mut(self.next)
            && let Some(events) = EventClass::of(envelope)
        {
            *slot = Some(Class { events, to: targets });
            self.next = self.next.saturating_add(1) % CLASSES;
        }
    }

    fn class_of(&self, envelope: &Envelope) -> Option<(ClassIndex, &Class)> {
        let classes = self.classes.iter().enumerate();
        let mut known = classes.filter_map(|(index, class)| Some((ClassIndex(index), class.as_ref()?)));
        known.find(|(_, class)| class.events.may_contain(envelope))
    }
}
