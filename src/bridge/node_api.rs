//! The node API on its way through the bridge: hellos are said once to each agent, requests are followed, and answers
//! go to the one who asked.

use std::time::Instant;

use super::link::{Link, Whom};
use super::nodes::{Answer, Owner, PeeringKey};
use super::relay::{LinkRelay, Passing};
use super::rules::{Reason, quoted};
use super::table::Table;
use crate::data::{EndpointId, Filter};
use crate::endpoint::{Blocked, Peer};
use crate::management::{DispatchRequest, DispatchResponse, NODE_TOPIC, NodeMessage, NotifyNodeHello};
use crate::wire::Envelope;
use crate::zeek;

impl LinkRelay {
    /// A message of the node API that the rules let pass.
    pub(super) fn node_api(&self, passing: Passing<'_>, message: NodeMessage) -> Vec<Blocked> {
        match message {
            NodeMessage::Hello(hello) => self.hello(&passing, &hello),
            NodeMessage::Request(request) => self.request(passing, &request),
            NodeMessage::Response(response) => self.response(&passing, &response),
        }
    }

    fn hello(&self, passing: &Passing<'_>, hello: &NotifyNodeHello) -> Vec<Blocked> {
        let Passing { table, from, envelope, .. } = passing;
        let passes = |agent: PeeringKey| passing.rule_to(agent.link).is_some();
        let (key, now) = (self.key(from), Instant::now());
        let said = self.core.nodes().hello(key, owner(from), &hello.node, envelope, passes, now);
        match said {
            Ok(said) => {
                self.answer(table, said.answers);
                passing.to_each(&said.tell)
            }
            Err(error) => {
                self.refuse(table, error.reason(), from, || {
                    format!("node {}: {error}", quoted(hello.node.as_bytes()))
                });
                Vec::new()
            }
        }
    }

    fn request(&self, passing: Passing<'_>, request: &DispatchRequest) -> Vec<Blocked> {
        let (key, now) = (self.key(passing.from), Instant::now());
        let reached = |link: usize| passing.rule_to(link).is_some();
        // Known before it is sent: the answer may be here before this returns.
        let known = self.core.nodes().request(key, request, reached, now);
        match known {
            Ok(answers) => {
                let table = passing.table;
                let mut blocked = passing.on();
                // Who asks for more than it takes has to wait.
                let (own, others) = answers.into_iter().partition(|answer| answer.to == key);
                blocked.extend(
                    answers_of(table, own)
                        .flat_map(|(link, to, envelope)| link.send(&envelope, None, Whom::Told(to))),
                );
                self.answer(table, others);
                blocked
            }
            Err(error) => {
                let detail = || format!("request {}: {error}", quoted(request.reqid.as_bytes()));
                self.refuse(passing.table, error.reason(), passing.from, detail);
                Vec::new()
            }
        }
    }

    fn response(&self, passing: &Passing<'_>, response: &DispatchResponse) -> Vec<Blocked> {
        let (key, now) = (self.key(passing.from), Instant::now());
        let due = self.core.nodes().response(key, response, now);
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

    /// A peer, perhaps an agent, wants these topics now: it is told of the nodes that are there.
    pub(super) fn agent_wants(&self, table: &Table, peer: &Peer, filter: &Filter) {
        let agent = self.key(peer);
        // A node wants the topic as well, for the requests.
        let may_hear = table.rules.may_reach(self.slot, &NODE_TOPIC, NotifyNodeHello::NAME);
        let Some(link) = table.link(self.slot).filter(|_| may_hear && filter.matches(&NODE_TOPIC)) else {
            self.core.nodes().agent_wants_no_more(agent);
            return;
        };
        let passes = |node: PeeringKey, hello: &Envelope| {
            let mut passes = false;
            if let (Some(link), Some(gate)) = (table.link(node.link), table.gate_of(node)) {
                let _ = gate.judge(hello, link.limits(), |to, rule| {
                    if to == self.slot {
                        passes = true;
                        table.passed(rule, 1);
                    }
                });
            }
            passes
        };
        let hellos = self.core.nodes().agent_wants(agent, passes);
        for (_, hello) in hellos {
            link.tell(agent.peer, &hello);
        }
    }

    /// Says what the bridge answers itself.
    pub(super) fn answer(&self, table: &Table, answers: Vec<Answer>) {
        answers_of(table, answers).for_each(|(link, to, envelope)| link.tell(to, &envelope));
    }
}

/// What the bridge answers itself: over which link, to which peer, and as a message.
fn answers_of(table: &Table, answers: Vec<Answer>) -> impl Iterator<Item = (&Link, EndpointId, Envelope)> {
    answers.into_iter().filter_map(|Answer { to, response }| {
        let link = table.link(to.link)?;
        let (link_name, reqid) = (&link.config.name, response.reqid());
        tracing::debug!(link = link_name, agent = %to.peer, reqid, "answered for a node that is gone");
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

/// Whose a name is that this peer says.
fn owner(peer: &Peer) -> Owner {
    match &peer.identity {
        Some(identity) => Owner::Certificate(identity.sha256),
        None => {
            Owner::Host(peer.address.rsplit_once(':').map_or(&*peer.address, |(host, _)| host).to_owned())
        }
    }
}
