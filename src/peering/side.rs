//! The two ends of a connection, and their roles in the handshake.

/// One of the two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The side that opened the connection. It sends `hello` first.
    Connector,
    /// The side that accepted the connection. It sends `probe` first.
    Listener,
}

impl Side {
    /// Both sides.
    pub const BOTH: [Side; 2] = [Side::Connector, Side::Listener];

    /// Returns the other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Side::Connector => Side::Listener,
            Side::Listener => Side::Connector,
        }
    }

    /// Returns the name of the side in recordings: `connector` or `listener`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Side::Connector => "connector",
            Side::Listener => "listener",
        }
    }
}

/// The role in the handshake. The endpoint with the smaller id is the originator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// This endpoint is the originator: it selects the version and sends its filter first.
    Originator,
    /// The peer is the originator.
    Responder,
}
