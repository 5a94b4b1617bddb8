//! The decisions of the rules on the latest kinds of events from one peer.

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
pub(super) struct Decided {
    classes: [Option<Class>; CLASSES],
    /// The place of the next class, which replaces the oldest one.
    next: usize,
}

#[derive(Debug)]
struct Class {
    events: EventClass,
    to: [Option<Target>; LINKS],
}

impl Decided {
    /// If a message is a valid event of a known class, adds the links that receive it to `to`, and returns the name of the event.
    pub(super) fn find<'a>(
        &self,
        envelope: &'a Envelope,
        limits: &Limits,
        to: &mut Vec<Target>,
    ) -> Option<&'a [u8]> {
        let found = |class: &Class| Some((class.events.name_of(envelope, limits)?, class.to));
        let (name, targets) = self.classes.iter().flatten().find_map(found)?;
        to.extend(targets.into_iter().flatten());
        Some(name)
    }

    /// Adds the class of an allowed event that is received by the links `to`.
    pub(super) fn add(&mut self, envelope: &Envelope, to: &[Target]) {
        let mut targets = [None; LINKS];
        for (place, target) in targets.iter_mut().zip(to) {
            *place = Some(*target);
        }
        if let Some(class) = self.classes.get_mut(self.next)
            && to.len() <= LINKS
            && let Some(events) = EventClass::of(envelope)
        {
            *class = Some(Class { events, to: targets });
            self.next = self.next.saturating_add(1) % CLASSES;
        }
    }
}
