//! A message with the links that rules allow it to reach.

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
use crate::wire::Envelope;

/// A message from a peer, with the links that rules allow it to reach.
pub(in crate::bridge) struct RoutedMessage<'a> {
    pub(in crate::bridge) links: &'a LinkSet,
    pub(in crate::bridge) policy: &'a PeerPolicy,
    /// The link over which it was received.
    pub(in crate::bridge) link: LinkId,
    /// The peer that it was received from.
    pub(in crate::bridge) from: &'a Peer,
    /// The sender in the received envelope, which is the last hop.
    pub(in crate::bridge) sender: EndpointId,
    /// The bridge that received the message first, if it is a different bridge than this one.
    pub(in crate::bridge) first: Option<Instance>,
    /// The envelope to send: its ttl is already decremented, and its sender is the message id.
    pub(in crate::bridge) envelope: Envelope,
    /// When it was received, if its latency is measured.
    pub(in crate::bridge) received: Option<Instant>,
    /// The links that the message may be forwarded to, each with the rule that allows it.
    pub(in crate::bridge) to: Vec<(LinkId, RuleId)>,
}

impl RoutedMessage<'_> {
    /// Returns the key of the peering that it was received over.
    pub(in crate::bridge) fn peering(&self) -> PeeringKey {
        peering_key(self.link, self.from)
    }

    /// Returns the rule that allows it to reach a link.
    pub(in crate::bridge) fn rule_to(&self, link: LinkId) -> Option<RuleId> {
        self.to.iter().find(|(to, _)| *to == link).map(|(_, rule)| *rule)
    }

    /// Sends the message to all subscribers on its links. Returns the copies for which a queue has no room.
    pub(in crate::bridge) fn forward(self) -> Vec<Blocked> {
        let mut blocked = Vec::new();
        for (id, rule) in &self.to {
            let Some(link) = self.links.link(*id) else { continue };
            self.links.count_passed(*rule, 1);
            let ids = self.to.iter().map(|(id, _)| *id);
            let audience = Audience::AllExcept(Exceptions {
                origins: [self.from.id, self.sender],
                first: self.first,
                standby: link.standby(ids, &self.envelope.topic),
                bridges_only: false,
            });
            blocked.extend(link.send(&self.envelope, self.received, &audience));
        }
        blocked
    }

    /// Sends the message to these peers only, if rules allow it on their links. Returns the copies for which a queue
    /// has no room.
    pub(in crate::bridge) fn forward_to(&self, peers: &[PeeringKey]) -> Vec<Blocked> {
        let mut blocked = Vec::new();
        for peer in peers {
            if let (Some(link), Some(rule)) = (self.links.link(peer.link), self.rule_to(peer.link)) {
                self.links.count_passed(rule, 1);
                blocked.extend(link.send(&self.envelope, self.received, &Audience::Peer(peer.peer)));
            }
        }
        blocked
    }
}
