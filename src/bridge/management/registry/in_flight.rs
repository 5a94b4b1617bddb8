//! The requests in flight.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::error::ResponseError;
use super::limits::{ANSWER_AFTER, KEPT, after, shrink};
use super::request::{ASKED_COST, Addressed, Request, State};
use super::types::{Answer, AnswerReason, AnsweredFor, Party, PeeringKey};
use crate::bridge::LinkId;
use crate::endpoint::Owner;
use crate::management::{DispatchResponse, ManagementResult};

/// The number of a request, in the order of arrival. All requests have the same time limits, so they also become due in
/// this order.
type RequestId = u64;

#[derive(Debug, Default)]
pub(super) struct InFlight {
    /// Whether the bridge sends failures on behalf of nodes that do not respond.
    answers: bool,
    /// The requests with pending responses.
    open: BTreeMap<RequestId, Request>,
    /// Settled requests, which have no pending responses. They are kept for a while, so that no request is answered
    /// twice.
    settled: BTreeMap<RequestId, Request>,
    /// The open and the settled requests by request id. Several agents may use the same id.
    by_reqid: HashMap<Arc<str>, Vec<RequestId>>,
    /// For each node, the open requests that the node has not responded to.
    by_name: HashMap<Arc<str>, BTreeSet<RequestId>>,
    /// The requests of each agent.
    by_agent: HashMap<PeeringKey, Asked>,
    /// The memory of the requests of each owner.
    shares: HashMap<Owner, Share>,
    next: RequestId,
    /// For all requests with a smaller number, [`InFlight::due`] has already returned the failures.
    not_due: RequestId,
    /// The number of pending responses.
    pub(super) owed: usize,
    pub(super) answered_for: AnsweredFor,
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
    /// Returns the request to forget first: the oldest settled request, or the oldest open request if none is settled.
    fn oldest(&self) -> Option<RequestId> {
        self.settled.first().or(self.open.first()).copied()
    }
}

#[derive(Debug, Default)]
struct Share {
    /// The memory of the owner's requests in bytes, and its maximum.
    bytes: usize,
    max: usize,
    /// The peerings with requests.
    agents: BTreeSet<PeeringKey>,
}

/// The failure for a node that disconnected after it received the request.
pub(super) const LOST: &str = "the node's connection to the bridge was lost before it answered";

/// The failure for a node that is connected and does not respond.
pub(super) const SILENT: &str = "the node is connected to the bridge and did not answer within 4 s";

/// The failure for a request that had to be forgotten.
pub(super) const TOO_MANY: &str = "too many requests are in flight through the bridge";

/// Returns the failure for a node that was gone when the request was received.
pub(super) fn absent(name: &str) -> String {
    format!(
        "node {name} is not connected to the bridge; it was not connected at the time of the request, and no response was \
         received within 4 s"
    )
}

impl InFlight {
    pub(super) fn new(answers: bool) -> Self {
        InFlight { answers, ..InFlight::default() }
    }

    pub(super) fn set_answers(&mut self, answers: bool) {
        self.answers = answers;
    }

    /// Returns the number of the next request.
    pub(super) fn next(&self) -> RequestId {
        self.next
    }

    fn get(&self, id: RequestId) -> Option<&Request> {
        self.open.get(&id).or_else(|| self.settled.get(&id))
    }

    /// Returns whether a request of this agent with this id is remembered.
    pub(super) fn knows(&self, agent: PeeringKey, reqid: &str) -> bool {
        let ids = self.by_reqid.get(reqid).into_iter().flatten();
        ids.filter_map(|id| self.get(*id)).any(|request| request.agent == agent)
    }

