//! The two forms of the topics that Zeek itself defines for clusters (`PROTOCOL.md`, section 11). They have slashes with Broker's
//! protocol, such as `zeek/cluster/worker`, and dots with ZeroMQ, such as `zeek.cluster.worker`.

use bytes::BytesMut;

use crate::data::Topic;

/// The topics of all nodes of a type, and of the pools, with slashes.
const GROUPS: [&str; 7] = [
    "zeek/cluster/logger",
    "zeek/cluster/manager",
    "zeek/cluster/pool/logger",
    "zeek/cluster/pool/proxy",
    "zeek/cluster/pool/worker",
    "zeek/cluster/proxy",
    "zeek/cluster/worker",
];

/// The topic of a node consists of one of these prefixes, the name or the id of the node, and the separator. The name may contain
/// dots, but not slashes.
const NODES: &str = "zeek/cluster/node/";
const NODE_IDS: &str = "zeek/cluster/nodeid/";

/// [`NODE_IDS`] with dots. Each node of a ZeroMQ cluster treats a subscriber of such a topic as a node.
pub(crate) const NODE_ID_TOPICS: &str = "zeek.cluster.nodeid.";

/// The separator of the components of a topic.
#[derive(Clone, Copy)]
struct Separator(u8);

const SLASH: Separator = Separator(b'/');
const DOT: Separator = Separator(b'.');

impl Separator {
    /// Returns a constant with this separator.
    fn apply(self, constant: &'static str) -> impl DoubleEndedIterator<Item = u8> + Clone {
        constant.bytes().map(move |byte| if byte == SLASH.0 { self.0 } else { byte })
    }

    fn is(self, constant: &'static str, topic: &[u8]) -> bool {
        self.apply(constant).eq(topic.iter().copied())
    }

    /// Returns the bytes after a constant at the start of a topic.
    fn strip<'a>(self, constant: &'static str, topic: &'a [u8]) -> Option<&'a [u8]> {
        let (first, rest) = topic.split_at_checked(constant.len())?;
        self.is(constant, first).then_some(rest)
    }

    /// Returns whether a constant begins with these bytes.
    fn begins_with(self, constant: &'static str, prefix: &[u8]) -> bool {
        constant.len() >= prefix.len() && self.apply(constant).zip(prefix).all(|(one, other)| one == *other)
    }

    /// Returns the topic that consists of a constant with this separator, and the rest.
    fn topic(self, constant: &'static str, rest: &[u8]) -> Topic {
        let text: BytesMut = self.apply(constant).chain(rest.iter().copied()).collect();
        // The translated topic has the length of the original one, so it is not too long.
        Topic::new(text.freeze()).unwrap_or_default()
    }
}

/// Returns the form with dots, or `None` if Zeek does not define this topic with slashes.
pub(crate) fn to_dots(topic: &Topic) -> Option<Topic> {
    translate(topic.as_bytes(), SLASH, DOT)
}

/// Returns the form with slashes, or `None` if Zeek does not define this topic with dots.
pub(crate) fn to_slashes(topic: &Topic) -> Option<Topic> {
    translate(topic.as_bytes(), DOT, SLASH)
}

fn translate(topic: &[u8], from: Separator, to: Separator) -> Option<Topic> {
    if let Some(group) = GROUPS.into_iter().find(|group| from.is(group, topic)) {
        return Some(to.topic(group, b""));
    }
    let (nodes, rest) =
        [NODES, NODE_IDS].into_iter().find_map(|nodes| Some((nodes, from.strip(nodes, topic)?)))?;
    let (last, name) = rest.split_last()?;
    let is_name = *last == from.0 && !name.contains(&SLASH.0);
    is_name.then(|| to.topic(nodes, &[name, &[to.0]].concat()))
}

/// Returns prefixes that, together with `prefix` itself, cover the other form of all topics that begin with `prefix`.
///
/// This excludes the topics of node ids: each node of a cluster would treat the subscriber as a node.
pub(crate) fn covering(prefix: &Topic) -> Vec<Topic> {
    let mut covering = Vec::new();
    for (from, to) in [(SLASH, DOT), (DOT, SLASH)] {
        cover(prefix.as_bytes(), from, to, &mut covering);
    }
    covering.retain(|other| !prefix.is_prefix_of(other));
    covering
}

