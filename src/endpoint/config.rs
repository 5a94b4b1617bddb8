//! The settings of an endpoint.

use std::sync::Arc;
use std::time::Duration;

use super::QueueLimits;
use super::admits::Admits;
use super::websocket::WebSocketConfig;
use super::zeromq::ZeroMqConfig;
use crate::data::EndpointId;
use crate::peering;
use crate::wire::Limits;

/// The settings of an [`super::Endpoint`]. The defaults suit a node or agent.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// This endpoint's id. `None`: a random id. This is the right choice, because an endpoint should have a new id after each
    /// start of its process.
    ///
    /// The id should be a valid UUID. If it is not, Broker's C++ implementation reports no status of this peer, so a Zeek
    /// node does not receive `Broker::peer_added` for it.
    pub id: Option<EndpointId>,
    /// The name of this endpoint: the value of the field `link` in log lines about its peers. It distinguishes several
    /// endpoints of one process.
    pub label: Option<Arc<str>>,
    /// The limits on the input of each peer.
    pub limits: Limits,
    /// The maximum duration of a handshake, including TLS.
    pub handshake_timeout: Duration,
    /// The maximum duration of a TCP connect.
    pub connect_timeout: Duration,
    /// How long a peer may be silent before it is pinged. If it is then silent for the same time again, it is considered
    /// dead. `None`: no limit. For a server of the WebSocket API, at most
    /// [`ClientConfig::PING_INTERVAL`](crate::websocket::ClientConfig::PING_INTERVAL) applies.
    pub idle_timeout: Option<Duration>,
    /// How long to wait for a peer's confirmation of a BYE. A peer of the WebSocket API that is still reading the messages
    /// before has up to ten times as long.
    pub leave_timeout: Duration,
    /// How long a shutdown waits for a peer to read the messages that were published before the shutdown.
    pub drain_timeout: Duration,
    /// The limits of the queue to each peer. Broker's C++ implementation queues 2048 messages.
    ///
    /// If this endpoint is the proxy of a ZeroMQ cluster, the limit in bytes also applies to the subscriptions of all peers
    /// together, and to the changes of subscriptions that a publisher has not read; it is then at least 64 KiB. If half of the
    /// latter limit is used, a subscriber that changes its subscriptions waits for at most [`patience`](Self::patience).
    pub peer_queue: QueueLimits,
    /// The limits of the queue to each subscriber. If a queue is full, new messages for its subscriber are dropped and
    /// counted. So a slow subscriber never delays a peer.
    pub subscriber_queue: QueueLimits,
    /// How long a `publish` waits for room in a peer's full queue before the peer is disconnected. Broker's C++
    /// implementation disconnects at once.
    ///
    /// Only the caller of this `publish` waits. The message is already in the queues of the other peers.
    pub patience: Duration,
    /// What happens to a message that is forwarded to a peer whose queue is full. Only a bridge forwards messages; for a
    /// `publish`, see [`patience`](Self::patience).
    pub when_full: WhenFull,
    /// The maximum number of concurrent handshakes on all listeners. Additional connections wait for a slot.
    ///
    /// If a different host has at least two more handshakes than the host of a waiting connection, one handshake of
    /// that different host is ended at once. Otherwise, the oldest handshake is ended once it has taken longer than a
    /// second.
    ///
    /// At most 256 connections wait. If one more arrives, the newest connection of the host with the most waiting
    /// connections is closed. If the host of the new connection has about as many, the new connection is closed instead.
    pub max_handshakes: usize,
    /// The maximum number of peers that connect to this endpoint. A peer takes a slot when it has sent its endpoint id (after
    /// TLS), not when it connects.
    ///
    /// When all slots are taken, they are shared between certificates or, for peers without a certificate, hosts.
    /// Suppose that a different certificate, token or host has at least two more peers than the owner of the new
    /// peer. Then the newest peering of that different certificate, token or host is closed, and the new peer gets its slot.
    /// Otherwise, the new peer is refused.
    pub max_peers: usize,
    /// The maximum number of connections per second that are accepted on all listeners together. After a second without
    /// connections, this number of connections can be accepted at once. Additional connections wait in the operating
    /// system's queue. `None`: no limit. 0: no connection is accepted.
    pub connects_per_second: Option<u32>,
    /// Decides which peers are admitted: both peers that connect to this endpoint and peers that it connects to. `None`:
    /// all peers that TLS accepts.
    pub admits: Option<Admits>,
    /// The settings of the WebSocket API, for `ws://` and `wss://` addresses.
    pub websocket: WebSocketConfig,
    /// The settings of ZeroMQ, for `zeromq://` addresses.
    pub zeromq: ZeroMqConfig,
}

