//! The messages from other bridges that were forwarded recently. They are remembered so that no link receives a message
//! twice.
//!
//! A message is identified by its id *and* a keyed hash of its content, and is remembered for each link that it was
//! forwarded to. So a copy is dropped only for links that received the same bytes:
//!
//! - A peer that forges ids cannot suppress the messages of other peers.
//! - If rules allow a copy to reach more links than the first copy, it is forwarded to these additional links.
//!
//! A copy with a higher ttl than all previous copies is forwarded to bridges again. The ttl of the previous copies may
//! have run out before they reached all receivers. The receiving bridges deliver the message only once to peers that
//! are not bridges.
//!
//! If a bridge sends very many messages, the messages of other bridges are remembered for a shorter time. A copy that
//! arrives after this time is forwarded again. The ttl limits how often this can happen.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use crate::bridge::LinkId;
use crate::bridge::router::origin::MessageId;
use crate::wire::Envelope;

/// Minimum number of pairs of a message and a link that are remembered; the maximum is twice this number. All messages
/// that are buffered on the path of a copy can arrive between the first copy and a later one: for each hop, a queue of
/// 2048 messages, and a few megabytes in sockets. A hash table of this size has 131,072 slots of 41 bytes, so both
/// tables need at most 11 MiB. They need no memory if there are no other bridges.
const REMEMBERED: usize = 65_536;

/// The recently forwarded messages.
#[derive(Debug, Default)]
pub(in crate::bridge) struct Delivered {
    /// The highest ttl with which each message was forwarded to each link.
    recent: HashMap<Key, u16>,
    /// The messages that were forwarded before those in `recent`.
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

/// The peers of a link that need a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bridge) enum Need {
    /// All peers: none has received the message.
    All,
    /// Only bridges: the copy has a higher ttl than the previous ones, so bridges can forward it over more hops.
    Hops,
    /// No peer.
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

    /// Records that a message is forwarded to a link with this ttl. Returns the peers of the link that need the message.
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
    fn a_link_receives_each_message_once() {
        let (mut delivered, origin) = (Delivered::default(), Origin::random().unwrap());
        let message = delivered.fingerprint(origin.next_id(), &envelope(1));
        assert_eq!(delivered.record(message, LinkId(1), 3), Need::All);
        assert_eq!(delivered.record(message, LinkId(1), 3), Need::Nothing);
        assert_eq!(delivered.record(message, LinkId(1), 2), Need::Nothing);
        assert_eq!(delivered.record(message, LinkId(2), 2), Need::All, "another link");
        assert_eq!(delivered.record(message, LinkId(1), 4), Need::Hops);
        assert_eq!(delivered.record(message, LinkId(1), 4), Need::Nothing);
        let same_again = delivered.fingerprint(origin.next_id(), &envelope(1));
        assert_eq!(
            delivered.record(same_again, LinkId(1), 3),
            Need::All,
            "the same content with another id is another message"
        );
    }

    #[test]
    fn a_forged_id_does_not_suppress_other_messages() {
        let (mut delivered, origin) = (Delivered::default(), Origin::random().unwrap());
        let id = origin.next_id();
        let forged = delivered.fingerprint(id, &envelope(2));
        assert_eq!(delivered.record(forged, LinkId(1), 3), Need::All);
        let other = delivered.fingerprint(id, &Envelope { topic: Topic::from_static("/u"), ..envelope(1) });
        assert_eq!(delivered.record(other, LinkId(1), 3), Need::All);
        let receiver = EndpointId::from_bytes([1; 16]);
        let to_one = delivered.fingerprint(id, &Envelope { receiver, ..envelope(1) });
        assert_eq!(delivered.record(to_one, LinkId(1), 3), Need::All);
        let message = delivered.fingerprint(id, &envelope(1));
        assert_eq!(delivered.record(message, LinkId(1), 3), Need::All);
        // Two messages with the same sequence of bytes, which is divided differently between topic and payload.
        let [one, other] = [("/t", "/u"), ("/t/", "u")].map(|(topic, payload)| {
            let (topic, payload) = (Topic::from_static(topic), payload.into());
            delivered.fingerprint(id, &Envelope { topic, payload, ..envelope(1) })
        });
        assert_ne!(one, other);
    }

    #[test]
    fn the_number_of_remembered_messages_is_bounded() {
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
