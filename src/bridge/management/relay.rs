//! Relays the node API: forwards hellos to agents, tracks requests, and forwards each response to the agent that sent
//! the request.

use std::collections::HashSet;
use std::fmt::Display;

use super::answers::{send_answers, store_answers};
use super::registry::{Accepted, Due, Party, PeeringKey};
use crate::bridge::LinkId;
use crate::bridge::link::Link;
use crate::bridge::policy::{Reason, Refusal, shown};
use crate::bridge::router::core::{Core, now, peering_key};
use crate::bridge::router::links::LinkSet;
use crate::bridge::router::routed::RoutedMessage;
use crate::data::Filter;
use crate::endpoint::{Blocked, Peer};
use crate::management::{DispatchRequest, DispatchResponse, NODE_TOPIC, NodeMessage, NotifyNodeHello};
use crate::wire::Envelope;

/// Returns the log line of an event that the registry denies.
fn refusal(cause: &dyn Display, message: &RoutedMessage<'_>, name: &str, event: NodeMessage) -> Refusal {
    let refusal = Refusal {
        text: cause.to_string(),
        topic: Some(shown(message.envelope.topic.as_bytes())),
        event: Some(name.to_owned()),
        ..Refusal::default()
    };
    refusal.with_node_event(&event)
}

impl Core {
    /// Handles an event of the node API that the rules allow. Returns the messages for which a queue has no room.
    pub(in crate::bridge) fn node_event(
        &self,
        message: RoutedMessage<'_>,
        event: NodeMessage,
    ) -> Vec<Blocked> {
        match event {
            NodeMessage::Hello(hello) => self.hello(&message, &hello),
            NodeMessage::Request(request) => self.request(message, &request),
            NodeMessage::Response(response) => self.response(&message, &response),
        }
    }

    fn hello(&self, message: &RoutedMessage<'_>, hello: &NotifyNodeHello) -> Vec<Blocked> {
        let links: Vec<_> = message.to.iter().map(|(link, _)| *link).collect();
        let agents = self.nodes().hello(&party(message), &hello.node, &message.envelope, &links, now());
        match agents {
            Ok(agents) => message.forward_to(&agents),
            Err(error) => {
                let refusal =
                    || refusal(&error, message, NotifyNodeHello::NAME, NodeMessage::Hello(hello.clone()));
                self.deny(message.links, message.link, message.from, error.reason(), refusal);
                Vec::new()
            }
        }
    }

    fn request(&self, message: RoutedMessage<'_>, request: &DispatchRequest) -> Vec<Blocked> {
        let (links, from, party) = (message.links, message.from, party(&message));
        let reached = |link: LinkId| message.rule_to(link).is_some();
        // Record the request before it is forwarded, because a response may be received before `forward` returns.
        let accepted = self.nodes().request(&party, request, reached, now());
        match accepted {
            Ok(Accepted { mut answers, denied }) => {
                answers.extend(self.failures_for_denied(&message, request, &denied));
                let mut blocked = message.forward();
                // Block the agent that is being handled if its queue is full, so that it cannot send requests faster
                // than it reads answers.
                let (own, others) = answers.into_iter().partition(|answer| answer.to == party.peering);
                blocked.extend(send_answers(links, own));
                store_answers(links, others);
                blocked
            }
            Err(error) => {
                let refusal = || {
                    refusal(&error, &message, DispatchRequest::NAME, NodeMessage::Request(request.clone()))
                };
                self.deny(links, party.peering.link, from, error.reason(), refusal);
                Vec::new()
            }
        }
    }

    fn response(&self, message: &RoutedMessage<'_>, response: &DispatchResponse) -> Vec<Blocked> {
        let agent = self.nodes().response(message.peering(), response, now());
        let deny = |reason, cause: &dyn Display| {
            let refusal =
                || refusal(cause, message, DispatchResponse::NAME, NodeMessage::Response(response.clone()));
            self.deny(message.links, message.link, message.from, reason, refusal);
            Vec::new()
        };
        match agent {
            Ok(agent) if message.rule_to(agent.link).is_some() => message.forward_to(&[agent]),
            Ok(PeeringKey { peer, .. }) => deny(
                Reason::NoRule.name(),
                &format_args!("no rule allows the response to reach the link of agent {peer}"),
            ),
            Err(error) => deny(error.reason(), &error),
        }
    }

    /// Records the subscriptions of a peer. If it may be an agent, sends it the hellos of the live nodes.
    pub(in crate::bridge) fn peer_subscribed(
        &self,
        links: &LinkSet,
        id: LinkId,
        peer: &Peer,
        filter: &Filter,
    ) {
        let agent = peering_key(id, peer);
        // Nodes also subscribe to this topic, because they receive requests on it. So check whether rules allow hellos
        // on this link.
        let allowed = links.rules.may_reach(id, &NODE_TOPIC, NotifyNodeHello::NAME);
        let Some(link) = links.link(id).filter(|_| allowed && filter.matches(&NODE_TOPIC)) else {
            self.nodes().unsubscribe(agent);
            return;
        };
        let allows = |node: PeeringKey, hello: &Envelope| links.allows_hello(node, hello, id);
        let hellos = self.nodes().subscribe(agent, allows, now());
        for (_, hello) in hellos {
            link.send_or_store(agent.peer, &hello);
        }
    }

    /// Called after a change of the rules. Sends each peer of a link the hellos that the new rules allow it to receive.
    pub(in crate::bridge) fn send_allowed_hellos(&self, links: &LinkSet, link: &Link) {
        let peers = link.endpoint.established_peers();
        for (peer, filter) in &peers {
            self.peer_subscribed(links, link.id(), peer, filter);
        }
        // If a peer disconnects during this loop, `subscribe` may record it after `peer_gone` was called for it. Remove
        // such peers here: nothing else removes them.
        let remaining: HashSet<_> =
            link.endpoint.established_peers().into_iter().map(|(peer, _)| peer.peering).collect();
        for (peer, _) in peers.iter().filter(|(peer, _)| !remaining.contains(&peer.peering)) {
            self.peer_gone(peering_key(link.id(), peer));
        }
    }

    /// Forgets the rules, nodes and requests of a peering that has ended. May be called repeatedly.
    pub(in crate::bridge) fn peer_gone(&self, peering: PeeringKey) {
        let links = self.links();
        links.forget_policy(peering);
        let answers = self.nodes().gone(peering, now());
        store_answers(&links, answers);
    }

    /// Sends the answers and repeated hellos that become due. Never returns.
    pub(in crate::bridge) async fn run_timer(&self) {
        loop {
            self.nodes_due().await;
            let Due { answers, hellos } = self.nodes().due(now());
            let links = self.links();
            store_answers(&links, answers);
            for repeat in hellos {
                // The rules may have changed since the hello was first sent to this agent.
                if let Some(link) = links.link(repeat.to.link)
                    && links.allows_hello(repeat.node, &repeat.hello, repeat.to.link)
                {
                    link.send_if_room(repeat.to.peer, &repeat.hello);
                }
            }
        }
    }
}

/// Returns the sender of a message, with the owner and the memory share for the registry.
fn party(message: &RoutedMessage<'_>) -> Party {
    let share = message.links.link(message.link).map_or(0, |link| link.memory_share());
    Party { peering: message.peering(), owner: message.from.owner.clone(), share }
}
