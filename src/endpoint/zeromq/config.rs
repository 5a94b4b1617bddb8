//! The settings of ZeroMQ.

use std::sync::Arc;

use crate::endpoint::Endpoint;
use crate::net::Session;
#[cfg(feature = "curve")]
use crate::zeromq::curve::{AllowedClients, KeyPair, PublicKey};
use crate::zeromq::{EventFormat, Mechanism};

/// The settings of ZeroMQ: see [`EndpointConfig::zeromq`](super::super::EndpointConfig::zeromq).
#[derive(Clone, Debug, Default)]
pub struct ZeroMqConfig {
    /// The format in which this endpoint publishes events. All nodes of a cluster must use the same one. `None`: the format of the
    /// first event that this endpoint receives, and Broker's binary format until then. Received events may have either format.
    pub format: Option<EventFormat>,
    /// The name of this endpoint as a node of the cluster to which it connects. A node sends and answers the hellos by which the nodes
    /// find each other. The id in its hellos is the text of [`Endpoint::id`](super::super::Endpoint::id). If `Cluster::nodes` of the
    /// other nodes contains the name, they raise `Cluster::node_up` and `Cluster::node_down`. An endpoint that is a node must connect
    /// to one proxy only. `None`: this endpoint is not a node. The name cannot be changed after the endpoint is created.
    pub node: Option<Arc<str>>,
    /// The keys for connections to the proxy of a cluster. `None`: they are not encrypted. The proxy must use CURVE if, and only
    /// if, this is set.
    #[cfg(feature = "curve")]
    pub client: Option<CurveClient>,
    /// The keys of listeners. `None`: their connections are not encrypted, and every program that can connect is accepted.
    #[cfg(feature = "curve")]
    pub server: Option<CurveServer>,
}

/// The keys of a client of CURVE.
#[cfg(feature = "curve")]
#[derive(Clone, Debug)]
pub struct CurveClient {
    /// The public key of the server.
    pub server: PublicKey,
    /// The keys of this client. All nodes of a Zeek cluster have the same ones.
    pub keys: KeyPair,
}

/// The keys of a server of CURVE.
#[cfg(feature = "curve")]
#[derive(Clone, Debug)]
pub struct CurveServer {
    /// The keys of this server.
    pub keys: KeyPair,
    /// The clients that are accepted.
    pub clients: Arc<AllowedClients>,
}

#[cfg(feature = "bridge")]
impl ZeroMqConfig {
    /// Describes the differences from the settings `before`, for the log. The text contains no secrets. `None` if nothing has changed.
    pub(crate) fn changes_from(&self, before: &Self) -> Option<String> {
        let client =
            |config: &Self| config.client.as_ref().map(|client| (client.server, *client.keys.public()));
        let server = |config: &Self| config.server.as_ref().map(|server| *server.keys.public());
        let clients = |config: &Self| config.server.as_ref().map(|server| server.clients.clone());
        let changes = [
            (client(self) != client(before), "keys of CURVE"),
            (server(self) != server(before), "the key of the server (all clients are disconnected)"),
            (
                clients(self) != clients(before),
                "clients of CURVE (clients that were removed are disconnected)",
            ),
        ];
        let changes: Vec<&str> =
            changes.into_iter().filter(|(is_changed, _)| *is_changed).map(|(_, text)| text).collect();
        (!changes.is_empty()).then(|| changes.join(" and "))
    }
}

impl ZeroMqConfig {
    /// Returns the mechanism of a connection that this endpoint opens.
    pub(in crate::endpoint) fn client_mechanism(&self) -> Mechanism {
        #[cfg(feature = "curve")]
        if let Some(CurveClient { server, keys }) = self.client.clone() {
            return Mechanism::CurveClient { server, keys };
        }
        Mechanism::Null
    }

    /// Returns the mechanism of a connection that this endpoint accepts.
    pub(in crate::endpoint) fn server_mechanism(&self) -> Mechanism {
        #[cfg(feature = "curve")]
        if let Some(CurveServer { keys, clients }) = self.server.clone() {
            return Mechanism::CurveServer { keys, clients };
        }
        Mechanism::Null
    }

    /// Returns whether a listener with these settings accepts the client of an existing session, and assigns the same name to it.
    pub(in crate::endpoint) fn accepts_client(&self, session: &impl Session) -> bool {
        #[cfg(feature = "curve")]
        if let Some(CurveServer { keys, clients }) = &self.server {
            let Some([own, client]) = session.curve_keys() else { return false };
            return own == *keys.public() && clients.name(&client) == session.curve_client().as_ref();
        }
        #[cfg(not(feature = "curve"))]
        let _ = session;
        true
    }

    /// Returns whether listeners use CURVE, so that each client has a named key.
    pub(in crate::endpoint) fn is_curve_server(&self) -> bool {
        #[cfg(feature = "curve")]
        return self.server.is_some();
        #[cfg(not(feature = "curve"))]
        false
    }
}

impl Endpoint {
    /// Returns the settings of ZeroMQ for new connections.
    #[cfg(feature = "bridge")]
    pub(crate) fn zeromq_settings(&self) -> ZeroMqConfig {
        (*self.0.context.zeromq).borrow().clone()
    }

    /// Returns [`ClusterFormat::learned`](super::format::ClusterFormat::learned).
    #[cfg(feature = "bridge")]
    pub(crate) fn learned_event_format(&self) -> Option<EventFormat> {
        self.0.context.cluster_format.learned()
    }

    /// Replaces the settings of ZeroMQ for later connections. Disconnects each client whose CURVE key the new settings do not accept,
    /// or accept with a different name.
    pub fn set_zeromq(&self, settings: ZeroMqConfig) {
        self.0.context.zeromq.send_replace(settings);
    }
}
