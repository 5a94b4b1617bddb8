//! An endpoint: many peers, what is sent to them, and who hears what they say.
//!
//! The data path takes no turns through a central task: a publisher pushes into the bounded queues of
//! the peers that want the message, and a connection pushes what it reads into the bounded queues of the
//! subscribers. One task, the hub, owns the routing table that they read, and decides who is a peer.
//!
//! ```
//! use zeek_bridge::data::Topic;
//! use zeek_bridge::endpoint::Endpoint;
//! use zeek_bridge::net::tls::Tls;
//! use zeek_bridge::zeek::Message;
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
//! let hearing = Endpoint::new()?;
//! let mut subscriber = hearing.subscribe([Topic::from_static("/example/")]).await;
//! let address = hearing.listen("127.0.0.1:0", Tls::Off).await?.local_addr();
//!
//! // In Zeek: `Broker::peer(..); Broker::publish("/example/ping", Example::ping, "hello", 3);`
//! let speaking = Endpoint::new()?;
//! speaking.connect(&address.to_string(), Tls::Off, None).first_attempt().await?;
//! let ping = Ping { text: "hello".to_owned(), times: 3 };
//! let value = Message::from(ping.clone()).into_value();
//! let peers = speaking.publish(Topic::from_static("/example/ping"), &value).await?;
//! assert_eq!(peers, 1);
//!
//! if let Some(message) = subscriber.recv().await {
//!     assert_eq!(message.peer(), speaking.id());
//!     match Message::from_value(message.value()?)? {
//!         Message::Event(event) => assert_eq!(Ping::try_from(event)?, ping),
//!         other => println!("{}: {other:?}", message.topic()),
//!     }
//! }
//! speaking.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod blocked;
mod command;
mod config;
mod connector;
mod counters;
#[cfg_attr(not(feature = "bridge"), allow(dead_code, reason = "only the bridge relays"))]
mod forward;
mod hub;
mod id;
mod id_registry;
mod interest;
mod latency;
mod limits;
mod listener;
mod message;
mod peer;
mod peer_connection;
mod queue;
#[cfg_attr(not(feature = "bridge"), allow(dead_code, reason = "only the bridge relays"))]
mod relay;
mod routing;
mod status;
mod subscriber;
#[cfg(test)]
#[cfg(feature = "bridge")]
#[allow(clippy::arithmetic_side_effects)]
mod tests;

pub use config::{Admits, EndpointConfig, Retry, WhenFull};
pub use connector::Connector;
pub use counters::Stats;
pub(crate) use id::PeeringId;
pub(crate) use interest::TopicInterest;
pub(crate) use limits::Throttle;
pub use listener::Listener;
pub use message::Message;
pub(crate) use peer::Peer;
pub use queue::QueueLimits;
pub(crate) use relay::Relay;
pub use status::{ConnectError, Status, StatusReceiver};
pub use subscriber::Subscriber;
#[cfg(feature = "bridge")]
pub(crate) use {
    blocked::Blocked,
    forward::{Forwarded, PeerState},
    latency::Latency,
    routing::Routes,
};

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc, oneshot, watch};

use crate::data::{EndpointId, Filter, Topic, Value};
use crate::net::tls::{PeerIdentity, Tls};
use crate::net::{Batch, Encoder};
use crate::wire::{EncodeError, Envelope, LENGTH_FIELD};
use command::{Command, HubHandle};
use counters::Counters;
use id::SubscriberId;
pub use limits::Owner;
use limits::{Handshakes, LogLimiter, PeerSlots, RateLimiter};
use queue::Refused;
use routing::PeerRoute;

/// One Broker endpoint. Cheap to clone; all clones are the same endpoint.
///
/// When the last clone is dropped, the endpoint stops listening and connecting and leaves its
/// peers without waiting for what is still queued; [`Endpoint::shutdown`] waits. An example is in [the
/// module](crate::endpoint).
#[derive(Clone, Debug)]
pub struct Endpoint(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    context: Context,
    phase: watch::Sender<Phase>,
    /// Each task has a clone; taken away at the shutdown, so that `tasks` ends with the last of them.
    task: watch::Sender<Option<mpsc::Sender<()>>>,
    tasks: Mutex<mpsc::Receiver<()>>,
}

