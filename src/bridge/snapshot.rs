//! The state of a running bridge at one moment, for `zeek-bridge status` and for metrics.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::config::{LinkAddress, LinkTls};
use super::link::Link;
use super::management::AnsweredFor;
use super::peer_text::identity;
use super::router::core::now;
use super::router::{RecentEntry, TopicRate};
use super::{Bridge, RuleId};
use crate::endpoint::PeerState;
use crate::net::{Scheme, Url};

/// The maximum number of pending responses in a snapshot.
const MAX_REQUESTS: usize = 64;

/// The state of a bridge at one moment. Counters count from the start of the bridge, unless stated otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The time since the start, in seconds.
    pub uptime: u64,
    /// The links, in the order in which they were started.
    pub links: Vec<LinkSnapshot>,
    /// The rules, in the order of the configuration.
    pub rules: Vec<RuleSnapshot>,
    /// The live nodes, sorted by name.
    pub nodes: Vec<NodeSnapshot>,
    /// The number of denied or dropped messages, by reason.
    pub refused: BTreeMap<String, u64>,
    /// The number of pending responses of nodes.
    pub in_flight: u64,
    /// The number of failures that the bridge sent on behalf of nodes, by reason.
    pub answered_for: AnsweredFor,
    /// The number of responses that did not arrive in time, and for which the bridge sent no failure. It sends none if
    /// `answer_in_flight` is off, or if the node's hello was not forwarded to the agent.
    pub unanswered: u64,
    /// The number of pending responses that were forgotten because the requests of one owner exceeded their share of memory.
    pub forgotten: u64,
    /// The latency of a sample of the messages.
    pub latency: Latency,
    /// The messages that were forwarded between the links. Contains each pair of links between which rules allow messages, and each pair
    /// with a count.
    #[serde(default)]
    pub flows: Vec<FlowSnapshot>,
    /// The oldest pending responses, oldest first, at most 64.
    #[serde(default)]
    pub requests: Vec<RequestSnapshot>,
    /// The topics and events with the most messages, highest rate first, at most 32. The rates are of the last complete window of five
    /// seconds, estimated from a sample.
    #[serde(default)]
    pub busiest: Vec<TopicRate>,
    /// The latest connects, disconnects, failures and denials, newest first, at most 256. Of each peer, only the last ones are
    /// contained.
    #[serde(default)]
    pub recent: Vec<RecentEntry>,
}

/// The messages that were forwarded from one link to another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FlowSnapshot {
    /// The name of the link over which the messages were received.
    pub from: String,
    /// The name of the link that the messages were sent to. For the peers of a hub, it is the same.
    pub to: String,
    /// The number of messages. It is kept at a reload if both links are.
    pub messages: u64,
}

/// A response that is pending.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestSnapshot {
    /// The name of the node.
    pub node: String,
    /// The id of the request.
    pub request: String,
    /// The time since the request was received, in seconds.
    pub age: f64,
}

/// The state of a link at one moment. Counters count from the start of the link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkSnapshot {
    /// The name.
    pub name: String,
    /// The bridge's own endpoint id on this link.
    pub id: String,
    /// The addresses that it listens on, with the actual ports.
    pub listening: Vec<String>,
    /// The addresses that it connects to.
    pub connecting: Vec<String>,
    /// `off`, `anonymous`, `mutual`, or `server` if only the listening side has a certificate; `curve` for a ZeroMQ link with
    /// CURVE.
    pub tls: String,
    /// The time at which the link's certificate expires, in seconds since 1970. Without a certificate, `None`.
    #[serde(default)]
    pub certificate_expires: Option<u64>,
    /// True if the link listens on all configured addresses, or has a peering with each address that it connects to.
    pub ready: bool,
    /// The peers.
    pub peers: Vec<PeerSnapshot>,
    /// The number of messages received from peers.
    pub messages_in: u64,
    /// The number of messages sent to peers.
    pub messages_out: u64,
    /// The size of the frames received from peers, in bytes.
    pub bytes_in: u64,
    /// The size of the frames sent to peers, in bytes.
    pub bytes_out: u64,
    /// The number of messages from peers that could not be decoded.
    pub malformed: u64,
    /// The number of messages to peers that were dropped because a queue was full.
    pub dropped: u64,
    /// The number of messages to peers that were dropped because the protocol of the peer cannot carry them. Each message of a
    /// batch counts.
    #[serde(default)]
    pub not_carried: u64,
    /// The number of strings that are not UTF-8 and were changed for clients of the WebSocket API.
    #[serde(default)]
    pub altered_strings: u64,
    /// The number of peers that were disconnected because their queue was full.
    pub overflows: u64,
    /// The number of messages to peers that fault injection dropped.
    pub lost_to_chaos: u64,
    /// The number of failed connection attempts and handshakes, by cause.
    pub failures: BTreeMap<String, u64>,
    /// The number of messages received over this link that were denied or dropped, by reason.
    #[serde(default)]
    pub refused: BTreeMap<String, u64>,
}

