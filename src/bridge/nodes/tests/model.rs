//! What [`Nodes`] does, said as plainly as can be: lists that are searched from end to end, and nothing bounded.

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Answered,
    AnsweredFor,
    Expired,
}

#[derive(Debug)]
struct Asked {
    agent: PeeringKey,
    reqid: String,
    at: Instant,
    number: usize,
    strangers: bool,
    nodes: Vec<(String, State)>,
}

#[derive(Debug)]
struct Node {
    name: String,
    peering: PeeringKey,
    owner: Owner,
    /// How many requests came before its hello.
    since: usize,
}

#[derive(Debug)]
pub(super) struct Model {
    answers: bool,
    live: Vec<Node>,
    wants: Vec<PeeringKey>,
    told: Vec<(PeeringKey, PeeringKey, String)>,
    /// With the links that they were behind, and since when.
    gone: Vec<(String, usize, Instant)>,
    asked: Vec<Asked>,
    number: usize,
}

type Told = Vec<(PeeringKey, String, String, String)>;

impl Model {
    pub(super) fn new(answers: bool) -> Self {
        Model { answers, live: vec![], wants: vec![], told: vec![], gone: vec![], asked: vec![], number: 0 }
    }

    pub(super) fn tick(&mut self, now: Instant) {
        for asked in self.asked.iter_mut().filter(|asked| after(asked.at, REQUEST_TIMEOUT) <= now) {
            for (_, state) in asked.nodes.iter_mut().filter(|(_, state)| *state == State::Waiting) {
                *state = State::Expired;
            }
        }
        self.asked.retain(|asked| after(after(asked.at, REQUEST_TIMEOUT), KEPT) > now);
        self.gone.retain(|(.., at)| after(*at, GONE_FOR) > now);
    }

    fn lost(&mut self, name: &str) -> Told {
        let mut answers = vec![];
        for asked in self.asked.iter_mut().filter(|_| self.answers) {
            for (node, state) in &mut asked.nodes {
                if node == name && *state == State::Waiting {
                    *state = State::AnsweredFor;
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
        passes: impl Fn(PeeringKey) -> bool,
    ) -> Result<(Vec<PeeringKey>, Told), HelloRefused> {
        let mut answers = vec![];
        let holder = self.live.iter().position(|node| node.name == name);
        let stays = holder.is_some_and(|at| self.live[at].peering == from);
        if !stays {
            if let Some(at) = holder {
                let Node { peering: holder, owner: other, .. } = &self.live[at];
                if *other != owner {
                    return Err(HelloRefused::NameTaken { holder: *holder });
                }
                self.live.remove(at);
                answers = self.lost(name);
            }
            self.live.push(Node { name: name.to_owned(), peering: from, owner, since: self.number });
        }
        self.gone.retain(|(gone, ..)| gone != name);
        let mut tell = vec![];
        for agent in &self.wants {
            let said = (*agent, from, name.to_owned());
            if *agent != from && passes(*agent) && !self.told.contains(&said) {
                self.told.push(said);
                tell.push(*agent);
            }
        }
        tell.sort_unstable();
        answers.sort_unstable();
        Ok((tell, answers))
    }

    pub(super) fn wants(
        &mut self,
        agent: PeeringKey,
        passes: impl Fn(PeeringKey) -> bool,
    ) -> Vec<(PeeringKey, String)> {
        if !self.wants.contains(&agent) {
            self.wants.push(agent);
        }
        let mut hellos = vec![];
        for node in &self.live {
            let said = (agent, node.peering, node.name.clone());
            if agent != node.peering && passes(node.peering) && !self.told.contains(&said) {
                self.told.push(said);
                hellos.push((node.peering, node.name.clone()));
            }
        }
        hellos.sort_unstable_by(|a, b| a.1.cmp(&b.1));
        hellos
    }

    pub(super) fn wants_no_more(&mut self, agent: PeeringKey) {
        self.wants.retain(|other| *other != agent);
    }

    pub(super) fn request(
        &mut self,
        agent: PeeringKey,
        request: &DispatchRequest,
        reached: impl Fn(usize) -> bool,
        now: Instant,
    ) -> Result<Told, RequestRefused> {
        if self.asked.iter().any(|asked| asked.agent == agent && asked.reqid == request.reqid) {
            return Err(RequestRefused::Repeated);
        }
        let mut nodes = vec![];
        let mut answers = vec![];
        for node in &self.live {
            if request.is_for(&node.name) && node.peering != agent && reached(node.peering.link) {
                nodes.push((node.name.clone(), State::Waiting));
            }
        }
        let mut strangers = request.nodes.is_empty();
        for (name, link, _) in self.gone.iter().filter(|(name, ..)| self.answers && request.is_for(name)) {
            if reached(*link) {
                nodes.push((name.clone(), State::AnsweredFor));
                let error = format!("node {name} is not connected to the bridge");
                answers.push((agent, request.reqid.clone(), name.clone(), error));
            }
        }
        for name in &request.nodes {
            let live = self.live.iter().any(|node| node.name == *name);
            let gone = self.answers && self.gone.iter().any(|(gone, ..)| gone == name);
            strangers |= !live && !gone;
        }
        answers.sort_unstable();
        let reqid = request.reqid.clone();
        self.asked.push(Asked { agent, reqid, at: now, number: self.number, strangers, nodes });
        self.number += 1;
        Ok(answers)
    }

    pub(super) fn response(
        &mut self,
        from: PeeringKey,
        reqid: &str,
        name: &str,
        now: Instant,
    ) -> Result<PeeringKey, ResponseRefused> {
        let node = self.live.iter().find(|node| node.name == name).ok_or(ResponseRefused::UnknownName)?;
        if node.peering != from {
            return Err(ResponseRefused::NotItsName { holder: node.peering });
        }
        let (mut known, mut answered, mut late) = (false, false, false);
        for asked in self.asked.iter_mut().filter(|asked| asked.reqid == reqid) {
            known = true;
            match asked.nodes.iter_mut().find(|(node, _)| node == name) {
                Some((_, state)) => match state {
                    State::Waiting => {
                        *state = State::Answered;
                        return Ok(asked.agent);
                    }
                    State::Answered => answered = true,
                    State::AnsweredFor | State::Expired => late = true,
                },
                None if asked.strangers && asked.number < node.since => {
                    if now < after(asked.at, REQUEST_TIMEOUT) {
                        asked.nodes.push((name.to_owned(), State::Answered));
                        return Ok(asked.agent);
                    }
                    late = true;
                }
                None => {}
            }
        }
        Err(match (known, answered, late) {
            (false, ..) => ResponseRefused::UnknownRequest,
            (_, true, _) => ResponseRefused::AnsweredAlready,
            (_, _, true) => ResponseRefused::Late,
            _ => ResponseRefused::NotAsked,
        })
    }

    pub(super) fn gone(&mut self, peering: PeeringKey, now: Instant) -> Told {
        self.wants_no_more(peering);
        self.told.retain(|(agent, node, _)| *agent != peering && *node != peering);
        self.asked.retain(|asked| asked.agent != peering);
        let mut answers = vec![];
        for at in (0..self.live.len()).rev() {
            if self.live[at].peering == peering {
                let name = self.live.remove(at).name;
                answers.append(&mut self.lost(&name));
                self.gone.push((name, peering.link, now));
            }
        }
        answers.sort_unstable();
        answers
    }
}
