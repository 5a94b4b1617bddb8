//! Topics and filters (`PROTOCOL.md`, sections 2 and 4).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// A topic, by which messages are routed, such as `zeek/management/node`.
///
/// The bytes are reference-counted, so decoding a topic from a frame copies nothing. Topics are usually text, but a peer may
/// send any bytes.
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
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Topic(Bytes);

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
        Topic(Bytes::from_static(text.as_bytes()))
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
        Ok(Topic(bytes))
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the text, with U+FFFD in place of invalid UTF-8.
    #[must_use]
    pub fn to_str_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// Returns whether this topic matches `topic` if it is an entry of a filter. It does if its bytes are a prefix of
    /// `topic`.
    #[must_use]
    pub fn is_prefix_of(&self, topic: &Topic) -> bool {
        topic.0.starts_with(&self.0)
    }

    fn is_too_long(&self) -> bool {
        self.0.len() > Self::MAX_LEN
    }

    /// Returns whether messages with this topic are never sent to a peer.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.0.starts_with(Self::LOCAL_PREFIX.as_bytes())
    }
}

/// Copies the text, and does not check its length.
impl From<&str> for Topic {
    fn from(text: &str) -> Self {
        Topic(Bytes::copy_from_slice(text.as_bytes()))
    }
}

/// Does not check the length.
impl From<String> for Topic {
    fn from(text: String) -> Self {
        Topic(text.into())
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

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_str_lossy())
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
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
        if self.0.first().is_some_and(|entry| entry.0.is_empty()) {
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
