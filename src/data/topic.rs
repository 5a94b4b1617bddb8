//! Topics and filters (`PROTOCOL.md`, sections 2 and 4).

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

/// A topic, by which messages are routed, such as `zeek/management/node`.
///
/// Topics of up to 38 bytes are stored in place when they are copied or decoded. The bytes of a longer topic are reference-counted, so
/// decoding it from a frame copies nothing. Topics are usually text, but a peer may send any bytes.
///
/// Only [`Topic::new`] checks the length; all other constructors do not. Publishing to a topic that is too long fails.
/// A subscription to a prefix that is too long matches nothing.
///
/// ```
/// use zeek_bridge::data::Topic;
///
/// assert_eq!(Topic::from("zeek/"), Topic::from_static("zeek/"));
/// assert!(Topic::from("zeek/").is_prefix_of(&Topic::from(format!("zeek/{}", "events"))));
/// ```
#[derive(Clone)]
pub struct Topic(Storage);

/// The maximum length of a topic that is stored in place. Most topics of Zeek are shorter.
const IN_PLACE: usize = 38;

#[derive(Clone)]
enum Storage {
    /// The topic has `length` bytes. The bytes after them are 0.
    InPlace {
        length: u8,
        bytes: [u8; IN_PLACE],
    },
    Shared(Bytes),
}

/// The error for a topic that is too long to be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("topic of {length} bytes is too long; the maximum is {}", Topic::MAX_LEN)]
pub struct InvalidTopic {
    /// The length of the topic in bytes.
    pub length: usize,
}

impl Topic {
    /// Maximum length in bytes: the length field of an envelope has 16 bits.
    pub const MAX_LEN: usize = 65_535;

    /// The prefix of topics that are never sent to a peer.
    pub const LOCAL_PREFIX: &'static str = "<$>/local/";

    /// Returns a topic with constant text.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Topic(Storage::Shared(Bytes::from_static(text.as_bytes())))
    }

    /// Returns a topic with these bytes.
    ///
    /// # Errors
    /// Fails if there are more than [`Topic::MAX_LEN`] bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, InvalidTopic> {
        let bytes = bytes.into();
        if bytes.len() > Self::MAX_LEN {
            return Err(InvalidTopic { length: bytes.len() });
        }
        Ok(Topic::in_place(&bytes).unwrap_or(Topic(Storage::Shared(bytes))))
    }

    /// Like [`Topic::new`], for a part of a buffer. Refers to the buffer only if the topic is long.
    pub(crate) fn part_of(buffer: &Bytes, range: Range<usize>) -> Result<Self, InvalidTopic> {
        match buffer.get(range.clone()).and_then(Topic::in_place) {
            Some(topic) => Ok(topic),
            None => Topic::new(buffer.slice(range)),
        }
    }

    /// Returns a topic that is stored in place, if it is short enough.
    pub(crate) fn in_place(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; IN_PLACE];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        let length = text.len().try_into().ok()?;
        Some(Topic(Storage::InPlace { length, bytes }))
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Storage::InPlace { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Storage::Shared(bytes) => bytes,
        }
    }

    /// Returns the text, with U+FFFD in place of invalid UTF-8.
    #[must_use]
    pub fn to_str_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.as_bytes())
    }

    /// Returns whether this topic matches `topic` if it is an entry of a filter. It does if its bytes are a prefix of
    /// `topic`.
    #[must_use]
    pub fn is_prefix_of(&self, topic: &Topic) -> bool {
        topic.as_bytes().starts_with(self.as_bytes())
    }

    /// Returns a copy that shares no memory with other topics and frames.
    pub(crate) fn detached(&self) -> Self {
        match &self.0 {
            Storage::InPlace { .. } => self.clone(),
            Storage::Shared(bytes) => Topic(Storage::Shared(Bytes::copy_from_slice(bytes))),
        }
    }

    fn is_too_long(&self) -> bool {
        self.as_bytes().len() > Self::MAX_LEN
    }

    /// Returns whether messages with this topic are never sent to a peer.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.as_bytes().starts_with(Self::LOCAL_PREFIX.as_bytes())
    }
}

/// Copies the text, and does not check its length.
impl From<&str> for Topic {
    fn from(text: &str) -> Self {
        let shared = || Topic(Storage::Shared(Bytes::copy_from_slice(text.as_bytes())));
        Topic::in_place(text.as_bytes()).unwrap_or_else(shared)
    }
}

/// Does not check the length.
impl From<String> for Topic {
    fn from(text: String) -> Self {
        Topic::in_place(text.as_bytes()).unwrap_or_else(|| Topic(Storage::Shared(text.into())))
    }
}

/// Copies the text, and does not check its length.
impl From<&String> for Topic {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

/// A reference to the same bytes.
impl From<&Topic> for Topic {
    fn from(topic: &Topic) -> Self {
        topic.clone()
    }
}

impl Default for Topic {
    fn default() -> Self {
        Topic::from_static("")
    }
}

impl PartialEq for Topic {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            // Arrays are compared faster than slices.
            (
                Storage::InPlace { length, bytes },
                Storage::InPlace { length: other_length, bytes: other_bytes },
            ) => length == other_length && bytes == other_bytes,
            _ => self.as_bytes() == other.as_bytes(),
        }
    }
}

impl Eq for Topic {}

