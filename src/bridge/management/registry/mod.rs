//! The live nodes of a bridge, and the requests in flight to them.
//!
//! [`NodeRegistry`] does no I/O and has no clock. The caller reports received events and ended peerings, and evaluates
//! the rules. The registry returns which messages to forward, to repeat or to reject, and which requests to answer on
//! behalf of a node.
//!
//! - A hello is forwarded to each agent once, and again after the node or the agent has reconnected, as without a
//!   bridge. It is then repeated every [`HELLO_EVERY`](limits::HELLO_EVERY) until the agent sends a request to the
//!   node.
//! - A name belongs to the peering that sent the hello for it. Responses with the name are accepted from this peering
//!   only.
//! - No request is answered twice for the same node: neither twice by the node, nor by both the node and the bridge.
//!
//! # Failures that the bridge sends
//!
//! A node that disconnected from the bridge may still be connected to the agent over a different path: directly, or
//! through a second bridge. The bridge only knows that the node is not connected to this bridge.
//!
//! - If a node is not connected, or does not respond, requests to the node are answered with a failure. The failure is
//!   sent [`ANSWER_AFTER`](limits::ANSWER_AFTER) after the request, and only if the bridge has seen no response of the
//!   node by then. If the agent has already received a response of the node over a different path, it ignores the
//!   failure.
//! - If the last peering of a node breaks after a request was forwarded over it, the request is answered at once. The
//!   node received the request over this peering, and could respond only over it. If the node reconnects to the agent
//!   over a different path, it does not receive the old request again, so without the failure the agent would wait
//!   until its timeout. (A node that is connected to the agent both directly and through the bridge receives the
//!   request twice. It has normally responded directly by then.)
//! - If a second connection of the same owner takes over a name, no failure is sent, because the first connection may
//!   still respond.
//! - The bridge answers an agent on behalf of a node only if rules allowed the node's hello to be forwarded to the
//!   agent's link. It stops answering for a node when it receives a hello or a response of the node on any link.
//!
//! # Memory
//!
//! The memory of all entries is bounded:
//!
//! - The names of the nodes of one [`Owner`](crate::endpoint::Owner) need at most [`Party::share`] bytes.
//! - The requests of one owner also need at most [`Party::share`] bytes, unless a single request is larger.
//! - The names of gone nodes need at most [`MAX_GONE_BYTES`](limits::MAX_GONE_BYTES) in total.
//! - Each agent needs 64 bytes for each live name.
//!
//! So `A` agents, `N` live names and `O` owners need at most `O * 2 * share + A * N * 64 + MAX_GONE_BYTES` bytes, plus
//! the excess of one larger request for each owner.

mod error;
mod gone;
mod in_flight;
mod limits;
mod live;
mod request;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
mod types;

pub(in crate::bridge) use error::{HelloError, RequestError, ResponseError};
pub(in crate::bridge) use limits::MAX_SHARE;
use types::AnswerReason;
pub use types::AnsweredFor;
pub(in crate::bridge) use types::{Accepted, Answer, DeniedNode, Due, LiveNode, Party, PeeringKey};

use std::sync::Arc;
use std::time::Instant;

use self::gone::GoneNames;
use self::in_flight::InFlight;
use self::limits::{Bounds, GONE_FOR, MAX_REQID, after};
use self::live::Live;
use self::request::Addressed;
use crate::bridge::LinkId;
use crate::bridge::router::origin::is_bridge;
use crate::management::{DispatchRequest, DispatchResponse};
use crate::wire::Envelope;

/// The live nodes of a bridge, and the requests to them. See the [module](self).
///
/// Methods call the closures that they receive before they return. A closure must not call the registry.
///
/// For each peering, call the methods in arrival order and [`gone`](NodeRegistry::gone) last: any later call leaks an entry.
/// Call [`due`](NodeRegistry::due) at the time that [`next_due`](NodeRegistry::next_due) returns, even if no messages
/// arrive.
///
/// The caller passes the time. If a time is earlier than in a previous call, the previous time is used.
#[derive(Debug)]
pub(in crate::bridge) struct NodeRegistry {
    answer_in_flight: bool,
    bounds: Bounds,
    live: Live,
    gone: GoneNames,
    in_flight: InFlight,
    latest: Option<Instant>,
}

