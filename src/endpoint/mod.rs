//! An endpoint: it has many peers, publishes messages to them, and delivers their messages to subscribers.
//!
//! Messages do not pass through a central task. A publisher pushes a message into the bounded queue of each peer that
//! subscribes to it. A connection pushes received messages into the bounded queues of subscribers. One task, the hub, owns
//! the routing table, which publishers and connections read. The hub also decides which connections become peerings.
//!
//! An endpoint handles envelopes and filters. Each connection has a [`Session`](crate::net::Session), which implements the
//! protocol and determines the format of messages. A message is encoded once for each format, however many peers there are.
//!
//! ```
//! use zeek_bridge::endpoint::Endpoint;
//! use zeek_bridge::net::tls::Tls;
//! use zeek_bridge::zeek_event;
//!
//! zeek_event! {
//!     #[derive(Clone, Debug, PartialEq)]
//!     pub struct Ping("Example::ping") {
//!         pub text: String,
//!         pub times: u64,
//!     }
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // In Zeek: `Broker::subscribe("/example/"); Broker::listen();`
//! let listening = Endpoint::new()?;
//! let mut subscriber = listening.subscribe("/example/").await;
//! let address = listening.listen("127.0.0.1:0", Tls::Off).await?.local_addr();
//!
//! // In Zeek: `Broker::peer(..); Broker::publish("/example/ping", Example::ping, "hello", 3);`
//! let publishing = Endpoint::new()?;
//! publishing.connect(address, Tls::Off).await?;
//! let ping = Ping { text: "hello".to_owned(), times: 3 };
//! let peers = publishing.publish("/example/ping", ping.clone()).await?;
//! assert_eq!(peers, 1);
//!
//! if let Some(message) = subscriber.recv().await {
//!     assert_eq!(message.peer(), publishing.id());
//!     assert_eq!(message.to_string(), "/example/ping: Example::ping(hello, 3)");
//!     assert_eq!(message.event::<Ping>()?, ping);
//! }
//! publishing.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod admits;
mod blocked;
mod command;
mod config;
mod connect_error;
mod connector;
mod counters;
#[cfg_attr(not(feature = "bridge"), allow(dead_code, reason = "only the bridge relays"))]
mod forward;
mod hub;
mod id;
mod id_registry;
mod interest;
#[cfg(feature = "curve")]
mod key_file;
mod latency;
mod limits;
mod listener;
mod message;
mod peer;
mod peer_connection;
mod protocol;
mod queue;
#[cfg_attr(not(feature = "bridge"), allow(dead_code, reason = "only the bridge relays"))]
mod relay;
mod routing;
mod status;
#[cfg(feature = "stream")]
mod stream;
mod subscriber;
#[cfg(test)]
#[cfg(feature = "bridge")]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
mod token_file;
mod topics;
mod websocket;
mod zeromq;

pub use admits::{Admits, Candidate};
pub use config::{EndpointConfig, Retry, WhenFull};
pub use connect_error::ConnectError;
pub use connector::Connector;
pub use counters::Stats;
pub(crate) use id::PeeringId;
pub(crate) use interest::TopicInterest;
#[cfg(feature = "curve")]
pub use key_file::KeyFileError;
pub(crate) use limits::Throttle;
pub use listener::Listener;
pub use message::Message;
pub(crate) use peer::Peer;
pub use protocol::{PeerProtocol, ZeroMqPeer};
pub use queue::QueueLimits;
pub(crate) use relay::Relay;
pub use status::{Status, StatusReceiver};
pub use subscriber::Subscriber;
pub use token_file::TokenFileError;
pub use topics::IntoTopics;
pub use websocket::{WebSocketConfig, WebSocketPeer};
#[cfg(feature = "curve")]
pub use zeromq::{CurveClient, CurveServer};
pub use zeromq::{LogListener, ReceivedLogs, ZeroMqConfig};
#[cfg(feature = "bridge")]
pub(crate) use {
    blocked::Blocked,
    forward::{Forwarded, PeerState},
    latency::Latency,
    routing::Routes,
};

