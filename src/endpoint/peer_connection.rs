//! One connection in an endpoint, from its first byte to its end.

mod admission;
mod logs;
mod receive;
mod send;
mod subscriptions;
mod turn;
mod waits;

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Notify, oneshot, watch};

use super::blocked::Blocked;
use super::command::Command;
use super::connect_error::ConnectError;
use super::counters::PeerCounters;
use super::id::{ConnectionId, PeeringId};
use super::id_registry::{Admission, Answers, Party};
use super::limits::{Owner, PeerSlot};
use super::peer::Peer;
use super::protocol::Protocol;
use super::queue::Queue;
use super::status::Status;
use super::zeromq::{LogQueue, PendingLogs};
use super::{Context, Phase};
use crate::data::{EndpointId, Filter};
use crate::net::tls::PeerIdentity;
use crate::net::{Batch, Connection, ConnectionFault, Progress, Session, Stream, after};
use crate::peering::{self, CloseReason, Event, Notice, Role, Side};
use crate::zeromq::SocketType;
use admission::replaced;
use logs::room;
use send::Drops;
use subscriptions::{Member, Waiting, changed, check_due, finish_publishing};
use turn::{RARE_FIRST_INTERVAL, Rare, Turn, next_turn};
use waits::{answer, asked, drain_expired, filled, room_available, slot_evicted};

/// How a connection ended.
pub(super) struct ConnectionOutcome {
    /// The peer, if the peering was ever established.
    pub(super) peer: Option<EndpointId>,
    /// The reason; `None` if this side left.
    pub(super) error: Option<ConnectError>,
    /// The peer with which a peering exists already.
    pub(super) redundant: Option<EndpointId>,
}

/// A connection before its handshake.
pub(super) struct NewConnection {
    pub(super) stream: Stream,
    pub(super) side: Side,
    pub(super) protocol: Protocol,
    /// The topics to which this side subscribes.
    pub(super) filter: watch::Receiver<Filter>,
    /// The peer's address: `host:port` or a URL.
    pub(super) address: Arc<str>,
    /// The deadline of the handshake.
    pub(super) deadline: Instant,
    /// Ends the handshake before its deadline.
    pub(super) evicted: Option<oneshot::Receiver<()>>,
    /// The queue of received logs, if this side is a logger of a ZeroMQ cluster.
    pub(super) logs: Option<Arc<LogQueue>>,
}

struct PeerConnection<S> {
    context: Arc<Context>,
    id: ConnectionId,
    side: Side,
    protocol: Protocol,
    /// The peer slot of this connection, if the peer connected to this side.
    slot: Option<PeerSlot>,
    connection: Connection<S>,
    address: Arc<str>,
    /// The peer's IP address. `None` if the connection has ended already.
    ip: Option<IpAddr>,
    /// The identity in the peer's certificate.
    identity: Option<Arc<PeerIdentity>>,
    /// The party to which the connection is accounted.
    owner: Owner,
    /// The peer, once the peering is established.
    peer: Option<Arc<Peer>>,
    /// The messages for the peer, once the peering is established.
    queue: Option<Arc<Queue>>,
    /// The counters of the peering, once it is established.
    counters: Option<Arc<PeerCounters>>,
    /// The hub's answer to an introduction.
    admission: Option<oneshot::Receiver<Admission>>,
    /// Ends the handshake in favor of a later connection of the same owner.
    superseded: Option<oneshot::Receiver<()>>,
    /// Why the endpoint id is refused, if it belongs to a different owner. `None` if a connection of the same owner has the
    /// id.
    conflict: Option<Box<ConnectError>>,
    leaving: bool,
    /// Logs that messages for the peer are dropped.
    drops: Drops,
    /// The number of malformed messages.
    malformed: u64,
    /// The number of messages since the last one whose latency is measured.
    unmeasured: usize,
    /// The messages that were received and not handed to the relay yet.
    inbox: Batch,
    /// The messages of the peer that are blocked, because a queue is full. Nothing is read from the peer while there are any.
    blocked: Vec<Blocked>,
    /// Notified when a queue may have room for a blocked message.
    room: Arc<Notify>,
    /// The role of the peer in the ZeroMQ cluster whose proxy is this endpoint.
    member: Option<Member>,
    /// Set while reading from a subscriber of the cluster is stopped.
    waiting: Option<Box<Waiting>>,
    /// The queue of received logs, if this side is a logger of a ZeroMQ cluster.
    logs: Option<Arc<LogQueue>>,
    /// A log batch for which the queue had no room. Nothing is read from the peer while there is one.
    pending_logs: Option<PendingLogs>,
}

