//! Why something is not let through.

use thiserror::Error;

use super::{MAX_HELLO, MAX_NAMES, MAX_NAMES_PER_OWNER, MAX_NAMES_PER_PEERING, MAX_REQID, PeeringKey};
use crate::management::MAX_NODE_NAME;

/// Why a hello is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(in crate::bridge) enum HelloRefused {
    /// The name is live under another standing peering, of another [`Owner`](super::Owner).
    #[error(
        "the name is taken by peer {} on another connection, under another certificate or from another host: \
         give each node a name of its own",
        holder.peer
    )]
    NameTaken {
        /// Who has it.
        holder: PeeringKey,
    },
    /// The name is longer than [`MAX_NODE_NAME`].
    #[error("a name of {length} bytes: it may have at most {}", MAX_NODE_NAME)]
    NameTooLong {
        /// The name's length in bytes.
        length: usize,
    },
    /// Topic and payload are longer than [`MAX_HELLO`].
    #[error("a hello of {length} bytes: it may have at most {}", MAX_HELLO)]
    TooLarge {
        /// The length of both in bytes.
        length: usize,
    },
    /// The peering has said [`MAX_NAMES_PER_PEERING`] names.
    #[error("more than {} names over one connection: spread the nodes over several", MAX_NAMES_PER_PEERING)]
    TooManyOfPeering,
    /// [`MAX_NAMES_PER_OWNER`] names of the same [`Owner`](super::Owner) are live.
    #[error(
        "more than {} names under one certificate or from one host: give nodes certificates of their own",
        MAX_NAMES_PER_OWNER
    )]
    TooManyOfOwner,
    /// The names and hellos of the same [`Owner`](super::Owner) take all of their share of memory.
    #[error(
        "the names under one certificate or from one host take more than {share} bytes: give nodes certificates of \
         their own, or allow more bytes in the queues of this link"
    )]
    TooManyBytesOfOwner {
        /// [`Party::share`](super::Party::share).
        share: usize,
    },
    /// There are [`MAX_NAMES`] live nodes.
    #[error("more than {} nodes: spread them over several bridges", MAX_NAMES)]
    TooMany,
}

impl HelloRefused {
    /// One word for it, for counters.
    #[must_use]
    pub(in crate::bridge) const fn reason(&self) -> &'static str {
        match self {
            HelloRefused::NameTaken { .. } => "name_taken",
            HelloRefused::NameTooLong { .. } => "name_too_long",
            HelloRefused::TooLarge { .. } => "hello_too_large",
            HelloRefused::TooManyOfPeering => "too_many_names_of_peer",
            HelloRefused::TooManyOfOwner => "too_many_names_of_owner",
            HelloRefused::TooManyBytesOfOwner { .. } => "too_many_bytes_of_owner",
            HelloRefused::TooMany => "too_many_names",
        }
    }
}

/// Why a dispatch request is refused. It is to be relayed to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(in crate::bridge) enum RequestRefused {
    /// The same peering has asked under this request id not long ago: what could be answered to this one could not
    /// be told from the answers to that one.
    #[error("the request id was used already: draw a new one for each request")]
    Repeated,
    /// The request id is longer than [`MAX_REQID`].
    #[error("a request id of {length} bytes: it may have at most {}", MAX_REQID)]
    ReqidTooLong {
        /// Its length in bytes.
        length: usize,
    },
}

impl RequestRefused {
    /// One word for it, for counters.
    #[must_use]
    pub(in crate::bridge) const fn reason(&self) -> &'static str {
        match self {
            RequestRefused::Repeated => "repeated_request",
            RequestRefused::ReqidTooLong { .. } => "reqid_too_long",
        }
    }
}

/// Why a dispatch response is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(in crate::bridge) enum ResponseRefused {
    /// It does not say which node answers.
    #[error("the answer does not say which node it is from")]
    Nameless,
    /// Nobody has said hello under this name.
    #[error("no node of this name is connected: a node says hello before it answers")]
    UnknownName,
    /// Another peering holds the name.
    #[error("the name is that of a node behind peer {}: nobody answers for another", holder.peer)]
    NotItsName {
        /// Who has it.
        holder: PeeringKey,
    },
    /// No such request is known: never asked, asked long ago, or by an agent that is gone.
    #[error("no request of this id is known (any more)")]
    UnknownRequest,
    /// The request is known, but the node was not asked, or rules kept the request from it.
    #[error("the request was not for this node")]
    NotAsked,
    /// The node has answered this request.
    #[error("the node has answered this request already")]
    AnsweredAlready,
    /// The bridge has answered for the node, or the agent has given up.
    #[error("too late: the bridge has answered for the node, or the agent has given up")]
    Late,
}

impl ResponseRefused {
    /// One word for it, for counters.
    #[must_use]
    pub(in crate::bridge) const fn reason(&self) -> &'static str {
        match self {
            ResponseRefused::Nameless => "nameless",
            ResponseRefused::UnknownName => "unknown_name",
            ResponseRefused::NotItsName { .. } => "not_its_name",
            ResponseRefused::UnknownRequest => "unknown_request",
            ResponseRefused::NotAsked => "not_asked",
            ResponseRefused::AnsweredAlready => "answered_already",
            ResponseRefused::Late => "late",
        }
    }
}
