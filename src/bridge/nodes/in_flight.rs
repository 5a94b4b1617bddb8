//! The requests that wait for answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::{Answer, Bounds, KEPT, LOST, PeeringKey, ResponseRefused, TOO_MANY, after};
use crate::management::{DispatchResponse, ManagementResult, REQUEST_TIMEOUT};

/// A request, numbered in the order of arrival. Since all have the same budget, they expire in this order too.
type RequestId = u64;

#[derive(Debug, Default)]
pub(super) struct InFlight {
    /// Whether lost answers are answered for.
    answers: bool,
    /// The requests that somebody still owes an answer to.
    open: BTreeMap<RequestId, Request>,
    /// Those that nobody does, kept a while so that nothing is answered twice.
    settled: BTreeMap<RequestId, Request>,
    /// Of both. The same id may come from several agents.
    by_reqid: HashMap<Arc<str>, Vec<RequestId>>,
    /// The open requests that a node owes an answer to.
    by_name: HashMap<Arc<str>, BTreeSet<RequestId>>,
    /// The requests of each agent.
    by_agent: HashMap<PeeringKey, Asked>,
    next: RequestId,
    /// How many requests and entries in them are remembered.
    size: usize,
    pub(super) owed: usize,
    pub(super) answered_for: u64,
    pub(super) expired: u64,
    pub(super) forgotten: u64,
}

#[derive(Debug, Default)]
struct Asked {
    open: BTreeSet<RequestId>,
    settled: BTreeSet<RequestId>,
    /// How many answers are owed to these.
    owed: usize,
}

#[derive(Debug)]
struct Request {
    agent: PeeringKey,
    reqid: Arc<str>,
    /// When the agent waits no more.
    deadline: Instant,
    /// What is known of each node that it is for.
    nodes: BTreeMap<Arc<str>, State>,
    /// How many of these are [`State::Waiting`].
    waiting: usize,
    /// Whether it is also for nodes that were not live. One may have heard it over a peering that stood before its hello was
    /// heard here.
    strangers: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It owes an answer.
    Waiting,
    /// It has answered.
    Answered,
    /// The bridge has answered in its place, or the agent waits no more.
    Over,
}

/// Whom a request is for.
#[derive(Debug, Default)]
pub(super) struct For {
    /// Live nodes that it goes to.
    pub(super) live: Vec<Arc<str>>,
    /// Nodes that are gone, which the bridge answers for at once.
    pub(super) gone: Vec<Arc<str>>,
    /// Whether it is also for others.
    pub(super) strangers: bool,
}

impl InFlight {
    pub(super) fn new(answers: bool) -> Self {
        InFlight { answers, ..InFlight::default() }
    }

    pub(super) fn set_answers(&mut self, answers: bool) {
        self.answers = answers;
    }

    /// The number of the next request.
    pub(super) fn next(&self) -> RequestId {
        self.next
    }

    fn get(&self, id: RequestId) -> Option<&Request> {
        self.open.get(&id).or_else(|| self.settled.get(&id))
    }

    /// Whether this agent's request of this id is remembered.
    pub(super) fn knows(&self, agent: PeeringKey, reqid: &str) -> bool {
        let ids = self.by_reqid.get(reqid).into_iter().flatten();
        ids.filter_map(|id| self.get(*id)).any(|request| request.agent == agent)
    }

    /// Remembers a request. Returns who is answered for: those of requests that had to be forgotten to make room.
    pub(super) fn ask(
        &mut self,
        agent: PeeringKey,
        reqid: &str,
        whom: For,
        now: Instant,
        bounds: &Bounds,
    ) -> Vec<Answer> {
        let size = whom.live.len().saturating_add(whom.gone.len()).saturating_add(1);
        let mut answers = Vec::new();
        self.make_room(agent, whom.live.len(), size, bounds, &mut answers);

        let id = self.next;
        self.next = id.saturating_add(1);
        let reqid: Arc<str> = match self.by_reqid.get_key_value(reqid) {
            Some((reqid, _)) => reqid.clone(),
            None => reqid.into(),
        };
        let waiting = whom.live.len();
        let asked = self.by_agent.entry(agent).or_default();
        if waiting > 0 { &mut asked.open } else { &mut asked.settled }.insert(id);
        asked.owed = asked.owed.saturating_add(waiting);
        for name in &whom.live {
            self.by_name.entry(name.clone()).or_default().insert(id);
        }
        let live = whom.live.into_iter().map(|name| (name, State::Waiting));
        let gone = whom.gone.into_iter().map(|name| (name, State::Over));
        let request = Request {
            agent,
            reqid: reqid.clone(),
            deadline: after(now, REQUEST_TIMEOUT),
            nodes: live.chain(gone).collect(),
            waiting,
            strangers: whom.strangers,
        };
        self.by_reqid.entry(reqid).or_default().push(id);
        self.owed = self.owed.saturating_add(waiting);
        self.size = self.size.saturating_add(size);
        if waiting > 0 { &mut self.open } else { &mut self.settled }.insert(id, request);
        answers
    }

