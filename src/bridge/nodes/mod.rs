//! Which nodes are live behind the bridge, and which requests wait for them.
//!
//! [`Nodes`] does no I/O and has no clock: it is told what was said, who came and who went, and answers what is to be
//! passed on, said again, refused, or answered by the bridge itself. What rules say, it is told too.
//!
//! - A hello is said to each agent once per peering with it and once per peering with the node, as it would be
//!   without a bridge between them.
//! - Nobody answers for another: a name belongs to the peering that said hello under it, and a response under it is
//!   taken from there alone.
//! - No request is answered twice by the same node: neither by the node, nor by the bridge and the node.
//!
//! Everything is bounded: what a peer can make it remember by the constants here, and the time it is remembered for.

mod gone;
mod in_flight;
mod live;
mod refused;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;

pub use refused::{HelloRefused, RequestRefused, ResponseRefused};

use std::time::{Duration, Instant};

use self::gone::GoneNames;
use self::in_flight::{For, InFlight};
use self::live::Live;
use crate::data::EndpointId;
use crate::management::{DispatchRequest, DispatchResponse, MAX_NODES, REQUEST_TIMEOUT};
use crate::wire::Envelope;

/// How many names may be live: as many as an [`Agent`](crate::management::Agent) remembers.
pub const MAX_NAMES: usize = MAX_NODES;

/// How many names may be said over one peering. A node has one, a bridge as many as there are nodes behind it; a peer
/// whose rules allow it any name must not use up those of all others.
pub const MAX_NAMES_PER_PEERING: usize = 1024;

/// How many names may be live of one [`Owner`], over however many peerings: who may say any name is not to take the room of
/// all others.
pub const MAX_NAMES_PER_OWNER: usize = MAX_NAMES / 4;

/// How long topic and payload of a hello may be in bytes, since they are kept: the longest name, the event's own
/// name, and room for metadata.
pub const MAX_HELLO: usize = 4096;

/// How long a request id may be in bytes, since it is kept. Zeek's have less than 20, a UUID 36.
pub const MAX_REQID: usize = 256;

/// How many answers may be owed to one agent's peering: 10,000 requests to a cluster of a dozen nodes, all at once.
pub const MAX_OWED_PER_AGENT: usize = 131_072;

/// How many requests, and nodes asked in them, are remembered in all: those of a few agents at full speed, in some
/// tens of megabytes. (Nodes that answer before they are known to have been asked add at most [`MAX_NAMES`].)
pub const MAX_REMEMBERED: usize = 524_288;

/// How many names are remembered that were live: a large cluster's. A request to all is answered for each of them, and
/// a peer that invents names must not make that any number.
pub const MAX_GONE: usize = 1024;

/// How long a name that is not live any more is remembered. A node that restarts is back by then. Of one that stays
/// away longer, another bridge may know more; agents hear nothing more of it from here.
pub const GONE_FOR: Duration = Duration::from_secs(300);

/// How long a request is remembered beyond the time that its agent waits, so that a late answer is known as such.
const KEPT: Duration = REQUEST_TIMEOUT;

/// What is answered for a node that was asked, and then lost.
const LOST: &str = "the node's connection to the bridge was lost before it answered";

/// What is answered when a request has to be forgotten.
const TOO_MANY: &str = "too many requests are in flight through the bridge";

fn after(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or(now)
}

/// One peering of the bridge, from its handshake to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeeringKey {
    /// The link, by its place in the configuration.
    pub link: usize,
    /// The peer.
    pub peer: EndpointId,
    /// Tells it from earlier peerings with the same peer.
    pub peering: u64,
}

/// Whose a node's name is. A name that is live can only be taken over by its owner, who came back before its old
/// connection was noticed to be dead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The SHA-256 of the peer's certificate.
    Certificate([u8; 32]),
    /// The host part of the peer's address, for a peer that has shown no certificate.
    Host(String),
}

/// What follows from a hello that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Hello {
    /// The agents that it is to be said to: those that want it, may have it, and have not been told.
    pub tell: Vec<PeeringKey>,
    /// What the name's former peering owed and will not answer any more.
    pub answers: Vec<Answer>,
}

/// A failure that the bridge answers itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Answer {
    /// The agent that asked.
    pub to: PeeringKey,
    /// What it is told.
    pub response: DispatchResponse,
}

/// A node that is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LiveNode<'a> {
    /// Its name.
    pub name: &'a str,
    /// The peering that it is behind.
    pub peering: PeeringKey,
}

/// How much may be remembered; other than [`Bounds::DEFAULT`] in tests.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    names: usize,
    names_per_peering: usize,
    names_per_owner: usize,
    owed_per_agent: usize,
    remembered: usize,
    gone: usize,
}

