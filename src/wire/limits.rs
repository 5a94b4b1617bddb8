//! What a peer may cost us.

/// The bounds of what is taken off the wire. Every decoder and every peering has one.
///
/// The defaults are far above what Zeek sends and far below what would hurt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest frame in bytes, its 4-byte length aside. The reference would take 2 GiB; the
    /// largest frames that Zeek sends are log batches and store snapshots of a few MiB.
    pub max_frame: usize,
    /// The largest frame in bytes before the peering stands. Nobody has shown who they are yet,
    /// and a handshake message holds no more than a filter.
    pub max_handshake_frame: usize,
    /// How many containers may stand inside one another in a value. Zeek's own types nest a
    /// handful deep; the decoder's recursion is bounded by this.
    pub max_depth: usize,
    /// How many values one message may hold, nested ones included. A value of one byte on the wire
    /// takes 32 in memory, so this bounds a decoded message to 64 MiB above the bytes of its
    /// strings, and to half as much again while it is being decoded.
    pub max_elements: usize,
    /// How many bytes a peer's filter may have; it is kept as long as the peer.
    pub max_filter_bytes: usize,
    /// How many topics a peer's filter may have. A cluster node has some ten.
    pub max_filter_topics: usize,
}

impl Limits {
    /// The defaults, as a constant.
    pub const DEFAULT: Limits = Limits {
        max_frame: 32 * 1024 * 1024,
        max_handshake_frame: 1024 * 1024,
        max_depth: crate::data::MAX_DEPTH,
        max_elements: 2 * 1024 * 1024,
        max_filter_bytes: 1024 * 1024,
        max_filter_topics: 16_384,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
