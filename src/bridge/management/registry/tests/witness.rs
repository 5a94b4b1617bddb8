//! Checks the inputs and outputs of the registry, without knowledge of its state.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::*;

/// A request that was accepted.
#[derive(Debug)]
struct Ask {
    agent: PeeringKey,
    at: Instant,
    owed: BTreeSet<String>,
    /// The nodes that were gone.
    absent: BTreeSet<String>,
    answered: BTreeSet<String>,
}

#[derive(Debug)]
pub(super) struct Witness {
    asks: Vec<Ask>,
    /// The latest request of each agent and id.
    latest: HashMap<(PeeringKey, String), usize>,
    hellos: HashSet<(PeeringKey, PeeringKey, String)>,
    gone: HashSet<PeeringKey>,
    /// The number of pending responses that ended in each way: forwarded, answered by the bridge, canceled because the
    /// node was elsewhere, expired, or canceled because the agent was gone.
    passed: u64,
    answered_for: u64,
    elsewhere: u64,
    expired: u64,
    agent_gone: u64,
    owed: u64,
}

impl Witness {
    pub(super) fn new() -> Self {
        Witness {
            asks: Vec::new(),
            latest: HashMap::new(),
            hellos: HashSet::new(),
            gone: HashSet::new(),
            passed: 0,
            answered_for: 0,
            elsewhere: 0,
            expired: 0,
            agent_gone: 0,
            owed: 0,
        }
    }

    pub(super) fn hello(&mut self, agent: PeeringKey, node: PeeringKey, name: &str) {
        assert!(!self.gone.contains(&agent) && agent != node);
        assert!(self.hellos.insert((agent, node, name.to_owned())), "received the hello of {name} twice");
    }

    pub(super) fn has_received(&self, agent: PeeringKey, node: PeeringKey, name: &str) -> bool {
        self.hellos.contains(&(agent, node, name.to_owned()))
    }

    /// Records a request to live nodes and to absent ones.
    pub(super) fn asked(
        &mut self,
        agent: PeeringKey,
        reqid: &str,
        mut owed: BTreeSet<String>,
        absent: BTreeSet<String>,
        now: Instant,
    ) {
        owed.extend(absent.iter().cloned());
        self.owed += u64::try_from(owed.len()).unwrap();
        self.latest.insert((agent, reqid.to_owned()), self.asks.len());
        self.asks.push(Ask { agent, at: now, owed, absent, answered: BTreeSet::new() });
    }

    /// Records that an absent node was seen elsewhere.
    pub(super) fn elsewhere(&mut self, node: &str) {
        for ask in self.asks.iter_mut().filter(|ask| ask.absent.contains(node)) {
            self.elsewhere += u64::from(ask.owed.remove(node));
        }
    }

    /// Records that an agent receives a response or failure.
    fn answered(&mut self, agent: PeeringKey, reqid: &str, node: &str) -> (&mut Ask, bool) {
        assert!(!self.gone.contains(&agent));
        let ask = &mut self.asks[self.latest[&(agent, reqid.to_owned())]];
        assert!(ask.answered.insert(node.to_owned()), "{reqid} was answered twice for {node}");
        let owed = ask.owed.remove(node);
        (ask, owed)
    }

    pub(super) fn passed(&mut self, agent: PeeringKey, reqid: &str, node: &str, now: Instant) {
        let (ask, owed) = self.answered(agent, reqid, node);
        assert!(now < after(ask.at, REQUEST_TIMEOUT));
        self.passed += u64::from(owed);
    }

    pub(super) fn answered_for(&mut self, answers: &[Answer]) {
        for (agent, reqid, node, _) in super::sorted(answers) {
            let (_, owed) = self.answered(agent, &reqid, &node);
            assert!(owed, "answered for {node}, which has no pending response");
            self.answered_for += 1;
        }
    }

    /// Call this before the registry records the end of a peering.
    pub(super) fn gone(&mut self, peering: PeeringKey) {
        self.gone.insert(peering);
        self.hellos.retain(|(agent, node, _)| *agent != peering && *node != peering);
        for ask in self.asks.iter_mut().filter(|ask| ask.agent == peering) {
            self.agent_gone += u64::try_from(std::mem::take(&mut ask.owed).len()).unwrap();
        }
    }

    /// Call this with the time of each event before you record the event.
    pub(super) fn expire(&mut self, now: Instant) {
        for ask in self.asks.iter_mut().filter(|ask| after(ask.at, REQUEST_TIMEOUT) <= now) {
            self.expired += u64::try_from(std::mem::take(&mut ask.owed).len()).unwrap();
        }
    }

    /// Returns the number of pending responses.
    pub(super) fn in_flight(&self) -> usize {
        self.asks.iter().map(|ask| ask.owed.len()).sum()
    }

    /// Asserts that every pending response has ended in exactly one way, and that the registry has the same counts.
    pub(super) fn conclude(&self, nodes: &NodeRegistry) {
        assert_eq!(self.in_flight(), 0);
        let ended = self.passed + self.answered_for + self.elsewhere + self.expired + self.agent_gone;
        assert_eq!(self.owed, ended);
        assert_eq!(nodes.answered_for().total(), self.answered_for);
        assert_eq!(nodes.expired(), self.expired);
    }
}
