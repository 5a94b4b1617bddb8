//! The settings and peers of the WebSocket API.

#[cfg(feature = "bridge")]
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::Context;
use super::connect_error::ConnectError;
use crate::data::EndpointId;
use crate::net::{ConnectionFault, HostPort, Session};
use crate::peering;
use crate::websocket::{Access, BinaryText, ClientConfig, ServerConfig, Token, WebSocket};

/// The name of this program in the WebSocket API, with its version: `X-Application-Name` as a client, `version` in the `ack`
/// as a server.
const APPLICATION: &str = concat!("zeek-bridge/", env!("CARGO_PKG_VERSION"));

/// The settings of the WebSocket API: see [`EndpointConfig::websocket`](super::EndpointConfig::websocket).
#[derive(Clone, Debug, Default)]
pub struct WebSocketConfig {
    /// The requests that a listener accepts. [`Access::loopback`] is ignored: it is set for each connection.
    pub access: Access,
    /// How strings that are not UTF-8 are sent to the clients of a listener.
    pub binary: BinaryText,
    /// The token that is sent to a server. Without TLS, it is sent to loopback addresses only; otherwise, the connection
    /// fails before anything is sent.
    pub token: Option<Token>,
}

#[cfg(feature = "bridge")]
impl WebSocketConfig {
    /// Describes the settings that are different in `before`, for the log: the names of the tokens, and no secrets. `None` if there
    /// are none.
    pub(crate) fn changes_from(&self, before: &Self) -> Option<String> {
        let names: BTreeSet<&str> = self.access.tokens.names().collect();
        let names = match names.is_empty() {
            true => "none".to_owned(),
            false => names.into_iter().collect::<Vec<_>>().join(", "),
        };
        let changes = [
            (self.access.tokens != before.access.tokens, format!("tokens (now {names})")),
            (self.access.origins != before.access.origins, "origins".to_owned()),
            (self.binary != before.binary, "binary".to_owned()),
            (self.token != before.token, "the token to send".to_owned()),
        ];
        let changes: Vec<String> =
            changes.into_iter().filter(|(changed, _)| *changed).map(|(_, name)| name).collect();
        (!changes.is_empty()).then(|| changes.join(", "))
    }
}

/// A peer that speaks the WebSocket API.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebSocketPeer {
    /// The name that the peer has sent: the `endpoint` of a server's `ack`, or the `X-Application-Name` of a client. It is
    /// safe to log, and is not an identity: nothing proves it.
    pub name: Option<Arc<str>>,
    /// The name of the token with which a client has authenticated itself.
    pub token: Option<Arc<str>>,
    /// The `version` of a server's `ack`. It is safe to log.
    pub version: Option<Arc<str>>,
    /// Whether the peer is a server. If not, it is a client.
    pub is_server: bool,
}

impl WebSocketPeer {
    pub(super) fn of(session: &impl Session, is_server: bool) -> Self {
        WebSocketPeer {
            name: session.peer_name(),
            token: session.token(),
            version: session.peer_version(),
            is_server,
        }
    }
}

/// Writes the name, the version and the token: `WebSocket client "soar/1.0", token soar`. The name and the version are quoted,
/// because the peer chooses them.
impl fmt::Display for WebSocketPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_server { "WebSocket server" } else { "WebSocket client" })?;
        if let Some(name) = self.name.as_ref().filter(|name| !name.is_empty()) {
            write!(f, " {name:?}")?;
        }
        if let Some(version) = &self.version {
            write!(f, ", version {version:?}")?;
        }
        match &self.token {
            Some(token) => write!(f, ", token {token}"),
            None => Ok(()),
        }
    }
}

/// The parts of a session's configuration that are known before the session.
pub(super) struct Client {
    peer_id: EndpointId,
    host: String,
    token: Option<Token>,
    is_tls: bool,
}

impl Client {
    /// Returns the configuration for a connection to `server`. Pass the address that is dialled to
    /// [`Client::check_address`].
    ///
    /// # Errors
    /// Fails if `server` is an IP address to which the token would be sent unencrypted over a network, or if there are no random
    /// bytes.
    pub(super) fn new(context: &Context, server: &HostPort, is_tls: bool) -> Result<Self, ConnectError> {
        let token = context.websocket.read().token.clone();
        let client = Client { peer_id: random_id()?, host: server.authority(), token, is_tls };
        server.ip().map_or(Ok(()), |ip| client.check_address(ip))?;
        Ok(client)
    }

