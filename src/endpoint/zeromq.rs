//! Clusters with Zeek's ZeroMQ back end: the two connections to the proxy of a cluster, and this endpoint as the proxy.

mod cluster;
mod config;
mod format;
mod logs;
mod node;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{oneshot, watch};

use super::command::Command;
use super::connect_error::ConnectError;
use super::routing::PeerRoute;
use super::{Context, Endpoint};
use crate::data::{EndpointId, Filter, Topic};
use crate::net::{ConnectionFault, Session, spawn};
use crate::peering;
use crate::zeromq::topics::NODE_ID_TOPICS;
use crate::zeromq::{Config, EventFormat, Mechanism, SocketType, ZeroMq};
pub(super) use cluster::{Cluster, Publisher, Subscriber, TooLong};
pub use config::ZeroMqConfig;
#[cfg(feature = "curve")]
pub use config::{CurveClient, CurveServer};
pub(super) use format::ClusterFormat;
pub use logs::{LogListener, ReceivedLogs};
pub(super) use logs::{LogQueue, PendingLogs};
pub(super) use node::{Node, NodePublisher};

/// The prefix of the topics with which a publisher finds out that it has received all subscriptions. Zeek uses the same one.
const INTERNAL_TOPIC: &str = "zeek.zeromq.internal.";

/// The probes of this endpoint. A probe is a topic to which the endpoint subscribes itself. When the proxy has passed this
/// subscription on to a publishing connection, the connection has received all earlier subscriptions. Each probe has the set of
/// connections that have received it.
#[derive(Debug, Default)]
pub(super) struct Probes(watch::Sender<BTreeMap<Topic, HashSet<EndpointId>>>);

impl Probes {
    /// Records the probes to which a peer subscribes, after its filter has changed.
    pub(super) fn note(&self, peer: EndpointId, session: &impl Session) {
        self.0.send_if_modified(|probes| {
            let seen = |(topic, seen): (&Topic, &mut HashSet<EndpointId>)| {
                session.is_subscribed(topic) && seen.insert(peer)
            };
            // Each probe is updated, so this must not stop at the first one.
            probes.iter_mut().map(seen).filter(|is_new| *is_new).count() > 0
        });
    }

    fn remove(&self, topic: &Topic) {
        self.0.send_if_modified(|probes| probes.remove(topic).is_some());
    }
}

/// Cancels the subscription to a probe when it is dropped.
struct Probe<'a>(&'a Probes, &'a Topic);

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.0.remove(self.1);
    }
}

/// The parts of a session's configuration that are known before the session.
pub(super) struct Settings {
    socket: SocketType,
    own_id: EndpointId,
    peer_id: EndpointId,
    mechanism: Mechanism,
    format: EventFormat,
    /// Whether the changes of the peer's subscriptions are reported.
    reports_subscriptions: bool,
}

impl Settings {
    /// Returns the configuration for a connection to a proxy with this socket on this side.
    ///
    /// # Errors
    /// Fails if the operating system provides no random bytes.
    pub(super) fn client(context: &Context, socket: SocketType) -> Result<Self, ConnectError> {
        Self::new(context, socket, ZeroMqConfig::client_mechanism, false)
    }

    /// Returns the configuration for an accepted connection with this socket on this side.
    ///
    /// # Errors
    /// Fails if the operating system provides no random bytes.
    pub(super) fn server(context: &Context, socket: SocketType) -> Result<Self, ConnectError> {
        Self::new(context, socket, ZeroMqConfig::server_mechanism, true)
    }

    fn new(
        context: &Context,
        socket: SocketType,
        mechanism: impl FnOnce(&ZeroMqConfig) -> Mechanism,
        is_proxy: bool,
    ) -> Result<Self, ConnectError> {
        // The protocol has no endpoint ids.
        let peer_id = EndpointId::random()
            .map_err(|error| ConnectError::Stream(ConnectionFault::Io(Arc::new(error))))?;
        let settings = context.zeromq.borrow();
        let (mechanism, format) = (mechanism(&settings), settings.format.unwrap_or_default());
        let reports_subscriptions = is_proxy || context.node.is_some();
        Ok(Settings { socket, own_id: context.id, peer_id, mechanism, format, reports_subscriptions })
    }

    pub(super) fn session(self, common: peering::Config, now: Instant) -> ZeroMq {
        let Settings { socket, own_id, peer_id, mechanism, format, reports_subscriptions } = self;
        ZeroMq::new(Config { common, socket, own_id, peer_id, mechanism, format, reports_subscriptions }, now)
    }
}

/// Returns the filter that this endpoint sends to the XPUB of a proxy. A task keeps it up to date until the receiver is dropped
/// or the endpoint ends. It is the filter of the endpoint with the probes, and without the topics of node ids.
pub(super) fn announced(context: &Context) -> watch::Receiver<Filter> {
    let (mut endpoint, probes) = (context.hub.filter.clone(), context.probes.clone());
    let mut changes = probes.0.subscribe();
    let mut left_out = Vec::new();
    let mut combine = move |endpoint: &Filter, probes: &BTreeMap<Topic, HashSet<EndpointId>>| -> Filter {
        let (of_nodes, allowed): (Vec<_>, Vec<_>) = endpoint
            .topics()
            .iter()
            .cloned()
            .partition(|topic| topic.as_bytes().starts_with(NODE_ID_TOPICS.as_bytes()));
        for topic in of_nodes.iter().filter(|topic| !left_out.contains(*topic)) {
            tracing::warn!(
                topic = crate::data::excerpt(&topic.to_str_lossy()),
                "not subscribed to the topic at the ZeroMQ proxy, because each node of the cluster would treat this endpoint as a \
                 node; subscribe to a shorter prefix, such as zeek.cluster.node"
            );
        }
        left_out = of_nodes;
        allowed.into_iter().chain(probes.keys().cloned()).collect()
    };
    let first = combine(&endpoint.borrow_and_update(), &changes.borrow_and_update());
    let (announced, receiver) = watch::channel(first);
    spawn(async move {
        loop {
            let changed = tokio::select! {
                changed = endpoint.changed() => changed,
                changed = changes.changed() => changed,
                () = announced.closed() => return,
            };
            if changed.is_err() {
                return;
            }
            let filter = combine(&endpoint.borrow_and_update(), &changes.borrow_and_update());
            announced.send_if_modified(|current| {
                let is_new = *current != filter;
                *current = filter;
                is_new
            });
        }
    });
    receiver
}

