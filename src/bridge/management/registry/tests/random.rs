//! Random sequences of events, compared with the model and checked for invariants.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::model::Model;
use super::witness::Witness;
use super::*;

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const PEERINGS: u8 = 7;

#[derive(Debug, Clone)]
enum Step {
    Hello { from: u8, name: usize },
    Subscribe(u8),
    Unsubscribe(u8),
    Request { agent: u8, reqid: u8, names: BTreeSet<usize> },
    Response { from: Option<u8>, reqid: u8, name: usize },
    Gone(u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let peering = || 0..PEERINGS;
    let name = || 0..NAMES.len();
    // Mostly, low numbers are nodes and high numbers are agents. So requests often reach a node.
    let node = || prop_oneof![4 => 0..4u8, 1 => peering()];
    let agent = || prop_oneof![4 => 4..PEERINGS, 1 => peering()];
    prop_oneof![
        5 => (node(), name()).prop_map(|(from, name)| Step::Hello { from, name }),
        2 => agent().prop_map(Step::Subscribe),
        1 => agent().prop_map(Step::Unsubscribe),
        6 => (agent(), 0..6u8, proptest::collection::btree_set(name(), 0..4))
            .prop_map(|(agent, reqid, names)| Step::Request { agent, reqid, names }),
        10 => (prop_oneof![4 => Just(None), 1 => peering().prop_map(Some)], 0..6u8, name())
            .prop_map(|(from, reqid, name)| Step::Response { from, reqid, name }),
        2 => peering().prop_map(Step::Gone),
        3 => prop_oneof![Just(1), Just(1000), Just(4000), Just(5000), Just(10_000), Just(300_000)]
            .prop_map(Step::Wait),
    ]
}

/// A share that is enough for two names or four requests.
const SMALL_SHARE: usize = 3000;

/// Returns whether the rules allow messages from one link to another.
fn allows(from: LinkId, to: LinkId) -> bool {
    !(from.0 + to.0).is_multiple_of(5)
}

struct Run {
    nodes: NodeRegistry,
    /// `None` if limits can be reached.
    model: Option<Model>,
    witness: Witness,
    now: Instant,
    /// The number of the current peering of each peer.
    current: [u64; 7],
    subscribers: BTreeSet<PeeringKey>,
    /// The names that belong to a former holder again.
    returned: BTreeSet<String>,
    share: usize,
}

impl Run {
    fn new(nodes: NodeRegistry, model: Option<Model>) -> Self {
        let share = if model.is_some() { MAX_SHARE } else { SMALL_SHARE };
        let (witness, subscribers, returned) = (Witness::new(), BTreeSet::new(), BTreeSet::new());
        Run { nodes, model, witness, now: Instant::now(), current: [0; 7], subscribers, returned, share }
    }

    fn party(&self, number: u8) -> Party {
        let owner = if number.is_multiple_of(2) { "even" } else { "odd" };
        Party { share: self.share, ..party(self.key(number), owner) }
    }

    fn key(&self, number: u8) -> PeeringKey {
        PeeringKey { peering: self.current[usize::from(number)], ..peering(number) }
    }

    fn step(&mut self, step: &Step) {
        self.witness.expire(self.now);
        if let Some(model) = &mut self.model {
            model.tick(self.now);
        }
        match step {
            Step::Hello { from, name } => self.hello(*from, NAMES[*name]),
            Step::Subscribe(agent) => self.subscribe(*agent),
            Step::Unsubscribe(agent) => {
                let agent = self.key(*agent);
                self.nodes.unsubscribe(agent);
                self.subscribers.remove(&agent);
                if let Some(model) = &mut self.model {
                    model.unsubscribe(agent);
                }
            }
            Step::Request { agent, reqid, names } => self.request(*agent, *reqid, names),
            Step::Response { from, reqid, name } => {
                let from = from.map(|from| self.key(from));
                self.response(from, &reqid.to_string(), NAMES[*name]);
            }
            Step::Gone(number) => self.gone(*number),
            Step::Wait(millis) => {
                self.now += Duration::from_millis(*millis);
                self.witness.expire(self.now);
                self.due();
            }
        }
        self.check();
    }