/// Returns the span of a connection's task. The peer is recorded when the peering is established.
///
/// It has the level of errors, so that its fields are logged at every log level. It has no parent: the span of a listener
/// also has the field `link`, which would then be logged twice.
pub(super) fn span(context: &Context, address: &str) -> tracing::Span {
    let link = context.config.label.as_deref();
    tracing::error_span!(parent: None, "connection", link, address = %address, peer = tracing::field::Empty)
}

/// Runs one connection to its end, and reports the end to the hub. The caller's task must be in the connection's [`span`].
/// `session` creates the session, which determines the protocol. `established` is called with the peer's id when the peering is
/// established.
pub(super) fn run<S: Session>(
    context: Arc<Context>,
    new: NewConnection,
    session: impl FnOnce(peering::Config, Instant) -> S,
    established: impl FnOnce(EndpointId),
) -> impl Future<Output = ConnectionOutcome> {
    let NewConnection { stream, side, protocol, mut filter, address, deadline, evicted, logs } = new;
    let id = ConnectionId(context.next_id());
    let config = &context.config;
    let now = Instant::now();
    let session = session(
        peering::Config {
            tls: stream.is_tls(),
            filter: filter.borrow_and_update().clone(),
            limits: config.limits,
            handshake_timeout: deadline.saturating_duration_since(now),
            idle_timeout: config.idle_timeout,
            leave_timeout: config.leave_timeout,
            ..peering::Config::new(context.id, side)
        },
        now,
    );
    let identity = stream.peer_identity().map(Arc::new);
    // The address is not available if the peer has reset the connection already.
    let remote = stream.tcp().peer_addr().ok();
    let ip = remote.map(|remote| remote.ip().to_canonical());
    let owner = match remote {
        Some(remote) => Owner::of(identity.as_deref(), remote),
        None => Owner::Target(address.clone()),
    };
    let connection = Connection::new(stream, session, config.limits.max_frame);
    let mut running = PeerConnection {
        context,
        id,
        side,
        protocol,
        slot: None,
        connection,
        address,
        ip,
        identity,
        owner,
        peer: None,
        queue: None,
        counters: None,
        admission: None,
        superseded: None,
        conflict: None,
        leaving: false,
        drops: Drops::default(),
        malformed: 0,
        unmeasured: receive::SAMPLE_INTERVAL,
        inbox: Batch::default(),
        blocked: Vec::new(),
        room: Arc::default(),
        member: None,
        waiting: None,
        logs,
        pending_logs: None,
    };
    // An idle peer keeps the memory of this future. Parts that run only once are therefore boxed, here and in `drive`. This function is
    // not `async`, so that its local variables are not part of the future.
    async move {
        if !running.is_admitted() {
            Box::pin(running.connection.refuse()).await;
            let error = Some(ConnectError::NotAllowed(running.identity));
            return ConnectionOutcome { peer: None, error, redundant: None };
        }
        let end = running.drive(filter, evicted, established).await;
        Box::pin(running.finish(end)).await
    }
}

impl<S: Session> PeerConnection<S> {
    /// Closes the connection, and reports the end to the hub.
    async fn finish(mut self, mut end: ConnectionOutcome) -> ConnectionOutcome {
        // Messages for which there is still no room are lost. They must be counted before the end is reported.
        self.hand_on_rest();
        self.member = None;
        let (side, drops) = (self.side, std::mem::take(&mut self.drops));
        let PeerConnection { context, id, protocol, mut connection, address, owner, queue, leaving, .. } =
            self;
        let unwritten = connection.owes_messages().await;
        let unsent = queue.as_ref().map_or(0, |queue| queue.len()).saturating_add(unwritten.into());
        if let Some(queue) = queue {
            // Wakes publishers that wait for room.
            queue.close();
            drops.log_total(&context, &owner, queue.losses());
        }
        if protocol == Protocol::ZeroMq(SocketType::XPub) && end.peer.is_some() && end.error.is_none() {
            end.error = finish_publishing(connection, side, context.config.leave_timeout).await;
        } else {
            connection.finish().await;
        }
        let status = end.peer.map(|peer| match &end.error {
            Some(error) if !leaving && !error.is_of_this_side() => {
                Status::PeerLost { peer, address, error: error.clone(), unsent }
            }
            error => Status::PeerRemoved { peer, address, error: error.clone() },
        });
        context.hub.send(Command::Closed { connection: id, owner, status }).await;
        end
    }