    /// Records a request. Returns the failures for requests that were forgotten to make room.
    pub(super) fn ask(&mut self, agent: &Party, reqid: &str, to: Addressed, now: Instant) -> Vec<Answer> {
        let reqid: Arc<str> = match self.by_reqid.get_key_value(reqid) {
            Some((reqid, _)) => reqid.clone(),
            None => reqid.into(),
        };
        let peering = agent.peering;
        let request = Request::new(peering, reqid, to, now);
        let pending = request.pending;

        let mut answers = Vec::new();
        // Make room before the request is recorded, so that the new request itself cannot be forgotten.
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
        share.max = agent.share;
        for (name, _) in &request.nodes {
            self.by_name.entry(name.clone()).or_default().insert(id);
        }
        self.by_reqid.entry(request.reqid.clone()).or_insert_with(|| Vec::with_capacity(1)).push(id);
        self.owed = self.owed.saturating_add(pending);
        if pending > 0 { &mut self.open } else { &mut self.settled }.insert(id, request);
        answers
    }

    /// Forgets the oldest requests of the owner until there is room, beginning with those of the same peering. A single
    /// request that is larger than the complete share is recorded nevertheless. The number of live names bounds its
    /// size.
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
            // Send no failure for a node that is gone: it may still respond over a different path.
            if self.answers && *state == State::Waiting {
                answers.push(self.answer(
                    request.agent,
                    &request.reqid,
                    name,
                    TOO_MANY,
                    AnswerReason::Forgotten,
                ));
            }
        }
    }

    /// Counts and returns a failure.
    pub(super) fn answer(
        &mut self,
        to: PeeringKey,
        reqid: &str,
        node: &str,
        error: &str,
        reason: AnswerReason,
    ) -> Answer {
        self.answered_for.count(reason);
        Answer { to, response: DispatchResponse::from(ManagementResult::failure(reqid, node, error)) }
    }

    /// Records a response from a peering that holds the name for requests from number `since` up to, but not including,
    /// `until`. Returns the agent that sent the request. If several agents used the same request id, the response
    /// counts for the request that was received first.
    ///
    /// The response is checked against each request with this id. If no request accepts it, the first error other than
    /// `NotAsked` is returned. Such an error is about a request that was addressed to the node, so the response was
    /// probably meant for this request.
    pub(super) fn response(
        &mut self,
        name: &Arc<str>,
        since: RequestId,
        until: RequestId,
        reqid: &str,
        now: Instant,
    ) -> Result<PeeringKey, ResponseError> {
        let ids = self.by_reqid.get(reqid).ok_or(ResponseError::UnknownRequest)?;
        let mut error = ResponseError::NotAsked;
        let mut answered = None;
        for (id, request) in ids.iter().filter_map(|id| Some((*id, self.get(*id)?))) {
            let in_time = now < request.deadline();
            match request.state(name) {
                // The peering lost the name before this request was received, so its response does not count for this
                // request.
                _ if id >= until => {}
                Some(State::Waiting | State::Absent) => answered = Some((id, request.agent, true)),
                Some(State::Answered) => error = ResponseError::AnsweredAlready,
                // No failure is sent for a node that was seen elsewhere, so one response of this node is still
                // accepted.
                Some(State::Elsewhere) if in_time => answered = Some((id, request.agent, false)),
                // The node was unknown when the request was received, because its hello was received later.
                None if request.unknown_nodes && id < since && in_time => {
                    answered = Some((id, request.agent, false));
                }
                None if !request.unknown_nodes || id >= since => {}
                _ if error == ResponseError::NotAsked => error = ResponseError::Late,
                _ => {}
            }
            if answered.is_some() {
                break;
            }
        }
        let (id, agent, pending) = answered.ok_or(error)?;
        if pending {
            self.settle(id, name, State::Answered);
        } else if !self.record_unexpected(id, agent, name) {
            return Err(ResponseError::NotAsked);
        }
        Ok(agent)
    }

    /// Records the response of a node that was not known at the time of the request, so that the node can respond only
    /// once. Forgets settled requests to make room, but no open ones. Returns `false` if there is still no room.
    fn record_unexpected(&mut self, id: RequestId, agent: PeeringKey, name: &Arc<str>) -> bool {
        let known = self.get(id).is_some_and(|request| request.state(name).is_some());
        let cost = if known { 0 } else { ASKED_COST };
        let Some(owner) = self.by_agent.get(&agent).map(|asked| asked.owner.clone()) else { return false };
        while let Some(share) = self.shares.get(&owner)
            && share.bytes.saturating_add(cost) > share.max
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
            share.bytes = share.bytes.saturating_add(cost);
        }
        true
    }

    /// Returns the failures for requests to a node whose last peering has ended. The node cannot respond any more,
    /// because it has no connection left.
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
                answers.push(self.answer(agent, &reqid, name, LOST, AnswerReason::Lost));
            }
        }
        answers
    }

    /// Records that a gone node was seen on a different link or bridge. From then on, the bridge sends no failures on
    /// its behalf.
    pub(super) fn elsewhere(&mut self, name: &str) {
        let Some((name, ids)) = self.by_name.get_key_value(name) else { return };
        let (name, ids) = (name.clone(), ids.clone());
        for id in ids {
            if self.get(id).and_then(|request| request.state(&name)) == Some(State::Absent) {
                self.settle(id, &name, State::Elsewhere);
            }
        }
    }

    /// Returns the failures for responses that have been pending for [`ANSWER_AFTER`]. `answers_for` returns whether
    /// the bridge may answer an agent on behalf of a node.
    pub(super) fn due(
        &mut self,
        answers_for: impl Fn(PeeringKey, &str) -> bool,
        now: Instant,
    ) -> Vec<Answer> {
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
                *state == State::Absent || (*state == State::Waiting && answers_for(agent, name))
            };
            let due: Vec<_> = request.nodes.iter().filter(due).cloned().collect();
            for (name, state) in due {
                if let Some((agent, reqid)) = self.settle(id, &name, State::Over) {
                    let error = if state == State::Absent { absent(&name) } else { SILENT.to_owned() };
                    answers.push(self.answer(agent, &reqid, &name, &error, AnswerReason::NoAnswer));
                }
            }
        }
        answers
    }

    /// Forgets the requests of an agent.
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

    /// Removes a request from the open requests, even if responses are pending. Afterwards, the caller must call `keep`
    /// or `forget`.
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

    /// Adds a request that was open to the settled requests.
    fn keep(&mut self, id: RequestId, request: Request) {
        if let Some(asked) = self.by_agent.get_mut(&request.agent) {
            asked.open.remove(&id);
            asked.settled.insert(id);
        }
        self.settled.insert(id, request);
    }

    /// Removes a request from all indices. Call this after the request was removed from `open` or `settled`.
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

    /// Returns the pending responses, the oldest first: the name of the node, the request id, and when the request was received.
    pub(super) fn oldest(&self) -> impl Iterator<Item = (&str, &str, Instant)> {
        self.open.values().flat_map(|request| {
            let pending = request.nodes.iter().filter(|(_, state)| state.is_pending());
            pending.map(|(name, _)| (&**name, &*request.reqid, request.asked))
        })
    }

    pub(super) fn shrink(&mut self) {
        shrink(&mut self.by_reqid);
        shrink(&mut self.by_name);
        shrink(&mut self.by_agent);
        shrink(&mut self.shares);
    }

    /// Returns the nodes of a request that were gone, and have not been seen elsewhere.
    #[cfg(test)]
    pub(super) fn absent(&self, agent: PeeringKey, reqid: &str) -> BTreeSet<String> {
        let ids = self.by_reqid.get(reqid).into_iter().flatten();
        let requests = ids.filter_map(|id| self.get(*id)).filter(|request| request.agent == agent);
        let absent = requests.flat_map(|request| &request.nodes).filter(|(_, state)| *state == State::Absent);
        absent.map(|(name, _)| name.to_string()).collect()
    }

    /// Returns the memory of the requests of an owner, in bytes.
    #[cfg(test)]
    pub(super) fn bytes_of(&self, owner: &Owner) -> usize {
        self.shares.get(owner).map_or(0, |share| share.bytes)
    }

    /// Returns the sum of the number of requests and the number of nodes in them. Checks all counters and indices.
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