    fn due(&mut self) {
        let due = self.nodes.due(self.now);
        self.witness.answered_for(&due.answers);
        if let Some(model) = &mut self.model {
            assert_eq!(sorted(&due.answers), model.due(self.now));
        }
        for Repeat { to, node, hello } in due.hellos {
            assert!(self.subscribers.contains(&to) && to != node);
            let live = self.nodes.live();
            assert!(live.iter().any(|live| live.peering == node && hello_of(live.name) == hello));
        }
    }

    fn hello(&mut self, from: u8, name: &str) {
        let node = self.party(from);
        let key = node.peering;
        let links: Vec<_> =
            (0..usize::from(PEERINGS)).map(LinkId).filter(|link| allows(key.link, *link)).collect();
        let before = self.nodes.holder(name);
        let outcome = self.nodes.hello(&node, name, &hello_of(name), &links, self.now);
        if let Ok(agents) = &outcome {
            // The sender becomes the holder of the name, unless it is a former holder that repeats its hello.
            let holder = self.nodes.holder(name).unwrap();
            assert!(holder == key || Some(holder) == before);
            for agent in agents {
                assert!(self.subscribers.contains(agent) && links.contains(&agent.link));
                self.witness.hello(*agent, holder, name);
            }
        } else {
            assert_eq!(self.nodes.holder(name), before);
        }
        if let Some(model) = &mut self.model {
            assert_eq!(outcome, model.hello(key, node.owner, name, &links));
        }
    }

    fn subscribe(&mut self, agent: u8) {
        let key = self.key(agent);
        let pass = |node: PeeringKey| allows(node.link, key.link);
        self.subscribers.insert(key);
        let mut result = vec![];
        for (name, hello) in self.nodes.subscribe(key, |node, _| pass(node), self.now) {
            assert_eq!(hello, hello_of(&name));
            let node = self.nodes.holder(&name).unwrap();
            self.witness.hello(key, node, &name);
            result.push((node, name));
        }
        if let Some(model) = &mut self.model {
            result.sort_unstable_by(|a, b| a.1.cmp(&b.1));
            assert_eq!(result, model.subscribe(key, pass));
        }
    }

    fn request(&mut self, agent: u8, reqid: u8, names: &BTreeSet<usize>) {
        let key = self.key(agent);
        let names: Vec<_> = names.iter().map(|name| NAMES[*name]).collect();
        let request = request(&reqid.to_string(), &names);
        let reached = |link: LinkId| allows(key.link, link);
        let live = self.nodes.live().into_iter();
        let owed = live.filter(|LiveNode { name, peering }| {
            request.is_for(name) && *peering != key && reached(peering.link)
        });
        let owed = owed.map(|node| node.name.to_owned()).collect();
        let agent = self.party(agent);
        let outcome = self.nodes.request(&agent, &request, reached, self.now);
        if let Ok(Accepted { answers, .. }) = &outcome {
            // First count the requests that were forgotten to make room: one of them may have the id of the new request.
            self.witness.answered_for(answers);
            let absent = self.nodes.in_flight.absent(key, &request.reqid);
            self.witness.asked(key, &request.reqid, owed, absent, self.now);
        }
        if let Some(model) = &mut self.model {
            let outcome = outcome.map(|Accepted { answers, denied }| {
                assert_eq!(answers, []);
                let mut denied: Vec<_> = denied.iter().map(|d| (d.node.to_string(), d.link)).collect();
                denied.sort_unstable();
                denied
            });
            assert_eq!(outcome, model.request(key, &request, reached, self.now));
        }
    }