    /// Checks the address of the established TCP connection. The name in the URL proves nothing, because a resolver may map
    /// even `localhost` to another host.
    ///
    /// # Errors
    /// Fails if the token would be sent unencrypted over a network.
    pub(super) fn check_address(&self, ip: IpAddr) -> Result<(), ConnectError> {
        if self.token.is_some() && !self.is_tls && !ip.to_canonical().is_loopback() {
            return Err(ConnectError::ExposedToken);
        }
        Ok(())
    }

    pub(super) fn session(self, common: peering::Config, now: Instant) -> WebSocket {
        let Client { peer_id, host, token, is_tls: _ } = self;
        let config = ClientConfig { common, peer_id, host, application: APPLICATION.to_owned(), token };
        WebSocket::client(config, now)
    }
}

/// The parts of a session's configuration that are known before the session.
pub(super) struct Server {
    peer_id: EndpointId,
    access: Access,
    endpoint: String,
    binary: BinaryText,
}

impl Server {
    /// Returns the configuration for a connection to this local address.
    ///
    /// # Errors
    /// Fails if the operating system provides no random bytes.
    pub(super) fn new(context: &Context, local: IpAddr) -> Result<Self, ConnectError> {
        let WebSocketConfig { access, binary, .. } = context.websocket.read().clone();
        let access = Access { loopback: local.to_canonical().is_loopback(), ..access };
        let endpoint = format!("{}-websocket-{}", context.id, context.next_id());
        Ok(Server { peer_id: random_id()?, access, endpoint, binary })
    }

    pub(super) fn session(self, common: peering::Config, now: Instant) -> WebSocket {
        let Server { peer_id, access, endpoint, binary } = self;
        let config = ServerConfig {
            common,
            peer_id,
            access: Arc::new(access),
            endpoint,
            version: APPLICATION.to_owned(),
            binary,
            ping_interval: ServerConfig::PING_INTERVAL,
        };
        WebSocket::server(config, now)
    }
}

/// Returns the id of a peer, because the protocol has no endpoint ids.
fn random_id() -> Result<EndpointId, ConnectError> {
    EndpointId::random().map_err(|error| ConnectError::Stream(ConnectionFault::Io(Arc::new(error))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_unencrypted_only_if_the_dialled_address_is_of_this_host() {
        let check = |token, is_tls, ip: &str| {
            let client =
                Client { peer_id: random_id().unwrap(), host: "localhost:1".to_owned(), token, is_tls };
            client.check_address(ip.parse().unwrap())
        };
        let token = || Some(Token::new("secret").unwrap());
        for ip in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(check(token(), false, ip).is_ok(), "{ip}");
        }
        for ip in ["192.0.2.1", "0.0.0.0", "::", "fe80::1", "::ffff:192.0.2.1"] {
            assert!(matches!(check(token(), false, ip), Err(ConnectError::ExposedToken)), "{ip}");
            assert!(check(token(), true, ip).is_ok() && check(None, false, ip).is_ok(), "{ip}");
        }
    }

    #[test]
    fn a_peer_is_described_by_what_it_has_sent() {
        let peer = |name: Option<&str>, token: Option<&str>, version: Option<&str>, is_server| {
            let [name, token, version] = [name, token, version].map(|text| text.map(Arc::from));
            WebSocketPeer { name, token, version, is_server }.to_string()
        };
        assert_eq!(
            peer(Some("soar/1"), Some("soar"), None, false),
            "WebSocket client \"soar/1\", token soar"
        );
        assert_eq!(
            peer(Some("n-1"), None, Some("8.0.1"), true),
            "WebSocket server \"n-1\", version \"8.0.1\""
        );
        let forged = Some("n\", token root");
        assert_eq!(
            peer(forged, None, forged, false),
            "WebSocket client \"n\\\", token root\", version \"n\\\", token root\""
        );
        assert_eq!(peer(Some(""), None, None, false), "WebSocket client");
    }
}
