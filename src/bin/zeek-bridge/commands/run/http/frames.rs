//! The event `status` for viewers. It is bounded, because it is made every second, and peers determine the size of the complete
//! document.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;
use zeek_bridge::bridge::{LinkSnapshot, PeerSnapshot, Snapshot};

use super::events::frame;
use crate::commands::run::view::View;

/// The maximum number of peers of a link.
const PEERS: usize = 100;

/// The maximum number of peers of all links. With more than 20 links, each link has an equal share.
const ALL_PEERS: usize = 2000;

/// The maximum number of topics in the filter of a peer.
const TOPICS: usize = 20;

/// The maximum size of the topics of all peers, in bytes.
const ALL_TOPICS: usize = 512 * 1024;

/// The maximum number of nodes.
const NODES: usize = 1000;

/// The maximum length of each text of a peer, in bytes. The entries of `recent` have their own limit.
const TEXT: usize = 256;

/// The data of the event `status`.
#[derive(Serialize)]
struct StatusEvent {
    /// In seconds since 1970.
    time: f64,
    status: Value,
    /// The number of peers that are left out, by link.
    omitted: BTreeMap<String, usize>,
    /// The number of nodes that are left out.
    omitted_nodes: usize,
}

/// The numbers of what is left out.
#[derive(Default)]
struct Omitted {
    /// The peers, by link.
    peers: BTreeMap<String, usize>,
    nodes: usize,
    /// The topics of each remaining peer, in the order of the links and peers.
    topics: Vec<usize>,
}

/// Returns the event.
pub(super) fn status_frame(view: &View) -> serde_json::Result<Vec<u8>> {
    let mut document = view.document();
    let omitted = limit(&mut document.snapshot);
    let mut status = serde_json::to_value(&document)?;
    let links = status.get_mut("links").and_then(Value::as_array_mut).into_iter().flatten();
    let peers = links.filter_map(|link| link.get_mut("peers")?.as_array_mut()).flatten();
    for (peer, topics) in peers.filter_map(Value::as_object_mut).zip(omitted.topics) {
        peer.insert("omitted_topics".to_owned(), topics.into());
    }
    let event =
        StatusEvent { time: unix_time(), status, omitted: omitted.peers, omitted_nodes: omitted.nodes };
    Ok(frame("status", &serde_json::to_vec(&event)?))
}

/// Limits all parts of the state that peers determine. What remains depends on the configuration only.
fn limit(snapshot: &mut Snapshot) -> Omitted {
    let denied: HashSet<(&str, &str)> = snapshot
        .recent
        .iter()
        .filter(|entry| entry.kind == "denied")
        .filter_map(|entry| Some((entry.link.as_str(), entry.peer.as_deref()?)))
        .collect();
    let most = ALL_PEERS.checked_div(snapshot.links.len()).unwrap_or(PEERS).clamp(1, PEERS);
    let mut omitted = Omitted::default();
    let mut topics_left = ALL_TOPICS;
    for link in &mut snapshot.links {
        let count = link.peers.len().saturating_sub(most);
        if count > 0 {
            omitted.peers.insert(link.name.clone(), count);
            keep_most_relevant(link, most, &denied);
        }
        for peer in &mut link.peers {
            omitted.topics.push(limit_peer(peer, &mut topics_left));
        }
    }
    omitted.nodes = snapshot.nodes.len().saturating_sub(NODES);
    snapshot.nodes.truncate(NODES);
    for node in &mut snapshot.nodes {
        truncate(&mut node.name);
        truncate(&mut node.peer);
    }
    for request in &mut snapshot.requests {
        truncate(&mut request.node);
        truncate(&mut request.request);
    }
    omitted
}

/// Keeps the peers with recent denials or with drops, then the newest ones, then those with the most messages. Keeps their order,
/// so that the page does not move them.
fn keep_most_relevant(link: &mut LinkSnapshot, most: usize, denied: &HashSet<(&str, &str)>) {
    let mut peers: Vec<(usize, PeerSnapshot)> =
        std::mem::take(&mut link.peers).into_iter().enumerate().collect();
    let has_problem = |peer: &PeerSnapshot| peer.dropped > 0 || denied.contains(&(&*link.name, &*peer.id));
    peers.sort_by(|(_, one), (_, other)| {
        let problem = has_problem(other).cmp(&has_problem(one));
        let messages = |peer: &PeerSnapshot| Reverse(peer.messages_in.saturating_add(peer.messages_out));
        problem
            .then_with(|| one.connected.total_cmp(&other.connected))
            .then_with(|| messages(one).cmp(&messages(other)))
    });
    peers.truncate(most);
    peers.sort_by_key(|(index, _)| *index);
    link.peers = peers.into_iter().map(|(_, peer)| peer).collect();
}

