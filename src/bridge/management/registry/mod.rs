//! The live nodes behind a bridge, and the requests in flight to them.
//!
//! [`NodeRegistry`] does no I/O and has no clock. Its owner reports what peers sent and which peerings ended, and gets back
//! what to forward, to repeat, to refuse, or to answer in a node's name. Its owner also evaluates the rules.
//!
//! - A hello is forwarded to each agent once per peering, as it would be without a bridge. It is then repeated every
//!   [`HELLO_EVERY`] until that agent sends a request to that node.
//! - A name belongs to the peering that sent the hello for it; responses under it are accepted from there alone.
//! - No request is answered twice for the same node: neither by the node, nor by the bridge and the node.
//!
//! # Failures that the bridge sends
//!
//! A node that left the bridge may have reached the agent in another way: directly, or through a second bridge. So the
//! bridge does not know that a node is gone; it only knows that it is not here.
//!
//! - A request for a node that is not here, or does not respond, is answered with a failure [`ANSWER_AFTER`] after the
//!   request, and only if the bridge has seen no response until then. The agent ignores a failure for a node whose
//!   response it has already.
//! - A request that was forwarded to a node whose last peering then breaks is answered at once. The node received the
//!   request over this peering, and a response can only come back over it: a node that reconnects to the agent in
//!   another way does not receive the old request again. The agent would wait in vain. (A node that is connected to the
//!   agent twice, through the bridge and directly, receives the request twice and has normally responded by then.)
//! - A takeover of a name by a second connection of its owner ends nothing: the first connection may still respond.
//! - The bridge answers only for names whose hello a rule let through to the link of the agent that asks, and stops when
//!   it sees a hello or a response of the node on any link.
//!
//! # Memory
//!
//! Everything is bounded in bytes. For each [`Owner`], the names of its nodes take at most [`Party::share`] bytes, and
//! its requests take at most another share, or as much as one request, if that is more. Names that are gone take at most
//! [`MAX_GONE_BYTES`] in all. An agent needs [`TOLD_COST`] bytes for each live name. So with `A` agents, `N` live names and
//! `O` owners, that is at most `O * 2 * share + A * N * TOLD_COST + MAX_GONE_BYTES`.

mod gone;
mod in_flight;
mod live;
mod refused;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;

pub(in crate::bridge) use refused::{HelloRefused, RequestRefused, ResponseRefused};

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::gone::GoneNames;
use self::in_flight::{For, InFlight};
use self::live::Live;
use crate::bridge::LinkId;
use crate::bridge::router::origin::is_bridge;
use crate::data::EndpointId;
pub(in crate::bridge) use crate::endpoint::Owner;
use crate::management::{DispatchRequest, DispatchResponse, MAX_NODES, REQUEST_TIMEOUT};
use crate::wire::Envelope;

/// How long the bridge waits for a response before it answers in the node's name. Zeek's agent gives up after
/// [`REQUEST_TIMEOUT`] (5 s) and then loses the responses of all nodes; this leaves a second for the way to it.
pub(in crate::bridge) const ANSWER_AFTER: Duration = Duration::from_secs(4);

/// How often a hello is repeated to an agent that has not asked the node yet. An agent ignores the hello of a node that
/// it does not know, and a deployment fails if a node's hello does not arrive within 5 s: a node that was connected before
/// the deployment has to repeat its hello within that time.
///
/// A repeated hello does no harm in Zeek's agent (`scripts/policy/frameworks/management/agent/main.zeek`, 5.0 to 9.0): it
/// sets the node's state to RUNNING, removes the node from the pending ones of a deployment, and logs a line. Names that
/// are not in the configuration are ignored. The one visible effect: if a node that the agent is just about to stop for
/// a deployment or restart repeats its hello before it is stopped, the agent takes it for running a moment too early.
pub(in crate::bridge) const HELLO_EVERY: Duration = Duration::from_secs(4);

/// How many hellos are repeated to one agent each [`HELLO_EVERY`]; with more nodes they take turns.
pub(in crate::bridge) const HELLOS_AT_ONCE: usize = 1024;

/// How many names may be live: as many as an [`Agent`](crate::management::Agent) remembers.
pub(in crate::bridge) const MAX_NAMES: usize = MAX_NODES;

