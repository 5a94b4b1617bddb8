//! The one task that owns the routing table and knows who is a peer.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::queue::Queue;
use super::relay::Relay;
use super::routes::{Peer, PeerRoute, PeeringId, Routes, SubscriberRoute};
use super::status::{LinkError, Status};
use super::subscriber::Message;
use super::{EndpointConfig, Phase, QueueLimits};
use crate::data::{EndpointId, Filter};
use crate::peering::{CloseReason, Role};

/// One connection, from its first byte on.
pub(super) type LinkId = u64;
pub(super) type SubscriberId = u64;

/// What the hub is told. Everything but the answers is done in the order of arrival.
#[derive(Debug)]
pub(super) enum Command {
    /// A peer has shown its id; the answer is whether to go on.
    Introduced { link: LinkId, peer: EndpointId, role: Role, answer: oneshot::Sender<bool> },
    /// A peering stands; the answer is what is to be sent to the peer.
    Established { peer: Peer, filter: Filter, answer: oneshot::Sender<Arc<Queue>> },
    /// A peer wants to hear something else. Nothing more is read from it before the answer, which comes when the table
    /// knows, or a peer could have as many filters wait here as there are places.
    FilterChanged { link: LinkId, filter: Filter, answer: oneshot::Sender<()> },
    /// A connection is over; the status is to be told once the routes know.
    Closed { link: LinkId, status: Option<Status> },
    /// Whether there is a peering with this endpoint; if so, with what waits for its end.
    WhenGone { peer: EndpointId, answer: oneshot::Sender<Option<oneshot::Receiver<()>>> },
    /// Somebody wants to hear something. The answer comes when the table knows.
    Subscribe { id: SubscriberId, filter: Filter, queue: Arc<Queue<Message>>, answer: oneshot::Sender<()> },
    /// ... something else. The answer comes when the table knows.
    Resubscribe { id: SubscriberId, filter: Filter, answer: oneshot::Sender<()> },
    /// The relay wants to hear something else. The answer comes when it is announced.
    Announce { filter: Filter, answer: oneshot::Sender<()> },
    /// The peering with this endpoint is to be left; the answer is whether there was one.
    Unpeer { peer: EndpointId, answer: oneshot::Sender<bool> },
    /// All peerings are to be left.
    Shutdown,
    /// All peerings are left: subscribers will hear nothing more.
    Over,
}

/// How to reach the hub.
#[derive(Clone, Debug)]
pub(super) struct HubHandle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) status: broadcast::Sender<Status>,
    pub(super) routes: watch::Receiver<Arc<Routes>>,
    pub(super) filter: watch::Receiver<Filter>,
    pub(super) unsubscribe: mpsc::UnboundedSender<SubscriberId>,
}

impl HubHandle {
    /// Tells the hub; after a shutdown nobody listens, and nothing needs to be told.
    pub(super) async fn tell(&self, command: Command) {
        let _ = self.commands.send(command).await;
    }
}

/// The attempts and the peering with one endpoint.
#[derive(Debug)]
struct Known {
    link: LinkId,
    standing: bool,
    /// Originators' connections that wait for how the first handshake ends.
    held: VecDeque<(LinkId, oneshot::Sender<bool>)>,
    /// Connectors that wait for the end of this peering.
    waiting: Vec<oneshot::Sender<()>>,
}

struct Hub {
    peers: HashMap<EndpointId, Known>,
    /// Which endpoint is on which connection.
    links: HashMap<LinkId, EndpointId>,
    table: Routes,
    routes: watch::Sender<Arc<Routes>>,
    filter: watch::Sender<Filter>,
    status: broadcast::Sender<Status>,
    peer_queue: QueueLimits,
    relay: Option<Arc<dyn Relay>>,
    /// What the relay wants to hear.
    announced: Filter,
    label: Option<Arc<str>>,
    shutting_down: bool,
    over: bool,
}

/// Starts the hub. It ends when every handle to it is gone.
pub(super) fn start(
    config: &EndpointConfig,
    phase: watch::Receiver<Phase>,
    relay: Option<Arc<dyn Relay>>,
) -> HubHandle {
    let (commands, receiver) = mpsc::channel(1024);
    let (status, _) = broadcast::channel(1024);
    let (routes, routes_receiver) = watch::channel(Arc::default());
    let (filter, filter_receiver) = watch::channel(Filter::new());
    let (unsubscribe, unsubscribed) = mpsc::unbounded_channel();
    let hub = Hub {
        peers: HashMap::new(),
        links: HashMap::new(),
        table: Routes::default(),
        routes,
        filter,
        status: status.clone(),
        peer_queue: config.peer_queue,
        label: config.label.clone(),
        relay,
        announced: Filter::new(),
        shutting_down: false,
        over: false,
    };
    tokio::spawn(hub.run(receiver, unsubscribed, phase));
    HubHandle { commands, status, routes: routes_receiver, filter: filter_receiver, unsubscribe }
}

