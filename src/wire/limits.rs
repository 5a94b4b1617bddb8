//! Limits on input from a peer.

/// Limits that every decoder and every peering enforces on input.
///
/// The defaults are far above what Zeek sends and low enough that a hostile peer cannot exhaust memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum size of a frame in bytes, without its 4-byte length field. Broker's C++ implementation accepts 2 GiB; the
    /// largest frames that Zeek sends are log batches and store snapshots of a few MiB.
    pub max_frame: usize,
    /// Maximum size of a frame in bytes during the handshake. The default is lower than that of `max_frame`, because the
    /// peer is not identified yet. The largest handshake message contains a filter.
    pub max_handshake_frame: usize,
    /// Maximum nesting depth of containers in a value. It bounds the recursion of the decoder. Zeek's own types are
    /// nested a few levels deep.
    pub max_depth: usize,
    /// Maximum number of values in one message, including nested ones. A value of one byte on the wire takes 32 bytes in
    /// memory. The default therefore limits a decoded message to 64 MiB plus the bytes of its strings. While a message is
    /// being decoded, it can use 1.5 times that size.
    pub max_elements: usize,
    /// Maximum size of a peer's filter in bytes. A filter is kept as long as the peer is connected.
    pub max_filter_bytes: usize,
    /// Maximum number of topics in a peer's filter. A cluster node has about ten.
    pub max_filter_topics: usize,
}

impl Limits {
    /// The default limits.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_limits_are_those_of_the_documentation() {
        const MIB: usize = 1_048_576;
        let limits = Limits::DEFAULT;
        assert_eq!((limits.max_frame, limits.max_handshake_frame), (32 * MIB, MIB));
        assert_eq!((limits.max_elements, limits.max_filter_bytes), (2 * MIB, MIB));
    }
}
