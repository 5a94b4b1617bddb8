//! What the variants of v1 JSON mean for frames.

use std::hash::{BuildHasher, RandomState};

use super::frame::Opcode;
use crate::zeek::v1::{Dialect, Text};

/// Returns a random mask for a frame to a server, or `None` for a client. The generator is seeded by the operating system.
pub(super) fn mask(dialect: Dialect) -> Option<[u8; 4]> {
    (dialect == Dialect::Client).then(|| {
        let [a, b, c, d, ..] = RandomState::new().hash_one(()).to_ne_bytes();
        [a, b, c, d]
    })
}

/// Returns the opcode of a frame with a text. Strings that are not UTF-8 must not be sent in a text frame.
pub(super) fn opcode(text: Text) -> Opcode {
    if text.is_binary { Opcode::Binary } else { Opcode::Text }
}
