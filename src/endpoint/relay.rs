//! The interface to a relay, which forwards the messages of an endpoint's peers.

use std::fmt;

use super::blocked::Blocked;
use super::peer::Peer;
use crate::data::Filter;
use crate::net::Batch;

/// Receives the messages of an endpoint's peers, and is notified of new, changed and lost peers. No method may block.
///
/// An endpoint keeps its relay alive. If the relay keeps the endpoint alive too, one of them must drop the other.
pub(crate) trait Relay: Send + Sync + fmt::Debug {
    /// Data and command messages were received from a peer, regardless of their receiver. Called in the task of the
    /// peer's connection: in order for one peer, concurrently for several. The payloads are not checked. Messages under
    /// `<$>/local/` are not passed to the relay.
    ///
    /// Must remove at least one message from the batch. What it leaves there is passed again later. The messages refer to the
    /// memory that they were read into: see [`for_keeping`](crate::net::for_keeping). [`Batch::received`] is set for a sample
    /// of the batches; pass it on with the messages. The connection clears it after the call.
    ///
    /// Reading from the peer stops until all returned messages are in their queues.
    fn on_messages(&self, from: &Peer, batch: &mut Batch) -> Vec<Blocked>;

    /// A peering is established. Called before any message is received from or sent to the peer. Calls of this method and of
    /// those below never overlap within one endpoint.
    fn on_established(&self, peer: &Peer);

    /// A peer's filter is known: once after [`Relay::on_established`], and after each change. Messages are routed by it
    /// already.
    fn on_filter(&self, peer: &Peer, filter: &Filter);

    /// A peering has ended. No further message is received from or sent to the peer.
    fn on_closed(&self, peer: &Peer);
}