/// How many names may be live over one peering. A node has one, a bridge as many as there are nodes behind it; a peer
/// whose rules allow it any name must not use up those of all others.
pub(in crate::bridge) const MAX_NAMES_PER_PEERING: usize = 1024;

/// How many names may be live for one [`Owner`], over however many peerings: a peer that may use any name must not take
/// the room of all others.
pub(in crate::bridge) const MAX_NAMES_PER_OWNER: usize = MAX_NAMES / 4;

/// How long topic and payload of a hello may be in bytes, since they are stored: the longest name, the event's own
/// name, and room for metadata.
pub(in crate::bridge) const MAX_HELLO: usize = 4096;

/// How long a request id may be in bytes, since it is stored. Zeek's have less than 20, a UUID 36.
pub(in crate::bridge) const MAX_REQID: usize = 256;

/// The most bytes of [`Party::share`]: enough for 10,000 requests in flight to a dozen nodes.
pub(in crate::bridge) const MAX_SHARE: usize = 16 * 1024 * 1024;

/// How many names that were live are remembered: those of a large cluster. A request to all nodes is answered for each of
/// them, and a peer that invents names must not make that any number.
pub(in crate::bridge) const MAX_GONE: usize = 1024;

/// How many bytes the names that were live may take: [`MAX_GONE`] names of usual length.
pub(in crate::bridge) const MAX_GONE_BYTES: usize = 512 * 1024;

/// How long a name that is not live any more is remembered. A node that restarts is back by then. A node that stays away
/// longer is most likely known to another bridge or to the agent itself.
pub(in crate::bridge) const GONE_FOR: Duration = Duration::from_secs(300);

/// How many bytes a live name counts, without its name and hello: table entries and allocations, measured.
const NAME_COST: usize = 768;

/// How many bytes an agent needs to know that it was told of a name, and whether it has asked the node.
#[cfg(test)]
pub(in crate::bridge) const TOLD_COST: usize = 64;

/// How long a request is remembered after its agent gave up, so that a late response is recognized as such.
const KEPT: Duration = REQUEST_TIMEOUT;

/// Answered for a node that was asked, and then disconnected.
const LOST: &str = "the node's connection to the bridge was lost before it answered";

/// Answered for a node that was asked and does not respond.
const SILENT: &str = "the node is connected to the bridge and did not answer within 4 s";

/// Answered when a request has to be forgotten.
const TOO_MANY: &str = "too many requests are in flight through the bridge";

/// Answered for a node that was not connected when it was asked.
fn absent(name: &str) -> String {
    format!(
        "node {name} is not connected to the bridge: it was not when it was asked, and no answer came within 4 s"
    )
}

fn after(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or(now)
}

/// A map keeps the room of its largest size. Returns most of it once it is hardly used.
fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    const SPARE: usize = 64;
    let wanted = map.len().saturating_mul(2).saturating_add(SPARE);
    if map.capacity() > wanted.saturating_mul(2) {
        map.shrink_to(wanted);
    }
}

/// One peering of the bridge, from its handshake to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::bridge) struct PeeringKey {
    /// The link.
    pub(in crate::bridge) link: LinkId,
    /// The peer.
    pub(in crate::bridge) peer: EndpointId,
    /// Tells it from earlier peerings with the same peer.
    pub(in crate::bridge) peering: u64,
}

/// The peer that sent a hello or a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bridge) struct Party {
    /// Its peering.
    pub(in crate::bridge) peering: PeeringKey,
    /// The owner of the name and of the requests. A live name can only be taken over by its owner, whose old connection
    /// may not be known to be dead yet.
    pub(in crate::bridge) owner: Owner,
    /// How many bytes may be remembered of the owner's names, and how many of its requests. One owner cannot use the
    /// share of another.
    pub(in crate::bridge) share: usize,
}

/// A failure that the bridge sends in a node's name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub(in crate::bridge) struct Answer {
    /// The agent that asked.
    pub(in crate::bridge) to: PeeringKey,
    /// The failure.
    pub(in crate::bridge) response: DispatchResponse,
}

/// A request that was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub(in crate::bridge) struct Accepted {
    /// Failures for the oldest requests of the same owner, which had to be forgotten.
    pub(in crate::bridge) answers: Vec<Answer>,
    /// The live nodes that the request is for and does not reach.
    pub(in crate::bridge) denied: Vec<DeniedNode>,
}

