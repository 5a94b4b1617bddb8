//! The configuration of a session.

use std::sync::Arc;
use std::time::Duration;

use super::access::{Access, Token};
use crate::data::EndpointId;
use crate::peering;
use crate::zeek::v1::BinaryText;

/// The configuration of a [session](super::WebSocket) as a client.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The settings that all protocols have in common:
    ///
    /// - `id`, which is not sent;
    /// - `tls`, which selects hints in errors;
    /// - `filter`: the topics to subscribe to;
    /// - `limits`: `max_frame` is the maximum length of a message, without the header of its frames;
    /// - the timeouts. An `idle_timeout` above [`ClientConfig::PING_INTERVAL`] is reduced to this interval.
    pub common: peering::Config,
    /// The id that this endpoint assigns to the peer, because the protocol has no endpoint ids. Must be random, and different
    /// for each connection.
    pub peer_id: EndpointId,
    /// The `Host` header: `HOST:PORT`.
    pub host: String,
    /// The `X-Application-Name` header, such as `zeek-bridge/0.2.0`. Zeek accepts letters, digits and `-/_.=:*@`.
    pub application: String,
    /// The token for the `Authorization` header.
    pub token: Option<Token>,
}

impl ClientConfig {
    /// The time after which a client sends a ping to a silent server. If the server stays silent for the same time again, it is
    /// considered dead. After much output that the server may not have read, it has more time, as in
    /// [`ServerConfig::ping_interval`]. Zeek sends a ping every 5 s, so a shorter time is enough than for a Broker peer.
    pub const PING_INTERVAL: Duration = Duration::from_secs(10);
}

/// The configuration of a [session](super::WebSocket) as a server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The settings that all protocols have in common; see [`ClientConfig::common`]. The filter is ignored: a client receives
    /// the topics to which it subscribes, and may send messages with any topic.
    pub common: peering::Config,
    /// The id that this endpoint assigns to the peer; see [`ClientConfig::peer_id`].
    pub peer_id: EndpointId,
    /// The requests that are accepted.
    pub access: Arc<Access>,
    /// The `endpoint` of the `ack`. Zeek sends `<endpoint id>-websocket-<number>`.
    pub endpoint: String,
    /// The `version` of the `ack`.
    pub version: String,
    /// How strings that are not UTF-8 are sent to the client.
    pub binary: BinaryText,
    /// The interval of pings to the client. If there is no pong within an interval after a ping was written, the connection is
    /// closed. If the client must read many bytes before the ping, it has another interval for each 128 KiB, up to 60. They are
    /// counted again from each sign that the client reads. A connection that accepts no bytes for twelve intervals is closed.
    pub ping_interval: Duration,
}

impl ServerConfig {
    /// The default of [`ServerConfig::ping_interval`], which is also that of Zeek.
    pub const PING_INTERVAL: Duration = Duration::from_secs(5);
}
