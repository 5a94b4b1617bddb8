//! A message with the links that rules allow it to reach.

use std::borrow::Cow;
use std::time::Instant;

use super::core::peering_key;
use super::links::LinkSet;
use super::origin::Instance;
use crate::bridge::audience::{Audience, Exceptions};
use crate::bridge::management::registry::PeeringKey;
use crate::bridge::policy::PeerPolicy;
use crate::bridge::{LinkId, RuleId};
use crate::data::EndpointId;
use crate::endpoint::{Blocked, Peer};
use crate::net::Published;
use crate::wire::Envelope;

/// A message from a peer, with the links that rules allow it to reach.
pub(in crate::bridge) struct RoutedMessage<'a> {
    pub(in crate::bridge) links: &'a LinkSet,
    pub(in crate::bridge) policy: &'a PeerPolicy,
    /// The link over which the message was received.
    pub(in crate::bridge) link: LinkId,
    /// The peer that sent the message.
    pub(in crate::bridge) from: &'a Peer,
    /// The last hop.
    pub(in crate::bridge) last_hop: EndpointId,
    /// The bridge that received the message first, if it is not this bridge.
    pub(in crate::bridge) first: Option<Instance>,
    /// The envelope to send: its ttl is already decremented, and its sender is the message id.
    pub(in crate::bridge) envelope: Envelope,
    /// How the message was published, if it is from a ZeroMQ cluster.
    pub(in crate::bridge) published: Option<Published>,
    /// The time of receipt, if the latency of this message is measured.
    pub(in crate::bridge) received: Option<Instant>,
    /// The links that the message may be forwarded to, each with the rule that allows it.
    pub(in crate::bridge) to: Vec<(LinkId, RuleId)>,
}

impl RoutedMessage<'_> {
    /// Returns the key of the peering over which the message was received.
    pub(in crate::bridge) fn peering(&self) -> PeeringKey {
        peering_key(self.link, self.from)
    }

    /// Returns the rule that allows the message to be forwarded to `link`.
    pub(in crate::bridge) fn rule_to(&self, link: LinkId) -> Option<RuleId> {
        self.to.iter().find(|(to, _)| *to == link).map(|(_, rule)| *rule)
    }

    /// Returns the envelope to send over a link. Its topic is translated if that is necessary.
    fn envelope_to(&self, link: LinkId) -> Cow<'_, Envelope> {
        let translate = self.links.translation(self.link, link);
        match translate.and_then(|translate| translate(&self.envelope.topic)) {
            Some(topic) => Cow::Owned(Envelope { topic, ..self.envelope.clone() }),
            None => Cow::Borrowed(&self.envelope),
        }
    }

    /// Sends the message to the subscribers on each link in `to`, except the peer that sent it, its last hop, the bridge that
    /// received it first, and peers on standby. Returns the copies for which a queue has no room.
    pub(in crate::bridge) fn forward(self) -> Vec<Blocked> {
        let mut blocked = Vec::new();
        for (id, rule) in &self.to {
            let Some(link) = self.links.link(*id) else { continue };
            self.links.count_forwarded(*rule, self.link, *id, 1);
            let envelope = self.envelope_to(*id);
            let ids = self.to.iter().map(|(id, _)| *id);
            let audience = Audience::AllExcept(Exceptions {
                origins: [self.from.id, self.last_hop],
                first: self.first,
                standby: link.standby(ids, &envelope.topic),
                bridges_only: false,
                published: self.published.clone().filter(|_| *id == self.link),
            });
            blocked.extend(link.send(&envelope, self.received, &audience));
        }
        blocked
    }

    /// Sends the message to these peers only, if rules allow it on their links. Returns the copies for which a queue
    /// has no room.
    pub(in crate::bridge) fn forward_to(&self, peers: &[PeeringKey]) -> Vec<Blocked> {
        let mut blocked = Vec::new();
        for peer in peers {
            if let (Some(link), Some(rule)) = (self.links.link(peer.link), self.rule_to(peer.link)) {
                self.links.count_forwarded(rule, self.link, peer.link, 1);
                let envelope = self.envelope_to(peer.link);
                blocked.extend(link.send(&envelope, self.received, &Audience::Peer(peer.peer)));
            }
        }
        blocked
    }
}
