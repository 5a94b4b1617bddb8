//! The subscriptions on a connection of a ZeroMQ cluster whose proxy, or one of whose nodes, is this endpoint.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{ConnectionOutcome, PeerConnection};
use crate::endpoint::connect_error::ConnectError;
use crate::endpoint::protocol::Protocol;
use crate::endpoint::zeromq::{Node, NodePublisher, Publisher, Subscriber, TooLong};
use crate::net::{Connection, Session, after, sleep_until};
use crate::peering::{CloseReason, Side};
use crate::wire::Envelope;
use crate::zeromq::{SocketType, SubscriptionChange};

/// How often to check whether reading from a subscriber can be resumed. A notification for each change that a publisher reads would
/// wake the subscriber far more often.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// How long a subscriber of this endpoint has to close its side. A socket that is closed while it has unread input sends a reset,
/// after which the peer may not receive the last bytes.
const SUBSCRIBER_CLOSES: Duration = Duration::from_millis(100);

/// Reading from a subscriber is stopped, because its owner changes subscriptions faster than publishers read them.
pub(super) struct Waiting {
    /// When to check again.
    pub(super) check: Instant,
    /// When to disconnect the publishers that have not read the changes before `position`.
    deadline: Instant,
    position: u64,
    /// The changes that were received and not applied.
    changes: Vec<SubscriptionChange>,
}

impl Waiting {
    fn new(subscriber: &Subscriber, changes: Vec<SubscriptionChange>, timeout: Duration) -> Self {
        let deadline = after(timeout);
        let check = after(CHECK_INTERVAL).min(deadline);
        Waiting { check, deadline, position: subscriber.position(), changes }
    }
}

/// The role of a peer in the cluster.
pub(super) enum Member {
    Subscriber(Box<Subscriber>),
    Publisher(Box<Publisher>),
    /// The XSUB of the proxy. This endpoint is a node.
    ProxyOfPublisher(Box<NodePublisher>),
    /// The XPUB of the proxy. This endpoint is a node.
    ProxyOfSubscriber(Arc<Node>),
}

impl<S: Session> PeerConnection<S> {
    /// Adds an established peer to the cluster, if this endpoint is the proxy or a node.
    pub(super) fn join_cluster(&mut self) {
        let (cluster, node) = (&self.context.cluster, self.context.node.as_ref());
        self.member = match (self.side, self.protocol) {
            (Side::Connector, Protocol::ZeroMq(SocketType::XPub)) => {
                node.zip(self.queue.as_ref()).map(|(node, queue)| {
                    let (format, stats) = (self.connection.format(), &self.context.stats);
                    Member::ProxyOfPublisher(Box::new(NodePublisher::new(node, queue, format, stats)))
                })
            }
            (Side::Connector, Protocol::ZeroMq(SocketType::XSub)) => node.cloned().map(|node| {
                for topic in node.subscriptions() {
                    if let Err(error) =
                        self.connection.send_subscription(&SubscriptionChange::Subscribed(topic))
                    {
                        tracing::debug!("a subscription was not sent: {error}");
                    }
                }
                Member::ProxyOfSubscriber(node)
            }),
            (Side::Listener, Protocol::ZeroMq(SocketType::XPub)) => {
                Some(Member::Subscriber(Box::new(cluster.subscriber(self.owner.clone()))))
            }
            (Side::Listener, Protocol::ZeroMq(SocketType::XSub)) => {
                Some(Member::Publisher(Box::new(cluster.publisher())))
            }
            _ => None,
        };
    }

    /// Returns whether a message is a hello to this endpoint as a node, which is handled.
    pub(super) fn receive_hello(&self, envelope: &Envelope) -> bool {
        matches!(&self.member, Some(Member::ProxyOfSubscriber(node)) if node.receive(envelope))
    }

