//! Commands to the hub.

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::counters::PeerCounters;
use super::id::{ConnectionId, SubscriberId};
use super::id_registry::{Admission, Answers, Party};
use super::limits::Owner;
use super::message::Message;
use super::peer::Peer;
use super::queue::Queue;
use super::routing::Routes;
use super::status::Status;
use crate::data::{EndpointId, Filter};
use crate::net::Format;
use crate::peering::Role;

/// A command to the hub. Commands are executed in the order of their arrival.
#[derive(Debug)]
pub(super) enum Command {
    /// A peer has sent its id. The answer is whether it is admitted.
    Introduced { connection: ConnectionId, peer: EndpointId, role: Role, party: Party, answers: Answers },
    /// A handshake is complete. The answer is the queue for the peer, or the reason why the peer cannot use its id.
    Established {
        peer: Arc<Peer>,
        filter: Filter,
        format: &'static Format,
        counters: Arc<PeerCounters>,
        answer: oneshot::Sender<Result<Arc<Queue>, Admission>>,
    },
    /// A peer has changed its filter. Answered when the routes are changed. Until the answer, nothing more is read from
    /// the peer, so that it cannot fill the command queue with filters.
    FilterChanged { connection: ConnectionId, filter: Filter, answer: oneshot::Sender<()> },
    /// A connection has ended. The status is reported when the routes are changed.
    Closed { connection: ConnectionId, owner: Owner, status: Option<Status> },
    /// A status to report that changes no route.
    Notice { owner: Owner, status: Status },
    /// The answer is a receiver that resolves at the end of the peering with `peer`, or `None` if no such peering exists.
    WhenGone { peer: EndpointId, answer: oneshot::Sender<Option<oneshot::Receiver<()>>> },
    /// Adds a subscriber. Answered when the routes are changed.
    Subscribe { id: SubscriberId, filter: Filter, queue: Arc<Queue<Message>>, answer: oneshot::Sender<()> },
    /// Changes the topics of a subscriber. Answered when the routes are changed.
    Resubscribe { id: SubscriberId, filter: Filter, answer: oneshot::Sender<()> },
    /// Changes the filter of the relay. Answered when the new filter is announced.
    Announce { filter: Filter, answer: oneshot::Sender<()> },
    /// Leaves the peering with `peer`. The answer is whether there was one.
    Unpeer { peer: EndpointId, answer: oneshot::Sender<bool> },
    /// Leaves all peerings.
    Shutdown,
    /// All peerings have ended: ends the subscribers.
    Over,
}

/// The channels to and from the hub.
#[derive(Clone, Debug)]
pub(super) struct HubHandle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) status: broadcast::Sender<Status>,
    pub(super) routes: watch::Receiver<Arc<Routes>>,
    pub(super) filter: watch::Receiver<Filter>,
    pub(super) unsubscribe: mpsc::UnboundedSender<SubscriberId>,
}

impl HubHandle {
    /// Sends a command. Does nothing after the hub has ended.
    pub(super) async fn send(&self, command: Command) {
        let _ = self.commands.send(command).await;
    }
}
