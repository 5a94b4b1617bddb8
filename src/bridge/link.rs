//! One link: an endpoint, and what the configuration says of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::LinkId;
use super::chaos::corrupt;
use super::config::{Chaos, LinkConfig, Mistake, Place};
use super::management::outbox::Outbox;
use super::management::registry::MAX_SHARE;
use super::policy::RuleLink;
use super::router::origin::{Instance, MessageId, Origin, same_side};
use super::router::peer_counts::PeerCounts;
use super::router::sides::Sides;
use crate::data::{EndpointId, Filter, Topic};
use crate::endpoint::{Blocked, Endpoint, EndpointConfig, Forwarded, Listener, Peer, Relay, Routes};
use crate::net::Frames;
use crate::net::tls::Tls;
use crate::wire::{Envelope, Limits};

/// How often the files of its certificates are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How many messages chaos holds back at most; what comes then is dropped, and counted.
const MOST_HELD_BACK: usize = 4096;

/// A link of a running bridge.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) config: LinkConfig,
    pub(super) endpoint: Endpoint,
    outlet: Outlet,
    limits: Limits,
    pub(super) tls: Tls,
    context: LinkContext,
    /// By the address as it is configured.
    listeners: Mutex<BTreeMap<String, Listener>>,
    watcher: Option<AbortHandle>,
    chaos: Option<Faults>,
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

/// Who of a link's peers a message is for.
#[derive(Clone, Debug)]
pub(super) enum Whom {
    /// All that subscribe to it, with exceptions.
    AllBut(Exceptions),
    /// This one, if it wants it.
    One(EndpointId),
    /// This one, if it wants it and as soon as it has room: for what the bridge itself says.
    Told(EndpointId),
}

/// The peers that a message is not for, though they subscribe to it.
#[derive(Clone, Debug)]
pub(super) struct Exceptions {
    /// Where it came from: the peer, and the last hop that it names. No link of the same bridge gets it either.
    pub(super) origins: [EndpointId; 2],
    /// The bridge where it arrived first, if it has an id.
    pub(super) first: Option<Instance>,
    /// Another peering carries what is for these: see [`super::router::sides`].
    pub(super) standby: Option<Arc<[EndpointId]>>,
    /// Whether all but bridges have it already.
    pub(super) bridges_only: bool,
}

impl Whom {
    fn includes(&self, peer: &Peer) -> bool {
        match self {
            Whom::AllBut(Exceptions { origins, first, standby, bridges_only }) => {
                let instance = Instance::of(peer.id);
                !origins.iter().any(|origin| same_side(*origin, peer.id))
                    && !standby.iter().any(|standby| standby.contains(&peer.id))
                    && (instance.is_none() || instance != *first)
                    && (!bridges_only || instance.is_some())
            }
            Whom::One(one) | Whom::Told(one) => *one == peer.id,
        }
    }
}

/// Where a link's messages leave: its endpoint, and how messages are named to other bridges.
#[derive(Clone, Debug)]
struct Outlet {
    endpoint: Endpoint,
    origin: Arc<Origin>,
}

impl Outlet {
    /// Hands a message to the peers that it is for, and returns what has to wait for room. Other bridges get it with its id,
    /// which is either its sender or new.
    fn forward(&self, envelope: &Envelope, since: Option<Instant>, whom: &Whom) -> Vec<Blocked> {
        let mut blocked = self.forward_to(false, self.endpoint.id(), envelope, since, whom);
        let id = || MessageId::of(envelope.sender).unwrap_or_else(|| self.origin.next_id());
        blocked.extend(self.forward_to(true, id().as_sender(), envelope, since, whom));
        blocked
    }

    fn forward_to(
        &self,
        bridges: bool,
        sender: EndpointId,
        envelope: &Envelope,
        since: Option<Instant>,
        whom: &Whom,
    ) -> Vec<Blocked> {
        let choose = |peer: &Peer| whom.includes(peer) && self.origin.is_other_bridge(peer.id) == bridges;
        match whom {
            Whom::Told(_) => self.endpoint.forward_sparingly(sender, envelope, choose),
            _ => self.endpoint.forward_as(sender, envelope, since, choose).blocked,
        }
    }
}

#[derive(Debug)]
struct Faults {
    chaos: Chaos,
    held_back: Option<HeldBack>,
    dropped: AtomicU64,
}

/// What waits for its time, with a task that sends it then.
#[derive(Debug)]
struct HeldBack {
    messages: mpsc::Sender<Delayed>,
    /// Whether it is to be sent now.
    hurry: watch::Sender<bool>,
}