use std::borrow::Borrow as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use crate::data::{EndpointId, Filter, Topic, Value};
use crate::net::tls::PeerIdentity;
use crate::net::{self, Batch, Encoder, Sender};
use crate::wire::{EncodeError, Envelope, LENGTH_FIELD};
use crate::zeek::IntoPayload;
use command::{Command, HubHandle};
use counters::Counters;
use id::SubscriberId;
pub use limits::Owner;
use limits::{Handshakes, LogLimiter, PeerSlots, RateLimiter};
use queue::Refused;
use routing::PeerRoute;
use zeromq::{Cluster, ClusterFormat, Probes};

/// One Broker endpoint. Cheap to clone; all clones are the same endpoint.
///
/// When the last clone is dropped, the endpoint stops listening and connecting, and leaves its peers. It does not wait
/// until queued messages are sent; [`Endpoint::shutdown`] does. See [the module](crate::endpoint) for an example.
#[derive(Clone, Debug)]
pub struct Endpoint(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    context: Context,
    phase: watch::Sender<Phase>,
    /// Each task has a clone of this sender. The endpoint's own sender is removed at the shutdown, so that `tasks` ends
    /// with the last task.
    task: watch::Sender<Option<mpsc::Sender<()>>>,
    tasks: Mutex<mpsc::Receiver<()>>,
}

/// The state that all tasks of an endpoint share.
#[derive(Clone, Debug)]
struct Context {
    id: EndpointId,
    config: Arc<EndpointConfig>,
    hub: HubHandle,
    phase: watch::Receiver<Phase>,
    stats: Arc<Counters>,
    ids: Arc<AtomicU64>,
    handshakes: Arc<Handshakes>,
    limiter: Arc<LogLimiter>,
    peer_slots: Arc<PeerSlots>,
    /// Receives the messages of peers, as the subscribers do.
    relay: Option<Arc<dyn Relay>>,
    /// The current settings of the WebSocket API.
    websocket: Arc<RwLock<WebSocketConfig>>,
    /// The current settings of ZeroMQ.
    zeromq: Arc<watch::Sender<ZeroMqConfig>>,
    /// The format of the events of the ZeroMQ cluster.
    cluster_format: Arc<ClusterFormat>,
    /// The subscriptions with which this endpoint waits for those of ZeroMQ clusters.
    probes: Arc<Probes>,
    /// The subscriptions of the ZeroMQ cluster whose proxy is this endpoint.
    cluster: Arc<Cluster>,
    /// The node of a ZeroMQ cluster that this endpoint is.
    node: Option<Arc<zeromq::Node>>,
    /// Limits how many connections are accepted per second.
    connects: Option<Arc<RateLimiter>>,
    /// Held by every task that a shutdown waits for.
    _task: Option<mpsc::Sender<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// The endpoint shuts down. Peers have this long to read queued messages.
    Draining(Duration),
}

