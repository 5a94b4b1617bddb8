mod allocations;
mod answers;
mod hellos;
mod memory;
mod model;
mod random;
mod repeats;
mod requests;
mod witness;

use std::time::Duration;

use super::in_flight::{LOST, SILENT, TOO_MANY, absent};
use super::limits::*;
use super::types::Repeat;
use super::*;
use crate::data::EndpointId;
use crate::endpoint::Owner;
use crate::management::REQUEST_TIMEOUT;
use crate::management::{ManagementResult, NODE_TOPIC, NotifyNodeHello};
use crate::zeek::{Event, ZeekMessage};

const SMALL: Bounds = Bounds {
    names: 4,
    names_per_peering: 3,
    names_per_owner: 4,
    gone: 2,
    gone_bytes: MAX_GONE_BYTES,
    hellos_at_once: 2,
};

/// Returns the key of a peering. Its link has the same number, so no two peerings share a link.
fn peering(number: u8) -> PeeringKey {
    PeeringKey { link: LinkId(usize::from(number)), peer: EndpointId::from_bytes([number; 16]), peering: 1 }
}

const A: u8 = 100;
const B: u8 = 101;

fn host(name: &str) -> Owner {
    Owner::Target(name.into())
}

fn party(peering: PeeringKey, owner: &str) -> Party {
    Party { peering, owner: host(owner), share: MAX_SHARE }
}

/// All links.
fn everywhere() -> Vec<LinkId> {
    (0..=255).map(LinkId).collect()
}

fn hello_of(name: &str) -> Envelope {
    let event = Event::from(NotifyNodeHello { node: name.to_owned() });
    let sender = EndpointId::from_bytes([9; 16]);
    Envelope::data(sender, NODE_TOPIC.clone(), &ZeekMessage::from(event).into_value()).unwrap()
}

fn request(reqid: &str, nodes: &[&str]) -> DispatchRequest {
    DispatchRequest {
        reqid: reqid.to_owned(),
        action: vec!["get_id_value".to_owned(), "Cluster::node".to_owned()],
        nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
    }
}

fn success(reqid: &str, node: &str) -> DispatchResponse {
    ManagementResult::success(reqid, node, None).into()
}

/// Returns answers as (agent, request, node, error), sorted.
fn sorted(answers: &[Answer]) -> Vec<(PeeringKey, String, String, String)> {
    let mut sorted: Vec<_> = answers
        .iter()
        .map(|Answer { to, response }| {
            let result = response.result();
            assert!(!result.is_success());
            assert_eq!(response.reqid(), result.reqid());
            let (node, error) = (result.node().unwrap(), result.error().unwrap());
            (*to, response.reqid().to_owned(), node.to_owned(), error.into_owned())
        })
        .collect();
    sorted.sort_unstable();
    sorted
}

/// A registry with its own clock, and with rules that allow everything.
struct World {
    nodes: NodeRegistry,
    now: Instant,
}

impl World {
    fn new() -> Self {
        World::of(NodeRegistry::new(true))
    }

    fn of(nodes: NodeRegistry) -> Self {
        World { nodes, now: Instant::now() }
    }

    fn small(answer_in_flight: bool) -> Self {
        World::of(NodeRegistry::with_bounds(answer_in_flight, SMALL))
    }

    fn wait(&mut self, millis: u64) {
        self.now = self.now.checked_add(Duration::from_millis(millis)).unwrap();
    }

    fn hello(&mut self, from: u8, owner: &str, name: &str) -> Result<Vec<PeeringKey>, HelloError> {
        self.hello_over(peering(from), owner, name)
    }

    fn hello_over(
        &mut self,
        from: PeeringKey,
        owner: &str,
        name: &str,
    ) -> Result<Vec<PeeringKey>, HelloError> {
        self.nodes.hello(&party(from, owner), name, &hello_of(name), &everywhere(), self.now)
    }

    /// Adds live nodes. Each has its own peering; the peerings are numbered from 0.
    fn with(mut self, names: &[&str]) -> Self {
        for (number, name) in (0..).zip(names) {
            let _ = self.hello(number, &format!("host-{number}"), name).unwrap();
        }
        self
    }

    /// Subscribes an agent. Returns the names in the hellos to send to it.
    fn subscribe(&mut self, agent: u8) -> Vec<String> {
        let hellos = self.nodes.subscribe(peering(agent), |_, _| true, self.now);
        let mut names: Vec<_> = hellos.into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names
    }

    fn ask(&mut self, agent: u8, reqid: &str, nodes: &[&str]) -> Result<Vec<Answer>, RequestError> {
        self.ask_where(agent, reqid, nodes, |_| true)
    }

    /// Sends a request that rules allow to reach these links.
    fn ask_where(
        &mut self,
        agent: u8,
        reqid: &str,
        nodes: &[&str],
        reached: impl Fn(LinkId) -> bool,
    ) -> Result<Vec<Answer>, RequestError> {
        let party = party(peering(agent), &format!("agent-{agent}"));
        let accepted = self.nodes.request(&party, &request(reqid, nodes), reached, self.now);
        accepted.map(|accepted| accepted.answers)
    }

    /// Sends a request that the bridge does not answer at once.
    fn ask_pending(&mut self, agent: u8, reqid: &str, nodes: &[&str]) {
        assert_eq!(self.ask(agent, reqid, nodes), Ok(vec![]));
    }

    fn answer(&mut self, from: u8, reqid: &str, node: &str) -> Result<PeeringKey, ResponseError> {
        self.nodes.response(peering(from), &success(reqid, node), self.now)
    }

    /// Returns the failures that are due.
    fn due(&mut self) -> Vec<(PeeringKey, String, String, String)> {
        sorted(&self.nodes.due(self.now).answers)
    }

    /// Returns the hellos that are due for repetition, as agents and names.
    fn repeats(&mut self) -> Vec<(PeeringKey, String)> {
        let repeats = self.nodes.due(self.now).hellos;
        let name = |repeat: &Repeat| {
            let live = self.nodes.live();
            let node = live.iter().find(|node| hello_of(node.name) == repeat.hello).unwrap();
            assert_eq!(node.peering, repeat.node);
            node.name.to_owned()
        };
        let mut names: Vec<_> = repeats.iter().map(|repeat| (repeat.to, name(repeat))).collect();
        names.sort_unstable();
        names
    }

    fn gone(&mut self, number: u8) -> Vec<(PeeringKey, String, String, String)> {
        sorted(&self.nodes.gone(peering(number), self.now))
    }
}

fn failure(agent: u8, reqid: &str, node: &str, error: &str) -> (PeeringKey, String, String, String) {
    (peering(agent), reqid.to_owned(), node.to_owned(), error.to_owned())
}
