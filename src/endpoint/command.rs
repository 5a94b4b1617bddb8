//! Commands to the hub.

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

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

/// What the hub is told. Everything but the answers is done in the order of arrival.
#[derive(Debug)]
pub(super) enum Command {
    /// A peer has shown its id; the answer is whether to go on.
    Introduced { connection: ConnectionId, peer: EndpointId, role: Role, party: Party, answers: Answers },
    /// A handshake is through. The answer is the queue of what is to be sent to the peer, or why the id is not its own.
    Established {
        peer: Peer,
        filter: Filter,
        format: &'static Format,
        answer: oneshot::Sender<Result<Arc<Queue>, Admission>>,
    },
    /// A peer wants to hear something else. Nothing more is read from it before the answer, which comes when the table
    /// knows, or a peer could have as many filters wait here as there are places.
    FilterChanged { connection: ConnectionId, filter: Filter, answer: oneshot::Sender<()> },
    /// A connection is over; the status is to be told once the routes know.
    Closed { connection: ConnectionId, owner: Owner, status: Option<Status> },
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
    pub(super) async fn send(&self, command: Command) {
        let _ = self.commands.send(command).await;
    }
}
