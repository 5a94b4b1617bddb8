//! The role of this program.

/// The role of this program in the WebSocket API, or in CURVE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}