impl NodeRegistry {
    /// Returns a registry without nodes.
    ///
    /// With `answer_in_flight`, the bridge answers a request with a failure on behalf of a node that is gone or does
    /// not respond in time. A later response of such a node is rejected.
    ///
    /// Without `answer_in_flight`, an [`Answer`] is returned only for denied requests. For all other requests, the
    /// agent waits until its own timeout, and a response of a node that reconnects before that is forwarded.
    pub(in crate::bridge) fn new(answer_in_flight: bool) -> Self {
        Self::with_bounds(answer_in_flight, Bounds::DEFAULT)
    }

    /// Changes `answer_in_flight` (see [`NodeRegistry::new`]) for requests that have not been answered yet.
    pub(in crate::bridge) fn set_answer_in_flight(&mut self, answer_in_flight: bool) {
        self.answer_in_flight = answer_in_flight;
        self.in_flight.set_answers(answer_in_flight);
    }

    fn with_bounds(answer_in_flight: bool, bounds: Bounds) -> Self {
        NodeRegistry {
            answer_in_flight,
            bounds,
            live: Live::default(),
            gone: GoneNames::default(),
            in_flight: InFlight::new(answer_in_flight),
            latest: None,
        }
    }

    /// Records the hello of a node. The name then belongs to the peering that sent the hello. `links` are the links to
    /// which rules allow the hello to be forwarded.
    ///
    /// Returns the agents to forward the hello to, and records that they received it. If a peering repeats a hello, the
    /// hello is forwarded only to agents for which rules did not allow it before.
    ///
    /// # Errors
    /// Fails without any change if a different owner holds the name, or if a limit is reached.
    pub(in crate::bridge) fn hello(
        &mut self,
        from: &Party,
        name: &str,
        hello: &Envelope,
        links: &[LinkId],
        now: Instant,
    ) -> Result<Vec<PeeringKey>, HelloError> {
        let now = self.tick(now);
        self.live.admit(from, name, hello, &self.bounds)?;
        self.gone.remove(name);
        Ok(self.live.hello(from, name, hello, self.in_flight.next(), links, now))
    }

    /// Records that an agent subscribes to hellos. Call it after the agent's handshake, when its filter changes, and
    /// when rules change. `allows` returns whether rules allow the hello of a node's peering to be forwarded to this
    /// agent.
    ///
    /// Returns the hellos to send to the agent, by name, and records that it received them. The hellos are as they were
    /// received; the caller must rewrite their headers. For later hellos, [`hello`](Self::hello) returns this agent,
    /// until [`unsubscribe`](Self::unsubscribe) is called.
    pub(in crate::bridge) fn subscribe(
        &mut self,
        agent: PeeringKey,
        allows: impl FnMut(PeeringKey, &Envelope) -> bool,
        now: Instant,
    ) -> Vec<(String, Envelope)> {
        let now = self.tick(now);
        let hellos = self.live.subscribe(agent, allows, now);
        hellos.into_iter().map(|(name, hello)| (name.as_ref().to_owned(), hello)).collect()
    }

    /// Records that an agent does not subscribe to hellos any more. If it subscribes again over this peering, the
    /// hellos that it has received are not sent again.
    pub(in crate::bridge) fn unsubscribe(&mut self, agent: PeeringKey) {
        self.live.unsubscribe(agent);
    }

    /// Records a request. `reached` returns whether rules allow the request to be forwarded to a link.
    ///
    /// For nodes that were recently live here and are gone, [`due`](Self::due) returns failures, unless a response or a
    /// hello of the node is received before that. For nodes that were never live here, there is no failure, because
    /// they may be connected to another bridge.
    ///
    /// # Errors
    /// Fails without any change if the request must not be forwarded.
    pub(in crate::bridge) fn request(
        &mut self,
        agent: &Party,
        request: &DispatchRequest,
        reached: impl Fn(LinkId) -> bool,
        now: Instant,
    ) -> Result<Accepted, RequestError> {
        let now = self.tick(now);
        let reqid = request.reqid.as_str();
        if reqid.len() > MAX_REQID {
            return Err(RequestError::ReqidTooLong { length: reqid.len() });
        }
        if self.in_flight.knows(agent.peering, reqid) {
            return Err(RequestError::Repeated);
        }
        let (to, denied) = self.addressed(agent.peering, request, reached);
        let answers = self.in_flight.ask(agent, reqid, to, now);
        Ok(Accepted { answers, denied })
    }

