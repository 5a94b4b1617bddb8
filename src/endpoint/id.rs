//! Numbers that identify connections and subscribers within one endpoint. No number is used twice.

/// A connection, from its first byte on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ConnectionId(pub(super) u64);

/// A subscriber of this endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SubscriberId(pub(super) u64);

/// An established peering. A peer that reconnects gets a new id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PeeringId(pub(super) ConnectionId);

#[cfg(feature = "bridge")]
impl PeeringId {
    /// Returns a number that is unique among all peerings of the endpoint.
    pub(crate) fn number(self) -> u64 {
        self.0.0
    }
}
