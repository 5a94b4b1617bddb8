//! The arguments and results of the registry.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bridge::LinkId;
use crate::data::EndpointId;
use crate::endpoint::Owner;
use crate::management::DispatchResponse;
use crate::wire::Envelope;

/// One peering of the bridge, from its handshake to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::bridge) struct PeeringKey {
    pub(in crate::bridge) link: LinkId,
    pub(in crate::bridge) peer: EndpointId,
    /// The number of the peering. It distinguishes the peering from earlier peerings with the same peer.
    pub(in crate::bridge) peering: u64,
}

/// The peer that sent a hello or a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bridge) struct Party {
    pub(in crate::bridge) peering: PeeringKey,
    /// The owner of the peer's names and requests. A new connection of the same owner can take over a live name,
    /// because the bridge may not have detected yet that the old connection is dead. Connections of other owners
    /// cannot.
    pub(in crate::bridge) owner: Owner,
    /// The maximum memory of the owner's names, in bytes. The same maximum applies separately to the owner's requests.
    /// One owner cannot use the share of another owner.
    pub(in crate::bridge) share: usize,
}

/// The number of failures that a bridge sent on behalf of nodes, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredFor {
    /// Rules denied the request to the node.
    pub denied: u64,
    /// The node's connection ended while the request was in flight.
    pub lost: u64,
    /// The node did not respond in time, or was not connected.
    pub no_answer: u64,
    /// The request was dropped because the requests of its owner used too much memory.
    pub forgotten: u64,
}

/// The reason of a failure that the bridge sends on behalf of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerReason {
    Denied,
    Lost,
    NoAnswer,
    Forgotten,
}

impl AnsweredFor {
    pub(super) fn count(&mut self, reason: AnswerReason) {
        let count = match reason {
            AnswerReason::Denied => &mut self.denied,
            AnswerReason::Lost => &mut self.lost,
            AnswerReason::NoAnswer => &mut self.no_answer,
            AnswerReason::Forgotten => &mut self.forgotten,
        };
        *count = count.saturating_add(1);
    }

    /// Returns the sum of all counts.
    #[must_use]
    pub fn total(&self) -> u64 {
        let AnsweredFor { denied, lost, no_answer, forgotten } = *self;
        denied.saturating_add(lost).saturating_add(no_answer).saturating_add(forgotten)
    }
}

/// A failure that the bridge sends on behalf of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub(in crate::bridge) struct Answer {
    /// The agent that sent the request.
    pub(in crate::bridge) to: PeeringKey,
    pub(in crate::bridge) response: DispatchResponse,
}

/// A request that was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub(in crate::bridge) struct Accepted {
    /// Failures for the oldest requests of the same owner, which were forgotten to make room.
    pub(in crate::bridge) answers: Vec<Answer>,
    /// The live nodes that the request is addressed to, but for which rules deny it.
    pub(in crate::bridge) denied: Vec<DeniedNode>,
}

/// A live node to which rules deny a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bridge) struct DeniedNode {
    pub(in crate::bridge) node: Arc<str>,
    /// The link of the node.
    pub(in crate::bridge) link: LinkId,
}

/// A hello to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bridge) struct Repeat {
    /// The agent.
    pub(in crate::bridge) to: PeeringKey,
    /// The peering of the node.
    pub(in crate::bridge) node: PeeringKey,
    /// The hello as it was received, except for its header, which the caller rewrites.
    pub(in crate::bridge) hello: Envelope,
}

/// The messages that are due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub(in crate::bridge) struct Due {
    pub(in crate::bridge) answers: Vec<Answer>,
    pub(in crate::bridge) hellos: Vec<Repeat>,
}

/// A live node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::bridge) struct LiveNode<'a> {
    pub(in crate::bridge) name: &'a str,
    /// The peering that holds the name.
    pub(in crate::bridge) peering: PeeringKey,
}
