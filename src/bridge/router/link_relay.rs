//! Receives the messages of a link's peers, evaluates the rules, and forwards the allowed messages to other links.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::MutexGuard;

use super::batch::OutgoingBatch;
use super::core::{Core, now, peering_key};
use super::decision_cache::{ClassIndex, DecisionCache};
use super::delivered::{Delivered, Need};
use super::links::{LinkSet, Target};
use super::log_create;
use super::origin::MessageId;
use super::peer_counts::PeerCounts;
use super::report_interval::ReportInterval;
use super::routed::RoutedMessage;
use super::sides::At;
use crate::bridge::config::LinkConfig;
use crate::bridge::link::{Link, LinkContext};
use crate::bridge::policy::{Denial, PeerPolicy, Reason};
use crate::bridge::{LinkId, RuleId};
use crate::data::{EndpointId, Filter, excerpt};
use crate::endpoint::{Blocked, ConnectError, Owner, Peer, PeerProtocol, Relay, Status};
use crate::management::NodeMessage;
use crate::net::{Batch, Published, for_keeping};
use crate::wire::Envelope;
use crate::zeromq::EventFormat;

/// Handles the messages and peers of one link's endpoint.
#[derive(Debug)]
pub(in crate::bridge) struct LinkRelay {
    id: LinkId,
    core: Arc<Core>,
    name: Arc<str>,
    group: Option<Arc<str>>,
    /// The name of the protocol, for connections that did not become a peering.
    protocol: &'static str,
    peers: Arc<PeerCounts>,
    /// Limits the warnings that messages of this bridge return over this link.
    returned: ReportInterval,
    /// Whether the format that the link uses for events from other links was logged.
    learned_format_logged: AtomicBool,
    /// Whether a publisher with another format was logged.
    other_format_logged: AtomicBool,
}

impl LinkRelay {
    pub(in crate::bridge) fn new(id: LinkId, link: &LinkConfig, core: Arc<Core>) -> Self {
        LinkRelay {
            id,
            core,
            name: link.name.as_str().into(),
            group: link.group.as_deref().map(Into::into),
            protocol: match (&link.zeromq, &link.websocket) {
                (Some(_), _) => "zeromq",
                (None, Some(_)) => "websocket",
                (None, None) => "broker",
            },
            peers: Arc::default(),
            returned: ReportInterval::default(),
            learned_format_logged: AtomicBool::new(false),
            other_format_logged: AtomicBool::new(false),
        }
    }

    /// Returns the state that the link shares with the rest of the bridge.
    pub(in crate::bridge) fn context(&self) -> LinkContext {
        LinkContext {
            id: self.id,
            origin: self.core.origin.clone(),
            sides: self.core.sides.clone(),
            peers: self.peers.clone(),
        }
    }

    fn at(&self) -> At<'_> {
        At { link: self.id, name: &self.name, group: self.group.as_ref() }
    }

    /// Counts a message that is dropped because its sender is an id of this bridge. So this bridge has forwarded it before, unless the peer
    /// has chosen this sender. The warning is repeated, so that a peer that does this does not suppress it for good.
    fn returned(&self, here: &Link, envelope: &Envelope) {
        self.core.denials.count("returned", Some(here));
        if let Some(suppressed) = self.returned.pass(now()) {
            tracing::warn!(
                topic = excerpt(&envelope.topic.to_str_lossy()),
                suppressed,
                "dropped a message with an id of this bridge as the sender, which this bridge has probably forwarded over another link \
                 (reported at most once a minute for each link); if both links lead to the same bridges, put them in one group; if they lead \
                 to the same ZeroMQ cluster, remove one of them"
            );
        }
    }

    /// Logs the format of an event from a ZeroMQ cluster if the link has adopted it and it is not the default, or if it is not the
    /// format in which the link sends events. Logs each of the two once for each link.
    fn check_format(&self, here: &Link, format: EventFormat) {
        let configured = here.config.zeromq.as_ref().and_then(|zeromq| zeromq.event_format);
        let sent = configured.or_else(|| here.endpoint.learned_event_format()).unwrap_or_default();
        if format != sent {
            if !self.other_format_logged.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    "a publisher sends events as {format}, but this link sends events from other links as {sent} (reported once for \
                     each link); nodes read only one format, so set event_format to the value of Cluster::event_serializer, which must \
                     be the same in all nodes"
                );
            }
        } else if configured.is_none()
            && sent != EventFormat::default()
            && !self.learned_format_logged.swap(true, Ordering::Relaxed)
        {
            tracing::info!(
                "the first publisher sends events as {format}, so this link also sends events from other links in this format; set \
                 event_format to use it from the start"
            );
        }
    }
}