impl PartialOrd for Topic {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Topic {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Topic {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_str_lossy())
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

/// The subscriptions of an endpoint: topic prefixes, sorted and minimal.
///
/// If an entry is a prefix of another entry, the longer entry is left out, as in Broker's C++ implementation. An entry
/// of more than [`Topic::MAX_LEN`] bytes is left out, too, because it is not a prefix of any topic.
///
/// Clones share the entries: each connection of an endpoint has a clone of the endpoint's filter.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Filter(Arc<Vec<Topic>>);

impl Filter {
    /// Returns a filter that matches nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry. Returns `false` if an existing entry covers it, or if it is longer than a topic can be.
    pub fn insert(&mut self, topic: Topic) -> bool {
        if self.matches(&topic) || topic.is_too_long() {
            return false;
        }
        let topics = Arc::make_mut(&mut self.0);
        topics.retain(|entry| !topic.is_prefix_of(entry));
        let at = topics.partition_point(|entry| *entry < topic);
        topics.insert(at, topic);
        true
    }

    /// Returns whether the filter matches `topic`. It does if the bytes of an entry are a prefix of `topic`.
    #[must_use]
    pub fn matches(&self, topic: &Topic) -> bool {
        // An empty entry is the only entry. It is not compared with the topic: the pointer of empty bytes refers to no memory, and
        // glibc's comparison with AVX-512 then takes about 200 ns, because the CPU suppresses a fault.
        if self.0.first().is_some_and(|entry| entry.as_bytes().is_empty()) {
            return true;
        }
        // The entries are sorted and none is a prefix of another, so only the last entry that is not greater than the
        // topic can be a prefix of it.
        let at = self.0.partition_point(|entry| entry <= topic);
        at.checked_sub(1).and_then(|i| self.0.get(i)).is_some_and(|entry| entry.is_prefix_of(topic))
    }

    /// Returns the entries in order.
    #[must_use]
    pub fn topics(&self) -> &[Topic] {
        &self.0
    }

    /// Returns whether the filter matches nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Topic> for Filter {
    fn from_iter<I: IntoIterator<Item = Topic>>(iter: I) -> Self {
        let mut topics: Vec<Topic> = iter.into_iter().filter(|topic| !topic.is_too_long()).collect();
        topics.sort_unstable();
        // After sorting, each topic is directly followed by all topics of which it is a prefix.
        topics.dedup_by(|later, earlier| earlier.is_prefix_of(later));
        Filter(Arc::new(topics))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(topics: &[&'static str]) -> Filter {
        topics.iter().map(|t| Topic::from_static(t)).collect()
    }

    #[test]
    fn topics_are_equal_wherever_they_are_stored() {
        fn hash(topic: &Topic) -> u64 {
            let mut hasher = std::hash::DefaultHasher::new();
            topic.hash(&mut hasher);
            hasher.finish()
        }
        let texts = [
            "",
            "a",
            "zeek/cluster/node/logger-1/a-host/1234",
            "zeek/cluster/node/logger-1/a-host/12345",
            "b\0",
        ];
        for text in texts {
            let topics = [
                Topic::from(text),
                Topic::from_static(text),
                text.to_owned().into(),
                Topic::new(text).unwrap(),
            ];
            for topic in &topics {
                assert_eq!((topic, topic.as_bytes()), (&topics[0], text.as_bytes()));
                assert_eq!(hash(topic), hash(&topics[0]));
                for other in texts {
                    assert_eq!(topic.cmp(&other.into()), text.cmp(other));
                    assert_eq!(*topic == Topic::from_static(other), text == other);
                }
            }
        }
        assert_ne!(Topic::from("b"), Topic::from("b\0"));
        let is_in_place = |length| matches!(Topic::from("x".repeat(length)).0, Storage::InPlace { .. });
        assert_eq!([IN_PLACE, IN_PLACE + 1].map(is_in_place), [true, false]);
    }

    #[test]
    fn entries_match_as_byte_prefixes() {
        let f = filter(&["/foo", "zeek/cluster/", "zeek/a"]);
        for (topic, wanted) in [
            ("/foo", true),
            ("/foobar", true),
            ("/fo", false),
            ("zeek/cluster/x", true),
            ("zeek/cluster", false),
            ("zeek/az", true),
            ("zeek/b", false),
            ("", false),
        ] {
            assert_eq!(f.matches(&Topic::from_static(topic)), wanted, "{topic}");
        }
        for topic in ["anything", ""] {
            assert!(filter(&[""]).matches(&Topic::from_static(topic)), "{topic}");
        }
        assert!(!Filter::new().matches(&Topic::from_static("")));
    }

    #[test]
    fn filters_are_always_minimal_and_sorted() {
        let expected = filter(&["/a", "/b"]);
        assert_eq!(filter(&["/b", "/a/x", "/a", "/a", "/b/c/d"]), expected);
        let longest = "x".repeat(Topic::MAX_LEN);
        let (longest, too_long) = (Topic::from(&longest), Topic::from(format!("{longest}x")));
        let kept: Filter = [longest.clone(), too_long.clone()].into_iter().collect();
        assert_eq!(kept.topics(), [longest]);
        assert!(!Filter::new().insert(too_long));
        let mut grown = Filter::new();
        for (topic, new) in [("/a/x", true), ("/a/y", true), ("/b", true), ("/a", true), ("/a/z", false)] {
            assert_eq!(grown.insert(Topic::from_static(topic)), new, "{topic}");
        }
        assert_eq!(grown, expected);
    }
}