    /// Sends a response, from the holder of the name if `from` is `None`.
    fn response(&mut self, from: Option<PeeringKey>, reqid: &str, name: &str) {
        let holder = self.nodes.holder(name);
        let from = from.or(holder).unwrap_or(self.key(0));
        let outcome = self.nodes.response(from, &success(reqid, name), self.now);
        if let Ok(agent) = outcome {
            assert!(holder.is_some());
            self.witness.passed(agent, reqid, name, self.now);
        }
        if holder.is_none() {
            self.witness.elsewhere(name);
        }
        if let Some(model) = &mut self.model {
            assert_eq!(outcome, model.response(from, reqid, name, self.now));
        }
    }

    fn gone(&mut self, number: u8) {
        let key = self.key(number);
        self.current[usize::from(number)] += 1;
        self.subscribers.remove(&key);
        self.witness.gone(key);
        let held = NAMES.map(|name| (name, self.nodes.holder(name)));
        let answers = self.nodes.gone(key, self.now);
        self.witness.answered_for(&answers);
        let returned = held.iter().filter(|(name, held)| *held != self.nodes.holder(name));
        self.returned.extend(returned.map(|(name, _)| (*name).to_owned()));
        if let Some(model) = &mut self.model {
            assert_eq!(sorted(&answers), model.gone(key, self.now));
        }
    }

    /// Checks the invariants.
    fn check(&self) {
        let live = self.nodes.live();
        assert!(live.is_sorted_by(|one, next| one.name < next.name), "a name is held twice: {live:?}");
        for LiveNode { name, peering } in live {
            for agent in self.subscribers.iter().filter(|agent| **agent != peering) {
                let received = self.witness.has_received(*agent, peering, name);
                let allowed = allows(peering.link, agent.link) && !self.returned.contains(name);
                assert!(received || !allowed, "{agent:?} did not receive the hello of {name}");
            }
        }
        self.nodes.remembered();
    }

    /// Ends all peerings and waits until nothing is due.
    fn end(&mut self) {
        for number in 0..PEERINGS {
            self.step(&Step::Gone(number));
        }
        while let Some(at) = self.nodes.next_due() {
            self.now = self.now.max(at);
            self.witness.expire(self.now);
            self.due();
        }
        assert_eq!(self.nodes.remembered(), 0);
        assert_eq!(self.nodes.in_flight(), 0);
    }
}

proptest! {
    #[test]
    fn the_registry_matches_the_model_and_each_pending_response_ends_exactly_once(
        steps in proptest::collection::vec(step(), 1..200),
        answer_in_flight: bool,
    ) {
        let mut run = Run::new(NodeRegistry::new(answer_in_flight), Some(Model::new(answer_in_flight)));
        for step in &steps {
            run.step(step);
            assert_eq!(run.nodes.in_flight(), run.witness.in_flight());
        }
        run.end();
        run.witness.conclude(&run.nodes);
        assert_eq!(run.nodes.forgotten(), 0);
        assert!(answer_in_flight || run.nodes.answered_for().total() == 0);
    }

    /// Forgotten requests are answered, unless the node may respond over a different path.
    #[test]
    fn no_request_is_answered_twice_under_tight_limits(
        steps in proptest::collection::vec(step(), 1..200),
        answer_in_flight: bool,
    ) {
        let mut run = Run::new(NodeRegistry::with_bounds(answer_in_flight, SMALL), None);
        for step in &steps {
            run.step(step);
            assert!(run.nodes.in_flight() <= run.witness.in_flight());
            assert!(run.nodes.live().len() <= SMALL.names);
            for owner in ["even", "odd"] {
                assert!(run.nodes.in_flight.bytes_of(&host(owner)) <= SMALL_SHARE);
            }
            assert!(run.nodes.gone.len() <= SMALL.gone);
        }
        run.end();
        assert!(answer_in_flight || run.nodes.answered_for().total() == 0);
    }
}
