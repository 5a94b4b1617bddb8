//! One link: an endpoint, and what the configuration says of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::LinkId;
use super::audience::Audience;
use super::config::{LinkConfig, Mistake, Place};
use super::faults::FaultInjector;
use super::management::outbox::Outbox;
use super::management::registry::MAX_SHARE;
use super::outlet::{EndpointOutlet, Outlet, Route};
use super::policy::RuleLink;
use super::router::origin::Origin;
use super::router::peer_counts::PeerCounts;
use super::router::sides::Sides;
use crate::data::{EndpointId, Filter, Topic};
use crate::endpoint::{Blocked, Endpoint, EndpointConfig, Forwarded, Listener, Relay};
use crate::net::tls::Tls;
use crate::net::{Batch, Encoder};
use crate::wire::{Envelope, Limits};

/// How often the files of its certificates are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A link of a running bridge.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) config: LinkConfig,
    pub(super) endpoint: Endpoint,
    /// The way to the peers: to the endpoint, or through the fault injector.
    outlet: Arc<dyn Outlet>,
    faults: Option<FaultInjector>,
    limits: Limits,
    pub(super) tls: Tls,
    context: LinkContext,
    /// By the address as it is configured.
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
    /// A link that neither listens nor connects yet.
    ///
    /// # Errors
    /// When the operating system gives no random bytes for an endpoint id.
    pub(super) fn new(
        config: LinkConfig,
        tls: Tls,
        context: LinkContext,
        relay: Arc<dyn Relay>,
    ) -> std::io::Result<Self> {
        let id = Some(context.origin.link_id(context.id));
        let settings = EndpointConfig { id, ..config.endpoint_config() };
        let limits = settings.limits;
        let endpoint = Endpoint::with_relay(settings, relay)?;
        let outlet = EndpointOutlet { endpoint: endpoint.clone(), origin: context.origin.clone() };
        let faults = config.chaos.map(|chaos| FaultInjector::new(chaos, outlet.clone()));
        let outlet: Arc<dyn Outlet> = match &faults {
            None => Arc::new(outlet),
            Some(faults) => Arc::new(faults.clone()),
        };
        let watcher = match &tls {
            Tls::Mutual(mutual) => Some(tokio::spawn(mutual.watch_files(LOOK_EVERY)).abort_handle()),
            _ => None,
        };
        let (listeners, outbox) = (Mutex::default(), Outbox::default());
        Ok(Link { config, endpoint, outlet, faults, limits, tls, context, listeners, watcher, outbox })
    }

    pub(super) fn id(&self) -> LinkId {
        self.context.id
    }

    /// Begins to connect, if it does.
    pub(super) fn connect(&self) {
        let Place::Connect(targets) = &self.config.place else { return };
        for target in targets {
            self.endpoint.connect(target, self.tls.clone(), Some(self.config.retry));
        }
    }

    /// Listens wherever it should and does not yet. Says where it cannot.
    pub(super) async fn listen(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        for address in self.should_listen() {
            if self.listeners.lock().contains_key(address) {
                continue;
            }
            match self.endpoint.listen(address, self.tls.clone()).await {
                Ok(listener) => {
                    tracing::info!(link = %self.config.name, "listening on {}", listener.local_addr());
                    self.listeners.lock().insert(address.clone(), listener);
                }
                Err(error) => mistakes.push(Mistake::new(
                    format!("link.{}.listen", self.config.name),
                    format!(
                        "cannot listen on {address}: {error}; choose an address of this host and a port that is free"
                    ),
                )),
            }
        }
        mistakes
    }

    fn should_listen(&self) -> &[String] {
        match &self.config.place {
            Place::Connect(_) => &[],
            Place::Listen(addresses) => addresses,
        }
    }

    /// Where it listens, in the order of the configuration.
    pub(super) fn listening(&self) -> Vec<SocketAddr> {
        let listeners = self.listeners.lock();
        let there = self.should_listen().iter().filter_map(|address| listeners.get(address));
        there.map(Listener::local_addr).collect()
    }

    /// Whether it listens wherever it should.
    pub(super) fn listens(&self) -> bool {
        self.listeners.lock().len() == self.should_listen().len()
    }

    /// Hears these topics from its peers.
    pub(super) async fn announce(&self, filter: Filter) {
        self.endpoint.announce(filter).await;
    }

    /// As far as rules depend on it.
    pub(super) fn rule_link(&self) -> RuleLink<'_> {
        let LinkConfig { name, hub, group, .. } = &self.config;
        RuleLink { name, hub: *hub, group: group.as_deref() }
    }

    /// What its peers may send.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The peers here that another peering of the link's group stands in for, of a message that may go to the links in these
    /// slots.
    pub(super) fn standby(
        &self,
        to: impl Iterator<Item = LinkId> + Clone,
        topic: &Topic,
    ) -> Option<Arc<[EndpointId]>> {
        let group = self.config.group.as_deref()?;
        self.context.sides.standby(group, self.context.id, to, topic)
    }

    /// Returns the current route to the peers of this link, or to those that are other bridges.
    pub(super) fn route(&self, encoders: [Encoder; 2], bridges_only: bool) -> Route {
        // The routes are read first: a peer in the routes is counted by then.
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

    /// Sends one message. Returns what has to wait for room in a queue.
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

    /// Sends a peer a message of the bridge itself. If its queue has no room, the message is stored in the outbox.
    pub(super) fn send_or_store(&self, peer: EndpointId, envelope: &Envelope) {
        let blocked = self.send(&self.with_new_id(envelope), None, &Audience::PeerReliable(peer));
        self.outbox.store(peer, blocked, self.config.limits.queue.bytes);
    }

    /// Sends a peer a message of the bridge itself, only if its queue has room now: the message is repeated later anyway.
    pub(super) fn send_if_room(&self, peer: EndpointId, envelope: &Envelope) {
        if !self.outbox.has(peer) {
            drop(self.send(&self.with_new_id(envelope), None, &Audience::PeerReliable(peer)));
        }
    }

    /// The same message with this link's endpoint as the sender. It then gets a new id where it goes to another bridge, which
    /// would take a repeated message for a copy otherwise.
    fn with_new_id(&self, envelope: &Envelope) -> Envelope {
        Envelope { sender: self.endpoint.id(), ..envelope.clone() }
    }

    /// How much may be remembered of the nodes, and of the requests, of one owner among its peers: as much as may wait in
    /// the queue of one.
    pub(super) fn share(&self) -> usize {
        self.config.limits.queue.bytes.min(MAX_SHARE)
    }

    /// How many messages chaos dropped.
    pub(super) fn lost_to_chaos(&self) -> u64 {
        self.faults.as_ref().map_or(0, FaultInjector::dropped)
    }

    /// Takes up certificates that changed on disk.
    pub(super) async fn renew_certificates(&self) {
        let Tls::Mutual(mutual) = self.tls.clone() else { return };
        // It reads files, and may open a key for a while.
        let renewed = tokio::task::spawn_blocking(move || mutual.reload()).await;
        if let Ok(Err(error)) = renewed {
            tracing::warn!(link = %self.config.name, "{error}; what was loaded before stays in use");
        }
    }

    /// Lets every peer read what waits for it, within this time, and leaves.
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