type Attempt = Result<EndpointId, ConnectError>;

/// The first attempts of the two connections to a proxy.
pub(super) struct FirstAttempts {
    pub(super) receiving: oneshot::Receiver<Attempt>,
    pub(super) publishing: oneshot::Receiver<Attempt>,
    /// Stops both connectors.
    pub(super) stop: watch::Sender<bool>,
    /// Whether there are no more attempts after the first one has failed.
    pub(super) is_only_attempt: bool,
}

impl FirstAttempts {
    /// Waits until both connections are established, or one attempt has failed. If one has failed and there are no more attempts,
    /// ends the other connection.
    pub(super) async fn join(self, context: Arc<Context>, first: oneshot::Sender<Attempt>) {
        let mut receiving = Box::pin(outcome(self.receiving));
        let mut publishing = Box::pin(outcome(self.publishing));
        let (earlier, later, is_publisher_later) = tokio::select! {
            earlier = &mut receiving => (earlier, publishing, true),
            earlier = &mut publishing => (earlier, receiving, false),
        };
        let (outcome, other) = match earlier {
            Ok(earlier) => match later.await {
                Ok(later) => (Ok(if is_publisher_later { later } else { earlier }), None),
                Err(error) => (Err(error), Some(Connection::Established(earlier))),
            },
            Err(error) => (Err(error), Some(Connection::Pending(later))),
        };
        let _ = first.send(outcome);
        let Some(other) = other.filter(|_| self.is_only_attempt) else { return };
        self.stop.send_replace(true);
        let established = match other {
            Connection::Established(peer) => Ok(peer),
            Connection::Pending(later) => later.await,
        };
        if let Ok(peer) = established {
            let (answer, _) = oneshot::channel();
            context.hub.send(Command::Unpeer { peer, answer }).await;
        }
    }
}

/// The other connection, after the attempt of one has failed.
enum Connection<F> {
    Established(EndpointId),
    Pending(F),
}

async fn outcome(attempt: oneshot::Receiver<Attempt>) -> Attempt {
    attempt.await.unwrap_or(Err(ConnectError::ShuttingDown))
}

impl Endpoint {
    /// Waits until this endpoint has received all subscriptions that a peer has made so far. Returns `false` if the peering does not
    /// exist, or ends first. Cancel-safe.
    ///
    /// `peer` is the result of a connection, such as that of [`Connector::first_attempt`](super::Connector::first_attempt). A
    /// Broker peer, and a peer of the WebSocket API, sends its subscriptions before the peering is established, so this returns
    /// at once.
    ///
    /// The proxy of a ZeroMQ cluster sends the subscriptions of the nodes after the connection is established. A message that is
    /// published before has no subscribers, and is not sent. So this endpoint does what Zeek does: it subscribes to a topic that is
    /// used only once, waits until the proxy forwards this subscription to the publishing connection, and cancels it. All older
    /// subscriptions arrive before this one. There is no time limit: if the proxy does not forward subscriptions, this method never
    /// returns.
    ///
    /// If this endpoint itself subscribes to a prefix of this topic, such as all topics, this method waits for that
    /// subscription instead.
    ///
    /// If this endpoint is the proxy, this also returns at once: a subscriber sends its subscriptions directly, and the protocol does
    /// not show whether it has sent all of them. Wait for a subscription with [`Endpoint::wait_for_subscribers`].
    pub async fn until_subscriptions_known(&self, peer: EndpointId) -> bool {
        let context = &self.0.context;
        let topic = Topic::from(format!("{INTERNAL_TOPIC}{}.{}.", context.id, context.next_id()));
        let mut routes = context.hub.routes.clone();
        let mut seen = context.probes.0.subscribe();
        let mut probe = None;
        loop {
            let now = routes.borrow_and_update().clone();
            let Some(PeerRoute { peer: found, filter, .. }) = now.peers.get(peer) else { return false };
            if found.protocol.zeromq().is_none_or(|peer| !peer.is_proxy) {
                return true;
            }
            let is_covered = context.hub.filter.borrow().matches(&topic) && filter.matches(&topic);
            let is_seen = |seen: &HashSet<EndpointId>| seen.contains(&peer);
            if is_covered || seen.borrow_and_update().get(&topic).is_some_and(is_seen) {
                return true;
            }
            if probe.is_none() {
                context.probes.0.send_modify(|probes| _ = probes.insert(topic.clone(), HashSet::new()));
                probe = Some(Probe(&context.probes, &topic));
            }
            let changed = tokio::select! {
                changed = routes.changed() => changed,
                changed = seen.changed() => changed,
            };
            if changed.is_err() {
                return false;
            }
        }
    }
}