impl Hub {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut unsubscribed: mpsc::UnboundedReceiver<SubscriberId>,
        mut phase: watch::Receiver<Phase>,
    ) {
        loop {
            tokio::select! {
                // The endpoint was dropped.
                Err(_) = phase.changed(), if !self.over => self.over(),
                command = commands.recv() => match command {
                    Some(command) => self.handle(command),
                    None => return,
                },
                Some(id) = unsubscribed.recv() => self.unsubscribe(id),
            }
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Introduced { link, peer, role, answer } => self.introduced(link, peer, role, answer),
            Command::Established { peer, filter, answer } => {
                let queue = Arc::new(Queue::new(self.peer_queue));
                if self.shutting_down {
                    queue.close();
                }
                let Peer { id, address, identity, .. } = peer.clone();
                self.established(PeerRoute { peer, filter: Arc::new(filter), queue: queue.clone() });
                let _ = answer.send(queue);
                self.tell(Status::PeerAdded { peer: id, address, identity });
            }
            Command::FilterChanged { link, filter, answer } => {
                if let Some(peer) = self.links.get(&link)
                    && let Some(before) = self.table.peers.remove(*peer)
                {
                    let route = PeerRoute { filter: Arc::new(filter), ..before };
                    self.table.peers.insert(route.clone());
                    self.publish_routes();
                    self.relay(|relay| relay.wants(&route.peer, &route.filter));
                }
                let _ = answer.send(());
            }
            Command::Closed { link, status } => {
                self.closed(link);
                if let Some(status) = status {
                    self.tell(status);
                }
            }
            Command::WhenGone { peer, answer } => {
                let known = self.peers.get_mut(&peer).map(|known| {
                    let (waiting, gone) = oneshot::channel();
                    known.waiting.push(waiting);
                    gone
                });
                let _ = answer.send(known);
            }
            Command::Subscribe { id, filter, queue, answer } => {
                if self.over {
                    queue.close();
                }
                self.table.subscribers.push(SubscriberRoute { id, filter: Arc::new(filter), queue });
                self.subscribers_changed();
                if answer.send(()).is_err() {
                    // It was not waited for, and nobody knows of it.
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
                self.wishes_changed();
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

    /// Lets one connection to an endpoint through at a time. While its handshake runs, further ones that
    /// this side leads are held back; the peer leads the others and is told at once (section 2).
    fn introduced(&mut self, link: LinkId, peer: EndpointId, role: Role, answer: oneshot::Sender<bool>) {
        match self.peers.get_mut(&peer) {
            None => {
                let known = Known { link, standing: false, held: VecDeque::new(), waiting: Vec::new() };
                self.peers.insert(peer, known);
                self.links.insert(link, peer);
                let _ = answer.send(true);
            }
            Some(known) if !known.standing && role == Role::Originator => {
                known.held.push_back((link, answer));
            }
            Some(_) => {
                let _ = answer.send(false);
            }
        }
    }

    fn established(&mut self, route: PeerRoute) {
        let PeeringId(link) = route.peer.peering;
        if let Some(known) = self.peers.get_mut(&route.peer.id).filter(|known| known.link == link) {
            known.standing = true;
            for (_, answer) in known.held.drain(..) {
                let _ = answer.send(false);
            }
            // It knows of the peer before anybody can send it something.
            self.relay(|relay| relay.stands(&route.peer));
            self.table.peers.insert(route.clone());
            self.publish_routes();
            self.relay(|relay| relay.wants(&route.peer, &route.filter));
        }
    }

    fn relay(&self, tell: impl FnOnce(&dyn Relay)) {
        if let Some(relay) = &self.relay {
            tell(&**relay);
        }
    }

    fn closed(&mut self, link: LinkId) {
        let Some(peer) = self.links.remove(&link) else {
            // It may have been held back.
            self.peers.values_mut().for_each(|known| known.held.retain(|(held, _)| *held != link));
            return;
        };
        let Some(mut known) = self.peers.remove(&peer) else { return };
        if known.standing
            && let Some(route) = self.table.peers.remove(peer)
        {
            self.publish_routes();
            self.relay(|relay| relay.gone(&route.peer));
        }
        // The next one that still waits for an answer may try.
        while let Some((next, answer)) = known.held.pop_front() {
            if answer.send(true).is_ok() {
                self.links.insert(next, peer);
                self.peers.insert(peer, Known { link: next, standing: false, ..known });
                return;
            }
        }
        for waiting in known.waiting {
            let _ = waiting.send(());
        }
    }

    fn unsubscribe(&mut self, id: SubscriberId) {
        self.table.subscribers.retain(|route| route.id != id);
        self.subscribers_changed();
    }

    fn over(&mut self) {
        self.over = true;
        self.table.subscribers.iter().for_each(|route| route.queue.close());
    }

    fn publish_routes(&self) {
        self.routes.send_replace(Arc::new(self.table.clone()));
    }

    fn subscribers_changed(&self) {
        self.publish_routes();
        self.wishes_changed();
    }

    /// What the subscribers and the relay want together is told to the peers, if it is news.
    fn wishes_changed(&self) {
        let subscribers = self.table.subscribers.iter().map(|route| &*route.filter);
        let filters = subscribers.chain([&self.announced]);
        let filter: Filter = filters.flat_map(|filter| filter.topics().iter().cloned()).collect();
        self.filter.send_if_modified(|current| {
            let news = *current != filter;
            *current = filter;
            news
        });
    }

    fn tell(&self, status: Status) {
        match &status {
            Status::PeerAdded { .. } | Status::PeerRemoved { error: None, .. } => {
                tracing::info!(link = self.label.as_deref(), "{status}")
            }
            Status::PeerLost { error: LinkError::Closed(CloseReason::PeerLeft), .. } => {
                tracing::info!(link = self.label.as_deref(), "{status}");
            }
            // Both left at once.
            Status::PeerRemoved { error: Some(LinkError::Closed(CloseReason::PeerLeft)), .. } => {
                tracing::info!(link = self.label.as_deref(), "{status}");
            }
            _ => tracing::warn!(link = self.label.as_deref(), "{status}"),
        }
        // Nobody may be listening.
        let _ = self.status.send(status);
    }
}