type Delayed = (Instant, Envelope, Whom);

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
        let outlet = Outlet { endpoint: endpoint.clone(), origin: context.origin.clone() };
        let watcher = match &tls {
            Tls::Mutual(mutual) => Some(tokio::spawn(mutual.watch_files(LOOK_EVERY)).abort_handle()),
            _ => None,
        };
        let chaos = config.chaos.map(|chaos| Faults::new(chaos, &outlet));
        let (listeners, outbox) = (Mutex::default(), Outbox::default());
        Ok(Link { config, endpoint, outlet, limits, tls, context, listeners, watcher, chaos, outbox })
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

    /// Whether it has peers that are other bridges, and peers that are not.
    pub(super) fn has_peers(&self) -> [bool; 2] {
        self.context.peers.any()
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

    /// Sends a message, in this link's own name or, to other bridges, in that of its id. What has to wait for room comes
    /// back. `since` is as in [`Endpoint::forward_as`].
    pub(super) fn send(&self, envelope: &Envelope, since: Option<Instant>, whom: Whom) -> Vec<Blocked> {
        match &self.chaos {
            None => self.outlet.forward(envelope, since, &whom),
            Some(faults) => faults.send(&self.outlet, envelope, since, &whom),
        }
    }

    /// Whether messages meet a fate here, each its own.
    pub(super) fn is_chaotic(&self) -> bool {
        self.chaos.is_some()
    }

    /// As [`Link::send`], of messages that were written for other bridges or for the other peers, and go by these routes
    /// where `like` goes. Without chaos.
    pub(super) fn send_frames(
        &self,
        frames: &Frames,
        bridges: bool,
        routes: &Routes,
        like: &Envelope,
        whom: &Whom,
        forwarded: &mut Forwarded,
    ) {
        let choose =
            |peer: &Peer| whom.includes(peer) && self.outlet.origin.is_other_bridge(peer.id) == bridges;
        self.endpoint.forward_frames(frames, routes, (like.receiver, &like.topic), choose, forwarded);
    }

    /// Sends a peer a message of the bridge itself. If its queue has no room, the message is stored in the outbox.
    pub(super) fn send_or_store(&self, peer: EndpointId, envelope: &Envelope) {
        let blocked = self.send(&self.with_new_id(envelope), None, Whom::Told(peer));
        self.outbox.store(peer, blocked, self.config.limits.queue.bytes);
    }

    /// Sends a peer a message of the bridge itself, only if its queue has room now: the message is repeated later anyway.
    pub(super) fn send_if_room(&self, peer: EndpointId, envelope: &Envelope) {
        if !self.outbox.has(peer) {
            drop(self.send(&self.with_new_id(envelope), None, Whom::Told(peer)));
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
        self.chaos.as_ref().map_or(0, |faults| faults.dropped.load(Ordering::Relaxed))
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
        if let Some(held_back) = self.chaos.as_ref().and_then(|faults| faults.held_back.as_ref()) {
            held_back.let_all_go().await;
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

impl Faults {
    fn new(chaos: Chaos, outlet: &Outlet) -> Self {
        let held_back = (!chaos.delay.is_zero()).then(|| {
            let (messages, receiver) = mpsc::channel(MOST_HELD_BACK);
            let (hurry, hurried) = watch::channel(false);
            tokio::spawn(let_go(receiver, hurried, outlet.clone()));
            HeldBack { messages, hurry }
        });
        Faults { chaos, held_back, dropped: AtomicU64::new(0) }
    }

    fn send(
        &self,
        outlet: &Outlet,
        envelope: &Envelope,
        since: Option<Instant>,
        whom: &Whom,
    ) -> Vec<Blocked> {
        let mut random = fastrand::Rng::new();
        let fate = self.chaos.fate(&mut random);
        let mut envelope = envelope.clone();
        if fate.corrupt {
            corrupt(&mut envelope, &mut random);
        }
        if fate.times == 0 {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        let mut blocked = Vec::new();
        for _ in 0..fate.times {
            match &self.held_back {
                None => blocked.extend(outlet.forward(&envelope, since, whom)),
                Some(held_back) => {
                    let now = Instant::now();
                    let due = now.checked_add(self.chaos.delay).unwrap_or(now);
                    if held_back.messages.try_send((due, envelope.clone(), whom.clone())).is_err() {
                        self.dropped.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
        blocked
    }
}

impl HeldBack {
    /// Sends everything now, and takes nothing more. What there is no room for is dropped, and counted.
    async fn let_all_go(&self) {
        self.hurry.send_replace(true);
        // Until the task ends, which is the only one to hear it.
        self.hurry.closed().await;
    }
}

/// Sends what was held back, each when it is due. Ends with the link.
async fn let_go(mut held_back: mpsc::Receiver<Delayed>, hurried: watch::Receiver<bool>, outlet: Outlet) {
    let mut until_hurried = hurried.clone();
    // An error says that the link is gone.
    let mut hurry = pin!(async { drop(until_hurried.wait_for(|hurry| *hurry).await) });
    let send = |envelope: &Envelope, whom: &Whom| outlet.forward(envelope, None, whom);
    loop {
        let delayed = tokio::select! {
            delayed = held_back.recv() => delayed,
            () = &mut hurry => break,
        };
        let Some((due, envelope, whom)) = delayed else { return };
        let hurried = tokio::select! {
            () = tokio::time::sleep_until(due.into()) => false,
            () = &mut hurry => true,
        };
        let blocked = send(&envelope, &whom);
        if hurried {
            break;
        }
        tokio::select! {
            () = wait_for(blocked) => {}
            () = &mut hurry => break,
        }
    }
    held_back.close();
    while let Some((_, envelope, whom)) = held_back.recv().await {
        drop(send(&envelope, &whom));
    }
    drop(hurried);
}

async fn wait_for(blocked: Vec<Blocked>) {
    for blocked in blocked {
        blocked.pushed().await;
    }
}