/// A live node that rules keep a request from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bridge) struct DeniedNode {
    /// Its name.
    pub(in crate::bridge) node: Arc<str>,
    /// Its link.
    pub(in crate::bridge) link: LinkId,
}

/// A hello to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bridge) struct Repeat {
    /// The agent.
    pub(in crate::bridge) to: PeeringKey,
    /// The peering of the node.
    pub(in crate::bridge) node: PeeringKey,
    /// The hello as it was received, except for its header, which the caller rewrites.
    pub(in crate::bridge) hello: Envelope,
}

/// What to send at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub(in crate::bridge) struct Due {
    /// Failures.
    pub(in crate::bridge) answers: Vec<Answer>,
    /// Hellos.
    pub(in crate::bridge) hellos: Vec<Repeat>,
}

/// A node that is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::bridge) struct LiveNode<'a> {
    /// Its name.
    pub(in crate::bridge) name: &'a str,
    /// The peering that it is behind.
    pub(in crate::bridge) peering: PeeringKey,
}

/// How much may be remembered; other than [`Bounds::DEFAULT`] in tests.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    names: usize,
    names_per_peering: usize,
    names_per_owner: usize,
    gone: usize,
    gone_bytes: usize,
    hellos_at_once: usize,
}

impl Bounds {
    const DEFAULT: Bounds = Bounds {
        names: MAX_NAMES,
        names_per_peering: MAX_NAMES_PER_PEERING,
        names_per_owner: MAX_NAMES_PER_OWNER,
        gone: MAX_GONE,
        gone_bytes: MAX_GONE_BYTES,
        hellos_at_once: HELLOS_AT_ONCE,
    };
}