/// Limits the texts of a peer. Reduces `left`, the remaining size of topics, and returns the number of topics that are left out.
fn limit_peer(peer: &mut PeerSnapshot, left: &mut usize) -> usize {
    let PeerSnapshot { id, address, identity, protocol, socket, name, filter, .. } = peer;
    [id, address, protocol]
        .into_iter()
        .chain([identity, socket, name].into_iter().flatten())
        .for_each(truncate);
    let count = filter.len();
    filter.truncate(TOPICS);
    filter.iter_mut().for_each(truncate);
    let kept = filter.iter().take_while(|topic| {
        let rest = left.checked_sub(topic.len());
        *left = rest.unwrap_or(0);
        rest.is_some()
    });
    let kept = kept.count();
    filter.truncate(kept);
    count.saturating_sub(kept)
}

/// Truncates a text that is too long, and marks its end.
fn truncate(text: &mut String) {
    if text.len() > TEXT {
        let end = (0..=TEXT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

/// Returns the seconds since 1970.
pub(super) fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use zeek_bridge::bridge::{NodeSnapshot, RecentEntry};

    use super::*;

    fn event(snapshot: &Snapshot) -> (usize, Value) {
        let snapshot = snapshot.clone();
        let frame = status_frame(&View::new(move || snapshot.clone())).unwrap();
        let data = frame.strip_prefix(b"event: status\ndata: ").unwrap();
        (frame.len(), serde_json::from_slice(data).unwrap())
    }

    #[test]
    fn the_frame_is_bounded_in_bytes() {
        let text = || "é".repeat(5000);
        let peer = PeerSnapshot {
            id: text(),
            name: Some(text()),
            filter: (0..100).map(|number| format!("{number}{}", text())).collect(),
            ..PeerSnapshot::default()
        };
        let link = |name: usize| LinkSnapshot {
            name: name.to_string(),
            peers: vec![peer.clone(); 2],
            ..LinkSnapshot::default()
        };
        let node = NodeSnapshot { name: text(), ..NodeSnapshot::default() };
        let mut snapshot = Snapshot {
            links: (0..2).map(link).collect(),
            nodes: vec![node; NODES + 5],
            ..Snapshot::default()
        };
        let (length, event) = event(&snapshot);
        assert!(length < 400_000, "{length}");
        assert_eq!(event["omitted_nodes"], 5);
        let first = &event["status"]["links"][0]["peers"][0];
        assert_eq!(first["omitted_topics"], 80);
        assert_eq!(first["filter"].as_array().unwrap().len(), 20);
        let topic = first["filter"][1].as_str().unwrap();
        assert!(topic.len() <= TEXT + 3 && topic.starts_with("1éé") && topic.ends_with("é…"), "{topic}");

        snapshot.links = (0..50).map(link).collect();
        snapshot.links[1].peers = vec![peer.clone(); 150];
        let omitted = limit(&mut snapshot);
        assert_eq!(omitted.peers, BTreeMap::from([("1".to_owned(), 110)]));
        let topics = snapshot.links.iter().flat_map(|link| &link.peers).flat_map(|peer| &peer.filter);
        let size: usize = topics.map(String::len).sum();
        assert!(size <= ALL_TOPICS && size > ALL_TOPICS - TEXT - 3, "{size}");
        assert_eq!(omitted.topics.len(), 40 + 49 * 2);
        assert_eq!(omitted.topics.last(), Some(&100));
    }

    #[test]
    fn peers_with_problems_and_new_peers_are_kept_in_their_order() {
        let peer = |number: u32| PeerSnapshot {
            id: number.to_string(),
            connected: f64::from(1000 - number),
            ..PeerSnapshot::default()
        };
        let mut link =
            LinkSnapshot { name: "a".into(), peers: (0..200).map(peer).collect(), ..LinkSnapshot::default() };
        link.peers[7].dropped = 1;
        let denied = |link: &str, kind: &str, peer: &str| RecentEntry {
            kind: kind.into(),
            link: link.into(),
            peer: Some(peer.into()),
            ..RecentEntry::default()
        };
        // With the same age, the busiest is kept.
        link.peers[102].connected = link.peers[101].connected;
        link.peers[101].messages_in = 5;
        link.peers[103].connected = 0.5;
        let mut snapshot = Snapshot {
            links: vec![link],
            recent: vec![denied("a", "denied", "3"), denied("b", "denied", "4"), denied("a", "failed", "5")],
            ..Snapshot::default()
        };
        limit(&mut snapshot);
        let ids = snapshot.links[0].peers.iter().map(|peer| peer.id.parse().unwrap());
        let expected: Vec<u32> = [3, 7, 101].into_iter().chain(103..200).collect();
        assert_eq!(ids.collect::<Vec<u32>>(), expected);
    }
}
