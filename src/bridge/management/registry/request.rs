//! One request, with the state of each node that it is addressed to.

use std::sync::Arc;
use std::time::Instant;

use super::limits::after;
use super::types::PeeringKey;
use crate::management::REQUEST_TIMEOUT;

/// The memory of a request without its id and its nodes, in bytes, as measured: table entries and allocations.
pub(super) const REQUEST_COST: usize = 640;

/// The memory of each node in a request, in bytes.
pub(super) const ASKED_COST: usize = 64;

#[derive(Debug)]
pub(super) struct Request {
    pub(super) agent: PeeringKey,
    pub(super) reqid: Arc<str>,
    /// When the request was received.
    pub(super) asked: Instant,
    /// The nodes that the request is addressed to, sorted by name.
    pub(super) nodes: Vec<(Arc<str>, State)>,
    /// The number of nodes with a pending response.
    pub(super) pending: usize,
    /// Whether nodes that were not known when the request was received may respond to it. A node receives requests as
    /// soon as its peering is established, and its hello arrives later.
    pub(super) unknown_nodes: bool,
}

/// The state of a node in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Pending: the node was connected, and the request was forwarded to it.
    Waiting,
    /// Pending: the node was gone. It may still respond over a different path before the bridge sends a failure on its
    /// behalf.
    Absent,
    /// The node was gone, and was then seen on a different link or bridge. It may connect here again and respond.
    Elsewhere,
    /// The node has responded.
    Answered,
    /// The bridge has sent a failure on behalf of the node, or the agent has given up.
    Over,
}

impl State {
    pub(super) const fn is_pending(self) -> bool {
        matches!(self, State::Waiting | State::Absent)
    }
}

/// The nodes that a request is addressed to.
#[derive(Debug, Default)]
pub(super) struct Addressed {
    /// Live nodes that it is forwarded to.
    pub(super) live: Vec<Arc<str>>,
    /// Gone nodes on whose behalf the bridge may send failures.
    pub(super) gone: Vec<Arc<str>>,
    /// Whether it is also addressed to nodes that are neither live nor gone.
    pub(super) unknown: bool,
}

impl Request {
    pub(super) fn new(agent: PeeringKey, reqid: Arc<str>, to: Addressed, now: Instant) -> Self {
        let pending = to.live.len().saturating_add(to.gone.len());
        let mut nodes = Vec::with_capacity(pending);
        nodes.extend(to.live.into_iter().map(|name| (name, State::Waiting)));
        nodes.extend(to.gone.into_iter().map(|name| (name, State::Absent)));
        nodes.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Request { agent, reqid, asked: now, nodes, pending, unknown_nodes: to.unknown }
    }

    /// Returns when the agent gives up.
    pub(super) fn deadline(&self) -> Instant {
        after(self.asked, REQUEST_TIMEOUT)
    }

    pub(super) fn bytes(&self) -> usize {
        let nodes = self.nodes.len().saturating_mul(ASKED_COST);
        REQUEST_COST.saturating_add(self.reqid.len()).saturating_add(nodes)
    }

    pub(super) fn state(&self, name: &str) -> Option<State> {
        let at = self.nodes.binary_search_by(|(node, _)| (**node).cmp(name)).ok()?;
        self.nodes.get(at).map(|(_, state)| *state)
    }

    /// Sets the state of a node. A node that is not listed is added.
    pub(super) fn set_state(&mut self, name: &Arc<str>, state: State) {
        match self.nodes.binary_search_by(|(node, _)| node.cmp(name)) {
            Ok(at) => {
                if let Some((_, current)) = self.nodes.get_mut(at) {
                    *current = state;
                }
            }
            Err(at) => {
                self.nodes.reserve_exact(1);
                self.nodes.insert(at, (name.clone(), state));
            }
        }
    }
}
