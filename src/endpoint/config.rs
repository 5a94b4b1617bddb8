//! What an endpoint can be told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::QueueLimits;
use crate::data::EndpointId;
use crate::net::tls::PeerIdentity;
use crate::peering;
use crate::wire::Limits;

/// The settings of an [`super::Endpoint`]. The defaults suit a node or agent.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// This endpoint's id; `None`: a new random one, as is right for every process start. It had
    /// better be a well-formed UUID: of a peer whose id is none, the reference tells no statuses, so
    /// that a Zeek sees no `Broker::peer_added`.
    pub id: Option<EndpointId>,
    /// What log lines about its peers call this endpoint (their field `link`), where there are several; `None`: nothing.
    pub label: Option<Arc<str>>,
    /// What each peer may cost.
    pub limits: Limits,
    /// How long a handshake may take, TLS included.
    pub handshake_timeout: Duration,
    /// How long a TCP connect may take.
    pub connect_timeout: Duration,
    /// How long a peer may be silent before it is pinged, and then again before it is given up.
    pub idle_timeout: Option<Duration>,
    /// How long a peer may take to confirm a BYE.
    pub leave_timeout: Duration,
    /// How long a peer may take to read what was published before a shutdown.
    pub drain_timeout: Duration,
    /// What may wait for one peer. The reference keeps 2048 messages.
    pub peer_queue: QueueLimits,
    /// What may wait for one subscriber. What does not fit is dropped and counted; peers are never
    /// held up by a subscriber.
    pub subscriber_queue: QueueLimits,
    /// How long a `publish` waits for a peer whose queue is full before that peer is disconnected (the
    /// reference disconnects at once). Only that one publisher waits; other peers have the
    /// message by then.
    pub patience: Duration,
    /// What becomes of a message that is passed on to a peer whose queue is full. Only a bridge passes messages on;
    /// a `publish` has its [`patience`](Self::patience).
    pub when_full: WhenFull,
    /// How many connections may be in their handshake at once on all listeners. Further ones wait; those that have
    /// taken longer than a second then give way to them, and at once those of a host that has more than another that waits.
    /// When 256 wait already, the newest of the host with the most of them is closed.
    pub max_handshakes: usize,
    /// How many peers there may be at once that connected to this endpoint. A slot is taken by a peer that has sent its id
    /// (after TLS), not by one that only connects.
    ///
    /// When all slots are taken, they are shared: a newcomer whose certificate (without one: whose host) has fewer
    /// peers than another gets a slot of that other, whose newest peering is closed. Otherwise the newcomer is refused.
    pub max_peers: usize,
    /// How many connections are accepted a second, on all listeners together, after as many at once at first and after
    /// a quiet second; the others wait in the operating system's queue. `None`: as many as come; 0: none.
    pub connects_per_second: Option<u32>,
    /// Who may peer, whichever side connected; `None`: everybody that TLS lets through.
    pub admits: Option<Admits>,
}

/// What becomes of a message for a peer whose queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// The oldest that waits is dropped for it.
    DropOldest,
    /// It is dropped.
    DropNewest,
    /// The peer is disconnected, as the reference does.
    #[default]
    Disconnect,
    /// Its sender is not read from until there is room.
    Block,
}

/// Decides who may peer: asked once for each connection, after TLS and before the peering's handshake, with who it is
/// by its certificate (`None` without TLS, and in anonymous TLS). It must not block.
#[derive(Clone)]
pub struct Admits(Arc<Ask>);

type Ask = dyn Fn(Option<&PeerIdentity>) -> bool + Send + Sync;

impl Admits {
    /// Lets those through for whom `ask` says `true`.
    pub fn new(ask: impl Fn(Option<&PeerIdentity>) -> bool + Send + Sync + 'static) -> Self {
        Admits(Arc::new(ask))
    }

    pub(super) fn ask(&self, identity: Option<&PeerIdentity>) -> bool {
        (self.0)(identity)
    }
}

impl fmt::Debug for Admits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Admits")
    }
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
        }
    }
}

/// When to try again after a connection failed or was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The wait after the first failure; each further one doubles it.
    pub first: Duration,
    /// The longest wait.
    pub cap: Duration,
}

/// A second, always: the interval of Zeek's Management framework (`Management::connect_retry`). Longer waits are of no
/// use to a node: Zeek's agent waits 5 s for the nodes of a deployment.
impl Default for Retry {
    fn default() -> Self {
        Retry { first: Duration::from_secs(1), cap: Duration::from_secs(1) }
    }
}

impl Retry {
    /// The wait after so many failures in a row, jittered to between three quarters and five
    /// quarters of it so that many peers do not come back in one moment. `random` is any number.
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
    fn waits_double_up_to_the_cap_and_are_jittered() {
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
    fn by_default_a_node_is_back_within_an_agent_s_deploy_limit() {
        let longest = (1..100).map(|failures| Retry::default().delay(failures, 255)).max().unwrap();
        assert!(longest <= Duration::from_millis(1250), "{longest:?}");
    }
}
