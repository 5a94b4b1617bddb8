//! The node API on its way through the bridge: hellos are forwarded to agents, requests are tracked, and responses go to
//! the agent that asked.

use crate::bridge::link::{Link, Whom};
use crate::bridge::management::registry::{Accepted, Answer, Due, Party, PeeringKey};
use crate::bridge::policy::{Reason, quoted};
use crate::bridge::router::link_relay::{Core, LinkRelay, Passing, now};
use crate::bridge::router::links::LinkSet;
use crate::data::{EndpointId, Filter};
use crate::endpoint::{Blocked, Peer};
use crate::management::{DispatchRequest, DispatchResponse, NODE_TOPIC, NodeMessage, NotifyNodeHello};
use crate::wire::Envelope;
use crate::zeek;

impl LinkRelay {
    /// Handles a message of the node API that the rules let pass.
    pub(in crate::bridge) fn node_api(&self, passing: Passing<'_>, message: NodeMessage) -> Vec<Blocked> {
        match message {
            NodeMessage::Hello(hello) => self.hello(&passing, &hello),
            NodeMessage::Request(request) => self.request(passing, &request),
            NodeMessage::Response(response) => self.response(&passing, &response),
        }
    }

    fn hello(&self, passing: &Passing<'_>, hello: &NotifyNodeHello) -> Vec<Blocked> {
        let Passing { table, from, envelope, .. } = passing;
        let links: Vec<_> = passing.to.iter().map(|(link, _)| *link).collect();
        let party = self.party(table, from);
        let tell = self.core.nodes().hello(&party, &hello.node, envelope, &links, now());
        match tell {
            Ok(tell) => passing.to_each(&tell),
            Err(error) => {
                self.refuse(table, error.reason(), from, || {
                    format!("node {}: {error}", quoted(hello.node.as_bytes()))
                });
                Vec::new()
            }
        }
    }

    fn request(&self, passing: Passing<'_>, request: &DispatchRequest) -> Vec<Blocked> {
        let Passing { table, from, .. } = passing;
        let party = self.party(table, from);
        let reached = |link: usize| passing.rule_to(link).is_some();
        // Recorded before it is sent: the response may be here before this returns.
        let accepted = self.core.nodes().request(&party, request, reached, now());
        match accepted {
            Ok(Accepted { mut answers, denied }) => {
                answers.extend(self.denials(&passing, request, &denied));
                let mut blocked = passing.on();
                // An agent that asks for more than it receives has to wait.
                let (own, others) = answers.into_iter().partition(|answer| answer.to == party.peering);
                blocked.extend(send_answers(table, own));
                self.core.answer(table, others);
                blocked
            }
            Err(error) => {
                let detail = || format!("request {}: {error}", quoted(request.reqid.as_bytes()));
                self.refuse(table, error.reason(), from, detail);
                Vec::new()
            }
        }
    }

    fn response(&self, passing: &Passing<'_>, response: &DispatchResponse) -> Vec<Blocked> {
        let due = self.core.nodes().response(self.key(passing.from), response, now());
        match due {
            Ok(agent) if passing.rule_to(agent.link).is_some() => passing.to_each(&[agent]),
            Ok(agent) => {
                let detail = || {
                    let reqid = quoted(response.reqid().as_bytes());
                    format!(
                        "the answer to request {reqid} may not go to the link of {}, which asked",
                        agent.peer
                    )
                };
                self.refuse(passing.table, Reason::NoRule.name(), passing.from, detail);
                Vec::new()
            }
            Err(error) => {
                let detail = || {
                    let node = quoted(response.result().node().unwrap_or_default().as_bytes());
                    let reqid = quoted(response.reqid().as_bytes());
                    format!("answer of node {node} to request {reqid}: {error}")
                };
                self.refuse(passing.table, error.reason(), passing.from, detail);
                Vec::new()
            }
        }
    }