    /// For a request that no rule allows, returns the live nodes to which the request is addressed. The request is not
    /// recorded.
    pub(in crate::bridge) fn denied(
        &mut self,
        agent: PeeringKey,
        request: &DispatchRequest,
    ) -> Vec<DeniedNode> {
        self.addressed(agent, request, |_| false).1
    }

    /// Counts and returns a failure for a request that rules deny to a node.
    pub(in crate::bridge) fn answer_denied(
        &mut self,
        agent: PeeringKey,
        reqid: &str,
        node: &str,
        error: &str,
    ) -> Answer {
        self.in_flight.answer(agent, reqid, node, error, AnswerReason::Denied)
    }

    /// Returns the nodes that a request is addressed to. Records that the agent knows these nodes, so that their hellos
    /// are no longer repeated to the agent.
    fn addressed(
        &mut self,
        agent: PeeringKey,
        request: &DispatchRequest,
        reached: impl Fn(LinkId) -> bool,
    ) -> (Addressed, Vec<DeniedNode>) {
        let mut to = Addressed { unknown: request.nodes.is_empty(), ..Addressed::default() };
        let mut denied = Vec::new();
        let mut add = |name: &Arc<str>, node: &live::Node| {
            let peering = node.current().peering;
            match reached(peering.link) {
                // A message is never sent back to its sender.
                _ if peering == agent => {}
                true => to.live.push(name.clone()),
                false if node.links.contains(&agent.link) => {
                    denied.push(DeniedNode { node: name.clone(), link: peering.link });
                }
                false => {}
            }
        };
        if request.nodes.is_empty() {
            self.live.iter().for_each(|(name, node)| add(name, node));
        } else {
            let named = request.nodes.iter().filter_map(|name| self.live.get(name));
            named.for_each(|(name, node)| add(name, node));
        }
        // The bridge answers on behalf of a gone node only if rules allow the request to be forwarded to the node's
        // link, and allowed the node's hello to be forwarded to the agent's link.
        let answers_for = |link: LinkId, links: &[LinkId]| reached(link) && links.contains(&agent.link);
        if !self.answer_in_flight {
            to.unknown |= request.nodes.iter().any(|name| self.live.get(name).is_none());
        } else if request.nodes.is_empty() {
            let gone = self.gone.iter().filter(|(_, link, links)| answers_for(*link, links));
            to.gone = gone.map(|(name, ..)| name.clone()).collect();
        } else {
            for name in request.nodes.iter().filter(|name| self.live.get(name).is_none()) {
                match self.gone.get(name) {
                    Some((name, link, links)) if answers_for(link, links) => to.gone.push(name.clone()),
                    // Rules deny the request to the node.
                    Some((_, link, _)) if !reached(link) => {}
                    _ => to.unknown = true,
                }
            }
        }
        self.live.asked(agent, request);
        (to, denied)
    }

    /// Records a response. Returns the agent that sent the request. The response must be forwarded to this agent only,
    /// because other agents may use the same request id.
    ///
    /// A node that was not known at the time of the request may respond, too: it receives requests as soon as its
    /// peering is established, and its hello arrives only after that. The previous holder of a name may respond to
    /// requests that were received before the name was taken over.
    ///
    /// # Errors
    /// Fails if the response must not be forwarded.
    pub(in crate::bridge) fn response(
        &mut self,
        from: PeeringKey,
        response: &DispatchResponse,
        now: Instant,
    ) -> Result<PeeringKey, ResponseError> {
        let now = self.tick(now);
        let node = response.result().node().ok_or(ResponseError::Nameless)?;
        let Some((name, node)) = self.live.get(node) else {
            self.seen_elsewhere(node);
            return Err(ResponseError::UnknownName);
        };
        let (holder, current) = (node.holder(from), node.current());
        let not_its_name = ResponseError::NotItsName { holder: current.peering };
        let since = holder.ok_or(not_its_name)?.since;
        // A bridge responds over the path on which it received the request first. This may differ from the path of the
        // hello.
        if from == current.peering || is_bridge(from.peer) {
            self.in_flight.response(name, since, u64::MAX, response.reqid(), now)
        } else {
            let response = self.in_flight.response(name, since, current.since, response.reqid(), now);
            response.map_err(|_| not_its_name)
        }
    }

