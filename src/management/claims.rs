//! Whose a node's name is, for an agent.
//!
//! As in the bridge's registry of nodes: a name belongs to the peering that said hello under it, as long as that peering
//! lives. Only the same owner may take the name over, because it reconnects before its old connection is known to be dead.

use std::collections::{BTreeMap, HashSet};

use super::{MAX_NODE_NAME, MAX_NODES};
use crate::endpoint::{Owner, Peer, PeeringId};

#[derive(Debug)]
struct Claim {
    peering: PeeringId,
    owner: Owner,
}

/// The names that nodes have said hello under, and who claims them.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// All claims on a name have the same owner. The newest holds the name; the others get it back in turn when
    /// the peerings of newer ones end.
    names: BTreeMap<String, Vec<Claim>>,
    /// Of all names together; at most [`MAX_NODES`].
    count: usize,
}

/// Why a hello was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("a hello under a name of {0} bytes")]
    NameTooLong(usize),
    #[error("a hello under a name that another peering holds, which has another certificate or host")]
    Taken,
    #[error("a hello beyond {MAX_NODES} nodes")]
    TooMany,
}

impl Claims {
    /// A peer said hello. `Ok(true)`: the name was not known before.
    ///
    /// A repeated hello claims nothing anew: of two peerings that both repeat theirs, the one that came last keeps the name.
    pub(super) fn hello(&mut self, name: &str, peer: &Peer) -> Result<bool, Refused> {
        if name.len() > MAX_NODE_NAME {
            return Err(Refused::NameTooLong(name.len()));
        }
        let owner = peer.owner.clone();
        let claims = self.names.get(name).map_or(&[][..], Vec::as_slice);
        if claims.iter().any(|claim| claim.peering == peer.peering) {
            return Ok(false);
        }
        if claims.last().is_some_and(|holder| holder.owner != owner) {
            return Err(Refused::Taken);
        }
        if self.count >= MAX_NODES {
            return Err(Refused::TooMany);
        }
        let is_new = claims.is_empty();
        self.count = self.count.saturating_add(1);
        self.names.entry(name.to_owned()).or_default().push(Claim { peering: peer.peering, owner });
        Ok(is_new)
    }

    /// The peering that holds a name.
    pub(super) fn holder(&self, name: &str) -> Option<PeeringId> {
        self.names.get(name)?.last().map(|claim| claim.peering)
    }

    /// Forgets the claims of all other peerings.
    pub(super) fn retain(&mut self, there: &HashSet<PeeringId>) {
        self.names.retain(|_, claims| {
            claims.retain(|claim| there.contains(&claim.peering));
            !claims.is_empty()
        });
        self.count = self.names.values().map(Vec::len).sum();
    }

    /// Whether somebody claims this name.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }
}
