//! Watches what goes in and comes out, and knows nothing of how it comes about.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::*;

/// A request that was let through.
#[derive(Debug)]
struct Ask {
    agent: PeeringKey,
    at: Instant,
    owed: BTreeSet<String>,
    /// Those that were not here.
    absent: BTreeSet<String>,
    answered: BTreeSet<String>,
}

#[derive(Debug)]
pub(super) struct Witness {
    asks: Vec<Ask>,
    /// The latest of each agent under each id.
    latest: HashMap<(PeeringKey, String), usize>,
    told: HashSet<(PeeringKey, PeeringKey, String)>,
    gone: HashSet<PeeringKey>,
    /// Owed answers by how they ended: passed, answered by the bridge, the node elsewhere, expired, the agent gone.
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
            told: HashSet::new(),
            gone: HashSet::new(),
            passed: 0,
            answered_for: 0,
            elsewhere: 0,
            expired: 0,
            agent_gone: 0,
            owed: 0,
        }
    }

    pub(super) fn told(&mut self, agent: PeeringKey, node: PeeringKey, name: &str) {
        assert!(!self.gone.contains(&agent) && agent != node);
        assert!(self.told.insert((agent, node, name.to_owned())), "told twice of {name}");
    }

    pub(super) fn was_told(&self, agent: PeeringKey, node: PeeringKey, name: &str) -> bool {
        self.told.contains(&(agent, node, name.to_owned()))
    }

    /// A request goes to these nodes, and is for some that are not here.
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

    /// A node is not here, and answers elsewhere.
    pub(super) fn elsewhere(&mut self, node: &str) {
        for ask in self.asks.iter_mut().filter(|ask| ask.absent.contains(node)) {
            self.elsewhere += u64::from(ask.owed.remove(node));
        }
    }

    /// An agent is answered.
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
        for (agent, reqid, node, _) in super::told(answers) {
            let (_, owed) = self.answered(agent, &reqid, &node);
            assert!(owed, "answered for {node}, which owed nothing");
            self.answered_for += 1;
        }
    }

    /// Before a peering is told to be gone.
    pub(super) fn gone(&mut self, peering: PeeringKey) {
        self.gone.insert(peering);
        self.told.retain(|(agent, node, _)| *agent != peering && *node != peering);
        for ask in self.asks.iter_mut().filter(|ask| ask.agent == peering) {
            self.agent_gone += u64::try_from(std::mem::take(&mut ask.owed).len()).unwrap();
        }
    }

    /// Before anything is told.
    pub(super) fn expire(&mut self, now: Instant) {
        for ask in self.asks.iter_mut().filter(|ask| after(ask.at, REQUEST_TIMEOUT) <= now) {
            self.expired += u64::try_from(std::mem::take(&mut ask.owed).len()).unwrap();
        }
    }

    /// What is owed and has not ended.
    pub(super) fn in_flight(&self) -> usize {
        self.asks.iter().map(|ask| ask.owed.len()).sum()
    }

    /// Every owed answer has ended in exactly one way, and `nodes` has counted the same.
    pub(super) fn conclude(&self, nodes: &NodeRegistry) {
        assert_eq!(self.in_flight(), 0);
        let ended = self.passed + self.answered_for + self.elsewhere + self.expired + self.agent_gone;
        assert_eq!(self.owed, ended);
        assert_eq!(nodes.answered_for(), self.answered_for);
        assert_eq!(nodes.expired(), self.expired);
    }
}