/// What every task of an endpoint has.
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
    /// Who hears what peers say before the subscribers, and tells what they want.
    relay: Option<Arc<dyn Relay>>,
    /// What every accepted connection takes one of.
    connects: Option<Arc<RateLimiter>>,
    /// Held by every task that a shutdown waits for.
    _task: Option<mpsc::Sender<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Peers may take so long to read what waits for them.
    Draining(Duration),
}

/// Why a message was not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The wire cannot carry it.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// It is larger than this endpoint's own limit for frames.
    #[error("a message of {length} bytes is larger than the limit of {limit} bytes for a frame")]
    TooLarge {
        /// Its frame's length.
        length: usize,
        /// The limit.
        limit: usize,
    },
}

impl Context {
    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }
}

impl Endpoint {
    /// An endpoint with the default settings.
    ///
    /// # Errors
    /// When the operating system gives no random bytes for the endpoint id.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as everything in tokio.
    pub fn new() -> io::Result<Self> {
        Self::with_config(EndpointConfig::default())
    }

    /// An endpoint with these settings.
    ///
    /// # Errors
    /// When an id has to be made and the operating system gives no random bytes.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as everything in tokio.
    pub fn with_config(config: EndpointConfig) -> io::Result<Self> {
        Self::make(config, None)
    }