    /// Records that a hello or a response of this node was received and not accepted. If the node was live here before,
    /// it is now connected elsewhere, so the bridge stops answering on its behalf.
    pub(in crate::bridge) fn seen_elsewhere(&mut self, name: &str) {
        if self.live.get(name).is_none() {
            self.gone.remove(name);
            self.in_flight.elsewhere(name);
        }
    }

    /// Records the end of a peering:
    ///
    /// - Returns failures for the requests to its nodes, which cannot respond any more.
    /// - Forgets the requests that were received over the peering.
    /// - For each name that the peering held, makes the previous holder the holder again, if its peering still exists.
    pub(in crate::bridge) fn gone(&mut self, peering: PeeringKey, now: Instant) -> Vec<Answer> {
        let now = self.tick(now);
        self.in_flight.agent_gone(peering);
        let mut answers = Vec::new();
        for (name, links) in self.live.gone(peering, now) {
            answers.append(&mut self.in_flight.lost(&name, &links));
            self.gone.insert(name, peering.link, links, after(now, GONE_FOR), &self.bounds);
        }
        answers
    }

    /// Returns the messages that are due, and releases memory.
    pub(in crate::bridge) fn due(&mut self, now: Instant) -> Due {
        let now = self.tick(now);
        let live = &self.live;
        let answers_for = |agent: PeeringKey, name: &str| {
            live.get(name).is_some_and(|(_, node)| node.links.contains(&agent.link))
        };
        let answers = self.in_flight.due(answers_for, now);
        let hellos = self.live.due(&self.bounds, now);
        self.in_flight.shrink();
        self.live.shrink();
        self.gone.shrink();
        Due { answers, hellos }
    }

    /// Forgets expired requests and names, so that [`in_flight`](Self::in_flight) and all other counters are up to
    /// date.
    pub(in crate::bridge) fn expire(&mut self, now: Instant) {
        self.tick(now);
    }

    /// Returns the time at which to call [`due`](Self::due) next, or `None` if nothing becomes due until the next
    /// event.
    pub(in crate::bridge) fn next_due(&self) -> Option<Instant> {
        let (requests, names, hellos) =
            (self.in_flight.next_due(), self.gone.next_expiry(), self.live.next_due());
        requests.into_iter().chain(names).chain(hellos).min()
    }

    /// Returns the live nodes, sorted by name.
    pub(in crate::bridge) fn live(&self) -> Vec<LiveNode<'_>> {
        let nodes = self.live.iter();
        let mut nodes: Vec<_> =
            nodes.map(|(name, node)| LiveNode { name, peering: node.current().peering }).collect();
        nodes.sort_unstable();
        nodes
    }

    /// Returns the peering that holds this name.
    #[cfg(test)]
    pub(in crate::bridge) fn holder(&self, name: &str) -> Option<PeeringKey> {
        self.live.get(name).map(|(_, node)| node.current().peering)
    }

    /// Returns the number of pending responses: one for each node of each request.
    pub(in crate::bridge) fn in_flight(&self) -> usize {
        self.in_flight.owed
    }

    /// Returns the oldest pending responses, at most `most`: the name of the node, the request id, and when the request was received.
    pub(in crate::bridge) fn oldest(&self, most: usize) -> Vec<(&str, &str, Instant)> {
        self.in_flight.oldest().take(most).collect()
    }

    /// Returns the number of failures that the bridge has sent on behalf of nodes, by reason.
    pub(in crate::bridge) fn answered_for(&self) -> AnsweredFor {
        self.in_flight.answered_for
    }

    /// Returns the number of responses that did not arrive in time and for which the bridge sent no failure.
    pub(in crate::bridge) fn expired(&self) -> u64 {
        self.in_flight.expired
    }

    /// Returns the number of pending responses that were forgotten because the requests of one owner exceeded their share of
    /// memory.
    pub(in crate::bridge) fn forgotten(&self) -> u64 {
        self.in_flight.forgotten
    }

    /// Forgets expired entries. Returns `now`, or the time of an earlier call if that was later.
    fn tick(&mut self, now: Instant) -> Instant {
        let now = self.latest.map_or(now, |latest| latest.max(now));
        self.latest = Some(now);
        self.in_flight.expire(now);
        self.gone.expire(now);
        now
    }

    /// Returns the number of entries of all kinds.
    #[cfg(test)]
    fn remembered(&self) -> usize {
        [self.live.len(), self.gone.len(), self.in_flight.len()].iter().sum()
    }
}
