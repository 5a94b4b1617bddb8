//! The task that owns the routing table and decides which connections become peerings.

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, watch};
use tracing::Instrument as _;

use super::command::{Command, HubHandle};
use super::connect_error::ConnectError;
use super::id::{ConnectionId, PeeringId, SubscriberId};
use super::id_registry::{Admission, IdRegistry};
use super::limits::{LogLimiter, Owner};
use super::peer::Peer;
use super::queue::Queue;
use super::relay::Relay;
use super::routing::{PeerRoute, Routes, SubscriberRoute};
use super::status::Status;
use super::{EndpointConfig, Phase, QueueLimits};
use crate::data::Filter;
use crate::net::{sleep_until, spawn};
use crate::peering::CloseReason;

/// The kind of log lines about the status of peers: added, removed or lost, and notices from them.
const PEER_STATUS: &str = "peer status";

struct Hub {
    ids: IdRegistry,
    table: Routes,
    routes: watch::Sender<Arc<Routes>>,
    filter: watch::Sender<Filter>,
    status: broadcast::Sender<Status>,
    peer_queue: QueueLimits,
    relay: Option<Arc<dyn Relay>>,
    /// The topics that the relay subscribes to.
    announced: Filter,
    limiter: Arc<LogLimiter>,
    shutting_down: bool,
    over: bool,
}

/// Starts the hub. It ends when all handles to it are dropped.
pub(super) fn start(
    config: &EndpointConfig,
    phase: watch::Receiver<Phase>,
    relay: Option<Arc<dyn Relay>>,
    limiter: Arc<LogLimiter>,
) -> HubHandle {
    let (commands, receiver) = mpsc::channel(1024);
    let (status, _) = broadcast::channel(1024);
    let (routes, routes_receiver) = watch::channel(Arc::default());
    let (filter, filter_receiver) = watch::channel(Filter::new());
    let (unsubscribe, unsubscribed) = mpsc::unbounded_channel();
    let hub = Hub {
        ids: IdRegistry::default(),
        table: Routes::default(),
        routes,
        filter,
        status: status.clone(),
        peer_queue: config.peer_queue,
        limiter,
        relay,
        announced: Filter::new(),
        shutting_down: false,
        over: false,
    };
    let span = tracing::error_span!("endpoint", link = config.label.as_deref());
    spawn(hub.run(receiver, unsubscribed, phase).instrument(span));
    HubHandle { commands, status, routes: routes_receiver, filter: filter_receiver, unsubscribe }
}

