//! Random sequences of what may happen.

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
    Wants(u8),
    WantsNoMore(u8),
    Request { agent: u8, reqid: u8, names: BTreeSet<usize> },
    Response { from: Option<u8>, reqid: u8, name: usize },
    Gone(u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let peering = || 0..PEERINGS;
    let name = || 0..NAMES.len();
    // Most agents are the upper peerings, most nodes the lower ones, so that they meet often enough.
    let node = || prop_oneof![4 => 0..4u8, 1 => peering()];
    let agent = || prop_oneof![4 => 4..PEERINGS, 1 => peering()];
    prop_oneof![
        5 => (node(), name()).prop_map(|(from, name)| Step::Hello { from, name }),
        2 => agent().prop_map(Step::Wants),
        1 => agent().prop_map(Step::WantsNoMore),
        6 => (agent(), 0..6u8, proptest::collection::btree_set(name(), 0..4))
            .prop_map(|(agent, reqid, names)| Step::Request { agent, reqid, names }),
        10 => (prop_oneof![4 => Just(None), 1 => peering().prop_map(Some)], 0..6u8, name())
            .prop_map(|(from, reqid, name)| Step::Response { from, reqid, name }),
        2 => peering().prop_map(Step::Gone),
        3 => prop_oneof![Just(1), Just(1000), Just(5000), Just(10_000), Just(300_000)].prop_map(Step::Wait),
    ]
}

/// What rules let pass from link to link.
fn passes(from: usize, to: usize) -> bool {
    !(from + to).is_multiple_of(5)
}

struct Run {
    nodes: Nodes,
    /// Only where nothing reaches a bound.
    model: Option<Model>,
    witness: Witness,
    now: Instant,
    /// The number of the peering that stands, for each peer.
    standing: [u64; 7],
    wants: BTreeSet<PeeringKey>,
}

impl Run {
    fn new(nodes: Nodes, model: Option<Model>) -> Self {
        let (witness, wants) = (Witness::new(), BTreeSet::new());
        Run { nodes, model, witness, now: Instant::now(), standing: [0; 7], wants }
    }

    fn key(&self, number: u8) -> PeeringKey {
        PeeringKey { peering: self.standing[usize::from(number)], ..peering(number) }
    }

