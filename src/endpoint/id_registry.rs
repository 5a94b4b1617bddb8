//! Decides which connection may use an endpoint id.
//!
//! An id belongs to the [owner](Owner) of the peering that uses it. It still belongs to this owner for some time after the
//! end of the peering, so that nobody else gets the id while the owner reconnects. A handshake in progress does not reserve
//! the id. Handshakes of different owners run concurrently, and the first that is completed gets the id.
//!
//! One owner may have several connections with the same id, for example if two endpoints connect to each other at the same
//! time. The roles in the handshake then decide which connection remains (`PROTOCOL.md`, section 2).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::id::ConnectionId;
use super::limits::Owner;
use crate::data::EndpointId;
use crate::net::tls::PeerIdentity;
use crate::peering::Role;

/// How long a handshake delays a later handshake of the same owner and id. A handshake normally takes milliseconds. A
/// handshake that takes longer may belong to a broken connection, or to a different endpoint on the same host.
const GRACE: Duration = Duration::from_secs(1);

/// How long an id belongs to its owner after the end of the peering. It is longer than endpoints take to reconnect. If an
/// endpoint without a certificate moves to a different address, it cannot connect during this time.
const CLAIM: Duration = Duration::from_secs(60);

/// The maximum number of claimed ids, of about 400 bytes each.
const MAX_CLAIMS: usize = 4096;

/// The maximum number of claims of one owner. Without this limit, one owner could fill the table by connecting with new
/// ids. Then the ids of other owners could not be claimed.
const MAX_CLAIMS_PER_OWNER: usize = 256;

/// The maximum length of a party's description in a claim, in characters: a certificate may have a thousand names.
const MAX_DESCRIPTION: usize = 200;

/// The other side of a connection.
#[derive(Clone, Debug)]
pub(super) struct Party {
    pub(super) owner: Owner,
    pub(super) address: Arc<str>,
    pub(super) identity: Option<Arc<PeerIdentity>>,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        match &self.identity {
            Some(identity) => write!(f, ", {identity}"),
            None => Ok(()),
        }
    }
}

/// The answer to a connection whose peer has sent its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Admitted,
    /// A peering with this endpoint exists already.
    Redundant,
    /// The id belongs to a different owner. Contains a description of that owner.
    Conflict(Arc<str>),
}

/// The channels to a connection in its handshake.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) admission: oneshot::Sender<Admission>,
    /// Ends the handshake in favor of a later one.
    pub(super) superseded: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
pub(super) struct IdRegistry {
    known: HashMap<EndpointId, Known>,
    connections: HashMap<ConnectionId, EndpointId>,
    claims: Claims,
    /// The times at which to check the handshakes that delay others. The entries are in the order of their times, because
    /// all have the same delay.
    due: VecDeque<(Instant, EndpointId)>,
}

/// The connections with one id.
#[derive(Debug, Default)]
struct Known {
    established: Option<(ConnectionId, Party)>,
    handshakes: Vec<Handshake>,
    /// Connections that wait for the outcome of a handshake of the same owner. On each of them, this side is the
    /// originator.
    held: VecDeque<(ConnectionId, Party, Answers)>,
    /// Connectors that wait for the end of the peering with this id.
    waiting: Vec<oneshot::Sender<()>>,
}

#[derive(Debug)]
struct Handshake {
    connection: ConnectionId,
    party: Party,
    since: Instant,
    superseded: oneshot::Sender<()>,
}

impl IdRegistry {
    /// Handles a peer's id. Answers immediately, or delays the answer until an earlier handshake has ended.
    pub(super) fn introduce(
        &mut self,
        connection: ConnectionId,
        peer: EndpointId,
        role: Role,
        party: Party,
        answers: Answers,
    ) {
        let now = Instant::now();
        let known = self.known.entry(peer).or_default();
        let refusal = match &known.established {
            Some((_, holder)) => Some(refusal(holder, &party.owner)),
            None => self.claims.of_other(peer, &party.owner, now).map(Admission::Conflict),
        };
        if let Some(refusal) = refusal {
            let _ = answers.admission.send(refusal);
            self.forget_unused(peer);
            return;
        }
        self.connections.insert(connection, peer);
        // If this side is the responder, nothing is delayed here. The peer is then the originator, and ensures that only
        // one connection is completed.
        if role == Role::Originator && known.has_handshake_of(&party.owner) {
            known.held.push_back((connection, party, answers));
            self.due.push_back((after(now, GRACE), peer));
        } else if !known.admit(connection, party, answers, now) {
            self.connections.remove(&connection);
            self.forget_unused(peer);
        }
    }

