//! What a running bridge looks like.

use std::sync::atomic::Ordering;

use super::Bridge;
use super::config::{LinkAddress, LinkTls};
use super::link::Link;
use super::router::link_relay::now;
use super::snapshot::{Latency, LinkSnapshot, NodeSnapshot, PeerSnapshot, RuleSnapshot, Snapshot};
use crate::endpoint::PeerState;

impl Bridge {
    /// How it is at this moment. Links are in the order in which they were started.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let table = self.core.table();
        let mut latency = Latency::default();
        for link in table.links().flatten() {
            latency.add(&link.endpoint.latency());
        }
        let rules = table.rule_counts().map(|(name, count)| RuleSnapshot {
            name: name.to_owned(),
            passed: count.passed.load(Ordering::Relaxed),
            invalid: count.invalid.load(Ordering::Relaxed),
            refused: count.refused(),
        });
        let mut snapshot = Snapshot {
            uptime: self.since.elapsed().as_secs(),
            links: table.links().flatten().map(|link| link.snapshot()).collect(),
            rules: rules.collect(),
            refused: self.core.refusals.counts(),
            latency,
            ..Snapshot::default()
        };
        // Held no longer than needed: requests and answers wait for it.
        let mut nodes = self.core.nodes();
        nodes.expire(now());
        let live = nodes.live().into_iter().map(|node| NodeSnapshot {
            name: node.name.to_owned(),
            link: table.link(node.peering.link).map(|link| link.config.name.clone()).unwrap_or_default(),
            peer: node.peering.peer.to_string(),
        });
        snapshot.nodes = live.collect();
        snapshot.in_flight = u64::try_from(nodes.in_flight()).unwrap_or(u64::MAX);
        snapshot.answered_for = nodes.answered_for();
        (snapshot.unanswered, snapshot.forgotten) = (nodes.expired(), nodes.forgotten());
        snapshot
    }
}

impl Link {
    fn snapshot(&self) -> LinkSnapshot {
        let (endpoint, config) = (&self.endpoint, &self.config);
        let (stats, peers) = (endpoint.stats(), endpoint.peer_states());
        let connecting = match &config.address {
            LinkAddress::Connect(targets) => targets.clone(),
            LinkAddress::Listen(_) => Vec::new(),
        };
        let stands = |target: &String| peers.iter().any(|peer| *peer.address == **target);
        let failures = endpoint.failures().into_iter();
        LinkSnapshot {
            name: config.name.clone(),
            id: endpoint.id().to_string(),
            listening: self.listening().iter().map(ToString::to_string).collect(),
            ready: self.listens() && connecting.iter().all(stands),
            connecting,
            tls: match config.tls {
                LinkTls::Off => "off",
                LinkTls::Anonymous => "anonymous",
                LinkTls::Mutual(_) => "mutual",
            }
            .to_owned(),
            peers: peers.iter().map(PeerSnapshot::from).collect(),
            messages_in: stats.received,
            messages_out: stats.sent,
            bytes_in: stats.received_bytes,
            bytes_out: stats.sent_bytes,
            malformed: stats.malformed,
            dropped: stats.dropped_for_peers,
            overflows: stats.overflows,
            lost_to_chaos: self.lost_to_chaos(),
            failures: failures.map(|(cause, count)| (cause.to_owned(), count)).collect(),
        }
    }
}

impl From<&PeerState> for PeerSnapshot {
    fn from(peer: &PeerState) -> Self {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        PeerSnapshot {
            id: peer.id.to_string(),
            address: peer.address.to_string(),
            identity: peer.identity.as_ref().map(ToString::to_string),
            filter: peer.filter.topics().iter().map(ToString::to_string).collect(),
            queued: count(peer.queued),
            queued_bytes: count(peer.queued_bytes),
            dropped: peer.dropped,
        }
    }
}

impl Latency {
    /// The same messages cannot be in two of them.
    fn add(&mut self, more: &crate::endpoint::Latency) {
        self.bounds.clone_from(&more.bounds);
        self.counts.resize(more.counts.len(), 0);
        for (count, more) in self.counts.iter_mut().zip(&more.counts) {
            *count = count.saturating_add(*more);
        }
        self.sum += more.sum;
    }
}
