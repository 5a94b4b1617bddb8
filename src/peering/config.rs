//! The configuration of a peering.

use std::time::Duration;

use super::Side;
use crate::data::{EndpointId, Filter};
use crate::wire::Limits;

/// The configuration of a [`Peering`](super::Peering).
#[derive(Clone, Debug)]
pub struct Config {
    /// This endpoint's id.
    pub id: EndpointId,
    /// Which side opened the connection.
    pub side: Side,
    /// Whether the stream is TLS. This only selects the hints in errors.
    pub tls: bool,
    /// The topics that this endpoint subscribes to.
    pub filter: Filter,
    /// Limits on the peer's input.
    pub limits: Limits,
    /// The maximum duration of the complete handshake.
    pub handshake_timeout: Duration,
    /// How long an established peer may be silent before it is pinged. If it stays silent for the same time again, it is
    /// considered dead. `None`: no limit, as in Broker's C++ implementation.
    pub idle_timeout: Option<Duration>,
    /// How long to wait for the peer's answer to BYE.
    pub leave_timeout: Duration,
}

impl Config {
    /// The default of [`Config::handshake_timeout`].
    pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
    /// The default of [`Config::idle_timeout`].
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
    /// The default of [`Config::leave_timeout`], which is also that of Broker's C++ implementation.
    pub const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);

    /// Returns the default configuration for this endpoint id and side.
    #[must_use]
    pub fn new(id: EndpointId, side: Side) -> Self {
        Config {
            id,
            side,
            tls: false,
            filter: Filter::new(),
            limits: Limits::DEFAULT,
            handshake_timeout: Self::HANDSHAKE_TIMEOUT,
            idle_timeout: Some(Self::IDLE_TIMEOUT),
            leave_timeout: Self::LEAVE_TIMEOUT,
        }
    }
}