    /// Records that a handshake is complete. Returns whether the connection has the id now.
    pub(super) fn establish(&mut self, connection: ConnectionId, peer: EndpointId) -> Admission {
        let now = Instant::now();
        let Some(known) = self.known.get_mut(&peer) else { return Admission::Redundant };
        let Some(at) = known.handshakes.iter().position(|handshake| handshake.connection == connection)
        else {
            // The handshake was superseded in the meantime.
            return Admission::Redundant;
        };
        let Handshake { party, .. } = known.handshakes.swap_remove(at);
        let refused = match &known.established {
            Some((_, holder)) => Some(refusal(holder, &party.owner)),
            None => self.claims.of_other(peer, &party.owner, now).map(Admission::Conflict),
        };
        if let Some(refused) = refused {
            self.close(connection);
            return refused;
        }
        for (held, other, answers) in std::mem::take(&mut known.held) {
            self.connections.remove(&held);
            let _ = answers.admission.send(refusal(&party, &other.owner));
        }
        // The peering may last for weeks, so it does not keep the memory of its handshake.
        known.handshakes.shrink_to_fit();
        known.established = Some((connection, party));
        Admission::Admitted
    }

    /// Returns the peer, if this connection is an established peering.
    pub(super) fn established(&self, connection: ConnectionId) -> Option<EndpointId> {
        let peer = self.connections.get(&connection)?;
        let (established, _) = self.known.get(peer)?.established.as_ref()?;
        (*established == connection).then_some(*peer)
    }

    /// Records that a connection has ended. Returns the peer if it was an established peering.
    pub(super) fn close(&mut self, connection: ConnectionId) -> Option<EndpointId> {
        let peer = self.connections.remove(&connection)?;
        let known = self.known.get_mut(&peer)?;
        let now = Instant::now();
        let was_established =
            known.established.as_ref().is_some_and(|(established, _)| *established == connection);
        if was_established {
            if let Some((_, party)) = known.established.take() {
                self.claims.insert(peer, &party, now);
            }
        } else {
            known.handshakes.retain(|handshake| handshake.connection != connection);
            known.held.retain(|(held, ..)| *held != connection);
        }
        known.admit_held(&mut self.connections, now);
        if was_established || known.is_unused() {
            known.waiting.drain(..).for_each(|waiting| _ = waiting.send(()));
        }
        self.forget_unused(peer);
        was_established.then_some(peer)
    }

    /// Returns a receiver that resolves at the end of the peering with `peer`, or of the handshake that may become such a
    /// peering. `None` if there is neither a peering nor a handshake.
    pub(super) fn when_gone(&mut self, peer: EndpointId) -> Option<oneshot::Receiver<()>> {
        let known = self.known.get_mut(&peer)?;
        let (waiting, gone) = oneshot::channel();
        known.waiting.push(waiting);
        Some(gone)
    }

    /// Returns when [`IdRegistry::supersede`] must be called.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.front().map(|(due, _)| *due)
    }

    /// Ends handshakes that delay others for too long, and admits the next of the delayed connections.
    pub(super) fn supersede(&mut self) {
        let now = Instant::now();
        while let Some((_, peer)) = pop_due(&mut self.due, now) {
            let Some(known) = self.known.get_mut(&peer) else { continue };
            let Known { handshakes, held, .. } = known;
            let is_old = |handshake: &mut Handshake| {
                now.saturating_duration_since(handshake.since) >= GRACE
                    && held.iter().any(|(_, party, _)| party.owner == handshake.party.owner)
            };
            for old in handshakes.extract_if(.., is_old) {
                self.connections.remove(&old.connection);
                let _ = old.superseded.send(());
            }
            known.admit_held(&mut self.connections, now);
            if !known.held.is_empty() {
                self.due.push_back((after(now, GRACE), peer));
            }
            self.forget_unused(peer);
        }
    }

    fn forget_unused(&mut self, peer: EndpointId) {
        if self.known.get(&peer).is_some_and(Known::is_unused) {
            self.known.remove(&peer);
        }
    }
}

