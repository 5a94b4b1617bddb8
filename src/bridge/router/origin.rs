//! The ids by which bridges recognize each other and each other's messages.
//!
//! The protocol has no field for the id of a message in envelopes, and none for the name of a bridge in handshakes. So
//! bridges store these values in two existing ids of 16 opaque bytes. All other endpoints only compare these bytes, so
//! Zeek is not affected:
//!
//! | id | bytes | content |
//! | --- | --- | --- |
//! | endpoint id of a link | 0 to 3 | `ZBRG` |
//! | | 4 to 7 | the link's slot; the first four bits of byte 6 are the UUID version (4) |
//! | | 8 to 15 | the instance: random, the same for all links of one bridge, and new at each start |
//! | sender of a data or command envelope from bridge to bridge | 0 to 7 | the instance of the bridge that received the message first |
//! | | 8 to 15 | a number that cannot be predicted, and that this bridge does not use again for a long time |
//!
//! In Broker, the sender of an envelope is the last hop, which its receiver knows anyway. A peer that falsely claims to
//! be a bridge has no advantage: see [`crate::bridge::router::delivered`].

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::bridge::LinkId;
use crate::data::EndpointId;

const MAGIC: u128 = 0x5A42_5247;
/// The UUID version. It must be 1 to 5. For peers with any other version, Broker's C++ implementation reports no
/// status, so a Zeek node sends no hello. Version 4 is for random ids, in which all remaining bits may have any value.
const VERSION: u128 = 4;
/// The variant of a UUID, which is the two highest bits of an instance.
const VARIANT: u64 = 0b10;

/// One run of one bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::bridge) struct Instance(u64);

/// A message on its way through all bridges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::bridge) struct MessageId {
    /// The bridge that received the message first.
    pub(in crate::bridge) origin: Instance,
    number: u64,
}

/// Creates the ids of one bridge: the endpoint ids of its links, and the ids of the messages that it receives first.
#[derive(Debug)]
pub(in crate::bridge) struct Origin {
    instance: Instance,
    next: AtomicU64,
    /// The key of the hash that creates message numbers.
    key: RandomState,
}

impl Instance {
    /// Returns the bridge that has this endpoint id on one of its links. `None` if the id is not the id of a bridge.
    pub(in crate::bridge) fn of(id: EndpointId) -> Option<Self> {
        let (high, low) = halves(id);
        let is_bridge = u128::from(high >> 32) == MAGIC && u128::from((high >> 12) & 0xf) == VERSION;
        is_bridge.then(|| Self::from_bits(low)).flatten()
    }

    fn from_bits(bits: u64) -> Option<Self> {
        (bits >> 62 == VARIANT).then_some(Instance(bits))
    }
}

impl MessageId {
    /// Returns the message id in the sender field of an envelope from a bridge.
    pub(in crate::bridge) fn of(sender: EndpointId) -> Option<Self> {
        let (high, number) = halves(sender);
        Some(MessageId { origin: Instance::from_bits(high)?, number })
    }

    /// Returns the sender field for an envelope with this message id.
    pub(in crate::bridge) fn as_sender(self) -> EndpointId {
        joined(self.origin.0, self.number)
    }
}

impl Origin {
    /// Returns a new instance.
    ///
    /// # Errors
    /// Fails if the operating system provides no random bytes.
    pub(in crate::bridge) fn random() -> io::Result<Self> {
        // A random endpoint id is a UUID of the same variant.
        let (_, instance) = halves(EndpointId::random()?);
        Ok(Origin { instance: Instance(instance), next: AtomicU64::new(0), key: RandomState::new() })
    }

    /// Returns the endpoint id of a link. Two links have the same id only if their slots differ by a multiple of 2^28, which would
    /// need an impossible number of reloads.
    pub(in crate::bridge) fn link_id(&self, link: LinkId) -> EndpointId {
        let slot = u128::try_from(link.0).unwrap_or_default();
        let high = (MAGIC << 32) | (((slot >> 12) & 0xffff) << 16) | (VERSION << 12) | (slot & 0xfff);
        joined(u64::try_from(high).unwrap_or_default(), self.instance.0)
    }

