//! Topics and filters (protocol sections 2 and 4).

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

/// A topic: a name that messages travel under, such as `zeek/management/node`.
///
/// The bytes are shared, so a topic cut out of a frame copies nothing. Topics are text by
/// custom only; a peer may send any bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Topic(Bytes);

/// A topic that the wire cannot carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("topic of {length} bytes: a topic may have at most {}", Topic::MAX_LEN)]
pub struct InvalidTopic {
    /// The length in bytes.
    pub length: usize,
}

impl Topic {
    /// The most bytes an envelope can carry: its length field has 16 bits.
    pub const MAX_LEN: usize = 65_535;

    /// The prefix of topics that never leave an endpoint.
    pub const LOCAL_PREFIX: &'static str = "<$>/local/";

    /// A topic of constant text.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Topic(Bytes::from_static(text.as_bytes()))
    }

    /// A topic of any bytes.
    ///
    /// # Errors
    /// When there are more than [`Topic::MAX_LEN`] bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, InvalidTopic> {
        let bytes = bytes.into();
        if bytes.len() > Self::MAX_LEN {
            return Err(InvalidTopic { length: bytes.len() });
        }
        Ok(Topic(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, with U+FFFD in the place of what is not UTF-8.
    #[must_use]
    pub fn to_str_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// Whether this topic, taken as an entry of a filter, matches `topic`: it is a string prefix of it.
    #[must_use]
    pub fn is_prefix_of(&self, topic: &Topic) -> bool {
        topic.0.starts_with(&self.0)
    }

    /// Whether messages under this topic must not leave the endpoint.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.0.starts_with(Self::LOCAL_PREFIX.as_bytes())
    }
}

impl TryFrom<&str> for Topic {
    type Error = InvalidTopic;

    fn try_from(text: &str) -> Result<Self, InvalidTopic> {
        Topic::new(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl TryFrom<String> for Topic {
    type Error = InvalidTopic;

    fn try_from(text: String) -> Result<Self, InvalidTopic> {
        Topic::new(text)
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

/// What an endpoint wants to hear: topic prefixes, sorted and minimal.
///
/// An entry that another entry is a prefix of is left out, as the reference keeps its filters.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Filter(Vec<Topic>);

impl Filter {
    /// A filter that matches nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry; `false` if the filter covered it already.
    pub fn insert(&mut self, topic: Topic) -> bool {
        if self.matches(&topic) {
            return false;
        }
        self.0.retain(|entry| !topic.is_prefix_of(entry));
        let at = self.0.partition_point(|entry| *entry < topic);
        self.0.insert(at, topic);
        true
    }

    /// Whether a message under `topic` is wanted: some entry is a string prefix of it.
    #[must_use]
    pub fn matches(&self, topic: &Topic) -> bool {
        // Entries are sorted and none is a prefix of another, so only the last entry that is not
        // greater than the topic can be a prefix of it.
        let at = self.0.partition_point(|entry| entry <= topic);
        at.checked_sub(1).and_then(|i| self.0.get(i)).is_some_and(|entry| entry.is_prefix_of(topic))
    }

    /// The entries in order.
    #[must_use]
    pub fn topics(&self) -> &[Topic] {
        &self.0
    }

    /// Whether nothing is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Topic> for Filter {
    fn from_iter<I: IntoIterator<Item = Topic>>(iter: I) -> Self {
        let mut topics: Vec<Topic> = iter.into_iter().collect();
        topics.sort_unstable();
        // Sorted, everything a topic is a prefix of follows it at once.
        topics.dedup_by(|later, earlier| earlier.is_prefix_of(later));
        Filter(topics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(topics: &[&'static str]) -> Filter {
        topics.iter().map(|t| Topic::from_static(t)).collect()
    }

    #[test]
    fn entries_match_as_string_prefixes() {
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
        assert!(filter(&[""]).matches(&Topic::from_static("anything")));
        assert!(!Filter::new().matches(&Topic::from_static("")));
    }

    #[test]
    fn filters_are_minimal_and_sorted_however_they_are_made() {
        let expected = filter(&["/a", "/b"]);
        assert_eq!(filter(&["/b", "/a/x", "/a", "/a", "/b/c/d"]), expected);
        let mut grown = Filter::new();
        for (topic, new) in [("/a/x", true), ("/a/y", true), ("/b", true), ("/a", true), ("/a/z", false)] {
            assert_eq!(grown.insert(Topic::from_static(topic)), new, "{topic}");
        }
        assert_eq!(grown, expected);
    }
}
