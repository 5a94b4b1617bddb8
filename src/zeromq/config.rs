//! The configuration of a session.

use std::fmt;
#[cfg(feature = "curve")]
use std::sync::Arc;

#[cfg(feature = "curve")]
use super::curve::{AllowedClients, KeyPair, PublicKey};
use crate::data::EndpointId;
use crate::peering;

/// The configuration of a [session](super::ZeroMq).
#[derive(Clone, Debug)]
pub struct Config {
    /// The settings that all protocols have in common:
    ///
    /// - `side`. The fields `id` and `tls` are not used.
    /// - `filter`: the topics to which an XSUB subscribes. The other sockets ignore it.
    /// - `limits`: `max_frame` is the maximum length of a message with all of its parts and their headers. `max_handshake_frame` is
    ///   the maximum length of a command before the session is established; CURVE needs 300 bytes. `max_filter_topics` and
    ///   `max_filter_bytes` limit the peer's subscriptions.
    /// - `handshake_timeout`: the maximum time until the session is established.
    /// - `leave_timeout`: the maximum time to write the queued messages after a call of [`ZeroMq::leave`](super::ZeroMq::leave).
    /// - `idle_timeout`: the maximum silence of an established peer. It receives a PING after half of this time.
    pub common: peering::Config,
    /// The socket of this side.
    pub socket: SocketType,
    /// The id of this endpoint. Its text is the sender of the messages that this endpoint publishes. Messages from this sender
    /// are dropped when they are received: a proxy also sends them to their publisher. Must not be NIL or a UUID of version 8;
    /// random ids have version 4.
    pub own_id: EndpointId,
    /// The id that this endpoint assigns to the peer, because the protocol has no endpoint ids. Must be random, and different
    /// for each connection.
    pub peer_id: EndpointId,
    /// The security mechanism. Both sides must use the same one.
    pub mechanism: Mechanism,
    /// The format in which [`ZeroMq::send`](super::ZeroMq::send) publishes events. Received events may have either format.
    pub format: EventFormat,
    /// Whether an XPUB queues each change of its peer's subscriptions for [`ZeroMq::poll_subscription`](super::ZeroMq::poll_subscription).
    pub reports_subscriptions: bool,
}

/// The security mechanism of a session, and the keys of this side.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Mechanism {
    /// No encryption. Every program that can connect is accepted.
    #[default]
    Null,
    /// CURVE as a client (`PROTOCOL.md`, section 13). Usually the side that connects. Every type of socket
    /// can be the client.
    #[cfg(feature = "curve")]
    CurveClient {
        /// The public key of the server.
        server: PublicKey,
        /// The keys of this client.
        keys: KeyPair,
    },
    /// CURVE as a server. Usually the side that listens.
    #[cfg(feature = "curve")]
    CurveServer {
        /// The keys of this server.
        keys: KeyPair,
        /// The clients that are accepted.
        clients: Arc<AllowedClients>,
    },
}

impl Mechanism {
    /// Returns the name in the protocol.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Mechanism::Null => "NULL",
            #[cfg(feature = "curve")]
            Mechanism::CurveClient { .. } | Mechanism::CurveServer { .. } => "CURVE",
        }
    }
}

/// The ZeroMQ socket of one side of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SocketType {
    /// Publishes events, and receives subscriptions. The peer is an XSUB or a SUB.
    XPub,
    /// Receives events, and sends subscriptions. The peer is an XPUB or a PUB.
    XSub,
    /// Sends log batches. The peer is a PULL.
    Push,
    /// Receives log batches. The peer is a PUSH.
    Pull,
}

impl SocketType {
    /// Returns the name in the protocol.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            SocketType::XPub => "XPUB",
            SocketType::XSub => "XSUB",
            SocketType::Push => "PUSH",
            SocketType::Pull => "PULL",
        }
    }

    /// Returns the names of the sockets that this socket can be connected to.
    pub(super) const fn peers(self) -> [&'static str; 2] {
        match self {
            SocketType::XPub => ["XSUB", "SUB"],
            SocketType::XSub => ["XPUB", "PUB"],
            SocketType::Push => ["PULL", "PULL"],
            SocketType::Pull => ["PUSH", "PUSH"],
        }
    }
}

impl fmt::Display for SocketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The format of the events of a cluster (`Cluster::event_serializer` in Zeek). All nodes of a cluster must use the same format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventFormat {
    /// `broker-bin-v1`, Zeek's default: Broker's binary values.
    #[default]
    Binary,
    /// `broker-json-v1`: the v1 JSON of the WebSocket API. Zeek cannot read some of the values that it writes in this format.
    Json,
}

impl EventFormat {
    /// Returns the name in the protocol.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            EventFormat::Binary => "broker-bin-v1",
            EventFormat::Json => "broker-json-v1",
        }
    }

    /// Returns the format with this name.
    pub(super) fn from_name(name: &[u8]) -> Option<Self> {
        [EventFormat::Binary, EventFormat::Json].into_iter().find(|format| format.name().as_bytes() == name)
    }
}

impl fmt::Display for EventFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
