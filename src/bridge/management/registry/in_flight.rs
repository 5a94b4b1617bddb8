//! The requests in flight.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::{
    ANSWER_AFTER, Answer, KEPT, LOST, Owner, Party, PeeringKey, ResponseRefused, SILENT, TOO_MANY, absent,
    after, shrink,
};
use crate::bridge::LinkId;
use crate::management::{DispatchResponse, ManagementResult, REQUEST_TIMEOUT};

/// A request, numbered in the order of arrival. Since all have the same deadlines, they are due in this order too.
type RequestId = u64;

/// How many bytes a request counts, without its id and its nodes: table entries and allocations, measured.
pub(super) const REQUEST_COST: usize = 640;

/// How many bytes each node that a request is for counts.
pub(super) const ASKED_COST: usize = 64;

#[derive(Debug, Default)]
pub(super) struct InFlight {
    /// Whether the bridge answers for nodes that do not.
    answers: bool,
    /// The requests with pending responses.
    open: BTreeMap<RequestId, Request>,
    /// Those without, kept for a while so that nothing is answered twice.
    settled: BTreeMap<RequestId, Request>,
    /// Of both. The same id may come from several agents.
    by_reqid: HashMap<Arc<str>, Vec<RequestId>>,
    /// The open requests with a pending response of a node.
    by_name: HashMap<Arc<str>, BTreeSet<RequestId>>,
    /// The requests of each agent.
    by_agent: HashMap<PeeringKey, Asked>,
    /// What the requests of each owner take.
    shares: HashMap<Owner, Share>,
    next: RequestId,
    /// For all requests before this one, the bridge has answered what it will answer.
    not_due: RequestId,
    /// How many responses are pending.
    pub(super) owed: usize,
    pub(super) answered_for: u64,
    pub(super) expired: u64,
    pub(super) forgotten: u64,
}

#[derive(Debug)]
struct Asked {
    owner: Owner,
    open: BTreeSet<RequestId>,
    settled: BTreeSet<RequestId>,
}

impl Asked {
    /// The request to forget first: one that needs no response any more, or the oldest.
    fn oldest(&self) -> Option<RequestId> {
        self.settled.first().or(self.open.first()).copied()
    }
}

#[derive(Debug, Default)]
struct Share {
    /// How many bytes these requests count, and how many they may.
    bytes: usize,
    most: usize,
    /// The peerings with requests.
    agents: BTreeSet<PeeringKey>,
}

#[derive(Debug)]
struct Request {
    agent: PeeringKey,
    reqid: Arc<str>,
    asked: Instant,
    /// The nodes that it is for, by name.
    nodes: Vec<(Arc<str>, State)>,
    /// How many of these have a pending response.
    pending: usize,
    /// Whether it is also for nodes that were not live. A node may have received it over a peering that was established
    /// before its hello was received here.
    strangers: bool,
}

impl Request {
    /// When the agent gives up.
    fn deadline(&self) -> Instant {
        after(self.asked, REQUEST_TIMEOUT)
    }

    fn bytes(&self) -> usize {
        let nodes = self.nodes.len().saturating_mul(ASKED_COST);
        REQUEST_COST.saturating_add(self.reqid.len()).saturating_add(nodes)
    }

    fn state(&self, name: &str) -> Option<State> {
        let at = self.nodes.binary_search_by(|(node, _)| (**node).cmp(name)).ok()?;
        self.nodes.get(at).map(|(_, state)| *state)
    }

