//! The two ends of a connection.

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

    /// Returns `connector` or `listener`, the name in recordings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Side::Connector => "connector",
            Side::Listener => "listener",
        }
    }
}