    fn make(config: EndpointConfig, relay: Option<Arc<dyn Relay>>) -> io::Result<Self> {
        let id = config.id.map_or_else(EndpointId::random, Ok)?;
        let (task, tasks) = mpsc::channel(1);
        let (phase, phase_receiver) = watch::channel(Phase::Running);
        let limiter = Arc::new(LogLimiter::default());
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
            connects: config.connects_per_second.map(|count| Arc::new(RateLimiter::new(count))),
            config: Arc::new(config),
            _task: None,
        };
        let task = watch::Sender::new(Some(task));
        Ok(Endpoint(Arc::new(Inner { context, phase, task, tasks: Mutex::new(tasks) })))
    }

    /// The limiter for log lines about this endpoint's peers.
    #[cfg(feature = "bridge")]
    pub(crate) fn log_limiter(&self) -> &LogLimiter {
        &self.0.context.limiter
    }

    /// The context for a task that a shutdown waits for.
    fn task_context(&self) -> Context {
        Context { _task: self.0.task.borrow().clone(), ..self.0.context.clone() }
    }

    /// This endpoint's id.
    #[must_use]
    pub fn id(&self) -> EndpointId {
        self.0.context.id
    }

    /// Listens on `address` (see [`net::HostPort`](crate::net::HostPort); port 0 lets the system choose) for peers.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn listen(&self, address: &str, tls: Tls) -> io::Result<Listener> {
        listener::start(self.task_context(), address, tls).await
    }

    /// Connects to a peer at `target` (see [`net::dial`](crate::net::dial())), and with `retry` again whenever that fails or
    /// the peering ends.
    pub fn connect(&self, target: &str, tls: Tls, retry: Option<Retry>) -> Connector {
        connector::start(self.task_context(), target, tls, retry)
    }

    /// Leaves the peering with this endpoint, behind everything published so far; `false` if there
    /// is none. A connector with a retry connects again.
    pub async fn unpeer(&self, peer: EndpointId) -> bool {
        let (answer, existed) = oneshot::channel();
        self.0.context.hub.send(Command::Unpeer { peer, answer }).await;
        existed.await.unwrap_or(false)
    }

    /// Subscribes to every topic that one of these prefixes matches, and tells the peers. When this
    /// returns, the table knows; the peers may take a moment.
    pub async fn subscribe(&self, topics: impl IntoIterator<Item = Topic>) -> Subscriber {
        let topics = topics.into_iter().collect();
        let context = &self.0.context;
        let queue = context.config.subscriber_queue;
        Subscriber::new(SubscriberId(context.next_id()), topics, context.hub.clone(), queue).await
    }

    /// Publishes a value to every peer that wants the topic, and says how many that are. It is
    /// then in their queues; [`Endpoint::shutdown`] gets it out. Not delivered to this endpoint's own
    /// subscribers, as in Zeek.
    ///
    /// A peer whose queue stays full for [`EndpointConfig::patience`] is disconnected.
    ///
    /// # Errors
    /// When the wire cannot carry the value.
    pub async fn publish(&self, topic: Topic, value: &Value) -> Result<usize, PublishError> {
        self.publish_to(EndpointId::NIL, topic, value).await
    }

    /// As [`Endpoint::publish`], for one peer alone, whatever it is subscribed to.
    ///
    /// # Errors
    /// As [`Endpoint::publish`].
    pub async fn publish_to(
        &self,
        receiver: EndpointId,
        topic: Topic,
        value: &Value,
    ) -> Result<usize, PublishError> {
        let envelope = self.envelope(receiver, topic, value)?;
        Ok(self.push(envelope, |_| true).await?)
    }

    /// As [`Endpoint::publish`], but through this peer alone; the message is still for all who want
    /// it, so that a peer that relays passes it on. `false` if the peer is not there or does not want it.
    ///
    /// # Errors
    /// As [`Endpoint::publish`].
    pub async fn publish_via(
        &self,
        peer: EndpointId,
        topic: Topic,
        value: &Value,
    ) -> Result<bool, PublishError> {
        let envelope = self.envelope(EndpointId::NIL, topic, value)?;
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

    /// Queues a message for the peers that subscribe to it and that `choose` selects; first for those with room.
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
        for route in routes.peers(envelope.receiver, &envelope.topic).filter(|route| choose(route)) {
            let frames = encoder.frames(route.format, &batch, &|_| self.id()).map_err(Clone::clone)?;
            match route.queue.try_push(frames) {
                Ok(()) => reached = reached.saturating_add(1),
                Err(Refused::Full) => full.push((route, frames.clone())),
                Err(Refused::Ended) => {}
            }
        }
        // All full queues have the same deadline, so that many slow peers delay the caller no longer than one.
        let deadline = peer_connection::deadline(self.0.context.config.patience);
        for (route, frames) in full {
            match route.queue.push(&frames, deadline).await {
                Ok(()) => reached = reached.saturating_add(1),
                Err(Refused::Full) => {
                    route.overflow(&self.0.context.stats);
                }
                Err(Refused::Ended) => {}
            }
        }
        Ok(reached)
    }

    /// Follows who wants a topic, for the roles.
    pub(crate) fn watch_interest(&self, topic: &'static Topic) -> TopicInterest {
        TopicInterest { routes: self.0.context.hub.routes.clone(), topic }
    }

    /// Waits until at least `count` peers want this topic, and gives their ids.
    pub async fn wait_for_subscribers(&self, topic: &Topic, count: usize) -> Vec<EndpointId> {
        let mut routes = self.0.context.hub.routes.clone();
        loop {
            let now = routes.borrow_and_update().clone();
            // A queue that takes nothing more belongs to a peer that is being left.
            let wanting = now.peers(EndpointId::NIL, topic).filter(|route| route.queue.ended().is_none());
            let peers: Vec<EndpointId> = wanting.map(|route| route.peer.id).collect();
            if peers.len() >= count || routes.changed().await.is_err() {
                return peers;
            }
        }
    }

    /// The peers there are, with what each wants to hear.
    #[must_use]
    pub fn peers(&self) -> Vec<(EndpointId, Filter)> {
        let routes = self.0.context.hub.routes.borrow();
        routes.peers.iter().map(|route| (route.peer.id, (*route.filter).clone())).collect()
    }

    /// Who a peer is by its certificate. `None` when it is not a peer (any more), without TLS, and in anonymous TLS.
    /// For a message, [`Message::identity`] knows it for sure.
    #[must_use]
    pub fn identity(&self, peer: EndpointId) -> Option<Arc<PeerIdentity>> {
        let routes = self.0.context.hub.routes.borrow();
        routes.peers.get(peer)?.peer.identity.clone()
    }

    /// What happens to peers from now on.
    #[must_use]
    pub fn status(&self) -> StatusReceiver {
        StatusReceiver(self.0.context.hub.status.subscribe())
    }

    /// Stops listening and connecting, lets every peer read what was published before, leaves with
    /// BYE, and returns when all connections are closed. Bounded by [`EndpointConfig::drain_timeout`] and
    /// [`EndpointConfig::leave_timeout`].
    pub async fn shutdown(&self) {
        self.shutdown_within(self.0.context.config.drain_timeout).await;
    }

    /// As [`Endpoint::shutdown`], with another [`EndpointConfig::drain_timeout`].
    pub(crate) async fn shutdown_within(&self, drain: Duration) {
        self.0.phase.send_replace(Phase::Draining(drain));
        self.0.context.hub.send(Command::Shutdown).await;
        self.0.task.send_replace(None);
        let _ = self.0.tasks.lock().await.recv().await;
        self.0.context.hub.send(Command::Over).await;
    }
}

/// A deadline from now on.
fn after(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now)
}
