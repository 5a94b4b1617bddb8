//! The claims of peers on node names, as an agent records them.
//!
//! As in the bridge's registry of nodes, a name belongs to the peering that sent a hello with it, until that peering
//! ends. Only a peering of the same owner can take over the name. This is needed for a node that reconnects before its
//! old connection is known to be dead.

use std::collections::{BTreeMap, HashSet};

use super::{MAX_NODE_NAME, MAX_NODES};
use crate::endpoint::{Owner, Peer, PeeringId};

#[derive(Debug)]
struct Claim {
    peering: PeeringId,
    owner: Owner,
}

/// The names in the hellos of nodes, and the peerings that claim them.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// The claims on each name, from the oldest to the newest. All claims on a name have the same owner. The peering of
    /// the newest claim holds the name. When this peering ends, the peering of the previous claim holds the name again.
    names: BTreeMap<String, Vec<Claim>>,
    /// The number of claims on all names; at most [`MAX_NODES`].
    count: usize,
}

/// The reason for rejecting a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ClaimError {
    #[error("a hello with a name of {0} bytes; the maximum is {MAX_NODE_NAME}")]
    NameTooLong(usize),
    #[error("a hello with a name that belongs to a peer with a different certificate, token or host")]
    Taken,
    #[error("a hello beyond the maximum of {MAX_NODES} nodes")]
    TooMany,
}

impl Claims {
    /// Records a hello. Returns whether the name is new.
    ///
    /// A repeated hello is not a new claim. If two peerings repeat their hellos, the name stays with the peering that
    /// claimed it last.
    pub(super) fn hello(&mut self, name: &str, peer: &Peer) -> Result<bool, ClaimError> {
        if name.len() > MAX_NODE_NAME {
            return Err(ClaimError::NameTooLong(name.len()));
        }
        let owner = peer.owner.clone();
        let claims = self.names.get(name).map_or(&[][..], Vec::as_slice);
        if claims.iter().any(|claim| claim.peering == peer.peering) {
            return Ok(false);
        }
        if claims.last().is_some_and(|holder| holder.owner != owner) {
            return Err(ClaimError::Taken);
        }
        if self.count >= MAX_NODES {
            return Err(ClaimError::TooMany);
        }
        let is_new = claims.is_empty();
        self.count = self.count.saturating_add(1);
        self.names.entry(name.to_owned()).or_default().push(Claim { peering: peer.peering, owner });
        Ok(is_new)
    }

    /// Returns the peering that holds a name.
    pub(super) fn holder(&self, name: &str) -> Option<PeeringId> {
        self.names.get(name)?.last().map(|claim| claim.peering)
    }

    /// Removes the claims of peerings that are not in `established`.
    pub(super) fn retain(&mut self, established: &HashSet<PeeringId>) {
        self.names.retain(|_, claims| {
            claims.retain(|claim| established.contains(&claim.peering));
            !claims.is_empty()
        });
        self.count = self.names.values().map(Vec::len).sum();
    }

    /// Returns whether a peering claims this name.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }
}
