//! The subscriptions of peers, for a message.

use zeek_bridge::data::{EndpointId, Filter};

/// The maximum number of topics in a message, and of characters of a topic.
const TOPICS: usize = 8;
const CHARACTERS: usize = 64;

/// Describes the topics that the peers subscribe to. Long lists and topics are cut.
pub(super) fn describe(peers: &[(EndpointId, Filter)]) -> String {
    let subject = match peers.len() {
        0 => return "no peer is connected".to_owned(),
        1 => "the peer subscribes",
        _ => "the peers subscribe",
    };
    let mut topics: Vec<_> = peers.iter().flat_map(|(_, filter)| filter.topics()).collect();
    topics.sort();
    topics.dedup();
    if topics.is_empty() {
        return format!("{subject} to nothing");
    }
    let more = topics.len().saturating_sub(TOPICS);
    let shown: Vec<String> = topics.iter().take(TOPICS).map(|topic| cut(&topic.to_str_lossy())).collect();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{subject} to: {}{more}", shown.join(", "))
}

fn cut(topic: &str) -> String {
    match topic.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", topic.get(..end).unwrap_or_default()),
        None => topic.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use zeek_bridge::data::Topic;

    use super::*;

    fn peer(topics: &[&str]) -> (EndpointId, Filter) {
        (EndpointId::NIL, topics.iter().map(|topic| Topic::from(*topic)).collect())
    }

    #[test]
    fn the_subscriptions_of_peers_are_described_with_a_limit() {
        assert_eq!(describe(&[]), "no peer is connected");
        assert_eq!(describe(&[peer(&[])]), "the peer subscribes to nothing");
        assert_eq!(describe(&[peer(&["/b", "/a"])]), "the peer subscribes to: /a, /b");
        assert_eq!(describe(&[peer(&["/a"]), peer(&["/a", "/c"])]), "the peers subscribe to: /a, /c");
        let long = "é".repeat(100);
        assert_eq!(describe(&[peer(&[&long])]), format!("the peer subscribes to: {}…", "é".repeat(64)));
        let many: Vec<String> = (10..30).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let text = describe(&[peer(&many)]);
        assert_eq!(text, "the peer subscribes to: 10, 11, 12, 13, 14, 15, 16, 17 and 12 more");
    }
}