    async fn drive(
        &mut self,
        mut filter: watch::Receiver<Filter>,
        mut evicted: Option<oneshot::Receiver<()>>,
        established: impl FnOnce(EndpointId),
    ) -> ConnectionOutcome {
        let mut established = Some(established);
        let mut phase = self.context.phase.clone();
        let mut keys = self.may_be_curve_server().then(|| self.context.zeromq.subscribe());
        let (mut drained_by, mut turns) = (None, 0u32);
        loop {
            // Events consume the task budget like reads, so that a peer with many messages does not starve other tasks.
            tokio::task::consume_budget().await;
            self.connection.take_latencies().for_each(|latency| self.context.stats.latency.record(latency));
            if !self.blocked.is_empty() {
                self.unblock();
            }
            if let Some(end) = self.send_queued().or_else(|| self.send_subscriptions()) {
                return end;
            }
            let (shutdown, drain) = match *phase.borrow_and_update() {
                Phase::Running => (false, self.context.config.drain_timeout),
                Phase::Draining(drain) => (true, drain),
            };
            if shutdown && self.queue.is_none() {
                self.leave();
            }
            let queue = self.queue.clone();
            if drained_by.is_none() && (shutdown || queue.as_ref().is_some_and(|q| q.ended().is_some())) {
                drained_by = Some(after(drain));
            }
            turns = turns.wrapping_add(1);
            let rare_first = turns.is_multiple_of(RARE_FIRST_INTERVAL);
            let turn = {
                let rare = pin!(async {
                    tokio::select! {
                        () = changed(&mut self.member), if !self.leaving => Rare::Changed,
                        () = check_due(self.waiting.as_deref()) => Rare::CheckDue,
                        room = room(self.logs.as_deref(), &self.pending_logs) => Rare::LogRoom(room),
                        () = asked(&mut evicted), if self.peer.is_none() => Rare::End(ConnectError::GaveWay),
                        () = asked(&mut self.superseded), if self.peer.is_none() => Rare::End(ConnectError::Superseded),
                        () = replaced(&mut keys) => Rare::KeysReplaced,
                        () = slot_evicted(&mut self.slot) => {
                            Rare::End(ConnectError::Evicted(self.context.config.max_peers))
                        }
                        admission = answer(&mut self.admission) => Rare::Admission(admission),
                        () = room_available(&self.room), if !self.blocked.is_empty() => Rare::Changed,
                        Ok(()) = filter.changed() => Rare::NewFilter,
                        changed = phase.changed(), if !self.leaving => Rare::NewPhase(changed.is_ok()),
                        () = drain_expired(drained_by), if !self.leaving => {
                            Rare::End(if shutdown {
                                ConnectError::ShuttingDown
                            } else {
                                ConnectError::Closed(CloseReason::LeftUnconfirmed)
                            })
                        }
                    }
                });
                // Also polled while backlogged, because an overflow of the queue is notified in the same way.
                let filled = pin!(filled(queue.as_deref().filter(|_| !self.leaving)));
                // While draining, returns when everything is written, so that `send_queued` can end the peering.
                let progress = pin!(self.connection.progress_until(drained_by.is_some()));
                next_turn(progress, filled, rare, rare_first).await
            };
            match turn {
                Turn::Filled | Turn::Rare(Rare::Changed) => {}
                Turn::Progress(progress) => match progress {
                    Progress::CaughtUp => {}
                    Progress::Event(Event::Established { peer, filter }) => {
                        if !self.is_key_accepted() {
                            return self.end(Some(ConnectError::KeyRemoved));
                        }
                        if let Err(end) = Box::pin(self.established(peer, filter)).await {
                            return end;
                        }
                        // Frees the channels that only the handshake uses.
                        (evicted, self.superseded) = (None, None);
                        if let Some(established) = established.take() {
                            established(peer);
                        }
                    }
                    Progress::Event(Event::Introduced { peer, role }) => {
                        if !self.is_allowed() {
                            self.connection.refuse_redundant();
                            return self.end(Some(ConnectError::NotAllowed(self.identity.clone())));
                        }
                        Box::pin(self.introduced(peer, role)).await;
                    }
                    Progress::Event(Event::Closed(reason)) => return self.closed(reason),
                    Progress::Event(Event::Message(envelope)) => self.receive(envelope),
                    Progress::Event(event) => Box::pin(self.handle(event)).await,
                    Progress::Subscription(change) => self.pass_on_subscriptions(change),
                },
                Turn::Rare(Rare::CheckDue) => self.check_waiting(),
                Turn::Rare(Rare::LogRoom(room)) => self.queue_logs(room),
                Turn::Rare(Rare::KeysReplaced) => {
                    if self.peer.is_some() && !self.is_key_accepted() {
                        return self.end(Some(ConnectError::KeyRemoved));
                    }
                }
                Turn::Rare(Rare::Admission(admission)) => {
                    self.admission = None;
                    match admission {
                        Admission::Admitted if self.take_slot() => self.connection.admit(),
                        Admission::Admitted => {
                            let most = self.context.config.max_peers;
                            return self.end(Some(ConnectError::TooManyPeers(most)));
                        }
                        refused => {
                            self.conflict = self.conflict(refused).map(Box::new);
                            self.connection.refuse_redundant();
                        }
                    }
                }
                Turn::Rare(Rare::NewFilter) => {
                    let filter = filter.borrow_and_update().clone();
                    if let Err(error) = self.connection.set_filter(filter) {
                        tracing::error!("cannot announce the new filter: {error}");
                    }
                }
                // Without a phase, the endpoint was dropped without a shutdown.
                Turn::Rare(Rare::NewPhase(false)) => self.leave(),
                Turn::Rare(Rare::NewPhase(true)) => {}
                Turn::Rare(Rare::End(error)) => return self.end(Some(error)),
            }
        }
    }

