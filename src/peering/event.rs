//! The events that a peering reports to its caller.

use bytes::Bytes;

#[cfg(doc)]
use super::Peering;
use super::error::CloseReason;
use super::notice::Notice;
use super::side::Role;
use crate::data::{EndpointId, Filter};
use crate::wire::{DecodeError, EncodeError, Envelope};

/// An event of a peering, returned by [`Peering::poll_event`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The peer has sent its id. The handshake continues when [`Peering::admit`] or [`Peering::refuse_redundant`] is called.
    /// The handshake timeout keeps running.
    Introduced {
        /// The peer's endpoint id.
        peer: EndpointId,
        /// This endpoint's role. As the originator, do not call [`Peering::refuse_redundant`] while a second handshake with
        /// the same peer is in progress. Wait until that handshake is complete. Otherwise, the peer may read the refusal
        /// before the end of that handshake.
        role: Role,
    },
    /// The peering is established.
    Established {
        /// The peer's endpoint id.
        peer: EndpointId,
        /// The topics that the peer subscribes to.
        filter: Filter,
    },
    /// A data or command message was received. Its payload has not been checked.
    Message(Envelope),
    /// A log batch of Zeek's ZeroMQ back end was received. Only a [`ZeroMq`](crate::zeromq::ZeroMq) session as a PULL socket
    /// reports this.
    Logs {
        /// The id of the node that sent the batch; see [`ZeroMq::sender_name`](crate::zeromq::ZeroMq::sender_name).
        sender: EndpointId,
        /// The undecoded batch (`PROTOCOL.md`, section 12).
        batch: Bytes,
    },
    /// The peer has replaced its filter.
    FilterChanged(Filter),
    /// A malformed envelope was dropped. The peering continues, as in Broker's C++ implementation.
    Malformed(DecodeError),
    /// The peer reports that it could not handle a message. The session continues. A peer that speaks Broker's protocol
    /// never reports this; the server of Zeek's WebSocket API does.
    Notice(Notice),
    /// The peer has sent BYE and will close the connection.
    PeerLeaving,
    /// The peering has ended. This is always the last event. Before you close the connection, write the bytes that
    /// [`Peering::poll_transmit`] returns.
    Closed(CloseReason),
}

/// Why a message cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The peering is not established, or this endpoint is leaving.
    #[error("the peering is not established")]
    NotEstablished,
    /// The message cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}