/// Why a message was not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The message cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The message exceeds this endpoint's own limit for frames.
    #[error("a message of {length} bytes is larger than the limit of {limit} bytes for a frame")]
    TooLarge {
        /// The length of the frame in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

impl Context {
    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts a connection that did not become a peering, and reports it to the relay.
    fn failed(&self, address: &Arc<str>, error: &ConnectError, owner: &Owner) {
        self.stats.failed(error);
        if let Some(relay) = &self.relay {
            relay.on_failed(address, error, owner);
        }
    }
}

impl Endpoint {
    /// Returns an endpoint with the default settings.
    ///
    /// # Errors
    /// Fails if the operating system provides no random bytes for the endpoint id.
    ///
    /// # Panics
    /// Panics outside of a tokio runtime.
    pub fn new() -> io::Result<Self> {
        Self::with_config(EndpointConfig::default())
    }

    /// Returns an endpoint with these settings.
    ///
    /// # Errors
    /// Fails if the configuration has no id, and the operating system provides no random bytes for one.
    ///
    /// # Panics
    /// Panics outside of a tokio runtime.
    pub fn with_config(config: EndpointConfig) -> io::Result<Self> {
        Self::make(config, None)
    }

    fn make(config: EndpointConfig, relay: Option<Arc<dyn Relay>>) -> io::Result<Self> {
        let id = config.id.map_or_else(EndpointId::random, Ok)?;
        let (task, tasks) = mpsc::channel(1);
        let (phase, phase_receiver) = watch::channel(Phase::Running);
        let limiter = Arc::new(LogLimiter::default());
        let zeromq = Arc::new(watch::Sender::new(config.zeromq.clone()));
        let cluster_format = ClusterFormat::new(zeromq.clone());
        let context = Context {
            id,
            hub: hub::start(&config, phase_receiver.clone(), relay.clone(), limiter.clone()),
            phase: phase_receiver,
            stats: Arc::default(),
            ids: Arc::default(),
            handshakes: Handshakes::new(config.max_handshakes),
            limiter,
            peer_slots: PeerSlots::new(config.max_peers),
            relay,
            websocket: Arc::new(RwLock::new(config.websocket.clone())),
            zeromq,
            probes: Arc::default(),
            cluster: Cluster::new(),
            node: config
                .zeromq
                .node
                .as_deref()
                .map(|name| zeromq::Node::new(name, id, cluster_format.clone())),
            cluster_format,
            connects: config.connects_per_second.map(|count| Arc::new(RateLimiter::new(count))),
            config: Arc::new(config),
            _task: None,
        };
        let task = watch::Sender::new(Some(task));
        Ok(Endpoint(Arc::new(Inner { context, phase, task, tasks: Mutex::new(tasks) })))
    }

    /// Returns the limiter of log lines about this endpoint's peers.
    #[cfg(feature = "bridge")]
    pub(crate) fn log_limiter(&self) -> &LogLimiter {
        &self.0.context.limiter
    }

    /// Returns the context for tasks that a shutdown waits for. The connections of a listener share it.
    fn task_context(&self) -> Arc<Context> {
        Arc::new(Context { _task: self.0.task.borrow().clone(), ..self.0.context.clone() })
    }

    /// Returns this endpoint's id.
    #[must_use]
    pub fn id(&self) -> EndpointId {
        self.0.context.id
    }

    /// Replaces the settings of the WebSocket API for all later connections. Established connections are unchanged.
    pub fn set_websocket(&self, settings: WebSocketConfig) {
        *self.0.context.websocket.write() = settings;
    }

    /// Returns the settings of the WebSocket API for new connections.
    #[cfg(feature = "bridge")]
    pub(crate) fn websocket_settings(&self) -> WebSocketConfig {
        self.0.context.websocket.read().clone()
    }

    /// Leaves the peering with `peer`. Before that, the messages that were published so far are sent, for at most
    /// [`EndpointConfig::drain_timeout`]. Does not wait for this. Returns `false` if no peering with `peer` exists.
    /// A connector with a retry connects to the peer again.
    pub async fn unpeer(&self, peer: EndpointId) -> bool {
        let (answer, existed) = oneshot::channel();
        self.0.context.hub.send(Command::Unpeer { peer, answer }).await;
        existed.await.unwrap_or(false)
    }

    /// Subscribes to all topics that begin with one of these prefixes, and announces the subscription to the peers. When this
    /// returns, received messages are delivered to the subscriber, but peers may not have received the announcement yet.
    ///
    /// `topics` is one topic or several topics: see [`IntoTopics`]. The prefix `""` matches all topics.
    pub async fn subscribe(&self, topics: impl IntoTopics) -> Subscriber {
        let topics = topics.into_topics().into_iter().collect();
        let context = &self.0.context;
        let queue = context.config.subscriber_queue;
        Subscriber::new(SubscriberId(context.next_id()), topics, context.hub.clone(), queue).await
    }

    /// Publishes an event, or other content (see [`IntoPayload`]), to all peers that subscribe to the topic. Returns the
    /// number of peers that have the message in their queue. [`Endpoint::shutdown`] waits until it is sent, but at most
    /// [`EndpointConfig::drain_timeout`]. As in Zeek, the message is not delivered to this endpoint's own subscribers.
    ///
    /// A peer whose queue is full for longer than [`EndpointConfig::patience`] is disconnected. If the call is cancelled, some
    /// peers may have the message in their queues.
    ///
    /// # Errors
    /// Fails if the value or the topic cannot be encoded or is too large.
    pub async fn publish(
        &self,
        topic: impl Into<Topic>,
        content: impl IntoPayload,
    ) -> Result<usize, PublishError> {
        self.publish_to(EndpointId::NIL, topic, content).await
    }

    /// Like [`Endpoint::publish`], but for one peer only. The peer does not have to subscribe to the topic.
    ///
    /// # Errors
    /// As [`Endpoint::publish`].
    pub async fn publish_to(
        &self,
        receiver: EndpointId,
        topic: impl Into<Topic>,
        content: impl IntoPayload,
    ) -> Result<usize, PublishError> {
        let envelope = self.envelope(receiver, topic.into(), content.into_payload().borrow())?;
        Ok(self.push(envelope, |_| true).await?)
    }

    /// Like [`Endpoint::publish`], but sends the message to this peer only. The message has no receiver. Therefore, if the
    /// peer is a relay, it forwards the message to all subscribers. Returns `false` if the peer is not connected or does
    /// not subscribe to the topic.
    ///
    /// # Errors
    /// As [`Endpoint::publish`].
    pub async fn publish_via(
        &self,
        peer: EndpointId,
        topic: impl Into<Topic>,
        content: impl IntoPayload,
    ) -> Result<bool, PublishError> {
        let envelope = self.envelope(EndpointId::NIL, topic.into(), content.into_payload().borrow())?;
        Ok(self.push(envelope, |route| route.peer.id == peer).await? > 0)
    }

    fn envelope(&self, receiver: EndpointId, topic: Topic, value: &Value) -> Result<Envelope, PublishError> {
        let envelope = Envelope { receiver, ..Envelope::data(self.id(), topic, value)? };
        let (length, limit) = (envelope.frame_length(), self.0.context.config.limits.max_frame);
        if length.saturating_sub(LENGTH_FIELD) > limit {
            return Err(PublishError::TooLarge { length, limit });
        }
        Ok(envelope)
    }

    /// Queues a message for the peers that subscribe to its topic and that `choose` selects. Peers whose queue has room
    /// get it first. A peer whose protocol cannot carry the message is skipped.
    ///
    /// # Errors
    /// Fails if a peer was skipped and no peer has the message in its queue.
    async fn push(
        &self,
        envelope: Envelope,
        choose: impl Fn(&PeerRoute) -> bool,
    ) -> Result<usize, EncodeError> {
        let routes = self.0.context.hub.routes.borrow().clone();
        let (batch, mut encoder) = (Batch::of(envelope, None), Encoder::default());
        let Some(envelope) = batch.first() else { return Ok(0) };
        let mut reached = 0usize;
        let mut full = Vec::new();
        let mut failure = None;
        let sender = Sender::from(self.id()).or_format(self.0.context.cluster_format.learned());
        for route in routes.peers(envelope.receiver, &envelope.topic).filter(|route| choose(route)) {
            let frames = match route.encode(&mut encoder, &batch, &|_| sender, &self.0.context.stats) {
                Ok(frames) => frames,
                Err(error) => {
                    failure = Some(*error);
                    continue;
                }
            };
            match route.queue.try_push(frames) {
                Ok(()) => reached = reached.saturating_add(1),
                Err(Refused::Full) => full.push((route, frames.clone())),
                Err(Refused::Ended) => {}
            }
        }
        // All full queues have the same deadline, so that many slow peers do not delay the caller longer than one slow peer
        // does.
        let deadline = net::after(self.0.context.config.patience);
        for (route, frames) in full {
            match route.queue.push(&frames, deadline).await {
                Ok(()) => reached = reached.saturating_add(1),
                Err(Refused::Full) => {
                    route.overflow(&self.0.context.stats);
                }
                Err(Refused::Ended) => {}
            }
        }
        match failure {
            Some(error) if reached == 0 => Err(error),
            _ => Ok(reached),
        }
    }

    /// Returns a `TopicInterest`, which tracks the peers that subscribe to a topic.
    pub(crate) fn watch_interest(&self, topic: &'static Topic) -> TopicInterest {
        TopicInterest { routes: self.0.context.hub.routes.clone(), topic }
    }

    /// Waits until at least `count` peers subscribe to this topic, and returns their ids. Cancel-safe.
    pub async fn wait_for_subscribers(&self, topic: impl Into<Topic>, count: usize) -> Vec<EndpointId> {
        let topic = topic.into();
        let mut routes = self.0.context.hub.routes.clone();
        loop {
            let now = routes.borrow_and_update().clone();
            // If the queue has ended, this side is leaving the peer.
            let subscribers =
                now.peers(EndpointId::NIL, &topic).filter(|route| route.queue.ended().is_none());
            let peers: Vec<EndpointId> = subscribers.map(|route| route.peer.id).collect();
            if peers.len() >= count || routes.changed().await.is_err() {
                return peers;
            }
        }
    }

    /// Returns the peers, each with its filter.
    #[must_use]
    pub fn peers(&self) -> Vec<(EndpointId, Filter)> {
        let routes = self.0.context.hub.routes.borrow();
        routes.peers.iter().map(|route| (route.peer.id, (*route.filter).clone())).collect()
    }

    /// Returns the identity in a peer's certificate. `None` if the peer does not exist, without TLS, and in anonymous TLS.
    ///
    /// To identify the sender of a message, use [`Message::identity`]: the peer may have reconnected since the message was
    /// received.
    #[must_use]
    pub fn identity(&self, peer: EndpointId) -> Option<Arc<PeerIdentity>> {
        let routes = self.0.context.hub.routes.borrow();
        routes.peers.get(peer)?.peer.identity.clone()
    }

    /// Returns the name, version and token of a peer that uses the WebSocket API. `None` if the peer does not exist, or if
    /// the peer speaks another protocol.
    #[must_use]
    pub fn websocket(&self, peer: EndpointId) -> Option<Arc<WebSocketPeer>> {
        let routes = self.0.context.hub.routes.borrow();
        routes.peers.get(peer)?.peer.protocol.websocket().cloned()
    }

    /// Returns a receiver of all changes of the status of peers from now on.
    #[must_use]
    pub fn status(&self) -> StatusReceiver {
        StatusReceiver(self.0.context.hub.status.subscribe())
    }

    /// Stops listening and connecting, sends all queued messages, and leaves all peers with BYE. Returns when all
    /// connections are closed. Takes at most [`EndpointConfig::drain_timeout`] and [`EndpointConfig::leave_timeout`]; for a
    /// server of the WebSocket API that is still reading, at most ten times `leave_timeout`.
    pub async fn shutdown(&self) {
        self.shutdown_within(self.0.context.config.drain_timeout).await;
    }

    /// Like [`Endpoint::shutdown`], with `drain` instead of [`EndpointConfig::drain_timeout`].
    pub(crate) async fn shutdown_within(&self, drain: Duration) {
        self.0.phase.send_replace(Phase::Draining(drain));
        self.0.context.hub.send(Command::Shutdown).await;
        self.0.task.send_replace(None);
        let _ = self.0.tasks.lock().await.recv().await;
        self.0.context.hub.send(Command::Over).await;
    }
}