    fn leave(&mut self) {
        self.leaving = true;
        self.connection.leave();
    }

    /// Takes a slot for this peer. Returns `false` if there is none. No slot is needed if this side has connected.
    fn take_slot(&mut self) -> bool {
        if self.side == Side::Listener && self.slot.is_none() {
            self.slot = self.context.peer_slots.take(&self.owner);
            return self.slot.is_some();
        }
        true
    }

    async fn introduced(&mut self, peer: EndpointId, role: Role) {
        if let Some(token) = self.connection.session().token() {
            self.owner = self.owner.clone().with_token(token);
        }
        if let Some(client) = self.connection.session().curve_client() {
            self.owner = Owner::Curve(client);
        }
        let (answer, admission) = oneshot::channel();
        let (supersede, superseded) = oneshot::channel();
        self.admission = Some(admission);
        self.superseded = Some(superseded);
        let (address, identity) = (self.address.clone(), self.identity.clone());
        let party = Party { owner: self.owner.clone(), address, identity };
        let answers = Answers { admission: answer, superseded: supersede };
        self.context.hub.send(Command::Introduced { connection: self.id, peer, role, party, answers }).await;
    }

    /// Reports the peering to the hub, and takes the peer's queue. Fails if a different connection has the id by now.
    async fn established(&mut self, id: EndpointId, filter: Filter) -> Result<(), ConnectionOutcome> {
        let (address, identity, owner) = (self.address.clone(), self.identity.clone(), self.owner.clone());
        let protocol = self.protocol.peer(self.connection.session(), self.side);
        let peering = PeeringId(self.id);
        let peer = Arc::new(Peer { id, address, ip: self.ip, identity, protocol, owner, peering });
        let (answer, queue) = oneshot::channel();
        let format = self.connection.format();
        let counters = Arc::new(PeerCounters::new());
        self.counters = Some(counters.clone());
        let command = Command::Established { peer: peer.clone(), filter, format, counters, answer };
        self.context.hub.send(command).await;
        match queue.await {
            Ok(Ok(queue)) => {
                tracing::Span::current().record("peer", tracing::field::display(id));
                self.peer = Some(peer);
                self.queue = Some(queue);
                self.join_cluster();
                Ok(())
            }
            Ok(Err(refused)) => Err(match self.conflict(refused) {
                Some(conflict) => self.end(Some(conflict)),
                None => {
                    let error = Some(ConnectError::Closed(CloseReason::Redundant { peer: id }));
                    ConnectionOutcome { redundant: Some(id), ..self.end(error) }
                }
            }),
            // The hub ends with the endpoint.
            Err(_) => Err(self.end(Some(ConnectError::ShuttingDown))),
        }
    }