/// The nodes behind a bridge, and the requests to them. See the [module](self).
///
/// Closures that it is given are called at once, and never after the call; they must not call back.
///
/// For each peering, call the methods in arrival order and [`gone`](NodeRegistry::gone) last: any later call leaks an entry.
/// Call [`due`](NodeRegistry::due) at [`next_due`](NodeRegistry::next_due), whether there is traffic or not.
///
/// Times are the caller's. A time before that of an earlier call counts as that one.
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
    /// A registry without nodes.
    ///
    /// With `answer_in_flight`, the bridge answers a request with a failure for a node that is gone or does not respond
    /// in time; what such a node answers later is refused as late. Without it, the agent runs into its own timeout, no
    /// [`Answer`] is returned except for denied requests, and the response of a node that is back in time is forwarded.
    #[must_use]
    pub(in crate::bridge) fn new(answer_in_flight: bool) -> Self {
        Self::with_bounds(answer_in_flight, Bounds::DEFAULT)
    }

    /// As [`NodeRegistry::new`], from now on: what is answered for already stays so.
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

    /// Records a node's hello: from now on the name is this peering's. `links` are those that rules let it pass to.
    ///
    /// Returns the agents to forward it to, which then count as told. Another hello over the same peering changes nothing,
    /// but reaches agents that rules let receive it only now.
    ///
    /// # Errors
    /// When the name is somebody else's, or a bound is reached. Nothing has changed then.
    pub(in crate::bridge) fn hello(
        &mut self,
        from: &Party,
        name: &str,
        hello: &Envelope,
        links: &[LinkId],
        now: Instant,
    ) -> Result<Vec<PeeringKey>, HelloRefused> {
        let now = self.tick(now);
        self.live.admit(from, name, hello, &self.bounds)?;
        self.gone.remove(name);
        Ok(self.live.hello(from, name, hello, self.in_flight.next(), links, now))
    }

    /// Records that an agent wants to receive what nodes send: its peering is established and its filter matches, or rules
    /// have changed. `passes` returns, for a node's peering and hello, whether rules let its hello pass to this agent.
    ///
    /// Returns the hellos to send to it, by name, each as it was received but for its header, which is the caller's to
    /// rewrite; they count as told. Until [`unsubscribe`](Self::unsubscribe), it gets later ones through
    /// [`hello`](Self::hello).
    #[must_use]
    pub(in crate::bridge) fn subscribe(
        &mut self,
        agent: PeeringKey,
        passes: impl FnMut(PeeringKey, &Envelope) -> bool,
        now: Instant,
    ) -> Vec<(String, Envelope)> {
        let now = self.tick(now);
        let hellos = self.live.subscribe(agent, passes, now);
        hellos.into_iter().map(|(name, hello)| (name.as_ref().to_owned(), hello)).collect()
    }

    /// An agent's filter matches no more. What it has been told, it will not be told again over this peering.
    pub(in crate::bridge) fn unsubscribe(&mut self, agent: PeeringKey) {
        self.live.unsubscribe(agent);
    }

    /// Records a request. `reached` returns whether rules let the request pass to a link.
    ///
    /// Nodes that were live here not long ago and are not now are remembered with it: [`due`](Self::due) answers for them
    /// if nobody else does. Nodes that were never here are left alone: another bridge may have them.
    ///
    /// # Errors
    /// When the request must not be relayed; nothing is remembered of it.
    pub(in crate::bridge) fn request(
        &mut self,
        agent: &Party,
        request: &DispatchRequest,
        reached: impl Fn(LinkId) -> bool,
        now: Instant,
    ) -> Result<Accepted, RequestRefused> {
        let now = self.tick(now);
        let reqid = request.reqid.as_str();
        if reqid.len() > MAX_REQID {
            return Err(RequestRefused::ReqidTooLong { length: reqid.len() });
        }
        if self.in_flight.knows(agent.peering, reqid) {
            return Err(RequestRefused::Repeated);
        }
        let (whom, denied) = self.addressed(agent.peering, request, reached);
        let answers = self.in_flight.ask(agent, reqid, whom, now);
        Ok(Accepted { answers, denied })
    }

    /// The live nodes that a request is for which rules let pass nowhere. Nothing is remembered of the request.
    #[must_use]
    pub(in crate::bridge) fn denied(
        &mut self,
        agent: PeeringKey,
        request: &DispatchRequest,
    ) -> Vec<DeniedNode> {
        self.addressed(agent, request, |_| false).1
    }

    /// Counts and returns the bridge's own failure for a request that rules keep from a node.
    pub(in crate::bridge) fn answer_denied(
        &mut self,
        agent: PeeringKey,
        reqid: &str,
        node: &str,
        why: &str,
    ) -> Answer {
        self.in_flight.answer(agent, reqid, node, why)
    }

    /// Whom a request is for. The agent has then asked these nodes, so that their hellos are not repeated to it.
    fn addressed(
        &mut self,
        agent: PeeringKey,
        request: &DispatchRequest,
        reached: impl Fn(LinkId) -> bool,
    ) -> (For, Vec<DeniedNode>) {
        let mut whom = For { strangers: request.nodes.is_empty(), ..For::default() };
        let mut denied = Vec::new();
        let mut add = |name: &Arc<str>, node: &live::Node| {
            let peering = node.current().peering;
            match reached(peering.link) {
                // A message never goes back to where it came from.
                _ if peering == agent => {}
                true => whom.live.push(name.clone()),
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
        // As when it was live: what rules keep from a node, the bridge does not answer either.
        let speaks = |link: LinkId, links: &[LinkId]| reached(link) && links.contains(&agent.link);
        if !self.answer_in_flight {
            whom.strangers |= request.nodes.iter().any(|name| self.live.get(name).is_none());
        } else if request.nodes.is_empty() {
            let gone = self.gone.iter().filter(|(_, link, links)| speaks(*link, links));
            whom.gone = gone.map(|(name, ..)| name.clone()).collect();
        } else {
            for name in request.nodes.iter().filter(|name| self.live.get(name).is_none()) {
                match self.gone.get(name) {
                    Some((name, link, links)) if speaks(link, links) => whom.gone.push(name.clone()),
                    // The rules keep the request from the node.
                    Some((_, link, _)) if !reached(link) => {}
                    _ => whom.strangers = true,
                }
            }
        }
        self.live.asked(agent, request);
        (whom, denied)
    }

    /// Records a response. Returns the agent whose request it answers; it is to be passed there and nowhere else, or an
    /// agent that uses the same request ids as another receives what it did not ask for.
    ///
    /// A node that was not known when it was asked may respond all the same: a node receives requests as soon as its peering
    /// is established, before its hello has arrived here. The former holder of a name may still answer what was asked
    /// before the name was taken over.
    ///
    /// # Errors
    /// When it must not be passed on.
    pub(in crate::bridge) fn response(
        &mut self,
        from: PeeringKey,
        response: &DispatchResponse,
        now: Instant,
    ) -> Result<PeeringKey, ResponseRefused> {
        let now = self.tick(now);
        let node = response.result().node().ok_or(ResponseRefused::Nameless)?;
        let Some((name, node)) = self.live.get(node) else {
            self.seen_elsewhere(node);
            return Err(ResponseRefused::UnknownName);
        };
        let (holder, current) = (node.holder(from), node.current());
        let not_its_name = ResponseRefused::NotItsName { holder: current.peering };
        let since = holder.ok_or(not_its_name)?.since;
        // A bridge answers over the path on which it received the request first, which need not be that of the name.
        if from == current.peering || is_bridge(from.peer) {
            self.in_flight.response(name, since, u64::MAX, response.reqid(), now)
        } else {
            let response = self.in_flight.response(name, since, current.since, response.reqid(), now);
            response.map_err(|_| not_its_name)
        }
    }

    /// A hello or a response of this node was seen where it cannot pass. If it was live here before, it is elsewhere now,
    /// and the bridge does not answer for it any more.
    pub(in crate::bridge) fn seen_elsewhere(&mut self, name: &str) {
        if self.live.get(name).is_none() {
            self.gone.remove(name);
            self.in_flight.elsewhere(name);
        }
    }

    /// Ends a peering. Returns failures for what its nodes were asked and cannot answer any more. What was asked over it
    /// is forgotten. A name goes back to the connection that had it before, if that is still there.
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

    /// Returns what is to be sent by now, forgets what is over, and gives memory back.
    pub(in crate::bridge) fn due(&mut self, now: Instant) -> Due {
        let now = self.tick(now);
        let live = &self.live;
        let speaks = |agent: PeeringKey, name: &str| {
            live.get(name).is_some_and(|(_, node)| node.links.contains(&agent.link))
        };
        let answers = self.in_flight.due(speaks, now);
        let hellos = self.live.due(&self.bounds, now);
        self.in_flight.shrink();
        self.live.shrink();
        self.gone.shrink();
        Due { answers, hellos }
    }

    /// Forgets what is over by now, so that [`in_flight`](Self::in_flight) and others are up to date.
    pub(in crate::bridge) fn expire(&mut self, now: Instant) {
        self.tick(now);
    }

    /// When to call [`due`](Self::due) next; `None`: not before something else happens.
    #[must_use]
    pub(in crate::bridge) fn next_due(&self) -> Option<Instant> {
        let (requests, names, hellos) =
            (self.in_flight.next_due(), self.gone.next_expiry(), self.live.next_due());
        requests.into_iter().chain(names).chain(hellos).min()
    }

    /// The live nodes, sorted by name.
    #[must_use]
    pub(in crate::bridge) fn live(&self) -> Vec<LiveNode<'_>> {
        let nodes = self.live.iter();
        let mut nodes: Vec<_> =
            nodes.map(|(name, node)| LiveNode { name, peering: node.current().peering }).collect();
        nodes.sort_unstable();
        nodes
    }

    /// The peering that holds this name.
    #[cfg(test)]
    pub(in crate::bridge) fn holder(&self, name: &str) -> Option<PeeringKey> {
        self.live.get(name).map(|(_, node)| node.current().peering)
    }

    /// How many responses are pending: one for each node that was asked.
    #[must_use]
    pub(in crate::bridge) fn in_flight(&self) -> usize {
        self.in_flight.owed
    }

    /// How many failures the bridge has sent in a node's name.
    #[must_use]
    pub(in crate::bridge) fn answered_for(&self) -> u64 {
        self.in_flight.answered_for
    }

    /// How many responses did not arrive in time, and were not answered for either.
    #[must_use]
    pub(in crate::bridge) fn expired(&self) -> u64 {
        self.in_flight.expired
    }

    /// How many pending responses were forgotten because the requests took more than their share of memory.
    #[must_use]
    pub(in crate::bridge) fn forgotten(&self) -> u64 {
        self.in_flight.forgotten
    }

    /// What time it is: never earlier than before.
    fn tick(&mut self, now: Instant) -> Instant {
        let now = self.latest.map_or(now, |latest| latest.max(now));
        self.latest = Some(now);
        self.in_flight.expire(now);
        self.gone.expire(now);
        now
    }

    /// How much is remembered of whatever kind.
    #[cfg(test)]
    fn remembered(&self) -> usize {
        [self.live.len(), self.gone.len(), self.in_flight.len()].iter().sum()
    }
}