    /// Changes the state of a node. A node that is not listed is added.
    fn set_state(&mut self, name: &Arc<str>, state: State) {
        match self.nodes.binary_search_by(|(node, _)| node.cmp(name)) {
            Ok(at) => {
                if let Some((_, current)) = self.nodes.get_mut(at) {
                    *current = state;
                }
            }
            Err(at) => {
                self.nodes.reserve_exact(1);
                self.nodes.insert(at, (name.clone(), state));
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Pending: it was connected, and the request was forwarded to it.
    Waiting,
    /// Pending: it was not connected. Somebody may know better, and is given time.
    Absent,
    /// It was not connected here, and is now known to be elsewhere. It may come back and respond.
    Elsewhere,
    /// It has responded.
    Answered,
    /// The bridge has answered in its place, or the agent has given up.
    Over,
}

impl State {
    const fn is_pending(self) -> bool {
        matches!(self, State::Waiting | State::Absent)
    }
}

/// Whom a request is for.
#[derive(Debug, Default)]
pub(super) struct For {
    /// Live nodes that it goes to.
    pub(super) live: Vec<Arc<str>>,
    /// Nodes that are gone, and that the bridge may answer for.
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

    /// Remembers a request. Returns the failures for requests that had to be forgotten to make room.
    pub(super) fn ask(&mut self, agent: &Party, reqid: &str, whom: For, now: Instant) -> Vec<Answer> {
        let reqid: Arc<str> = match self.by_reqid.get_key_value(reqid) {
            Some((reqid, _)) => reqid.clone(),
            None => reqid.into(),
        };
        let pending = whom.live.len().saturating_add(whom.gone.len());
        let mut nodes = Vec::with_capacity(pending);
        nodes.extend(whom.live.into_iter().map(|name| (name, State::Waiting)));
        nodes.extend(whom.gone.into_iter().map(|name| (name, State::Absent)));
        nodes.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let (strangers, peering) = (whom.strangers, agent.peering);
        let request = Request { agent: peering, reqid, asked: now, nodes, pending, strangers };

        let mut answers = Vec::new();
        self.make_room(agent, request.bytes(), &mut answers);
        let id = self.next;
        self.next = id.saturating_add(1);
        let asked = self.by_agent.entry(peering).or_insert_with(|| Asked {
            owner: agent.owner.clone(),
            open: BTreeSet::new(),
            settled: BTreeSet::new(),
        });
        if pending > 0 { &mut asked.open } else { &mut asked.settled }.insert(id);
        let share = self.shares.entry(agent.owner.clone()).or_default();
        share.agents.insert(peering);
        share.bytes = share.bytes.saturating_add(request.bytes());
        share.most = agent.share;
        for (name, _) in &request.nodes {
            self.by_name.entry(name.clone()).or_default().insert(id);
        }
        self.by_reqid.entry(request.reqid.clone()).or_insert_with(|| Vec::with_capacity(1)).push(id);
        self.owed = self.owed.saturating_add(pending);
        if pending > 0 { &mut self.open } else { &mut self.settled }.insert(id, request);
        answers
    }

    /// Forgets the oldest requests of the owner until there is room, first those of the same peering. A request for which
    /// there is no room even then is remembered all the same: its size is bounded by the names that are live.
    fn make_room(&mut self, agent: &Party, bytes: usize, answers: &mut Vec<Answer>) {
        while let Some(share) = self.shares.get(&agent.owner)
            && share.bytes.saturating_add(bytes) > agent.share
        {
            let oldest = |agent: &PeeringKey| self.by_agent.get(agent).and_then(Asked::oldest);
            match oldest(&agent.peering).or_else(|| share.agents.iter().find_map(oldest)) {
                Some(oldest) => self.evict(oldest, answers),
                None => break,
            }
        }
    }

    fn evict(&mut self, id: RequestId, answers: &mut Vec<Answer>) {
        let Some(request) = self.close(id).or_else(|| self.settled.remove(&id)) else { return };
        self.forget(id, &request);
        for (name, state) in request.nodes.iter().filter(|(_, state)| state.is_pending()) {
            self.forgotten = self.forgotten.saturating_add(1);
            // Somebody else may still answer for a node that is not here.
            if self.answers && *state == State::Waiting {
                answers.push(self.answer(request.agent, &request.reqid, name, TOO_MANY));
            }
        }
    }

    /// The bridge's own answer.
    pub(super) fn answer(&mut self, to: PeeringKey, reqid: &str, node: &str, error: &str) -> Answer {
        self.answered_for = self.answered_for.saturating_add(1);
        Answer { to, response: DispatchResponse::from(ManagementResult::failure(reqid, node, error)) }
    }

    /// A response under this name, by a peering that holds it since the request `since`, to a request before `until`.
    /// Returns the agent that it answers: of several that asked under the same id, the one that asked first.
    pub(super) fn response(
        &mut self,
        name: &Arc<str>,
        since: RequestId,
        until: RequestId,
        reqid: &str,
        now: Instant,
    ) -> Result<PeeringKey, ResponseRefused> {
        let ids = self.by_reqid.get(reqid).ok_or(ResponseRefused::UnknownRequest)?;
        let mut refused = ResponseRefused::NotAsked;
        let mut answered = None;
        for (id, request) in ids.iter().filter_map(|id| Some((*id, self.get(*id)?))) {
            let in_time = now < request.deadline();
            match request.state(name) {
                _ if id >= until => {}
                Some(State::Waiting | State::Absent) => answered = Some((id, request.agent, true)),
                Some(State::Answered) => refused = ResponseRefused::AnsweredAlready,
                Some(State::Elsewhere) if in_time => answered = Some((id, request.agent, false)),
                None if request.strangers && id < since && in_time => {
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
        let (id, agent, pending) = answered.ok_or(refused)?;
        if pending {
            self.settle(id, name, State::Answered);
        } else if !self.answer_of_stranger(id, agent, name) {
            return Err(ResponseRefused::NotAsked);
        }
        Ok(agent)
    }

    /// Remembers that a node that was not known when it was asked has responded, so that it does so once. There has to be
    /// room for that: only requests without pending responses can be forgotten for it.
    fn answer_of_stranger(&mut self, id: RequestId, agent: PeeringKey, name: &Arc<str>) -> bool {
        let known = self.get(id).is_some_and(|request| request.state(name).is_some());
        let more = if known { 0 } else { ASKED_COST };
        let Some(owner) = self.by_agent.get(&agent).map(|asked| asked.owner.clone()) else { return false };
        while let Some(share) = self.shares.get(&owner)
            && share.bytes.saturating_add(more) > share.most
        {
            let settled = |agent| self.by_agent.get(agent).map(|asked| &asked.settled).into_iter().flatten();
            let Some(oldest) = share.agents.iter().flat_map(settled).find(|other| **other != id).copied()
            else {
                return false;
            };
            self.evict(oldest, &mut Vec::new());
        }
        if let Some(request) = self.open.get_mut(&id).or_else(|| self.settled.get_mut(&id)) {
            request.set_state(name, State::Answered);
        }
        if let Some(share) = self.shares.get_mut(&owner) {
            share.bytes = share.bytes.saturating_add(more);
        }
        true
    }

    /// The last peering that held this name ended. Nobody is left who received these requests.
    pub(super) fn lost(&mut self, name: &Arc<str>, links: &[LinkId]) -> Vec<Answer> {
        let mut answers = Vec::new();
        if !self.answers {
            return answers;
        }
        let ids: Vec<_> = self.by_name.get(name).into_iter().flatten().copied().collect();
        for id in ids {
            let asked = self.open.get(&id).filter(|request| request.state(name) == Some(State::Waiting));
            if asked.is_some_and(|request| links.contains(&request.agent.link))
                && let Some((agent, reqid)) = self.settle(id, name, State::Over)
            {
                answers.push(self.answer(agent, &reqid, name, LOST));
            }
        }
        answers
    }

    /// A node that is not here was seen elsewhere: the bridge does not answer for it.
    pub(super) fn elsewhere(&mut self, name: &str) {
        let Some((name, ids)) = self.by_name.get_key_value(name) else { return };
        let (name, ids) = (name.clone(), ids.clone());
        for id in ids {
            if self.get(id).and_then(|request| request.state(&name)) == Some(State::Absent) {
                self.settle(id, &name, State::Elsewhere);
            }
        }
    }

    /// The failures for all pending responses that the bridge has waited for long enough. `speaks` returns whether the
    /// bridge answers an agent in the name of a node that was asked.
    pub(super) fn due(&mut self, speaks: impl Fn(PeeringKey, &str) -> bool, now: Instant) -> Vec<Answer> {
        let mut answers = Vec::new();
        while let Some((id, request)) = self.open.range(self.not_due..).next()
            && after(request.asked, ANSWER_AFTER) <= now
        {
            let id = *id;
            self.not_due = id.saturating_add(1);
            if !self.answers {
                continue;
            }
            let agent = request.agent;
            let due = |(name, state): &&(Arc<str>, State)| {
                *state == State::Absent || (*state == State::Waiting && speaks(agent, name))
            };
            let due: Vec<_> = request.nodes.iter().filter(due).cloned().collect();
            for (name, state) in due {
                if let Some((agent, reqid)) = self.settle(id, &name, State::Over) {
                    let error = if state == State::Absent { absent(&name) } else { SILENT.to_owned() };
                    answers.push(self.answer(agent, &reqid, &name, &error));
                }
            }
        }
        answers
    }

    /// Forgets what an agent asked.
    pub(super) fn agent_gone(&mut self, agent: PeeringKey) {
        let Some(Asked { open, settled, .. }) = self.by_agent.get(&agent) else { return };
        let ids: Vec<_> = open.iter().chain(settled).copied().collect();
        for id in ids {
            if let Some(request) = self.close(id).or_else(|| self.settled.remove(&id)) {
                self.forget(id, &request);
            }
        }
    }

    /// Ends a pending response. Returns the agent and its request id.
    fn settle(&mut self, id: RequestId, name: &Arc<str>, state: State) -> Option<(PeeringKey, Arc<str>)> {
        let request = self.open.get_mut(&id)?;
        request.state(name).filter(|state| state.is_pending())?;
        request.set_state(name, state);
        request.pending = request.pending.saturating_sub(1);
        let answered = (request.agent, request.reqid.clone());
        let over = request.pending == 0;
        self.unlist(name, id);
        self.owed = self.owed.saturating_sub(1);
        if over && let Some(request) = self.open.remove(&id) {
            self.keep(id, request);
        }
        Some(answered)
    }

    /// Takes a request out of those that are open, whatever is pending. It is then kept or forgotten.
    fn close(&mut self, id: RequestId) -> Option<Request> {
        let request = self.open.remove(&id)?;
        for (name, _) in request.nodes.iter().filter(|(_, state)| state.is_pending()) {
            self.unlist(name, id);
        }
        self.owed = self.owed.saturating_sub(request.pending);
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
        if let Some(ids) = self.by_reqid.get_mut(&request.reqid) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_reqid.remove(&request.reqid);
            }
        }
        let Some(asked) = self.by_agent.get_mut(&request.agent) else { return };
        asked.open.remove(&id);
        asked.settled.remove(&id);
        let over = asked.open.is_empty() && asked.settled.is_empty();
        if let Some(share) = self.shares.get_mut(&asked.owner) {
            share.bytes = share.bytes.saturating_sub(request.bytes());
            if over {
                share.agents.remove(&request.agent);
                if share.agents.is_empty() {
                    self.shares.remove(&asked.owner);
                }
            }
        }
        if over {
            self.by_agent.remove(&request.agent);
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((id, request)) = self.open.first_key_value()
            && request.deadline() <= now
        {
            let id = *id;
            let Some(mut request) = self.close(id) else { break };
            for (_, state) in request.nodes.iter_mut().filter(|(_, state)| state.is_pending()) {
                *state = State::Over;
                self.expired = self.expired.saturating_add(1);
            }
            request.pending = 0;
            self.keep(id, request);
        }
        while let Some(request) = self.settled.first_entry()
            && after(request.get().deadline(), KEPT) <= now
        {
            let (id, request) = request.remove_entry();
            self.forget(id, &request);
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        let due = self.open.range(self.not_due..).next();
        let due = due.map(|(_, request)| after(request.asked, ANSWER_AFTER));
        let open = self.open.first_key_value().map(|(_, request)| request.deadline());
        let settled = self.settled.first_key_value().map(|(_, request)| after(request.deadline(), KEPT));
        due.into_iter().chain(open).chain(settled).min()
    }

    pub(super) fn shrink(&mut self) {
        shrink(&mut self.by_reqid);
        shrink(&mut self.by_name);
        shrink(&mut self.by_agent);
        shrink(&mut self.shares);
    }

    /// The nodes of a request that were not connected, and are not known to be elsewhere.
    #[cfg(test)]
    pub(super) fn absent(&self, agent: PeeringKey, reqid: &str) -> BTreeSet<String> {
        let ids = self.by_reqid.get(reqid).into_iter().flatten();
        let requests = ids.filter_map(|id| self.get(*id)).filter(|request| request.agent == agent);
        let absent = requests.flat_map(|request| &request.nodes).filter(|(_, state)| *state == State::Absent);
        absent.map(|(name, _)| name.to_string()).collect()
    }

    /// How many bytes the requests of an owner count.
    #[cfg(test)]
    pub(super) fn bytes_of(&self, owner: &Owner) -> usize {
        self.shares.get(owner).map_or(0, |share| share.bytes)
    }

    /// How many requests and nodes in them are remembered, after a check of all that is counted.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let all = || self.open.values().chain(self.settled.values());
        let pending = |request: &Request| request.nodes.iter().filter(|(_, s)| s.is_pending()).count();
        assert!(all().all(|request| request.pending == pending(request)));
        assert!(all().all(|request| request.nodes.is_sorted_by(|(one, _), (next, _)| one < next)));
        assert!(self.open.values().all(|request| request.pending > 0));
        assert!(self.settled.values().all(|request| request.pending == 0));
        assert_eq!(self.owed, all().map(pending).sum::<usize>());
        assert_eq!(self.owed, self.by_name.values().map(BTreeSet::len).sum::<usize>());
        assert_eq!(self.open.len(), self.by_agent.values().map(|asked| asked.open.len()).sum::<usize>());
        assert_eq!(
            self.settled.len(),
            self.by_agent.values().map(|asked| asked.settled.len()).sum::<usize>()
        );
        assert_eq!(all().count(), self.by_reqid.values().map(Vec::len).sum::<usize>());
        assert_eq!(
            all().map(Request::bytes).sum::<usize>(),
            self.shares.values().map(|share| share.bytes).sum::<usize>()
        );
        assert_eq!(self.by_agent.len(), self.shares.values().map(|share| share.agents.len()).sum::<usize>());
        assert!(self.by_name.values().all(|ids| !ids.is_empty()));
        assert!(self.by_reqid.values().all(|ids| !ids.is_empty()));
        all().count().saturating_add(all().map(|request| request.nodes.len()).sum())
    }
}