    /// Returns the error for an id that belongs to a different owner.
    fn conflict(&self, refused: Admission) -> Option<ConnectError> {
        match refused {
            Admission::Conflict(owner) => {
                Some(ConnectError::IdConflict { identity: self.identity.clone(), owner })
            }
            Admission::Admitted | Admission::Redundant => None,
        }
    }

    async fn handle(&mut self, event: Event) {
        match event {
            Event::FilterChanged(filter) => {
                let (answer, done) = oneshot::channel();
                self.context.hub.send(Command::FilterChanged { connection: self.id, filter, answer }).await;
                let _ = done.await;
                if let (Protocol::ZeroMq(_), Some(peer)) = (self.protocol, &self.peer) {
                    self.context.probes.note(peer.id, self.connection.session());
                }
            }
            Event::Malformed(error) => self.malformed(&error),
            Event::Notice(notice) => self.notice(notice).await,
            Event::Logs { sender, batch } => {
                let sender = self.connection.session().sender_name(sender);
                self.pending_logs = Some(PendingLogs { batch, sender });
                self.connection.pause(true);
            }
            Event::PeerLeaving => tracing::debug!("received BYE"),
            // `drive` handles these.
            Event::Message(_) | Event::Introduced { .. } | Event::Established { .. } | Event::Closed(_) => {}
        }
    }

    /// Reports a notice of the peer.
    async fn notice(&self, notice: Notice) {
        let Some(Peer { id, address, owner, .. }) = self.peer.as_deref() else { return };
        let status = Status::PeerNotice { peer: *id, address: address.clone(), notice };
        self.context.hub.send(Command::Notice { owner: owner.clone(), status }).await;
    }

    fn closed(&mut self, reason: CloseReason) -> ConnectionOutcome {
        // A client of a ZeroMQ proxy leaves by closing the connection. If the stream has failed, that is not intended.
        let left = matches!((self.protocol, &reason), (Protocol::ZeroMq(_), CloseReason::PeerLeft));
        let fault = self.connection.fault().filter(|fault| left || fault.explains(&reason));
        let error = match (fault, reason) {
            (Some(ConnectionFault::Tls(error)), _) => Some(ConnectError::Tls(error.clone())),
            (Some(fault), _) => Some(ConnectError::Stream(fault.clone())),
            (None, CloseReason::Left) => None,
            // Both sides left at the same time. A Broker peer reads everything before it leaves. A WebSocket peer may not.
            (None, CloseReason::PeerLeft) if self.leaving && self.protocol != Protocol::WebSocket => None,
            (None, CloseReason::Failed(error)) => Some(ConnectError::Peering(error)),
            (None, CloseReason::Redundant { .. }) if self.conflict.is_some() => {
                self.conflict.take().map(|conflict| *conflict)
            }
            (None, CloseReason::Redundant { peer }) => {
                let error = Some(ConnectError::Closed(CloseReason::Redundant { peer }));
                return ConnectionOutcome { redundant: Some(peer), ..self.end(error) };
            }
            (None, reason) => Some(ConnectError::Closed(reason)),
        };
        self.end(error)
    }

    fn end(&self, error: Option<ConnectError>) -> ConnectionOutcome {
        ConnectionOutcome { peer: self.peer.as_ref().map(|peer| peer.id), error, redundant: None }
    }
}
