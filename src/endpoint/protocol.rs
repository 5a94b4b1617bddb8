//! The protocol of a connection, and what a peer has sent about itself.

use std::fmt;
use std::sync::Arc;

use super::websocket::WebSocketPeer;
use crate::net::Session;
use crate::peering::Side;
use crate::zeromq::SocketType;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Broker,
    WebSocket,
    /// ZeroMQ, with this socket on this side.
    ZeroMq(SocketType),
}

impl Protocol {
    /// Returns whether the peer proves its identity during the handshake of the session: by the token of a WebSocket client, or
    /// the CURVE key of a ZeroMQ client.
    pub(super) fn is_identified_later(self, side: Side) -> bool {
        side == Side::Listener && self != Protocol::Broker
    }

    /// Describes the peer of an established session.
    pub(super) fn peer(self, session: &impl Session, side: Side) -> PeerProtocol {
        match self {
            Protocol::Broker => PeerProtocol::Broker,
            Protocol::WebSocket => {
                PeerProtocol::WebSocket(Arc::new(WebSocketPeer::of(session, side == Side::Connector)))
            }
            Protocol::ZeroMq(_) => PeerProtocol::ZeroMq(ZeroMqPeer::of(session, side == Side::Connector)),
        }
    }
}

/// The protocol of a peer, and what the peer has sent about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerProtocol {
    /// Broker's native protocol.
    #[default]
    Broker,
    /// Zeek's WebSocket API.
    WebSocket(Arc<WebSocketPeer>),
    /// Zeek's ZeroMQ back end. The peer is one socket of the proxy or, if this endpoint is the proxy, of a client.
    ZeroMq(ZeroMqPeer),
}

impl PeerProtocol {
    /// Returns the name: `broker`, `websocket` or `zeromq`.
    #[cfg(feature = "bridge")]
    pub(crate) fn name(&self) -> &'static str {
        match self {
            PeerProtocol::Broker => "broker",
            PeerProtocol::WebSocket(_) => "websocket",
            PeerProtocol::ZeroMq(_) => "zeromq",
        }
    }

    /// Returns what a peer that speaks the WebSocket API has sent about itself. `None` for other protocols.
    #[must_use]
    pub fn websocket(&self) -> Option<&Arc<WebSocketPeer>> {
        match self {
            PeerProtocol::WebSocket(peer) => Some(peer),
            PeerProtocol::Broker | PeerProtocol::ZeroMq(_) => None,
        }
    }

    /// Returns the socket of a peer that speaks ZeroMQ. `None` for other protocols.
    #[must_use]
    pub fn zeromq(&self) -> Option<&ZeroMqPeer> {
        match self {
            PeerProtocol::ZeroMq(peer) => Some(peer),
            PeerProtocol::Broker | PeerProtocol::WebSocket(_) => None,
        }
    }
}

/// A peer that speaks ZeroMQ: one socket of the proxy of a cluster or, if this endpoint is the proxy, of a client such as a node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ZeroMqPeer {
    /// The type of the peer's socket, such as `XPUB`. This endpoint receives events from an XPUB or PUB, and publishes to an XSUB
    /// or SUB.
    pub socket: &'static str,
    /// The name in `CurveServer::clients` of the key that the peer owns, if this endpoint is the server of CURVE. The handshake
    /// proves that the peer owns it.
    pub curve: Option<Arc<str>>,
    /// Whether the peer is the proxy. If not, this endpoint is the proxy, and the peer is a client.
    pub is_proxy: bool,
}

impl ZeroMqPeer {
    fn of(session: &impl Session, is_proxy: bool) -> Self {
        ZeroMqPeer {
            socket: session.peer_socket().unwrap_or("unknown socket"),
            curve: session.curve_client(),
            is_proxy,
        }
    }

    /// Returns whether this endpoint publishes to the peer.
    #[must_use]
    pub fn is_subscriber(&self) -> bool {
        matches!(self.socket, "XSUB" | "SUB")
    }
}

/// Writes the protocol, the socket and the key: `ZeroMQ XPUB of the proxy`, or `ZeroMQ XPUB of a client, CURVE key zeek`.
impl fmt::Display for ZeroMqPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.is_proxy { "the proxy" } else { "a client" };
        write!(f, "ZeroMQ {} of {side}", self.socket)?;
        match &self.curve {
            Some(name) => write!(f, ", CURVE key {name}"),
            None => Ok(()),
        }
    }
}

/// Writes the protocol, and what the peer has sent about itself.
impl fmt::Display for PeerProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerProtocol::Broker => f.write_str("Broker"),
            PeerProtocol::WebSocket(peer) => peer.fmt(f),
            PeerProtocol::ZeroMq(peer) => peer.fmt(f),
        }
    }
}
