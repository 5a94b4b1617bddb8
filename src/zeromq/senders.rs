//! The senders in the messages of a cluster, and the endpoint ids that this crate assigns to them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use sha1::{Digest, Sha1};

use crate::data::{EndpointId, one_line};

/// The maximum length of a sender in bytes. Zeek's have about 60: names of a node and of a host, and two numbers.
pub(super) const MAX_SENDER: usize = 1024;

/// The maximum number of senders that are kept. A cluster has fewer nodes.
const MAX_SENDERS: usize = 4096;
/// The maximum length of all texts that are kept, in bytes.
const MAX_BYTES: usize = 512 * 1024;

/// The version of the UUIDs that are hashes (RFC 9562), in the upper half of its byte. Random ids of this crate have version 4.
const VERSION: u8 = 0x80;

/// The recent senders. If there are too many, all are forgotten: they are added again by their next message.
#[derive(Debug, Default)]
pub(super) struct Senders {
    ids: HashMap<Bytes, EndpointId>,
    /// The text of each sender, and the text that is safe to log.
    texts: HashMap<EndpointId, (Bytes, Arc<str>)>,
    /// The length of all texts in both tables.
    bytes: usize,
}

impl Senders {
    /// Returns the id of a sender. A UUID is the id itself; any other text is hashed.
    ///
    /// Hashes are UUIDs of version 8, and a text is used as a UUID only if it is not one of them and is equal to the text that
    /// this crate writes. So no sender can choose the id of another sender that is hashed, and two texts never have the same id.
    pub(super) fn id(&mut self, text: &[u8]) -> EndpointId {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let readable = String::from_utf8_lossy(text);
        let id = uuid(&readable).unwrap_or_else(|| hash(text));
        let name: Arc<str> = one_line(&readable).into();
        let bytes = text.len().saturating_add(name.len());
        if self.ids.len() >= MAX_SENDERS || self.bytes.saturating_add(bytes) > MAX_BYTES {
            *self = Senders::default();
        }
        self.bytes = self.bytes.saturating_add(bytes);
        let text = Bytes::copy_from_slice(text);
        self.ids.insert(text.clone(), id);
        self.texts.insert(id, (text, name));
        id
    }

    /// Returns the text of a recent sender, as [`one_line`] returns it.
    pub(super) fn name(&self, id: EndpointId) -> Option<Arc<str>> {
        self.texts.get(&id).map(|(_, name)| name.clone())
    }

    /// Returns the exact text of a recent sender.
    pub(super) fn text(&self, id: EndpointId) -> Option<Bytes> {
        self.texts.get(&id).map(|(text, _)| text.clone())
    }
}

/// Returns the id that this text is the canonical UUID of, unless it is NIL or has the version of hashes.
fn uuid(text: &str) -> Option<EndpointId> {
    let id: EndpointId = text.parse().ok()?;
    let [_, _, _, _, _, _, version, ..] = *id.as_bytes();
    let is_hash = version & 0xf0 == VERSION;
    (id != EndpointId::NIL && !is_hash && id.to_string() == text).then_some(id)
}

fn hash(text: &[u8]) -> EndpointId {
    let digest: [u8; 20] = Sha1::digest(text).into();
    let [mut first @ .., _, _, _, _] = digest;
    first[6] = first[6] & 0x0f | VERSION;
    first[8] = first[8] & 0x3f | 0x80;
    EndpointId::from_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_the_id_itself_and_other_texts_are_hashed() {
        let mut senders = Senders::default();
        let id = EndpointId::from_bytes([0xab; 16]);
        assert_eq!(senders.id(id.to_string().as_bytes()), id);
        assert_eq!(senders.name(id).as_deref(), Some(&*id.to_string()));

        let [one, other] = ["zeromq_worker-1_host_1_N", "zeromq_worker-2_host_1_N"];
        let (first, second) = (senders.id(one.as_bytes()), senders.id(other.as_bytes()));
        assert_ne!(first, second);
        assert_eq!(senders.id(one.as_bytes()), first);
        assert_eq!(Senders::default().id(one.as_bytes()), first, "the id does not depend on the session");
        assert_eq!(senders.name(first).as_deref(), Some(one));
        // sha1sum of "zeromq_worker-1_host_1_N", with the bits of the version and the variant
        assert_eq!(first.to_string(), "de86025e-843d-8300-8a20-ec19843eb4ea");
        assert_eq!(senders.name(EndpointId::NIL), None);
    }

    #[test]
    fn a_sender_cannot_choose_the_id_of_another_sender() {
        let mut senders = Senders::default();
        let worker = "zeromq_worker-1_host_1_N";
        let id = senders.id(worker.as_bytes());
        let own = "a1b2c3d4-0000-4000-8000-000000000000";
        assert_eq!(senders.id(own.as_bytes()).to_string(), own);
        let others = [id.to_string(), own.to_uppercase(), EndpointId::NIL.to_string()];
        let mut ids: Vec<EndpointId> = others.iter().map(|text| senders.id(text.as_bytes())).collect();
        for (text, id) in others.iter().zip(&ids) {
            assert_ne!(id.to_string(), text.to_lowercase());
            assert_eq!(senders.name(*id).as_deref(), Some(&**text));
        }
        assert_eq!(senders.name(id).as_deref(), Some(worker));
        ids.push(id);
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 4);
    }

    #[cfg(feature = "net")]
    #[test]
    fn a_random_id_is_never_hashed() {
        let id = EndpointId::random().unwrap();
        assert_eq!(Senders::default().id(id.to_string().as_bytes()), id);
    }

    #[test]
    fn names_are_safe_to_log() {
        let mut senders = Senders::default();
        let id = senders.id(b"a\x1b[2J\xff");
        assert_eq!(senders.name(id).as_deref(), Some("a\u{fffd}[2J\u{fffd}"));
        assert_eq!(senders.text(id).as_deref(), Some(&b"a\x1b[2J\xff"[..]));
        let id = senders.id(&[b'x'; 300]);
        assert_eq!(senders.name(id).unwrap().chars().count(), 257);
    }

    #[test]
    fn the_number_and_the_length_of_senders_are_limited() {
        let mut senders = Senders::default();
        for number in 0..3 * MAX_SENDERS {
            senders.id(number.to_string().as_bytes());
            assert!(senders.ids.len() <= MAX_SENDERS && senders.texts.len() <= MAX_SENDERS);
        }
        assert!(senders.ids.len() > 1, "the table is used");
        let mut senders = Senders::default();
        for number in 0..MAX_SENDERS {
            senders.id(&[&number.to_be_bytes()[..], &[b'x'; MAX_SENDER - 8]].concat());
            let kept: usize = senders.ids.keys().map(|text| text.len()).sum();
            assert!(senders.bytes <= MAX_BYTES && kept <= MAX_BYTES);
        }
    }
}