/// The messages of one peer that are handled in one call.
struct Inbound<'a> {
    relay: &'a LinkRelay,
    links: &'a LinkSet,
    /// The link over which they were received.
    here: &'a Link,
    policy: &'a PeerPolicy,
    from: &'a Peer,
    from_bridge: bool,
    received: Option<Instant>,
    /// The number of messages in the received batch.
    messages: usize,
    /// Selects the message that is counted for the complete batch: the number of messages after it.
    sampled: usize,
    /// The format of the previous message, if it is from a ZeroMQ cluster.
    checked_format: Option<EventFormat>,
    decisions: DecisionCache,
    /// The targets of the current message; kept between messages to save allocations.
    to: Vec<Target>,
    /// Locked until all messages of this call are forwarded. Without the lock, copies of the same messages from a
    /// second peer could be forwarded in between, and receivers would get the messages out of order.
    delivered: Option<MutexGuard<'a, Delivered>>,
    batch: OutgoingBatch<'a>,
}

/// The decision of the rules on a message, and the parts of the message that the rules read.
struct Evaluation<'a> {
    /// See [`Decision::node`](crate::bridge::policy::Decision::node).
    node: Option<NodeMessage>,
    denial: Option<Denial>,
    /// The name of the event, if the message is one.
    name: Option<&'a [u8]>,
    /// Whether the message is a `LogCreate` that is addressed to this endpoint.
    log_create: bool,
}

impl<'a> Inbound<'a> {
    /// Handles the next message, and removes it from the received messages or adds it to `self.batch`.
    fn handle(&mut self, received: &mut Batch) {
        let next = self.batch.next_index();
        let Some(envelope) = received.get(next) else { return };
        let more = received.len().saturating_sub(next).saturating_sub(1);
        let published = received.published(next);
        if let Some(Published { format, .. }) = published
            && self.checked_format.replace(*format) != Some(*format)
        {
            self.relay.check_format(self.here, *format);
        }
        let (relay, from) = (self.relay, self.from);
        let (core, limits) = (&relay.core, self.here.limits());
        let sender = envelope.sender;
        let id = self.from_bridge.then(|| MessageId::of(sender)).flatten();
        let is_returned = match from.protocol {
            PeerProtocol::ZeroMq(_) => core.origin.is_own_link(sender),
            _ => id.is_some_and(|id| core.origin.is_ours(id)),
        };
        if is_returned {
            relay.returned(self.here, envelope);
            return drop(self.batch.take(received));
        }
        self.to.clear();
        // The sender of a message is the only trace of the bridges that it has passed, because ZeroMQ has no ttl and no message ids. A
        // second bridge between the same clusters would return each message without end.
        let from_other_bridge = from.protocol.zeromq().is_some() && core.origin.is_other_bridge(sender);
        // For all other messages, the decision depends on more than the topic and the name of the event.
        let may_be_known = envelope.ttl > 1 && !from_other_bridge;
        let known = if may_be_known { self.decisions.find(envelope, limits, &mut self.to) } else { None };
        let class = known.map(|(class, _)| class);
        let evaluation = match known {
            Some((_, name)) => Evaluation { node: None, denial: None, name: Some(name), log_create: false },
            None => {
                let sender_text = published.and_then(|published| published.text.as_deref());
                self.decide(envelope, sender_text, from_other_bridge, more)
            }
        };
        let Evaluation { node: event, denial, name: event_name, log_create } = evaluation;
        if self.to.is_empty() {
            if let Some((envelope, denial)) = self.batch.take(received).zip(denial) {
                self.on_denied(envelope, id, event, denial);
            }
            return;
        }
        // Limit the ttl that the peer chose. With a high ttl, its messages could circulate for a long time in a loop of
        // relays that are not bridges.
        // With a ttl of 1, no bridge and no other relay forwards the message again, so it cannot return to a ZeroMQ cluster.
        let most = if from_other_bridge { 1 } else { self.here.config.ttl };
        let ttl = envelope.ttl.saturating_sub(1).min(most);
        let is_copy = match id {
            // Do not drop copies of hellos and responses here. The registry sends each of them to an agent only once,
            // and selects the copy from the peering that holds the node's name.
            Some(id) if !matches!(event, Some(NodeMessage::Hello(_) | NodeMessage::Response(_))) => {
                self.drop_copies(id, envelope, ttl, event.is_some())
            }
            _ => false,
        };
        if self.to.is_empty() {
            core.denials.count("duplicate", Some(self.here));
            return drop(self.batch.take(received));
        }
        if more == self.sampled {
            core.busiest.add(envelope.topic.as_bytes(), event_name, self.messages, now());
        }
        // A LogCreate is addressed to this endpoint. Address it to all subscribers of the logs instead.
        let receiver = if log_create { EndpointId::NIL } else { envelope.receiver };
        let Some(event) = event else {
            self.batch.add(received, id, ttl, receiver, &self.to);
            if let Some(class) = class
                && !self.from_bridge
                && self.batch.forwarded.blocked.is_empty()
            {
                self.add_following(received, class, more);
            }
            return;
        };
        let published = published.cloned();
        // Send the batch first, so that the event does not overtake messages that were received before it.
        self.batch.send(received);
        if let Some(envelope) = received.pop() {
            let envelope = Envelope { ttl, receiver, ..envelope };
            self.forward_node_event(envelope, id, event, is_copy, published);
        }
    }

