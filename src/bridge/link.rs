//! A link of a running bridge: an endpoint with its configuration, listeners and certificates.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::LinkId;
use super::audience::Audience;
use super::config::{Diagnostic, LinkAddress, LinkConfig};
use super::faults::FaultInjector;
use super::management::outbox::Outbox;
use super::management::registry::MAX_SHARE;
use super::outlet::{EndpointOutlet, Outlet, Route};
use super::policy::{RuleLink, ZeroMqSide};
use super::router::origin::Origin;
use super::router::peer_counts::PeerCounts;
use super::router::reason_counts::ReasonCounts;
use super::router::sides::Sides;
use crate::data::{EndpointId, Filter, Topic};
use crate::endpoint::{
    Blocked, Endpoint, EndpointConfig, Forwarded, Listener, Relay, WebSocketConfig, ZeroMqConfig,
};
use crate::net::tls::{MutualTls, Tls};
use crate::net::{Batch, Encoder, Url, spawn};
use crate::wire::{Envelope, Limits};

/// The interval at which the certificate files of a link are checked for changes.
const CERTIFICATE_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// A link of a running bridge.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) config: LinkConfig,
    pub(super) endpoint: Endpoint,
    /// Sends messages to the peers: directly to the endpoint, or through the fault injector.
    outlet: Arc<dyn Outlet>,
    faults: Option<FaultInjector>,
    limits: Limits,
    pub(super) tls: Tls,
    /// The number of messages received over this link that were denied, by reason.
    pub(super) denied: ReasonCounts,
    context: LinkContext,
    /// The listeners, by configured address.
    listeners: Mutex<BTreeMap<String, Listener>>,
    watcher: Option<AbortHandle>,
    outbox: Outbox,
}

/// The state that a link shares with the rest of the bridge.
#[derive(Debug)]
pub(super) struct LinkContext {
    pub(super) id: LinkId,
    pub(super) origin: Arc<Origin>,
    pub(super) sides: Arc<Sides>,
    /// The peers of this link.
    pub(super) peers: Arc<PeerCounts>,
}

impl Link {
    /// Creates a link that does not listen or connect yet.
    ///
    /// # Errors
    /// Returns an error if the operating system provides no random bytes for an endpoint id.
    pub(super) fn new(
        config: LinkConfig,
        tls: Tls,
        websocket: WebSocketConfig,
        zeromq: ZeroMqConfig,
        context: LinkContext,
        relay: Arc<dyn Relay>,
    ) -> std::io::Result<Self> {
        let id = Some(context.origin.link_id(context.id));
        let settings = EndpointConfig { id, websocket, zeromq, ..config.endpoint_config() };
        let limits = settings.limits;
        let endpoint = Endpoint::with_relay(settings, relay)?;
        let outlet = EndpointOutlet { endpoint: endpoint.clone(), origin: context.origin.clone() };
        let faults = config.chaos.map(|chaos| FaultInjector::new(chaos, outlet.clone()));
        let outlet: Arc<dyn Outlet> = match &faults {
            None => Arc::new(outlet),
            Some(faults) => Arc::new(faults.clone()),
        };
        let watch = |tls: &MutualTls| spawn(tls.watch_files(CERTIFICATE_CHECK_INTERVAL)).abort_handle();
        let watcher = tls.certificates().map(watch);
        let (denied, listeners, outbox) = (ReasonCounts::default(), Mutex::default(), Outbox::default());
        Ok(Link {
            config,
            endpoint,
            outlet,
            faults,
            limits,
            tls,
            denied,
            context,
            listeners,
            watcher,
            outbox,
        })
    }

    pub(super) fn id(&self) -> LinkId {
        self.context.id
    }

    /// Starts to connect to the configured targets, if there are any.
    pub(super) fn connect(&self) {
        let LinkAddress::Connect(targets) = &self.config.address else { return };
        for target in targets {
            self.endpoint.connect_with_retry(target, self.tls.clone(), self.config.retry);
        }
    }

    /// Listens on all configured addresses that it does not listen on yet. Returns an error for each address that fails.
    pub(super) async fn listen(&self) -> Vec<Diagnostic> {
        let mut errors = Vec::new();
        for address in self.configured_addresses() {
            if self.listeners.lock().contains_key(address) {
                continue;
            }
            match self.endpoint.listen(address, self.tls.clone()).await {
                Ok(listener) => {
                    tracing::info!(link = %self.config.name, "listening on {}", listener.url());
                    self.listeners.lock().insert(address.clone(), listener);
                }
                Err(error) => errors.push(
                    Diagnostic::new(
                        format!("link.{}.listen", self.config.name),
                        format!("cannot listen on {address}: {error}"),
                    )
                    .with_hint("choose an address of this host and a port that is free"),
                ),
            }
        }
        errors
    }

    fn configured_addresses(&self) -> &[String] {
        match &self.config.address {
            LinkAddress::Connect(_) => &[],
            LinkAddress::Listen(addresses) => addresses,
        }
    }

    /// Returns the addresses on which the link listens, in the order of the configuration.
    pub(super) fn listen_addresses(&self) -> Vec<Url> {
        let listeners = self.listeners.lock();
        let open = self.configured_addresses().iter().filter_map(|address| listeners.get(address));
        open.map(Listener::url).collect()
    }