    /// Forgets the oldest requests: this agent's if it has asked too much, then whoever's.
    fn make_room(
        &mut self,
        agent: PeeringKey,
        owed: usize,
        size: usize,
        bounds: &Bounds,
        answers: &mut Vec<Answer>,
    ) {
        while let Some(asked) = self.by_agent.get(&agent)
            && asked.owed.saturating_add(owed) > bounds.owed_per_agent
            && let Some(oldest) = asked.open.first().copied()
        {
            self.evict(oldest, answers);
        }
        while self.size.saturating_add(size) > bounds.remembered {
            if let Some((id, request)) = self.settled.pop_first() {
                self.forget(id, &request);
            } else if let Some(oldest) = self.open.first_key_value().map(|(id, _)| *id) {
                self.evict(oldest, answers);
            } else {
                break;
            }
        }
    }

    fn evict(&mut self, id: RequestId, answers: &mut Vec<Answer>) {
        let Some(request) = self.close(id) else { return };
        self.forget(id, &request);
        for (name, state) in &request.nodes {
            if *state == State::Waiting {
                self.forgotten = self.forgotten.saturating_add(1);
                if self.answers {
                    answers.push(self.answer(request.agent, &request.reqid, name, TOO_MANY));
                }
            }
        }
    }

    /// The bridge's own answer.
    pub(super) fn answer(&mut self, to: PeeringKey, reqid: &str, node: &str, error: &str) -> Answer {
        self.answered_for = self.answered_for.saturating_add(1);
        Answer { to, response: DispatchResponse::from(ManagementResult::failure(reqid, node, error)) }
    }

    /// An answer under this name, by who holds it since the request `since`. Returns the agent that it answers: of
    /// several that asked under the same id, the one that asked first.
    pub(super) fn response(
        &mut self,
        name: &Arc<str>,
        since: RequestId,
        reqid: &str,
        now: Instant,
        bounds: &Bounds,
    ) -> Result<PeeringKey, ResponseRefused> {
        let ids = self.by_reqid.get(reqid).ok_or(ResponseRefused::UnknownRequest)?;
        let mut refused = ResponseRefused::NotAsked;
        let mut answered = None;
        for (id, request) in ids.iter().filter_map(|id| Some((*id, self.get(*id)?))) {
            match request.nodes.get(name) {
                Some(State::Waiting) => answered = Some((id, request.agent, true)),
                Some(State::Answered) => refused = ResponseRefused::AnsweredAlready,
                None if request.strangers && id < since && now < request.deadline => {
                    answered = Some((id, request.agent, false));
                }
                None if !request.strangers || id >= since => {}
                _ if refused == ResponseRefused::NotAsked => refused = ResponseRefused::Late,
                _ => {}
            }
            if answered.is_some() {
                break;
            }
        }
        let (id, agent, owed) = answered.ok_or(refused)?;
        if owed {
            self.settle(id, name, State::Answered);
        } else {
            // Requests make room, answers cannot; the little that these may take besides is bounded too.
            if self.size >= bounds.remembered.saturating_add(bounds.names) {
                return Err(ResponseRefused::NotAsked);
            }
            let request = self.open.get_mut(&id).or_else(|| self.settled.get_mut(&id));
            if request.is_some_and(|request| request.nodes.insert(name.clone(), State::Answered).is_none()) {
                self.size = self.size.saturating_add(1);
            }
        }
        Ok(agent)
    }

    /// The peering that held this name is gone, or holds it no more.
    pub(super) fn lost(&mut self, name: &Arc<str>) -> Vec<Answer> {
        if !self.answers {
            return Vec::new();
        }
        let mut answers = Vec::new();
        for id in self.by_name.remove(name).unwrap_or_default() {
            if let Some((agent, reqid)) = self.settle(id, name, State::Over) {
                answers.push(self.answer(agent, &reqid, name, LOST));
            }
        }
        answers
    }

    /// Forgets what an agent asked.
    pub(super) fn agent_gone(&mut self, agent: PeeringKey) {
        let Asked { open, settled, .. } = self.by_agent.remove(&agent).unwrap_or_default();
        for id in open.into_iter().chain(settled) {
            if let Some(request) = self.close(id).or_else(|| self.settled.remove(&id)) {
                self.forget(id, &request);
            }
        }
    }