impl Bounds {
    const DEFAULT: Bounds = Bounds {
        names: MAX_NAMES,
        names_per_peering: MAX_NAMES_PER_PEERING,
        names_per_owner: MAX_NAMES_PER_OWNER,
        owed_per_agent: MAX_OWED_PER_AGENT,
        remembered: MAX_REMEMBERED,
        gone: MAX_GONE,
    };
}

/// The nodes behind a bridge, and the requests to them. See the [module](self).
///
/// Closures that it is given are called at once, and never after the call; they must not call back.
///
/// What came over a peering is told in its order, and [`gone`](Nodes::gone) last: what is told of it after that would
/// be remembered for good.
///
/// Times are the caller's. One that is earlier than one that was given before counts as that.
#[derive(Debug)]
pub struct Nodes {
    answer_in_flight: bool,
    bounds: Bounds,
    live: Live,
    gone: GoneNames,
    in_flight: InFlight,
    latest: Option<Instant>,
}

impl Nodes {
    /// Nobody is there.
    ///
    /// With `answer_in_flight`, the bridge answers a request with a failure where the node that is asked is gone; what
    /// such a node answers after all is refused as late. Without, it leaves the agent to wait, no
    /// [`Answer`] is ever returned, and what such a node answers in time passes when it is back.
    #[must_use]
    pub fn new(answer_in_flight: bool) -> Self {
        Self::with_bounds(answer_in_flight, Bounds::DEFAULT)
    }

    /// As [`Nodes::new`], from now on: what is answered for already stays so.
    pub fn set_answer_in_flight(&mut self, answer_in_flight: bool) {
        self.answer_in_flight = answer_in_flight;
        self.in_flight.set_answers(answer_in_flight);
    }

    fn with_bounds(answer_in_flight: bool, bounds: Bounds) -> Self {
        Nodes {
            answer_in_flight,
            bounds,
            live: Live::default(),
            gone: GoneNames::default(),
            in_flight: InFlight::new(answer_in_flight),
            latest: None,
        }
    }

    /// A node says hello: from now on the name is this peering's. `passes` says to which agents' peerings rules let
    /// it pass. Those that it is to be said to count as told.
    ///
    /// Saying it again over the same peering changes nothing, but tells agents that rules let hear it only now.
    ///
    /// # Errors
    /// When the name is somebody else's, or a bound is reached. Nothing has changed then.
    pub fn hello(
        &mut self,
        from: PeeringKey,
        owner: Owner,
        name: &str,
        hello: &Envelope,
        passes: impl FnMut(PeeringKey) -> bool,
        now: Instant,
    ) -> Result<Hello, HelloRefused> {
        self.tick(now);
        let taken_over = self.live.admit(from, &owner, name, hello, &self.bounds)?;
        let mut answers = Vec::new();
        if taken_over && let Some((name, _)) = self.live.get(name) {
            answers = self.in_flight.lost(name);
        }
        self.gone.remove(name);
        let tell = self.live.hello(from, owner, name, hello, self.in_flight.next(), passes);
        Ok(Hello { tell, answers })
    }

    /// An agent wants to hear what nodes say: its peering stands and its filter matches, or rules have changed.
    /// `passes` says of a node's peering and hello whether rules let its hello pass to this agent.
    ///
    /// Returns the hellos to say to it, by name, each as it was sent but for its header, which is the caller's to
    /// rewrite; they count as told. Until [`agent_wants_no_more`](Self::agent_wants_no_more), it hears later ones through
    /// [`hello`](Self::hello).
    #[must_use]
    pub fn agent_wants(
        &mut self,
        agent: PeeringKey,
        passes: impl FnMut(PeeringKey, &Envelope) -> bool,
    ) -> Vec<(String, Envelope)> {
        let hellos = self.live.agent_wants(agent, passes);
        hellos.into_iter().map(|(name, hello)| (name.as_ref().to_owned(), hello)).collect()
    }

    /// An agent's filter matches no more. What it has been told, it will not be told again over this peering.
    pub fn agent_wants_no_more(&mut self, agent: PeeringKey) {
        self.live.agent_wants_no_more(agent);
    }