/// What happens to a message for a peer whose queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// The oldest queued messages are dropped.
    DropOldest,
    /// The message is dropped.
    DropNewest,
    /// The peer is disconnected, as by Broker's C++ implementation.
    #[default]
    Disconnect,
    /// Reading from the sender stops until there is room.
    Block,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        EndpointConfig {
            id: None,
            label: None,
            limits: Limits::DEFAULT,
            handshake_timeout: peering::Config::HANDSHAKE_TIMEOUT,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Some(peering::Config::IDLE_TIMEOUT),
            leave_timeout: peering::Config::LEAVE_TIMEOUT,
            drain_timeout: Duration::from_secs(10),
            peer_queue: QueueLimits { messages: 2048, bytes: 64 * 1024 * 1024 },
            subscriber_queue: QueueLimits { messages: 8192, bytes: 64 * 1024 * 1024 },
            patience: Duration::from_secs(1),
            when_full: WhenFull::default(),
            max_handshakes: 256,
            max_peers: 16_384,
            connects_per_second: None,
            admits: None,
            websocket: WebSocketConfig::default(),
            zeromq: ZeroMqConfig::default(),
        }
    }
}

/// When to connect again after a connection failed or was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The delay after the first failure. It doubles after each additional failure.
    pub first: Duration,
    /// The maximum delay.
    pub cap: Duration,
}

/// Always one second: the interval of Zeek's Management framework (`Management::connect_retry`). A node must not wait longer:
/// Zeek's agent waits 5 s for the nodes of a deployment.
impl Default for Retry {
    fn default() -> Self {
        Retry { first: Duration::from_secs(1), cap: Duration::from_secs(1) }
    }
}

impl Retry {
    /// Returns the delay after a number of failures in a row. `random` varies it between 75 % and 125 %, so that many peers
    /// do not reconnect at the same moment.
    #[must_use]
    pub fn delay(&self, failures: u32, random: u8) -> Duration {
        let doublings = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let wait = self.first.saturating_mul(doublings).min(self.cap);
        let jitter = 192u32.saturating_add(u32::from(random) / 2);
        wait.checked_div(256).unwrap_or(wait).saturating_mul(jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_are_jittered() {
        let retry = Retry { first: Duration::from_secs(1), cap: Duration::from_secs(10) };
        let middle = |failures| retry.delay(failures, 128);
        let seconds = [1, 2, 4, 8, 10, 10].map(Duration::from_secs);
        for (failures, expected) in (1..).zip(seconds) {
            assert_eq!(middle(failures), expected, "{failures}");
        }
        assert_eq!(middle(u32::MAX), retry.cap);
        assert_eq!(retry.delay(1, 0), Duration::from_millis(750));
        assert!(retry.delay(1, 255) > Duration::from_millis(1240));
        assert!(retry.delay(1, 255) <= Duration::from_millis(1250));
    }

    #[test]
    fn by_default_a_node_reconnects_within_the_time_limit_of_a_deployment() {
        let longest = (1..100).map(|failures| Retry::default().delay(failures, 255)).max().unwrap();
        assert!(longest <= Duration::from_millis(1250), "{longest:?}");
    }
}
