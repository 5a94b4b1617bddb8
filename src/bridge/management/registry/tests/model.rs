//! A second implementation of the registry for comparison, as simple as possible: linear searches in lists, and no
//! limits.

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Absent,
    Elsewhere,
    Answered,
    AnsweredFor,
    Expired,
}

use State::{Absent, Answered, AnsweredFor, Elsewhere, Expired, Waiting};

#[derive(Debug)]
struct Asked {
    agent: PeeringKey,
    reqid: String,
    at: Instant,
    number: usize,
    unknown_nodes: bool,
    due: bool,
    nodes: Vec<(String, State)>,
}

#[derive(Debug)]
struct Node {
    name: String,
    owner: Owner,
    links: Vec<LinkId>,
    /// The holders, each with the number of requests before its hello. The last holder is the current one.
    holders: Vec<(PeeringKey, usize)>,
}

impl Node {
    fn current(&self) -> (PeeringKey, usize) {
        *self.holders.last().unwrap()
    }
}

#[derive(Debug)]
pub(super) struct Model {
    answers: bool,
    live: Vec<Node>,
    subscribers: Vec<PeeringKey>,
    received: Vec<(PeeringKey, PeeringKey, String)>,
    /// Name, link of the node, links to which rules allowed its hello to be forwarded, and time of the disconnection.
    gone: Vec<(String, LinkId, Vec<LinkId>, Instant)>,
    asked: Vec<Asked>,
    number: usize,
}

type Failures = Vec<(PeeringKey, String, String, String)>;

impl Model {
    pub(super) fn new(answers: bool) -> Self {
        Model {
            answers,
            live: vec![],
            subscribers: vec![],
            received: vec![],
            gone: vec![],
            asked: vec![],
            number: 0,
        }
    }

    pub(super) fn tick(&mut self, now: Instant) {
        for asked in self.asked.iter_mut().filter(|asked| after(asked.at, REQUEST_TIMEOUT) <= now) {
            let pending = asked.nodes.iter_mut().filter(|(_, state)| matches!(state, Waiting | Absent));
            pending.for_each(|(_, state)| *state = Expired);
        }
        self.asked.retain(|asked| after(after(asked.at, REQUEST_TIMEOUT), KEPT) > now);
        self.gone.retain(|(.., at)| after(*at, GONE_FOR) > now);
    }

    pub(super) fn due(&mut self, now: Instant) -> Failures {
        self.tick(now);
        let mut answers = vec![];
        let due = |asked: &&mut Asked| !asked.due && after(asked.at, ANSWER_AFTER) <= now;
        for asked in self.asked.iter_mut().filter(due) {
            asked.due = true;
            for (name, state) in asked.nodes.iter_mut().filter(|_| self.answers) {
                let node = self.live.iter().find(|node| node.name == *name);
                let answers_for = node.is_some_and(|node| node.links.contains(&asked.agent.link));
                let error = match state {
                    Absent => absent(name),
                    Waiting if answers_for => SILENT.to_owned(),
                    _ => continue,
                };
                *state = AnsweredFor;
                answers.push((asked.agent, asked.reqid.clone(), name.clone(), error));
            }
        }
        answers.sort_unstable();
        answers
    }

    fn lost(&mut self, name: &str, links: &[LinkId]) -> Failures {
        let mut answers = vec![];
        let answers_for = |asked: &&mut Asked| self.answers && links.contains(&asked.agent.link);
        for asked in self.asked.iter_mut().filter(answers_for) {
            for (node, state) in &mut asked.nodes {
                if node == name && *state == Waiting {
                    *state = AnsweredFor;
                    answers.push((asked.agent, asked.reqid.clone(), name.to_owned(), LOST.to_owned()));
                }
            }
        }
        answers
    }

    pub(super) fn hello(
        &mut self,
        from: PeeringKey,
        owner: Owner,
        name: &str,
        links: &[LinkId],
    ) -> Result<Vec<PeeringKey>, HelloError> {
        let at = if let Some(at) = self.live.iter().position(|node| node.name == name) {
            let node = &mut self.live[at];
            let holder = node.current().0;
            if node.owner != owner {
                return Err(HelloError::NameTaken { holder });
            }
            if node.holders.iter().all(|(holder, _)| *holder != from) {
                node.holders.push((from, self.number));
            }
            at
        } else {
            let holders = vec![(from, self.number)];
            self.live.push(Node { name: name.to_owned(), owner, links: vec![], holders });
            self.live.len() - 1
        };
        self.live[at].links.extend(links);
        self.gone.retain(|(gone, ..)| gone != name);
        let mut agents = vec![];
        let holder = self.live[at].current().0;
        for agent in &self.subscribers {
            let hello = (*agent, holder, name.to_owned());
            if *agent != from
                && *agent != holder
                && links.contains(&agent.link)
                && !self.received.contains(&hello)
            {
                self.received.push(hello);
                agents.push(*agent);
            }
        }
        agents.sort_unstable();
        Ok(agents)
    }

    pub(super) fn subscribe(
        &mut self,
        agent: PeeringKey,
        allows: impl Fn(PeeringKey) -> bool,
    ) -> Vec<(PeeringKey, String)> {
        if !self.subscribers.contains(&agent) {
            self.subscribers.push(agent);
        }
        let mut hellos = vec![];
        for node in &mut self.live {
            let peering = node.current().0;
            let hello = (agent, peering, node.name.clone());
            if agent != peering && allows(peering) && !self.received.contains(&hello) {
                self.received.push(hello);
                node.links.push(agent.link);
                hellos.push((peering, node.name.clone()));
            }
        }
        hellos.sort_unstable_by(|a, b| a.1.cmp(&b.1));
        hellos
    }