    /// An agent asks. `reached` says of a link whether rules let the request pass to it.
    ///
    /// Returns what the bridge answers itself: of the nodes that the request names, or of all if it names none, those
    /// that were live here not long ago and are not now; and, if too many requests are in flight, the oldest of
    /// these, which are forgotten. Nodes that were never here are left alone: another bridge may have them.
    ///
    /// # Errors
    /// When the request must not be relayed; nothing is remembered of it.
    pub fn request(
        &mut self,
        agent: PeeringKey,
        request: &DispatchRequest,
        reached: impl Fn(usize) -> bool,
        now: Instant,
    ) -> Result<Vec<Answer>, RequestRefused> {
        let now = self.tick(now);
        let reqid = request.reqid.as_str();
        if reqid.len() > MAX_REQID {
            return Err(RequestRefused::ReqidTooLong { length: reqid.len() });
        }
        if self.in_flight.knows(agent, reqid) {
            return Err(RequestRefused::Repeated);
        }
        // What came over a peering never goes back over it.
        let goes_to = |peering: PeeringKey| peering != agent && reached(peering.link);
        let mut whom = For { strangers: request.nodes.is_empty(), ..For::default() };
        if request.nodes.is_empty() {
            let heard = self.live.iter().filter(|(_, node)| goes_to(node.peering));
            whom.live = heard.map(|(name, _)| name.clone()).collect();
            if self.answer_in_flight {
                // The agent does not know that they are gone: their connections end here.
                let gone = self.gone.iter().filter(|(_, link)| reached(*link));
                whom.gone = gone.map(|(name, _)| name.clone()).collect();
            }
        }
        for name in &request.nodes {
            if let Some((name, node)) = self.live.get(name) {
                if goes_to(node.peering) {
                    whom.live.push(name.clone());
                }
            } else if self.answer_in_flight
                && let Some((name, link)) = self.gone.get(name)
            {
                // As when it was live: what rules keep from a node, the bridge does not answer either.
                if reached(link) {
                    whom.gone.push(name.clone());
                }
            } else {
                whom.strangers = true;
            }
        }
        let gone = whom.gone.clone();
        let mut answers = self.in_flight.ask(agent, reqid, whom, now, &self.bounds);
        for name in gone {
            let error = format!("node {name} is not connected to the bridge");
            answers.push(self.in_flight.answer(agent, reqid, &name, &error));
        }
        Ok(answers)
    }

    /// A node answers. Returns the agent whose request it answers; it is to be passed there and nowhere else, or an agent
    /// that happens to use the same request ids as another hears what it did not ask for.
    ///
    /// A node that was not known when it was asked may answer all the same: its peering stands, and it hears requests,
    /// before its hello is heard.
    ///
    /// # Errors
    /// When it must not be passed on.
    pub fn response(
        &mut self,
        from: PeeringKey,
        response: &DispatchResponse,
        now: Instant,
    ) -> Result<PeeringKey, ResponseRefused> {
        let now = self.tick(now);
        let name = response.result().node().ok_or(ResponseRefused::Nameless)?;
        let (name, node) = self.live.get(name).ok_or(ResponseRefused::UnknownName)?;
        if node.peering != from {
            return Err(ResponseRefused::NotItsName { holder: node.peering });
        }
        self.in_flight.response(name, node.since, response.reqid(), now, &self.bounds)
    }

    /// A peering ended, an agent's, a node's, or whoever's. Returns what its nodes owed and will not answer any more.
    /// What was asked over it is forgotten.
    pub fn gone(&mut self, peering: PeeringKey, now: Instant) -> Vec<Answer> {
        let now = self.tick(now);
        self.in_flight.agent_gone(peering);
        let mut answers = Vec::new();
        for name in self.live.gone(peering) {
            answers.append(&mut self.in_flight.lost(&name));
            self.gone.insert(name, peering.link, after(now, GONE_FOR), self.bounds.gone);
        }
        answers
    }

    /// Forgets what is over by now. All that takes a time does this too; a timer at
    /// [`next_expiry`](Self::next_expiry) only frees memory sooner, and keeps [`in_flight`](Self::in_flight) true.
    pub fn expire(&mut self, now: Instant) {
        self.tick(now);
    }

    /// When there is something to forget; `None`: never, as it is.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Instant> {
        self.in_flight.next_expiry().into_iter().chain(self.gone.next_expiry()).min()
    }

    /// The live nodes, sorted by name.
    #[must_use]
    pub fn live(&self) -> Vec<LiveNode<'_>> {
        let nodes = self.live.iter();
        let mut nodes: Vec<_> = nodes.map(|(name, node)| LiveNode { name, peering: node.peering }).collect();
        nodes.sort_unstable();
        nodes
    }

    /// The peering that holds this name.
    #[must_use]
    pub fn holder(&self, name: &str) -> Option<PeeringKey> {
        self.live.get(name).map(|(_, node)| node.peering)
    }

    /// How many answers are waited for: one for each node that was asked.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.owed
    }

    /// How many answers the bridge has given itself.
    #[must_use]
    pub fn answered_for(&self) -> u64 {
        self.in_flight.answered_for
    }

    /// How many answers did not come in time.
    #[must_use]
    pub fn expired(&self) -> u64 {
        self.in_flight.expired
    }

    /// How many answers were not waited for any more because there were too many.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
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
