//! The variants of v1 JSON.

use std::hash::{BuildHasher, RandomState};

use super::config::BinaryText;

/// A variant of v1 JSON. Messages are encoded once for all peers with the same variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Messages to a server, in masked frames. Zeek's server reads strings that are not UTF-8 in binary frames, and numbers that
    /// are not valid JSON.
    Client,
    /// Messages to a client.
    Server(BinaryText),
}

impl Dialect {
    /// Returns a random mask for a frame to a server. The generator is seeded by the operating system.
    pub(super) fn mask(self) -> Option<[u8; 4]> {
        (self == Dialect::Client).then(|| {
            let [a, b, c, d, ..] = RandomState::new().hash_one(()).to_ne_bytes();
            [a, b, c, d]
        })
    }
}
