//! Sends messages to the peers of one link.

use std::fmt;
use std::sync::Arc;

use super::audience::Audience;
use super::router::origin::{MessageId, Origin};
use crate::endpoint::{Endpoint, Forwarded, Peer, Routes};
use crate::net::{Batch, Encoder, Sender};
use crate::wire::Envelope;

/// Sends messages to the peers of a link.
pub(super) trait Outlet: Send + Sync + fmt::Debug {
    /// Sends a batch to the peers in `audience` that subscribe to the topic of its first message, according to `route`.
    ///
    /// For [`Audience::PeerReliable`] and for delayed messages, the current routes of the link are used instead of
    /// those in `route`.
    fn send(&self, batch: &Batch, route: &mut Route, audience: &Audience, forwarded: &mut Forwarded);
}

/// The recipients of a batch on one link.
#[derive(Debug, Default)]
pub(super) struct Route {
    pub(super) routes: Arc<Routes>,
    /// Whether to send to peers that are bridges, and to peers that are not. May be true without such a peer.
    pub(super) has_peers: [bool; 2],
    /// One encoder for other bridges and one for all other peers, because the two kinds receive messages with different
    /// senders.
    pub(super) encoders: [Encoder; 2],
}

impl Route {
    /// Returns whether there are peers that are other bridges.
    pub(super) fn has_bridges(&self) -> bool {
        let [bridges, _] = self.has_peers;
        bridges
    }

    /// Returns a route to all peers of an endpoint.
    pub(super) fn to_all(endpoint: &Endpoint) -> Self {
        Route { routes: endpoint.routes(), has_peers: [true; 2], encoders: Default::default() }
    }
}

/// Sends messages to the peers of an endpoint. The sender field is the message id for peers that are bridges, and the
/// endpoint's own id for all other peers, unless the audience contains the text of a sender.
#[derive(Clone, Debug)]
pub(super) struct EndpointOutlet {
    pub(super) endpoint: Endpoint,
    pub(super) origin: Arc<Origin>,
}

impl Outlet for EndpointOutlet {
    fn send(&self, batch: &Batch, route: &mut Route, audience: &Audience, forwarded: &mut Forwarded) {
        let message_id = |envelope: &Envelope| {
            MessageId::of(envelope.sender).unwrap_or_else(|| self.origin.next_id()).as_sender().into()
        };
        let [to_bridges, to_others] = route.has_peers;
        let [bridge_encoder, encoder] = &mut route.encoders;
        if to_bridges {
            self.send_to(true, batch, &route.routes, bridge_encoder, message_id, audience, forwarded);
        }
        if to_others {
            let published = audience.published();
            let own = Sender {
                id: self.endpoint.id(),
                text: published.and_then(|published| published.text.as_deref()),
                format: published.map(|published| published.format),
            };
            self.send_to(false, batch, &route.routes, encoder, |_| own, audience, forwarded);
        }
    }
}

impl EndpointOutlet {
    #[allow(clippy::too_many_arguments, reason = "called once with each encoder and sender")]
    fn send_to<'s>(
        &self,
        bridges: bool,
        batch: &Batch,
        routes: &Routes,
        encoder: &mut Encoder,
        sender: impl Fn(&Envelope) -> Sender<'s>,
        audience: &Audience,
        forwarded: &mut Forwarded,
    ) {
        let choose = |peer: &Peer| audience.includes(peer) && self.origin.is_other_bridge(peer.id) == bridges;
        match audience {
            Audience::PeerReliable(_) => {
                forwarded.blocked.extend(self.endpoint.forward_sparingly(batch, sender, choose));
            }
            _ => self.endpoint.forward(batch, routes, encoder, sender, choose, forwarded),
        }
    }
}