    /// Returns whether this is the endpoint id of another bridge. If a bridge is connected to itself, it treats itself
    /// like an endpoint that is not a bridge, and messages circulate until their ttl is used up.
    pub(in crate::bridge) fn is_other_bridge(&self, id: EndpointId) -> bool {
        Instance::of(id).is_some_and(|instance| instance != self.instance)
    }

    /// Returns whether this is the endpoint id of a link of this bridge.
    pub(in crate::bridge) fn is_own_link(&self, id: EndpointId) -> bool {
        Instance::of(id) == Some(self.instance)
    }

    /// Returns whether this bridge received a message first.
    pub(in crate::bridge) fn is_ours(&self, id: MessageId) -> bool {
        id.origin == self.instance
    }

    /// Returns an id for a message that was not received from a bridge. The number is a keyed hash of a counter, so
    /// that no peer can predict it. A peer that knew the next id could send the same content with this id first, and
    /// the bridges would drop the actual message as a copy.
    pub(in crate::bridge) fn next_id(&self) -> MessageId {
        MessageId {
            origin: self.instance,
            number: self.key.hash_one(self.next.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

/// Returns whether this is the endpoint id of a link of a bridge.
pub(in crate::bridge) fn is_bridge(id: EndpointId) -> bool {
    Instance::of(id).is_some()
}

/// Returns whether two peers are links of the same bridge.
pub(in crate::bridge) fn same_bridge(one: EndpointId, other: EndpointId) -> bool {
    Instance::of(one).is_some_and(|instance| Instance::of(other) == Some(instance))
}

/// Returns whether two peers are the same endpoint, or links of the same bridge.
pub(in crate::bridge) fn same_side(one: EndpointId, other: EndpointId) -> bool {
    one == other || same_bridge(one, other)
}

fn halves(id: EndpointId) -> (u64, u64) {
    let [a, b, c, d, e, f, g, h, low @ ..] = *id.as_bytes();
    (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes(low))
}

fn joined(high: u64, low: u64) -> EndpointId {
    EndpointId::from_bytes(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_one_bridge_are_recognized_and_differ() {
        let (one, other) = (Origin::random().unwrap(), Origin::random().unwrap());
        let ids = [0, 1, 4095, 4096, 70_000].map(|slot| one.link_id(LinkId(slot)));
        for (number, id) in ids.iter().enumerate() {
            assert_eq!(Instance::of(*id), Some(one.instance), "{id}");
            assert_eq!(ids.iter().position(|found| found == id), Some(number));
            assert!(same_side(*id, ids[0]) && !same_side(*id, other.link_id(LinkId(number))));
            assert!(other.is_other_bridge(*id) && !one.is_other_bridge(*id));
            assert!(one.is_own_link(*id) && !other.is_own_link(*id));
            assert_eq!(MessageId::of(*id), None, "an endpoint id is not a message id");
        }
        assert_eq!(&one.link_id(LinkId(0)).to_string()[..19], "5a425247-0000-4000-", "a UUID of version 4");
    }

    #[test]
    fn other_endpoints_are_not_bridges() {
        for _ in 0..1000 {
            let id = EndpointId::random().unwrap();
            assert_eq!(Instance::of(id), None, "{id}");
            assert!(same_side(id, id) && !same_side(id, EndpointId::random().unwrap()));
        }
        assert_eq!((Instance::of(EndpointId::NIL), MessageId::of(EndpointId::NIL)), (None, None));
    }

    #[test]
    fn message_ids_round_trip_through_the_sender_field() {
        let origin = Origin::random().unwrap();
        let (first, second) = (origin.next_id(), origin.next_id());
        assert_ne!(first, second);
        assert_eq!(MessageId::of(first.as_sender()), Some(first));
        assert!(origin.is_ours(first) && !Origin::random().unwrap().is_ours(first));
    }

    #[test]
    fn message_numbers_cannot_be_predicted_from_earlier_ones() {
        let origin = Origin::random().unwrap();
        let ids: Vec<u64> = (0..100).map(|_| origin.next_id().number).collect();
        let differences: std::collections::HashSet<u64> =
            ids.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
        assert_eq!(differences.len(), 99, "{ids:?}");
    }
}