    /// Adds the events of the same class that directly follow the last one to `self.batch`. At most `more` messages follow it.
    fn add_following(&mut self, received: &mut Batch, class: ClassIndex, more: usize) {
        let Some(class) = self.decisions.events(class) else { return };
        // The message that is counted for the complete batch is handled on its own.
        let count = more.checked_sub(self.sampled.saturating_add(1)).unwrap_or(more);
        // Messages in another format are sent in another batch.
        let last = self.batch.next_index().saturating_sub(1);
        let count = count.min(received.published_alike(last).saturating_sub(1));
        let limits = self.here.limits();
        self.batch.add_following(received, count, self.here.config.ttl, |envelope| {
            envelope.ttl > 1 && class.may_contain(envelope) && class.name_of(envelope, limits).is_some()
        });
    }

    /// Evaluates the rules for a message, and adds the links that receive it to `self.to`. `sender` is the exact text of its sender, if
    /// it is from a ZeroMQ cluster. At most `more` messages follow it in the same call.
    fn decide<'e>(
        &mut self,
        envelope: &'e Envelope,
        sender: Option<&[u8]>,
        from_other_bridge: bool,
        more: usize,
    ) -> Evaluation<'e> {
        let (relay, links, from) = (self.relay, self.links, self.from);
        let (core, limits) = (&relay.core, self.here.limits());
        let decision = self.policy.evaluate(envelope, sender, limits, |link, rule| {
            self.to.push(Target { link, rule, bridges_only: false });
        });
        let log_create = log_create::is_addressed_to(self.here.endpoint.id(), envelope, limits);
        if let Some(denial) = decision.denial {
            if log_create && !denial.invalid {
                core.denials.count(log_create::REASON, Some(self.here));
            } else {
                if let Some(rule) = denial.rule {
                    links.count_denied(rule, &denial);
                }
                let rule = || denial.rule.and_then(|rule| links.rule_name(rule));
                let refusal = || decision.refusal(denial.reason, rule());
                core.deny(links, relay.id, from, denial.reason.name(), refusal);
            }
        }
        if from_other_bridge {
            let before = self.to.len();
            self.to.retain(|target| target.link == relay.id || links.is_broker(target.link));
            if self.to.len() < before {
                let refusal = || decision.refusal(Reason::OtherBridge, None);
                core.deny(links, relay.id, from, Reason::OtherBridge.name(), refusal);
            }
        } else if decision.is_for_class && more > 0 {
            self.decisions.add(envelope, &self.to);
        }
        Evaluation { node: decision.node, denial: decision.denial, name: decision.event, log_create }
    }

    /// Removes the targets that do not need this copy of the message. Limits a target to its bridges if only they need
    /// the copy. Returns whether at least one target has received a copy before.
    fn drop_copies(&mut self, id: MessageId, envelope: &Envelope, ttl: u16, is_node_event: bool) -> bool {
        let relay = self.relay;
        let delivered = self.delivered.get_or_insert_with(|| relay.core.delivered());
        let before = self.to.len();
        let fingerprint = delivered.fingerprint(id, envelope);
        self.to.retain_mut(|target| {
            let need = delivered.record(fingerprint, target.link, ttl);
            target.bridges_only = need == Need::Hops;
            need != Need::Nothing
        });
        let is_copy = self.to.len() < before || self.to.iter().any(|target| target.bridges_only);
        if is_node_event {
            self.to.retain(|target| !target.bridges_only);
        }
        is_copy
    }

    /// Handles a message that no rule allows: see [`Core::node_event_denied`].
    fn on_denied(
        &mut self,
        envelope: Envelope,
        id: Option<MessageId>,
        event: Option<NodeMessage>,
        denial: Denial,
    ) {
        let message = self.routed(envelope.sender, id, envelope, Vec::new());
        let blocked = self.relay.core.node_event_denied(&message, event, denial);
        self.batch.forwarded.blocked.extend(blocked);
    }

    fn forward_node_event(
        &mut self,
        envelope: Envelope,
        id: Option<MessageId>,
        event: NodeMessage,
        is_copy: bool,
        published: Option<Published>,
    ) {
        let (core, sender) = (&self.relay.core, envelope.sender);
        let new_id = id.unwrap_or_else(|| core.origin.next_id());
        let envelope = for_keeping(Envelope { sender: new_id.as_sender(), ..envelope });
        let to = self.to.iter().map(|target| (target.link, target.rule)).collect();
        let mut message = self.routed(sender, id, envelope, to);
        message.published = published;
        let blocked = match event {
            // Do not pass a copy of a request to the registry. It would reject the copy as a repeated request, and send
            // failures on behalf of nodes that have received the first copy and respond to it.
            NodeMessage::Request(_) if is_copy => message.forward(),
            event => core.node_event(message, event),
        };
        self.batch.forwarded.blocked.extend(blocked);
    }

    fn routed(
        &self,
        sender: EndpointId,
        id: Option<MessageId>,
        envelope: Envelope,
        to: Vec<(LinkId, RuleId)>,
    ) -> RoutedMessage<'a> {
        RoutedMessage {
            links: self.links,
            policy: self.policy,
            link: self.relay.id,
            from: self.from,
            last_hop: self.from.last_hop(sender),
            first: id.map(|id| id.origin),
            envelope,
            published: None,
            received: self.received,
            to,
        }
    }
}

