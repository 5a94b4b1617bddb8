//! The messages of other bridges that were forwarded recently, so that no link gets one twice.
//!
//! A message is known by its id *and* a keyed hash of its content, and remembered for each link that it was forwarded to.
//! So a copy is dropped only where the same bytes went already. A peer that forges ids cannot keep anybody else's
//! message from a link, and a copy that rules let go further than the first one still goes there.
//!
//! A copy that has more hops left than all before it goes to bridges again, because the others may have died out on the
//! way to somebody. The bridges there deliver it to nobody twice.
//!
//! A bridge that sends very many messages shortens the time for which those of others are remembered. A copy that is late by
//! more is forwarded again; the ttl bounds how often.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use crate::bridge::LinkId;
use crate::bridge::router::origin::MessageId;
use crate::wire::Envelope;

/// How many pairs of a message and a link are remembered at least; at most twice as many are. A copy can be late by what is
/// buffered on its way: a queue of 2048 messages and some megabytes in sockets, for each hop. A hash table for so many has
/// 131,072 places of 41 bytes, so that both take 11 MiB at most, and nothing without other bridges.
const REMEMBERED: usize = 65_536;

/// What was forwarded recently.
#[derive(Debug, Default)]
pub(in crate::bridge) struct Delivered {
    /// The ttl with which each was forwarded.
    recent: HashMap<Key, u16>,
    /// From the time before `recent` was begun.
    former: HashMap<Key, u16>,
    hash: RandomState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    message: Fingerprint,
    link: LinkId,
}

/// A message and its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::bridge) struct Fingerprint {
    id: MessageId,
    content: u64,
}

/// What a link needs of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bridge) enum Need {
    /// It has none yet.
    All,
    /// It has one, and bridges there can use one with more hops left.
    Hops,
    /// Nothing.
    Nothing,
}

impl Delivered {
    pub(in crate::bridge) fn fingerprint(&self, id: MessageId, envelope: &Envelope) -> Fingerprint {
        let mut hasher = self.hash.build_hasher();
        hasher.write(envelope.receiver.as_bytes());
        hasher.write_usize(envelope.topic.as_bytes().len());
        hasher.write(envelope.topic.as_bytes());
        hasher.write(&envelope.payload);
        Fingerprint { id, content: hasher.finish() }
    }

    /// Records that a message is forwarded to the link in this slot with this ttl, and returns how far it has to be.
    pub(in crate::bridge) fn record(&mut self, message: Fingerprint, link: LinkId, ttl: u16) -> Need {
        let key = Key { message, link };
        let before = self.recent.get_mut(&key).or_else(|| self.former.get_mut(&key));
        match before {
            Some(before) if *before >= ttl => Need::Nothing,
            Some(before) => {
                *before = ttl;
                Need::Hops
            }
            None => {
                if self.recent.len() >= REMEMBERED {
                    self.former = std::mem::take(&mut self.recent);
                }
                self.recent.insert(key, ttl);
                Need::All
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::router::origin::Origin;
    use crate::data::{EndpointId, Topic, Value};

    fn envelope(number: u64) -> Envelope {
        Envelope::data(EndpointId::NIL, Topic::from_static("/t"), &Value::Count(number)).unwrap()
    }

    #[test]
    fn a_link_needs_a_message_once() {
        let (mut delivered, origin) = (Delivered::default(), Origin::random().unwrap());
        let message = delivered.fingerprint(origin.next_id(), &envelope(1));
        assert_eq!(delivered.record(message, LinkId(1), 3), Need::All);
        assert_eq!(delivered.record(message, LinkId(1), 3), Need::Nothing);
        assert_eq!(delivered.record(message, LinkId(1), 2), Need::Nothing);
        assert_eq!(delivered.record(message, LinkId(2), 2), Need::All, "another link");
        assert_eq!(delivered.record(message, LinkId(1), 4), Need::Hops);
        assert_eq!(delivered.record(message, LinkId(1), 4), Need::Nothing);
        let same_again = delivered.fingerprint(origin.next_id(), &envelope(1));
        assert_eq!(delivered.record(same_again, LinkId(1), 3), Need::All, "a message like it is another one");
    }

    #[test]
    fn a_forged_id_keeps_nothing_from_anybody() {
        let (mut delivered, origin) = (Delivered::default(), Origin::random().unwrap());
        let id = origin.next_id();
        let forged = delivered.fingerprint(id, &envelope(2));
        assert_eq!(delivered.record(forged, LinkId(1), 3), Need::All);
        let other = delivered.fingerprint(id, &Envelope { topic: Topic::from_static("/u"), ..envelope(1) });
        assert_eq!(delivered.record(other, LinkId(1), 3), Need::All);
        let message = delivered.fingerprint(id, &envelope(1));
        assert_eq!(delivered.record(message, LinkId(1), 3), Need::All);
    }

    #[test]
    fn it_remembers_enough_and_no_more() {
        let (mut delivered, origin) = (Delivered::default(), Origin::random().unwrap());
        let messages: Vec<_> =
            (0..3 * REMEMBERED).map(|_| Fingerprint { id: origin.next_id(), content: 0 }).collect();
        for (number, message) in messages.iter().enumerate() {
            assert_eq!(delivered.record(*message, LinkId(0), 1), Need::All);
            assert!(delivered.recent.len() <= REMEMBERED && delivered.former.len() <= REMEMBERED);
            if let Some(late) = number.checked_sub(REMEMBERED - 1) {
                assert_eq!(delivered.record(messages[late], LinkId(0), 1), Need::Nothing);
            }
        }
    }
}