    fn step(&mut self, step: &Step) {
        self.witness.expire(self.now);
        if let Some(model) = &mut self.model {
            model.tick(self.now);
        }
        match step {
            Step::Hello { from, name } => self.hello(*from, NAMES[*name]),
            Step::Wants(agent) => self.wants(*agent),
            Step::WantsNoMore(agent) => {
                let agent = self.key(*agent);
                self.nodes.agent_wants_no_more(agent);
                self.wants.remove(&agent);
                if let Some(model) = &mut self.model {
                    model.wants_no_more(agent);
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
                self.nodes.expire(self.now);
                if let Some(model) = &mut self.model {
                    model.tick(self.now);
                }
            }
        }
        self.check();
    }

    fn hello(&mut self, from: u8, name: &str) {
        let key = self.key(from);
        let owner = host(if from.is_multiple_of(2) { "even" } else { "odd" });
        let pass = |agent: PeeringKey| passes(key.link, agent.link);
        let before = self.nodes.holder(name);
        let outcome = self.nodes.hello(key, owner.clone(), name, &hello_of(name), pass, self.now);
        if let Ok(Hello { tell, answers }) = &outcome {
            assert_eq!(self.nodes.holder(name), Some(key));
            for agent in tell {
                assert!(self.wants.contains(agent) && pass(*agent));
                self.witness.told(*agent, key, name);
            }
            self.witness.answered_for(answers);
        } else {
            assert_eq!(self.nodes.holder(name), before);
        }
        if let Some(model) = &mut self.model {
            let outcome = outcome.map(|Hello { tell, answers }| (tell, told(&answers)));
            assert_eq!(outcome, model.hello(key, owner, name, pass));
        }
    }

    fn wants(&mut self, agent: u8) {
        let key = self.key(agent);
        let pass = |node: PeeringKey| passes(node.link, key.link);
        self.wants.insert(key);
        let mut heard = vec![];
        for (name, hello) in self.nodes.agent_wants(key, |node, _| pass(node)) {
            assert_eq!(hello, hello_of(&name));
            let node = self.nodes.holder(&name).unwrap();
            self.witness.told(key, node, &name);
            heard.push((node, name));
        }
        if let Some(model) = &mut self.model {
            heard.sort_unstable_by(|a, b| a.1.cmp(&b.1));
            assert_eq!(heard, model.wants(key, pass));
        }
    }

    fn request(&mut self, agent: u8, reqid: u8, names: &BTreeSet<usize>) {
        let key = self.key(agent);
        let names: Vec<_> = names.iter().map(|name| NAMES[*name]).collect();
        let request = request(&reqid.to_string(), &names);
        let reached = |link: usize| passes(key.link, link);
        let live = self.nodes.live().into_iter();
        let owed = live.filter(|LiveNode { name, peering }| {
            request.is_for(name) && *peering != key && reached(peering.link)
        });
        let owed = owed.map(|node| node.name.to_owned()).collect();
        let outcome = self.nodes.request(key, &request, reached, self.now);
        if let Ok(answers) = &outcome {
            // Requests that made room ended before this one began; one of them may have had the same id.
            let (room, at_once): (Vec<_>, Vec<_>) = answers
                .iter()
                .cloned()
                .partition(|answer| answer.response.result().error().as_deref() == Some(TOO_MANY));
            self.witness.answered_for(&room);
            self.witness.asked(key, &request.reqid, owed, self.now);
            self.witness.answered_for(&at_once);
        }
        if let Some(model) = &mut self.model {
            let outcome = outcome.map(|answers| told(&answers));
            assert_eq!(outcome, model.request(key, &request, reached, self.now));
        }
    }

    /// `from` nowhere: from who holds the name.
    fn response(&mut self, from: Option<PeeringKey>, reqid: &str, name: &str) {
        let holder = self.nodes.holder(name);
        let from = from.or(holder).unwrap_or(self.key(0));
        let outcome = self.nodes.response(from, &success(reqid, name), self.now);
        if let Ok(agent) = outcome {
            assert_eq!(holder, Some(from));
            self.witness.passed(agent, reqid, name, self.now);
        }
        if let Some(model) = &mut self.model {
            assert_eq!(outcome, model.response(from, reqid, name, self.now));
        }
    }

    fn gone(&mut self, number: u8) {
        let key = self.key(number);
        self.standing[usize::from(number)] += 1;
        self.wants.remove(&key);
        self.witness.gone(key);
        let answers = self.nodes.gone(key, self.now);
        self.witness.answered_for(&answers);
        if let Some(model) = &mut self.model {
            assert_eq!(told(&answers), model.gone(key, self.now));
        }
    }

    /// What always holds.
    fn check(&self) {
        let live = self.nodes.live();
        assert!(live.is_sorted_by(|one, next| one.name < next.name), "a name is held twice: {live:?}");
        for LiveNode { name, peering } in live {
            for agent in self.wants.iter().filter(|agent| **agent != peering) {
                let told = self.witness.was_told(*agent, peering, name);
                assert!(told || !passes(peering.link, agent.link), "{agent:?} was not told of {name}");
            }
        }
        self.nodes.remembered();
        assert!(self.nodes.next_expiry().is_none_or(|at| at > self.now));
    }

    /// Everybody goes, and time passes.
    fn end(&mut self) {
        for number in 0..PEERINGS {
            self.step(&Step::Gone(number));
        }
        while let Some(at) = self.nodes.next_expiry() {
            self.now = at;
            self.witness.expire(at);
            self.nodes.expire(at);
        }
        assert_eq!(self.nodes.remembered(), 0);
        assert_eq!(self.nodes.in_flight(), 0);
    }
}

proptest! {
    #[test]
    fn it_does_what_the_model_does_and_every_answer_ends_once(
        steps in proptest::collection::vec(step(), 1..200),
        answer_in_flight: bool,
    ) {
        let mut run = Run::new(Nodes::new(answer_in_flight), Some(Model::new(answer_in_flight)));
        for step in &steps {
            run.step(step);
            assert_eq!(run.nodes.in_flight(), run.witness.in_flight());
        }
        run.end();
        run.witness.conclude(&run.nodes);
        assert_eq!(run.nodes.forgotten(), 0);
        assert!(answer_in_flight || run.nodes.answered_for() == 0);
    }

    #[test]
    fn within_small_bounds_every_answer_still_ends_once(steps in proptest::collection::vec(step(), 1..200)) {
        let mut run = Run::new(Nodes::with_bounds(true, SMALL), None);
        for step in &steps {
            run.step(step);
            assert_eq!(run.nodes.in_flight(), run.witness.in_flight());
            assert!(run.nodes.live().len() <= SMALL.names);
            for number in 0..PEERINGS {
                assert!(run.witness.in_flight_to(run.key(number)) <= SMALL.owed_per_agent);
            }
            assert!(run.nodes.gone.len() <= SMALL.gone);
            assert!(run.nodes.in_flight.len() <= SMALL.remembered + SMALL.names);
        }
        run.end();
        run.witness.conclude(&run.nodes);
    }

    #[test]
    fn within_small_bounds_a_bridge_that_does_not_answer_stays_within_them(
        steps in proptest::collection::vec(step(), 1..200)
    ) {
        let mut run = Run::new(Nodes::with_bounds(false, SMALL), None);
        for step in &steps {
            run.step(step);
            assert!(run.nodes.in_flight() <= run.witness.in_flight());
            assert!(run.nodes.in_flight.len() <= SMALL.remembered + SMALL.names);
        }
        run.end();
        assert_eq!(run.nodes.answered_for(), 0);
    }
}