impl Relay for LinkRelay {
    fn on_messages(&self, from: &Peer, messages: &mut Batch) -> Vec<Blocked> {
        let links = self.core.links();
        let (Some(here), Some(policy)) = (links.link(self.id), links.policy(self.id, from)) else {
            messages.clear();
            return Vec::new();
        };
        let mut inbound = Inbound {
            relay: self,
            links: &links,
            here,
            policy: &policy,
            from,
            from_bridge: self.core.origin.is_other_bridge(from.id),
            received: messages.received(),
            messages: messages.len(),
            sampled: fastrand::usize(..messages.len().max(1)),
            checked_format: None,
            decisions: DecisionCache::default(),
            to: Vec::new(),
            delivered: None,
            batch: OutgoingBatch::new(&self.core, &links, self.id, from, messages),
        };
        // Stop at the first blocked message. The connection then stops reading until the queue has room.
        while inbound.batch.forwarded.blocked.is_empty() && inbound.batch.next_index() < messages.len() {
            inbound.handle(messages);
        }
        inbound.batch.send(messages);
        messages.set_received(None);
        inbound.batch.forwarded.blocked
    }

    fn on_established(&self, peer: &Peer) {
        self.peers.add(self.core.origin.is_other_bridge(peer.id));
        self.core.recent.connected(&self.name, peer);
        if let Some(other) = self.core.sides.established(self.at(), peer) {
            tracing::warn!(
                "this link and the link {other} lead to the same bridge or endpoint, and both carry every message; put them \
                 in one group, so that one link carries the messages and the other is on standby"
            );
        }
    }

    fn on_filter(&self, peer: &Peer, filter: &Filter) {
        self.core.sides.subscribed(self.at(), peer, filter);
        self.core.peer_subscribed(&self.core.links(), self.id, peer, filter);
    }

    fn on_closed(&self, peer: &Peer, status: Option<&Status>) {
        self.peers.remove(self.core.origin.is_other_bridge(peer.id));
        self.core.recent.disconnected(&self.name, peer, status);
        self.core.sides.gone(self.at(), peer);
        self.core.peer_gone(peering_key(self.id, peer));
    }

    fn on_failed(&self, address: &Arc<str>, error: &ConnectError, owner: &Owner) {
        self.core.recent.failed(&self.name, self.protocol, address, error, owner);
    }
}