/// The state of a peer at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PeerSnapshot {
    /// The endpoint id.
    pub id: String,
    /// The address: `host:port`, or the URL that the link connects to. For a socket of a ZeroMQ proxy, `tcp://host:port`.
    pub address: String,
    /// The identity in its certificate, the name of its token or CURVE key, or several of these.
    pub identity: Option<String>,
    /// `broker`, `websocket` or `zeromq`.
    #[serde(default)]
    pub protocol: String,
    /// The type of the ZeroMQ socket of the peer, such as `XPUB`.
    #[serde(default)]
    pub socket: Option<String>,
    /// The name that a peer of the WebSocket API has sent. It is not an identity: nothing proves it.
    #[serde(default)]
    pub name: Option<String>,
    /// The topics that it subscribes to.
    pub filter: Vec<String>,
    /// The number of messages in its queue.
    pub queued: u64,
    /// The size of the messages in its queue, in bytes.
    pub queued_bytes: u64,
    /// The number of messages to it that were dropped because its queue was full.
    pub dropped: u64,
    /// The number of messages to it that were dropped because its protocol cannot carry them.
    #[serde(default)]
    pub not_carried: u64,
    /// The number of messages received from it since the peering was established.
    #[serde(default)]
    pub messages_in: u64,
    /// The number of messages sent to it since the peering was established.
    #[serde(default)]
    pub messages_out: u64,
    /// The time since the peering was established, in seconds.
    #[serde(default)]
    pub connected: f64,
}

/// The state of a rule at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleSnapshot {
    /// The name.
    pub name: String,
    /// The number of messages that the rule allowed. A message that was forwarded to two links counts twice.
    pub passed: u64,
    /// The number of messages that matched the rule and were denied because they are invalid.
    pub invalid: u64,
    /// The number of messages that were denied, by reason. It includes invalid messages. A message is counted for the
    /// rule of which it matched the most conditions. If the topic of a message matches no rule, the message is counted in
    /// [`Snapshot::refused`] only.
    pub refused: BTreeMap<String, u64>,
    /// The names of the links over which messages are received.
    #[serde(default)]
    pub from: Vec<String>,
    /// The names of the links that messages are sent to.
    #[serde(default)]
    pub to: Vec<String>,
}

/// The state of a node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeSnapshot {
    /// The name.
    pub name: String,
    /// The link that its hello was received over.
    pub link: String,
    /// The endpoint id of the peer that sent the hello.
    pub peer: String,
}

/// The time from reading a message to passing it to the socket, measured for a sample of the messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The upper bounds of the buckets in seconds, ascending.
    pub bounds: Vec<f64>,
    /// The number of messages in each bucket. The latency of a message is at most the bound of its bucket, and more
    /// than the previous bound. An additional last bucket counts the messages above all bounds.
    pub counts: Vec<u64>,
    /// The sum of all times, in seconds.
    pub sum: f64,
}

