//! The interface to whoever relays the messages of an endpoint's peers.

use std::fmt;
use std::time::Instant;

use super::blocked::Blocked;
use super::peer::Peer;
use crate::data::Filter;
use crate::wire::Envelope;

/// Hears what the peers of an endpoint say, and who they are. Nothing in here may block.
///
/// An endpoint holds on to its relay: one that holds on to the endpoint keeps both, until one lets go.
pub(crate) trait Relay: Send + Sync + fmt::Debug {
    /// Data and command messages came from a peer, for whomever. Called in the task of the peer's connection: in order for
    /// one peer, at the same time for several. The payloads are not checked. Topics under `<$>/local/` do not get here.
    ///
    /// At least one of the messages has to be taken; the others come again if they are not. They hold on to the memory
    /// that they were read into: see [`for_keeping`](crate::net::for_keeping). `since` is when they were heard, for a few
    /// of them: for [`Endpoint::forward_as`].
    ///
    /// The peer is not read from until all that is given back here has found room.
    fn heard(
        &self,
        from: &Peer,
        messages: &mut dyn Iterator<Item = Envelope>,
        since: Option<Instant>,
    ) -> Vec<Blocked>;

    /// A peering stands. Nothing of the peer was heard yet, and nothing goes to it before this returns. This and the
    /// following are called one after the other for all peers of an endpoint.
    fn stands(&self, peer: &Peer);

    /// What a peer wants to hear: once after [`Relay::stands`], and at each change. What is forwarded goes by it already.
    fn wants(&self, peer: &Peer, filter: &Filter);

    /// A peering has ended. Nothing that is forwarded reaches the peer any more, and nothing of it is heard.
    fn gone(&self, peer: &Peer);
}