    pub(super) fn unsubscribe(&mut self, agent: PeeringKey) {
        self.subscribers.retain(|other| *other != agent);
    }

    pub(super) fn request(
        &mut self,
        agent: PeeringKey,
        request: &DispatchRequest,
        reached: impl Fn(LinkId) -> bool,
        now: Instant,
    ) -> Result<Vec<(String, LinkId)>, RequestError> {
        if self.asked.iter().any(|asked| asked.agent == agent && asked.reqid == request.reqid) {
            return Err(RequestError::Repeated);
        }
        let (mut nodes, mut denied) = (vec![], vec![]);
        for node in self.live.iter().filter(|node| request.is_for(&node.name)) {
            let peering = node.current().0;
            if peering != agent && reached(peering.link) {
                nodes.push((node.name.clone(), Waiting));
            } else if peering != agent && node.links.contains(&agent.link) {
                denied.push((node.name.clone(), peering.link));
            }
        }
        let mut unknown_nodes = request.nodes.is_empty();
        for (name, link, links, _) in &self.gone {
            if self.answers && request.is_for(name) && reached(*link) && links.contains(&agent.link) {
                nodes.push((name.clone(), Absent));
            }
        }
        for name in &request.nodes {
            let known = nodes.iter().any(|(node, _)| node == name);
            let live = self.live.iter().any(|node| node.name == *name);
            let kept =
                |(gone, link, ..): &(String, LinkId, Vec<LinkId>, Instant)| gone == name && !reached(*link);
            let kept = self.answers && self.gone.iter().any(kept);
            unknown_nodes |= !(known || live || kept);
        }
        denied.sort_unstable();
        let (reqid, number) = (request.reqid.clone(), self.number);
        self.asked.push(Asked { agent, reqid, at: now, number, unknown_nodes, due: false, nodes });
        self.number += 1;
        Ok(denied)
    }

    pub(super) fn response(
        &mut self,
        from: PeeringKey,
        reqid: &str,
        name: &str,
        now: Instant,
    ) -> Result<PeeringKey, ResponseError> {
        let Some(node) = self.live.iter().find(|node| node.name == name) else {
            self.gone.retain(|(gone, ..)| gone != name);
            let nodes = self.asked.iter_mut().flat_map(|asked| &mut asked.nodes);
            nodes.filter(|(node, state)| node == name && *state == Absent).for_each(|(_, s)| *s = Elsewhere);
            return Err(ResponseError::UnknownName);
        };
        let (holder, current_since) = node.current();
        let not_its_name = ResponseError::NotItsName { holder };
        let own = node.holders.iter().find(|(peering, _)| *peering == from);
        let since = own.ok_or(not_its_name)?.1;
        let until = if from == holder { usize::MAX } else { current_since };
        let (mut known, mut answered, mut late) = (false, false, false);
        for asked in self.asked.iter_mut().filter(|asked| asked.reqid == reqid) {
            known = true;
            let in_time = now < after(asked.at, REQUEST_TIMEOUT);
            if asked.number >= until {
                continue;
            }
            match asked.nodes.iter_mut().find(|(node, _)| node == name) {
                Some((_, state)) => match state {
                    Waiting | Absent => {
                        *state = Answered;
                        return Ok(asked.agent);
                    }
                    Elsewhere if in_time => {
                        *state = Answered;
                        return Ok(asked.agent);
                    }
                    Answered => answered = true,
                    AnsweredFor | Expired | Elsewhere => late = true,
                },
                None if asked.unknown_nodes && asked.number < since => {
                    if in_time {
                        asked.nodes.push((name.to_owned(), Answered));
                        return Ok(asked.agent);
                    }
                    late = true;
                }
                None => {}
            }
        }
        Err(match (known, answered, late) {
            _ if from != holder => not_its_name,
            (false, ..) => ResponseError::UnknownRequest,
            (_, true, _) => ResponseError::AnsweredAlready,
            (_, _, true) => ResponseError::Late,
            _ => ResponseError::NotAsked,
        })
    }

    pub(super) fn gone(&mut self, peering: PeeringKey, now: Instant) -> Failures {
        self.unsubscribe(peering);
        self.asked.retain(|asked| asked.agent != peering);
        let mut answers = vec![];
        for at in (0..self.live.len()).rev() {
            let node = &mut self.live[at];
            let held = node.current().0 == peering;
            node.holders.retain(|(holder, _)| *holder != peering);
            match node.holders.last() {
                // An agent that received the hello of one holder does not need the hello of the second holder.
                Some((back, _)) if held => {
                    let received =
                        self.received.iter().filter(|(_, from, name)| *from == peering && *name == node.name);
                    let received: Vec<_> =
                        received.map(|(agent, ..)| (*agent, *back, node.name.clone())).collect();
                    self.received.extend(received);
                }
                Some(_) => {}
                None => {
                    let Node { name, links, .. } = self.live.remove(at);
                    answers.append(&mut self.lost(&name, &links));
                    self.gone.push((name, peering.link, links, now));
                }
            }
        }
        self.received.retain(|(agent, node, _)| *agent != peering && *node != peering);
        answers.sort_unstable();
        answers
    }
}