    /// Returns whether it listens on all configured addresses.
    pub(super) fn is_listening(&self) -> bool {
        self.listeners.lock().len() == self.configured_addresses().len()
    }

    /// Subscribes to these topics: announces them to current and future peers.
    pub(super) async fn announce(&self, filter: Filter) {
        self.endpoint.announce(filter).await;
    }

    /// Returns the parts of the configuration that rules depend on.
    pub(super) fn rule_link(&self) -> RuleLink<'_> {
        let LinkConfig { name, hub, group, address, zeromq, .. } = &self.config;
        let zeromq = zeromq.as_ref().map(|zeromq| ZeroMqSide {
            maps_topics: zeromq.map_topics,
            is_proxy: matches!(address, LinkAddress::Listen(_)),
        });
        RuleLink { name, hub: *hub, group: group.as_deref(), zeromq }
    }

    /// Returns the limits for input from its peers.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns the peers of this link that are skipped when a message is forwarded to the links in `to`. They are on
    /// [standby](Sides::standby): another peering of the link's group carries the message.
    pub(super) fn standby(
        &self,
        to: impl Iterator<Item = LinkId> + Clone,
        topic: &Topic,
    ) -> Option<Arc<[EndpointId]>> {
        let group = self.config.group.as_deref()?;
        self.context.sides.standby(group, self.context.id, to, topic)
    }

    /// Returns the current route to the peers of this link. With `bridges_only`, the route contains only the peers that
    /// are bridges.
    pub(super) fn route(&self, encoders: [Encoder; 2], bridges_only: bool) -> Route {
        // Read the routes before the counts, so that each peer in the routes is already counted.
        let routes = self.endpoint.routes();
        let [bridges, others] = self.context.peers.any();
        Route { routes, has_peers: [bridges, others && !bridges_only], encoders }
    }

    /// Sends a batch by a route of this link.
    pub(super) fn send_batch(
        &self,
        batch: &Batch,
        route: &mut Route,
        audience: &Audience,
        forwarded: &mut Forwarded,
    ) {
        self.outlet.send(batch, route, audience, forwarded);
    }

    /// Sends one message. Returns the copies for which a peer's queue had no room.
    pub(super) fn send(
        &self,
        envelope: &Envelope,
        received: Option<Instant>,
        audience: &Audience,
    ) -> Vec<Blocked> {
        let (batch, mut route) = (Batch::of(envelope.clone(), received), Route::to_all(&self.endpoint));
        let mut forwarded = Forwarded::default();
        self.outlet.send(&batch, &mut route, audience, &mut forwarded);
        forwarded.blocked
    }

    /// Sends a peer a message that the bridge generated. If its queue has no room, the message is stored in the outbox.
    pub(super) fn send_or_store(&self, peer: EndpointId, envelope: &Envelope) {
        let blocked = self.send(&self.with_new_id(envelope), None, &Audience::PeerReliable(peer));
        self.outbox.store(peer, blocked, self.config.limits.queue.bytes);
    }

    /// Like [`Link::send_or_store`], but drops the message if the peer's queue is full or the outbox holds messages
    /// for the peer. Suitable for messages that are repeated later anyway.
    pub(super) fn send_if_room(&self, peer: EndpointId, envelope: &Envelope) {
        if !self.outbox.has(peer) {
            drop(self.send(&self.with_new_id(envelope), None, &Audience::PeerReliable(peer)));
        }
    }

    /// Returns the message with this link's endpoint as the sender, so that it gets a new message id when it is sent to
    /// another bridge. If a repeated message had the same id again, the other bridge would drop it as a duplicate.
    fn with_new_id(&self, envelope: &Envelope) -> Envelope {
        Envelope { sender: self.endpoint.id(), ..envelope.clone() }
    }

    /// Returns the memory limit of one owner in the registry, in bytes: the maximum size of a peer's queue, but at most
    /// [`MAX_SHARE`]. The limit applies separately to the names of the owner's nodes and to the owner's requests.
    pub(super) fn memory_share(&self) -> usize {
        self.config.limits.queue.bytes.min(MAX_SHARE)
    }

    /// Returns how many messages the fault injector dropped.
    pub(super) fn lost_to_chaos(&self) -> u64 {
        self.faults.as_ref().map_or(0, FaultInjector::dropped)
    }

    /// Reloads the certificates if their files have changed. Returns `false` if the new files cannot be used, so that the
    /// previous certificates stay in use.
    pub(super) async fn reload_certificates(&self) -> bool {
        let Some(mutual) = self.tls.certificates().cloned() else { return true };
        // Reading files blocks, and decrypting a key may take seconds.
        let renewed = tokio::task::spawn_blocking(move || mutual.reload()).await;
        match renewed {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => {
                tracing::warn!(link = %self.config.name, "{error}; the previous certificates stay in use");
                false
            }
            Err(error) => {
                tracing::error!(link = %self.config.name, "cannot reload the certificates: {error}");
                false
            }
        }
    }

    /// Sends the queued messages, for at most `drain`, and disconnects all peers with BYE.
    pub(super) async fn close(&self, drain: Duration) {
        if let Some(watcher) = &self.watcher {
            watcher.abort();
        }
        if let Some(faults) = &self.faults {
            faults.flush().await;
        }
        self.endpoint.shutdown_within(drain).await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(watcher) = &self.watcher {
            watcher.abort();
        }
    }
}