    /// A peer, perhaps an agent, subscribes to these topics now: it gets the hellos of the live nodes.
    pub(in crate::bridge) fn agent_wants(&self, table: &LinkSet, peer: &Peer, filter: &Filter) {
        let agent = self.key(peer);
        // A node subscribes to the topic as well, for the requests.
        let may_hear = table.rules.may_reach(self.slot, &NODE_TOPIC, NotifyNodeHello::NAME);
        let Some(link) = table.link(self.slot).filter(|_| may_hear && filter.matches(&NODE_TOPIC)) else {
            self.core.nodes().agent_wants_no_more(agent);
            return;
        };
        let passes = |node: PeeringKey, hello: &Envelope| table.lets_pass(node, hello, self.slot);
        let hellos = self.core.nodes().agent_wants(agent, passes, now());
        for (_, hello) in hellos {
            link.tell(agent.peer, &hello);
        }
    }

    /// What the registry of nodes has to know of a peer.
    pub(in crate::bridge) fn party(&self, table: &LinkSet, peer: &Peer) -> Party {
        let share = table.link(self.slot).map_or(0, |link| link.share());
        Party { peering: self.key(peer), owner: peer.owner.clone(), share }
    }
}

impl Core {
    /// Sends the bridge's own answers.
    pub(in crate::bridge) fn answer(&self, table: &LinkSet, answers: Vec<Answer>) {
        answers_of(table, answers).for_each(|(link, to, envelope)| link.tell(to, &envelope));
    }

    /// Does what is due by now.
    pub(in crate::bridge) fn work_off(&self) {
        let Due { answers, hellos } = self.nodes().due(now());
        let table = self.table();
        self.answer(&table, answers);
        for repeat in hellos {
            // Rules may have changed since it was sent first.
            if let Some(link) = table.link(repeat.to.link)
                && table.lets_pass(repeat.node, &repeat.hello, repeat.to.link)
            {
                link.repeat(repeat.to.peer, &repeat.hello);
            }
        }
    }
}

/// Sends the bridge's own answers to one who has to wait while there is no room for them.
pub(in crate::bridge) fn send_answers(table: &LinkSet, answers: Vec<Answer>) -> Vec<Blocked> {
    answers_of(table, answers)
        .flat_map(|(link, to, envelope)| link.send(&envelope, None, Whom::Told(to)))
        .collect()
}

/// The bridge's own answers: over which link, to which peer, and as a message.
fn answers_of(table: &LinkSet, answers: Vec<Answer>) -> impl Iterator<Item = (&Link, EndpointId, Envelope)> {
    answers.into_iter().filter_map(|Answer { to, response }| {
        let link = table.link(to.link)?;
        let (reqid, result) = (response.reqid(), response.result());
        tracing::debug!(
            link = %link.config.name, agent = %to.peer, reqid, node = result.node(),
            "answered for a node: {}", result.error().unwrap_or_default()
        );
        let value = zeek::Message::Event(response.into()).into_value();
        match Envelope::data(link.endpoint.id(), NODE_TOPIC.clone(), &value) {
            Ok(envelope) => Some((&**link, to.peer, envelope)),
            Err(error) => {
                tracing::error!("an answer cannot be sent: {error}");
                None
            }
        }
    })
}

impl Passing<'_> {
    /// The rule by which it may go to a link.
    fn rule_to(&self, link: usize) -> Option<usize> {
        self.to.iter().find(|(to, _)| *to == link).map(|(_, rule)| *rule)
    }

    /// Sends it to these peerings alone, as far as it may go there.
    fn to_each(&self, peerings: &[PeeringKey]) -> Vec<Blocked> {
        let mut blocked = Vec::new();
        for peering in peerings {
            if let (Some(link), Some(rule)) = (self.table.link(peering.link), self.rule_to(peering.link)) {
                self.table.passed(rule, 1);
                blocked.extend(link.send(&self.envelope, self.since, Whom::One(peering.peer)));
            }
        }
        blocked
    }
}
