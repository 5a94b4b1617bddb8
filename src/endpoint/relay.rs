//! The interface to a relay, which forwards the messages of an endpoint's peers.

use std::fmt;
use std::sync::Arc;

use super::blocked::Blocked;
use super::connect_error::ConnectError;
use super::limits::Owner;
use super::peer::Peer;
use super::status::Status;
use crate::data::Filter;
use crate::net::Batch;

/// Receives the messages of an endpoint's peers, and is notified of new, changed and lost peers. No method may block.
///
/// An endpoint keeps its relay alive. If the relay also keeps the endpoint alive, neither is freed until one of them
/// drops the other.
pub(crate) trait Relay: Send + Sync + fmt::Debug {
    /// Called when data and command messages were received from a peer, regardless of the receiver in their envelopes.
    /// The call is made in the task of the peer's connection: in order for one peer, concurrently for different peers.
    /// The payloads are not checked. Messages under `<$>/local/` are not passed to the relay.
    ///
    /// Must remove at least one message from the batch. Messages that it leaves in the batch are passed again later.
    /// The messages share the read buffer. Pass each message that you store through
    /// [`for_keeping`](crate::net::for_keeping). Otherwise, a small message may keep the complete buffer allocated.
    ///
    /// [`Batch::received`] is set for a sample of the batches, to measure latency. Copy it to the batch that forwards the
    /// messages ([`Batch::set_received`]). The connection clears it after the call.
    ///
    /// Reading from the peer stops until all returned messages are in their queues.
    fn on_messages(&self, from: &Peer, batch: &mut Batch) -> Vec<Blocked>;

    /// Called when a peering is established, before any message is received from or sent to the peer. Within one endpoint,
    /// calls of `on_established`, `on_filter` and `on_closed` never overlap.
    fn on_established(&self, peer: &Peer);

    /// Called with a peer's filter: once after [`Relay::on_established`], and after each change. Messages are already
    /// routed by this filter.
    fn on_filter(&self, peer: &Peer, filter: &Filter);

    /// Called when a peering has ended. No more messages are received from or sent to the peer. `status` contains the reason:
    /// [`Status::PeerLost`] or [`Status::PeerRemoved`].
    fn on_closed(&self, peer: &Peer, status: Option<&Status>);

    /// Called when a connection did not become a peering: an attempt to connect failed, or a connection that was accepted. May be
    /// called at any time, also concurrently with the other methods.
    fn on_failed(&self, address: &Arc<str>, error: &ConnectError, owner: &Owner);
}
