//! The senders in the messages of a cluster, and the endpoint ids that this crate assigns to them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use sha1::{Digest, Sha1};

use crate::data::{EndpointId, one_line};

/// The maximum length of a sender in bytes. Zeek's have about 60: names of a node and of a host, and two numbers.
pub(super) const MAX_SENDER: usize = 1024;

/// The maximum number of senders in a generation. A cluster has fewer nodes.
const MAX_SENDERS: usize = 2048;
/// The maximum length of all texts in a generation, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// The version of the UUIDs that are hashes (RFC 9562), in the upper half of its byte. Random ids of this crate have version 4.
const VERSION: u8 = 0x80;

/// The recent senders, in two generations. When the young one is full, it becomes the old one, whose senders are forgotten unless they
/// have sent another message. So a sender is forgotten only if many others have sent messages since its last message.
#[derive(Debug, Default)]
pub(super) struct Senders {
    young: Generation,
    old: Generation,
    /// The sender of the last message, with its exact text. A node publishes all its events with one sender, so most messages need no
    /// lookup.
    last: Option<(Bytes, EndpointId)>,
}

#[derive(Debug, Default)]
struct Generation {
    ids: HashMap<Bytes, EndpointId>,
    texts: HashMap<EndpointId, Texts>,
    /// The length of all texts.
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Texts {
    /// The text in the messages.
    exact: Bytes,
    /// The text that is safe to log.
    name: Arc<str>,
}

impl Generation {
    /// Returns whether there is room for a sender with texts of this length.
    fn has_room(&self, bytes: usize) -> bool {
        self.ids.len() < MAX_SENDERS && self.bytes.saturating_add(bytes) <= MAX_BYTES
    }

    fn insert(&mut self, id: EndpointId, texts: Texts) {
        self.bytes = self.bytes.saturating_add(texts.length());
        self.ids.insert(texts.exact.clone(), id);
        self.texts.insert(id, texts);
    }
}

impl Texts {
    fn length(&self) -> usize {
        self.exact.len().saturating_add(self.name.len())
    }
}

impl Senders {
    /// Returns the id of a sender. A UUID is the id itself; any other text is hashed.
    ///
    /// Hashes are UUIDs of version 8, and a text is used as a UUID only if it is not one of them and is equal to the text that
    /// this crate writes. So no sender can choose the id of another sender that is hashed, and two texts never have the same id.
    pub(super) fn id(&mut self, text: &[u8]) -> EndpointId {
        if let Some((last, id)) = &self.last
            && *last == text
        {
            return *id;
        }
        let (exact, id) = self.look_up(text);
        self.last = Some((exact, id));
        id
    }

    /// Returns the exact text and the id of a sender.
    fn look_up(&mut self, text: &[u8]) -> (Bytes, EndpointId) {
        if let Some((exact, id)) = self.young.ids.get_key_value(text) {
            return (exact.clone(), *id);
        }
        let known = self.old.ids.get(text).and_then(|id| Some((*id, self.old.texts.get(id)?.clone())));
        let (id, texts) = known.unwrap_or_else(|| {
            let readable = String::from_utf8_lossy(text);
            let id = uuid(&readable).unwrap_or_else(|| hash(text));
            (id, Texts { exact: Bytes::copy_from_slice(text), name: one_line(&readable).into() })
        });
        if !self.young.has_room(texts.length()) {
            self.old = std::mem::take(&mut self.young);
        }
        let exact = texts.exact.clone();
        self.young.insert(id, texts);
        (exact, id)
    }

    fn texts(&self, id: EndpointId) -> Option<&Texts> {
        self.young.texts.get(&id).or_else(|| self.old.texts.get(&id))
    }

    /// Returns the text of a recent sender, as [`one_line`] returns it.
    pub(super) fn name(&self, id: EndpointId) -> Option<Arc<str>> {
        self.texts(id).map(|texts| texts.name.clone())
    }

    /// Returns the exact text of a recent sender.
    pub(super) fn text(&self, id: EndpointId) -> Option<Bytes> {
        self.texts(id).map(|texts| texts.exact.clone())
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
        let check = |senders: &Senders| {
            for generation in [&senders.young, &senders.old] {
                let kept: usize = generation.texts.values().map(Texts::length).sum();
                assert_eq!((generation.ids.len(), kept), (generation.texts.len(), generation.bytes));
                assert!(generation.ids.len() <= MAX_SENDERS && kept <= MAX_BYTES);
            }
        };
        let mut senders = Senders::default();
        for number in 0..5 * MAX_SENDERS {
            senders.id(number.to_string().as_bytes());
            if number.is_multiple_of(100) {
                check(&senders);
            }
        }
        for number in 0..MAX_SENDERS {
            senders.id(&[&number.to_be_bytes()[..], &[b'x'; MAX_SENDER - 8]].concat());
        }
        check(&senders);
    }

    #[test]
    fn an_active_sender_is_not_forgotten() {
        let mut senders = Senders::default();
        let id = senders.id(b"active");
        let once = senders.id(b"once");
        for number in 0..10 * MAX_SENDERS {
            senders.id(number.to_string().as_bytes());
            if number.is_multiple_of(MAX_SENDERS / 2) {
                senders.id(b"active");
            }
            assert_eq!(senders.text(id).as_deref(), Some(&b"active"[..]), "{number}");
        }
        assert_eq!((senders.text(once), senders.name(once)), (None, None));
        // The newest senders are known as long as their messages can be queued.
        for number in 0..MAX_SENDERS {
            let text = format!("new {number}");
            let id = senders.id(text.as_bytes());
            let first = Senders::default().id(b"new 0");
            assert!(senders.text(id).is_some() && senders.text(first).is_some());
        }
    }
}