fn cover(prefix: &[u8], from: Separator, to: Separator, covering: &mut Vec<Topic>) {
    let groups = GROUPS.into_iter().filter(|group| from.begins_with(group, prefix));
    covering.extend(groups.map(|group| to.topic(group, b"")));
    if from.begins_with(NODES, prefix) {
        covering.push(to.topic(NODES, b""));
        return;
    }
    let Some(rest) = from.strip(NODES, prefix) else { return };
    // The last separator may be the end of the topic.
    if let Some((last, name)) = rest.split_last()
        && *last == from.0
        && !name.contains(&SLASH.0)
    {
        covering.push(to.topic(NODES, &[name, &[to.0]].concat()));
    }
    if !rest.contains(&SLASH.0) {
        covering.push(to.topic(NODES, rest));
    }
}

/// Returns whether an event may leave its cluster, or enter another one. The events with which the nodes of a cluster find each
/// other never do. Events to the topic of a node id, with slashes or with dots, never do either.
pub(crate) fn crosses(topic: &Topic, event: &[u8]) -> bool {
    let is_to_id =
        [SLASH, DOT].into_iter().any(|separator| separator.strip(NODE_IDS, topic.as_bytes()).is_some());
    let is_discovery = event == b"Cluster::hello"
        || event.starts_with(b"Cluster::Backend::")
        || event.starts_with(b"Cluster::Experimental::");
    !is_to_id && !is_discovery
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAIRS: [[&str; 2]; 12] = [
        ["zeek/cluster/logger", "zeek.cluster.logger"],
        ["zeek/cluster/manager", "zeek.cluster.manager"],
        ["zeek/cluster/proxy", "zeek.cluster.proxy"],
        ["zeek/cluster/worker", "zeek.cluster.worker"],
        ["zeek/cluster/pool/logger", "zeek.cluster.pool.logger"],
        ["zeek/cluster/pool/proxy", "zeek.cluster.pool.proxy"],
        ["zeek/cluster/pool/worker", "zeek.cluster.pool.worker"],
        ["zeek/cluster/node/worker-1/", "zeek.cluster.node.worker-1."],
        ["zeek/cluster/node/a.b/", "zeek.cluster.node.a.b."],
        ["zeek/cluster/node/./", "zeek.cluster.node..."],
        ["zeek/cluster/node//", "zeek.cluster.node.."],
        ["zeek/cluster/nodeid/zeromq_w_h.example_1_N/", "zeek.cluster.nodeid.zeromq_w_h.example_1_N."],
    ];

    #[test]
    fn topics_are_translated_in_both_directions() {
        for [slashes, dots] in PAIRS.map(|pair| pair.map(Topic::from_static)) {
            assert_eq!(to_dots(&slashes), Some(dots.clone()));
            assert_eq!(to_slashes(&dots), Some(slashes.clone()));
            assert_eq!((to_dots(&dots), to_slashes(&slashes)), (None, None));
        }
        let longest = [&b"zeek/cluster/node/"[..], &vec![b'x'; Topic::MAX_LEN - 19], b"/"].concat();
        let longest = Topic::new(longest).unwrap();
        assert_eq!(to_slashes(&to_dots(&longest).unwrap()), Some(longest));
    }

    #[test]
    fn other_topics_are_not_translated() {
        for topic in [
            "",
            "zeek",
            "zeek/",
            "zeek.",
            "zeek/cluster",
            "zeek/cluster/workers",
            "zeek/cluster/worker/",
            "zeek.cluster.worker.",
            "zeek/cluster.worker",
            "zeek.cluster/worker",
            "zeek/cluster/node/",
            "zeek/cluster/node/a",
            "zeek/cluster/node/a.",
            "zeek.cluster.node.",
            "zeek.cluster.node.a",
            "zeek.cluster.node.a/",
            "zeek/cluster/node/a/b/",
            "zeek.cluster.node.a/b.",
            "zeek/cluster/nodeid/",
            "zeek/cluster/nodeids/a/",
            "zeek/cluster/pool/manager",
            "zeek/cluster/pool",
            "zeek/control",
            "zeek/supervisor",
            "zeek/cluster/experimental/started",
            "x/zeek/cluster/worker",
        ] {
            let topic = Topic::from_static(topic);
            assert_eq!((to_dots(&topic), to_slashes(&topic)), (None, None), "{topic}");
        }
    }

    #[test]
    fn prefixes_cover_the_other_form() {
        let groups = |prefix: &str, separator: &str| -> Vec<String> {
            GROUPS
                .map(|group| group.replace('/', separator))
                .into_iter()
                .filter(|group| group.starts_with(prefix))
                .collect()
        };
        let with = |mut topics: Vec<String>, more: &[&str]| {
            topics.extend(more.iter().map(|topic| (*topic).to_owned()));
            topics
        };
        let cases = [
            ("", vec![]),
            ("z", vec![]),
            ("zeek", vec![]),
            ("zeek/", with(groups("", "."), &["zeek.cluster.node."])),
            ("zeek.cluster", with(groups("", "/"), &["zeek/cluster/node/"])),
            ("zeek/cluster/work", groups("zeek.cluster.work", ".")),
            ("zeek/cluster/worker", groups("zeek.cluster.worker", ".")),
            ("zeek/cluster/p", groups("zeek.cluster.p", ".")),
            ("zeek.cluster.pool.", groups("zeek/cluster/pool/", "/")),
            ("zeek/cluster/worker/", vec![]),
            ("zeek/cluster/node", with(vec![], &["zeek.cluster.node."])),
            ("zeek/cluster/node/", with(vec![], &["zeek.cluster.node."])),
            ("zeek/cluster/node/a", with(vec![], &["zeek.cluster.node.a"])),
            ("zeek/cluster/node/a/", with(vec![], &["zeek.cluster.node.a."])),
            ("zeek/cluster/node/a/b", vec![]),
            ("zeek.cluster.node.a.", with(vec![], &["zeek/cluster/node/a/", "zeek/cluster/node/a."])),
            ("zeek.cluster.node.a/b.", vec![]),
            ("zeek/cluster/nodeid", vec![]),
            ("zeek.cluster.nodeid.a.", vec![]),
            ("zeek/control", vec![]),
            ("other", vec![]),
        ];
        for (prefix, expected) in cases {
            let covering: Vec<String> =
                covering(&Topic::from_static(prefix)).iter().map(Topic::to_string).collect();
            assert_eq!(covering, expected, "{prefix}");
        }
    }

    #[test]
    fn discovery_never_crosses() {
        let worker = Topic::from_static("zeek.cluster.worker");
        for event in
            ["Cluster::hello", "Cluster::Backend::ZeroMQ::hello", "Cluster::Experimental::cluster_started"]
        {
            assert!(!crosses(&worker, event.as_bytes()), "{event}");
        }
        for event in ["Cluster::hello2", "Cluster::node_up", "Cluster::Backends::x", "hello", ""] {
            assert!(crosses(&worker, event.as_bytes()), "{event}");
        }
        for (topic, expected) in [
            ("zeek.cluster.nodeid.a.", false),
            ("zeek/cluster/nodeid/a/", false),
            ("zeek.cluster.nodeid.", false),
            ("zeek.cluster.nodeid", true),
            ("zeek.cluster.node.a.", true),
            ("zeek/cluster/node/a/", true),
            ("", true),
        ] {
            assert_eq!(crosses(&Topic::from_static(topic), b"ping"), expected, "{topic}");
        }
    }

    /// Texts that are often topics of Zeek, or begin as one.
    fn topics() -> impl Strategy<Value = Vec<u8>> {
        let well_known =
            (0..PAIRS.len(), 0..2_usize).prop_map(|(pair, form)| PAIRS[pair][form].as_bytes().to_vec());
        let nodes =
            prop::sample::select(vec!["zeek/cluster/node", "zeek.cluster.node", "zeek.cluster.nodeid"]);
        let named = (nodes, "[a./]{0,4}").prop_map(|(nodes, name)| [nodes, &name].concat().into_bytes());
        prop_oneof![well_known, named, prop::collection::vec(any::<u8>(), 0..30)]
    }

    proptest! {
        #[test]
        fn a_translation_can_be_reversed(topic in topics()) {
            let topic = Topic::new(topic).unwrap();
            if let Some(dots) = to_dots(&topic) {
                prop_assert_eq!(to_slashes(&dots), Some(topic.clone()));
            }
            if let Some(slashes) = to_slashes(&topic) {
                prop_assert_eq!(to_dots(&slashes), Some(topic));
            }
        }

        #[test]
        fn the_other_form_of_a_topic_is_covered_by_each_of_its_prefixes(topic in topics(), length in 0..40_usize) {
            let prefix = Topic::new(topic.get(..length).unwrap_or(&topic).to_vec()).unwrap();
            let topic = Topic::new(topic).unwrap();
            let covering = covering(&prefix);
            prop_assert!(covering.iter().all(|other| !prefix.is_prefix_of(other)));
            for translated in [to_dots(&topic), to_slashes(&topic)].into_iter().flatten() {
                let is_covered = std::iter::once(&prefix).chain(&covering).any(|prefix| prefix.is_prefix_of(&translated));
                prop_assert_eq!(is_covered, crosses(&translated, b"") || prefix.is_prefix_of(&translated));
            }
        }
    }
}