impl Known {
    fn is_unused(&self) -> bool {
        self.established.is_none() && self.handshakes.is_empty() && self.held.is_empty()
    }

    fn has_handshake_of(&self, owner: &Owner) -> bool {
        self.handshakes.iter().any(|handshake| handshake.party.owner == *owner)
    }

    /// Admits a handshake. Returns `false` if its connection has ended.
    fn admit(&mut self, connection: ConnectionId, party: Party, answers: Answers, since: Instant) -> bool {
        let Answers { admission, superseded } = answers;
        let admitted = admission.send(Admission::Admitted).is_ok();
        if admitted {
            self.handshakes.push(Handshake { connection, party, since, superseded });
        }
        admitted
    }

    /// Admits held connections that are no longer delayed by a handshake, one for each owner.
    fn admit_held(&mut self, connections: &mut HashMap<ConnectionId, EndpointId>, now: Instant) {
        let mut at = 0;
        while let Some((_, party, _)) = self.held.get(at) {
            if self.has_handshake_of(&party.owner) {
                at = at.saturating_add(1);
            } else if let Some((connection, party, answers)) = self.held.remove(at)
                && !self.admit(connection, party, answers, now)
            {
                connections.remove(&connection);
            }
        }
    }
}

/// Returns the refusal of a connection while `holder` has the id.
fn refusal(holder: &Party, owner: &Owner) -> Admission {
    if holder.owner == *owner { Admission::Redundant } else { Admission::Conflict(holder.to_string().into()) }
}

fn after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).unwrap_or(now)
}

/// Removes and returns the first entry if it is due.
fn pop_due<T>(entries: &mut VecDeque<(Instant, T)>, now: Instant) -> Option<(Instant, T)> {
    entries.front().filter(|(due, _)| *due <= now)?;
    entries.pop_front()
}

/// The ids that belong to an owner after the end of its peering.
#[derive(Debug, Default)]
struct Claims {
    of: HashMap<EndpointId, Claim>,
    per_owner: HashMap<Owner, usize>,
    /// One entry for each claim, in the order in which the claims end.
    ends: BTreeSet<(Instant, EndpointId)>,
}

#[derive(Debug)]
struct Claim {
    owner: Owner,
    description: Arc<str>,
    until: Instant,
}

impl Claims {
    fn insert(&mut self, peer: EndpointId, party: &Party, now: Instant) {
        self.expire(now);
        self.remove(peer);
        let count = self.per_owner.get(&party.owner).copied().unwrap_or_default();
        if count >= MAX_CLAIMS_PER_OWNER || self.of.len() >= MAX_CLAIMS {
            return;
        }
        let until = after(now, CLAIM);
        let description: String = party.to_string().chars().take(MAX_DESCRIPTION).collect();
        self.per_owner.insert(party.owner.clone(), count.saturating_add(1));
        self.of.insert(peer, Claim { owner: party.owner.clone(), description: description.into(), until });
        self.ends.insert((until, peer));
    }

    /// Returns the description of the id's owner, if that is not `owner`.
    fn of_other(&mut self, peer: EndpointId, owner: &Owner, now: Instant) -> Option<Arc<str>> {
        self.expire(now);
        let claim = self.of.get(&peer).filter(|claim| claim.owner != *owner)?;
        Some(claim.description.clone())
    }

    fn expire(&mut self, now: Instant) {
        while let Some((until, peer)) = self.ends.first().copied()
            && until <= now
        {
            self.remove(peer);
        }
    }

    fn remove(&mut self, peer: EndpointId) {
        let Some(claim) = self.of.remove(&peer) else { return };
        self.ends.remove(&(claim.until, peer));
        if let Some(count) = self.per_owner.get_mut(&claim.owner) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_owner.remove(&claim.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests;