    /// Passes changes of a subscriber on to the publishers of the cluster. The routes already contain the new filter, so the
    /// events that publishers send from now on reach the subscriber. If it is too fast, they wait, and nothing more is read.
    pub(super) fn pass_on_subscriptions(&mut self, first: SubscriptionChange) {
        let others = iter::from_fn(|| self.connection.next_subscription());
        let changes = iter::once(first).chain(others);
        match &mut self.member {
            Some(Member::Subscriber(subscriber)) if subscriber.is_too_fast() => {
                let timeout = self.context.config.drain_timeout;
                self.waiting = Some(Box::new(Waiting::new(subscriber, changes.collect(), timeout)));
                self.connection.pause(true);
            }
            Some(Member::Subscriber(subscriber)) => subscriber.apply(changes),
            Some(Member::ProxyOfPublisher(publisher)) => publisher.apply(changes),
            _ => {}
        }
    }

    /// Resumes reading from a subscriber if the publishers have read enough of its owner's changes. Disconnects publishers that do
    /// not read.
    pub(super) fn check_waiting(&mut self) {
        let Some(Member::Subscriber(subscriber)) = &mut self.member else { return };
        let Some(mut waiting) = self.waiting.take() else { return };
        if subscriber.is_too_fast() {
            if waiting.check < waiting.deadline {
                waiting.check = after(CHECK_INTERVAL).min(waiting.deadline);
            } else {
                subscriber.remove_stalled(waiting.position);
                let changes = std::mem::take(&mut waiting.changes);
                *waiting = Waiting::new(subscriber, changes, self.context.config.drain_timeout);
            }
            self.waiting = Some(waiting);
            return;
        }
        subscriber.apply(waiting.changes);
        self.connection.pause(false);
    }

    /// Sends the subscriptions of the cluster to a publisher until the stream does not keep up. Returns the outcome if the
    /// connection of a publisher or subscriber has to end.
    pub(super) fn send_subscriptions(&mut self) -> Option<ConnectionOutcome> {
        let publisher = match &mut self.member {
            Some(Member::Publisher(publisher)) => publisher,
            Some(Member::Subscriber(subscriber)) => {
                let TooLong { limit, subject } = subscriber.check().err()?;
                return Some(self.end(Some(ConnectError::TooManySubscriptions { limit, subject })));
            }
            _ => return None,
        };
        let mut checked = publisher.check();
        while checked.is_ok() && !self.leaving && !self.connection.is_backlogged() {
            match publisher.next() {
                Ok(Some(change)) => {
                    if let Err(error) = self.connection.send_subscription(&change) {
                        tracing::debug!("a subscription was not sent: {error}");
                    }
                }
                Ok(None) => break,
                Err(unread) => checked = Err(unread),
            }
        }
        let error = checked.err().map(|unread| ConnectError::UnreadSubscriptions { limit: unread.limit })?;
        Some(self.end(Some(error)))
    }
}

/// Waits until there may be something to send to a publisher, or a subscriber is refused. May never resolve.
pub(super) async fn changed(member: &mut Option<Member>) {
    match member {
        Some(Member::Publisher(publisher)) => Box::pin(publisher.changed()).await,
        Some(Member::Subscriber(subscriber)) => Box::pin(subscriber.refused()).await,
        Some(_) | None => std::future::pending().await,
    }
}

/// Waits for the next check of the publishers. May never resolve.
pub(super) async fn check_due(waiting: Option<&Waiting>) {
    match waiting {
        Some(waiting) => Box::pin(sleep_until(Some(waiting.check))).await,
        None => std::future::pending().await,
    }
}

/// Closes a connection over which this side has published and left. The protocol has no message for the end. A proxy that closes
/// its side has received everything; the result is an error if it does not. A subscriber of this endpoint has no obligation to
/// close its side.
pub(super) async fn finish_publishing<S: Session>(
    connection: Connection<S>,
    side: Side,
    leave_timeout: Duration,
) -> Option<ConnectError> {
    match side {
        Side::Connector => {
            let is_confirmed = connection.finish_reading(leave_timeout).await;
            (!is_confirmed).then_some(ConnectError::Closed(CloseReason::LeftUnconfirmed))
        }
        Side::Listener => {
            connection.finish_reading(SUBSCRIBER_CLOSES).await;
            None
        }
    }
}
