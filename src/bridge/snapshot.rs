//! What a running bridge looks like at one moment: for `zeek-bridge status` and for metrics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A running bridge at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// How long it has run, in seconds.
    pub uptime: u64,
    /// Its links, in the order of the configuration.
    pub links: Vec<LinkSnapshot>,
    /// Its rules, in the order of the configuration.
    pub rules: Vec<RuleSnapshot>,
    /// The nodes that are live behind it, by name.
    pub nodes: Vec<NodeSnapshot>,
    /// How many messages were refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// How many requests wait for a node's answer.
    pub in_flight: u64,
    /// How many failures the bridge sent in a node's name: the node was gone or did not answer in time, or rules kept the
    /// request from it.
    pub answered_for: u64,
    /// How many answers did not arrive in time, and were not answered for either.
    pub unanswered: u64,
    /// How many pending answers were forgotten, because the requests of one owner took more than their share of memory.
    pub forgotten: u64,
    /// How long messages took through the bridge, of a sample.
    pub latency: Latency,
}

/// A link at one moment. Counts are since the link was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkSnapshot {
    /// Its name.
    pub name: String,
    /// This side's endpoint id on it.
    pub id: String,
    /// The addresses that it listens on, with the ports that were chosen.
    pub listening: Vec<String>,
    /// The places that it connects to.
    pub connecting: Vec<String>,
    /// `off`, `anonymous` or `mutual`.
    pub tls: String,
    /// Whether every place that it connects to has its peering, or it listens wherever it should.
    pub ready: bool,
    /// Its peers.
    pub peers: Vec<PeerSnapshot>,
    /// Messages from its peers.
    pub messages_in: u64,
    /// Messages to its peers.
    pub messages_out: u64,
    /// Bytes of frames from its peers.
    pub bytes_in: u64,
    /// Bytes of frames to its peers.
    pub bytes_out: u64,
    /// Messages from its peers that could not be decoded.
    pub malformed: u64,
    /// Messages for its peers that were dropped because a queue was full.
    pub dropped: u64,
    /// Peers that were disconnected because their queue was full.
    pub overflows: u64,
    /// Messages for its peers that `chaos` dropped.
    pub lost_to_chaos: u64,
    /// Handshakes and connects that failed, by cause.
    pub failures: BTreeMap<String, u64>,
}

/// A peer at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PeerSnapshot {
    /// Its endpoint id.
    pub id: String,
    /// Where it is.
    pub address: String,
    /// Who it is by its certificate.
    pub identity: Option<String>,
    /// What it wants to hear.
    pub filter: Vec<String>,
    /// How many messages wait for it.
    pub queued: u64,
    /// How many bytes these are.
    pub queued_bytes: u64,
    /// How many messages for it were dropped because its queue was full.
    pub dropped: u64,
}

/// A rule at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleSnapshot {
    /// Its name.
    pub name: String,
    /// How many messages it let pass, counted once for each link they went to.
    pub passed: u64,
    /// How many messages it would have let pass, had they been valid.
    pub invalid: u64,
    /// How many messages it did not let pass, by reason, those that were not valid among them. Each is counted for one
    /// rule, that it came closest to pass by; what no rule is about is in [`Snapshot::refused`] alone.
    pub refused: BTreeMap<String, u64>,
}

/// A node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeSnapshot {
    /// Its name.
    pub name: String,
    /// The link that it is behind.
    pub link: String,
    /// The endpoint id of its peer.
    pub peer: String,
}

/// How long messages took from being read to being handed to the socket, of a sample.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The upper bounds of the buckets, in seconds, ascending.
    pub bounds: Vec<f64>,
    /// How many took at most so long and longer than the bucket before; one more than there are bounds, the
    /// last for those beyond.
    pub counts: Vec<u64>,
    /// The sum of all, in seconds.
    pub sum: f64,
}
