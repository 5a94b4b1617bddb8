//! The limits of the registry, and the costs with which memory is accounted.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::management::{MAX_NODES, REQUEST_TIMEOUT};

/// The time that the bridge waits for a response before it sends a failure in the node's name. Zeek's agent gives up after
/// [`REQUEST_TIMEOUT`] (5 s), and then loses the responses of all nodes; this leaves a second for the failure to arrive.
pub(super) const ANSWER_AFTER: Duration = Duration::from_secs(4);

/// The interval at which a hello is repeated to an agent that has not sent the node a request yet. An agent ignores hellos of
/// nodes that are not in its configuration, and a deployment fails if a node's hello does not arrive within 5 s. A node that
/// was connected before the deployment has to repeat its hello within that time.
///
/// In Zeek's agent (`scripts/policy/frameworks/management/agent/main.zeek`, 5.0 to 9.0), a repeated hello sets the node's state
/// to RUNNING, removes the node from the pending ones of a deployment, and logs a line. Names that are not in the
/// configuration are ignored. The only visible effect: if the agent is about to stop a node for a deployment or restart, and
/// receives a hello before the node has stopped, it considers the node running a moment too early.
pub(super) const HELLO_EVERY: Duration = Duration::from_secs(4);

/// Maximum number of hellos that are repeated to one agent each [`HELLO_EVERY`]. Further nodes take turns.
pub(super) const HELLOS_AT_ONCE: usize = 1024;

/// Maximum number of live names; the same as for an [`Agent`](crate::management::Agent).
pub(super) const MAX_NAMES: usize = MAX_NODES;

/// Maximum number of live names of one peering. A node has one; a bridge has one for each node connected to it. If
/// rules allow a peer any name, it must not be able to use up the names of all other peers.
pub(super) const MAX_NAMES_PER_PEERING: usize = 1024;

/// Maximum number of live names of one [`Owner`](crate::endpoint::Owner), over any number of peerings, for the same reason.
pub(super) const MAX_NAMES_PER_OWNER: usize = MAX_NAMES / 4;

/// Maximum total length of the topic and the payload of a hello, in bytes. It is limited because hellos are stored. It
/// allows the longest name, the name of the event, and metadata.
pub(super) const MAX_HELLO: usize = 4096;

/// Maximum length of a request id, in bytes, because it is stored. Zeek's ids are shorter than 20 bytes; a UUID has 36.
pub(super) const MAX_REQID: usize = 256;

/// Maximum of [`Party::share`](super::types::Party::share), in bytes: enough for 10,000 requests in flight to a dozen nodes.
pub(in crate::bridge) const MAX_SHARE: usize = 16 * 1024 * 1024;

/// Maximum number of gone names that are remembered. It is enough for a large cluster. A request to all nodes is
/// answered once for each gone name, so a peer that invents names must not be able to multiply these answers.
pub(super) const MAX_GONE: usize = 1024;

/// Maximum memory of gone names, in bytes: [`MAX_GONE`] names of usual length.
pub(super) const MAX_GONE_BYTES: usize = 512 * 1024;

/// The time for which a gone name is remembered. A node that restarts is back by then. A node that stays away longer is probably connected
/// to another bridge, or to the agent itself.
pub(super) const GONE_FOR: Duration = Duration::from_secs(300);

/// The memory of a live name without its name and hello, in bytes, as measured: table entries and allocations.
pub(super) const NAME_COST: usize = 768;

/// The memory that each agent needs for each live name, in bytes. It records whether the agent received the hello, and
/// whether it sent the node a request.
#[cfg(test)]
pub(super) const HELLO_STATE_COST: usize = 64;

/// The time for which a request is remembered after its agent gave up, so that late responses are recognized as such.
pub(super) const KEPT: Duration = REQUEST_TIMEOUT;

/// The limits that tests can change from [`Bounds::DEFAULT`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) names: usize,
    pub(super) names_per_peering: usize,
    pub(super) names_per_owner: usize,
    pub(super) gone: usize,
    pub(super) gone_bytes: usize,
    pub(super) hellos_at_once: usize,
}

impl Bounds {
    pub(super) const DEFAULT: Bounds = Bounds {
        names: MAX_NAMES,
        names_per_peering: MAX_NAMES_PER_PEERING,
        names_per_owner: MAX_NAMES_PER_OWNER,
        gone: MAX_GONE,
        gone_bytes: MAX_GONE_BYTES,
        hellos_at_once: HELLOS_AT_ONCE,
    };
}

pub(super) fn after(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or(now)
}

/// Releases most of the memory of a map that was much larger before: a map keeps the capacity of its largest size.
pub(super) fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    const SPARE: usize = 64;
    let target = map.len().saturating_mul(2).saturating_add(SPARE);
    if map.capacity() > target.saturating_mul(2) {
        map.shrink_to(target);
    }
}
