//! Errors of the registry.

use thiserror::Error;

use super::limits::{MAX_HELLO, MAX_NAMES, MAX_NAMES_PER_OWNER, MAX_NAMES_PER_PEERING, MAX_REQID};
use super::types::PeeringKey;
use crate::management::MAX_NODE_NAME;

/// The reason for rejecting a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(in crate::bridge) enum HelloError {
    /// The name is live on a peering of a different [`Owner`](crate::endpoint::Owner).
    #[error(
        "the name is held by peer {}, which has a different certificate, token or host; give each node a different name",
        holder.peer
    )]
    NameTaken { holder: PeeringKey },
    /// The name is longer than [`MAX_NODE_NAME`].
    #[error("the name has {length} bytes; the maximum is {}", MAX_NODE_NAME)]
    NameTooLong { length: usize },
    /// Topic and payload together are longer than [`MAX_HELLO`].
    #[error("the hello has {length} bytes; the maximum is {}", MAX_HELLO)]
    TooLarge { length: usize },
    /// The peering has [`MAX_NAMES_PER_PEERING`] names.
    #[error(
        "more than {} names over one connection; distribute the nodes over several connections",
        MAX_NAMES_PER_PEERING
    )]
    TooManyOfPeering,
    /// The [`Owner`](crate::endpoint::Owner) has [`MAX_NAMES_PER_OWNER`] live names.
    #[error(
        "more than {} names of one certificate, token or host; give each node its own certificate",
        MAX_NAMES_PER_OWNER
    )]
    TooManyOfOwner,
    /// The names and hellos of the [`Owner`](crate::endpoint::Owner) exceed its [`Party::share`](super::types::Party::share) of memory.
    #[error(
        "the names of one certificate, token or host exceed {share} bytes; give each node its own certificate, or allow larger \
         queues on this link"
    )]
    TooManyBytesOfOwner { share: usize },
    /// There are [`MAX_NAMES`] live nodes.
    #[error("more than {} nodes; distribute them over several bridges", MAX_NAMES)]
    TooMany,
}

impl HelloError {
    /// Returns the name of the error in metrics and logs.
    pub(in crate::bridge) const fn reason(&self) -> &'static str {
        match self {
            HelloError::NameTaken { .. } => "name_taken",
            HelloError::NameTooLong { .. } => "name_too_long",
            HelloError::TooLarge { .. } => "hello_too_large",
            HelloError::TooManyOfPeering => "too_many_names_of_peer",
            HelloError::TooManyOfOwner => "too_many_names_of_owner",
            HelloError::TooManyBytesOfOwner { .. } => "too_many_bytes_of_owner",
            HelloError::TooMany => "too_many_names",
        }
    }
}

/// The reason for rejecting a request, which must not be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(in crate::bridge) enum RequestError {
    /// The same peering recently sent a request with this id. Responses to the two requests could not be distinguished.
    #[error("the request id was used before; choose a new id for each request")]
    Repeated,
    /// The request id is longer than [`MAX_REQID`].
    #[error("the request id has {length} bytes; the maximum is {}", MAX_REQID)]
    ReqidTooLong { length: usize },
}

impl RequestError {
    /// Returns the name of the error in metrics and logs.
    pub(in crate::bridge) const fn reason(&self) -> &'static str {
        match self {
            RequestError::Repeated => "repeated_request",
            RequestError::ReqidTooLong { .. } => "reqid_too_long",
        }
    }
}

/// The reason for rejecting a response, which must not be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(in crate::bridge) enum ResponseError {
    /// The response does not name its node.
    #[error("the response does not name its node")]
    Nameless,
    /// No live node has this name.
    #[error("no node of this name is connected; a node has to send a hello before it responds")]
    UnknownName,
    /// The name belongs to a different peering.
    #[error("the name is held by peer {}; only that peer can respond under it", holder.peer)]
    NotItsName { holder: PeeringKey },
    /// The request is not known: it was never received, is too old, or its agent has disconnected.
    #[error("no recent request has this id")]
    UnknownRequest,
    /// The request was not addressed to the node, or rules denied it to the node.
    #[error("the request was not sent to this node")]
    NotAsked,
    /// The node has responded to this request before.
    #[error("the node has responded to this request before")]
    AnsweredAlready,
    /// The bridge has already sent a failure on behalf of the node, or the agent has given up.
    #[error("too late; the bridge has sent a failure on behalf of the node, or the agent has given up")]
    Late,
}

impl ResponseError {
    /// Returns the name of the error in metrics and logs.
    pub(in crate::bridge) const fn reason(&self) -> &'static str {
        match self {
            ResponseError::Nameless => "nameless",
            ResponseError::UnknownName => "unknown_name",
            ResponseError::NotItsName { .. } => "not_its_name",
            ResponseError::UnknownRequest => "unknown_request",
            ResponseError::NotAsked => "not_asked",
            ResponseError::AnsweredAlready => "answered_already",
            ResponseError::Late => "late",
        }
    }
}