    /// Ends a node's owing an answer. Returns the agent and its request id.
    fn settle(&mut self, id: RequestId, name: &Arc<str>, state: State) -> Option<(PeeringKey, Arc<str>)> {
        let request = self.open.get_mut(&id)?;
        let waiting = request.nodes.get_mut(name).filter(|state| **state == State::Waiting)?;
        *waiting = state;
        request.waiting = request.waiting.saturating_sub(1);
        let answered = (request.agent, request.reqid.clone());
        let over = request.waiting == 0;
        self.unlist(name, id);
        self.owe_less(answered.0, 1);
        if over && let Some(request) = self.open.remove(&id) {
            self.keep(id, request);
        }
        Some(answered)
    }

    /// Takes a request out of those that are open, whoever still owes it an answer. It is then kept or forgotten.
    fn close(&mut self, id: RequestId) -> Option<Request> {
        let request = self.open.remove(&id)?;
        for (name, state) in &request.nodes {
            if *state == State::Waiting {
                self.unlist(name, id);
            }
        }
        self.owe_less(request.agent, request.waiting);
        Some(request)
    }

    fn unlist(&mut self, name: &Arc<str>, id: RequestId) {
        if let Some(ids) = self.by_name.get_mut(name) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_name.remove(name);
            }
        }
    }

    fn owe_less(&mut self, agent: PeeringKey, answers: usize) {
        self.owed = self.owed.saturating_sub(answers);
        if let Some(asked) = self.by_agent.get_mut(&agent) {
            asked.owed = asked.owed.saturating_sub(answers);
        }
    }

    /// Keeps a request that was open among those that are settled.
    fn keep(&mut self, id: RequestId, request: Request) {
        if let Some(asked) = self.by_agent.get_mut(&request.agent) {
            asked.open.remove(&id);
            asked.settled.insert(id);
        }
        self.settled.insert(id, request);
    }

    /// Forgets a request that is in neither map any more.
    fn forget(&mut self, id: RequestId, request: &Request) {
        self.size = self.size.saturating_sub(request.nodes.len().saturating_add(1));
        if let Some(ids) = self.by_reqid.get_mut(&request.reqid) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_reqid.remove(&request.reqid);
            }
        }
        if let Some(asked) = self.by_agent.get_mut(&request.agent) {
            asked.open.remove(&id);
            asked.settled.remove(&id);
            if asked.open.is_empty() && asked.settled.is_empty() {
                self.by_agent.remove(&request.agent);
            }
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((id, request)) = self.open.first_key_value()
            && request.deadline <= now
        {
            let id = *id;
            let Some(mut request) = self.close(id) else { break };
            for state in request.nodes.values_mut().filter(|state| **state == State::Waiting) {
                *state = State::Over;
                self.expired = self.expired.saturating_add(1);
            }
            request.waiting = 0;
            self.keep(id, request);
        }
        while let Some(request) = self.settled.first_entry()
            && after(request.get().deadline, KEPT) <= now
        {
            let (id, request) = request.remove_entry();
            self.forget(id, &request);
        }
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let open = self.open.first_key_value().map(|(_, request)| request.deadline);
        let settled = self.settled.first_key_value().map(|(_, request)| after(request.deadline, KEPT));
        open.into_iter().chain(settled).min()
    }

    /// How much is remembered, after a look at whether all that is counted is so.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let all = || self.open.values().chain(self.settled.values());
        let waiting = |request: &Request| request.nodes.values().filter(|s| **s == State::Waiting).count();
        assert!(all().all(|request| request.waiting == waiting(request)));
        assert!(self.open.values().all(|request| request.waiting > 0));
        assert!(self.settled.values().all(|request| request.waiting == 0));
        assert_eq!(self.owed, all().map(waiting).sum::<usize>());
        assert_eq!(self.owed, self.by_name.values().map(BTreeSet::len).sum::<usize>());
        assert_eq!(self.owed, self.by_agent.values().map(|asked| asked.owed).sum::<usize>());
        assert_eq!(self.open.len(), self.by_agent.values().map(|asked| asked.open.len()).sum::<usize>());
        assert_eq!(
            self.settled.len(),
            self.by_agent.values().map(|asked| asked.settled.len()).sum::<usize>()
        );
        assert_eq!(all().count(), self.by_reqid.values().map(Vec::len).sum::<usize>());
        assert_eq!(self.size, all().count().saturating_add(all().map(|request| request.nodes.len()).sum()));
        assert!(self.by_name.values().all(|ids| !ids.is_empty()));
        assert!(self.by_reqid.values().all(|ids| !ids.is_empty()));
        self.size
    }
}