impl Bridge {
    /// Returns the current state.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let links = self.core.links();
        let mut latency = Latency::default();
        for link in links.iter() {
            latency.add(&link.endpoint.latency());
        }
        let rules = links.rule_counts().enumerate().map(|(id, (name, count))| {
            let [from, to] = links.rules.links_of(RuleId(id)).map(<[String]>::to_vec);
            RuleSnapshot {
                name: name.to_owned(),
                passed: count.passed.load(Ordering::Relaxed),
                invalid: count.invalid.load(Ordering::Relaxed),
                refused: count.denied(),
                from,
                to,
            }
        });
        let name = |link| links.link(link).map(|link| link.config.name.clone()).unwrap_or_default();
        let flows = links.flows.counts().filter(|(from, to, messages)| {
            // The nodes of a ZeroMQ cluster exchange hellos without a rule.
            *messages > 0 || links.rules.connects(*from, *to)
        });
        let mut snapshot = Snapshot {
            uptime: self.since.elapsed().as_secs(),
            links: links.iter().map(|link| link.snapshot()).collect(),
            rules: rules.collect(),
            refused: self.core.denials.counts(),
            latency,
            flows: flows
                .map(|(from, to, messages)| FlowSnapshot { from: name(from), to: name(to), messages })
                .collect(),
            busiest: self.core.busiest.rates(now()),
            recent: self.core.recent.entries(),
            ..Snapshot::default()
        };
        // Take this lock last and hold it only briefly, because requests and responses need it.
        let mut nodes = self.core.nodes();
        let now = now();
        nodes.expire(now);
        let live = nodes.live().into_iter().map(|node| NodeSnapshot {
            name: node.name.to_owned(),
            link: name(node.peering.link),
            peer: node.peering.peer.to_string(),
        });
        snapshot.nodes = live.collect();
        let requests = nodes.oldest(MAX_REQUESTS).into_iter().map(|(node, request, asked)| RequestSnapshot {
            node: node.to_owned(),
            request: request.to_owned(),
            age: now.saturating_duration_since(asked).as_secs_f64(),
        });
        snapshot.requests = requests.collect();
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
        let is_connected = |target: &String| {
            addresses_of(target).iter().all(|address| peers.iter().any(|peer| *peer.address == **address))
        };
        let failures = endpoint.failures().into_iter();
        LinkSnapshot {
            name: config.name.clone(),
            id: endpoint.id().to_string(),
            listening: self.listen_addresses().iter().map(ToString::to_string).collect(),
            ready: self.is_listening() && connecting.iter().all(is_connected),
            connecting,
            tls: match config.tls {
                _ if config.zeromq.as_ref().is_some_and(|zeromq| zeromq.curve.is_some()) => "curve",
                LinkTls::Off => "off",
                LinkTls::Anonymous => "anonymous",
                LinkTls::Mutual(_) => "mutual",
                LinkTls::Server(_) => "server",
            }
            .to_owned(),
            certificate_expires: self
                .tls
                .certificates()
                .and_then(|own| own.valid_until().and_then(seconds_since_1970)),
            peers: peers.iter().map(PeerSnapshot::from).collect(),
            messages_in: stats.received,
            messages_out: stats.sent,
            bytes_in: stats.received_bytes,
            bytes_out: stats.sent_bytes,
            malformed: stats.malformed,
            dropped: stats.dropped_for_peers,
            not_carried: stats.not_carried,
            altered_strings: stats.altered_strings,
            overflows: stats.overflows,
            lost_to_chaos: self.lost_to_chaos(),
            failures: failures.map(|(cause, count)| (cause.to_owned(), count)).collect(),
            refused: self.denied.counts(),
        }
    }
}

/// Returns the addresses of the peers to which a link connects. A `zeromq://` address leads to two sockets.
fn addresses_of(target: &str) -> Vec<String> {
    let sockets = target.parse::<Url>().ok().filter(|url| url.scheme() == Scheme::ZeroMq);
    match sockets {
        Some(url) => url.sockets().iter().map(|socket| format!("tcp://{socket}")).collect(),
        None => vec![target.to_owned()],
    }
}

fn seconds_since_1970(time: SystemTime) -> Option<u64> {
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

impl From<&PeerState> for PeerSnapshot {
    fn from(peer: &PeerState) -> Self {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        PeerSnapshot {
            id: peer.id.to_string(),
            address: peer.address.to_string(),
            identity: identity(peer.identity.as_deref(), &peer.protocol),
            protocol: peer.protocol.name().to_owned(),
            socket: peer.protocol.zeromq().map(|peer| peer.socket.to_owned()),
            name: peer.protocol.websocket().and_then(|peer| peer.name.as_deref()).map(str::to_owned),
            filter: peer.filter.topics().iter().map(ToString::to_string).collect(),
            queued: count(peer.queued),
            queued_bytes: count(peer.queued_bytes),
            dropped: peer.dropped,
            not_carried: peer.not_carried,
            messages_in: peer.received,
            messages_out: peer.sent,
            connected: peer.connected.as_secs_f64(),
        }
    }
}

impl Latency {
    /// Adds the samples of one more link. No message is counted twice, because each is sampled on one link only.
    fn add(&mut self, more: &crate::endpoint::Latency) {
        self.bounds.clone_from(&more.bounds);
        self.counts.resize(more.counts.len(), 0);
        for (count, more) in self.counts.iter_mut().zip(&more.counts) {
            *count = count.saturating_add(*more);
        }
        self.sum += more.sum;
    }
}

#[cfg(test)]
mod tests;
