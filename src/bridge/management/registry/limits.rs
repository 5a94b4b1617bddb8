//! The limits of the registry, and the memory that each kind of entry is assumed to need.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::management::{MAX_NODES, REQUEST_TIMEOUT};

/// The time that the bridge waits for a response before it sends a failure on behalf of the node. Zeek's agent gives up
/// after [`REQUEST_TIMEOUT`] (5 s), and then loses the responses of all nodes. So one second remains for the failure to
/// arrive.
pub(super) const ANSWER_AFTER: Duration = Duration::from_secs(4);

/// The interval at which a hello is repeated to an agent that has not sent the node a request yet. An agent ignores
/// hellos of nodes that are not in its configuration. When a configuration is deployed, the deployment fails if the
/// hello of a node does not arrive within 5 s. So if a node was connected before the deployment, its hello has to be
/// repeated within these 5 s.
///
/// In Zeek's agent (`scripts/policy/frameworks/management/agent/main.zeek`, 5.0 to 9.0), a repeated hello has these
/// effects:
///
/// - It sets the state of the node to RUNNING.
/// - It removes the node from the nodes that a deployment waits for.
/// - It logs a line.
///
/// Names that are not in the configuration are ignored. Only one effect can be visible to a user. Suppose that the
/// agent is about to stop a node for a deployment or a restart, and a hello arrives before the node has stopped. Then
/// the agent considers the node running a moment too early.
pub(super) const HELLO_EVERY: Duration = Duration::from_secs(4);

/// Maximum number of hellos that are repeated to one agent in each interval of [`HELLO_EVERY`]. If there are more
/// nodes, they take turns.
pub(super) const HELLOS_AT_ONCE: usize = 1024;

/// Maximum number of live names; the same as for an [`Agent`](crate::management::Agent).
pub(super) const MAX_NAMES: usize = MAX_NODES;

/// Maximum number of live names of one peering. A node has one name; a bridge has one for each node connected to it.
/// Without this limit, a peer for which rules allow any name could use up [`MAX_NAMES`], so that no other peer could
/// announce a node.
pub(super) const MAX_NAMES_PER_PEERING: usize = 1024;

/// Maximum number of live names of one [`Owner`](crate::endpoint::Owner), over any number of peerings, for the same reason.
pub(super) const MAX_NAMES_PER_OWNER: usize = MAX_NAMES / 4;

/// Maximum total length of the topic and the payload of a hello, in bytes. Hellos are stored, so their size is limited.
/// A hello with the longest name and with metadata is within this limit.
pub(super) const MAX_HELLO: usize = 4096;

/// Maximum length of a request id, in bytes, because it is stored. Zeek's ids are shorter than 20 bytes; a UUID has 36.
pub(super) const MAX_REQID: usize = 256;

/// Maximum of [`Party::share`](super::types::Party::share), in bytes: enough for 10,000 requests in flight to a dozen nodes.
pub(in crate::bridge) const MAX_SHARE: usize = 16 * 1024 * 1024;

/// Maximum number of gone names that are remembered. It is enough for a large cluster. The limit is needed because the
/// bridge answers a request to all nodes once for each gone name: a peer that invents names could otherwise cause any
/// number of answers.
pub(super) const MAX_GONE: usize = 1024;

/// Maximum memory of gone names, in bytes: [`MAX_GONE`] names of usual length.
pub(super) const MAX_GONE_BYTES: usize = 512 * 1024;

/// The time for which a gone name is remembered. A node that restarts is connected again within this time. A node that
/// is gone for longer is probably connected to another bridge, or directly to the agent.
pub(super) const GONE_FOR: Duration = Duration::from_secs(300);

/// The measured memory of a live node in bytes, without the text of its name and its hello: table entries and
/// allocations.
pub(super) const NAME_COST: usize = 768;

/// The memory that each agent needs for each live name, in bytes. The entry records whether the agent received the
/// hello, and whether the agent sent the node a request.
#[cfg(test)]
pub(super) const HELLO_STATE_COST: usize = 64;

/// The time for which a request is remembered after its agent gave up, so that a late response is recognized as late.
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

/// Releases most of the memory of a map that was much larger before. Without this, a map keeps the capacity of its
/// largest size.
pub(super) fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    const SPARE: usize = 64;
    let target = map.len().saturating_mul(2).saturating_add(SPARE);
    if map.capacity() > target.saturating_mul(2) {
        map.shrink_to(target);
    }
}