impl Hub {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut unsubscribed: mpsc::UnboundedReceiver<SubscriberId>,
        mut phase: watch::Receiver<Phase>,
    ) {
        let limiter = self.limiter.clone();
        loop {
            let due = self.ids.next_due();
            tokio::select! {
                // The endpoint was dropped.
                Err(_) = phase.changed(), if !self.over => self.over(),
                command = commands.recv() => match command {
                    Some(command) => self.handle(command),
                    None => return,
                },
                Some(id) = unsubscribed.recv() => self.unsubscribe(id),
                () = sleep_until(due) => self.ids.supersede(),
                () = limiter.report_due(), if !self.over => self.report_suppressed(false),
            }
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Introduced { connection, peer, role, party, answers } => {
                self.ids.introduce(connection, peer, role, party, answers);
            }
            Command::Established { peer, filter, format, counters, answer } => {
                let PeeringId(connection) = peer.peering;
                match self.ids.establish(connection, peer.id) {
                    Admission::Admitted => {}
                    refused => {
                        let _ = answer.send(Err(refused));
                        return;
                    }
                }
                let queue = Arc::new(Queue::new(self.peer_queue));
                if self.shutting_down {
                    queue.close();
                }
                let Peer { id, address, identity, protocol, owner, .. } = Peer::clone(&peer);
                let filter = Arc::new(filter);
                self.established(PeerRoute { peer, filter, format, queue: queue.clone(), counters });
                let _ = answer.send(Ok(queue));
                self.report(Status::PeerAdded { peer: id, address, identity, protocol }, &owner);
            }
            Command::FilterChanged { connection, filter, answer } => {
                if let Some(peer) = self.ids.established(connection)
                    && let Some(before) = self.table.peers.remove(peer)
                {
                    // A ZeroMQ peer may also report a filter that is the same as before.
                    let is_changed = *before.filter != filter;
                    let route = PeerRoute { filter: Arc::new(filter), ..before };
                    self.table.peers.insert(route.clone());
                    if is_changed {
                        self.publish_routes();
                        self.relay(&route.peer, |relay| relay.on_filter(&route.peer, &route.filter));
                    }
                }
                let _ = answer.send(());
            }
            Command::Closed { connection, owner, status } => {
                self.closed(connection, status.as_ref());
                if let Some(status) = status {
                    self.report(status, &owner);
                }
            }
            Command::Notice { owner, status } => self.report(status, &owner),
            Command::WhenGone { peer, answer } => {
                let _ = answer.send(self.ids.when_gone(peer));
            }
            Command::Subscribe { id, filter, queue, answer } => {
                if self.over {
                    queue.close();
                }
                self.table.subscribers.push(SubscriberRoute { id, filter: Arc::new(filter), queue });
                self.subscribers_changed();
                if answer.send(()).is_err() {
                    // The subscription was cancelled, and no `Subscriber` will unsubscribe it.
                    self.unsubscribe(id);
                }
            }
            Command::Resubscribe { id, filter, answer } => {
                if let Some(route) = self.table.subscribers.iter_mut().find(|route| route.id == id) {
                    route.filter = Arc::new(filter);
                    self.subscribers_changed();
                }
                let _ = answer.send(());
            }
            Command::Announce { filter, answer } => {
                self.announced = filter;
                self.announce_filter();
                let _ = answer.send(());
            }
            Command::Unpeer { peer, answer } => {
                let route = self.table.peers.get(peer);
                if let Some(route) = route {
                    route.queue.close();
                }
                let _ = answer.send(route.is_some());
            }
            Command::Shutdown => {
                self.shutting_down = true;
                self.table.peers.iter().for_each(|route| route.queue.close());
            }
            Command::Over => self.over(),
        }
    }

    fn established(&mut self, route: PeerRoute) {
        // This is done before the routes are changed, because the relay must know the peer before messages can be sent to
        // it.
        self.relay(&route.peer, |relay| relay.on_established(&route.peer));
        self.table.peers.insert(route.clone());
        self.publish_routes();
        self.relay(&route.peer, |relay| relay.on_filter(&route.peer, &route.filter));
    }

    /// Calls the relay with a log span for this peer.
    fn relay(&self, peer: &Peer, call: impl FnOnce(&dyn Relay)) {
        if let Some(relay) = &self.relay {
            let span = tracing::error_span!("peer", peer = %peer.id, address = %peer.address);
            span.in_scope(|| call(&**relay));
        }
    }

    fn closed(&mut self, connection: ConnectionId, status: Option<&Status>) {
        // The route is removed before a different connection can get the id.
        let route = self.ids.established(connection).and_then(|peer| self.table.peers.remove(peer));
        if let Some(route) = route {
            self.publish_routes();
            self.relay(&route.peer, |relay| relay.on_closed(&route.peer, status));
        }
        self.ids.close(connection);
    }

    fn unsubscribe(&mut self, id: SubscriberId) {
        self.table.subscribers.retain(|route| route.id != id);
        self.subscribers_changed();
    }

    fn over(&mut self) {
        self.over = true;
        self.report_suppressed(true);
        self.table.subscribers.iter().for_each(|route| route.queue.close());
    }

    fn publish_routes(&self) {
        self.routes.send_replace(Arc::new(self.table.clone()));
    }

    fn subscribers_changed(&self) {
        self.publish_routes();
        self.announce_filter();
    }

    /// Announces the combined filter to the peers if it has changed. It contains the topics of all subscribers and of the
    /// relay.
    fn announce_filter(&self) {
        let subscribers = self.table.subscribers.iter().map(|route| &*route.filter);
        let filters = subscribers.chain([&self.announced]);
        let filter: Filter = filters.flat_map(|filter| filter.topics().iter().cloned()).collect();
        self.filter.send_if_modified(|current| {
            let changed = *current != filter;
            *current = filter;
            changed
        });
    }

    /// Sends a status to all status receivers. Also logs it. If the peer's owner causes too many such lines,
    /// the level is debug.
    fn report(&self, status: Status, owner: &Owner) {
        let is_ordinary = match &status {
            Status::PeerAdded { .. } | Status::PeerRemoved { error: None, .. } => true,
            // The peer left, or both sides left at the same time.
            Status::PeerLost { error, .. } | Status::PeerRemoved { error: Some(error), .. } => {
                matches!(error, ConnectError::Closed(CloseReason::PeerLeft))
            }
            _ => false,
        };
        match self.limiter.pass(PEER_STATUS, owner) {
            Some(suppressed) if is_ordinary => tracing::info!(suppressed, "{status}"),
            Some(suppressed) => tracing::warn!(suppressed, "{status}"),
            None => tracing::debug!("{status}"),
        }
        // There may be no receiver.
        let _ = self.status.send(status);
    }

    /// Logs how many lines of each kind were suppressed. If the lines of an owner are still too frequent, the next line
    /// of that kind and owner contains their number. If this is the `last` call, all numbers are logged.
    fn report_suppressed(&self, last: bool) {
        for (kind, suppressed) in self.limiter.report(last) {
            if kind == PEER_STATUS {
                tracing::info!(kind, suppressed, "suppressed log lines that were too frequent");
            } else {
                tracing::warn!(kind, suppressed, "suppressed log lines that were too frequent");
            }
        }
    }
}
